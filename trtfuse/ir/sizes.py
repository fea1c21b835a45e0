"""What tensors of sizes hold: the arithmetic that exporters put in front of a Reshape or Slice.

They take the shape of a tensor apart with Shape, Gather and Slice, and put new ones together with
Concat, also where most sizes are fixed. Which of the numbers are fixed, and which are the size of
what dimension, follows from the graph, whatever the tensors are at run time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import numpy_type


class Dim(NamedTuple):
    """The size of a dimension that has no symbol."""

    of: Value
    axis: int


#: A number, the symbol of a dimension, a dimension without one; None where it may be anything.
Size = int | str | Dim | None
Sizes = tuple[Size, ...]

#: Operators whose results `sizes` follows.
FOLLOWED = (
    "Add",
    "Cast",
    "Concat",
    "Div",
    "Gather",
    "Identity",
    "Mul",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Squeeze",
    "Sub",
    "Unsqueeze",
    "Where",
)

_INTEGERS = (TensorProto.INT64, TensorProto.INT32)
#: No shape has more sizes, and no exporter takes more values to compute one.
_MOST_SIZES = 64
_MOST_VALUES = 96


def sizes(value: Value | None) -> Sizes | None:
    """What a scalar or a vector of integers holds; None where not even how many there are."""
    return _sizes(value, {})


def _sizes(value: Value | None, seen: dict[Value, Sizes | None]) -> Sizes | None:
    """As `sizes`; what was looked at on the way is looked at once."""
    if value is None or value.type not in _INTEGERS or value.rank not in (0, 1):
        return None
    if value in seen:
        return seen[value]
    tensor = constant(value)
    if tensor is not None:
        fits = tensor.size <= _MOST_SIZES
        return tuple(int(number) for number in tensor.array().reshape(-1)) if fits else None
    found = None
    if value.producer is not None and len(seen) < _MOST_VALUES:
        seen[value] = None
        found = _computed(value.producer, seen)
    if found is None:
        (count,) = value.shape or (1,)
        found = (None,) * count if isinstance(count, int) and count <= _MOST_SIZES else None
    seen[value] = None if found is None else _held(found, value)
    return seen[value]


def _held(found: Sizes, value: Value) -> Sizes | None:
    """What of it a value can hold: where a number is too large for its type, it holds another."""
    assert value.type is not None
    limits = np.iinfo(numpy_type(value.type))
    return (
        None
        if len(found) > _MOST_SIZES
        else tuple(
            None if isinstance(size, int) and not limits.min <= size <= limits.max else size
            for size in found
        )
    )


def _computed(node: Node, seen: dict[Value, Sizes | None]) -> Sizes | None:
    match node.op:
        case "Shape":
            return _shape(node)
        case "Size":
            counted = sizes_of(node.inputs[0])
            fixed = [size for size in counted or () if isinstance(size, int)]
            return None if counted is None or len(fixed) < len(counted) else (math.prod(fixed),)
        case "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape":
            # Vectors and scalars alike; of what they are made into, the shape of the result tells.
            return _sizes(node.inputs[0], seen)
        case "Concat":
            listed: Sizes = ()
            for each in node.inputs:
                part = _sizes(each, seen)
                if part is None or len(listed) > _MOST_SIZES:
                    return None
                listed += part
            return listed
        case "Gather" | "Slice":
            return _picked(node, _sizes(node.inputs[0], seen))
        case "Add" | "Sub" | "Mul" | "Div":
            return _calculated(node.op, *(_sizes(each, seen) for each in node.inputs))
        case "Where":
            return _chosen(node, seen)
    return None


def _chosen(node: Node, seen: dict[Value, Sizes | None]) -> Sizes | None:
    """What a Where with a constant condition takes from two vectors."""
    condition = constant(node.inputs[0])
    a, b = (_sizes(each, seen) for each in node.inputs[1:])
    if condition is None or not condition.size or len(condition.shape) > 1 or not a or not b:
        return None
    listed = tuple(condition.array().reshape(-1).tolist())
    count = max(len(listed), len(a), len(b))
    if not {len(listed), len(a), len(b)} <= {1, count}:
        return None
    spread = (each * (count // len(each)) for each in (listed, a, b))
    return tuple(x if c else y for c, x, y in zip(*spread, strict=True))


def sizes_of(value: Value | None) -> Sizes | None:
    """The sizes of the dimensions of a value; None where its rank is not known."""
    if value is None or value.shape is None:
        return None
    return tuple(Dim(value, i) if size is None else size for i, size in enumerate(value.shape))


def _shape(node: Node) -> Sizes | None:
    found = sizes_of(node.inputs[0])
    return None if found is None else found[node.attribute("start", 0) : node.attribute("end")]


def _picked(node: Node, data: Sizes | None) -> Sizes | None:
    """What a Gather or Slice with constant operands takes from a vector."""
    operands = [constant(each) for each in node.inputs[1:] if each is not None]
    if data is None or None in operands or node.inputs[0] is None or node.inputs[0].rank != 1:
        return None
    if node.op == "Gather":
        assert operands[0] is not None
        index = operands[0].array()
        if index.ndim > 1 or (
            index.size and not -len(data) <= index.min() <= index.max() < len(data)
        ):
            return None
        return tuple(data[int(i)] for i in index.reshape(-1))
    if len(node.inputs) > 1:
        limits = [None if each is None else each.array().reshape(-1) for each in operands]
    else:
        limits = [np.array(node.attribute(name, ())) for name in ("starts", "ends")]
    if any(limit is None or limit.size != 1 for limit in limits):
        # A Slice along no axes.
        return None
    first, last, *_ = (int(limit[0]) for limit in limits if limit is not None)
    step = constant(node.input(4))
    along = 1 if step is None else int(step.array().reshape(-1)[0])
    return data[first:last:along] if along else None


def _calculated(operator: str, left: Sizes | None, right: Sizes | None) -> Sizes | None:
    if not left or not right:
        return None
    count = max(len(left), len(right))
    if not {len(left), len(right)} <= {1, count}:
        return None
    pairs = zip(left * (count // len(left)), right * (count // len(right)), strict=True)
    return tuple(_result(operator, a, b) for a, b in pairs)


def _result(operator: str, a: Size, b: Size) -> Size:
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    match operator:
        case "Add":
            return a + b
        case "Sub":
            return a - b
        case "Mul":
            return a * b
    # Of negative numbers the quotient is rounded to 0 by some and down by others.
    return a // b if a >= 0 and b > 0 else None
