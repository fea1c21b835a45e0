"""Nodes seen as W x + b, against the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import Array, model, node
from oracle import evaluate

from trtfuse.interop.reading import read_model
from trtfuse.layers.linear import Convolution, FullyConnected, Linear


def seen(view: type[Linear], text: str, of: str = "layer", **given: Array) -> Any:
    return view.of(node(read_model(model(text, **given)), of))  # type: ignore[attr-defined]


def drawn(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).integers(-4, 5, shape).astype(np.float64)


CONVOLUTIONS = [
    ("Conv", "1,4,5", (6, 4, 3), ""),
    ("Conv", "1,4,5,5", (6, 2, 3, 1), "<group = 2, dilations = [2, 1]>"),
    ("Conv", "1,4,3,3,3", (4, 1, 2, 1, 2), "<group = 4, strides = [1, 2, 1]>"),
    ("ConvTranspose", "1,4,5", (4, 6, 3), ""),
    ("ConvTranspose", "1,4,3,3", (4, 2, 3, 1), "<group = 2, strides = [2, 2]>"),
    ("ConvTranspose", "1,4,3,3", (4, 1, 2, 2), "<group = 4, dilations = [2, 1]>"),
]


@pytest.mark.parametrize(("operator", "shape", "weights", "attributes"), CONVOLUTIONS)
def test_rows_and_columns_of_a_convolution_scale_its_output_and_its_input(
    operator: str, shape: str, weights: tuple[int, ...], attributes: str
) -> None:
    rank = shape.count(",") + 1
    text = f"""(double[{shape}] x) => (double[{",".join("?" * rank)}] y) {{
        [layer] y = {operator} {attributes} (x, w)
    }}"""
    w = drawn(*weights)
    layer = seen(Convolution, text, w=w)
    assert (layer.rank, layer.axis, layer.in_axis) == (rank, 1, 1)
    assert layer.in_channels == 4
    assert layer.transposed is (operator == "ConvTranspose")
    x = np.random.default_rng(0).standard_normal([int(size) for size in shape.split(",")])
    y = evaluate(model(text, w=w), {"x": x})["y"].value
    assert layer.channels == y.shape[1]
    ones = (1,) * (rank - 2)
    out, into = np.arange(1.0, 1 + layer.channels), np.arange(1.0, 5)
    scaled = evaluate(model(text, w=w * layer.rows(out)), {"x": x})["y"].value
    assert np.allclose(scaled, y * out.reshape(-1, *ones), rtol=1e-12)
    scaled = evaluate(model(text, w=w * layer.columns(into)), {"x": x})["y"].value
    wanted = evaluate(model(text, w=w), {"x": x * into.reshape(-1, *ones)})["y"].value
    assert np.allclose(scaled, wanted, rtol=1e-12)
    one = np.array([3.0])
    assert (w * layer.rows(one) == 3 * w).all()
    assert (w * layer.columns(one) == 3 * w).all()


@pytest.mark.parametrize(
    ("operator", "shape", "weights", "attributes"), [c for c in CONVOLUTIONS if c[0] == "Conv"]
)
def test_the_response_of_a_convolution_to_a_constant(
    operator: str, shape: str, weights: tuple[int, ...], attributes: str
) -> None:
    rank = shape.count(",") + 1
    text = f"""(double[{shape}] x) => (double[{",".join("?" * rank)}] y) {{
        [layer] y = {operator} {attributes} (x, w)
    }}"""
    w = drawn(*weights)
    layer = seen(Convolution, text, w=w)
    ones = (1,) * (rank - 2)
    for shift in (np.array([2.0]), np.array([1.0, -2.0, 3.0, 5.0])):
        x = np.broadcast_to(shift.reshape(-1, *ones), [int(size) for size in shape.split(",")])
        y = evaluate(model(text, w=w), {"x": x})["y"].value
        expected = layer.response(shift).reshape(-1, *ones)
        assert np.allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-12)


@pytest.mark.parametrize(
    ("attributes", "padding"),
    [
        ("", None),
        ("<pads = [0, 0, 0, 0]>", None),
        ("<pads = [0, 1, 0, 0]>", "its pads are [0, 1, 0, 0]"),
        ('<auto_pad = "NOTSET", pads = [1, 1, 1, 1]>', "its pads are [1, 1, 1, 1]"),
        ('<auto_pad = "VALID">', None),
        ('<auto_pad = "VALID", pads = [1, 1, 1, 1]>', None),
        ('<auto_pad = "SAME_UPPER">', "auto_pad is SAME_UPPER"),
        ('<auto_pad = "SAME_LOWER">', "auto_pad is SAME_LOWER"),
    ],
)
def test_the_padding_of_a_convolution(attributes: str, padding: str | None) -> None:
    text = f"(double[1,1,5,5] x) => (double[?,?,?,?] y) {{ [layer] y = Conv {attributes} (x, w) }}"
    assert seen(Convolution, text, w=drawn(1, 1, 3, 3)).padding == padding


@pytest.mark.parametrize(
    ("operator", "attributes", "smallest"),
    [
        ("Conv", "", (4, 3)),
        ("Conv", "<strides = [2, 3]>", (5, 5)),
        ("Conv", "<dilations = [2, 3]>", (6, 5)),
        ("ConvTranspose", "<strides = [2, 2]>", (2, 2)),
    ],
)
def test_the_smallest_input_holds_the_kernel_twice(
    operator: str, attributes: str, smallest: tuple[int, ...]
) -> None:
    text = f"""(double[1,1,9,9] x) => (double[?,?,?,?] y) {{
        [layer] y = {operator} {attributes} (x, w)
    }}"""
    assert seen(Convolution, text, w=drawn(1, 1, 3, 2)).smallest_input() == smallest


def test_a_bias_may_be_left_out_by_an_empty_name() -> None:
    made = model(
        "(double[1,1,2] x) => (double[?,?,?] y) { [layer] y = Conv(x, w) }", w=drawn(1, 1, 1)
    )
    made.graph.node[0].input.append("")
    layer = Convolution.of(node(read_model(made), "layer"))
    assert isinstance(layer, Convolution)
    assert layer.b is None
    assert layer.bias is None
    assert layer.exact_bias() is None


# Products


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_rows_columns_and_response_of_a_gemm(trans_a: int, trans_b: int) -> None:
    x_shape, w_shape = ((5, 3), (3, 5))[trans_a], ((3, 4), (4, 3))[trans_b]
    text = f"""(double[{x_shape[0]},{x_shape[1]}] x) => (double[5,4] y) {{
        [layer] y = Gemm <alpha = -0.5, transA = {trans_a}, transB = {trans_b}> (x, w)
    }}"""
    w = drawn(*w_shape)
    layer = seen(FullyConnected, text, w=w)
    assert (layer.rank, layer.axis, layer.channels) == (2, 1, 4)
    assert (layer.in_axis, layer.in_channels) == (0 if trans_a else 1, 3)
    assert layer.alpha == -0.5
    assert layer.takes_bias
    x = np.random.default_rng(0).standard_normal(x_shape)
    along = np.array([1.0, -2.0, 3.0]).reshape((3, 1) if trans_a else (1, 3))
    y = evaluate(model(text, w=w), {"x": x})["y"].value
    out, into = np.arange(1.0, 5), along.reshape(-1)
    assert np.allclose(evaluate(model(text, w=w * layer.rows(out)), {"x": x})["y"].value, y * out)
    scaled = evaluate(model(text, w=w * layer.columns(into)), {"x": x})["y"].value
    assert np.allclose(scaled, evaluate(model(text, w=w), {"x": x * along})["y"].value)
    constant = evaluate(model(text, w=w), {"x": np.broadcast_to(along, x_shape)})["y"].value
    assert np.allclose(constant, layer.response(into))
    constant = evaluate(model(text, w=w), {"x": np.full(x_shape, 2.0)})["y"].value
    assert np.allclose(constant, layer.response(np.array([2.0])))


@pytest.mark.parametrize(
    ("x", "w", "rank", "axis", "in_axis", "takes_bias"),
    [
        ("4,2", (2, 3), 2, 1, 1, True),
        ("5,4,2", (2, 3), 3, 2, 2, False),
        ("4,2", (5, 2, 3), 3, 2, 1, False),
        ("6,5,4,2", (5, 2, 3), 4, 3, 3, False),
    ],
)
def test_a_matmul_and_where_its_channels_are(
    x: str, w: tuple[int, ...], rank: int, axis: int, in_axis: int, takes_bias: bool
) -> None:
    text = f"(double[{x}] x) => (double[{','.join('?' * rank)}] y) {{ [layer] y = MatMul(x, w) }}"
    layer = seen(FullyConnected, text, w=drawn(*w))
    assert (layer.rank, layer.axis, layer.in_axis) == (rank, axis, in_axis)
    assert (layer.channels, layer.in_channels) == (3, 2)
    assert layer.takes_bias is takes_bias
    assert layer.alpha == 1
    assert layer.bias is None


@pytest.mark.parametrize(
    ("line", "b", "is_layer"),
    [
        ("y = Add(a, b)", (3,), True),
        ("y = Add(b, a)", (1, 1, 3), True),
        ("y = Add(a, b)", (1,), True),
        ("y = Add(a, b)", (4, 1), False),
        ("y = Add(a, b)", (5, 1, 3), False),
        ("y = Add(r, b)", (3,), False),
        ("y = Add(x3, b)", (3,), False),
    ],
)
def test_a_matmul_and_the_add_of_a_bias(line: str, b: tuple[int, ...], is_layer: bool) -> None:
    text = f"""(double[5,4,2] x, double[5,4,3] x3) => (double[5,4,3] y) {{
        [product] a = MatMul(x, w)
        r = Relu(a)
        [layer] {line}
    }}"""
    read = read_model(model(text, w=drawn(2, 3), b=drawn(*b)))
    layer = FullyConnected.of(node(read, "layer"))
    assert isinstance(layer, FullyConnected) is is_layer
    if isinstance(layer, FullyConnected):
        assert [each.proto.name for each in layer.nodes] == ["layer", "product"]
        assert layer.product is node(read, "product")
        assert layer.b is not None
        assert layer.b.name == "b"
        assert layer.takes_bias
        assert layer.x.name == "x"


def test_beta_is_part_of_the_bias_of_a_gemm() -> None:
    text = "(double[4,2] x) => (double[4,3] y) { [layer] y = Gemm <beta = -2.0> (x, w, b) }"
    layer = seen(FullyConnected, text, w=drawn(2, 3), b=np.float64([1, 2, 3]))
    assert layer.exact_bias().tolist() == [-2, -4, -6]
