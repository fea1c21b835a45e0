"""The check of one rewrite: both spellings of its neighbourhood, in float64, on drawn inputs.

Exact algebra agrees to rounding. What rounding can do is measured, not guessed: the old spelling
is evaluated once more with its inputs and all that its nodes compute changed by a hair, and how
much each output element moves, scaled back, is the size that errors of that element are held
against.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import MADE_UP, Derived, Dim
from trtfuse.analysis.sizes import sizes
from trtfuse.check.draw import Readers, choices, extents_of, readers_in
from trtfuse.check.inputs import numbers
from trtfuse.check.verification import Verification
from trtfuse.errors import one_line
from trtfuse.ir.graph import Dimension, Node, Shape, Value, in_order
from trtfuse.ir.tensor import FLOATING, Array, Float64, numpy_type, rounded, stands_for
from trtfuse.layers.linear import Convolution, FullyConnected, Linear
from trtfuse.layers.scale import Scale
from trtfuse.layers.window import Window
from trtfuse.rewrite.driver import Checked
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Rule

#: Inputs of more elements in all are not drawn.
_MOST_DRAWN = 1 << 26
#: How far the two spellings may be apart, relative to the sensitivity of the old one. Float64
#: rounding stays below 1e-13 of it; an error in the algebra does not.
TOLERANCE = 1e-10

#: So many instances of one structure are evaluated on their own weights; the others share.
INSTANCES = 8

_HAIR = 2.0**-30
#: Constants above this many elements are not copied to be changed by a hair; the inputs are.
_LARGE = 1 << 20

_INTEGERS = (TensorProto.INT64, TensorProto.INT32)
#: Shape arithmetic of more nodes than this is not followed.
_MOST_NODES = 64
#: What a rank is taken to be where it is not known, one after the other, and the sizes then.
_RANKS = (3, 4, 5, 2, 1, 6)
_SIZES = (None, 3, 4, 5, 2, 6)

Feeds = dict[Value, Array]


class RewriteCheck:
    """Checks rewrites before they are committed.

    Args:
        seed: of what is drawn; the same seed draws the same.

    Attributes:
        checked: how many rewrites were evaluated on their own weights.
        shared: how many shared the check of others of the same structure.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.checked = 0
        self.shared = 0
        self._seen: dict[object, list[Checked]] = {}

    def __call__(
        self, rule: Rule, match: Match, new: Replacement, results: tuple[Value, ...]
    ) -> Checked:
        """Whether the results are what the match computes."""
        if misread := _misread(new):
            return Checked(misread, math.inf)
        alike = self._seen.setdefault(_structure(rule, match, new, results), [])
        if len(alike) >= INSTANCES:
            self.shared += 1
            return replace(max(alike, key=lambda checked: checked.error), shared=True)
        rng = np.random.default_rng([self.seed, self.checked])
        self.checked += 1
        trouble = "there was nothing to draw"
        for leading in dict.fromkeys(_leading(match, new, far) for far in (False, True)):
            for rank in _RANKS:
                outcome = self._compare(match, new, results, rng, leading, rank)
                if isinstance(outcome, Checked):
                    if outcome.why_not is None:
                        alike.append(outcome)
                    return outcome
                trouble = outcome or trouble
        return Checked(f"it could not be evaluated in float64: {trouble}", math.inf)

    def verification(self) -> Verification:
        """The check of all rewrites as one; it is ok, since none that failed was committed."""
        errors = [checked.error for alike in self._seen.values() for checked in alike]
        notes = []
        if self.shared:
            shared = "1 rewrite" if self.shared == 1 else f"{self.shared} rewrites"
            notes.append(f"{shared} shared the check of {INSTANCES} others with the same structure")
        return Verification(
            "rewrite", True, max(errors, default=0.0), TOLERANCE, self.checked, notes
        )

    def _compare(
        self,
        match: Match,
        new: Replacement,
        results: tuple[Value, ...],
        rng: np.random.Generator,
        leading: tuple[Node, ...],
        rank: int,
    ) -> Checked | str | None:
        """Compares the two spellings on what leading nodes make of drawn numbers.

        Where a value is drawn of which the rank is not known, it is taken to be `rank`.

        Returns:
            What the comparison says; or, in words, why the old spelling cannot be evaluated. None
            if there is no value of unknown rank, and the first rank has been tried.
        """
        # The reference implementation takes its time to load; no report needs it.
        from trtfuse.analysis.reference_operators import Evaluator

        opsets = new.graph.opset_imports
        # A rule may leave out the last outputs, where nothing reads them.
        replaced = zip(match.root.outputs, results, strict=False)
        outputs = [value for value, _ in replaced if value is not None]
        try:
            old = Evaluator(match.ordered, outputs, opsets)
            now = Evaluator((*_kept(match, new, results), *new.nodes), results, opsets)
            inputs = tuple(dict.fromkeys((*old.inputs, *now.inputs)))
            computed = tuple(v for v in inputs if v.producer in leading)
            before = Evaluator(leading, computed, opsets)
        except Exception as error:  # noqa: BLE001 - the reference evaluator raises anything
            return _named(error)
        # A result that is a constant was rounded to its type, as its operands are at run time.
        folded = [v.type if v in new.constants else None for v in results]
        read = tuple(dict.fromkeys((*before.inputs, *(v for v in inputs if v not in computed))))
        constants = {v: _wide(v, folded[0]) for v in read if constant(v) is not None}
        drawn = [v for v in read if v not in constants]
        if rank != _RANKS[0] and all(v.shape is not None for v in drawn):
            return None
        readers = readers_in((*leading, *match.ordered, *new.nodes))
        worst, trouble, sets = 0.0, "there was nothing to draw", 0
        for number, shapes in enumerate(_shapes(match, drawn, rank)):
            if number == 2 and not trouble:
                # The full sizes are for what cannot be made small.
                break
            if sum(map(math.prod, shapes.values())) > _MOST_DRAWN:
                trouble = trouble or f"it takes inputs of more than {_MOST_DRAWN:,} elements"
                continue
            for kind in ("normal", "wide", "positive", "zero"):
                failed: Exception | None = None
                for feeds in _drawn(shapes, kind, readers, rng):
                    try:
                        feeds |= constants
                        feeds |= zip(computed, before.run(feeds), strict=True)
                        meant = feeds | new.read_as
                        expected = [
                            _as_stored(array, element_type)
                            for array, element_type in zip(old.run(meant), folded, strict=True)
                        ]
                        hair = functools.partial(_moved, rng=rng)
                        moved = [
                            old.run({v: hair(array) for v, array in meant.items()}, hair)
                            for _ in range(2)
                        ]
                        break
                    except Exception as error:  # noqa: BLE001 - as above
                        failed = failed or error
                else:
                    trouble = trouble and _named(failed)
                    break
                sizes = ", ".join(f"{v.name}{list(feeds[v].shape)}" for v in drawn)
                seen = f"for {kind} {sizes}, seed {self.seed}"
                try:
                    actual = now.run(feeds)
                except Exception as error:  # noqa: BLE001 - as above
                    # Where the old spelling computes something, the new one has to.
                    why = f"the new spelling could not be evaluated in float64: {_named(error)}"
                    return Checked(f"{why} {seen}", math.inf)
                apart, why_not = _disagreement(expected, moved, actual)
                if why_not is not None:
                    why = f"the two spellings do not compute the same: {why_not} {seen}"
                    return Checked(why, apart)
                worst = max(worst, apart)
                sets += 1
            else:
                trouble = ""
        return trouble or Checked(None, worst, sets)


def _named(error: Exception | None) -> str:
    return f"{type(error).__name__}: {error and one_line(error)}"[:200]


def _misread(new: Replacement) -> str | None:
    """Which constant is read as another number than it may stand for, if any is."""
    for value, read in new.read_as.items():
        tensor = constant(value)
        if tensor is None or not stands_for(tensor.exact(), read, tensor.type):
            return f"`{value.name}` is read as numbers that are not next to its own"
    return None


def _structure(
    rule: Rule, match: Match, new: Replacement, results: tuple[Value, ...]
) -> tuple[object, ...]:
    """What instances have in common that share a check: all but the names and the weights."""
    numbers: dict[Value, int] = {}

    def described(node: Node) -> tuple[object, ...]:
        attributes = tuple(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
        wires = (*node.inputs, None, *node.outputs)
        return node.op, attributes, tuple(v and numbers.setdefault(v, len(numbers)) for v in wires)

    # Symbols that inference makes up differ from layer to layer; what they are called is no matter.
    symbols: dict[object, int] = {}

    def shaped(value: Value) -> tuple[object, object]:
        tensor = constant(value)
        if tensor is not None:
            # Small integers say what is done: axes, sizes, limits.
            said = tensor.type not in FLOATING and tensor.size <= 64
            return tensor.type, (tensor.shape, tensor.array().tobytes() if said else b"")
        shape = value.shape
        return value.type, shape and tuple(
            ("symbol", symbols.setdefault(dim, len(symbols))) if isinstance(dim, str) else dim
            for dim in shape
        )

    listed = (*_leading(match, new, far=False), *match.ordered, *new.nodes)
    nodes = tuple(described(node) for node in listed)
    values = tuple(shaped(value) for value in numbers)
    read = tuple(numbers.get(v) for v in new.read_as)
    return rule.name, nodes, values, tuple(numbers.get(v) for v in results), read


def _kept(match: Match, new: Replacement, results: tuple[Value, ...]) -> tuple[Node, ...]:
    """The matched nodes whose values the new spelling goes on reading."""
    read = [*results, *(v for node in new.nodes for v in node.inputs if v is not None)]
    kept: dict[Node, None] = {}
    while read:
        node = read.pop().producer
        if node is not None and node in match.nodes and node not in kept:
            kept[node] = None
            read.extend(v for v in node.inputs if v is not None)
    return in_order(kept)


def _leading(match: Match, new: Replacement, far: bool) -> tuple[Node, ...]:
    """The nodes whose results are computed, where drawn ones might not fit each other.

    That is shape arithmetic and, going far, what has a shape that the model does not say.
    """
    chosen: dict[Node, None] = {}
    inside = {*match.nodes, *new.nodes}
    pending = [v for node in inside for v in node.inputs if v is not None]
    while pending and len(chosen) < _MOST_NODES:
        value = pending.pop()
        node = value.producer
        drawable = value.type not in _INTEGERS and not (far and _is_open(value))
        drawable = drawable and sizes(value) is None
        if node is None or node in chosen or node in inside or drawable:
            continue
        if constant(value) is None and node.operator.whose == "standard" and not node.bodies:
            chosen[node] = None
            pending.extend(v for v in node.inputs if v is not None)
    return in_order(chosen)


def _is_open(value: Value) -> bool:
    """Whether the model does not say what sizes a value has."""
    sizes = value.shape
    return sizes is None or any(d is None or str(d).startswith(MADE_UP) for d in sizes)


def _wide(value: Value, folded: int | None) -> Array:
    tensor = constant(value)
    assert tensor is not None
    if tensor.type not in FLOATING:
        return tensor.array()
    return tensor.exact() if folded is None else tensor.array().astype(np.float64)


def _as_stored(array: Array, element_type: int | None) -> Array:
    """A result rounded to the type that it is stored in, if it is."""
    if element_type is None:
        return array
    if element_type not in FLOATING:
        # The reference implementation of some operators widens integers.
        integers = array.dtype.kind in "iu" and numpy_type(element_type).kind in "iu"
        return array.astype(numpy_type(element_type)) if integers else array
    return rounded(array, element_type).astype(np.float64)


def _moved(array: Array, rng: np.random.Generator) -> Array:
    """Each number changed by a hair in one direction or the other."""
    # By amounts that differ: those of the two factors of a product may not cancel.
    if array.dtype != np.float64 or array.size > _LARGE:
        return array
    return np.asarray(array * (1 + _HAIR * rng.uniform(-1, 1, array.shape)))


def _disagreement(
    before: list[Array], moved: list[list[Array]], after: list[Array]
) -> tuple[float, str | None]:
    """The largest error, relative to the sensitivity of the element, and what is wrong."""
    worst = 0.0
    for index, (old, now) in enumerate(zip(before, after, strict=True)):
        if old.shape != now.shape or old.dtype != now.dtype:
            return math.inf, f"{old.dtype}{list(old.shape)} becomes {now.dtype}{list(now.shape)}"
        if old.dtype != np.float64:
            if not np.array_equal(old, now):
                return math.inf, "integers differ"
            continue
        # Where the old spelling overflows, a new one that does not is an improvement.
        finite = np.isfinite(old)
        if not np.isfinite(now[finite]).all():
            return math.inf, "a finite number becomes infinite or none"
        if (np.isinf(old) & ~np.isfinite(now) & (old != now)).any():
            return math.inf, "an infinite number becomes another that is not finite"
        with np.errstate(invalid="ignore", over="ignore"):
            # A Range that is moved may have one number more or less: that says nothing either.
            others = (other[index] for other in moved if other[index].shape == old.shape)
            moves = [np.abs(other - old)[finite] for other in others] or [np.zeros(finite.sum())]
        # A move to where there is no number says nothing of how far rounding gets.
        sensitivity: Float64 = (
            np.max([np.where(np.isfinite(m), m, 0) for m in moves], axis=0) / _HAIR
        )
        if sensitivity.size:
            scale = sensitivity + np.abs(old[finite])
            # A number whose moves happen to cancel is held against the others.
            scale += 1e-12 * scale.max() + np.finfo(np.float64).tiny
            error = float(np.max(np.abs(now[finite] - old[finite]) / scale))
            worst = max(worst, error)
            if error > TOLERANCE:
                return worst, f"relative error {error:.2g} (tolerance {TOLERANCE:.0e})"
    return worst, None


def _shapes(match: Match, drawn: list[Value], rank: int) -> Iterator[dict[Value, tuple[int, ...]]]:
    """Shapes to draw inputs of: batch 1 and 2, small spatial sizes; then as the model has them."""
    layers = {value: _fed(match, value) for value in drawn}
    convolved = any(isinstance(layer, (Convolution, Window)) for layer in layers.values())
    for batch, small in ((1, True), (2, True), (2, False))[: 2 + convolved]:
        sizes: dict[object, int] = {}
        yield {value: _sized(value, layers[value], rank, small, batch, sizes) for value in drawn}


def _fed(match: Match, value: Value) -> Linear | Window | Scale | None:
    """The layer that a value goes into, directly or scaled, activated or padded on the way.

    Where there is none, the Scale that it goes into directly, if any.
    """
    layers = [layer for layer in match.bound.values() if isinstance(layer, (Linear, Window))]
    between = {*match.nodes}.difference(*(layer.nodes for layer in layers))
    for layer in layers:
        source: Value | None = layer.x
        while source is not None and source is not value and source.producer in between:
            scale = Scale.of(source.producer)
            source = scale.x if isinstance(scale, Scale) else source.producer.input(0)
        if source is value:
            return layer
    scales = (layer for layer in match.bound.values() if isinstance(layer, Scale))
    return next((scale for scale in scales if scale.x is value), None)


def _sized(
    value: Value,
    layer: Linear | Window | Scale | None,
    rank: int,
    small: bool,
    free: int,
    sizes: dict[object, int],
) -> tuple[int, ...]:
    """A shape with sizes for its open dimensions: one for each symbol, the batch first.

    What goes into a layer has the layer's channels, and where it is to be small, the smallest
    spatial sizes that a convolution takes.
    """
    if small and isinstance(layer, Convolution):
        return (free, layer.in_channels, *layer.smallest_input())
    if small and isinstance(layer, Window):
        return (free, layer.channels or 3, *layer.smallest_input())
    shape: Shape | None = value.shape
    if shape is None:
        shape = (None, None) if isinstance(layer, FullyConnected) else _SIZES[:rank]
    fixed: dict[int, int] = {}
    if isinstance(layer, Linear):
        fixed = {layer.in_axis: layer.in_channels}
        if isinstance(layer, FullyConnected) and layer.bias_rows > 1:
            fixed[1 - layer.in_axis] = layer.bias_rows
    elif isinstance(layer, Scale):
        fixed.update((1, factor.shape[0]) for factor in layer.factors if factor.per_channel)
    return tuple(
        fixed[axis]
        if axis in fixed
        else _extent(Dim(value, axis) if dim is None else dim, free, sizes)
        for axis, dim in enumerate(shape)
    )


def _extent(dim: Dimension | Dim, free: int, sizes: dict[object, int]) -> int:
    """The size of a dimension: what was drawn of a symbol before, or another than those."""
    if isinstance(dim, int):
        return dim
    if isinstance(dim, Derived):
        factors = (_extent(factor, free, sizes) for factor in dim.product.of)
        return int(dim.product.number) * math.prod(factors)
    return sizes.setdefault(dim, free + len(sizes))


def _drawn(
    shapes: Mapping[Value, tuple[int, ...]], kind: str, readers: Readers, rng: np.random.Generator
) -> Iterator[Feeds]:
    """Arrays for values, one set after the other until the nodes run: see `numbers`.

    Integers are 0, 1 or 2 unless they say what a node does.
    """
    extents = extents_of(shapes)
    offered: dict[Value, list[Array]] = {}
    for value, shape in shapes.items():
        zero = kind == "zero"
        listed = choices(value, shape, extents, readers, rng, below=3, zero=zero)
        offered[value] = listed or [numbers(shape, kind, rng)]
    for attempt in range(max(map(len, offered.values()), default=1)):
        yield {value: listed[min(attempt, len(listed) - 1)] for value, listed in offered.items()}
