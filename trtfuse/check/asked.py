"""Which sizes a graph asks its inputs to have.

An open dimension of an input may be open only because nobody wrote down its size: a product by
weights of 512 rows needs 512 columns, a target of 1x3x16x16 needs 256 elements a channel. Such
sizes are read off the operators in which a symbol meets a number, so they need not be guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from onnx import ModelProto

from trtfuse.analysis.reshape import target
from trtfuse.analysis.shapes import without_weights
from trtfuse.analysis.sizes import sizes
from trtfuse.ir.graph import Dimension, Node, Shape, Value
from trtfuse.ir.operators import ELEMENTWISE
from trtfuse.model.fixed import state_shape
from trtfuse.model.model import Model

#: How many times a graph is looked at, with the sizes filled in that it asked for so far.
_ROUNDS = 4
#: Two dimensions that have to have the same size.
Pair = tuple[Dimension, Dimension]


def asked_sizes(model: Model, declared: Mapping[str, Shape]) -> dict[str, Dimension]:
    """The sizes that a graph asks for, and symbols that have to be the same as others.

    Args:
        model: the model.
        declared: the shapes of inputs that are to be told, with a symbol for every open dimension.

    Returns:
        For a symbol, a number or the symbol that it goes by.
    """
    goes_by: dict[str, Dimension] = {}
    symbols = {dim for shape in declared.values() for dim in shape if isinstance(dim, str)}
    if not symbols:
        return goes_by
    lean = without_weights(model)
    for _ in range(_ROUNDS):
        filled = with_shapes(
            lean, {name: tuple(_end(d, goes_by) for d in shape) for name, shape in declared.items()}
        )
        before = dict(goes_by)
        for graph in Model(filled).graph.walk():
            for node in graph.nodes():
                for pair in _pairs(node):
                    _unite(pair, symbols, goes_by)
        if goes_by == before:
            break
    return {symbol: _end(symbol, goes_by) for symbol in goes_by}


def with_shapes(lean: ModelProto, declared: Mapping[str, Shape]) -> ModelProto:
    """A copy of a model whose inputs have other shapes."""
    filled = ModelProto()
    filled.CopyFrom(lean)
    for info in filled.graph.input:
        if info.name in declared:
            state_shape(info, declared[info.name])
    return filled


def _end(size: Dimension, goes_by: Mapping[str, Dimension]) -> Dimension:
    """What a size goes by in the end, if that goes by something in its turn."""
    while isinstance(size, str) and size in goes_by:
        size = goes_by[size]
    return size


def _unite(pair: Pair, symbols: set[str], goes_by: dict[str, Dimension]) -> None:
    """Lets one of two sizes that have to be the same go by the other, if it is one of `symbols`."""
    one, other = (_end(size, goes_by) for size in pair)
    if one is None or other is None or one == other:
        return
    # The first operator that asks gets its size; there may be none that suits them all.
    if isinstance(one, str) and one in symbols and (isinstance(other, int) or other in symbols):
        goes_by[one] = other
    elif isinstance(other, str) and other in symbols and isinstance(one, int):
        goes_by[other] = one


def _pairs(node: Node) -> Iterator[Pair]:
    """The dimensions that have to be the same for a node to run."""
    shapes = [None if value is None else value.shape for value in node.inputs]
    x, w = (shapes[i] if i < len(shapes) else None for i in (0, 1))
    match node.op:
        case "MatMul" if x and w:
            yield x[-1], w[-2] if len(w) > 1 else w[0]
            yield from _aligned([x[:-2], w[:-2]])
        case "Gemm" if x and w and len(x) == len(w) == 2:
            yield x[0 if node.attribute("transA") else 1], w[node.attribute("transB")]
        case "Conv" if x and w and len(x) > 1 and len(w) > 1 and isinstance(w[1], int):
            yield x[1], w[1] * int(node.attribute("group"))
        case "ConvTranspose" if x and w and len(x) > 1:
            yield x[1], w[0]
        case "BatchNormalization" | "InstanceNormalization" if x and w and len(x) > 1:
            yield x[1], w[0]
        case "LayerNormalization" if x and w:
            yield from zip(reversed(x), reversed(w), strict=False)
        case "LSTM" | "GRU" | "RNN" if x and w and len(x) == 3 and len(w) == 3:
            yield x[2], w[2]
            for state in shapes[5:7]:
                if state is not None and len(state) == 3:
                    yield from ((state[0], w[0]), (state[1], x[1]))
                    yield state[2], node.attribute("hidden_size")
        case "Concat":
            yield from _beside(node, shapes)
        case "Split":
            yield from _split(node, x)
        case "Reshape":
            yield from _reshaped(node, x)
        case "PRelu" | "Expand":
            pass
        case operator if operator in ELEMENTWISE:
            yield from _aligned(shapes)


def _aligned(shapes: list[Shape | None]) -> Iterator[Pair]:
    """What broadcasts has the same size from the end on, or 1."""
    known = [shape for shape in shapes if shape is not None]
    for axis in range(1, max(map(len, known), default=0) + 1):
        column = [shape[-axis] for shape in known if len(shape) >= axis and shape[-axis] != 1]
        numbers = [size for size in column if isinstance(size, int)]
        first = numbers[0] if numbers else column[0] if column else None
        yield from ((first, size) for size in column)


def _beside(node: Node, shapes: list[Shape | None]) -> Iterator[Pair]:
    known = [shape for shape in shapes if shape]
    if known and len({len(shape) for shape in known}) == 1:
        along = int(node.attribute("axis", 0)) % len(known[0])
        for axis, column in enumerate(zip(*known, strict=True)):
            if axis != along:
                first = next((size for size in column if isinstance(size, int)), column[0])
                yield from ((first, size) for size in column)


def _split(node: Node, x: Shape | None) -> Iterator[Pair]:
    parts = node.attribute("split")
    listed = parts if parts is not None else sizes(node.input(1))
    axis = int(node.attribute("axis", 0))
    if x and listed and -len(x) <= axis < len(x):
        numbers = [size for size in listed if isinstance(size, int)]
        if len(numbers) == len(listed):
            yield x[axis], sum(numbers)


def _reshaped(node: Node, x: Shape | None) -> Iterator[Pair]:
    """One open dimension is what the others leave of a target without -1."""
    listed = sizes(node.input(1))
    if not x or not listed or -1 in listed:
        return
    wished = target(node, listed, x).sizes
    before, after = list(x), list[object](wished)
    for size in x:
        if isinstance(size, str) and size in after:
            before.remove(size)
            after.remove(size)
    symbols = [size for size in before if not isinstance(size, int)]
    numbers = [size for size in before if isinstance(size, int)]
    wanted = [size for size in after if isinstance(size, int)]
    if len(symbols) == 1 and len(wanted) == len(after) and 0 not in numbers:
        total, part = math.prod(wanted), math.prod(numbers)
        if total % part == 0:
            yield symbols[0], total // part
    elif len(symbols) > 1 and len(x) == len(wished):
        # Most often a target of the same rank says what the sizes are.
        yield from ((a, b) for a, b in zip(x, wished, strict=True) if isinstance(b, int))


def multiples(model: Model, declared: Mapping[str, Shape]) -> dict[str, int]:
    """By symbol, the number that its size has to be a multiple of.

    A Reshape with -1 in its target asks for that, where one symbol is left to make up the elements.

    Args:
        model: the model.
        declared: the shapes of inputs that are to be told, with a symbol for every open dimension.
    """
    steps: dict[str, int] = {}
    filled = with_shapes(without_weights(model), declared)
    for graph in Model(filled).graph.walk():
        for node in graph.nodes():
            x: Value | None = node.input(0)
            listed = sizes(node.input(1)) if node.op == "Reshape" else None
            if x is None or not x.shape or not listed or -1 not in listed:
                continue
            after = target(node, listed, x.shape).written
            before = [size for size in x.shape if size not in after or isinstance(size, int)]
            symbols = [size for size in before if isinstance(size, str)]
            if len(symbols) == 1 and None not in before:
                wanted = math.prod(s for s in after if isinstance(s, int) and s > 0)
                have = math.prod(size for size in before if isinstance(size, int))
                step = wanted // math.gcd(wanted, have) if have else 1
                steps[symbols[0]] = math.lcm(steps.get(symbols[0], 1), step)
    return steps
