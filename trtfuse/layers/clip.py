"""A node seen as a limit to a range: Clip, Relu, and Min and Max by a constant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Tensor, numpy_type
from trtfuse.ir.types import INTEGERS
from trtfuse.layers.scale import Factor, not_constant
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, Condition
from trtfuse.rewrite.replacement import Replacement

#: Before this opset the bounds are attributes, and the largest float32 where they are absent.
_BOUNDS_AS_INPUTS = 11
_LARGEST = float(np.finfo(np.float32).max)

#: What computes a value of a known range, whatever goes in.
_RANGES = {
    "Abs": (0.0, math.inf),
    "Exp": (0.0, math.inf),
    "HardSigmoid": (0.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Softplus": (0.0, math.inf),
    "Tanh": (-1.0, 1.0),
}

CLIP = Condition(
    "clip",
    "The node is a Clip with constant bounds, or a Relu.",
    FOLDED_CONSTANTS,
)
RANGE = Condition(
    "range",
    "The operator gives numbers of a known range.",
)


@dataclass(frozen=True, slots=True)
class Clip:
    """min(max(x, low), high).

    Attributes:
        node: the node that computes it.
        x: what is limited.
        low: the lower bound, -inf for none.
        high: the upper bound, inf for none.
        bounds: the constants that they are; None for an attribute, or for none.
    """

    operators: ClassVar[tuple[str, ...]] = ("Clip", "Relu", "Max", "Min")
    condition: ClassVar[Condition] = CLIP
    title: ClassVar[str] = "a Clip with constant bounds, or a Relu"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    low: float
    high: float
    bounds: tuple[Value | None, Value | None] = (None, None)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @property
    def range(self) -> tuple[float, float]:
        """Both bounds."""
        return self.low, self.high

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        x = node.operand(0)
        if node.op == "Relu":
            return cls(node, x, 0.0, math.inf)
        if node.op != "Clip":
            return cls._of_min_or_max(node)
        absent = math.inf if node.opset >= _BOUNDS_AS_INPUTS else _LARGEST
        bounds = [-absent, absent]
        for index, name in enumerate(("min", "max")):
            value = node.input(index + 1)
            if value is None:
                bounds[index] = float(node.attribute(name, bounds[index]))
                continue
            tensor = constant(value)
            if tensor is None:
                return f"its bound `{value.name}` is {not_constant(value)}"
            if tensor.size != 1:
                return f"its bound `{value.name}` has shape {list(tensor.shape)}"
            bounds[index] = _number(tensor)
        low, high = bounds
        if not low <= high:
            return f"its bounds {low:g} and {high:g} cross"
        return cls(node, x, low, high, (node.input(1), node.input(2)))

    @classmethod
    def _of_min_or_max(cls, node: Node) -> Self | str | None:
        """Of one value and one number, which does not broadcast it.

        Where the bounds of a Clip are attributes, they may not hold the number.
        """
        if len(node.inputs) != 2 or node.opset < _BOUNDS_AS_INPUTS:
            return None
        for x, bound in (node.inputs, node.inputs[::-1]):
            tensor = constant(bound)
            if x is None or bound is None or tensor is None or tensor.size != 1 or constant(x):
                continue
            if why := Factor(bound.name, tensor.shape, tensor.exact).broadcasts(x):
                return why
            number = _number(tensor)
            if math.isnan(number):
                return f"its bound `{bound.name}` is not a number"
            if node.op == "Max":
                return cls(node, x, number, math.inf, (bound, None))
            return cls(node, x, -math.inf, number, (None, bound))
        return None

    def rebuilt(self, new: Replacement, x: Value, low: float, high: float) -> Value:
        """A Clip of x to another range; a Relu where that is what the range is.

        TensorRT takes neither a Relu of integers nor a Clip of integers with a single bound: these
        become a Max or a Min.
        """
        if x.type in INTEGERS:
            return self._rebuilt_of_integers(new, x, low, high)
        if (low, high) == (0.0, math.inf):
            return new.Relu(x, like=self.node)
        if new.opset < _BOUNDS_AS_INPUTS:
            bounds = {"min": (low, -_LARGEST), "max": (high, _LARGEST)}
            given = {name: bound for name, (bound, absent) in bounds.items() if bound != absent}
            return new.Clip(x, like=self.node, **given)
        return new.Clip(x, *self._bounds(new, x, low, high), like=self.node)

    def _rebuilt_of_integers(self, new: Replacement, x: Value, low: float, high: float) -> Value:
        least, most = self._bounds(new, x, low, high)
        if most is None and least is not None:
            return new.Max(x, least, like=self.node)
        if least is None and most is not None:
            return new.Min(x, most, like=self.node)
        return new.Clip(x, least, most, like=self.node)

    def _bounds(
        self, new: Replacement, x: Value, low: float, high: float
    ) -> tuple[Value | None, Value | None]:
        """The bounds as constants, None for one that is infinite."""
        assert x.type is not None
        kind = numpy_type(x.type) if x.type in INTEGERS else np.float64
        least, most = (
            None
            if bound == absent
            else new.constant(np.array(bound, kind), x.type, f"{self.node.label}.{name}")
            for name, bound, absent in (("min", low, -math.inf), ("max", high, math.inf))
        )
        return least, most


@dataclass(frozen=True, slots=True)
class Bounded:
    """A value that is in a range.

    Attributes:
        node: the node that computes it.
        x: what it computes it from.
        low, high: the range.
    """

    operators: ClassVar[tuple[str, ...]] = (*Clip.operators, *_RANGES)
    condition: ClassVar[Condition] = RANGE
    title: ClassVar[str] = "an operator of a known range"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    low: float
    high: float

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @classmethod
    def of(cls, node: Node) -> Self | None:
        if node.op in _RANGES:
            x = node.operand(0)
            return cls(node, x, *_RANGES[node.op])
        seen = Clip.of(node)
        return cls(node, seen.x, *seen.range) if isinstance(seen, Clip) else None


def _number(tensor: Tensor) -> float:
    """The number of a tensor of one; integers as they are, since a float does not hold them all."""
    if tensor.type in INTEGERS:
        return int(tensor.array().reshape(()))
    return float(tensor.exact().reshape(()))
