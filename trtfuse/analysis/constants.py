"""Which values are constants, and what they are.

An initializer is a constant unless a caller may override it, and so is what Constant, Identity,
Cast, Reshape, Transpose, Squeeze, Unsqueeze and Flatten make of constants, as exporters leave it
in front of weights. Nothing in the graph changes by asking.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from onnx import AttributeProto, TensorProto

from trtfuse.analysis.reshape import target
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import (
    FLOATING,
    SMALL,
    Array,
    FoldedTensor,
    FoundTensor,
    StoredTensor,
    Tensor,
    numpy_type,
    rounded,
)


def constant(value: Value | None) -> Tensor | None:
    """The constant that a value is; None where it is computed or given at run time."""
    if value is None:
        return None
    known = value.constant_cache
    if known is not None:
        return known or None
    # Depth first without recursion: a value waits on the stack until its operands are known.
    pending = [value]
    while pending:
        current = pending[-1]
        if current.constant_cache is not None:
            pending.pop()
            continue
        needed = _operands(current)
        unknown = [operand for operand in needed if operand.constant_cache is None]
        if unknown:
            pending.extend(unknown)
        else:
            current.constant_cache = _evaluated(current, needed)
            pending.pop()
    evaluated = value.constant_cache
    return evaluated if isinstance(evaluated, Tensor) else None


def became_constant(value: Value) -> None:
    """Has what is computed from a value evaluated again, now that the value is a constant."""
    value.constant_cache = None
    pending = [value]
    while pending:
        current = pending.pop()
        derived = [
            b.captures[current] for n in current.uses for b in n.bodies if current in b.captures
        ]
        derived += [node.output for node in current.uses if node.op in _EVALUATE]
        for result in derived:
            if result.constant_cache is False:
                result.constant_cache = None
                pending.append(result)


def ingredients(value: Value) -> list[Value]:
    """The constants in the file that a constant is made of; itself, if it is one of those."""
    stored: dict[Value, None] = {}
    pending = [value]
    while pending:
        current = pending.pop()
        operands = _operands(current)
        if operands:
            pending.extend(operands)
        else:
            stored[current] = None
    return list(stored)


def _operands(value: Value) -> list[Value]:
    """The values that have to be constant for this one to be."""
    if value.source is not None:
        return [value.source]
    if value.tensor is None and value.producer is not None and value.producer.op in _EVALUATE:
        return [operand for operand in value.producer.inputs if operand is not None]
    return []


def _evaluated(value: Value, operands: list[Value]) -> Tensor | Literal[False]:
    if value.source is not None:
        return value.source.constant_cache or False
    if value.tensor is not None:
        return False if value.overridable else value.tensor
    node = value.producer
    if node is None or node.op not in _EVALUATE:
        return False
    tensors = [tensor for v in operands if isinstance(tensor := v.constant_cache, Tensor)]
    if len(tensors) < len(operands):
        return False
    try:
        return _EVALUATE[node.op](node, *tensors) or False
    except (ValueError, IndexError):
        # It would fail at run time as well, should it ever be run.
        return False


def _constant(node: Node) -> Tensor | None:
    attribute = node.proto.attribute[0] if len(node.proto.attribute) == 1 else None
    if attribute is None or attribute.ref_attr_name:
        return None
    # As runtimes do, by the type of the attribute and not by its name.
    match attribute.type:
        case AttributeProto.TENSOR:
            return StoredTensor(attribute.t, node.graph.model.folder if node.graph else None)
        case AttributeProto.FLOAT:
            return FoldedTensor(np.array(attribute.f, np.float32), TensorProto.FLOAT)
        case AttributeProto.FLOATS:
            return FoldedTensor(np.array(attribute.floats, np.float32), TensorProto.FLOAT)
        case AttributeProto.INT:
            return FoldedTensor(np.array(attribute.i, np.int64), TensorProto.INT64)
        case AttributeProto.INTS:
            return FoldedTensor(np.array(attribute.ints, np.int64), TensorProto.INT64)
    return None


class _Cast(Tensor):
    """Numbers of a constant in another type, converted whenever they are asked for.

    Weights that a file stores in half the bytes are not all held in memory as well.
    """

    __slots__ = ("base",)

    def __init__(self, base: Tensor, to: int) -> None:
        self.base = base
        self.shape = base.shape
        self.type = to

    def array(self) -> Array:
        if self.base.type in FLOATING:
            return rounded(self.base.exact(), self.type)
        return self.base.array().astype(numpy_type(self.type))

    def misrounding(self) -> str | None:
        exact = self.base.exact()
        lost = exact[np.isfinite(exact) & ~np.isfinite(rounded(exact, self.type))]
        return FoldedTensor(lost, self.type).misrounding()


class _Moved(Tensor):
    """Numbers of a constant in other places, looked up whenever they are asked for."""

    __slots__ = ("base", "move")

    def __init__(self, base: Tensor, move: Callable[[Array], Array]) -> None:
        self.base = base
        self.move = move
        # One byte stands for all of them.
        self.shape = move(np.broadcast_to(np.False_, base.shape)).shape
        self.type = base.type

    def array(self) -> Array:
        return self.move(self.base.array())


def _moved(x: Tensor, move: Callable[[Array], Array]) -> Tensor:
    # Small ones are read again and again.
    return _Moved(x, move) if x.size > SMALL else FoundTensor(move(x.array()), x.type)


def _identity(_: Node, x: Tensor) -> Tensor:
    return x


def _cast(node: Node, x: Tensor) -> Tensor | None:
    to = node.attribute("to")
    if to == x.type:
        return x
    if to in FLOATING and (x.type in FLOATING or numpy_type(x.type).kind in "iub"):
        cast = _Cast(x, to)
        if x.size > SMALL or cast.misrounding() is not None:
            return cast
        return FoundTensor(cast.array(), to)
    # What becomes of a number that an integer cannot hold differs between runtimes.
    return None


def _transpose(node: Node, x: Tensor) -> Tensor:
    perm = node.attribute("perm")
    return _moved(x, lambda array: array.transpose(perm))


def _reshape(node: Node, x: Tensor, shape: Tensor | None = None) -> Tensor | None:
    if shape is None:
        return None
    said = target(node, shape.integers(), x.shape)
    written = [size for size in said.written if isinstance(size, int)]
    return _moved(x, lambda array: array.reshape(written)) if said.runs else None


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.attribute("axis")
    sides = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
    return _moved(x, lambda array: array.reshape(sides))


def _axes(node: Node, axes: Tensor | None) -> tuple[int, ...] | None:
    """The axes of a Squeeze or Unsqueeze: an attribute before opset 13, then an input."""
    listed = node.attribute("axes") if axes is None else axes.integers()
    return None if listed is None else tuple(listed)


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
    listed = _axes(node, axes)
    # Runtimes differ on whether empty axes are all or none.
    return None if listed == () else _moved(x, lambda array: np.squeeze(array, listed))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    added = _axes(node, axes) or ()
    return _moved(x, lambda array: np.expand_dims(array, added))


_EVALUATE: dict[str, Callable[..., Tensor | None]] = {
    "Constant": _constant,
    "Identity": _identity,
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
}

#: The operators that may compute a constant.
EVALUATED = frozenset(_EVALUATE)
