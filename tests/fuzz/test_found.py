"""What the fuzzer found, each kind as a small model: what ran still runs, and computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, parser

import trtfuse
from trtfuse.run import GroupsAs

from .judge import session


def parsed(text: str, *, opset: int = 17, functions: str = "") -> ModelProto:
    header = f'<ir_version: 8, opset_import: ["": {opset}, "own": 1]>'
    return parser.parse_model(f"{header} g {text} {functions}")


def branch_that_does_not_fit() -> ModelProto:
    """A branch that adds [4] to [3], which ONNX Runtime sees once `s` is a constant."""
    return parsed(
        """(float[2, 6] x, bool which) => (float[?, ?] y)
        <int64[1] four = {4}, int64[1] three = {3}> {
          s = Concat<axis = 0>(four, three)
          a = Reshape(x, s)
          y = If(which)<
            then_branch = t () => (float[?, ?] u) { u = Relu(a) },
            else_branch = e () => (float[?, ?] w) <float[2] c = {1, 2}> { w = Add(a, c) }
          >
        }"""
    )


def branch_with_claims() -> ModelProto:
    """An If that is declared of another rank than its branches turn out to have."""
    made = parsed(
        """(float[2, 3] x, bool which) => (float[?] y) <int64[1] s = {-1}> {
          i = Identity(s)
          a = Reshape(x, i)
          y = If(which)<
            then_branch = t () => (float[?] u) { b = Identity(a) u = Relu(b) },
            else_branch = e () => (float[?] w) { w = Neg(a) }
          >
        }"""
    )
    made.graph.output[0].type.tensor_type.shape.dim.add()
    return made


def constant_in_a_function() -> ModelProto:
    return parsed(
        "(float[2] x) => (float[2] y) { z = own.four(x) y = Add(x, z) }",
        functions="""<domain: "own", opset_import: ["": 17]> four (v) => (w) {
          k = Constant<value_float = 2.0>() one = Constant<value_float = 1.0>()
          a = Mul(k, k) w = Mul(a, one)
        }""",
    )


def scales_that_cancel() -> ModelProto:
    """0.1 * (1 / 0.1) is not 1 in float64, and 1 once it is rounded."""
    return parsed("(float[3] x) => (float[3] y) <float c = {0.1}> { a = Mul(x, c) y = Div(a, c) }")


def allows_zero_of_minus_one() -> ModelProto:
    return parsed(
        """(float[N, 3, 4] x) => (float[?, ?, ?] y) <int64[2] s = {0, -1}, int64[3] t = {0, 3, 4}> {
          a = Reshape(x, s) y = Reshape<allowzero = -1>(a, t)
        }"""
    )


def claims_in_a_loop() -> ModelProto:
    """A Loop of constants whose body says of a vector that it is a scalar."""
    made = parsed(
        """(float[2] x) => (float[2] y) <int64 n = {2}, bool c = {1}, float[2] k = {1, 2}> {
          z = Loop(n, c, k)<body = b (int64 i, bool d, float[2] v) => (bool e, float[2] w) {
            e = Identity(d) w = Add(v, v)
          }>
          y = Add(x, z)
        }"""
    )
    (body,) = [a.g for a in made.graph.node[0].attribute]
    body.input[2].type.tensor_type.shape.dim[0].dim_value = 5
    body.output[1].type.tensor_type.shape.dim[0].dim_value = 5
    return made


def nothing_to_pool() -> ModelProto:
    return parsed(
        """(float[N, 2, 4, 4] x) => (float[?, ?, ?, ?] y) <float[0, 2, 1, 1] w = {}> {
          a = Conv(x, w) y = ReduceMean<axes = [-1, -2]>(a)
        }"""
    )


def mean_before_poolings() -> ModelProto:
    return parsed(
        """(float[1, 2, 4, 4] x) => (float[1, 2, 1, 1] y) <float[2, 2, 1, 1] w = {1, 2, 3, 4}> {
          a = Conv(x, w) y = ReduceMean<axes = [2, 3]>(a)
        }""",
        opset=6,
    )


def untyped_claim() -> ModelProto:
    made = parsed(
        """(float[2] x) => (float[2] y) {
          k = Constant<value = float[2] {1, 2}>() y = Add(x, k)
        }"""
    )
    info = made.graph.value_info.add(name="k")
    info.type.tensor_type.elem_type = TensorProto.UNDEFINED
    info.type.tensor_type.shape.dim.add().dim_value = 2
    return made


def far_step() -> ModelProto:
    """ONNX's inference follows the numbers of a Slice in 32 bits."""
    return parsed(
        """(float[8] x) => (float[?] y)
        <int64[1] s = {1}, int64[1] e = {7}, int64[1] k = {0}, int64[1] t = {2147483647}>
        { a = Slice(x, s, e, k) y = Slice(a, s, e, k, t) }"""
    )


FOUND = [
    branch_that_does_not_fit, branch_with_claims, constant_in_a_function, scales_that_cancel,
    allows_zero_of_minus_one, claims_in_a_loop, nothing_to_pool, mean_before_poolings,
    untyped_claim, far_step,
]  # fmt: skip


def feeds(made: ModelProto) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn: dict[str, Any] = {}
    for info in made.graph.input:
        tensor = info.type.tensor_type
        shape = [dim.dim_value or 2 for dim in tensor.shape.dim]
        drawn[info.name] = rng.standard_normal(shape).astype(np.float32)
        if tensor.elem_type == TensorProto.BOOL:
            drawn[info.name] = np.array(True)
    return drawn


@pytest.mark.parametrize("groups", ["flat", "functions", "off"])
@pytest.mark.parametrize("build", FOUND)
def test_what_ran_still_runs_and_computes_the_same(
    build: Callable[[], ModelProto], groups: GroupsAs
) -> None:
    made = build()
    given = feeds(made)
    expected = session(made.SerializeToString()).run(None, given)
    result = trtfuse.fuse(made, groups=groups, verify="none")
    found = session(result.model.SerializeToString()).run(None, given)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)
    again = trtfuse.fuse(result.model, groups=groups, verify="none")
    assert again.model.SerializeToString() == result.model.SerializeToString()
    if _passes(made):
        onnx.checker.check_model(result.model, full_check=True)


def _passes(made: ModelProto) -> bool:
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def test_a_model_that_no_runtime_would_load_afterwards_is_left_as_it_is() -> None:
    made = branch_that_does_not_fit()
    result = trtfuse.fuse(made)
    assert result.model.SerializeToString() == made.SerializeToString()
    assert result.report.fused == []
    (note,) = [note for note in result.report.notes if "left as it was" in note]
    assert note.startswith("the model is left as it was, since no runtime would load the result: ")
    cost = result.report.to_dict()["cost"]
    assert cost["before"] == cost["after"]
    assert trtfuse.explain(made).misses == []


def test_scales_that_cancel_once_they_are_rounded_go_at_once() -> None:
    result = trtfuse.fuse(scales_that_cancel(), verify="none")
    assert [node.op_type for node in result.model.graph.node] in (["Identity"], [])


def test_a_node_whose_name_is_not_utf_8_is_told_of() -> None:
    made = parsed("(float[2] x) => (float[2] y) { a = Relu(x) y = Relu(a) }")
    made.graph.node[1].name = "@@twice"
    content = made.SerializeToString().replace(b"@@twice", b"\xce@twice")
    session(content)
    result = trtfuse.fuse(content)
    (fusion,) = result.report.fused
    assert "\\xce@twice" in fusion.nodes


def test_a_domain_that_is_not_utf_8_is_refused() -> None:
    content = parsed("(float[2] x) => (float[2] y) { y = own.Foo(x) }").SerializeToString()
    with pytest.raises(trtfuse.ModelError, match="not UTF-8"):
        trtfuse.fuse(content.replace(b"own", b"\xceab"))


def test_a_bias_that_fits_no_product_is_told_of() -> None:
    made = parsed(
        """(float[2, 3] x) => (float[2, 2] y)
        <float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[4] b = {1, 2, 3, 4}, float s = {2}> {
          a = Gemm(x, w, b) y = Mul(a, s)
        }"""
    )
    report = trtfuse.explain(made)
    assert "the bias `b` of shape [4] does not broadcast to [M, 2]" in str(report.to_dict())


def test_what_needs_an_input_that_is_left_out_is_not_computed() -> None:
    """ONNX Runtime's Einsum ends the process without it."""
    made = parsed(
        """(float[2] x) => (float[2] y) <float[2] a = {1, 2}> {
          e = Einsum<equation = "i,i->i">(a, a) y = Add(x, e)
        }"""
    )
    made.graph.node[0].input[1] = ""
    result = trtfuse.fuse(made, verify="none")
    (because,) = [each.because for each in result.report.declined if each.at == "node_of_e"]
    assert because == "it cannot be computed: node_of_e has no input 1, which Einsum needs"


def test_a_range_without_end_is_not_followed() -> None:
    made = parsed(
        """(float[5] x) => (float[?] y)
        <int64 a = {0}, int64 b = {9223372036854775807}, int64 c = {2}> {
          i = Range(a, b, c) y = Gather(x, i)
        }"""
    )
    assert [node.op_type for node in trtfuse.fuse(made).model.graph.node] == ["Range", "Gather"]


def test_a_gemm_that_transposes_neither_yes_nor_no_is_left_alone() -> None:
    made = parsed(
        """(float[2, 4] x) => (float[2, 3] y)
        <float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, float s = {2}> {
          a = Gemm<transB = 2>(x, w) y = Mul(a, s)
        }"""
    )
    result = trtfuse.fuse(made)
    assert [node.op_type for node in result.model.graph.node] == ["Gemm", "Mul"]
    assert "its transA and transB are [0, 2], not 0 or 1" in str(trtfuse.explain(made).to_dict())


def test_a_gemm_of_which_runtimes_are_of_two_minds_is_refused() -> None:
    made = parsed("(float[2, 4] x, float[3, 4] w) => (float[2, 3] y) { y = Gemm(x, w) }")
    made.graph.node[0].attribute.append(onnx.helper.make_attribute("transB", -(2**63)))
    with pytest.raises(trtfuse.ModelError) as raised:
        trtfuse.fuse(made)
    assert str(raised.value) == (
        "node 'node_of_y' (Gemm) has transB = -9223372036854775808, which runtimes read as 0 or as "
        "another number; make it 0 or 1"
    )


def test_a_slice_backwards_to_the_largest_end_is_not_computed() -> None:
    made = parsed(
        """(float[3] x) => (float[3] y, float[?] z)
        <float[3] k = {1, 2, 3},
         int64[1] s = {-1}, int64[1] e = {9223372036854775807}, int64[1] a = {0}, int64[1] t = {-1}>
        { b = Slice(k, s, e, a, t) z = Neg(b) y = Neg(x) }"""
    )
    result = trtfuse.fuse(made)
    (because,) = [each.because for each in result.report.declined if each.at == "node_of_b"]
    assert because == "runtimes do not agree on what Slice node_of_b computes"


def test_a_loop_without_a_condition_in_it_is_not_computed() -> None:
    made = claims_in_a_loop()
    (condition,) = [tensor for tensor in made.graph.initializer if tensor.name == "c"]
    condition.CopyFrom(onnx.numpy_helper.from_array(np.zeros(0, np.bool_), "c"))
    result = trtfuse.fuse(made, verify="none")
    (because,) = [each.because for each in result.report.declined if each.at == "node_of_z"]
    assert because == "it cannot be computed: the condition of the Loop node_of_z is not one"
