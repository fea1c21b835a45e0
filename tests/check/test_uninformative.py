"""Random inputs that leave an output the same, or saturated, tell little of it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser

import trtfuse


def parsed(text: str) -> ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')


def noted(text: str) -> list[str]:
    model = parsed(text)
    found = trtfuse.verify(model, model)
    assert found.ok
    end = ": its agreement tells little; check your own data with --inputs"
    assert all(note.endswith(end) for note in found.notes)
    return [note.removesuffix(end) for note in found.notes]


SAME = "output 'y' is the same for every random input"
SATURATED = ["output 'y' is 0 or 1 everywhere, for every random input"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("n = Abs(x) m = Neg(n) y = Relu(m)", "all 0.0"),
        ("a = Abs(x) b = Add(a, big) y = Sigmoid(b)", "all 1.0"),
        ("a = Sub(x, x) y = Div(a, a)", "all nan"),
        ("a = Abs(x) b = Add(a, big) c = Exp(b) y = Neg(c)", "all -inf"),
    ],
)
def test_an_output_of_one_number_is_noted(body: str, said: str) -> None:
    text = f"(float[N, 3] x) => (float[N, 3] y) <float big = {{200}}> {{ {body} }}"
    assert noted(text) == [f"{SAME} ({said})"]


def test_an_output_of_one_integer_is_noted() -> None:
    text = "(float[2, 1] x) => (int64[2, 1] y) { y = ArgMax<axis = 1>(x) }"
    assert noted(text) == [f"{SAME} (all 0)"]
    text = "(float[2] x) => (bool[2] y) <float big = {1e9}> { y = Less(x, big) }"
    assert noted(text) == [f"{SAME} (all True)"]


def test_an_output_of_the_same_numbers_is_noted() -> None:
    text = (
        "(float[1, 3] x) => (float[1, 3] y) <float[3] c = {1, 2, 3}, float n = {0}>"
        " { z = Mul(x, n) y = Add(z, c) }"
    )
    assert noted(text) == [SAME]


def test_an_output_of_no_numbers_is_noted() -> None:
    text = (
        "(float[N, 3] x) => (int64[2, M] y) <float[1] big = {1e9}>"
        " { m = Greater(x, big) y = NonZero(m) }"
    )
    assert noted(text) == ["output 'y' is empty for every random input"]


def test_a_saturated_output_is_noted() -> None:
    text = (
        "(float[N, 3] x) => (float[3, N] y) <float[3] c = {-1e6, 1e6, 1e6}>"
        " { a = Add(x, c) s = OP(a) r = Identity(s) y = Transpose(r) }"
    )
    assert noted(text.replace("OP", "Sigmoid")) == SATURATED
    assert noted(text.replace("OP", "Softmax").replace("1e6, 1e6}", "1e6, -1e6}")) == SATURATED
    assert noted(text.replace("OP", "Neg")) == []


def test_a_mask_is_not_saturated() -> None:
    text = "(float[N, 30] x) => (float[N, 30] y) { s = Sign(x) y = Relu(s) }"
    assert noted(text) == []


def test_an_output_that_varies_is_not_noted() -> None:
    assert noted("(float[N, 3] x) => (float[N, 3] y) { y = Sigmoid(x) }") == []
    # Zeros are zeros: what they leave the same says nothing.
    assert noted("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }") == []


@pytest.mark.parametrize(
    "text",
    [
        "(float[2] x) => (float[2] x, float[2] y) <float[2] w = {1, 1}> { y = Identity(w) }",
        "(float[2, 3] x) => (int64[2] y) { y = Shape(x) }",
        "() => (float[2] y) <float[2] w = {1, 1}> { y = Relu(w) }",
    ],
)
def test_an_output_that_does_not_depend_on_the_numbers_is_not_noted(text: str) -> None:
    assert noted(text) == []


def test_what_only_a_body_reads_makes_an_output_depend_on_it() -> None:
    text = (
        "(bool c, float[2] x) => (float[2] y) <float n = {0}>"
        " { y = If(c) <then_branch = t () => (float[2] a) { a = Mul(x, n) },"
        " else_branch = e () => (float[2] b) { b = Mul(x, n) }> }"
    )
    assert [note.split(" (")[0] for note in noted(text)] == [SAME]


def test_nothing_is_noted_of_data_that_were_given() -> None:
    model = parsed("(float[N, 3] x) => (float[N, 3] y) { n = Abs(x) m = Neg(n) y = Relu(m) }")
    found = trtfuse.verify(model, model, inputs=np.ones((2, 3), np.float32))
    assert found.notes == []
