"""A node seen as a TensorRT Reduce: a sum, mean, maximum, minimum or product over some axes.

ONNX keeps the axes in an attribute or, from opset 13 (ReduceSum) or 18 (the others) on, in an
input. No axes, or empty ones, are all axes, unless `noop_with_empty_axes` says that they are none:
then nothing is reduced, though ReduceL1 still takes absolute values, and so on. That is no layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.layers.scale import not_constant
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, Condition
from trtfuse.rewrite.replacement import Replacement

#: From which opset on the axes are an input, by operator.
AXES_AS_INPUT = {"ReduceSum": 13}
_OTHERS = 18

REDUCE = Condition(
    "reduce",
    "The reduction goes over axes that are constant and differ.",
    FOLDED_CONSTANTS,
)
MEAN = Condition(
    "mean",
    "The node is a mean over constant axes that keeps its dimensions.",
    FOLDED_CONSTANTS,
)


@dataclass(frozen=True, slots=True)
class Reduce:
    """A reduction.

    Attributes:
        node: the node that computes it.
        x: what is reduced.
        axes: as the node has them, negative ones too; None for all.
        keepdims: whether the reduced axes stay, with size 1.
    """

    operators: ClassVar[tuple[str, ...]] = (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp",
    )
    condition: ClassVar[Condition] = REDUCE
    title: ClassVar[str] = "a Reduce over constant axes"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    axes: tuple[int, ...] | None
    keepdims: bool

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        return cls._listed(node)

    @classmethod
    def _listed(cls, node: Node) -> Self | str | None:
        x, listed = node.operand(0), node.input(1)
        if listed is None:
            axes = node.attribute("axes")
        else:
            tensor = constant(listed)
            if tensor is None:
                return f"its axes `{listed.name}` are {not_constant(listed)}"
            axes = tensor.integers()
        if not axes:
            idle = node.attribute("noop_with_empty_axes", 0)
            if idle not in (0, 1):
                return f"its noop_with_empty_axes is {idle}, and runtimes differ on what that means"
            if idle:
                return None
            axes = None
        elif len({axis % x.rank if x.rank else axis for axis in axes}) < len(axes):
            return f"its axes {list(axes)} repeat an axis"
        keepdims = node.attribute("keepdims")
        if keepdims not in (0, 1):
            return f"its keepdims is {keepdims}, and runtimes differ on what that means"
        return cls(node, x, None if axes is None else tuple(axes), bool(keepdims))

    def over(self, rank: int) -> tuple[int, ...]:
        """The axes of a tensor of this rank, from 0 up, in order."""
        if self.axes is None or rank == 0:
            return tuple(range(rank))
        return tuple(sorted(axis % rank for axis in self.axes))

    def rebuilt(
        self,
        new: Replacement,
        operator: str,
        x: Value,
        axes: tuple[int, ...] | None = None,
        *,
        keepdims: bool | None = None,
    ) -> Value:
        """The reduction by another operator, of another value, or over other axes."""
        chosen = self.axes if axes is None else axes
        kept = int(self.keepdims if keepdims is None else keepdims)
        if not chosen:
            return new.op(operator, x, like=self.node, keepdims=kept)
        if new.opset < AXES_AS_INPUT.get(operator, _OTHERS):
            return new.op(operator, x, like=self.node, axes=list(chosen), keepdims=kept)
        listed = self.node.input(1) if axes is None else None
        if listed is None:
            numbers = np.array(chosen, np.int64)
            listed = new.constant(numbers, TensorProto.INT64, f"{self.node.label}.axes")
        return new.op(operator, x, listed, like=self.node, keepdims=kept)


@dataclass(frozen=True, slots=True)
class Reduction(Reduce):
    """A reduction, or where along an axis the largest or smallest number is."""

    operators: ClassVar[tuple[str, ...]] = (*Reduce.operators, "ArgMax", "ArgMin")

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        if node.op in Reduce.operators:
            return cls._listed(node)
        x = node.operand(0)
        keepdims = node.attribute("keepdims")
        if keepdims not in (0, 1):
            return f"its keepdims is {keepdims}, and runtimes differ on what that means"
        return cls(node, x, (node.attribute("axis"),), bool(keepdims))

    def with_dimensions(self, new: Replacement, keepdims: bool) -> Value:
        """The same, with the reduced axes kept or not."""
        return new.again(self.node, *self.node.inputs, keepdims=int(keepdims))


@dataclass(frozen=True, slots=True)
class Mean(Reduce):
    """A mean that keeps its dimensions: a ReduceMean, or a pooling over the whole plane."""

    operators: ClassVar[tuple[str, ...]] = ("ReduceMean", "AveragePool", "GlobalAveragePool")
    condition: ClassVar[Condition] = MEAN
    title: ClassVar[str] = "a mean that keeps its dimensions"

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        if node.op == "ReduceMean":
            seen = cls._listed(node)
            return seen if not isinstance(seen, Mean) or seen.keepdims else None
        x = node.operand(0)
        whole = x.rank is not None and (node.op == "GlobalAveragePool" or _takes_all(node, x))
        return cls(node, x, tuple(range(2, x.rank or 0)), keepdims=True) if whole else None


def _takes_all(pool: Node, x: Value) -> bool:
    """Whether the kernel of a pooling is the whole plane, and nothing is added to it."""
    plane = list((x.shape or ())[2:])
    spread = any(pool.attribute("pads", [])) or set(pool.attribute("dilations", [1])) != {1}
    padded = pool.attribute("auto_pad") not in ("NOTSET", "VALID")
    return list(pool.attribute("kernel_shape")) == plane and not spread and not padded
