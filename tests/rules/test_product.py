from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(0)
V, W = RNG.standard_normal((8, 3)), RNG.standard_normal((3, 2))
A, B = RNG.standard_normal(3), RNG.standard_normal(2)


@pytest.mark.parametrize(
    ("body", "rank", "left"),
    [
        ("h = MatMul(x, v) y = MatMul(h, w)", 3, ["MatMul"]),
        ("h = MatMul(x, v) y = MatMul(h, w)", 2, ["MatMul"]),
        ("h = Gemm(x, v, a) y = Gemm(h, w, b)", 2, ["Gemm"]),
        (
            "h = Gemm<alpha=0.5, beta=2.0>(x, v, a) y = Gemm<alpha=3.0, beta=0.5>(h, w, b)",
            2,
            ["Gemm"],
        ),
        ("h = Gemm<transB=1>(x, vt, a) y = Gemm<transB=1>(h, wt)", 2, ["Gemm"]),
        ("h = Gemm(x, v, a) y = MatMul(h, w)", 2, ["Gemm"]),
        ("h = MatMul(x, v) i = Add(h, a) j = MatMul(i, w) y = Add(j, b)", 3, ["MatMul", "Add"]),
    ],
)
def test_two_products_in_a_row_are_one(body: str, rank: int, left: list[str]) -> None:
    words = "".join(c if c.isalnum() else " " for c in body).split()
    weights = {"v": V, "w": W, "a": A, "b": B, "vt": V.T.copy(), "wt": W.T.copy()}
    given: dict[str, Any] = {name: array for name, array in weights.items() if name in words}
    batch = "n" if rank == 2 else "n,t"
    made = model(f"(double[{batch},8] x) => (double[{batch},2] y) {{ {body} }}", **given)
    result = rewrite_and_explain(made)
    assert [node.op_type for node in result.model.graph.node] == left
    x = RNG.standard_normal((4, 5, 8)[3 - rank :])
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_product_of_float32_weights_is_rounded_once() -> None:
    v, w = V.astype(np.float32), W.astype(np.float32)
    made = model("(float[n,8] x) => (float[n,2] y) { h = MatMul(x, v) y = MatMul(h, w) }", v=v, w=w)
    (found,) = constants(rewrite_and_explain(made).model).values()
    np.testing.assert_array_equal(found, (v.astype(float) @ w.astype(float)).astype(np.float32))


@st.composite
def products(draw: st.DrawFn) -> tuple[ModelProto, np.ndarray]:
    """Two products in a row whose weights take fewer operations in one."""
    opset = draw(st.sampled_from((7, 9, 11, 13, onnx.defs.onnx_opset_version())))
    element = draw(st.sampled_from((TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16)))
    dtype = helper.tensor_dtype_to_np_dtype(element)
    rank = draw(st.integers(2, 4))
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    k, n = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    # k * n < hidden * (k + n)
    hidden = draw(st.integers(k * n // (k + n) + 1, 7))
    rows = draw(st.integers(1, 3))
    made: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []

    def constant(shape: tuple[int, ...]) -> str:
        name = f"c{len(weights)}"
        weights.append(numpy_helper.from_array(numbers.uniform(-2, 2, shape).astype(dtype), name))
        return name

    def node(operator: str, *inputs: str, **attributes: Any) -> str:
        result = f"v{len(made)}"
        made.append(helper.make_node(operator, inputs, [result], name=f"n{result}", **attributes))
        return result

    def product(x: str, width: int, wide: int, biases: list[tuple[int, ...]]) -> str:
        kind = draw(st.sampled_from(("MatMul", "Gemm", "MatMul and Add")))
        if kind == "Gemm" and rank == 2:
            turned = draw(st.booleans())
            w = constant((wide, width) if turned else (width, wide))
            bias = [constant(draw(st.sampled_from(biases)))]
            if opset >= 11 and draw(st.booleans()):
                bias = []
            alpha, beta = draw(st.sampled_from((1.0, 0.5))), draw(st.sampled_from((1.0, -2.0)))
            return node("Gemm", x, w, *bias, alpha=alpha, beta=beta, transB=int(turned))
        y = node("MatMul", x, constant((width, wide)))
        if kind == "MatMul and Add":
            operands = [
                y,
                constant(draw(st.sampled_from([(), (wide,), (1,) * (rank - 1) + (wide,)]))),
            ]
            y = node("Add", *operands[:: draw(st.sampled_from((1, -1)))])
        return y

    one_row = [(), (1,), (hidden,), (1, hidden), (1, 1)]
    any_rows = [(), (n,), (1, n), (rows, 1), (rows, n)]
    product(product("x", k, hidden, one_row), hidden, n, any_rows)
    made[-1].output[0] = "y"
    shape = (*numbers.integers(1, 3, rank - 2).tolist(), rows, k)
    free = draw(st.booleans())
    listed = [*(f"d{i}" if free else size for i, size in enumerate(shape[:-2])), rows, k]
    graph = helper.make_graph(
        made,
        "products",
        [helper.make_tensor_value_info("x", element, listed)],
        [helper.make_tensor_value_info("y", element, [f"o{i}" for i in range(rank)])],
        weights,
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return whole, numbers.standard_normal(shape).astype(dtype)


@given(products())
def test_any_two_products_in_a_row_are_one(drawn: tuple[ModelProto, np.ndarray]) -> None:
    made, x = drawn
    for rules in (["product-product"], None):
        for verify in ("none", "rewrite"):
            result = rewrite_and_explain(made, rules=rules, verify=verify)
            assert declined(result) == []
            operators = [node.op_type for node in result.model.graph.node]
            assert len([name for name in operators if name != "Add"]) == 1
            assert len(operators) <= 2 or rules
            onnx.checker.check_model(result.model, full_check=True)
            (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
            (found,) = ReferenceEvaluator(result.model).run(None, {"x": x})
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            tolerance = {"float64": 1e-12, "float32": 1e-4, "float16": 0.25}[str(x.dtype)]
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
            again = rewrite_and_explain(result.model, rules=rules, verify="none")
            assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("body", "given", "guard", "because"),
    [
        ("[one] h = MatMul(x, v) [two] y = MatMul(h, w)",
         {"v": np.ones((8, 2)), "w": np.ones((2, 8))}, "fewer-operations",
         "8 x 8 weights in one take 64 multiplications a row, and 32 in two"),
        ("[one] h = Gemm(x, v, a) [two] y = Gemm(h, w)",
         {"v": V, "w": W, "a": np.ones((4, 1))},
         "one-row-of-bias", "the bias of one has shape [4, 1], not one row"),
        ("[one] h = Gemm(x, v, a) [two] y = Gemm(h, w)",
         {"v": V, "w": W, "a": np.ones((4, 3))},
         "one-row-of-bias", "the bias of one has shape [4, 3], not one row"),
        ("[one] h = MatMul(x, v) [two] y = MatMul(h, w)", {"v": V * 1e200, "w": W * 1e200},
         "representable", "a folded value would be inf, beyond the largest float64 (1.8e+308)"),
        ("[one] h = MatMul(x, v) [two] y = MatMul(h, w)", {"v": V * 1e-200, "w": W * 1e-110},
         "representable", "all weights of one channel would be at most 9.51e-311, "
         "below the normal numbers of float64 (2.23e-308)"),
    ],
)  # fmt: skip
def test_two_products_stay(body: str, given: dict[str, Any], guard: str, because: str) -> None:
    n = given["w"].shape[1]
    made = model(f"(double[4,8] x) => (double[4,{n}] y) {{ {body} }}", **given)
    assert declined(rewrite_and_explain(made)) == [("product-product", "two", guard, because)]


def test_a_bias_of_many_dimensions_is_added_behind_the_product() -> None:
    made = model(
        """(double[4,5,8] x) => (double[4,5,2] y) {
            [one] h = MatMul(x, v) [bias] i = Add(h, a) [two] y = MatMul(i, w)
        }""",
        v=V,
        w=W,
        a=A,
    )
    result = rewrite_and_explain(made)
    assert fused(result) == [("product-product", "one + bias + two")]
    assert nodes(result.model) == [
        "two: MatMul(x, w_fused) -> two_output",
        "bias: Add(two_output, two.bias) -> y",
    ]
    np.testing.assert_allclose(constants(result.model)["two.bias"], A @ W, rtol=1e-12)


@pytest.mark.parametrize(
    "body",
    [
        "h = Gemm<transA=1>(x, v) y = MatMul(h, w)",
        "h = MatMul(x, v) y = Gemm<transA=1>(h, u)",
        "h = MatMul(x, many) y = MatMul(h, w)",
    ],
)
def test_what_transposes_or_has_batches_of_weights_is_no_plain_product(body: str) -> None:
    weights = {
        "v": V,
        "w": W,
        "u": RNG.standard_normal((8, 2)),
        "many": RNG.standard_normal((2, 8, 3)),
    }
    words = "".join(c if c.isalnum() else " " for c in body).split()
    given: dict[str, Any] = {name: array for name, array in weights.items() if name in words}
    out = "?,?,?" if "many" in words else "?,?"
    made = model(f"(double[8,8] x) => (double[{out}] y) {{ {body} }}", **given)
    result = rewrite_and_explain(made)
    assert (fused(result), declined(result)) == ([], [])


def test_a_product_that_is_read_elsewhere_stays() -> None:
    made = model(
        """(double[4,8] x) => (double[4,2] y, double[4,3] z) {
            [one] h = MatMul(x, v) [two] y = MatMul(h, w) [more] z = Neg(h)
        }""",
        v=V,
        w=W,
    )
    assert declined(rewrite_and_explain(made, rules=["product-product"])) == [
        ("product-product", "two", "one-consumer", "`h` has 2 consumers: two, more")
    ]


def test_a_weight_that_others_read_is_left_alone() -> None:
    made = model(
        """(double[4,8] x, double[4,3] other) => (double[4,2] y, double[4,2] z) {
            h = MatMul(x, v) y = MatMul(h, w) z = MatMul(other, w)
        }""",
        v=V,
        w=W,
    )
    result = rewrite_and_explain(made)
    np.testing.assert_array_equal(constants(result.model)["w"], W)
    assert [node.op_type for node in result.model.graph.node] == ["MatMul", "MatMul"]


def test_integer_products_stay() -> None:
    made = model(
        "(int32[4,8] x) => (int32[4,2] y) { [one] h = MatMul(x, v) [two] y = MatMul(h, w) }",
        v=np.ones((8, 3), np.int32),
        w=np.ones((3, 2), np.int32),
    )
    result = rewrite_and_explain(made)
    assert fused(result) == []
    assert declined(result)[0][2:] == (
        "floating-products",
        "`v` is int32, and only floating-point numbers may be regrouped",
    )
