"""Which symbols stand for one size, beyond what ONNX's shape inference sees.

Inference gives a dimension that it cannot follow a symbol of its own: what -1 in a Reshape leaves,
what a computed target says, the sum of two tensors whose symbols differ. Where the graph says which
size that is, all values further down are told the size's own symbol instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trtfuse.analysis.products import Size, dimension, is_whole, product, quotient
from trtfuse.analysis.reshape import target
from trtfuse.analysis.sizes import sizes, sizes_of
from trtfuse.ir.graph import Dimension, Graph, Node, Shape, Value
from trtfuse.ir.operators import ELEMENTWISE

#: Operators that ONNX's inference does not know, whose first output is like their first input.
LIKE_FIRST = frozenset(
    (
        "GroupNormalization",
        "com.microsoft::BiasGelu",
        "com.microsoft::FastGelu",
        "com.microsoft::Gelu",
        "com.microsoft::QuickGelu",
    )
)


def settle_symbols(graph: Graph, same: Mapping[str, Dimension]) -> None:
    """Tells the values of a graph and its bodies the same symbol where the size is the same.

    Args:
        graph: the graph.
        same: symbols that inference made up for sizes known otherwise.
    """
    known = dict(same)
    pending = [graph]
    while pending:
        current = pending.pop()
        for value in current.inputs:
            known.update((size, size) for size in value.shape or () if isinstance(size, str))
        for node in current.nodes():
            for output in node.outputs:
                if output is not None:
                    _settle(output, node, known)
            pending.extend(node.bodies)


def _settle(value: Value, node: Node, known: dict[str, Dimension]) -> None:
    """Gives the open dimensions of a value the sizes that the graph tells.

    Args:
        value: an output of the node.
        node: the node.
        known: by symbol, the size that it stands for; new symbols are added.
    """
    element_type, shape = value.known
    if shape is None:
        first = node.input(0)
        if node.op in LIKE_FIRST and value is node.outputs[0] and first is not None:
            element_type = element_type or first.type
        value.know(element_type, _derived(node))
        return
    if all(isinstance(size, int) for size in shape):
        return
    better: Shape | None = None
    settled = []
    for axis, size in enumerate(shape):
        if size is None or (isinstance(size, str) and size not in known):
            if better is None:
                better = _derived(node) or ()
            told = better[axis] if axis < len(better) else None
            if isinstance(size, str):
                known[size] = size if told is None else told
            size = size if told is None else told
        elif isinstance(size, str):
            size = known[size]
        settled.append(size)
    value.know(element_type, tuple(settled))


def _derived(node: Node) -> Shape | None:
    """The shape of what a node computes, as far as its inputs tell."""
    first = node.input(0)
    if node.op == "Reshape":
        return _reshaped(node)
    if node.op == "Flatten":
        return _flattened(first, node.attribute("axis"))
    if node.op == "Expand":
        target = _shape(sizes(node.input(1)))
        return _broadcast((first.shape if first else None, target))
    if node.op in ELEMENTWISE:
        return _broadcast(value.shape for value in node.inputs if value is not None)
    if node.op in LIKE_FIRST and first is not None:
        return first.shape
    return None


def _shape(listed: Iterable[Size] | None) -> Shape | None:
    """Sizes as a shape; None for one that is negative, or that no symbol can stand for."""
    if listed is None:
        return None
    dimensions = (dimension(size) for size in listed)
    # A node that is told to make a negative size fails when it runs.
    return tuple(None if isinstance(dim, int) and dim < 0 else dim for dim in dimensions)


def _broadcast(shapes: Iterable[Shape | None]) -> Shape | None:
    listed = list(shapes)
    if not listed or None in listed:
        return None
    rank = max(len(shape) for shape in listed if shape is not None)
    padded = [(1,) * (rank - len(shape)) + shape for shape in listed if shape is not None]
    result: list[Dimension] = []
    for column in zip(*padded, strict=True):
        sizes_here = set(column) - {1}
        # Two symbols may be one size, or one of them 1.
        result.append(sizes_here.pop() if len(sizes_here) == 1 else None if sizes_here else 1)
    return tuple(result)


def _reshaped(node: Node) -> Shape | None:
    listed, own = sizes(node.input(1)), sizes_of(node.input(0))
    if listed is None:
        return None
    said = target(node, listed, own)
    result: list[Size] = list(said.sizes)
    if said.rest is not None:
        others = [size for axis, size in enumerate(result) if axis != said.rest]
        left = None if own is None else quotient(product(*own), product(*others))
        result[said.rest] = left if is_whole(left) else None
    return _shape(result)


def _flattened(x: Value | None, axis: int) -> Shape | None:
    own = sizes_of(x)
    if own is None:
        return None
    middle = axis + len(own) if axis < 0 else axis
    return _shape((product(*own[:middle]), product(*own[middle:])))
