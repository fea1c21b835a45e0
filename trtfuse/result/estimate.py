"""What a node costs, counted from its shapes: operations, and bytes that it reads and writes.

An estimate of the graph as it stands, not of what TensorRT makes of it: as if every node ran by
itself, read its inputs from memory and wrote its outputs there. A multiplication and an addition
are two operations; exp, erf and their like are one; moving data is none. A symbol of the model
counts as 1, so for an open batch the figures are for a batch of one; nodes with sizes that nobody
knows are not counted, and how many they are is said.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnx import TensorProto

from trtfuse.analysis.products import MADE_UP
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.ir.tensor import numpy_type

#: The type and shape of a value, as far as they are known.
TypeAndShapeOf = Callable[[Value], tuple[int | None, Shape | None]]

#: Operations for each element of the result.
_PER_RESULT = {
    **dict.fromkeys(
        [
            "Abs",
            "Acos",
            "Acosh",
            "Add",
            "And",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "BitShift",
            "BitwiseAnd",
            "BitwiseNot",
            "BitwiseOr",
            "BitwiseXor",
            "Ceil",
            "Cos",
            "Cosh",
            "Div",
            "Equal",
            "Erf",
            "Exp",
            "Floor",
            "Greater",
            "GreaterOrEqual",
            "IsInf",
            "IsNaN",
            "LeakyRelu",
            "Less",
            "LessOrEqual",
            "Log",
            "Max",
            "Min",
            "Mod",
            "Mul",
            "Neg",
            "Not",
            "Or",
            "PRelu",
            "Pow",
            "Reciprocal",
            "Relu",
            "Round",
            "Sigmoid",
            "Sign",
            "Sin",
            "Sinh",
            "Softplus",
            "Sqrt",
            "Sub",
            "Tan",
            "Tanh",
            "ThresholdedRelu",
            "Where",
            "Xor",
        ],
        1,
    ),
    "BatchNormalization": 2,
    "Celu": 4,
    "Clip": 2,
    "Elu": 3,
    "Gelu": 5,
    "HardSigmoid": 4,
    "HardSwish": 5,
    "InstanceNormalization": 7,
    "LayerNormalization": 7,
    "LogSoftmax": 5,
    "LRN": 4,
    "Mish": 4,
    "RMSNormalization": 5,
    "Selu": 4,
    "Softmax": 5,
    "Softsign": 3,
    "Swish": 2,
}
#: Operations for each element that is reduced.
_PER_INPUT = {
    "ArgMax": 1,
    "ArgMin": 1,
    "CumSum": 1,
    "GlobalAveragePool": 1,
    "GlobalMaxPool": 1,
    "ReduceL1": 2,
    "ReduceL2": 2,
    "ReduceLogSum": 1,
    "ReduceLogSumExp": 3,
    "ReduceMax": 1,
    "ReduceMean": 1,
    "ReduceMin": 1,
    "ReduceProd": 1,
    "ReduceSum": 1,
    "ReduceSumSquare": 2,
}
#: What only moves data, or makes it up.
_MOVES = frozenset(
    [
        "Cast",
        "CastLike",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "DepthToSpace",
        "Dropout",
        "Expand",
        "EyeLike",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "OneHot",
        "Pad",
        "Range",
        "Reshape",
        "ScatterElements",
        "ScatterND",
        "Shape",
        "Size",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
    ]
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What nodes cost.

    Attributes:
        operations: on numbers.
        bytes: that are read and written.
        uncounted: how many nodes are not in these figures, since their operator or a shape of
            theirs is not known.
    """

    operations: int = 0
    bytes: int = 0
    uncounted: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations,
            self.bytes + other.bytes,
            self.uncounted + other.uncounted,
        )


def cost(nodes: Iterable[Node], known: TypeAndShapeOf) -> Cost:
    """What nodes cost together.

    Args:
        nodes: bodies inside them are not counted.
        known: the type and shape of a value.
    """
    total = Cost()
    for node in nodes:
        total += _cost(node, known)
    return total


def _cost(node: Node, known: TypeAndShapeOf) -> Cost:
    operations = _operations(node, known)
    wires = dict.fromkeys(v for v in (*node.inputs, *node.outputs) if v is not None)
    sizes = [_bytes(*known(value)) for value in wires]
    if operations is None or None in sizes:
        return Cost(uncounted=1)
    return Cost(operations, sum(size for size in sizes if size is not None))


def _bytes(element_type: int | None, shape: Shape | None) -> int | None:
    count = _elements(shape)
    if count is None or not element_type or element_type == TensorProto.STRING:
        return None
    return count * numpy_type(element_type).itemsize


@functools.lru_cache(maxsize=4096)
def is_known(shape: Shape | None) -> bool:
    """Whether all sizes are numbers or symbols of the model."""
    return shape is not None and not any(d is None or str(d).startswith(MADE_UP) for d in shape)


@functools.lru_cache(maxsize=4096)
def _elements(shape: Shape | None) -> int | None:
    return math.prod(_fixed(shape)) if shape is not None and is_known(shape) else None


def _fixed(shape: Shape) -> list[int]:
    return [dim if isinstance(dim, int) else 1 for dim in shape]


def _operations(node: Node, known: TypeAndShapeOf) -> int | None:
    if node.op in _MOVES:
        return 0
    shapes = [None if value is None else known(value)[1] for value in node.inputs]
    result = None if not node.outputs or node.outputs[0] is None else known(node.outputs[0])[1]
    first = shapes[0] if shapes else None
    count = _elements(result)
    if count is None:
        return None
    if node.op == "Sum":
        return count * (len(node.inputs) - 1)
    if node.op in _PER_RESULT:
        return count * _PER_RESULT[node.op]
    if first is None or not is_known(first):
        return None
    if node.op in _PER_INPUT:
        return math.prod(_fixed(first)) * _PER_INPUT[node.op]
    if node.op in ("AveragePool", "MaxPool"):
        return count * math.prod(map(int, node.attribute("kernel_shape", ())))
    return _products(node, first, shapes, count)


def _products(node: Node, first: Shape, shapes: list[Shape | None], count: int) -> int | None:
    """Operations of what multiplies by weights."""
    weights = shapes[1] if len(shapes) > 1 else None
    if weights is None or not is_known(weights):
        return None
    bias = count if len(shapes) > 2 and shapes[2] is not None else 0
    match node.op:
        case "Conv":
            return 2 * count * math.prod(_fixed(weights)[1:]) + bias
        case "ConvTranspose":
            return 2 * math.prod(_fixed(first)) * math.prod(_fixed(weights)[1:]) + bias
        case "Gemm" if len(first) == 2:
            return 2 * count * _fixed(first)[0 if node.attribute("transA") else 1] + bias
        case "MatMul" if first:
            return 2 * count * _fixed(first)[-1]
    return None
