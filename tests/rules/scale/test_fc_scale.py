"""fc-scale: a scale after a Gemm or MatMul by constant weights goes into weights and bias."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import SCALES, Array, attributes, constants, declined, fused, model, nodes
from oracle import assert_equivalent, widened

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

W = np.float32([1, 2, 3, 4, 5, 6]).reshape(2, 3)
S = np.float32([2, 0.5, -1])
T = np.float32([10, 20, 30])


# MatMul


@pytest.mark.parametrize("line", ["z = Add(a, t)", "z = Add(t, a)"])
@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_a_matmul_and_an_add_become_a_gemm(line: str, shape: tuple[int, ...], opset: int) -> None:
    text = f"""(float[4,2] x) => (float[4,3] z) {{
        [product] a = MatMul(x, w)
        [plus] {line}
    }}"""
    result = fuse(model(text, opset=opset, w=W, t=T.reshape(shape)))
    assert nodes(result.model) == ["product: Gemm(x, w, product.bias) -> z"]
    assert attributes(result.model.graph.node[0]) == {}
    assert (constants(result.model)["w"] == W).all()
    assert constants(result.model)["product.bias"].tolist() == T.tolist()
    assert fused(result) == [("fc-scale", "product + plus")]
    assert declined(result) == []


def test_one_number_added_becomes_a_bias_for_each_column() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [product] a = MatMul(x, w)
        [minus] z = Sub(seven, a)
    }"""
    folded = constants(fuse(model(text, w=W, seven=np.float32(7))).model)
    assert (folded["w_fused"] == -W).all()
    assert folded["product.bias"].tolist() == [7, 7, 7]


def test_a_scaled_matmul_stays_a_matmul() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [product] a = MatMul(x, w)
        [times] z = Mul(a, s)
    }"""
    result = fuse(model(text, w=W, s=S))
    assert nodes(result.model) == ["product: MatMul(x, w_fused) -> z"]
    assert (constants(result.model)["w_fused"] == W * S).all()


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,), (1, 3)])
def test_matmul_add_and_mul_become_one_gemm(shape: tuple[int, ...]) -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [product] a = MatMul(x, w)
        [plus] b = Add(a, t)
        [times] z = Mul(b, s)
    }"""
    factor = S.reshape(shape) if 3 in shape else np.full(shape, 2, np.float32)
    result = fuse(model(text, w=W, t=T, s=factor))
    assert fused(result) == [("fc-scale", "product + plus"), ("fc-scale", "product + times")]
    (node,) = result.model.graph.node
    assert node.op_type == "Gemm"
    folded = constants(result.model)
    scale = S if 3 in shape else np.full(3, 2)
    assert (folded[node.input[1]] == W * scale).all()
    assert (folded[node.input[2]] == T * scale).all()


def test_an_add_after_a_product_of_three_dimensions_is_left_without_a_word() -> None:
    text = """(float[5,4,2] x) => (float[5,4,3] z) {
        [product] a = MatMul(x, w)
        [plus] z = Add(a, t)
    }"""
    made = model(text, w=W, t=T)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == []


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3), (1,)])
@pytest.mark.parametrize("line", ["b = Add(a, t)", "b = Add(t, a)"])
def test_after_three_dimensions_a_scale_goes_into_product_and_add(
    line: str, shape: tuple[int, ...]
) -> None:
    text = f"""(float[5,4,2] x) => (float[5,4,3] z) {{
        [product] a = MatMul(x, w)
        [plus] {line}
        [times] m = Mul(b, s)
        [minus] z = Sub(m, s)
    }}"""
    bias = T.reshape(shape) if 3 in shape else np.float32([7])
    result = fuse(model(text, w=W, t=bias, s=S))
    product, plus = result.model.graph.node
    assert (product.op_type, product.name) == ("MatMul", "product")
    assert (plus.op_type, plus.name) == ("Add", "plus")
    assert plus.input[0] == product.output[0]
    folded = constants(result.model)
    assert (folded[product.input[1]] == W * S).all()
    assert (folded[plus.input[1]] == bias * S - S).all()
    assert declined(result) == []


def test_new_values_get_names_of_their_own() -> None:
    text = """(float[5,4,2] x) => (float[5,4,3] z, float[5,4,3] q) {
        a = MatMul(x, w)
        b = Add(a, t)
        z = Mul(b, s)
        c = MatMul(x, w)
        MatMul_output = Add(c, t)
        q = Mul(MatMul_output, s)
    }"""
    made = model(text, w=W, t=T, s=S)
    result = fuse(made)
    written = [name for node in result.model.graph.node for name in node.output]
    assert len(written) == len(set(written)) == 4
    x = np.random.default_rng(0).standard_normal((5, 4, 2))
    assert_equivalent(made, widened(result.model), {"x": x})


def test_stacked_weights_are_scaled_along_their_last_axis() -> None:
    text = """(float[4,2] x) => (float[2,4,2] z) {
        [product] a = MatMul(x, w)
        [times] z = Mul(a, s)
    }"""
    stacked = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    result = fuse(model(text, w=stacked, s=np.float32([10, 100])))
    folded = constants(result.model)["w_fused"]
    assert folded.tolist() == [[[0, 100], [20, 300]], [[40, 500], [60, 700]]]


def test_stacked_weights_have_no_place_for_a_shift() -> None:
    for line in ("z = Add(b, t)", "m = Add(b, t)\nz = Sub(m, t)"):
        text = f"""(float[4,2] x) => (float[2,4,3] z) {{
            [product] a = MatMul(x, w)
            [one] b = Add(a, t)
            {line}
        }}"""
        made = model(text, w=np.stack([W, W]), t=T)
        result = fuse(made)
        assert result.model == made
        assert declined(result) == []


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ("float[4,2] x, float[2,3] v", "a = MatMul(x, v)"),
        ("float[3,4] x", "a = MatMul(w, x)"),
        ("float[2] x", "a = MatMul(x, w)"),
        ("float[4,3] x", "a = MatMul(x, s)"),
    ],
)
def test_other_products_are_none_of_ours(inputs: str, line: str) -> None:
    rank = 1 if line in ("a = MatMul(x, s)",) or inputs == "float[2] x" else 2
    text = f"""({inputs}) => (float[{",".join("?" * rank)}] z) {{
        {line}
        z = Mul(a, two)
    }}"""
    made = model(text, w=W, s=S, two=np.float32(2))
    result = fuse(made)
    assert fused(result) == []
    assert declined(result) == []


def test_a_product_whose_rank_is_open_stays() -> None:
    text = """(float[8] x, int64[n] shape) => (float[?,?] z) {
        open = Reshape(x, shape)
        a = MatMul(open, w)
        z = Mul(a, s)
    }"""
    result = fuse(model(text, w=W, s=S))
    assert fused(result) == []
    assert declined(result) == [
        ("fc-scale", "node_of_z", "product", "the rank of `open` is not known")
    ]


def test_a_bias_that_is_computed_makes_no_layer() -> None:
    text = """(float[4,2] x, float[3] v) => (float[4,3] z) {
        a = MatMul(x, w)
        b = Add(a, v)
        z = Mul(b, s)
    }"""
    result = fuse(model(text, w=W, s=S))
    assert fused(result) == []
    assert declined(result) == []


def test_an_add_of_another_shape_is_no_bias() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [product] a = MatMul(x, w)
        [plus] b = Add(a, column)
        [times] z = Mul(b, s)
    }"""
    made = model(text, w=W, s=S, column=np.ones((4, 1), np.float32))
    result = fuse(made)
    assert result.model == made
    sentence = "`column` has shape [4, 1], not one value per channel (3)"
    assert declined(result) == [("fc-scale", "plus", "one-value-per-channel", sentence)]


# Gemm

GEMM = """(float[4,2] x) => (float[4,3] z) {{
    [fc] y = Gemm {attributes} (x, w{c})
    [scale] z = {line}
}}"""


@pytest.mark.parametrize("shape", [None, (), (1,), (3,), (1, 3), (4, 1), (4, 3)])
@pytest.mark.parametrize("line", ["Mul(y, s)", "Add(y, s)", "Sub(s, y)"])
def test_alpha_beta_and_any_c_are_taken_into_account(
    line: str, shape: tuple[int, ...] | None
) -> None:
    text = GEMM.format(
        attributes="<alpha = 0.5, beta = -2.0, transB = 1>",
        c="" if shape is None else ", c",
        line=line,
    )
    c = np.arange(1, 1 + np.prod(shape or (1,)), dtype=np.float32).reshape(shape or ())
    made = model(text, w=np.ascontiguousarray(W.T), s=S, **({} if shape is None else {"c": c}))
    result = fuse(made)
    (node,) = result.model.graph.node
    has_bias = shape is not None or line != "Mul(y, s)"
    found = attributes(node)
    assert found["alpha"] == 0.5
    assert found["transB"] == 1
    assert found["beta"] == (1 if has_bias else -2)
    scale = {"Mul(y, s)": S, "Add(y, s)": np.ones(3), "Sub(s, y)": -np.ones(3)}[line]
    shift = 0 if line == "Mul(y, s)" else S
    folded = constants(result.model)
    assert (folded[node.input[1]] == (W * scale).T).all()
    if has_bias:
        old = np.float32(0) if shape is None else c
        assert (folded[node.input[2]] == -2 * old * scale + shift).all()
    x = np.random.default_rng(0).standard_normal((4, 2))
    assert_equivalent(made, result.model, {"x": x})


def test_transposed_square_weights_are_scaled_along_the_other_axis() -> None:
    square = np.float32([[1, 2], [3, 4]])
    for trans_b, expected in ((0, [[10, 200], [30, 400]]), (1, [[10, 20], [300, 400]])):
        text = f"""(float[4,2] x) => (float[4,2] z) {{
            [fc] y = Gemm <transB = {trans_b}> (x, w)
            [scale] z = Mul(y, s)
        }}"""
        result = fuse(model(text, w=square, s=np.float32([10, 100])))
        assert constants(result.model)["w_fused"].tolist() == expected


def test_a_transposed_input_changes_nothing_after_the_product() -> None:
    text = """(float[2,4] x) => (float[4,3] z) {
        [fc] y = Gemm <transA = 1> (x, w)
        [scale] z = Mul(y, s)
    }"""
    result = fuse(model(text, w=W, s=S))
    assert nodes(result.model) == ["fc: Gemm(x, w_fused) -> z"]
    assert attributes(result.model.graph.node[0]) == {"transA": 1}


@pytest.mark.parametrize(
    ("shape", "rank", "sentence"),
    [
        ((4, 1), 2, "`s` has shape [4, 1], not one value per channel (3)"),
        ((4, 3), 2, "`s` has shape [4, 3], not one value per channel (3)"),
        ((1, 1, 3), 3, "`s` has shape [1, 1, 3], of more than 2 dimensions"),
        ((0, 1), 2, None),
    ],
)
def test_a_constant_along_the_rows_is_declined(
    shape: tuple[int, ...], rank: int, sentence: str | None
) -> None:
    text = GEMM.format(attributes="", c="", line="Mul(y, s)")
    text = text.replace("[4,3] z", f"[{','.join('?' * rank)}] z")
    if sentence is None:
        text, sentence = (
            text.replace("4,2", "1,2"),
            "`s` has shape [0, 1], not one value per channel (3)",
        )
    made = model(text, w=W, s=np.full(shape, 2, np.float32))
    result = fuse(made, rules=["fc-scale"])
    assert declined(result) == [("fc-scale", "scale", "one-value-per-channel", sentence)]
    assert result.model == made


def test_a_constant_wider_than_the_only_column_is_declined() -> None:
    text = """(float[4,2] x) => (float[4,3] z) {
        [fc] y = Gemm(x, w)
        [scale] z = Add(y, s)
    }"""
    made = model(text, w=W[:, :1], s=S)
    sentence = "`s` has shape [3], not one value per channel (1)"
    result = fuse(made)
    assert declined(result) == [("fc-scale", "scale", "one-value-per-channel", sentence)]
    assert result.model == made


@pytest.mark.parametrize(
    ("inputs", "line", "sentence"),
    [
        (
            ", float[2,3] v",
            "y = Gemm(x, v)",
            "the weights `v` are an input of the graph, not a constant",
        ),
        (
            ", float[3] v",
            "y = Gemm(x, w, v)",
            "the bias `v` is an input of the graph, not a constant",
        ),
        (
            ", float[2,3] w",
            "y = Gemm(x, w)",
            "the weights `w` are an initializer that is a graph input too, which a caller may "
            "override",
        ),
    ],
)
def test_a_gemm_without_constants_is_declined(inputs: str, line: str, sentence: str) -> None:
    text = f"""(float[4,2] x{inputs}) => (float[4,3] z) {{
        [fc] {line}
        [scale] z = Mul(y, s)
    }}"""
    result = fuse(model(text, w=W, s=S))
    assert declined(result) == [("fc-scale", "scale", "product", sentence)]
    assert fused(result) == []


def test_another_power_than_one_is_declined() -> None:
    made = model(
        GEMM.format(attributes="", c="", line="Pow(y, two)"), w=W, two=np.float32([2, 2, 2])
    )
    result = fuse(made)
    sentence = "the power `two` is [2.0, 2.0, 2.0], not 1"
    assert declined(result) == [("fc-scale", "scale", "power-of-one", sentence)]
    assert result.model == made


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_integer_products_stay_as_they_are(operator: str) -> None:
    text = f"""(int32[4,2] x) => (int32[4,3] z) {{
        [product] y = {operator}(x, w)
        [scale] z = Mul(y, s)
    }}"""
    made = model(text, w=W.astype(np.int32), s=np.int32(3))
    result = fuse(made)
    sentence = "`w` is int32, and only floating-point numbers may be regrouped"
    assert declined(result) == [("fc-scale", "scale", "floating-weights", sentence)]
    assert result.model == made


def test_overflow_is_declined() -> None:
    text = """(float16[4,1] x) => (float16[4,1] z) {
        [fc] y = Gemm(x, w, b)
        [scale] z = Mul(y, s)
    }"""
    sentence = "a folded value would be 8e+04, beyond the largest float16 (6.55e+04)"
    for w, b in ((8, 0), (0, 8), (0, -8)):
        made = model(text, w=np.float16([[w]]), b=np.float16([b]), s=np.float16(10000))
        result = fuse(made)
        assert declined(result) == [("fc-scale", "scale", "representable", sentence)]
        assert result.model == made


# BatchNormalization


def statistics(size: int) -> dict[str, Array]:
    numbers = {"gain": 3, "shift": 1, "mean": 2, "variance": 4}
    return {name: np.full(size, number, np.float32) for name, number in numbers.items()}


NORMALIZE = "BatchNormalization <epsilon = 0.0> (y, gain, shift, mean, variance)"


def test_a_batch_normalization_after_a_gemm_folds() -> None:
    made = model(GEMM.format(attributes="", c="", line=NORMALIZE), w=W, **statistics(3))
    result = fuse(made)
    assert nodes(result.model) == ["fc: Gemm(x, w_fused, fc.bias) -> z"]
    folded = constants(result.model)
    assert (folded["w_fused"] == W * 1.5).all()
    assert folded["fc.bias"].tolist() == [-2, -2, -2]


def test_a_batch_normalization_after_three_dimensions_normalizes_another_axis() -> None:
    # As many rows as columns, so the numbers of statistics do not give it away.
    text = f"""(float[5,3,2] x) => (float[5,3,3] z) {{
        [product] y = MatMul(x, w)
        [bn] z = {NORMALIZE}
    }}"""
    for added in (False, True):
        lines = text.replace("y =", "a =").replace("[bn]", "[plus] y = Add(a, t)\n[bn]")
        made = model(lines if added else text, w=W, **statistics(3), **({"t": T} if added else {}))
        result = fuse(made)
        assert result.model == made
        sentence = "it normalizes axis 1, and the channels are on axis 2 of 3"
        found = [each for each in declined(result) if each[2] != "structure"]
        expected = ("fc-scale", "bn", "one-value-per-channel", sentence)
        # A MatMul of three dimensions alone has no place for the shift of the normalization.
        assert found == ([expected] if added else [])


# Consumers, sharing, sizes


def test_a_product_that_is_read_elsewhere_is_declined() -> None:
    text = """(float[4,2] x) => (float[4,3] z, float[4,3] q) {
        [product] a = MatMul(x, w)
        [plus] b = Add(a, t)
        [times] z = Mul(b, s)
        [relu] q = Relu(a)
    }"""
    made = model(text, w=W, t=T, s=S)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == [
        ("fc-scale", "plus", "one-consumer", "`a` has 2 consumers: plus, relu"),
        ("fc-scale", "times", "one-consumer", "`a` has 2 consumers: plus, relu"),
    ]


def test_weights_and_bias_shared_with_another_product_are_left_alone() -> None:
    text = """(float[4,2] x) => (float[4,3] z, float[4,3] q) {
        [fc] y = Gemm(x, w, t)
        [times] z = Mul(y, s)
        [other] q = Gemm(x, w, t)
    }"""
    result = fuse(model(text, w=W, t=T, s=S), objective="graph")
    folded = constants(result.model)
    assert list(folded) == ["w", "t", "w_fused", "t_fused"]
    assert (folded["w"] == W).all()
    assert (folded["t"] == T).all()
    assert nodes(result.model) == [
        "fc: Gemm(x, w_fused, t_fused) -> z",
        "other: Gemm(x, w, t) -> q",
    ]


@pytest.mark.parametrize("shape", ["N,K", "N,2", "?,?"])
@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
def test_dynamic_sizes_do_not_matter(operator: str, shape: str) -> None:
    text = f"""(float[{shape}] x) => (float[?,3] z) {{
        [product] y = {operator}(x, w)
        [times] z = Mul(y, s)
    }}"""
    result = fuse(model(text, w=W, s=S))
    assert nodes(result.model) == [f"product: {operator}(x, w_fused) -> z"]
    assert declined(result) == []


def test_an_open_number_of_rows_that_a_bias_settles_does_not_matter() -> None:
    given: dict[str, Any] = {"w": W, "c": np.ones((5, 3), np.float32), "s": S}
    for declared, trans in (("N,2", 0), ("2,N", 1)):
        text = f"""(float[{declared}] x) => (float[?,3] z) {{
            [fc] y = Gemm <transA = {trans}> (x, w, c)
            [times] z = Mul(y, s)
        }}"""
        result = fuse(model(text, **given))
        assert nodes(result.model) == ["fc: Gemm(x, w_fused, c_fused) -> z"]


def test_an_open_rank_does_not_matter_to_a_gemm() -> None:
    text = """(float[8] x, int64[n] shape) => (float[?,?] z) {
        [open] a = Reshape(x, shape)
        [fc] y = Gemm(a, w)
        [times] z = Mul(y, s)
    }"""
    result = fuse(model(text, w=W, s=S))
    assert nodes(result.model) == ["open: Reshape(x, shape) -> a", "fc: Gemm(a, w_fused) -> z"]
