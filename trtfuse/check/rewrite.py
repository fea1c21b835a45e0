"""The check of one rewrite: both spellings of its neighbourhood, in float64, on drawn inputs.

Exact algebra agrees to rounding. What rounding can do is measured, not guessed: the old spelling
is evaluated once more with its inputs changed by a hair, and how much each output element moves,
scaled back, is the size that errors of that element are held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trtfuse.check.float64 import Evaluator
from trtfuse.check.inputs import numbers
from trtfuse.check.model import Verification
from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.ir.tensor import FLOATING, Array, Float64, numpy_type
from trtfuse.layers.linear import Convolution, Linear
from trtfuse.layers.scale import Scale
from trtfuse.rewrite.driver import Checked
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.rule import Replacement, Rule

#: How far the two spellings may be apart, relative to the sensitivity of the old one. Float64
#: rounding stays below 1e-13 of it; an error in the algebra does not.
TOLERANCE = 1e-10

#: So many instances of one structure are evaluated on their own weights; the others share.
INSTANCES = 8

_HAIR = 2.0**-30
#: Constants above this many elements are not copied to be changed by a hair; the inputs are.
_LARGE = 1 << 20

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
        alike = self._seen.setdefault(_structure(rule, match, new, results), [])
        if len(alike) >= INSTANCES:
            self.shared += 1
            return max(alike, key=lambda checked: checked.error)
        rng = np.random.default_rng([self.seed, self.checked])
        self.checked += 1
        found = self._compare(match, new, results, rng)
        if found.why_not is None:
            alike.append(found)
        return found

    def verification(self) -> Verification:
        """What the check of all rewrites comes to; none was committed that it refused."""
        errors = [found.error for alike in self._seen.values() for found in alike]
        notes = []
        if self.shared:
            notes.append(
                f"{self.shared} rewrites share the check of {INSTANCES} others of their structure"
            )
        return Verification(
            "rewrite", True, max(errors, default=0.0), TOLERANCE, self.checked, notes
        )

    def _compare(
        self, match: Match, new: Replacement, results: tuple[Value, ...], rng: np.random.Generator
    ) -> Checked:
        opsets = new.graph.model.proto.opset_import
        outputs = [value for value in match.root.outputs if value is not None]
        old = Evaluator(match.ordered, outputs, opsets)
        now = Evaluator(new.nodes, results, opsets)
        inputs = tuple(dict.fromkeys((*old.inputs, *now.inputs)))
        constants = {v: _wide(v) for v in inputs if constant(v) is not None}
        drawn = [v for v in inputs if v not in constants]
        worst, trouble = 0.0, "there was nothing to draw"
        for shapes in _shapes(match, drawn):
            try:
                for kind in ("normal", "wide", "zero"):
                    feeds = constants | {v: _draw(v, shapes[v], kind, rng) for v in drawn}
                    before = old.run(feeds)
                    moved = [old.run(_moved(feeds, rng)) for _ in range(2)]
                    error, why_not = _disagreement(before, moved, now.run(feeds))
                    if why_not is not None:
                        sizes = ", ".join(f"{v.name}{list(shapes[v])}" for v in drawn)
                        seen = f"{why_not} for {kind} {sizes}, seed {self.seed}"
                        return Checked(f"the two spellings do not compute the same: {seen}", error)
                    worst = max(worst, error)
                trouble = ""
            except Exception as error:  # noqa: BLE001 - the reference evaluator raises anything
                if not trouble:
                    continue
                trouble = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if trouble:
            return Checked(f"it could not be evaluated in float64: {trouble[:200]}", math.inf)
        return Checked(None, worst)


def _structure(
    rule: Rule, match: Match, new: Replacement, results: tuple[Value, ...]
) -> tuple[object, ...]:
    """What instances have in common that share a check: all but the names and the weights."""
    numbers: dict[Value, int] = {}

    def described(node: Node) -> tuple[object, ...]:
        attributes = tuple(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
        wires = (*node.inputs, None, *node.outputs)
        return node.op, attributes, tuple(v and numbers.setdefault(v, len(numbers)) for v in wires)

    nodes = tuple(described(node) for node in (*match.ordered, *new.nodes))
    values = tuple(
        (tensor.type, tensor.shape) if (tensor := constant(v)) else v.known for v in numbers
    )
    return rule.name, nodes, values, tuple(numbers.get(v) for v in results)


def _wide(value: Value) -> Array:
    tensor = constant(value)
    assert tensor is not None
    return tensor.exact() if tensor.type in FLOATING else tensor.array()


def _moved(feeds: Feeds, rng: np.random.Generator) -> Feeds:
    """The inputs, each number changed by a hair in one direction or the other."""
    return {
        value: array * (1 + _HAIR * rng.choice((-1.0, 1.0), array.shape))
        if array.dtype == np.float64 and array.size <= _LARGE
        else array
        for value, array in feeds.items()
    }


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
        moves = [np.abs(other[index] - old) for other in moved]
        sensitivity: Float64 = np.max(moves, axis=0)[finite] / _HAIR
        if sensitivity.size:
            # A number whose moves happen to cancel is held against the others.
            scale = sensitivity + 1e-3 * sensitivity.max() + np.finfo(np.float64).tiny
            error = float(np.max(np.abs(now[finite] - old[finite]) / scale))
            worst = max(worst, error)
            if error > TOLERANCE:
                return worst, f"relative error {error:.2g} (tolerance {TOLERANCE:.0e})"
    return worst, None


def _shapes(match: Match, drawn: list[Value]) -> Iterator[dict[Value, tuple[int, ...]]]:
    """Shapes to draw inputs of: batch 1 and 2, small spatial sizes; then as the model has them."""
    small = {value: _small(match, value) for value in drawn}
    for batch in (1, 2):
        yield {
            v: (batch, *rest) if (rest := small[v]) is not None else _sized(v.shape, batch)
            for v in drawn
        }
    if any(size is not None for size in small.values()):
        yield {value: _sized(value.shape, 2) for value in drawn}


def _small(match: Match, value: Value) -> tuple[int, ...] | None:
    """What follows the batch in the smallest input of a layer that this value goes into."""
    for layer in match.bound.values():
        if isinstance(layer, Linear):
            source = layer.x.producer
            before = Scale.of(source) if source in match.nodes and source is not None else None
            scaled = before.x if isinstance(before, Scale) else None
            if value in (layer.x, scaled) and isinstance(layer, Convolution):
                return (layer.in_channels, *layer.smallest_input())
    return None


def _sized(shape: Shape | None, free: int) -> tuple[int, ...]:
    """A shape with sizes for its open dimensions: one for each symbol, the batch first."""
    if shape is None:
        return (free, 3, 4)
    sizes: dict[object, int] = {}
    result = []
    for axis, dim in enumerate(shape):
        if isinstance(dim, int):
            result.append(dim)
        else:
            result.append(sizes.setdefault(dim or axis, free + len(sizes)))
    return tuple(result)


def _draw(value: Value, shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    """What a value is given: see `numbers`; integers are 0, 1 or 2."""
    if value.type is not None and value.type not in FLOATING:
        integers = rng.integers(0, 3, shape) if kind != "zero" else np.zeros(shape)
        return integers.astype(numpy_type(value.type))
    return numbers(shape, kind, rng)
