"""Groups that begin with a convolution: F1, F4, C1, C2, C8."""

from __future__ import annotations

import numpy as np
import pytest
from grouped import groups, misses
from models import model
from onnx import ModelProto

W = np.ones((4, 4, 3, 3), np.float32)
ONE = np.ones((4, 4, 1, 1), np.float32)


def graph(text: str, outputs: str = "float[?,?,?,?] y", **constants: object) -> ModelProto:
    """A graph of `x` and `z`, of shape [2, 4, 8, 8]."""
    given = {"w": W, **constants}
    return model(f"(float[2,4,8,8] x, float[2,4,8,8] z) => ({outputs}) {{ {text} }}", **given)  # type: ignore[arg-type]


CONV = "[conv1] c = Conv<pads=[1,1,1,1]>(x, w) "


def test_a_convolution_and_a_relu() -> None:
    made = graph(CONV + "[relu1] y = Relu(c)")
    assert groups(made) == [("conv-relu", "conv1 + relu1")]


def test_a_deconvolution_and_a_relu() -> None:
    made = graph("[up] c = ConvTranspose<strides=[2,2]>(x, w) [relu1] y = Relu(c)")
    assert groups(made) == [("conv-relu", "up + relu1")]


def test_weights_may_be_computed() -> None:
    made = graph("[conv1] c = Conv(x, z) [relu1] y = Relu(c)", "float[?,?,?,?] y")
    assert groups(made) == [("conv-relu", "conv1 + relu1")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[a] y = Sigmoid(c)", "a"),
        ("[a] y = Tanh(c)", "a"),
        ("[a] y = LeakyRelu<alpha=0.1>(c)", "a"),
        ("[a] y = Elu(c)", "a"),
        ("[a] y = HardSwish(c)", "a"),
        ("[a] y = Gelu(c)", "a"),
        ("[a] y = Clip(c, low, high)", "a"),
        ("[a] y = Min(c, high)", "a"),
        ("[a] y = PRelu(c, low)", "a"),
        ("[s] g = Sigmoid(c) [m] y = Mul(c, g)", "s + m"),
        ("[s] g = Sigmoid(c) [m] y = Mul(g, c)", "s + m"),
        ("[s] g = HardSigmoid(c) [m] y = Mul(c, g)", "s + m"),
        ("[p] p = Softplus(c) [t] g = Tanh(p) [m] y = Mul(c, g)", "p + t + m"),
        ("[k] p = Mul(c, high) [s] g = Sigmoid(p) [m] y = Mul(c, g)", "k + s + m"),
        (
            "[d] d = Div(c, root) [e] e = Erf(d) [p] p = Add(e, one) [t] t = Mul(c, p) "
            "[h] y = Mul(t, half)",
            "d + e + p + t + h",
        ),
    ],
)
def test_a_convolution_and_an_activation(text: str, name: str) -> None:
    numbers = {"low": 0.0, "high": 6.0, "root": 2**0.5, "one": 1.0, "half": 0.5}
    made = graph(CONV + text, **{name: np.float32(each) for name, each in numbers.items()})
    assert groups(made) == [("conv-activation", f"conv1 + {name}")]


@pytest.mark.parametrize("add", ["Add(c, z)", "Add(z, c)", "Sum(c, z)"])
def test_a_convolution_and_a_sum(add: str) -> None:
    assert groups(graph(CONV + f"[add1] y = {add}")) == [("conv-sum", "conv1 + add1")]
    made = graph(CONV + f"[add1] s = {add} [relu1] y = Relu(s)")
    assert groups(made) == [("conv-sum", "conv1 + add1 + relu1")]


def test_only_a_relu_joins_a_sum() -> None:
    made = graph(CONV + "[add1] s = Add(c, z) [a] y = Sigmoid(s)")
    assert groups(made) == [("conv-sum", "conv1 + add1")]


def test_a_sum_may_broadcast_across_the_batch_alone() -> None:
    text = "(float[2,4,8,8] x, float[{}] z) => (float[?,?,?,?] y) {{ " + CONV
    text += "[add1] y = Add(c, z) }}"
    assert groups(model(text.format("1,4,8,8"), w=W)) == [("conv-sum", "conv1 + add1")]
    made = model(text.format("2,4,1,1"), w=W)
    assert groups(made) == []
    because = "`c` has shape [2, 4, 8, 8] and `z` has shape [2, 4, 1, 1]"
    assert misses(made) == [("conv-sum", "conv1", "no-broadcast", because)]
    made = model(text.format("2,4,?,8"), w=W)
    because = "`c` has shape [2, 4, 8, 8] and `z` has shape [2, 4, ?, 8]"
    assert misses(made) == [("conv-sum", "conv1", "no-broadcast", because)]


def test_a_sum_with_itself_is_none() -> None:
    made = graph(CONV + "[add1] y = Add(c, c)")
    assert groups(made) == []
    because = "add1 reads `c` as both operands"
    assert misses(made) == [("conv-sum", "conv1", "other-operand", because)]


def test_a_sum_with_a_constant_is_a_scale() -> None:
    made = graph(CONV + "[add1] y = Add(c, k)", k=np.ones((2, 4, 8, 8), np.float32))
    assert groups(made) == []


def test_of_two_convolutions_that_of_the_shortcut_takes_the_sum() -> None:
    made = graph(
        "[conv1] a = Conv<pads=[1,1,1,1]>(x, w) [relu1] b = Relu(a) "
        "[conv2] c = Conv<pads=[1,1,1,1]>(b, w) [down] d = Conv<pads=[1,1,1,1]>(x, w) "
        "[add1] s = Add(d, c) [relu2] y = Relu(s)"
    )
    assert groups(made) == [
        ("conv-relu", "conv1 + relu1"),
        ("conv-sum", "down + add1 + relu2"),
    ]
    because = "add1 goes with down"
    assert misses(made) == [("conv-sum", "conv2", "first-choice", because)]


@pytest.mark.parametrize("operator", ["Min", "Max"])
def test_a_convolution_and_a_minimum_or_maximum(operator: str) -> None:
    made = graph(CONV + f"[m] y = {operator}(c, z)")
    assert groups(made) == [("conv-min-max", "conv1 + m")]


def test_others_that_read_the_convolution_are_named() -> None:
    made = graph(
        CONV + "[relu1] y = Relu(c) [skip] v = Abs(c)", "float[?,?,?,?] y, float[?,?,?,?] v"
    )
    assert groups(made) == []
    because = "`c` has 2 consumers: relu1, skip"
    assert misses(made) == [("conv-relu", "conv1", "only-read-inside", because)]
    made = graph(
        CONV + "[add1] y = Add(c, z) [skip] v = Abs(c)", "float[?,?,?,?] y, float[?,?,?,?] v"
    )
    because = "`c` has 2 consumers: add1, skip"
    assert misses(made) == [("conv-sum", "conv1", "only-read-inside", because)]


def test_an_output_of_the_graph_is_read_outside() -> None:
    made = graph(CONV + "[s] y = Sigmoid(c)", "float[?,?,?,?] y, float[?,?,?,?] c")
    assert groups(made) == []
    because = "`c` is an output of the graph"
    assert misses(made) == [("conv-activation", "conv1", "only-read-inside", because)]


DEPTHWISE = "[dw] d = Conv<group=4, pads=[1,1,1,1]>(x, v) "
V = np.ones((4, 1, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (DEPTHWISE + "[pw] y = Conv(d, o)", "dw + pw"),
        (DEPTHWISE + "[a] e = Relu(d) [pw] y = Conv(e, o)", "dw + a + pw"),
        (DEPTHWISE + "[a] e = Sigmoid(d) [pw] f = Conv(e, o) [r] y = Relu(f)", "dw + a + pw + r"),
        (DEPTHWISE + "[pw] f = Conv(d, o) [add] y = Add(f, z)", "dw + pw + add"),
    ],
)
def test_a_depthwise_and_a_pointwise_convolution(text: str, name: str) -> None:
    assert groups(graph(text, v=V, o=ONE)) == [("depthwise-pointwise", name)]


def test_a_larger_kernel_or_a_dense_convolution_is_not_separable() -> None:
    assert groups(graph(DEPTHWISE + "[pw] y = Conv(d, w)", v=V)) == []
    assert groups(graph(CONV + "[pw] y = Conv(c, o)", o=ONE)) == []
    assert groups(graph(DEPTHWISE + "[pw] y = Conv<strides=[2,2]>(d, o)", v=V, o=ONE)) == []


def test_a_depthwise_convolution_that_others_read_stays_alone() -> None:
    made = graph(
        DEPTHWISE + "[pw] y = Conv(d, o) [skip] u = Abs(d)",
        "float[?,?,?,?] y, float[?,?,?,?] u",
        v=V,
        o=ONE,
    )
    assert groups(made) == []
    because = "`d` has 2 consumers: pw, skip"
    assert misses(made) == [("depthwise-pointwise", "dw", "only-read-inside", because)]


def test_rules_that_are_left_out_form_no_group() -> None:
    made = graph(CONV + "[relu1] y = Relu(c)")
    assert groups(made, skip=["conv-relu"]) == []
    assert groups(made, groups="off") == []
