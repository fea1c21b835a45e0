"""The shapes that an engine is built for: what fits, what does not, and what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.analysis.wording import written
from trtfuse.engine.profiles import by_input, profiles
from trtfuse.errors import EngineError, UsageError


def dynamic() -> ModelProto:
    return model("(float[N, 3] x, float[3, M] w) => (float[N, M] y) { [product] y = MatMul(x, w) }")


def reshape() -> ModelProto:
    """A model with an input that is itself a shape."""
    return model("(float[N, 6] x, int64[2] s) => (float[?, ?] y) { [shape] y = Reshape(x, s) }")


def sizes(engine: trtfuse.Engine, name: str) -> tuple[int, ...]:
    """The shape that the builder gives to a tensor."""
    found = {t.name: t.shape for layer in engine.layers for t in (*layer.inputs, *layer.outputs)}
    return found[name]


def test_one_shape_fixes_an_input() -> None:
    engine = trtfuse.build(dynamic(), shapes={"x": (4, 3), "w": np.array([3, 5])})
    assert [sizes(engine, name) for name in ("x", "w", "y")] == [(4, 3), (3, 5), (4, 5)]
    assert engine.profiles == {"x": ((4, 3),) * 3, "w": ((3, 5),) * 3}
    assert engine.traffic == 4 * (4 * 3 + 3 * 5 + 4 * 5)


def test_three_shapes_leave_it_open_between_them() -> None:
    shapes = {"x": ((1, 3), (4, 3), (8, 3)), "w": (3, 5)}
    engine = trtfuse.build(dynamic(), shapes=shapes)
    assert [sizes(engine, name) for name in ("x", "w", "y")] == [(-1, 3), (3, 5), (-1, 5)]
    assert engine.profiles["x"] == shapes["x"]
    with pytest.raises(EngineError, match=r"'x' has the shape \[-1, 3\]"):
        _ = engine.traffic


def test_the_shape_of_an_input_that_does_not_vary_may_be_given() -> None:
    made = model("(float[2, 3] x) => (float[2, 3] y) { [relu] y = Relu(x) }")
    plan = trtfuse.build(made).plan
    assert trtfuse.build(made, shapes={"x": [2, 3]}).plan == plan


def test_an_input_that_is_itself_a_shape_has_values() -> None:
    engine = trtfuse.build(reshape(), shapes={"x": (2, 6), "s": ((1, 2), (3, 4), (6, 12))})
    assert engine.profiles["s"] == ((1, 2), (3, 4), (6, 12))
    with pytest.raises(UsageError) as raised:
        trtfuse.build(reshape(), shapes={"x": (2, 6), "s": (12,)})
    assert str(raised.value) == ("input 's' of the model is itself a shape of 2 values; '12' has 1")


def test_open_sizes_without_shapes_are_named_all_at_once() -> None:
    with pytest.raises(EngineError) as raised:
        trtfuse.build(dynamic())
    assert str(raised.value) == (
        "the model leaves sizes open: inputs 'x' [N, 3], 'w' [3, M]; say what to build for with "
        "--shapes or shapes=, for example --shapes x:1x3 --shapes w:3x32"
    )
    with pytest.raises(EngineError, match=r"open: input 's' \(the values of a shape\); say what"):
        trtfuse.build(reshape(), shapes={"x": (2, 6)})


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"X": (4, 3)}, "the model has no input 'X' to have a shape; its inputs are: 'x', 'w'"),
        ({"x0": (4, 3)}, "the model has no input 'x0' to have a shape; did you mean 'x'?"),
        (
            {"x": (4, 3, 1), "w": (3, 5)},
            "input 'x' of the model is [N, 3], with 2 sizes; 3 were given",
        ),
        (
            {"x": ((1, 3), (2, 3), (2, 4)), "w": (3, 5)},
            "input 'x' of the model is [N, 3], with 3 at axis 1; 1x3..2x3..2x4 does not fit",
        ),
    ],
)
def test_shapes_that_do_not_fit_the_model(shapes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        trtfuse.build(dynamic(), shapes=shapes)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    "shape", [3, "4x3", (-1, 3), (1.5, 3), ((1, 3), (2, 3)), ((1, 3), 3, (2, 3)), None]
)
def test_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(UsageError) as raised:
        profiles({"x": shape})
    assert str(raised.value) == (
        f"the shape of input 'x' is {shape!r}; give one shape, or three: smallest, best, largest"
    )


def test_three_shapes_have_one_rank_and_grow() -> None:
    with pytest.raises(UsageError, match=r"different numbers of sizes: 1x3\.\.2x3\.\.4x3x1$"):
        profiles({"x": ((1, 3), (2, 3), (4, 3, 1))})
    with pytest.raises(UsageError, match=r"'x' are out of order: 4x3\.\.2x3\.\.8x3; each size"):
        profiles({"x": ((4, 3), (2, 3), (8, 3))})


def test_shapes_as_the_command_line_takes_them() -> None:
    assert written(((1, 3), (2, 3), (4, 3))) == "1x3..2x3..4x3"
    assert written(((1, 3),) * 3) == "1x3"
    assert written(((),) * 3) == ""
    assert written((1, 3)) == "1x3"


def test_a_size_that_is_computed_with_is_copied_to_the_gpu_by_no_kernel() -> None:
    made = model(
        """
        (float[N, M] x) => (float[?, ?] y) {
          [shape] s = Shape(x)
          [size] d = Gather(s, axis)
          [cast] f = Cast <to = 1> (d)
          [add] y = Add(x, f)
        }
        """,
        axis=np.int64(1),
    )
    engine = trtfuse.build(made, shapes={"x": ((1, 2), (2, 3), (4, 5))})
    copy, *rest = engine.layers
    assert (copy.type, [tensor.shape for tensor in copy.outputs]) == ("ShapeHostToDevice", [()])
    assert engine.kernels == len(rest)
    assert "add" in rest[-1].nodes


def test_a_dimension_has_a_size_or_three() -> None:
    made = model("(float[batch, 3] x, float[batch, 3] z) => (float[?, 3] y) { y = Add(x, z) }")

    def given(shapes: Any) -> Any:
        return profiles(by_input(shapes, made))

    both = {"x": ((4, 3),) * 3, "z": ((4, 3),) * 3}
    assert given({"batch": 4}) == given({"batch": np.int64(4)}) == both
    assert given({"x": (4, 3), "batch": 4}) == both
    assert given({"batch": (1, 4, 8)})["z"] == ((1, 3), (4, 3), (8, 3))
    for size in (4.0, None, (1, 4), (8, 4, 1), -1):
        with pytest.raises(
            UsageError, match=r"the size of dimension 'batch' is .*; give one size, or"
        ):
            given({"batch": size})
    with pytest.raises(UsageError, match="'batch' is given other sizes than input 'x' has there"):
        given({"x": (2, 3), "batch": 4})
    with pytest.raises(UsageError, match="no input has a dimension 'bach'; did you mean 'batch'"):
        given({"bach": 4})
    opened = model("(float[n, m] x) => (float[n, m] y) { y = Relu(x) }")
    with pytest.raises(UsageError, match="and 'm' is open as well; give all of its sizes"):
        by_input({"n": 1}, opened)
