"""A Slice seen as where it begins, where it ends and how far it steps along each axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.sizes import LARGEST_END
from trtfuse.ir.graph import Dimension, Node, Value
from trtfuse.layers.scale import not_constant
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, Condition
from trtfuse.rewrite.replacement import Replacement

#: From this opset on the limits of a Slice are inputs.
_LIMITS_AS_INPUTS = 10
_LARGEST = 2**63 - 1

SLICE = Condition(
    "slice",
    "The Slice takes a part of one axis, between constant limits.",
    FOLDED_CONSTANTS,
)


class Limits(NamedTuple):
    """Where a Slice begins along one axis, where it ends, and its step."""

    start: int
    end: int
    step: int

    def then(self, other: Limits, size: Dimension) -> Limits | None:
        """Both Slices at once, of an axis of this size; None if no Slice does that whatever it is.

        Args:
            other: the limits of the Slice of what this one leaves.
            size: the size of the axis; where it is open, what begins or ends at so many from the
                end is seldom one Slice.
        """
        if isinstance(size, int):
            kept = other.of(self.of(range(size)))
            if not kept:
                return Limits(0, 0, 1)
            if len(kept) == 1:
                return Limits(kept.start, kept.start + 1, 1)
            return Limits(kept.start, kept.stop if kept.stop >= 0 else -size - 1, kept.step)
        if min(self.start, other.start) < 0 or min(self.step, other.step) < 1:
            return None
        if other.end < 0 or (self.end < 0 and other.end < LARGEST_END):
            return None
        start = self.start + other.start * self.step
        end = self.start + other.end * self.step
        # An end that counts from the end stays, as the other one is open.
        end = self.end if self.end < 0 else min(self.end, end)
        step = self.step * other.step
        return Limits(min(start, _LARGEST), min(end, _LARGEST), min(step, _LARGEST))

    def of(self, places: range) -> range:
        """The places that are left of an axis."""
        # Going backwards from before the beginning, ONNX starts at the first entry, Python nowhere.
        return places[max(self.start, -len(places)) : self.end : self.step]


@dataclass(frozen=True, slots=True)
class Cut:
    """A Slice with constant limits.

    Attributes:
        node: the node that computes it.
        x: what is sliced.
        limits: by axis; from 0 up where the rank is known.
    """

    operators: ClassVar[tuple[str, ...]] = ("Slice",)
    condition: ClassVar[Condition] = SLICE
    title: ClassVar[str] = "a Slice with constant limits"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    limits: dict[int, Limits]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @property
    def disputed(self) -> bool:
        """Whether runtimes disagree on what it takes.

        Where it runs backwards and its end is a number as large as exporters write for "to the
        end", some take everything before its start and others nothing.
        """
        return any(limits.step < 0 and limits.end >= LARGEST_END for limits in self.limits.values())

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        x = node.operand(0)
        if len(node.inputs) == 1:
            starts, ends, axes = (node.attribute(name) for name in ("starts", "ends", "axes"))
            steps = None
        else:
            for value in node.inputs[1:]:
                if value is not None and constant(value) is None:
                    return f"its limits `{value.name}` are {not_constant(value)}"
            starts, ends, axes, steps = (_integers(node.input(index)) for index in range(1, 5))
        if starts is None or ends is None:
            return None
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        if x.rank:
            axes = [axis % x.rank for axis in axes]
        apart = len(set(axes)) == len(axes) and min(axes, default=0) >= 0
        if not apart or 0 in steps or not len(starts) == len(ends) == len(axes) == len(steps):
            return None
        return cls(node, x, dict(zip(axes, map(Limits, starts, ends, steps), strict=True)))

    def rebuilt(self, new: Replacement, x: Value, limits: dict[int, Limits]) -> Value:
        """A Slice of another value, with other limits."""
        axes = sorted(limits)
        starts, ends, steps = ([limits[axis][i] for axis in axes] for i in range(3))
        if new.opset < _LIMITS_AS_INPUTS:
            return new.Slice(x, like=self.node, axes=axes, starts=starts, ends=ends)
        lists = {"starts": starts, "ends": ends, "axes": axes}
        if any(step != 1 for step in steps):
            lists["steps"] = steps
        operands = (
            new.constant(
                np.array(numbers, np.int64), TensorProto.INT64, f"{self.node.label}.{name}"
            )
            for name, numbers in lists.items()
        )
        return new.Slice(x, *operands, like=self.node)


def _integers(value: Value | None) -> list[int] | None:
    tensor = constant(value)
    return None if tensor is None else tensor.integers()
