"""What a node costs, counted from its shapes."""

from __future__ import annotations

import numpy as np
import pytest
from models import model
from onnx import ModelProto

from trtfuse.ir.graph import Shape, Value
from trtfuse.ir.model import Model
from trtfuse.result.estimate import Cost, cost, is_known


def known(value: Value) -> tuple[int | None, Shape | None]:
    return value.type, value.shape


def cost_of(proto: ModelProto) -> Cost:
    return cost(Model(proto).graph.nodes(), known)


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("call", "inputs", "output", "weights", "operations"),
    [
        ("Relu(x)", "float[2,3] x", "float[2,3]", {}, 6),
        ("Transpose(x)", "float[2,3] x", "float[3,2]", {}, 0),
        ("Softmax(x)", "float[2,3] x", "float[2,3]", {}, 30),
        ("Sum(x, x, x)", "float[2,3] x", "float[2,3]", {}, 12),
        ("ReduceSum(x)", "float[2,3] x", "float[?,?]", {}, 6),
        ("MatMul(x, w)", "float[2,3] x", "float[2,5]", {"w": (3, 5)}, 60),
        ("Gemm(x, w, b)", "float[2,3] x", "float[2,5]", {"w": (3, 5), "b": (5,)}, 70),
        ("Gemm<transA=1>(x, w)", "float[3,2] x", "float[2,5]", {"w": (3, 5)}, 60),
        ("Conv(x, w)", "float[1,4,5,5] x", "float[1,6,3,3]", {"w": (6, 4, 3, 3)}, 2 * 54 * 36),
        (
            "Conv<group=2>(x, w, b)",
            "float[1,4,5,5] x",
            "float[1,6,3,3]",
            {"w": (6, 2, 3, 3), "b": (6,)},
            2 * 54 * 18 + 54,
        ),
        (
            "ConvTranspose(x, w)",
            "float[1,4,3,3] x",
            "float[1,6,4,4]",
            {"w": (4, 6, 2, 2)},
            2 * 36 * 24,
        ),
        (
            "MaxPool<kernel_shape=[2,2]>(x)",
            "float[1,1,3,3] x",
            "float[1,1,2,2]",
            {},
            16,
        ),
        ("MatMul(x, w)", "float[batch,3] x", "float[batch,5]", {"w": (3, 5)}, 30),
    ],
)
def test_operations(
    call: str, inputs: str, output: str, weights: dict[str, tuple[int, ...]], operations: int
) -> None:
    proto = model(f"({inputs}) => ({output} y) {{ y = {call} }}", **arrays(**weights))
    found = cost_of(proto)
    assert (found.operations, found.uncounted) == (operations, 0)


def test_bytes_are_those_of_distinct_tensors() -> None:
    proto = model("(float[2,3] x) => (float[2,3] y) { y = Mul(x, x) }")
    assert cost_of(proto).bytes == 2 * 6 * 4
    proto = model("(float16[2,3] x) => (float16[2,3] y) { y = Mul(x, h) }", h=np.float16([2]))
    assert cost_of(proto).bytes == 2 * 6 * 2 + 2


def test_costs_add_up() -> None:
    proto = model("(float[2,3] x) => (float[2,3] z) { y = Relu(x) z = Tanh(y) }")
    nodes = list(Model(proto).graph.nodes())
    assert cost(nodes, known) == cost(nodes[:1], known) + cost(nodes[1:], known)
    assert cost([], known) == Cost()


def test_what_cannot_be_counted_is_said() -> None:
    proto = model("(float[?,3] x) => (float[?,3] z) { y = Relu(x) z = Tanh(y) }")
    assert cost_of(proto) == Cost(uncounted=2)
    proto = model("(string[2] x) => (string[2] y) { y = Identity(x) }")
    assert cost_of(proto) == Cost(uncounted=1)


def test_symbols_that_inference_makes_up_are_not_known() -> None:
    assert is_known((1, "batch"))
    assert is_known(())
    assert not is_known(("unk__3", 2))
    assert not is_known((None,))
    assert not is_known(None)
