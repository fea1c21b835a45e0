"""A BERT as tf2onnx writes it: every dense layer flattens the batch, and puts it back.

The shape that it is put back to is computed each time with Shape, Cast, Slice, Squeeze, Mul,
Unsqueeze and Concat, in int32. None of that is to be left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import trtfuse

HIDDEN, HEADS, LAYERS, LENGTH = 16, 2, 2, 7


class Bert:
    """Writes it node by node."""

    def __init__(self, length: int | str) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self.rng = np.random.default_rng(0)
        self.length = length

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], f"n{name}", **attributes))
        return name

    def constant(self, numbers: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(np.array(numbers, dtype), name)
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * 0.2, np.float32)

    def size(self, x: str, axis: int) -> str:
        """One size of x, as a scalar of int32: tf.shape(x)[axis]."""
        shape = self.op("Cast", self.op("Shape", x), to=TensorProto.INT32)
        limits = self.constant([axis]), self.constant([axis + 1]), self.constant([0])
        return self.op("Squeeze", self.op("Slice", shape, *limits), self.constant([0]))

    def packed(self, *sizes: str | int) -> str:
        """tf.stack of sizes, as what Reshape takes."""
        zero = self.constant([0])
        parts = [
            self.constant([size], np.int32)
            if isinstance(size, int)
            else self.op("Unsqueeze", size, zero)
            for size in sizes
        ]
        return self.op("Cast", self.op("Concat", *parts, axis=0), to=TensorProto.INT64)

    def dense(self, x: str, sizes: int) -> str:
        """A dense layer on the last axis of [batch, length, HIDDEN]: tf.tensordot."""
        flat = self.op("Reshape", x, self.constant([-1, sizes]))
        product = self.op("MatMul", flat, self.weight(sizes, HIDDEN))
        back = self.packed(self.size(x, 0), self.size(x, 1), HIDDEN)
        return self.op("Add", self.op("Reshape", product, back), self.weight(HIDDEN))

    def heads(self, x: str) -> str:
        split = self.packed(self.size(x, 0), self.size(x, 1), HEADS, HIDDEN // HEADS)
        return self.op("Transpose", self.op("Reshape", x, split), perm=[0, 2, 1, 3])

    def attention(self, x: str) -> str:
        q, k, v = (self.heads(self.dense(x, HIDDEN)) for _ in range(3))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        joined = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        # The number of rows is a product of two sizes.
        rows = self.op("Mul", self.size(x, 0), self.size(x, 1))
        flat = self.op("Reshape", joined, self.packed(rows, HIDDEN))
        product = self.op("MatMul", flat, self.weight(HIDDEN, HIDDEN))
        back = self.packed(self.size(x, 0), self.size(x, 1), HIDDEN)
        return self.op("Add", self.op("Reshape", product, back), x)

    def model(self) -> ModelProto:
        x = "x"
        for _ in range(LAYERS):
            x = self.attention(x)
            x = self.op("Add", self.op("Relu", self.dense(x, HIDDEN)), x)
        self.nodes.append(helper.make_node("Identity", [x], ["y"], "last"))
        shape = ["batch", self.length, HIDDEN]
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, HIDDEN])],
            list(self.weights.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(made: ModelProto, x: Any) -> Any:
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("length", [LENGTH, "length"])
@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_no_shape_is_computed_any_more(length: int | str, verify: str) -> None:
    made = Bert(length).model()
    onnx.checker.check_model(made, full_check=True)
    before = [node.op_type for node in made.graph.node]
    assert before.count("Shape") == 36
    result = trtfuse.fuse(made, verify=verify, groups="off")
    left = [node.op_type for node in result.model.graph.node]
    # A shape of which two sizes are open cannot be said by a constant.
    if length == LENGTH:
        assert (len(before), len(left)) == (283, 60)
        computed = {"Shape", "Cast", "Slice", "Squeeze", "Unsqueeze", "Concat", "Mul"}
        assert computed.isdisjoint(left)
    for batch in (1, 3):
        x = np.random.default_rng(1).standard_normal((batch, LENGTH, HIDDEN)).astype(np.float32)
        np.testing.assert_allclose(run(result.model, x), run(made, x), rtol=1e-4, atol=1e-5)
    again = trtfuse.fuse(result.model, verify=verify, groups="off")
    assert again.model.SerializeToString() == result.model.SerializeToString()
