from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import constants, declined, fused, model, nodes
from onnx.reference import ReferenceEvaluator

fuse = functools.partial(rewrite_and_explain, rules=["scale-scale"])
C = np.float32([1.5, -2, 4])
D = np.float32([3, 0.25, -0.5])


@pytest.mark.parametrize(
    ("text", "line", "number"),
    [
        ("y = Mul(x, c) z = Mul(y, d)", "Mul", C * D),
        ("y = Mul(c, x) z = Div(y, d)", "Mul", C / np.float64(D)),
        ("y = Div(x, c) z = Neg(y)", "Mul", -1 / np.float64(C)),
        ("y = Neg(x) z = Mul(d, y)", "Mul", -D),
        ("y = Add(x, c) z = Add(d, y)", "Add", C + D),
        ("y = Sub(x, c) z = Add(y, d)", "Add", D - C),
        ("y = Sub(x, c) z = Sub(y, d)", "Add", -C - D),
    ],
)
def test_two_factors_or_two_shifts_are_one(text: str, line: str, number: Any) -> None:
    made = model(f"(float[2,3] x) => (float[2,3] z) {{ {text} }}", c=C, d=D)
    result = fuse(made)
    (name,) = constants(result.model)
    assert nodes(result.model) == [f"-: {line}(x, {name}) -> z"]
    assert (constants(result.model)[name] == np.float32(number)).all()
    assert fuse(result.model).model == result.model


BN = "y = BatchNormalization(x, gain, bias, mean, variance)"
STATISTICS = {"gain": C, "bias": D, "mean": D, "variance": np.abs(C)}
PER_CHANNEL = C.reshape(3, 1)


@pytest.mark.parametrize(
    ("scale", "gain", "bias"),
    [
        ("z = Mul(y, k)", C * C, D * C),
        ("z = Div(y, k)", C / C, D / np.float64(C)),
        ("z = Add(k, y)", C, D + C),
        ("z = Sub(k, y)", -C, C - D),
        ("z = Neg(y)", -C, -D),
        ("z = Mul(y, two)", C * 2, D * 2),
    ],
)
def test_what_follows_a_normalization_is_part_of_its_gain_and_bias(
    scale: str, gain: Any, bias: Any
) -> None:
    made = model(
        f"(float[2,3,4] x) => (float[2,3,4] z) {{ [bn] {BN} {scale} }}",
        k=PER_CHANNEL,
        two=2.0,
        **STATISTICS,
    )
    result = fuse(made)
    (only,) = result.model.graph.node
    assert (only.op_type, only.name) == ("BatchNormalization", "bn")
    held = constants(result.model)
    assert (held[only.input[1]] == np.float32(gain)).all()
    assert (held[only.input[2]] == np.float32(bias)).all()
    assert list(only.input[3:]) == ["mean", "variance"]


def test_a_normalization_of_unknown_rank_takes_a_number_for_all() -> None:
    text = "(float[2,3,4] x, int64[n] t) => (float[?,?,?] z) { r = Reshape(x, t) %s z = Mul(y, k) }"
    text %= BN.replace("(x", "(r")
    given: dict[str, Any] = {**STATISTICS, "k": np.float32(2)}
    assert fused(fuse(model(text, **given)))
    assert declined(fuse(model(text, **{**given, "k": PER_CHANNEL}))) == [
        (
            "scale-scale",
            "node_of_z",
            "one-value-per-normalized-channel",
            "the rank of `r` is not known",
        )
    ]


@pytest.mark.parametrize(
    ("text", "given", "guard", "because"),
    [
        (f"{BN} z = Mul(y, k)", {"k": np.float32([1, 2, 3, 4])},
         "one-value-per-normalized-channel",
         "`k` has shape [4], not one value per channel (3)"),
        ("y = Mul(x, a) z = Mul(y, b)",
         {"a": np.ones((3, 1), np.float32), "b": np.ones((1, 4), np.float32)},
         "no-more-numbers", "`a` [3, 1] and `b` [1, 4] together have 12 numbers"),
        ("y = Mul(x, a) z = Mul(y, a)", {"a": np.float32(1e-20)},
         "normal-product", "a factor would be 1e-40, below the normal numbers (1.18e-38)"),
        ("y = Mul(x, a) z = Mul(y, a)", {"a": np.float32(1e20)},
         "representable",
         "a folded value would be 1e+40, beyond the largest float32 (3.4e+38)"),
    ],
)  # fmt: skip
def test_what_is_declined(text: str, given: dict[str, Any], guard: str, because: str) -> None:
    used = STATISTICS | given if BN in text else given
    made = model(f"(float[2,3,4] x) => (float[2,3,4] z) {{ {text} }}", **used)
    result = fuse(made)
    assert result.model == made
    assert [miss[2:] for miss in declined(result)] == [(guard, because)]


def test_integers_are_never_regrouped() -> None:
    made = model(
        "(int32[3] x) => (int32[3] z) { y = Mul(x, c) z = Mul(y, c) }", c=np.int32([1, 2, 3])
    )
    assert [miss[2] for miss in declined(fuse(made))] == ["floating"]


@pytest.mark.parametrize(
    "text",
    [
        "y = Mul(x, c) z = Add(y, d)",
        "y = Add(x, c) z = Mul(y, d)",
        "y = Sub(c, x) z = Add(y, d)",
        "y = Mul(x, c) z = Pow(y, d)",
    ],
)
def test_what_is_no_pair_of_a_kind_is_left_without_a_word(text: str) -> None:
    made = model(f"(float[2,3] x) => (float[2,3] z) {{ {text} }}", c=C, d=D)
    result = fuse(made)
    assert (fused(result), declined(result)) == ([], [])


numbers = st.sampled_from((-3.0, -0.5, 0.0, 0.25, 1.0, 7.0))
shapes = st.sampled_from(((), (1,), (4,), (3, 1), (2, 1, 1), (3, 4)))


@given(st.data(), st.sampled_from(("float32", "float64")))
def test_any_chain_of_scales_computes_the_same(data: st.DataObject, dtype: str) -> None:
    lines, given_, value = [], {}, "x"
    for index in range(data.draw(st.integers(2, 6))):
        name, next_ = f"c{index}", f"v{index}"
        operator = data.draw(st.sampled_from(("Mul", "Div", "Add", "Sub", "Neg")))
        shape = data.draw(shapes)
        size = int(np.prod(shape))
        drawn = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size)))
        drawn = np.where(drawn == 0, 2.0, drawn) if operator in ("Div", "Mul") else drawn
        operands = [value, name]
        if operator in ("Mul", "Add", "Sub") and data.draw(st.booleans()):
            operands.reverse()
        if operator == "Neg":
            operands = [value]
        else:
            given_[name] = drawn.reshape(shape).astype(dtype)
        lines.append(f"{next_} = {operator}({', '.join(operands)})")
        value = next_
    word = {"float32": "float", "float64": "double"}[dtype]
    made = model(
        f"({word}[2,3,4] x) => ({word}[2,3,4] z) {{ {' '.join(lines)} z = Abs({value}) }}",
        **given_,
    )
    result = fuse(made)
    assert [miss for miss in declined(result) if miss[2] == "check"] == []
    onnx.checker.check_model(result.model, full_check=True)
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(dtype)
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    scale = max(float(np.abs(expected).max()), 100.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * scale)
    again = fuse(result.model, verify="none")
    assert again.model.SerializeToString() == result.model.SerializeToString()
