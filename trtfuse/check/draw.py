"""Draws the operands that say what a node does: targets, axes, indices, counts.

Other numbers may be anything; these have to fit what the node reads beside them. A Reshape takes a
target of as many elements as its data has, a Gather an index below the size of the axis. What an
operand is for follows from the nodes that read it, directly or passed on, and is drawn from the
shape of what these read with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, Array, numpy_type

#: Tells the sizes of a value as far as they are known: those that were drawn, or its own.
Extents = Callable[[Value | None], "tuple[int | None, ...] | None"]
#: Tells the nodes that read a value, and as which of their inputs.
Readers = Callable[[Value], Iterable[tuple[Node, int]]]

#: Operators that pass a tensor of integers on unchanged, whatever its shape.
_WHOLE = frozenset(("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
#: Operators that pass its numbers on, with others between them or not all of them.
_PASSING = _WHOLE | {"Concat", "Expand", "Gather", "Slice", "Split", "Transpose"}
#: So many values on its way an operand is followed through.
_MOST_VALUES = 256
#: What stands for the end of an axis.
_END = 2**31 - 1


def extents_of(drawn: Mapping[Value, tuple[int, ...]]) -> Extents:
    """What tells the sizes of values once some are drawn: those of a symbol are the same."""
    symbols: dict[str, int] = {}
    for value, sizes in drawn.items():
        if value.shape is not None and len(value.shape) == len(sizes):
            pairs = zip(value.shape, sizes, strict=True)
            symbols.update({dim: size for dim, size in pairs if isinstance(dim, str)})

    def extents(value: Value | None) -> tuple[int | None, ...] | None:
        if value is None or value.shape is None:
            return None if value is None else drawn.get(value)
        if value in drawn:
            return drawn[value]
        return tuple(symbols.get(d) if isinstance(d, str) else d for d in value.shape)

    return extents


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand of a node, to be drawn.

    Attributes:
        node: what reads it.
        index: which of its inputs it is.
        extents: tells the sizes of values.
        rng: where numbers come from.
    """

    node: Node
    index: int
    extents: Extents
    rng: np.random.Generator

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the first input of the node, with a 1 for each that is not known."""
        return tuple(1 if size is None else size for size in self.data or ())

    @property
    def data(self) -> tuple[int | None, ...] | None:
        """The sizes of the first input of the node, as far as they are known."""
        return self.extents(self.node.input(0))

    @property
    def result(self) -> tuple[int | None, ...] | None:
        """The sizes of what the node computes, as far as they are known."""
        return self.extents(self.node.outputs[0]) if self.node.outputs else None

    def count(self, otherwise: int) -> int:
        """How many numbers it has, or `otherwise` if that is not fixed."""
        known = self.beside(self.index)
        return otherwise if known is None else known

    def beside(self, *indices: int) -> int | None:
        """How many numbers the first of some inputs has of which that is fixed."""
        for index in indices:
            value = self.node.input(index)
            shape = None if value is None else value.shape
            if shape is not None and all(isinstance(size, int) for size in shape):
                return math.prod(size for size in shape if isinstance(size, int))
        return None

    def held(self, index: int) -> list[int] | None:
        """What another input of the node holds, if it is constant."""
        tensor = constant(self.node.input(index))
        return None if tensor is None else tensor.integers()

    def axis(self) -> int:
        """The size of the axis that the node's attribute names."""
        sizes, axis = self.sizes, int(self.node.attribute("axis", 0))
        return sizes[axis] if -len(sizes) <= axis < len(sizes) else 1

    def shape(self, otherwise: Sequence[int]) -> tuple[int, ...]:
        """Its own shape, as in another shape where it is not known."""
        own = self.extents(self.node.input(self.index))
        if own is None:
            return tuple(otherwise)
        if len(own) != len(otherwise):
            return tuple(2 if size is None else size for size in own)
        return tuple(b if a is None else a for a, b in zip(own, otherwise, strict=True))


#: Numbers for an operand, those first that fit best; none if nothing does.
Drawn = Iterable[Sequence[int] | Sequence[float] | Array]
Role = Callable[[Operand], Drawn]


def _target(operand: Operand) -> Drawn:
    """As many elements as the data has: its sizes merged or split and in another order."""
    data, result, rng = operand.data, operand.result, operand.rng
    length = operand.count(len(result if result is not None else data or (1,)))
    if data is not None and None not in data:
        total = math.prod(operand.sizes)
        if result is not None and len(result) == length:
            fixed = [size for size in result if size is not None]
            if len(fixed) == length:
                yield fixed
            elif len(fixed) == length - 1:
                yield [-1 if size is None else size for size in result]
        factors = list(operand.sizes)
        while len(factors) > length > 0:
            at = int(rng.integers(len(factors) - 1))
            factors[at : at + 2] = [factors[at] * factors[at + 1]]
        while len(factors) < length:
            factors.insert(int(rng.integers(len(factors) + 1)), 1)
        if math.prod(factors) == total and len(factors) == length:
            yield [int(size) for size in rng.permutation(factors)]
            yield factors
    if length:
        yield [*[1] * (length - 1), -1]
        yield [*[0] * (length - 1), -1]
        yield [0] * length
    else:
        yield []


def _expanded(operand: Operand) -> Drawn:
    """Sizes that the data broadcasts to."""
    result = operand.result
    length = operand.count(len(result if result is not None else operand.sizes))
    if result is not None and len(result) == length and None not in result:
        yield [size for size in result if size is not None]
    sizes = (*[1] * (length - len(operand.sizes)), *operand.sizes)[-length:] if length else ()
    yield [int(operand.rng.integers(1, 4)) if size == 1 else size for size in sizes]
    yield sizes
    yield [1] * length


def _few(operand: Operand) -> Drawn:
    """Small sizes; those of the result where they are known."""
    result = operand.result
    length = operand.count(len(result) if result is not None else 2)
    known = result if result is not None and len(result) == length else (None,) * length
    yield [int(operand.rng.integers(1, 4)) if size is None else size for size in known]


def _limits(operand: Operand) -> Drawn:
    """The starts, ends, axes or steps of a Slice: as many as it has of the others."""
    rank, rng = len(operand.sizes), operand.rng
    others = operand.beside(*(i for i in (1, 2, 3, 4) if i != operand.index))
    length = operand.count(min(rank, 1) if others is None else others)
    steps = operand.held(4) or [1] * length
    back = [step < 0 for step in steps] if len(steps) == length else [False] * length
    match operand.index:
        case 1:
            yield [-1 if backwards else int(rng.integers(0, 2)) for backwards in back]
            yield [-1 if backwards else 0 for backwards in back]
        case 2:
            ends = (_END, 2, 3, -1)
            yield [-_END if backwards else int(rng.choice(ends)) for backwards in back]
            yield [-_END if backwards else _END for backwards in back]
        case 3:
            yield list(range(length))
        case _:
            yield [int(rng.integers(1, 3)) for _ in range(length)]
            yield [1] * length


def _axes(operand: Operand) -> Drawn:
    """Different axes of the data."""
    rank = len(operand.sizes)
    length = operand.count(min(rank, 1))
    chosen = [int(axis) for axis in operand.rng.permutation(rank)[:length]]
    yield chosen
    yield sorted(chosen)


def _axes_of_one(operand: Operand) -> Drawn:
    """Axes of the data that have size 1."""
    ones = [axis for axis, size in enumerate(operand.sizes) if size == 1]
    yield ones[: operand.count(min(len(ones), 1))]


def _new_axes(operand: Operand) -> Drawn:
    """Different axes of what has those of the data and new ones."""
    length = operand.count(1)
    rank = len(operand.sizes) + length
    yield sorted(int(axis) for axis in operand.rng.permutation(rank)[:length])


def _one_axis(operand: Operand) -> Drawn:
    yield [int(operand.rng.integers(max(1, len(operand.sizes))))]


def _elements(operand: Operand) -> Drawn:
    """Indices along one axis, each at most once, as scattering wants them."""
    updates = operand.extents(operand.node.input(2))
    fits = updates is not None and None not in updates
    shape = tuple(size or 0 for size in updates or ()) if fits else operand.shape(operand.sizes)
    if not shape:
        return
    axis = int(operand.node.attribute("axis")) % len(shape)
    order = np.argsort(
        operand.rng.random((*shape[:axis], operand.axis(), *shape[axis + 1 :])), axis
    )
    yield order.take(range(min(shape[axis], order.shape[axis])), axis)


def _tuples(operand: Operand) -> Drawn:
    """Indices of several axes together, each at most once if there are enough."""
    batch = int(operand.node.attribute("batch_dims", 0))
    shape = operand.shape((*operand.sizes[:batch], 2, 1))
    if not shape:
        return
    bounds = operand.sizes[batch : batch + shape[-1]]
    rows, places = math.prod(shape[:-1]), math.prod(bounds)
    if len(bounds) == shape[-1] and places:
        flat = operand.rng.choice(places, rows, replace=rows > places)
        yield np.stack(np.unravel_index(flat, bounds), -1).reshape(shape)


def _pads(operand: Operand) -> Drawn:
    """Up to 2 elements at either end of each axis."""
    axes = operand.beside(3)
    length = operand.count(2 * (len(operand.sizes) if axes is None else axes))
    yield [int(pad) for pad in operand.rng.integers(0, 3, length)]
    yield [int(pad) for pad in operand.rng.integers(0, 2, length)]
    yield [0] * length


def _padded_axes(operand: Operand) -> Drawn:
    pads = operand.beside(1)
    yield list(range(operand.count(len(operand.sizes) if pads is None else pads // 2)))


def _repeats(operand: Operand) -> Drawn:
    yield [int(times) for times in operand.rng.integers(1, 3, operand.count(len(operand.sizes)))]


def _largest(operand: Operand) -> Drawn:
    size = operand.axis()
    yield [int(operand.rng.integers(1, size + 1)) if size > 0 else 0]
    yield [1]


def _parts(operand: Operand) -> Drawn:
    """Sizes for the outputs of a Split, which add up to the size of the axis."""
    size, count = operand.axis(), operand.count(len(operand.node.outputs))
    if count:
        cuts = sorted(int(cut) for cut in operand.rng.integers(0, size + 1, count - 1))
        bounds = [0, *cuts, size]
        yield [end - start for start, end in itertools.pairwise(bounds)]
        yield [*[size // count] * (count - 1), size - size // count * (count - 1)]


def _range(operand: Operand) -> Drawn:
    yield [(0, 3, 1)[operand.index]]


def _scales(operand: Operand) -> Drawn:
    """1 for the batch and the channels, 1 or 2 for the others."""
    length = operand.count(operand.beside(3) or len(operand.sizes))
    whole = operand.rng.integers(1, 3, length)
    yield [1.0 if axis < 2 < length else float(scale) for axis, scale in enumerate(whole)]
    yield [1.0] * length


def _region(operand: Operand) -> Drawn:
    half = operand.count(2 * len(operand.sizes)) // 2
    yield [*[0.0] * half, *[1.0] * half]


def _resized(operand: Operand) -> Drawn:
    axes = operand.node.attribute("axes")
    sizes = operand.sizes if axes is None else tuple(operand.sizes[axis] for axis in axes)
    length = operand.count(len(sizes))
    if len(sizes) == length:
        whole = operand.rng.integers(1, 3, length)
        yield [
            size if axis < 2 < length else int(size * scale)
            for axis, (size, scale) in enumerate(zip(sizes, whole, strict=True))
        ]
        yield sizes


def _trips(operand: Operand) -> Drawn:
    yield [int(operand.rng.integers(1, 4))]


def _always(number: int) -> Role:
    """The same number, whatever it is an operand of."""
    return lambda _: [[number]]


def _divisors(operand: Operand) -> Drawn:
    shape = operand.shape(operand.sizes)
    yield operand.rng.integers(1, 4, shape)


def _lengths(axis: int) -> Role:
    """How long sequences are along an axis of the data, at most as long as that is."""

    def drawn(operand: Operand) -> Drawn:
        sizes = operand.sizes
        longest = sizes[axis] if axis < len(sizes) else 1
        batch = sizes[1 - axis] if len(sizes) > 1 else 1
        yield operand.rng.integers(1, longest + 1, operand.shape((batch,)))
        yield np.full(operand.shape((batch,)), longest)

    return drawn


def _reversed(operand: Operand) -> Drawn:
    yield from _lengths(int(operand.node.attribute("time_axis")))(operand)


def _images(operand: Operand) -> Drawn:
    yield operand.rng.integers(0, max(1, (operand.sizes or (1,))[0]), operand.shape((1,)))


_DEPTH = _always(3)
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

#: What an operand is for, by operator and place.
_ROLES: dict[tuple[str, int], Role] = {
    ("CenterCropPad", 1): _few,
    ("ConstantOfShape", 0): _few,
    ("CumSum", 1): _one_axis,
    ("Div", 1): _divisors,
    ("Expand", 1): _expanded,
    ("GRU", 4): _lengths(0),
    ("GatherND", 1): _tuples,
    ("LSTM", 4): _lengths(0),
    ("Loop", 0): _trips,
    ("Loop", 1): _always(1),
    ("Mod", 1): _divisors,
    ("OneHot", 1): _DEPTH,
    ("Pad", 1): _pads,
    ("Pad", 3): _padded_axes,
    ("RNN", 4): _lengths(0),
    ("Range", 0): _range,
    ("Range", 1): _range,
    ("Range", 2): _range,
    ("Reshape", 1): _target,
    ("Resize", 1): _region,
    ("Resize", 2): _scales,
    ("Resize", 3): _resized,
    ("ReverseSequence", 1): _reversed,
    ("RoiAlign", 2): _images,
    ("ScatterElements", 1): _elements,
    ("ScatterND", 1): _tuples,
    ("SequenceAt", 1): _always(0),
    ("Slice", 1): _limits,
    ("Slice", 2): _limits,
    ("Slice", 3): _limits,
    ("Slice", 4): _limits,
    ("Split", 1): _parts,
    ("SplitToSequence", 1): _always(1),
    ("Squeeze", 1): _axes_of_one,
    ("Tile", 1): _repeats,
    ("TopK", 1): _largest,
    ("Unsqueeze", 1): _new_axes,
    ("Upsample", 1): _scales,
} | {(f"Reduce{name}", 1): _axes for name in _REDUCTIONS}

#: Of those, the ones that floating numbers have as well.
_OF_ANY_TYPE = (_DEPTH, _range, _scales, _region)


def choices(
    value: Value,
    shape: tuple[int, ...],
    extents: Extents,
    readers: Readers,
    rng: np.random.Generator,
    *,
    below: int,
    zero: bool,
    exact: bool = False,
) -> list[Array]:
    """Arrays to give to a value that is no floating number, or that says what a node does.

    Args:
        value: what to draw.
        shape: its shape. Where that is open, an operand may have to have another one.
        extents: tells the sizes of values, also of those that are drawn.
        readers: tells the nodes that read a value.
        rng: where numbers come from.
        below: what integers stay below that are neither an operand nor an index.
        zero: whether those and indices are 0.
        exact: whether to draw nothing of another shape, open or not.

    Returns:
        Those first that fit best; none for a floating number that may be anything.
    """
    operand = _operand(value, extents, readers, rng)
    floating = value.type is None or value.type in FLOATING
    if value.type is None or (floating and operand is None):
        return []
    drawn: list[Array] = []
    if operand is not None:
        role = _ROLES[operand.node.op, operand.index]
        if floating and role not in _OF_ANY_TYPE:
            return []
        for numbers in role(operand):
            array = _shaped(np.asarray(numbers), value, shape, exact)
            if array is not None:
                drawn.append(array)
    if not floating:
        limit = index_limit(value, extents, readers)
        limit = 1 if zero else below if limit is None else limit
        drawn.append(rng.integers(0, max(1, limit), shape))
        # What is made of a number before it is an operand may fit one of these.
        drawn += [np.ones(shape), np.zeros(shape)]
        if value.type in (TensorProto.INT64, TensorProto.INT32):
            drawn.append(np.full(shape, -1))
    return [array.astype(numpy_type(value.type)) for array in drawn]


def index_limit(value: Value, extents: Extents, readers: Readers) -> int | None:
    """The size of the table that a value indexes, directly or passed on; None if it does not."""
    limit: int | None = None
    for node, index in _followed(value, readers, _PASSING):
        if node.op in ("Gather", "GatherElements") and index == 1:
            table = extents(node.inputs[0])
            axis = int(node.attribute("axis"))
            rows = table[axis] if table and -len(table) <= axis < len(table) else None
            if rows is not None:
                limit = rows if limit is None else min(rows, limit)
    return limit


def readers_in(nodes: Iterable[Node]) -> Readers:
    """Tells for a value which of some nodes read it, and as which of their inputs."""
    readers: dict[Value, list[tuple[Node, int]]] = {}
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value is not None:
                readers.setdefault(value, []).append((node, index))
    return lambda value: readers.get(value, ())


def all_readers(value: Value) -> Iterator[tuple[Node, int]]:
    """The nodes that read a value, those inside of bodies as well."""
    pending = [value]
    while pending:
        current = pending.pop()
        for node in current.uses:
            yield from ((node, index) for index, v in enumerate(node.inputs) if v is current)
            pending.extend(b.captures[current] for b in node.bodies if current in b.captures)


def _followed(
    value: Value, readers: Readers, passing: frozenset[str]
) -> Iterator[tuple[Node, int]]:
    """The nodes that read a value, or what others that pass it on make of it."""
    pending, seen = [value], {value}
    while pending and len(seen) < _MOST_VALUES:
        for node, index in readers(pending.pop(0)):
            yield node, index
            if node.op in passing:
                handed = [v for v in node.outputs if v is not None and v not in seen]
                seen.update(handed)
                pending.extend(handed)


def _operand(
    value: Value, extents: Extents, readers: Readers, rng: np.random.Generator
) -> Operand | None:
    """The operand that a value is, directly or passed on whole."""
    for node, index in _followed(value, readers, _WHOLE):
        if (node.op, index) in _ROLES:
            return Operand(node, index, extents, rng)
    return None


def _shaped(array: Array, value: Value, shape: tuple[int, ...], exact: bool) -> Array | None:
    """An operand in the shape of a value; None if it does not go in there."""
    if array.size == math.prod(shape):
        return array.reshape(shape)
    own = value.shape
    is_open = own is None or (len(own) == array.ndim and not all(isinstance(d, int) for d in own))
    return array if is_open and not exact else None
