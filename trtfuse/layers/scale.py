"""A node seen as a TensorRT Scale: (x * scale + shift) ^ power.

ONNX spells it Mul, Div, Add or Sub by a constant on either side, Neg, Pow by a constant, and
BatchNormalization in inference mode. `c - x` has scale -1 and shift c; `c / x` is no Scale.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known, shown
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Float64, Tensor
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, Condition

#: What the report has where an operator that could be a Scale is none.
SCALE = Condition(
    "scale",
    "The operator is a Scale: it computes (x * scale + shift) ^ power from constants.",
    FOLDED_CONSTANTS,
)


@dataclass(frozen=True, slots=True)
class Factor:
    """One of the numbers of a Scale: a tensor that broadcasts with x.

    Attributes:
        name: the constant it comes from, for messages.
        shape: its shape; ONNX aligns it with the last dimensions of x.
        numbers: computes it, float64 of that shape.
        per_channel: whether it has one number for each channel on axis 1 instead, whatever the
            rank of x, as BatchNormalization has it.
        stored: computes it from constants as they are rounded to their type, where that differs.
    """

    name: str
    shape: tuple[int, ...]
    numbers: Callable[[], Float64]
    per_channel: bool = False
    stored: Callable[[], Float64] | None = None

    @property
    def uniform(self) -> bool:
        """Whether it is one number."""
        return all(size == 1 for size in self.shape)

    def not_one_per_channel(self, axis: int, rank: int, channels: int) -> str | None:
        """None if it has one number, or one for each channel of a tensor; else why not.

        Args:
            axis: the channel axis of the tensor.
            rank: its rank.
            channels: how many channels it has.
        """
        if self.per_channel:
            if axis != 1:
                return f"it normalizes axis 1, and the channels are on axis {axis} of {rank}"
            if self.shape != (channels,):
                return f"`{self.name}` has shape {list(self.shape)}, for {channels} channels"
            return None
        if len(self.shape) > rank:
            return f"`{self.name}` has shape {list(self.shape)}, of more than {rank} dimensions"
        padded = (1,) * (rank - len(self.shape)) + self.shape
        allowed = [(1, channels) if index == axis else (1,) for index in range(rank)]
        if all(size in sizes for size, sizes in zip(padded, allowed, strict=True)):
            return None
        return f"`{self.name}` has shape {list(self.shape)}, not one value per channel ({channels})"

    def is_all(self, number: float) -> bool:
        """Whether a runtime would find this number everywhere."""
        return bool(np.all((self.stored or self.numbers)() == number))

    def vector(self) -> Float64:
        """The numbers flat: one, or one for each channel."""
        return self.numbers().reshape(-1)

    def broadcasts(self, x: Value, result_rank: int | None = None) -> str | None:
        """None if applying the factor certainly keeps the shape of x; else why not.

        Args:
            x: what it is applied to.
            result_rank: the rank of what comes out, if that is known from elsewhere.
        """
        if self.per_channel or not self.shape:
            return None
        sizes = x.shape
        if sizes is None and result_rank is not None and len(self.shape) < result_rank:
            sizes = (None,) * result_rank
        own = f"`{self.name}` has shape {list(self.shape)}"
        if sizes is None:
            return f"{own} and {rank_not_known(x)}"
        if len(self.shape) > len(sizes):
            return f"{own}, of more dimensions than `{x.name}` ({len(sizes)})"
        for size, mine in zip(reversed(sizes), reversed(self.shape), strict=False):
            if mine not in (1, size):
                return f"{own}, which may broadcast `{x.name}` of shape {shown(sizes)}"
        return None


@dataclass(frozen=True, slots=True)
class Scale:
    """(x * scale + shift) ^ power.

    Attributes:
        node: the node that computes it.
        x: what is scaled.
        scale, shift, power: None for 1, 0 and 1.
    """

    operators: ClassVar[tuple[str, ...]] = (
        "BatchNormalization",
        "Mul",
        "Div",
        "Add",
        "Sub",
        "Neg",
        "Pow",
    )
    condition: ClassVar[Condition] = SCALE
    title: ClassVar[str] = "a Scale"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    scale: Factor | None = None
    shift: Factor | None = None
    power: Factor | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @property
    def normalizes(self) -> bool:
        """Whether it is a BatchNormalization."""
        return self.node.op == "BatchNormalization"

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Those of scale, shift and power that it has."""
        return tuple(f for f in (self.scale, self.shift, self.power) if f is not None)

    def is_identity(self) -> bool:
        """Whether it multiplies by 1, adds 0 and raises to 1, as far as it does any of them."""
        neutral = ((self.scale, 1.0), (self.shift, 0.0), (self.power, 1.0))
        # The first number often tells, and spares a look at the others.
        return all(factor is None or factor.is_all(number) for factor, number in neutral)

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        if node.op not in cls.operators:
            return None
        match node.op:
            case "BatchNormalization":
                return cls._of_batch_normalization(node)
            case "Neg":
                x = node.operand(0)
                return cls(node, x, scale=Factor(node.label, (), lambda: np.array(-1.0)))
        left, right = node.operand(0), node.operand(1)
        factor = _factor(right)
        if factor is not None:
            match node.op:
                case "Mul":
                    return cls(node, left, scale=factor)
                case "Div":
                    return cls(node, left, scale=_applied(factor, lambda c: 1 / c))
                case "Add":
                    return cls(node, left, shift=factor)
                case "Sub":
                    return cls(node, left, shift=_applied(factor, np.negative))
                case "Pow":
                    return cls(node, left, power=factor)
        factor = _factor(left)
        if factor is not None:
            match node.op:
                case "Mul":
                    return cls(node, right, scale=factor)
                case "Add":
                    return cls(node, right, shift=factor)
                case "Sub":
                    minus_one = Factor(node.label, (), lambda: np.array(-1.0))
                    return cls(node, right, scale=minus_one, shift=factor)
        return None

    @classmethod
    def _of_batch_normalization(cls, node: Node) -> Self | str:
        if node.attribute("training_mode"):
            return "it normalizes by the statistics of the batch (training_mode is 1)"
        if not node.attribute("spatial", 1):
            return "it normalizes each element by itself (spatial is 0)"
        for output in node.outputs[1:]:
            if output is not None and (output.uses or output.outputs):
                return f"its output `{output.name}` is used as well"
        x, *parameters = map(node.operand, range(5))
        tensors = [constant(value) for value in parameters]
        for value, tensor in zip(parameters, tensors, strict=True):
            if tensor is None:
                return f"`{value.name}` is {not_constant(value)}"
        gain, bias, mean, variance = (tensor for tensor in tensors if tensor is not None)
        if len({tensor.shape for tensor in tensors if tensor is not None}) > 1:
            return "its scale, bias, mean and variance are not of one shape"
        epsilon = float(node.attribute("epsilon"))

        @functools.cache
        def scale() -> Float64:
            with np.errstate(divide="ignore", invalid="ignore"):
                return gain.exact() / np.sqrt(variance.exact() + epsilon)

        @functools.cache
        def shift() -> Float64:
            with np.errstate(divide="ignore", invalid="ignore"):
                return bias.exact() - mean.exact() * scale()

        names = [value.name for value in parameters]
        return cls(
            node,
            x,
            scale=Factor(names[0], gain.shape, scale, per_channel=True),
            shift=Factor(names[1], bias.shape, shift, per_channel=True),
        )


def not_constant(value: Value) -> str:
    """Why a value is no constant, as the end of "it is ..."."""
    while value.source is not None:
        value = value.source
    if value.overridable:
        return "an initializer that is a graph input too, which a caller may override"
    if value.is_input:
        return "an input of the graph, not a constant"
    if value.producer is not None:
        return f"computed at run time by {value.producer.op} {value.producer.label}, not a constant"
    return "not a constant"


def _factor(value: Value) -> Factor | None:
    tensor = constant(value)
    if tensor is None:
        return None
    return Factor(value.name, tensor.shape, tensor.exact, stored=lambda: _stored(tensor))


def _stored(tensor: Tensor) -> Float64:
    return tensor.array().astype(np.float64)


def _applied(factor: Factor, function: Callable[[Float64], Float64]) -> Factor:
    def applied(numbers: Callable[[], Float64]) -> Float64:
        with np.errstate(divide="ignore"):
            return function(numbers())

    numbers, stored = factor.numbers, factor.stored or factor.numbers
    return Factor(
        factor.name, factor.shape, lambda: applied(numbers), stored=lambda: applied(stored)
    )
