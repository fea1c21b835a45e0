"""Pointwise chains, what is spelled out, and quantized layers: F3, C5, C7, C9 to C11."""

from __future__ import annotations

import numpy as np
import pytest
from grouped import groups, misses
from models import model

# Pointwise: F3, C7


def test_a_scale_and_an_activation() -> None:
    text = (
        "(float[2,4] x) => (float[?,?] y) { [m] s = Mul(x, k) [a] t = Add(s, k) [r] y = Relu(t) }"
    )
    made = model(text, k=np.ones(4, np.float32))
    assert groups(made) == [("scale-and-activation", "m + a + r")]


def test_a_normalization_and_an_activation() -> None:
    text = """(float[2,3,8] x) => (float[?,?,?] y) {
        [bn] s = BatchNormalization(x, k, k, k, k)
        [r] y = Relu(s)
    }"""
    made = model(text, k=np.ones(3, np.float32))
    assert groups(made) == [("scale-and-activation", "bn + r")]


def test_a_chain_of_pointwise_operators() -> None:
    text = """(float[2,4] x, float[2,4] z, float[4] v) => (float[?,?] y) {
        [e] e = Exp(x)
        [t] t = Tanh(z)
        [a] a = Add(e, t)
        [d] y = Div(a, v)
    }"""
    assert groups(model(text)) == [("pointwise", "e + t + a + d")]


def test_what_two_groups_read_is_in_neither() -> None:
    text = """(float[2,4] x) => (float[?,?] y, float[?,?] z) {
        [e] e = Exp(x)
        [s] s = Sqrt(e)
        [n] y = Neg(s)
        [t] t = Tanh(e)
        [a] z = Abs(t)
    }"""
    assert groups(model(text)) == [("pointwise", "s + n"), ("pointwise", "t + a")]


def test_what_is_smaller_than_the_result_stays_outside() -> None:
    text = """(float[2,1] x, float[2,4] z) => (float[?,?] y) {
        [e] e = Exp(x)
        [m] m = Mul(e, z)
        [n] y = Neg(m)
    }"""
    made = model(text)
    assert groups(made) == [("pointwise", "m + n")]
    because = "`e` has shape [2, 1] and `y` has shape [2, 4]"
    assert misses(made) == [("pointwise", "e", "same-shape", because)]


def test_integers_are_left_alone() -> None:
    text = "(int64[4] x) => (int64[?] y) { [a] a = Add(x, x) [n] y = Neg(a) }"
    assert groups(model(text)) == []


def test_a_long_chain_says_how_many_nodes_it_has() -> None:
    lines = [f"[n{i}] v{i} = Exp({f'v{i - 1}' if i else 'x'})" for i in range(40)]
    made = model(f"(float[4] x) => (float[?] v39) {{ {' '.join(lines)} }}")
    assert groups(made) == [("pointwise", "n0 .. n39 (40 nodes)")]


# Spelled out: C5, C9

GELU = """(float[2,4] x) => (float[?,?] y) {
    [b] g = Add(x, bias)
    [d] d = Div(g, root)
    [e] e = Erf(d)
    [p] p = Add(e, one)
    [m] m = Mul(g, p)
    [h] y = Mul(m, half)
}"""
NUMBERS = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}


def test_a_gelu_with_its_bias() -> None:
    made = model(GELU, opset=13, bias=np.ones(4, np.float32), **NUMBERS)
    assert groups(made) == [("spelled-gelu", "b + d + e + p + m + h")]


def test_a_gelu_whose_half_is_in_other_weights() -> None:
    text = GELU.replace("[m] m =", "[m] y =").replace("[h] y = Mul(m, half)", "")
    made = model(text, opset=13, bias=np.ones(4, np.float32), **NUMBERS)
    assert groups(made) == [("spelled-gelu", "b + d + e + p + m")]


def test_a_gelu_in_a_product_is_its_activation() -> None:
    text = GELU.replace("[b] g = Add(x, bias)", "[b] g = Gemm(x, w)")
    made = model(text, opset=13, w=np.ones((4, 4), np.float32), **NUMBERS)
    assert groups(made) == [("mlp-start", "b + d + e + p + m + h")]


LAYER_NORM = """(float[2,3,8] x) => (float[?,?,?] y) {
    [m] m = ReduceMean<axes=[%s]>(x)
    [c] c = Sub(x, m)
    [p] p = Pow(c, two)
    [v] v = ReduceMean<axes=[%s]>(p)
    [e] e = Add(v, epsilon)
    [s] s = Sqrt(e)
    [d] d = Div(c, s)
    [g] g = Mul(d, gain)
    [b] y = Add(g, gain)
}"""
GIVEN = {
    "two": np.float32(2),
    "epsilon": np.float32(1e-5),
    "gain": np.linspace(1, 2, 8, dtype=np.float32),
}


def test_a_layer_normalization_with_its_gain_and_shift() -> None:
    made = model(LAYER_NORM % ("-1", "-1"), opset=13, **GIVEN)
    assert groups(made) == [("spelled-normalization", "m + c + p + v + e + s + d + g + b")]


def test_a_normalization_of_other_axes_is_none() -> None:
    made = model(LAYER_NORM % ("1", "1"), opset=13, **GIVEN)
    assert "spelled-normalization" not in [rule for rule, _ in groups(made)]
    because = "it normalizes the axes [1] of 3, which are not the last ones"
    assert ("spelled-normalization", "d", "same-axes", because) in misses(made)


def test_a_mean_that_is_read_elsewhere_keeps_a_normalization_apart() -> None:
    text = LAYER_NORM.replace("y) {", "y, float[?,?,?] m) {", 1)
    made = model(text % ("-1", "-1"), opset=13, **GIVEN)
    because = "`m` is an output of the graph"
    assert ("spelled-normalization", "d", "only-read-inside", because) in misses(made)


def test_an_rms_normalization() -> None:
    text = """(float[2,3,8] x) => (float[?,?,?] y) {
        [p] p = Mul(x, x)
        [v] v = ReduceMean<axes=[-1]>(p)
        [e] e = Add(v, epsilon)
        [s] s = Sqrt(e)
        [r] r = Reciprocal(s)
        [d] d = Mul(x, r)
        [g] y = Mul(gain, d)
    }"""
    made = model(text, opset=13, **{n: GIVEN[n] for n in ("epsilon", "gain")})
    assert groups(made) == [("spelled-normalization", "p + v + e + s + r + d + g")]


# Attention: C11

ATTENTION = """(float[2,3,5,8] q, float[2,3,5,8] k, float[2,3,5,8] v, float[2,1,1,5] mask)
    => (float[?,?,?,?] y) {
    [t] t = Transpose<perm=[0,1,3,2]>(k)
    [m1] s = MatMul(q, t)
    [d] d = Div(s, scale)
    [a] a = Add(%s)
    [p] p = Softmax(a)
    [m2] y = MatMul(p, v)
}"""


@pytest.mark.parametrize("operands", ["d, mask", "mask, d"])
def test_an_attention(operands: str) -> None:
    made = model(ATTENTION % operands, scale=2.0)
    assert groups(made) == [("attention", "t + m1 + d + a + p + m2")]


def test_scales_of_both_operands_join_an_attention() -> None:
    text = """(float[2,5,8] q, float[2,8,5] k, float[2,5,8] v) => (float[?,?,?] y) {
        [a] a = Mul(q, scale)
        [b] b = Mul(k, scale)
        [m1] s = MatMul(a, b)
        [p] p = Softmax(s)
        [m2] y = MatMul(p, v)
    }"""
    assert groups(model(text, scale=2.0)) == [("attention", "a + b + m1 + p + m2")]


def test_a_softmax_that_is_read_elsewhere_is_no_attention() -> None:
    text = ATTENTION.replace("=> (float[?,?,?,?] y)", "=> (float[?,?,?,?] y, float[?,?,?,?] p)")
    made = model(text % "d, mask", scale=2.0)
    assert "attention" not in [rule for rule, _ in groups(made)]
    because = "`p` is an output of the graph"
    assert ("attention", "p", "only-read-inside", because) in misses(made)


def test_a_softmax_of_another_axis_is_no_attention() -> None:
    made = model((ATTENTION % "d, mask").replace("Softmax(a)", "Softmax<axis=2>(a)"), scale=2.0)
    assert "attention" not in [rule for rule, _ in groups(made)]
    assert ("attention", "m2", "softmax-of-the-last-axis", "p is taken over axis 2 of 4") in misses(
        made
    )


# Quantized: C10

QUANTIZED = """(int8[1,4,8,8] x) => (int8[?,?,?,?] y) {
    [dx] f = DequantizeLinear(x, s, z)
    [dw] g = DequantizeLinear(w, s, z)
    [conv] c = Conv(f, g)
    [r] r = Relu(c)
    [q] y = QuantizeLinear(r, s, z)
}"""
INTEGERS = {"w": np.ones((4, 4, 3, 3), np.int8), "s": np.float32(0.5), "z": np.int8(0)}


def test_a_quantized_convolution() -> None:
    assert groups(model(QUANTIZED, **INTEGERS)) == [("quantized", "dx + dw + conv + r + q")]


def test_a_dequantized_operand_that_is_read_elsewhere_keeps_a_layer_apart() -> None:
    text = QUANTIZED.replace("y) {", "y, float[?,?,?,?] f) {", 1)
    made = model(text, **INTEGERS)
    assert groups(made) == [("conv-relu", "conv + r")]
    because = "`f` is an output of the graph"
    assert misses(made) == [("quantized", "conv", "only-read-inside", because)]
