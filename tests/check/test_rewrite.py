"""The check of one rewrite: right ones pass far below the tolerance, wrong ones do not pass.

The wrong ones are rules like those of the catalogue whose builders are spoiled, so that what is
tested is what `fuse` makes of them.
"""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fusing import rewrite
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

import trtfuse
from trtfuse.check.rewrite import INSTANCES, TOLERANCE
from trtfuse.ir.graph import Value
from trtfuse.ir.tensor import Array, FoldedTensor
from trtfuse.rewrite.pattern import Match, Pattern, const, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Built, Guard, Rule

CATALOGUE = {rule.name: rule for rule in trtfuse.rules()}

Dims = Sequence[int | str]

#: A hundredth of the tolerance. What rounding really does is smaller by another hundred.
FAR_BELOW = 1e-12


# Models


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Dims],
    output: Dims,
    constants: Mapping[str, Array],
    element_type: int = TensorProto.FLOAT,
    opset: int = 17,
) -> ModelProto:
    """A model that computes `z`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, element_type, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info("z", element_type, output)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def drawn(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Numbers of about 1, none of them near 0."""
    rng = np.random.default_rng([seed, *shape])
    signs: Array = rng.choice((-1.0, 1.0), shape) * rng.uniform(0.5, 2.0, shape)
    return signs.astype(dtype)


def convolution(
    operator: str = "Conv",
    group: int = 1,
    bias: bool = True,
    shift: bool = False,
    x: Dims = ("N", 4, 8, 8),
    dtype: Any = np.float32,
    weights: Array | None = None,
) -> ModelProto:
    """Four channels to four, times a number for each, and perhaps plus one for each."""
    w = drawn(4, 4 // group, 3, 3, dtype=dtype) if weights is None else weights
    constants = {"w": w, "s": drawn(4, 1, 1, dtype=dtype)}
    if bias:
        constants["b"] = drawn(4, dtype=dtype)
    nodes = [
        helper.make_node(operator, ["x", "w", "b"][: 2 + bias], ["y"], name="conv", group=group),
        helper.make_node("Mul", ["y", "s"], ["m" if shift else "z"], name="scale"),
    ]
    if shift:
        constants["t"] = drawn(4, 1, 1, dtype=dtype, seed=1)
        nodes.append(helper.make_node("Add", ["m", "t"], ["z"], name="shift"))
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model_of(nodes, {"x": x}, ["N", 4, "P", "Q"], constants, element_type)


def normalized(epsilon: float = 1e-5) -> ModelProto:
    constants = {name: drawn(4, seed=i) for i, name in enumerate(("gain", "bias", "mean"))}
    constants |= {"w": drawn(4, 4, 3, 3), "variance": np.abs(drawn(4, seed=3))}
    names = ["y", "gain", "bias", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
        helper.make_node("BatchNormalization", names, ["z"], name="bn", epsilon=epsilon),
    ]
    return model_of(nodes, {"x": ["N", 4, 8, 8]}, ["N", 4, "P", "Q"], constants)


def product(operator: str, x: Dims, dtype: Any = np.float32) -> ModelProto:
    """A Gemm with a bias or a MatMul of five channels to three, times a number for each."""
    constants = {"w": drawn(5, 3, dtype=dtype), "s": drawn(3, dtype=dtype)}
    names = ["x", "w"]
    if operator == "Gemm":
        names.append("b")
        constants["b"] = drawn(3, dtype=dtype)
    nodes = [
        helper.make_node(operator, names, ["y"], name="product"),
        helper.make_node("Mul", ["y", "s"], ["z"], name="scale"),
    ]
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model_of(nodes, {"x": x}, [*x[:-1], 3], constants, element_type)


def with_text(text: str, constants: Mapping[str, Array] | None = None) -> ModelProto:
    imports = 'ir_version: 8, opset_import: ["": 18, "com.example": 1]'
    model = parser.parse_model(f"<{imports}> g {text}")
    arrays = (constants or {}).items()
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays)
    return model


# Rules


def spoiled(change: Callable[[Match, Replacement, Value], Value], name: str = "conv-scale") -> Rule:
    """A rule of the catalogue whose result is changed afterwards."""
    right = CATALOGUE[name]

    def build(m: Match, new: Replacement) -> Value:
        built = right.build(m, new)
        assert isinstance(built, Value)
        return change(m, new, built)

    return Rule("spoiled", right.pattern, right.guards, build)


def rewriting(pattern: Pattern, build: Callable[[Match, Replacement], Built]) -> Rule:
    return Rule("rewriting", pattern, (), build)


def constant_changed(index: int, change: Callable[[Array], None]) -> Rule:
    """Conv-scale with one of its new constants changed: 0 the weights, 1 the bias."""

    def changed(_: Match, new: Replacement, built: Value) -> Value:
        value = new.constants[index]
        assert value.tensor is not None
        numbers = value.tensor.exact().copy()
        change(numbers)
        value.tensor = FoldedTensor(numbers, value.tensor.type)
        return built

    return spoiled(changed)


def refused(model: ModelProto, rule: Rule) -> str:
    """Why the check refuses a rule, which is all that stops it."""
    result = rewrite(model, rules=[rule])
    assert result.report.fused == []
    assert result.model == model
    (declined,) = result.report.declined
    assert (declined.rule, declined.guard) == (rule.name, "check")
    return declined.because


ERROR = re.compile(
    r"the two spellings do not compute the same: relative error (\S+) \(tolerance 1e-10\) "
    r"for (?:normal|wide|zero) x\[[12], 4, \d, \d\], seed 0"
)


def refused_error(model: ModelProto, rule: Rule) -> float:
    because = refused(model, rule)
    found = ERROR.fullmatch(because)
    assert found is not None, because
    return float(found[1])


# Right ones


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_right_rewrite_of_a_convolution_is_far_below_the_tolerance(
    operator: str, group: int, dtype: Any
) -> None:
    model = convolution(operator, group, shift=True, dtype=dtype)
    report = rewrite(model).report
    assert [fusion.rule for fusion in report.fused] == ["conv-scale", "conv-scale"]
    for fusion in report.fused:
        assert fusion.error is not None
        assert 0 <= fusion.error < FAR_BELOW
    assert report.verification.ok
    assert report.verification.level == "rewrite"
    assert report.verification.max_error == max(fusion.error or 0 for fusion in report.fused)
    assert report.verification.tolerance == TOLERANCE == 1e-10


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("operator", "x"), [("Gemm", ["N", 5]), ("MatMul", ["N", "T", 5])])
def test_a_right_rewrite_of_a_product_is_far_below_the_tolerance(
    operator: str, x: list[int | str], dtype: Any
) -> None:
    (fusion,) = rewrite(product(operator, x, dtype)).report.fused
    assert fusion.rule == "fc-scale"
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-5, 1.0])
def test_a_right_rewrite_of_a_normalization_is_far_below_the_tolerance(epsilon: float) -> None:
    (fusion,) = rewrite(normalized(epsilon)).report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_a_variance_of_nothing_under_an_epsilon_left_out_is_right() -> None:
    model = normalized()
    del model.graph.node[1].attribute[:]
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.zeros(4, "f"), "variance"))
    (fusion,) = rewrite(model).report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_outputs_of_the_statistics_that_nothing_reads_are_not_asked_for() -> None:
    model = normalized()
    model.opset_import[0].version = 9
    model.graph.node[1].output.extend(["m_out", "v_out", "m_saved", "v_saved"])
    (fusion,) = rewrite(model, skip=["identity-scale"]).report.fused
    assert fusion.rule == "conv-scale"
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_channels_far_apart_in_size_are_right_each_for_itself() -> None:
    weights = drawn(4, 4, 3, 3) * np.float32(10) ** np.array([-20, -10, 0, 18]).reshape(4, 1, 1, 1)
    (fusion,) = rewrite(convolution(bias=False, weights=weights.astype("f"))).report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


# Wrong ones


def test_the_weights_of_one_channel_may_not_be_off_by_a_millionth() -> None:
    def change(weights: Array) -> None:
        weights[2] *= 1 + 1e-6

    assert 1e-8 < refused_error(convolution(), constant_changed(0, change)) < 1e-5


def test_one_weight_may_not_be_off_by_a_millionth() -> None:
    def change(weights: Array) -> None:
        weights[2, 1, 0, 2] *= 1 + 1e-6

    assert 1e-9 < refused_error(convolution(), constant_changed(0, change)) < 1e-5


def test_the_bias_may_not_be_off_by_a_millionth() -> None:
    def change(bias: Array) -> None:
        bias *= 1 + 1e-6

    assert 1e-9 < refused_error(convolution(), constant_changed(1, change)) < 1e-5


def test_two_channels_may_not_be_swapped() -> None:
    def change(weights: Array) -> None:
        weights[[0, 1]] = weights[[1, 0]]

    assert refused_error(convolution(), constant_changed(0, change)) > 1e-2


def test_the_bias_may_not_be_forgotten() -> None:
    def forget(_: Match, new: Replacement, __: Value) -> Value:
        node = new.nodes.pop()
        x, w, _b = node.inputs
        return new.again(node, x, w)

    assert refused_error(convolution(), spoiled(forget)) > 1e-2


def test_the_shift_may_not_be_forgotten() -> None:
    def unshifted(m: Match, new: Replacement) -> Value:
        return m["conv"].then_scaled(new, m["scale"].scale.vector(), None)

    right = CATALOGUE["conv-scale"]
    rule = Rule("unshifted", right.pattern, right.guards, unshifted)
    assert refused_error(normalized(), rule) > 1e-2


def test_the_epsilon_of_a_normalization_may_not_be_dropped() -> None:
    def without_epsilon(m: Match, new: Replacement) -> Value:
        names = ("gain", "bias", "mean", "variance")
        bn = m["scale"].node
        values = dict(zip(names, bn.inputs[1:], strict=True))
        gain, bias, mean, variance = (values[name].tensor.exact() for name in names)
        scale = gain / np.sqrt(variance)
        return m["conv"].then_scaled(new, scale, bias - mean * scale)

    right = CATALOGUE["conv-scale"]
    rule = Rule("without-epsilon", right.pattern, right.guards, without_epsilon)
    # Half of 1e-5 relative to variances of about 1.
    assert 1e-7 < refused_error(normalized(), rule) < 1e-4
    # What is too small to be in the float32 weights at all is found as well.
    assert 1e-10 < refused_error(normalized(1e-8), rule) < 1e-7


def test_the_channels_of_a_grouped_deconvolution_may_not_be_taken_along_the_wrong_axis() -> None:
    def along_the_input(m: Match, new: Replacement) -> Value:
        conv, scale = m["conv"], m["scale"].scale.vector()
        w = new.constant(conv.weight.scaled(conv.columns(scale)), conv.weight.type, conv.w)
        b = new.constant(conv.exact_bias() * scale, conv.weight.type, conv.b)
        return conv.rebuilt(new, conv.x, w, b)

    right = CATALOGUE["conv-scale"]
    rule = Rule("along-the-input", right.pattern, right.guards, along_the_input)
    assert refused_error(convolution("ConvTranspose", group=2), rule) > 1e-2


def test_the_groups_of_a_deconvolution_may_not_be_taken_for_one() -> None:
    def one_group(m: Match, new: Replacement) -> Value:
        conv, scale = m["conv"], m["scale"].scale.vector()
        # (C, M / group, ...) with the scale of the first group for both.
        factor = scale[: conv.weight.shape[1]].reshape(1, -1, 1, 1)
        w = new.constant(conv.weight.scaled(factor), conv.weight.type, conv.w)
        b = new.constant(conv.exact_bias() * scale, conv.weight.type, conv.b)
        return conv.rebuilt(new, conv.x, w, b)

    right = CATALOGUE["conv-scale"]
    rule = Rule("one-group", right.pattern, right.guards, one_group)
    assert refused_error(convolution("ConvTranspose", group=2), rule) > 1e-2


@pytest.mark.parametrize("ratio", [1e2, 1e5, 1e8])
@pytest.mark.parametrize("off_by", [1e-3, 1e-6])
def test_a_small_channel_beside_a_huge_one_does_not_hide(ratio: float, off_by: float) -> None:
    weights = drawn(4, 4, 3, 3)
    weights[3] *= ratio

    def change(numbers: Array) -> None:
        numbers[0] *= 1 + off_by

    model = convolution(bias=False, weights=weights)
    error = refused_error(model, constant_changed(0, change))
    assert error > off_by / 100


def test_the_shape_may_not_change() -> None:
    def longer(_: Match, new: Replacement, built: Value) -> Value:
        axes = new.constant(FoldedTensor(np.array([0]), TensorProto.INT64), TensorProto.INT64, "a")
        return new.Unsqueeze(built, axes)

    assert refused(convolution(), spoiled(longer)) == (
        "the two spellings do not compute the same: "
        "float64[1, 4, 2, 2] becomes float64[1, 1, 4, 2, 2] for normal x[1, 4, 4, 4], seed 0"
    )


def test_the_type_may_not_change() -> None:
    def whole(_: Match, new: Replacement, built: Value) -> Value:
        return new.Cast(built, to=TensorProto.INT64)

    assert refused(convolution(), spoiled(whole)) == (
        "the two spellings do not compute the same: "
        "float64[1, 4, 2, 2] becomes int64[1, 4, 2, 2] for normal x[1, 4, 4, 4], seed 0"
    )


@pytest.mark.parametrize("by", ["infinite", "none"])
def test_a_finite_number_may_not_become_infinite_or_none(by: str) -> None:
    def divided(_: Match, new: Replacement, built: Value) -> Value:
        zero = new.constant(np.array(0.0), TensorProto.FLOAT, "zero")
        return new.Div(built, zero if by == "infinite" else new.Mul(built, zero))

    assert refused(convolution(), spoiled(divided)) == (
        "the two spellings do not compute the same: "
        "a finite number becomes infinite or none for normal x[1, 4, 4, 4], seed 0"
    )


def test_an_infinite_number_may_become_finite() -> None:
    # exp(100 x) leaves even float64 where x is large enough; the sum of its logarithms does not.
    model = with_text(
        "(float[N, 6] x) => (float[N, 1] z)"
        " { h = Mul(x, hundred)  e = Exp(h)  s = ReduceSum(e, last)  z = Log(s) }",
        {"hundred": np.array(100, "f"), "last": np.array([1])},
    )
    scaled = op.Mul(var("x"), const("hundred"))
    pattern = op.Log(op.ReduceSum(op.Exp(scaled), const("axes")))
    rule = rewriting(
        pattern, lambda m, new: new.ReduceLogSumExp(new.Mul(m["x"], m["hundred"]), m["axes"])
    )
    (fusion,) = rewrite(model, rules=[rule]).report.fused
    assert fusion.error is not None
    assert fusion.error < 1e-13
    # Where it is finite, it has to be right nevertheless.
    wrong = rewriting(pattern, lambda m, new: new.ReduceLogSumExp(m["x"], m["axes"]))
    assert "relative error" in refused(model, wrong)


def test_an_infinite_number_may_not_change_its_sign() -> None:
    model = with_text(
        "(float[N, 4] x) => (float[N, 4] z) { a = Abs(x)  n = Mul(a, zero)  z = Log(n) }",
        {"zero": np.array(0, "f")},
    )
    rule = rewriting(
        op.Log(op.Mul(op.Abs(var("x")), const("zero"))),
        lambda m, new: new.Neg(new.Log(new.Mul(new.Abs(m["x"]), m["zero"]))),
    )
    assert refused(model, rule) == (
        "the two spellings do not compute the same: "
        "an infinite number becomes another that is not finite for normal x[1, 4], seed 0"
    )


def test_integers_have_to_be_equal() -> None:
    model = with_text(
        "(int64[N, 3] x) => (int64[N, 3] z) { z = Add(x, one) }", {"one": np.array([1])}
    )
    pattern = op.Add(var("x"), const("one"))
    twice = rewriting(pattern, lambda m, new: new.Add(new.Add(m["x"], m["one"]), m["one"]))
    assert refused(model, twice) == (
        "the two spellings do not compute the same: integers differ for normal x[1, 3], seed 0"
    )
    other = rewriting(pattern, lambda m, new: new.Sub(m["x"], new.Neg(m["one"])))
    (fusion,) = rewrite(model, rules=[other]).report.fused
    assert fusion.error == 0


def test_what_is_wrong_only_where_an_input_is_negative_is_found() -> None:
    model = with_text("(float[N, 3] x) => (float[N, 3] z) { z = Abs(x) }")
    rule = rewriting(op.Abs(var("x")), lambda m, new: new.Identity(m["x"]))
    assert "relative error" in refused(model, rule)


def test_what_is_wrong_only_at_zero_is_found() -> None:
    model = with_text("(float[N, 3] x) => (float[N, 3] z) { z = Sign(x) }")
    rule = rewriting(op.Sign(var("x")), lambda m, new: new.Div(m["x"], new.Abs(m["x"])))
    because = refused(model, rule)
    assert "a finite number becomes infinite or none for wide x[1, 3], seed 0" in because


def test_a_number_that_is_next_to_none_hides_nothing() -> None:
    # The root of 0 is 0, and of anything a hair below 0 it is none.
    model = with_text(
        "(float[N, 64] x) => (float[N, 64] z) { d = Sub(a, b)  r = Sqrt(d)  z = Add(x, r) }",
        {"a": np.ones(64, "f"), "b": np.ones(64, "f")},
    )

    def wrong(m: Match, new: Replacement) -> Value:
        return new.Add(m["x"], new.constant(np.array(5.0), TensorProto.FLOAT, "five"))

    pattern = op.Add(var("x"), op.Sqrt(op.Sub(const("a"), const("b"))))
    assert "relative error" in refused(model, rewriting(pattern, wrong))


def test_a_rewrite_that_holds_for_one_batch_size_only_is_refused() -> None:
    model = with_text(
        "(float[N, 3, 4] x) => (float[N, 3, 4] z) { z = Mul(x, one) }", {"one": np.array(1, "f")}
    )

    def fixed(m: Match, new: Replacement) -> Value:
        shape = FoldedTensor(np.array([1, 3, 4]), TensorProto.INT64)
        return new.Reshape(m["x"], new.constant(shape, TensorProto.INT64, "shape"))

    because = refused(model, rewriting(op.Mul(var("x"), const("one")), fixed))
    assert because.endswith(" for normal x[2, 3, 4], seed 0")


# What cannot be evaluated


def test_a_node_that_cannot_be_evaluated_declines_with_a_sentence() -> None:
    model = normalized()
    pattern = op.BatchNormalization(
        var("x"), const("a"), const("b"), const("c"), const("d"), training_mode=1
    )
    model.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    rule = rewriting(pattern, lambda m, new: new.Identity(m["x"]))
    assert refused(model, rule) == (
        "it could not be evaluated in float64: "
        "NotImplementedError: a BatchNormalization that is no Scale"
    )


@pytest.mark.parametrize("where", ["old", "new"])
def test_an_operator_of_another_domain_declines_with_a_sentence(where: str) -> None:
    model = with_text(
        "(float[N, 4] x) => (float[N, 4] z) { z = com.example.Thing(x) }"
        if where == "old"
        else "(float[N, 4] x) => (float[N, 4] z) { z = Relu(x) }"
    )
    if where == "old":
        pattern: Pattern = op["com.example::Thing"](var("x"))
        rule = rewriting(pattern, lambda m, new: new.Relu(m["x"]))
    else:
        rule = rewriting(op.Relu(var("x")), lambda m, new: new.op("com.example::Thing", m["x"]))
    because = refused(model, rule)
    assert because.startswith("it could not be evaluated in float64: NotImplementedError: ")
    assert "'Thing' from domain 'com.example'" in because


# Shapes


@pytest.mark.parametrize(
    "x", [["N", 4, "H", "W"], ["N", "C", "H", "W"], [4, 4, 8, 8], [1, 4, 3, 3], ["H", 4, "H", "H"]]
)
def test_a_convolution_is_checked_whatever_of_its_shape_is_known(x: list[int | str]) -> None:
    (fusion,) = rewrite(convolution(x=x)).report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_a_convolution_of_unknown_rank_is_checked() -> None:
    model = convolution(x=["A", "B"])
    model.graph.input[0].name = "flat"
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, ["R"]))
    model.graph.node.insert(0, helper.make_node("Reshape", ["flat", "shape"], ["x"]))
    (fusion,) = rewrite(model).report.fused
    assert fusion.rule == "conv-scale"
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_a_shuffle_of_unknown_rank_is_checked_at_the_rank_that_it_needs() -> None:
    model = with_text(
        "(float[A, B] flat, int64[R] shape) => (float[P, Q, S, T, U] z) {"
        " x = Reshape(flat, shape)  y = Transpose<perm=[1, 0, 2, 4, 3]>(x)"
        " z = Transpose<perm=[4, 0, 2, 3, 1]>(y) }"
    )
    (fusion,) = rewrite(model, rules=["shuffle-shuffle"]).report.fused
    assert fusion.error == 0


def test_what_the_old_spelling_rounds_on_the_way_is_no_error_of_the_new_one() -> None:
    model = with_text(
        "(float[2, 3] x) => (float[2, 3] z) { y = Add(x, large)  z = Sub(y, large) }",
        {"large": np.array(1e8, "f")},
    )
    pattern = op.Sub(op.Add(var("x"), var("c")), var("c"))
    (fusion,) = rewrite(model, rules=[rewriting(pattern, lambda m, _: m["x"])]).report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_a_uniform_scale_of_unknown_rank_is_checked() -> None:
    model = with_text(
        "(float[A, B] flat, int64[R] shape) => (float[P, Q] z)"
        " { x = Reshape(flat, shape)  z = Mul(x, one) }",
        {"one": np.array(1, "f")},
    )
    (fusion,) = rewrite(model, rules=["identity-scale"]).report.fused
    assert fusion.error == 0


@pytest.mark.parametrize(
    "before", ["a = Reshape(x, shape)", "a = Relu(x)"], ids=["unknown rank", "open channels"]
)
def test_a_normalization_that_does_nothing_is_checked_on_its_channels(before: str) -> None:
    model = with_text(
        "(float[N, C, H] x, int64[R] shape) => (float[P, Q, S] z)"
        f" {{ {before}  z = BatchNormalization<epsilon = 0.0>(a, one, zero, zero, one) }}",
        {"one": np.ones(5, "f"), "zero": np.zeros(5, "f")},
    )
    report = rewrite(model, rules=["identity-scale"]).report
    assert [declined.because for declined in report.declined] == []
    (fusion,) = report.fused
    assert fusion.error == 0


@pytest.mark.parametrize(
    ("operator", "x"),
    [("Gemm", ["N", "K"]), ("Gemm", [7, 5]), ("MatMul", ["N", "K"]), ("MatMul", ["N", "T", "K"])],
)
def test_a_product_is_checked_whatever_of_its_shape_is_known(
    operator: str, x: list[int | str]
) -> None:
    report = rewrite(product(operator, x)).report
    assert [declined.because for declined in report.declined] == []
    (fusion,) = report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


def test_a_gemm_of_unknown_rank_is_checked() -> None:
    model = product("Gemm", ["A", "B"])
    model.graph.input[0].name = "flat"
    model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, ["R"]))
    model.graph.node.insert(0, helper.make_node("Reshape", ["flat", "shape"], ["x"]))
    report = rewrite(model).report
    assert [declined.because for declined in report.declined] == []
    assert [fusion.rule for fusion in report.fused] == ["fc-scale"]


def test_a_symbol_has_one_size_in_all_that_is_drawn() -> None:
    model = with_text(
        "(float[N, S] x, float[S, M] y) => (float[N, M] z) { p = MatMul(x, y)  z = Mul(p, c) }",
        {"c": np.array(2, "f")},
    )
    rule = rewriting(
        op.Mul(op.MatMul(var("x"), var("y")), const("c")),
        lambda m, new: new.MatMul(new.Mul(m["x"], m["c"]), m["y"]),
    )
    report = rewrite(model, rules=[rule]).report
    assert [declined.because for declined in report.declined] == []
    (fusion,) = report.fused
    assert fusion.error is not None
    assert fusion.error < FAR_BELOW


# Sharing


def chain(
    count: int,
    length: int | str = 16,
    size: Callable[[int], int] = lambda _: 1,
    dilation: Callable[[int], int] = lambda _: 1,
    bias: Callable[[int], bool] = lambda _: False,
) -> ModelProto:
    """As many convolutions of one channel and scales, each of weights of its own."""
    nodes: list[NodeProto] = []
    constants: dict[str, Array] = {}
    for i in range(count):
        constants |= {f"w{i}": drawn(1, 1, size(i), seed=i), f"s{i}": drawn(1, seed=100 + i)}
        names = [f"h{i}" if i else "x", f"w{i}"]
        if bias(i):
            names.append(f"b{i}")
            constants[f"b{i}"] = drawn(1, seed=200 + i)
        # None of it makes the sequence longer or shorter.
        pads = [size(i) // 2] * 2
        out = f"h{i + 1}" if i + 1 < count else "z"
        nodes += [
            helper.make_node(
                "Conv", names, [f"y{i}"], name=f"conv{i}", pads=pads, dilations=[dilation(i)]
            ),
            helper.make_node("Mul", [f"y{i}", f"s{i}"], [out], name=f"scale{i}"),
        ]
    return model_of(nodes, {"x": ["N", 1, length]}, ["N", 1, "M"], constants)


def scaled(model: ModelProto, **options: Any) -> trtfuse.Report:
    return rewrite(model, rules=["conv-scale"], **options).report


def test_after_eight_of_one_structure_the_others_share_their_check() -> None:
    report = scaled(chain(12))
    assert INSTANCES == 8
    assert len(report.fused) == 12
    assert report.verification.checked == 8
    assert report.verification.notes == [
        "4 rewrites shared the check of 8 others with the same structure"
    ]
    errors = [fusion.error or 0.0 for fusion in report.fused]
    assert errors[8:] == [max(errors[:8])] * 4
    assert report.verification.max_error == max(errors)


def test_what_has_no_fixed_sizes_shares_as_well() -> None:
    # Inference gives each of the lengths in between a symbol of its own.
    report = scaled(chain(24, length="L"))
    assert len(report.fused) == 24
    # The first and the last may stand alone, since the graph itself states their lengths.
    assert INSTANCES <= report.verification.checked <= INSTANCES + 2


def test_eight_of_one_structure_share_nothing() -> None:
    report = scaled(chain(8))
    assert report.verification.checked == 8
    assert report.verification.notes == []


@pytest.mark.parametrize(
    "differing",
    [
        {"dilation": lambda i: 1 + i % 2},
        {"size": lambda i: 1 + 2 * (i % 2)},
        {"bias": lambda i: i % 2 == 1},
    ],
    ids=["attribute", "shape", "wiring"],
)
def test_nothing_is_shared_across_what_differs(differing: dict[str, Any]) -> None:
    report = scaled(chain(16, **differing))
    assert len(report.fused) == 16
    assert report.verification.checked == 16
    assert report.verification.notes == []


def test_nothing_is_shared_across_types() -> None:
    model = chain(16)
    for tensor in model.graph.initializer:
        if int(tensor.name[1:]) >= 8:
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    model.graph.node.insert(16, helper.make_node("Cast", ["h8"], ["wide"], to=TensorProto.DOUBLE))
    model.graph.node[17].input[0] = "wide"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    report = scaled(model)
    assert len(report.fused) == 16
    assert report.verification.checked == 16


def test_nothing_is_shared_across_rules() -> None:
    right = CATALOGUE["conv-scale"]
    model = chain(16)

    def half(name: str, low: int, high: int) -> Rule:
        guards = (
            Guard(
                "half",
                lambda m: None if low <= int(m["conv"].product.proto.name[4:]) < high else "other",
            ),
        )
        return Rule(name, right.pattern, guards, right.build)

    report = rewrite(model, rules=[half("a", 0, 8), half("b", 8, 16)]).report
    assert [fusion.rule for fusion in report.fused] == ["a"] * 8 + ["b"] * 8
    assert report.verification.checked == 16


def test_a_refused_one_is_not_one_of_the_eight() -> None:
    def wrong_at_first(m: Match, new: Replacement, built: Value) -> Value:
        if int(m["conv"].product.proto.name[4:]) >= 3:
            return built
        return new.Neg(built)

    report = rewrite(chain(11), rules=[spoiled(wrong_at_first)]).report
    assert [declined.at for declined in report.declined] == ["scale0", "scale1", "scale2"]
    assert len(report.fused) == 8
    assert report.verification.notes == []


# The seed


def test_the_same_seed_draws_the_same() -> None:
    model = chain(6)
    once, again, other = (
        [fusion.error for fusion in scaled(model, seed=seed).fused] for seed in (3, 3, 4)
    )
    assert once == again
    assert once != other


def test_a_refusal_names_the_seed() -> None:
    def change(weights: Array) -> None:
        weights[0] *= 2

    result = rewrite(convolution(), rules=[constant_changed(0, change)], seed=17)
    (declined,) = result.report.declined
    assert declined.because.endswith(", seed 17")


# Memory


def test_the_check_of_a_large_product_takes_a_few_times_its_weights() -> None:
    size = 4096
    constants = {
        "w": np.ones((size, size), np.float32),
        "b": drawn(size),
        "s": drawn(size),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="product"),
        helper.make_node("Mul", ["y", "s"], ["z"], name="scale"),
    ]
    model = model_of(nodes, {"x": ["N", size]}, ["N", size], constants)
    del constants
    tracemalloc.start()
    try:
        report = rewrite(model).report
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (fusion,) = report.fused
    assert fusion.error is not None
    assert fusion.error < 1e-12
    # The weights are 64 MiB, 128 in float64, and both spellings have theirs.
    assert peak < 640 << 20
