"""Sizes that a caller fixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.errors import UsageError, VerifyError

TWO = """(float[batch, 3, h, w] x, float[batch, 4] v, float[2] k)
=> (float[batch, c, p, q] y, float z) {
    a = GlobalAveragePool(x) s = Shape(x) n = Gather<axis=0>(s, zero)
    m = Unsqueeze(n, axes) t = Concat<axis=0>(m, rest) y = Reshape(a, t)
    r = ReduceSum<keepdims=0>(v) f = Cast<to=1>(n) z = Add(r, f)
}"""


def two() -> ModelProto:
    """Two inputs that share a symbol, and a Reshape whose target is computed from it."""
    return model(
        TWO,
        zero=np.int64(0),
        axes=np.int64([0]),
        rest=np.int64([3, 1, 1]),
    )


def sizes(info: onnx.ValueInfoProto) -> list[int | str]:
    """The sizes that are declared."""
    return [dim.dim_value or dim.dim_param for dim in info.type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    "shapes", [{"x": (2, 3, 8, 6)}, {"batch": 2, "h": 8, "w": 6}, {"x": (2, 3, 8, 6), "batch": 2}]
)
def test_a_symbol_has_the_same_size_everywhere(shapes: Any) -> None:
    made = two()
    given = made.SerializeToString()
    result = trtfuse.fuse(made, shapes=shapes, verify="model")
    assert made.SerializeToString() == given
    assert [sizes(info) for info in result.model.graph.input] == [[2, 3, 8, 6], [2, 4], [2]]
    assert [sizes(info) for info in result.model.graph.output] == [[2, 3, 1, 1], []]
    onnx.checker.check_model(result.model, full_check=True)
    assert result.ok


def test_what_fixed_sizes_allow_is_fused() -> None:
    open_ = trtfuse.fuse(two())
    fixed = trtfuse.fuse(two(), shapes={"batch": 2, "h": 8, "w": 6})
    assert "Shape" in open_.report.after.operators
    assert "Shape" not in fixed.report.after.operators
    assert not trtfuse.explain(two(), shapes={"batch": 2}).notes


def test_one_size_may_stay_open() -> None:
    result = trtfuse.fuse(two(), shapes={"batch": 2}, verify="model")
    assert [sizes(info) for info in result.model.graph.input] == [[2, 3, "h", "w"], [2, 4], [2]]


def test_an_input_without_a_shape_gets_one() -> None:
    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    for info in (made.graph.input[0], made.graph.output[0]):
        info.type.tensor_type.ClearField("shape")
    result = trtfuse.fuse(made, shapes={"x": (3, 4)}, verify="model").model
    assert sizes(result.graph.input[0]) == sizes(result.graph.output[0]) == [3, 4]


def test_verify_runs_both_at_the_sizes_that_one_has() -> None:
    made = two()
    fixed = trtfuse.fuse(made, shapes={"x": (2, 3, 8, 6)}).model
    assert trtfuse.verify(made, fixed).ok
    assert trtfuse.verify(fixed, made).ok
    assert trtfuse.verify(made, fixed, shapes={"batch": 2}).ok
    with pytest.raises(UsageError, match="input 'x' has shape"):
        trtfuse.verify(fixed, made, shapes={"x": (1, 3, 8, 6)})


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"y": (1, 2)}, "the model has no input 'y'; it has k, v, x"),
        ({"xx": (1, 2)}, "the model has no input 'xx'; did you mean 'x'?"),
        ({"bach": 1}, "no input has a dimension 'bach'; did you mean 'batch'?"),
        ({"q": 1}, "no input has a dimension 'q'; there are: batch, h, w"),
        ({"x": 4}, "'x' is an input and takes a shape, like x:1x3x224x224, not 4"),
        ({"k": (3,)}, "input 'k' has shape [2], which [3] does not fit"),
        (
            {"x": (2, 3, 8, 6), "batch": 1},
            "'batch' is given two sizes, 2 and 1; a symbol has one",
        ),
        (
            {"batch": -1},
            "'batch' is given -1; an input takes a shape like (1, 3, 640, 640), a symbol a size "
            "like 1",
        ),
    ],
)
def test_what_fits_nothing_is_refused(shapes: Any, said: str) -> None:
    for call in (
        lambda: trtfuse.fuse(two(), shapes=shapes),
        lambda: trtfuse.explain(two(), shapes=shapes),
        lambda: trtfuse.verify(two(), two(), shapes=shapes),
    ):
        with pytest.raises(UsageError) as raised:
            call()
        assert str(raised.value) == said


def test_where_no_dimension_has_a_name() -> None:
    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    with pytest.raises(UsageError) as raised:
        trtfuse.fuse(made, shapes={"n": 1})
    assert str(raised.value) == "no input has a dimension 'n': none has a name"


def test_the_old_name_of_the_argument_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="`input_shapes` is now `shapes`"):
        assert trtfuse.verify(two(), two(), input_shapes={"x": (2, 3, 8, 6)}).ok
    with pytest.warns(DeprecationWarning, match="`input_shapes` is now `shapes`"):
        result = trtfuse.fuse(two(), verify="model", input_shapes={"x": (2, 3, 8, 6)})
    assert sizes(result.model.graph.input[0]) == ["batch", 3, "h", "w"]


def test_sizes_at_which_the_model_does_not_run_are_refused() -> None:
    made = model(
        "(float[n, k] x) => (float[n, m] y) { a = MatMul(x, w) b = Identity(a) y = Relu(b) }",
        w=np.ones((8, 4), np.float32),
    )
    assert trtfuse.fuse(made, shapes={"k": 8}, verify="model").ok
    with pytest.raises(UsageError, match=r"the model does not run at the sizes given: .*MatMul"):
        trtfuse.fuse(made, shapes={"k": 7})


def test_models_of_different_sizes_are_not_compared() -> None:
    text = "(float[{}] x, float[{}] z) => (float[?] y) {{ y = Relu(x) }}"
    open_, apart = model(text.format("n", "n")), model(text.format(2, 4))
    with pytest.raises(
        UsageError, match="the models do not have the same inputs: 'n' is given two"
    ):
        trtfuse.verify(open_, apart)
    two, three = model(text.format(2, 2)), model(text.format(3, 3))
    with pytest.raises(
        VerifyError, match=r"input 'x' is \[2\] in one model and \[3\] in the other"
    ):
        trtfuse.verify(two, three)


def test_what_inference_calls_a_size_stays_open() -> None:
    made = model("(float[n, 3] x) => (int64[q, w] y) { a = NonZero(x) y = Transpose(a) }")
    made.graph.output[0].type.tensor_type.ClearField("shape")
    assert sizes(trtfuse.fuse(made, shapes={"n": 4}).model.graph.output[0]) == ["", 2]


def test_a_question_mark_is_no_name_of_a_dimension() -> None:
    made = model("(float[b, 3, h, w] x) => (float[b, 3, p, q] y) { y = Relu(x) }")
    for info in (made.graph.input[0], made.graph.output[0]):
        for axis in (0, 2, 3):
            info.type.tensor_type.shape.dim[axis].dim_param = "?"
    result = trtfuse.fuse(made, shapes={"x": (1, 3, 48, 192)}, verify="model")
    assert sizes(result.model.graph.output[0]) == [1, 3, 48, 192]
    assert result.ok
    assert trtfuse.verify(made, result.model).ok
    with pytest.raises(UsageError, match=r"no input has a dimension '\?': none has a name"):
        trtfuse.fuse(made, shapes={"?": 1})
