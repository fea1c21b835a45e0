"""What a file declares of computed values: never believed, and corrected in the result."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fusing import rewrite
from onnx import ModelProto, parser

from trtfuse.ir.model import Model
from trtfuse.run import VerifyLevel

LEVELS: tuple[VerifyLevel, ...] = ("none", "rewrite", "model")


def parsed(text: str, opset: int = 17) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "my": 1]> g {text}')


def declared(model: ModelProto) -> dict[str, list[int | str]]:
    infos = [*model.graph.value_info, *model.graph.output]
    return {
        info.name: [dim.dim_value or dim.dim_param for dim in info.type.tensor_type.shape.dim]
        for info in infos
    }


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


STALE = """
    (float[N, 2, H, W] x) => (float[N, 2, 1, 1] y) <float[1, 2, 4, 4] t> {
      t = Relu(x)
      y = ReduceMean<axes = [2, 3]>(t)
    }
"""


@pytest.mark.parametrize("level", LEVELS)
def test_stale_sizes_make_no_kernel(level: VerifyLevel) -> None:
    result = rewrite(parsed(STALE), verify=level, groups="off")
    assert operators(result.model) == ["Relu", "ReduceMean"]
    session = ort.InferenceSession(
        result.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = np.arange(2 * 2 * 6 * 6, dtype=np.float32).reshape(2, 2, 6, 6)
    (found,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(found, x.mean((2, 3), keepdims=True))


@pytest.mark.parametrize("level", LEVELS)
def test_the_symbol_of_an_input_is_not_believed_of_a_slice(level: VerifyLevel) -> None:
    model = parsed(
        "(float[n, t, 4] x) => (float[n, t, 4] y)"
        " <int64[1] start = {1}, int64[1] end = {9999}, int64[1] axis = {1}>"
        " { r = Relu(x)  y = Slice(r, start, end, axis) }"
    )
    assert operators(rewrite(model, verify=level).model) == ["Relu", "Slice"]


@pytest.mark.parametrize("claimed", ["2, 3, 4", "24", "n, 12", "1, 2, 12"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_reshape_is_not_erased_for_what_is_declared_of_it(
    claimed: str, level: VerifyLevel
) -> None:
    model = parsed(
        f"(float[n, 12] x, int64[k] s) => (float[{claimed}] y) <float[{claimed}] t>"
        " { t = Reshape(x, s)  y = Relu(t) }"
    )
    result = rewrite(model, verify="none" if level == "model" else level, groups="off")
    assert operators(result.model) == ["Reshape", "Relu"]


ZERO = """
    (float[N, 3, 4, 4] x) => (float[N, 5] y)
    <float[3, 1, 1] s = {1, 2, 3}, float[48, 5] w = {WEIGHTS}, int64[1] rest = {-1},
     int64[1] first = {0}, float[0, 3, 4, 4] t, float[0, 48] f, int64[4] all, int64[1] b> {
      t = Relu(x)
      all = Shape(t)
      b = Gather<axis = 0>(all, first)
      to = Concat<axis = 0>(b, rest)
      f = Reshape(t, to)
      y = MatMul(f, w)
    }
""".replace("WEIGHTS", ", ".join(["1"] * 240))


@pytest.mark.parametrize("level", LEVELS)
def test_a_batch_written_as_zero_becomes_the_batch(level: VerifyLevel) -> None:
    result = rewrite(parsed(ZERO), verify=level, groups="off").model
    assert declared(result)["t"] == ["N", 3, 4, 4]
    onnx.checker.check_model(result, full_check=True)
    session = ort.InferenceSession(result.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.ones((2, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.full((2, 5), 48))


#: Two Relus of which one goes, with shapes declared for what stays.
CHAIN = "(float[N, 6] x) => (float[OUTPUT] y) <VALUES> { t = Relu(x) u = Relu(t) y = Exp(u) }"


def chain(output: str, values: str) -> ModelProto:
    return parsed(CHAIN.replace("OUTPUT", output).replace("VALUES", values))


def test_what_is_right_stays_as_it_is() -> None:
    result = rewrite(chain("N, M", "float[N, 6] t, float[N, 6] u"), groups="off").model
    assert operators(result) == ["Relu", "Exp"]
    assert set(map(tuple, declared(result).values())) == {("N", 6), ("N", "M")}


@pytest.mark.parametrize("output", ["5, 6", "N, 7", "0, 6", "6, N", "N", "N, 6, 1"])
def test_what_is_wrong_is_corrected(output: str) -> None:
    result = rewrite(chain(output, f"float[{output}] t, float[{output}] u"), groups="off")
    assert operators(result.model) == ["Relu", "Exp"]
    assert all(shape == ["N", 6] for shape in declared(result.model).values())
    onnx.checker.check_model(result.model, full_check=True)


def test_a_model_that_nothing_was_done_to_is_the_same_with_what_it_declares() -> None:
    model = parsed("(float[N, 6] x) => (float[7, 7] y) { y = Exp(x) }")
    result = rewrite(model, groups="off").model
    assert result.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


def test_beside_a_wrong_claim_nothing_is_kept_that_nothing_confirms() -> None:
    text = (
        "(float[N, 6] x, int64[2] s) => (float[?, ?] y) <float[4, 6] w, float[VALUE, 6] t> {"
        " t = Relu(x)  u = Relu(t)  w = Reshape(u, s)  y = Exp(w) }"
    )
    right, wrong = (
        rewrite(parsed(text.replace("VALUE", size)), groups="off").model for size in "N5"
    )
    assert declared(right)["w"] == [4, 6]
    assert declared(wrong).get("w", ["", ""]) == ["", ""]


def test_of_unknown_operators_the_type_is_believed_and_the_shape_is_not() -> None:
    model = Model(
        parsed("(float[2] x) => (float16[2] y) <float16[2] t> { t = my.Thing(x) y = Neg(t) }")
    )
    (thing, negated) = model.graph.nodes()
    assert thing.output.type == negated.output.type == onnx.TensorProto.FLOAT16
    assert thing.output.shape is negated.output.shape is None


def test_a_size_of_minus_one_is_not_reckoned_with() -> None:
    model = parsed("(float[1, 2] x, float[3, 2] z) => (y) { y = Concat<axis = 0>(x, z) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    (node,) = Model(model).graph.nodes()
    assert node.output.shape is not None
    assert not isinstance(node.output.shape[0], int)


@pytest.mark.parametrize("carried", ["1, 3", "N, 3", "3"])
def test_what_a_loop_carries_has_no_declared_shape(carried: str) -> None:
    model = parsed(
        f"""(float[1, 3] x, int64 n, bool c) => (float[{carried}] y) {{
          y = Loop(n, c, x) <body = b (int64 i, bool ci, float[{carried}] v)
            => (bool co, float[{carried}] w) {{ co = Identity(ci) w = Concat<axis = 0>(v, v) }}>
        }}"""
    )
    (loop,) = Model(model).graph.nodes()
    (body,) = loop.bodies
    assert loop.output.shape is None
    assert [value.shape for value in body.inputs][2] is None
