"""HardSigmoid and HardSwish spelled out: a Clip with scales before and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import stands_for
from trtfuse.layers.clip import Clip
from trtfuse.layers.scale import Scale
from trtfuse.rewrite.condition import Condition

#: How many scales may stand before the Clip, and how many behind it.
_SCALES = 2

#: Ranges that are further off than this from [0, 1] are meant to be others.
_ROUGHLY = 0.02
#: The largest error of float64 arithmetic on a few constants.
_SAME = 1e-14


#: The alpha and beta of the HardSigmoid in a HardSwish, as an operator has them.
SWISH = (float(np.float32(1 / 6)), 0.5)

HARD_SIGMOID = Condition(
    "hard-sigmoid",
    "The nodes are a HardSigmoid spelled out.",
)
HARD_SWISH = Condition(
    "hard-swish",
    "The nodes are a HardSwish spelled out.",
)


@dataclass(frozen=True, slots=True)
class Number:
    """One number in a spelling.

    Attributes:
        name: what it is called in a message.
        value: the constant that it is; None for an attribute, or for the -1 of a Neg.
        stored: what it is.
        needed: what it would have to be.
    """

    name: str
    value: Value | None
    stored: float
    needed: float

    @property
    def same(self) -> bool:
        """Whether it is what it has to be."""
        return math.isclose(self.stored, self.needed, rel_tol=_SAME)

    @property
    def stands(self) -> bool:
        """Whether it is what it has to be, or a constant that is next to it."""
        tensor = constant(self.value)
        return self.same or (
            tensor is not None
            and stands_for(tensor.exact().reshape(()), np.array(self.needed), tensor.type)
        )


@dataclass(frozen=True, slots=True)
class SpelledHardSigmoid:
    """s * clip(a * x + b, low, high) + t, where that maps low to 0 and high to 1, roughly.

    Attributes:
        nodes: all of them, the last one first.
        x: what it is of.
        clip: the Clip.
        before, after: the scales before and after it, in the order in which they apply.
        alpha, beta: those of the HardSigmoid that is nearest, in float32.
        numbers: its numbers, and what they would have to be to make it that one.
    """

    operators: ClassVar[tuple[str, ...]] = (*Clip.operators, *Scale.operators)
    condition: ClassVar[Condition] = HARD_SIGMOID
    title: ClassVar[str] = "a HardSigmoid spelled out"
    longest: ClassVar[int] = 2 * _SCALES + 1

    nodes: tuple[Node, ...]
    x: Value
    clip: Clip
    before: tuple[Scale, ...]
    after: tuple[Scale, ...]
    alpha: float
    beta: float
    numbers: tuple[Number, ...]

    @classmethod
    def of(cls, node: Node) -> Self | None:
        sources = (value.producer for value in node.inputs if value is not None)
        if not any(source is not None and source.op in cls.operators for source in sources):
            # It takes two nodes at least.
            return None
        return cls.scaled(node, ())

    @classmethod
    def scaled(
        cls, node: Node, outside: Sequence[Scale], meant: tuple[float, float] | None = None
    ) -> Self | None:
        """The HardSigmoid that a node spells with scales besides, which apply last.

        Args:
            node: its last node.
            outside: the scales; they are not among its nodes.
            meant: the alpha and beta that it has to have, roughly; any if left out.
        """
        after: list[Scale] = []
        below: Node | None = node
        while below is not None and len(after) < _SCALES and (scale := _uniform(below)):
            after.insert(0, scale)
            below = scale.x.producer
        clip = Clip.of(below) if below is not None and below.op in Clip.operators else None
        if below is None or not isinstance(clip, Clip):
            return None
        before: list[Scale] = []
        x = clip.x
        # A value that others need as well is where it begins, but for the one that is limited.
        while len(before) < _SCALES and not (before and x.shared):
            above = x.producer and _uniform(x.producer)
            if not above:
                break
            before.insert(0, above)
            x = above.x
        scales = [*after, *outside]
        fit = _fit(before, clip, scales, meant) if before or scales else None
        if fit is None:
            return None
        nodes = [scale.node for scale in (*before, *after)]
        nodes.insert(len(before), below)
        return cls(tuple(reversed(nodes)), x, clip, tuple(before), tuple(scales), *fit)


@dataclass(frozen=True, slots=True)
class SpelledHardSwish:
    """x * s * clip(a * x + b, low, high), where that is x * HardSigmoid(x) with alpha 1/6, roughly.

    Attributes:
        nodes: all of them, the last one first.
        x: what it is of.
        gate: the HardSigmoid in it; it has the scales of the product as well.
    """

    operators: ClassVar[tuple[str, ...]] = ("Mul", "Div")
    condition: ClassVar[Condition] = HARD_SWISH
    title: ClassVar[str] = "a HardSwish spelled out"
    longest: ClassVar[int] = 2 * _SCALES + 3

    nodes: tuple[Node, ...]
    x: Value
    gate: SpelledHardSigmoid

    @property
    def alpha(self) -> float:
        return self.gate.alpha

    @property
    def beta(self) -> float:
        return self.gate.beta

    @property
    def numbers(self) -> tuple[Number, ...]:
        return self.gate.numbers

    @property
    def before(self) -> tuple[Scale, ...]:
        return self.gate.before

    @property
    def after(self) -> tuple[Scale, ...]:
        return self.gate.after

    @classmethod
    def of(cls, node: Node) -> Self | None:
        outer = _factor(node)
        product = node if outer is None else outer.x.producer
        if product is None or product.op != "Mul":
            return None
        outside = () if outer is None else (outer,)
        for gate, other in (product.inputs, product.inputs[::-1]):
            if gate is None or gate.producer is None or other is None:
                continue
            scaled = None if other.producer is None else _factor(other.producer)
            for x, inside in ((other, ()), *([(scaled.x, (scaled,))] if scaled else [])):
                seen = _gate(gate.producer, (*inside, *outside))
                if seen is not None and seen.x is x:
                    inner = (scale.node for scale in inside)
                    nodes = (*(s.node for s in outside), product, *inner, *seen.nodes)
                    return cls(tuple(nodes), x, seen)
        return None


def _gate(node: Node, outside: Sequence[Scale]) -> SpelledHardSigmoid | None:
    """The HardSigmoid of a HardSwish that a node spells with scales besides."""
    if node.op not in SpelledHardSigmoid.operators:
        return None
    return SpelledHardSigmoid.scaled(node, outside, SWISH)


def _factor(node: Node) -> Scale | None:
    """The scale that a node is, if it only multiplies by a single number."""
    scale = _uniform(node)
    return scale if scale is not None and scale.shift is None else None


def _uniform(node: Node) -> Scale | None:
    """The scale that a node is, if it is one of single numbers."""
    scale = Scale.of(node) if node.op in Scale.operators else None
    if not isinstance(scale, Scale) or scale.power is not None:
        return None
    uniform = all(factor.uniform and not factor.per_channel for factor in scale.factors)
    return scale if uniform else None


def _number(step: Scale, by: float, plus: float, needed_by: float, needed_plus: float) -> Number:
    """The number of one scale, as its node has it."""
    value = next((v for v in step.node.inputs if v is not step.x), None)
    name = step.node.label if value is None else f"`{value.name}`"
    match step.node.op:
        case "Mul" | "Neg":
            return Number(name, value, by, needed_by)
        case "Div":
            return Number(name, value, 1 / by, 1 / needed_by)
        case "Sub" if step.x is step.node.inputs[0]:
            return Number(name, value, -plus, -needed_plus)
    return Number(name, value, plus, needed_plus)


def _fit(
    before: list[Scale], clip: Clip, after: list[Scale], meant: tuple[float, float] | None
) -> tuple[float, float, tuple[Number, ...]] | None:
    """Alpha, beta, and the numbers of the nodes, each with what it would have to be.

    None if this is not even roughly a HardSigmoid.
    """
    steps = [*before, *after]
    by = [1.0 if s.scale is None else float(s.scale.vector()[0]) for s in steps]
    plus = [0.0 if s.shift is None else float(s.shift.vector()[0]) for s in steps]
    given = [*by], [*plus]

    def factor(first: int) -> float:
        """What the steps from the first on multiply by."""
        return math.prod(by[first:])

    def shift(first: int) -> float:
        """What the steps from the first on add."""
        return sum(plus[i] * factor(i + 1) for i in range(first, len(steps)))

    behind = len(before)
    low, high = (factor(behind) * bound + shift(behind) for bound in clip.range)
    roughly = abs(low) < _ROUGHLY and abs(high - 1) < _ROUGHLY
    if not roughly or factor(behind) <= 0 or factor(0) == 0:
        return None
    alpha, beta = (float(np.float32(number)) for number in (factor(0), shift(0)))
    if meant is not None:
        if not np.allclose((alpha, beta), meant, rtol=_ROUGHLY):
            return None
        alpha, beta = meant
    if alpha == 0 or not math.isfinite(alpha) or not math.isfinite(beta):
        return None
    # The last number of each kind makes up for what the rounding of alpha and beta does.
    for i in [i for i, step in enumerate(steps) if step.node.op in ("Mul", "Div")][-1:]:
        by[i] *= alpha / factor(0)
    for i in [i for i, step in enumerate(steps) if step.shift is not None][-1:]:
        plus[i] += (beta - shift(0)) / factor(i + 1)
    numbers = [_number(*row) for row in zip(steps, *given, by, plus, strict=True)]
    for which, name in enumerate(("lower", "upper")):
        needed = (which - shift(behind)) / factor(behind)
        value = clip.bounds[which]
        what = f"the {name} bound of {clip.node.label}" if value is None else f"`{value.name}`"
        numbers.append(Number(what, value, clip.range[which], needed))
    return alpha, beta, tuple(numbers)
