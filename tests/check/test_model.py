"""The check of a whole model: what really differs is found, what rounds differently is let pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite
from models import model
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

import trtfuse
from trtfuse.check.difference import MARGIN
from trtfuse.check.model import running_shapes
from trtfuse.ir.tensor import Array
from trtfuse.model.model import Model


def with_text(text: str, ir_version: int = 8, opset: int = 17) -> ModelProto:
    header = f'ir_version: {ir_version}, opset_import: ["": {opset}]'
    return parser.parse_model(f"<{header}> g {text}")


def network(
    dtype: Any = np.float32, change: Callable[[dict[str, Array]], None] = lambda _: None
) -> ModelProto:
    """Two convolutions, a pooling and a product; `change` may change the weights."""
    rng = np.random.default_rng(0)
    shapes = {
        "w1": (6, 3, 3, 3),
        "b1": (6,),
        "w2": (6, 6, 3, 3),
        "b2": (6,),
        "w3": (6, 4),
        "b3": (4,),
    }
    weights = {name: rng.standard_normal(shape) / 3 for name, shape in shapes.items()}
    change(weights)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["y1"], name="conv1"),
        helper.make_node("Relu", ["y1"], ["z1"]),
        helper.make_node("Conv", ["z1", "w2", "b2"], ["y2"], name="conv2"),
        helper.make_node("GlobalAveragePool", ["y2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["z"], name="product"),
    ]
    constants = {name: array.astype(dtype) for name, array in weights.items()}
    return model_of(nodes, {"x": ["N", 3, 12, 12]}, {"z": ["N", 4]}, constants, dtype)


def model_of(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, Array],
    dtype: Any = np.float32,
) -> ModelProto:
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def infos(shapes: Mapping[str, Sequence[int | str]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, element_type, s) for name, s in shapes.items()]

    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), tensors)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def relu() -> ModelProto:
    return with_text("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")


# What agrees


def test_a_model_agrees_with_itself_to_the_last_bit() -> None:
    found = trtfuse.verify(network(), network())
    assert found.ok
    assert found.level == "model"
    assert found.max_error == 0
    assert found.checked == 4
    assert found.notes == []


def test_rounding_in_another_order_agrees() -> None:
    text = "(float[N, 64] x) => (float[N, 1] y) {{ {} }}"
    first = with_text(text.format("y = ReduceSum(x, last)"))
    second = with_text(
        text.format(
            "a, b = Split<axis = 1>(x)  s = ReduceSum(b, last)  t = ReduceSum(a, last)"
            "  y = Add(s, t)"
        )
    )
    for each in (first, second):
        each.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    found = trtfuse.verify(first, second)
    assert found.ok
    assert 0 < found.max_error < found.tolerance < 1e-4


def test_a_fused_model_agrees_within_a_fraction_of_the_tolerance() -> None:
    model = network()
    scale = numpy_helper.from_array(np.arange(1, 7, dtype="f").reshape(6, 1, 1), "s")
    model.graph.initializer.append(scale)
    model.graph.node.insert(1, helper.make_node("Mul", ["y1", "s"], ["m1"], name="scale"))
    model.graph.node[2].input[0] = "m1"
    result = rewrite(model, rules=["conv-scale"], verify="model")
    assert [fusion.rule for fusion in result.report.fused] == ["conv-scale"]
    assert result.ok
    assert 0 < result.report.verification.max_error < result.report.verification.tolerance / 4


@pytest.mark.parametrize("c", [100.0, 3000.1, 1e6])
def test_a_fusion_that_rounds_less_agrees(c: float) -> None:
    # What the original adds and takes away again costs it digits that the fused model keeps.
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 3, 1, 1)).astype("f"),
        "c": np.full((4, 1, 1), c, "f"),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("Add", ["y", "c"], ["u"]),
        helper.make_node("Sub", ["u", "c"], ["z"]),
    ]
    model = model_of(nodes, {"x": ["N", 3, 2, 2]}, {"z": ["N", 4, 2, 2]}, constants)
    result = rewrite(model, verify="model")
    assert len(result.report.fused) == 2
    assert result.report.verification.notes == []
    assert result.ok


def test_numbers_that_shapes_are_made_of_may_not_keep_the_model_from_running() -> None:
    # Were 0.5 a hair smaller, the Reshape would not be one.
    model = with_text(
        "(float[N, 8] x) => (float[M, 4] y) <float[1] half = {0.5}, float[1] two = {2},"
        " int64[1] at = {1}, int64[1] all = {-1}>"
        " { s = Shape(x)  n = Gather(s, at)  f = Cast<to = 1>(n)  g = Mul(f, half)"
        "  h = Cast<to = 7>(g)  t = Concat<axis = 0>(all, h)  r = Reshape(x, t)"
        "  y = Mul(r, two) }"
    )
    assert trtfuse.verify(model, model).ok


def test_outputs_that_are_not_computed_from_the_inputs_agree() -> None:
    model = with_text(
        "(float[N, 3] x) => (float[2] c, float[N, 3] x, float[N, 3] zero, float[N, 0] none)"
        " <float[2] w = {1, 2}, float[1] n = {0}, int64[2] sizes = {0, -1}, int64[1] b = {0},"
        " int64[1] e = {0}, int64[1] axis = {1}>"
        " { c = Identity(w)  zero = Mul(x, n)  none = Slice(x, b, e, axis) }"
    )
    found = trtfuse.verify(model, model)
    assert found.ok
    assert found.checked == 16


def test_a_model_without_inputs_agrees() -> None:
    model = with_text("() => (float[2] y) <float[2] w = {1, 2}> { y = Relu(w) }")
    found = trtfuse.verify(model, model)
    assert found.ok
    assert found.checked == 4


def test_a_scalar_input_is_taken() -> None:
    model = with_text(
        "(float x, int64 n, bool b) => (float y, int64 m, bool c)"
        " { y = Relu(x)  m = Neg(n)  c = Not(b) }"
    )
    found = trtfuse.verify(model, model)
    assert found.ok
    assert found.checked == 12


def test_a_scalar_weight_is_taken() -> None:
    model = with_text(
        "(float[N, 3] x) => (float[N, 3] y) <float slope = {0.25}> { y = PRelu(x, slope) }"
    )
    assert trtfuse.verify(model, model).ok


def test_strings_and_truth_values_are_compared() -> None:
    model = with_text(
        "(string[N] s, bool[N, 2] b) => (string[N] t, bool[N, 2] c) { t = Identity(s)  c = Not(b) }"
    )
    found = trtfuse.verify(model, model)
    assert found.ok
    assert found.checked == 8
    other = with_text(
        "(string[N] s, bool[N, 2] b) => (string[N] t, bool[N, 2] c)"
        ' <bool[1] yes = {1}, string[1] u = {"b"}> { t = Where(yes, u, s)  c = Identity(b) }'
    )
    found = trtfuse.verify(model, other)
    assert found.notes == [
        "output 't' (normal inputs, batch 1) differs in 1 of 1 elements",
        "output 'c' (normal inputs, batch 1) differs in 2 of 2 elements",
        "output 't' (wide inputs, batch 2) differs in 2 of 2 elements",
        "output 'c' (wide inputs, batch 2) differs in 4 of 4 elements",
        "output 't' (zero inputs, batch 1) differs in 1 of 1 elements",
        "output 'c' (zero inputs, batch 1) differs in 2 of 2 elements",
        "output 't' (normal inputs, batch 2) differs in 2 of 2 elements",
        "output 'c' (normal inputs, batch 2) differs in 4 of 4 elements",
    ]


# What differs


@pytest.mark.parametrize("name", ["w1", "b1", "w2", "w3", "b3"])
def test_weights_that_are_off_by_a_thousandth_are_found(name: str) -> None:
    def change(weights: dict[str, Array]) -> None:
        weights[name] *= 1.001

    found = trtfuse.verify(network(), network(change=change))
    assert not found.ok
    assert 1e-5 < found.max_error < 3e-3
    assert found.max_error > 4 * found.tolerance
    assert found.notes[0].startswith("output 'z' (")
    assert f"differs by {found.max_error:.2g} of its largest number" in "".join(found.notes)


def test_one_weight_that_is_off_by_a_thousandth_is_found() -> None:
    def change(weights: dict[str, Array]) -> None:
        weights["w2"][3, 2, 1, 1] *= 1.001

    assert not trtfuse.verify(network(), network(change=change)).ok


def test_an_epsilon_that_is_dropped_is_found() -> None:
    text = (
        "(float[N, 2, 4] x) => (float[N, 2, 4] y)"
        " <float[2] s = {1, 2}, float[2] b = {0.5, -1}, float[2] m = {0.1, -0.2},"
        " float[2] v = {0.5, 0.7}>"
        " { y = BatchNormalization<epsilon = EPSILON>(x, s, b, m, v) }"
    )
    first = with_text(text.replace("EPSILON", "0.00001"))
    second = with_text(text.replace("EPSILON", "0.0"))
    found = trtfuse.verify(first, second)
    assert not found.ok
    assert 1e-6 < found.max_error < 1e-4


def test_what_differs_for_one_sign_only_is_found() -> None:
    identity = with_text("(float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }")
    found = trtfuse.verify(relu(), identity)
    assert not found.ok
    assert not any("zero inputs" in note for note in found.notes)


def test_what_differs_for_one_batch_only_is_found() -> None:
    # The mean over the batch is nothing but the number itself for a batch of one.
    first = with_text("(float[N, 3] x) => (float[1, 3] y) { y = ReduceMean<axes = [0]>(x) }")
    second = with_text("(float[N, 3] x) => (float[1, 3] y) { y = ReduceMax<axes = [0]>(x) }")
    found = trtfuse.verify(first, second)
    assert not found.ok
    assert [note.partition(" differs by ")[0] for note in found.notes] == [
        "output 'y' (wide inputs, batch 2)",
        "output 'y' (normal inputs, batch 2)",
    ]


def test_another_shape_is_found() -> None:
    other = with_text(
        "(float[N, 3] x) => (float[N, 3, 1] y) <int64[1] two = {2}>"
        " { r = Relu(x)  y = Unsqueeze(r, two) }"
    )
    found = trtfuse.verify(relu(), other)
    assert found.notes[:2] == [
        "output 'y' (normal inputs, batch 1) is float32[1, 3, 1], not float32[1, 3]",
        "output 'y' (wide inputs, batch 2) is float32[2, 3, 1], not float32[2, 3]",
    ]
    assert not found.ok


def test_another_type_is_found() -> None:
    other = with_text("(float[N, 3] x) => (double[N, 3] y) { r = Relu(x)  y = Cast<to = 11>(r) }")
    found = trtfuse.verify(relu(), other)
    assert found.notes[0] == (
        "output 'y' (normal inputs, batch 1) is float64[1, 3], not float32[1, 3]"
    )
    assert not found.ok


def test_integers_that_differ_are_counted() -> None:
    text = "(int64[N, 4] x) => (int64[N, 4] y) <int64[4] c = {CONSTANTS}> { y = Add(x, c) }"
    first = with_text(text.replace("CONSTANTS", "1, 2, 3, 4"))
    second = with_text(text.replace("CONSTANTS", "1, 2, 4, 4"))
    found = trtfuse.verify(first, second)
    assert not found.ok
    assert found.notes == [
        "output 'y' (normal inputs, batch 1) differs in 1 of 4 elements",
        "output 'y' (wide inputs, batch 2) differs in 2 of 8 elements",
        "output 'y' (zero inputs, batch 1) differs in 1 of 4 elements",
        "output 'y' (normal inputs, batch 2) differs in 2 of 8 elements",
    ]


def test_an_index_that_rounding_decides_may_differ() -> None:
    # Both numbers are the same but for rounding, so which of them is the larger is open.
    text = (
        "(float[N, 8] x) => (int64[N, 8] y) <float[1] third = {0.33333334}, float[1] t = {3},"
        " int64[1] axis = {2}>"
        " { a = Mul(x, third)  b = Div(x, t)  ua = Unsqueeze(a, axis)  ub = Unsqueeze(b, axis)"
        "  c = Concat<axis = 2>(FIRST)  y = ArgMax<axis = 2, keepdims = 0>(c) }"
    )
    first = with_text(text.replace("FIRST", "ua, ub"))
    found = trtfuse.verify(first, first)
    assert found.ok
    # Where the original is steady, its indices are to be met exactly.
    steady = with_text("(float[N, 8] x) => (int64[N, 1] y) { y = ArgMax<axis = 1>(x) }")
    other = with_text("(float[N, 8] x) => (int64[N, 1] y) { y = ArgMin<axis = 1>(x) }")
    assert trtfuse.verify(steady, other).notes[0] == (
        "output 'y' (normal inputs, batch 1) differs in 1 of 1 elements"
    )


def test_a_number_that_becomes_none_is_found() -> None:
    other = with_text(
        "(float[N, 3] x) => (float[N, 3] y) <float[1] n = {0}>"
        " { z = Mul(x, n)  d = Div(z, z)  r = Relu(x)  y = Add(r, d) }"
    )
    found = trtfuse.verify(relu(), other)
    assert found.notes == [
        "output 'y' (normal inputs, batch 1) has 3 elements that were finite and no longer are",
        "output 'y' (wide inputs, batch 2) has 6 elements that were finite and no longer are",
        "output 'y' (zero inputs, batch 1) has 3 elements that were finite and no longer are",
        "output 'y' (normal inputs, batch 2) has 6 elements that were finite and no longer are",
    ]
    assert not found.ok


def test_an_overflow_that_goes_away_is_noted_and_agrees() -> None:
    text = (
        "(float[N, 3] x) => (float[N, 1] y) <int64[1] last = {1}, float[1] c = {200}>"
        " { a = Abs(x)  p = Add(a, c)  SPELLING }"
    )
    spelled = "e = Exp(p)  s = ReduceSum(e, last)  y = Log(s)"
    fused = "y = ReduceLogSumExp<axes = [1]>(p)"
    first, second = (with_text(text.replace("SPELLING", each)) for each in (spelled, fused))
    found = trtfuse.verify(first, second)
    assert found.ok
    assert found.notes == [
        "output 'y' (normal inputs, batch 1) has 1 elements that were not finite and now are",
        "output 'y' (wide inputs, batch 2) has 2 elements that were not finite and now are",
        "output 'y' (zero inputs, batch 1) has 1 elements that were not finite and now are",
        "output 'y' (normal inputs, batch 2) has 2 elements that were not finite and now are",
        "output 'y' is the same for every random input (all inf): its agreement tells little; "
        "check your own data with --inputs",
    ]


INFINITE = (
    "(float[N, 3] x) => (float[N, 3] y) <float[1] n = {0}, float[1] c = {3e38}>"
    " { z = Mul(x, n)  p = Add(z, c)  i = Mul(p, c)  RESULT }"
)


@pytest.mark.parametrize("result", ["y = Neg(i)", "y = Sub(i, i)"], ids=["sign", "none"])
def test_an_infinite_number_that_becomes_another_is_found(result: str) -> None:
    first = with_text(INFINITE.replace("RESULT", "y = Identity(i)"))
    second = with_text(INFINITE.replace("RESULT", result))
    assert trtfuse.verify(first, first).ok
    assert not trtfuse.verify(first, second).ok


def test_an_output_of_zeros_is_compared_by_itself() -> None:
    text = (
        "(float[N, 3] x) => (float[N, 3] y) <float[1] n = {0}, float[1] e = {EXTRA}>"
        " { z = Mul(x, n)  y = Add(z, e) }"
    )
    zeros = with_text(text.replace("EXTRA", "0.0"))
    found = trtfuse.verify(zeros, zeros)
    assert found.ok
    assert found.tolerance == MARGIN * 2.0**-23
    assert not trtfuse.verify(zeros, with_text(text.replace("EXTRA", "0.00001"))).ok


# Sequences


def sequence(spelling: str) -> ModelProto:
    return with_text(
        "(float[5000] x) => (seq(float[5000]) y) <int64[1] n = {0}, int64[1] a = {2000},"
        " int64[1] b = {3000}, int64[1] e = {5000}, float[1] off = {1.0000001}>"
        f" {{ {spelling} }}"
    )


def test_the_parts_of_a_sequence_are_compared_in_full() -> None:
    # The numbers in the middle are those that printing an array leaves out.
    first = sequence("y = SequenceConstruct(x)")
    second = sequence(
        "p = Slice(x, n, a)  q = Slice(x, a, b)  r = Slice(x, b, e)  s = Sin(q)"
        "  t = Concat<axis = 0>(p, s, r)  y = SequenceConstruct(t)"
    )
    assert trtfuse.verify(first, first).ok
    assert not trtfuse.verify(first, second).ok


def test_the_parts_of_a_sequence_may_round_differently() -> None:
    first = sequence("y = SequenceConstruct(x, x)")
    second = sequence("t = Mul(x, off)  y = SequenceConstruct(x, t)")
    assert trtfuse.verify(first, second).ok


def test_a_sequence_that_is_longer_is_found() -> None:
    first = sequence("y = SequenceConstruct(x)")
    second = sequence("y = SequenceConstruct(x, x)")
    assert not trtfuse.verify(first, second).ok


# The tolerance


def test_the_tolerance_scales_with_the_type() -> None:
    single, half = (trtfuse.verify(network(d), network(d)) for d in (np.float32, np.float16))
    assert MARGIN * 2.0**-23 <= single.tolerance < 1e-4
    assert MARGIN * 2.0**-10 <= half.tolerance < 0.5
    # The units of the two types are 2 ** 13 apart.
    assert 2**11 < half.tolerance / single.tolerance < 2**15


def test_what_is_wrong_in_float32_is_rounding_in_float16() -> None:
    def change(weights: dict[str, Array]) -> None:
        weights["w2"] *= 1.001

    assert not trtfuse.verify(network(np.float32), network(np.float32, change)).ok
    assert trtfuse.verify(network(np.float16), network(np.float16, change)).ok


def test_the_tolerance_scales_with_how_the_model_magnifies_rounding() -> None:
    text = (
        "(float[N, 3] x) => (float[N, 3] y) <float[1] big = {LARGE}>"
        " { a = Add(x, big)  y = Sub(a, big) }"
    )
    tame, wild = (with_text(text.replace("LARGE", size)) for size in ("1.5", "3000.1"))
    small, large = (trtfuse.verify(model, model).tolerance for model in (tame, wild))
    assert small < 1e-5
    assert large > 100 * small


def test_the_same_seed_finds_the_same() -> None:
    def change(weights: dict[str, Array]) -> None:
        weights["w1"] *= 1 + 1e-6

    other = network(change=change)
    once, again, different = (
        trtfuse.verify(network(), other, seed=seed).max_error for seed in (5, 5, 6)
    )
    assert once == again
    assert once != different


def test_the_runs_are_reported_as_they_are_done() -> None:
    told: list[tuple[str, int, int]] = []
    trtfuse.verify(relu(), relu(), progress=lambda *done: told.append(done))
    runs = [each for each in told if each[0] == "verify" and each[1]]
    assert runs == [("verify", done, 8) for done in range(1, 9)]


# Inputs and outputs


def test_other_outputs_cannot_be_compared() -> None:
    first = with_text("(float[N] x) => (float[N] a, float[N] b) { a = Relu(x)  b = Abs(x) }")
    second = with_text("(float[N] x) => (float[N] b, float[N] a) { a = Relu(x)  b = Abs(x) }")
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(first, second)
    assert str(refused.value) == ("the models have different outputs: ['a', 'b'] and ['b', 'a']")


def test_outputs_that_trade_their_names_differ() -> None:
    text = "(float[N, 8] x) => (float[N, 8] a, float[N, 8] b) { a = FIRST(x)  b = SECOND(x) }"
    first = with_text(text.replace("FIRST", "Relu").replace("SECOND", "Abs"))
    second = with_text(text.replace("FIRST", "Abs").replace("SECOND", "Relu"))
    found = trtfuse.verify(first, second)
    assert not found.ok
    assert {note.split(" (")[0] for note in found.notes} == {"output 'a'", "output 'b'"}


def test_other_inputs_cannot_be_compared() -> None:
    other = with_text("(float[N, 3] v) => (float[N, 3] y) { y = Relu(v) }")
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(relu(), other)
    assert str(refused.value) == "the models have different inputs: ['x'] and ['v']"


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_an_initializer_that_is_an_input_keeps_its_numbers(ir_version: int) -> None:
    model = with_text(
        "(float[2, 3] x, float[3] w) => (float[2, 3] y) <float[3] w = {1, 2, 4}> { y = Mul(x, w) }",
        ir_version,
    )
    other = with_text(
        "(float[2, 3] x) => (float[2, 3] y) <float[3] v = {1, 2, 4}> { y = Mul(x, v) }"
    )
    found = trtfuse.verify(model, other)
    assert found.ok
    assert found.max_error == 0
    changed = with_text(
        "(float[2, 3] x) => (float[2, 3] y) <float[3] v = {1, 2, 4.01}> { y = Mul(x, v) }"
    )
    assert not trtfuse.verify(model, changed).ok


def test_an_index_does_not_leave_its_table() -> None:
    model = with_text(
        "(int64[N, 9] i) => (float[N, 9, 2] y) <float[3, 2] table = {1, 2, 3, 4, 5, 6}>"
        " { y = Gather(table, i) }"
    )
    other = ModelProto()
    other.CopyFrom(model)
    other.graph.initializer[0].float_data[5] = 7
    assert trtfuse.verify(model, model).ok
    # The last row is read, so that what differs there is found.
    assert not trtfuse.verify(model, other).ok


def test_a_gather_in_disguise_is_given_zeros() -> None:
    # The index is doubled on its way, which leaves the table for anything but 0.
    model = with_text(
        "(int64[N] i) => (float[N] y) <float[1] table = {5}>"
        " { j = Add(i, i)  y = Gather(table, j) }"
    )
    assert trtfuse.verify(model, model).ok


# Sizes


@pytest.mark.parametrize("multiple", [1, 2, 3, 5, 7, 13, 16, 24, 128])
def test_a_model_that_runs_at_multiples_only_is_given_one(multiple: int) -> None:
    text = (
        "(float[1, L] x) => (float[M, K] y) <int64[2] shape = {-1, MULTIPLE}>"
        " { r = Reshape(x, shape)  y = FUNCTION(r) }"
    ).replace("MULTIPLE", str(multiple))
    first, second = (with_text(text.replace("FUNCTION", f)) for f in ("Relu", "Abs"))
    assert trtfuse.verify(first, first).ok
    assert not trtfuse.verify(first, second).ok


def test_a_model_that_runs_at_no_size_tried_says_what_was() -> None:
    model = with_text(
        "(float[M, L] x) => (float[7, 11, 1] y) <int64[3] to = {7, 11, 1}> { y = Reshape(x, to) }"
    )
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(model, model)
    message = str(refused.value)
    assert message.startswith("ONNX Runtime cannot run the original: ")
    assert re.search(r" \(at {'x': \(\d+, \d+\)} and others; give sizes that it", message)
    assert "\n" not in message
    assert trtfuse.verify(model, model, input_shapes={"x": [11, 7]}).ok


def test_given_shapes_are_what_the_model_runs_at() -> None:
    # Only at 40 does the sum of the sizes tell the two apart.
    text = (
        "(float[N, L] x) => (int64[2] y) <int64[2] forty = {3, 40}>"
        " { s = Shape(x)  e = Equal(s, forty)  c = Cast<to = 7>(e)  y = RESULT }"
    )
    first = with_text(text.replace("RESULT", "Identity(c)"))
    second = with_text(text.replace("RESULT", "Sub(c, c)"))
    assert trtfuse.verify(first, second).ok
    found = trtfuse.verify(first, second, input_shapes={"x": (3, 40)})
    assert found.notes[0] == "output 'y' (normal inputs, batch 1) differs in 2 of 2 elements"


def test_given_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(trtfuse.UsageError) as refused:
        trtfuse.verify(relu(), relu(), input_shapes={"x": [2, 4]})
    assert str(refused.value) == "input 'x' has shape [N, 3], which [2, 4] does not fit"
    with pytest.raises(trtfuse.UsageError) as refused:
        trtfuse.verify(relu(), relu(), input_shapes={"z": [2, 3]})
    assert str(refused.value) == "the model has no input 'z'; it has x"
    with pytest.raises(trtfuse.UsageError) as refused:
        rewrite(relu(), verify="model", input_shapes={"x": [2]})
    assert str(refused.value) == "input 'x' has shape [N, 3], which [2] does not fit"


def test_an_operator_that_onnx_runtime_does_not_have_is_said() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "com.example": 1]>'
        " g (float[N] x) => (float[N] y) { y = com.example.Thing(x) }"
    )
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(model, model)
    assert str(refused.value).startswith("ONNX Runtime does not take the original: ")
    runs = with_text("(float[N] x) => (float[N] y) { y = Relu(x) }")
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(runs, model)
    assert str(refused.value).startswith("ONNX Runtime does not take the result: ")


def test_a_result_that_fails_where_the_original_runs_is_said() -> None:
    fixed = with_text(
        "(float[N, 3] x) => (float[N, 3] y) <int64[2] shape = {1, 3}> { y = Reshape(x, shape) }"
    )
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(relu(), fixed)
    assert str(refused.value).startswith("ONNX Runtime cannot run the result: ")


# External data


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """The network with its weights in a file of their own, and a Mul to fuse."""
    model = network()
    scale = numpy_helper.from_array(np.arange(1, 7, dtype="f").reshape(6, 1, 1), "s")
    model.graph.initializer.append(scale)
    model.graph.node.insert(1, helper.make_node("Mul", ["y1", "s"], ["m1"], name="scale"))
    model.graph.node[2].input[0] = "m1"
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_a_model_with_external_data_is_compared_by_its_path(external: Path, tmp_path: Path) -> None:
    result = rewrite(external, rules=["conv-scale"], verify="model")
    assert result.ok
    assert [fusion.rule for fusion in result.report.fused] == ["conv-scale"]
    (tmp_path / "elsewhere").mkdir()
    fused = tmp_path / "elsewhere" / "fused.onnx"
    result.save(fused)
    found = trtfuse.verify(external, str(fused))
    assert found.ok
    assert found.max_error == result.report.verification.max_error
    assert found.tolerance == result.report.verification.tolerance


def test_the_tolerance_is_measured_on_external_weights_as_well(
    external: Path, tmp_path: Path
) -> None:
    embedded = onnx.load(external)
    assert trtfuse.verify(external, embedded).tolerance == (
        trtfuse.verify(embedded, external).tolerance
    )
    weights = tmp_path / "weights.bin"
    numbers = np.fromfile(weights, np.float32)
    before = weights.read_bytes()
    trtfuse.verify(external, external)
    assert weights.read_bytes() == before
    (numbers * np.float32(1.001)).tofile(weights)
    assert not trtfuse.verify(embedded, external).ok


def test_neither_model_is_changed() -> None:
    model = network()
    before = model.SerializeToString(deterministic=True)
    trtfuse.verify(model, model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_bfloat16_model_with_float_inputs_is_compared() -> None:
    model = with_text(
        "(float[N, 3] x) => (float[N, 3] y) { h = Cast<to = 16>(x)  y = Cast<to = 1>(h) }"
    )
    assert model.graph.node[0].attribute[0].i == TensorProto.BFLOAT16
    found = trtfuse.verify(model, model)
    assert found.ok
    # The type of the output says float32; what it holds has been rounded to eight bits.
    assert (
        trtfuse.verify(
            model, with_text("(float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }")
        ).max_error
        > 2**-12
    )


def test_a_logarithm_of_the_smallest_numbers_is_no_better_than_they_are() -> None:
    made = model("(float[300,50] x) => (float[300,50] y) { s = Softmax(x) y = Log(s) }")
    result = rewrite(made, verify="model")
    assert [node.op_type for node in result.model.graph.node] == ["LogSoftmax"]
    assert result.ok
    numbers = model(
        "(float[300,50] x) => (float[300,50] y) { s = Softmax(x) t = Mul(s, c) y = Log(t) }", c=1.5
    )
    assert not trtfuse.verify(made, numbers).ok


def test_shapes_that_run_are_large_images_first() -> None:
    image = model("(float[n,3,h,w] x) => (float[n,3,?,?] y) { y = MaxPool<kernel_shape=[9,9]>(x) }")
    assert running_shapes(Model(image), {}) == {"x": (1, 3, 64, 64)}
    assert running_shapes(Model(image), {"x": (2, 3, 20, 30)}) == {"x": (2, 3, 20, 30)}


def test_shapes_that_run_are_small_images_where_others_do_not() -> None:
    image = model(
        "(float[1,3,h,w] x) => (float[1,3,16,16] y) { y = Reshape(x, s) }",
        s=np.array([1, 3, 16, 16], np.int64),
    )
    assert running_shapes(Model(image), {}) == {"x": (1, 3, 16, 16)}


def test_shapes_of_a_model_that_never_runs_are_those_tried_first() -> None:
    broken = model(
        "(float[n,m] x) => (float[7,11,1] y) { y = Reshape(x, s) }",
        s=np.array([7, 11, 1], np.int64),
    )
    assert running_shapes(Model(broken), {}) == {"x": (1, 32)}
