"""scale-fc: a scale before a Gemm or MatMul by constant weights goes into weights and bias."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import SCALES, attributes, constants, declined, fused, model, nodes
from oracle import assert_equivalent

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

W = np.float32([1, 2, 3, 4, 5, 6]).reshape(2, 3)
B = np.float32([1, 2, 3])
S = np.float32([10, -1])


def test_a_scale_goes_into_the_rows_and_a_shift_into_the_bias(opset: int) -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [mul] m = Mul(s, x)
        [sub] y = Sub(m, two)
        [fc] z = Gemm(y, w, b)
    }"""
    result = fuse(model(text, opset=opset, w=W, b=B, s=S, two=np.float32(2)))
    assert nodes(result.model) == ["fc: Gemm(x, w_fused, b_fused) -> z"]
    folded = constants(result.model)
    assert folded["w_fused"].tolist() == [[10, 20, 30], [-4, -5, -6]]
    assert folded["b_fused"].tolist() == [1 - 2 * 5, 2 - 2 * 7, 3 - 2 * 9]
    assert fused(result) == [("scale-fc", "sub + fc"), ("scale-fc", "mul + fc")]
    assert declined(result) == []


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("shape", [None, (), (2,), (1, 2), (2, 1), (2, 2)])
def test_transposes_alpha_beta_and_any_c_are_taken_into_account(
    trans_a: int, trans_b: int, shape: tuple[int, ...] | None
) -> None:
    text = f"""(float[2,2] x) => (float[2,2] z) {{
        [scale] m = Mul(x, s)
        [shift] y = Add(m, s)
        [fc] z = Gemm <alpha = 0.5, beta = -2.0, transA = {trans_a}, transB = {trans_b}>
            (y, w{"" if shape is None else ", c"})
    }}"""
    w = np.float32([[1, 2], [3, 4]])
    c = {} if shape is None else {"c": np.arange(1, 1 + np.prod(shape)).reshape(shape)}
    given = {name: array.astype(np.float32) for name, array in c.items()}
    made = model(text, w=w, s=S.reshape((2, 1) if trans_a else (2,)), **given)
    result = fuse(made)
    (node,) = result.model.graph.node
    found = attributes(node)
    assert (found["alpha"], found["beta"]) == (0.5, 1)
    assert (found["transA"], found["transB"]) == (trans_a, trans_b)
    folded = constants(result.model)
    rows = w.T if trans_b else w
    scaled = rows * S[:, None]
    assert (folded[node.input[1]] == (scaled.T if trans_b else scaled)).all()
    old = -2 * given["c"] if given else np.float32(0)
    assert (folded[node.input[2]] == old + 0.5 * S @ rows).all()
    x = np.random.default_rng(0).standard_normal((2, 2))
    assert_equivalent(made, result.model, {"x": x})


def test_without_a_shift_beta_and_c_stay_as_they_are() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [scale] y = Mul(x, s)
        [fc] z = Gemm <beta = 0.5> (y, w, b)
    }"""
    result = fuse(model(text, w=W, b=B, s=S))
    assert nodes(result.model) == ["fc: Gemm(x, w_fused, b) -> z"]
    assert attributes(result.model.graph.node[0]) == {"beta": 0.5}


def test_a_scaled_matmul_stays_a_matmul_and_a_shifted_one_becomes_a_gemm() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [scale] y = %s(x, s)
        [product] z = MatMul(y, w)
    }"""
    result = fuse(model(text % "Mul", w=W, s=S))
    assert nodes(result.model) == ["product: MatMul(x, w_fused) -> z"]
    assert constants(result.model)["w_fused"].tolist() == [[10, 20, 30], [-4, -5, -6]]
    result = fuse(model(text % "Add", w=W, s=S))
    assert nodes(result.model) == ["product: Gemm(x, w, product.bias) -> z"]
    assert constants(result.model)["product.bias"].tolist() == [10 - 4, 20 - 5, 30 - 6]


def test_a_shift_before_a_product_of_three_dimensions_needs_the_add_after_it() -> None:
    text = """(float[5,4,2] x) => (float[5,4,3] z) {{
        [shift] y = Add(x, s)
        [product] {product} = MatMul(y, w)
        {rest}
    }}"""
    made = model(text.format(product="z", rest=""), w=W, s=S)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == []
    made = model(text.format(product="a", rest="[plus] z = Add(b, a)"), w=W, b=B, s=S)
    result = fuse(made)
    assert fused(result) == [("scale-fc", "shift + product + plus")]
    product, plus = result.model.graph.node
    assert (product.op_type, list(product.input)) == ("MatMul", ["x", "w"])
    assert (plus.op_type, plus.input[0]) == ("Add", product.output[0])
    assert constants(result.model)[plus.input[1]].tolist() == [1 + 6, 2 + 15, 3 + 24]


def test_stacked_weights_are_scaled_along_their_last_axis_but_one() -> None:
    text = """(float[4,2] x) => (float[2,4,2] z) {
        [scale] y = Mul(x, s)
        [product] z = MatMul(y, w)
    }"""
    stacked = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    result = fuse(model(text, w=stacked, s=S))
    folded = constants(result.model)["w_fused"]
    assert folded.tolist() == [[[0, 10], [-2, -3]], [[40, 50], [-6, -7]]]


def test_a_shift_before_stacked_weights_is_left_without_a_word() -> None:
    text = """(float[4,2] x) => (float[2,4,3] z) {
        [shift] y = Add(x, s)
        [product] a = MatMul(y, w)
        [plus] z = Add(a, b)
    }"""
    made = model(text, w=np.stack([W, W]), b=B, s=S)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == []


# Shapes


@pytest.mark.parametrize(
    ("operator", "of", "shape"),
    [
        ("Gemm", "4,2", ()),
        ("Gemm", "N,2", (1, 1)),
        ("Gemm", "N,K", (1,)),
        ("Gemm", "N,2", (1, 2)),
        ("MatMul", "B,T,2", (2,)),
        ("MatMul", "B,T,K", (1, 1, 1)),
    ],
)
def test_one_number_or_one_for_each_column_folds(
    operator: str, of: str, shape: tuple[int, ...]
) -> None:
    rank = of.count(",") + 1
    text = f"""(float[{of}] x) => (float[{",".join("?" * rank)}] z) {{
        [scale] y = Mul(x, s)
        [product] z = {operator}(y, w)
    }}"""
    factor = S.reshape(shape) if 2 in shape else np.full(shape, 3, np.float32)
    result = fuse(model(text, w=W, s=factor))
    expected = W * (S[:, None] if 2 in shape else 3)
    assert (constants(result.model)["w_fused"] == expected).all()
    assert declined(result) == []


@pytest.mark.parametrize(
    ("of", "attributes", "shape", "sentence"),
    [
        ("2,2", "", (2, 1), "`s` has shape [2, 1], not one value per channel (2)"),
        ("2,2", "", (2, 2), "`s` has shape [2, 2], not one value per channel (2)"),
        ("2,2", "<transA = 1>", (2,), "`s` has shape [2], not one value per channel (2)"),
        ("2,1", "", (2,), "`s` has shape [2], which may broadcast `x` of shape [2, 1]"),
        ("2,K", "", (2,), "`s` has shape [2], which may broadcast `x` of shape [2, K]"),
        ("2", "", (1, 2), "`s` has shape [1, 2], of more dimensions than `x` (1)"),
    ],
)
def test_other_constants_before_a_gemm_are_declined(
    of: str, attributes: str, shape: tuple[int, ...], sentence: str
) -> None:
    text = f"""(float[{of}] x) => (float[?,?] z) {{
        [scale] y = Mul(x, s)
        [fc] z = Gemm {attributes} (y, w)
    }}"""
    made = model(text, w=W, s=np.full(shape, 3, np.float32))
    result = fuse(made)
    assert declined(result) == [("scale-fc", "fc", "one-value-per-input-channel", sentence)]
    assert result.model == made


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 1), "`s` has shape [2, 1], not one value per channel (2)"),
        ((2, 1, 1), "`s` has shape [2, 1, 1], not one value per channel (2)"),
    ],
)
def test_other_constants_before_a_product_of_three_dimensions_are_declined(
    shape: tuple[int, ...], sentence: str
) -> None:
    text = """(float[2,2,2] x) => (float[2,2,3] z) {
        [scale] y = Mul(x, s)
        [product] z = MatMul(y, w)
    }"""
    made = model(text, w=W, s=np.full(shape, 3, np.float32))
    result = fuse(made)
    assert declined(result) == [("scale-fc", "product", "one-value-per-input-channel", sentence)]
    assert result.model == made


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1,), None),
        ((2,), "`s` has shape [2], which may broadcast `open` of shape [?, ?]"),
        ((1, 2), "`s` has shape [1, 2] and the rank of `open` is not known"),
    ],
)
def test_of_an_input_of_open_rank_the_gemm_tells_the_rank(
    shape: tuple[int, ...], sentence: str | None
) -> None:
    text = """(float[8] x, int64[n] shape) => (float[?,?] z) {
        open = Reshape(x, shape)
        [scale] y = Mul(open, s)
        [fc] z = Gemm(y, w)
    }"""
    result = fuse(model(text, w=W, s=np.full(shape, 3, np.float32)))
    if sentence is None:
        assert nodes(result.model)[1:] == ["fc: Gemm(open, w_fused) -> z"]
        assert declined(result) == []
    else:
        assert declined(result) == [("scale-fc", "fc", "one-value-per-input-channel", sentence)]


@pytest.mark.parametrize(
    ("of", "product", "sentence"),
    [
        ("2,2", "Gemm(y, w)", None),
        (
            "2,2",
            "Gemm <transA = 1> (y, w)",
            "it normalizes axis 1, and the channels are on axis 0 of 2",
        ),
    ],
)
def test_a_batch_normalization_is_of_axis_1(of: str, product: str, sentence: str | None) -> None:
    text = f"""(float[{of}] x) => (float[?,?] z) {{
        [bn] y = BatchNormalization <epsilon = 0.0> (x, s, t, t, one)
        [fc] z = {product}
    }}"""
    made = model(text, w=W, s=S, t=np.float32([0, 0]), one=np.float32([1, 1]))
    result = fuse(made)
    found = [each for each in declined(result) if each[2] != "structure"]
    if sentence is None:
        assert fused(result) == [("scale-fc", "bn + fc")]
        assert constants(result.model)["w_fused"].tolist() == [[10, 20, 30], [-4, -5, -6]]
    else:
        assert found == [("scale-fc", "fc", "one-value-per-input-channel", sentence)]
        assert result.model == made


def test_a_batch_normalization_before_three_dimensions_normalizes_another_axis() -> None:
    text = """(float[2,2,2] x) => (float[2,2,3] z) {
        [bn] y = BatchNormalization <epsilon = 0.0> (x, s, t, t, one)
        [product] a = MatMul(y, w)
        [plus] z = Add(a, b)
    }"""
    made = model(text, w=W, b=B, s=S, t=np.float32([0, 0]), one=np.float32([1, 1]))
    result = fuse(made)
    sentence = "it normalizes axis 1, and the channels are on axis 2 of 3"
    assert ("scale-fc", "plus", "one-value-per-input-channel", sentence) in declined(result)
    assert result.model == made


# Other guards


def test_a_scale_that_two_products_read_is_declined() -> None:
    text = """(float[4,2] x) => (float[4,3] z, float[4,3] q) {
        [scale] y = Mul(x, s)
        [fc] z = Gemm(y, w)
        [product] q = MatMul(y, w)
    }"""
    made = model(text, w=W, s=S)
    result = fuse(made)
    because = "`y` has 2 consumers: fc, product"
    assert declined(result) == [
        ("scale-fc", "fc", "one-consumer", because),
        ("scale-fc", "product", "one-consumer", because),
    ]
    assert result.model == made


def test_the_value_between_product_and_bias_counts_too() -> None:
    text = """(float[5,4,2] x) => (float[5,4,3] z, float[5,4,3] a) {
        [shift] y = Add(x, s)
        [product] a = MatMul(y, w)
        [plus] z = Add(a, b)
    }"""
    made = model(text, w=W, b=B, s=S)
    result = fuse(made)
    because = "`a` is an output of the graph"
    assert declined(result) == [("scale-fc", "plus", "one-consumer", because)]
    assert result.model == made


def test_weights_and_bias_shared_with_another_product_are_left_alone() -> None:
    text = """(float[4,2] x) => (float[4,3] z, float[4,3] q) {
        [scale] m = Mul(x, s)
        [shift] y = Add(m, s)
        [fc] z = Gemm(y, w, b)
        [other] q = Gemm(x, w, b)
    }"""
    result = fuse(model(text, w=W, b=B, s=S), objective="graph")
    assert nodes(result.model) == [
        "fc: Gemm(x, w_fused, b_fused) -> z",
        "other: Gemm(x, w, b) -> q",
    ]
    folded = constants(result.model)
    assert (folded["w"] == W).all()
    assert (folded["b"] == B).all()


def test_another_power_than_one_is_declined() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [pow] y = Pow(x, two)
        [fc] z = Gemm(y, w)
    }"""
    made = model(text, w=W, two=np.float32(2))
    result = fuse(made)
    because = "the power `two` is 2.0, not 1"
    assert declined(result) == [("scale-fc", "fc", "power-of-one", because)]
    assert result.model == made


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_integer_products_stay_as_they_are(operator: str) -> None:
    text = f"""(int32[4,2] x) => (int32[4,3] z) {{
        [scale] y = Mul(x, s)
        [product] z = {operator}(y, w)
    }}"""
    made = model(text, w=W.astype(np.int32), s=np.int32(3))
    result = fuse(made)
    because = "`w` is int32, and only floating-point numbers may be regrouped"
    assert declined(result) == [("scale-fc", "product", "floating-weights", because)]
    assert result.model == made


@pytest.mark.parametrize(
    ("operator", "because"),
    [
        ("Mul", "a folded value would be 1.8e+05, beyond the largest float16 (6.55e+04)"),
        ("Add", "a folded value would be 2.7e+05, beyond the largest float16 (6.55e+04)"),
    ],
)
def test_overflow_is_declined(operator: str, because: str) -> None:
    text = f"""(float16[4,2] x) => (float16[4,3] z) {{
        [scale] y = {operator}(x, s)
        [fc] z = Gemm(y, w)
    }}"""
    made = model(text, w=W.astype(np.float16), s=np.float16(30000))
    result = fuse(made)
    assert declined(result) == [("scale-fc", "fc", "representable", because)]
    assert result.model == made


def test_the_last_factor_of_a_gelu_stays_where_the_builder_looks_for_it() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        d = Div(x, root)
        e = Erf(d)
        a = Add(e, one)
        p = Mul(x, a)
        [last] y = Mul(p, half)
        [fc] z = MatMul(y, w)
    }"""
    made = model(text, w=W, root=2**0.5, one=1, half=0.5)
    because = "last is the last factor of a GELU, and without it TensorRT does not know that"
    assert declined(fuse(made)) == [("scale-fc", "fc", "is-not-of-gelu", because)]
    assert fused(fuse(model(text, w=W, root=2**0.5, one=1, half=0.25))) == [
        ("scale-fc", "last + fc")
    ]


def test_the_last_factor_of_a_gelu_that_others_read_from_goes_into_the_weights() -> None:
    text = """(float[4,2] x) => (float[4,3] z, float[4,2] q) {
        d = Div(x, root)
        e = Erf(d)
        a = Add(e, one)
        p = Mul(x, a)
        q = Exp(p)
        [last] y = Mul(p, half)
        [fc] z = MatMul(y, w)
    }"""
    made = model(text, w=W, root=2**0.5, one=1, half=0.5)
    assert fused(fuse(made)) == [("scale-fc", "last + fc")]
