"""Layers that multiply by constant weights: Convolution, Deconvolution, FullyConnected.

All of them compute y = W x + b with one b for each output channel, so a scale of the output's or
of the input's channels can go into W and b. They differ in where the channels are in W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Float64, FoldedWeights, Tensor
from trtfuse.layers.scale import Scale, not_constant
from trtfuse.layers.window import Window, misfit
from trtfuse.rewrite.condition import FOLDED_CONSTANTS, Condition
from trtfuse.rewrite.replacement import Replacement

#: What the report has where a convolution is none whose weights can be changed.
CONVOLUTION = Condition(
    "conv", "The convolution is one whose weights and bias are constant.", FOLDED_CONSTANTS
)
#: The same of a matrix product.
PRODUCT = Condition(
    "product",
    "The product is one by constant weights, with a constant bias or none.",
    FOLDED_CONSTANTS,
)


@dataclass(frozen=True, slots=True)
class Linear:
    """y = W x + b.

    Attributes:
        nodes: the nodes that compute it, the last one first; the product is the last.
        x: what is multiplied.
        w, weight: the weights, as a value and as its constant.
        b, bias: the bias likewise, or None.
        rank: the rank of y.
        axis, channels: where in y the channels are, and how many.
        in_axis, in_channels: the same of x.
    """

    operators: ClassVar[tuple[str, ...]] = ()
    condition: ClassVar[Condition]
    title: ClassVar[str] = ""
    longest: ClassVar[int] = 1

    nodes: tuple[Node, ...]
    x: Value
    w: Value
    weight: Tensor
    b: Value | None
    bias: Tensor | None
    rank: int
    axis: int
    channels: int
    in_axis: int
    in_channels: int

    @property
    def product(self) -> Node:
        """The convolution or matrix product itself."""
        return self.nodes[-1]

    def exact_bias(self) -> Float64 | None:
        """What is added to the product, float64; None for nothing."""
        return None if self.bias is None else self.bias.exact()

    def rows(self, scale: Float64) -> Float64:
        """A scale of the output's channels, of shape (1,) or (channels,), in the layout of W."""
        raise NotImplementedError

    def columns(self, scale: Float64) -> Float64:
        """A scale of the input's channels, of shape (1,) or (in_channels,), in the layout of W."""
        raise NotImplementedError

    def rebuilt(self, new: Replacement, x: Value, w: Value, b: Value | None) -> Value:
        """The layer with another input, weights and bias."""
        raise NotImplementedError

    def response(self, shift: Float64) -> Float64:
        """What a constant (1,) or (in_channels,) added to x adds to y: (channels,).

        For a convolution this holds only without padding.
        """
        raise NotImplementedError

    def then_scaled(self, new: Replacement, scale: Float64 | None, shift: Float64 | None) -> Value:
        """Y * scale + shift as one layer; both of shape (1,) or (channels,), None for 1 and 0."""
        w = self.w
        if scale is not None:
            w = new.constant(self.weight.scaled(self.rows(scale)), self.weight.type, self.w)
        return self.rebuilt(new, self.x, w, self._new_bias(new, scale, shift))

    def of_scaled(
        self, new: Replacement, x: Value, scale: Float64 | None, shift: Float64 | None
    ) -> Value:
        """The layer of x * scale + shift, as one layer of x."""
        w = self.w
        if scale is not None:
            w = new.constant(self.weight.scaled(self.columns(scale)), self.weight.type, self.w)
        added = None if shift is None else self.response(shift)
        return self.rebuilt(new, x, w, self._new_bias(new, None, added))

    def _new_bias(
        self, new: Replacement, scale: Float64 | None, shift: Float64 | None
    ) -> Value | None:
        bias = self.exact_bias()
        if shift is None and (scale is None or bias is None):
            return self.b
        if bias is not None and scale is not None:
            bias = bias * scale
        if shift is not None:
            bias = np.zeros(self.channels) + shift + (0 if bias is None else bias)
        like = self.b or f"{self.product.label}.bias"
        return new.constant(np.asarray(bias), self.weight.type, like)


def _by_group(scale: Float64, groups: int, rows: int) -> Float64:
    """Spreads a scale over weights whose `rows` first-axis entries are shared out to the groups.

    Returns (rows, channels of one group), or (1, 1) for a single number.
    """
    if scale.size == 1:
        return scale.reshape(1, 1)
    return np.repeat(scale.reshape(groups, -1), rows // groups, axis=0)


@dataclass(frozen=True, slots=True)
class Convolution(Linear):
    """A convolution (Conv) or deconvolution (ConvTranspose), 1-D, 2-D or 3-D.

    The weights are (M, C / group, ...) and (C, M / group, ...) for C input and M output channels.
    """

    operators: ClassVar[tuple[str, ...]] = ("Conv", "ConvTranspose")
    condition: ClassVar[Condition] = CONVOLUTION
    title: ClassVar[str] = "a Conv or ConvTranspose with constant weights"

    @property
    def group(self) -> int:
        """In how many groups the channels are convolved."""
        return int(self.product.attribute("group"))

    @property
    def transposed(self) -> bool:
        """Whether it is a deconvolution."""
        return self.product.op == "ConvTranspose"

    @property
    def padding(self) -> str | None:
        """What padding there is, for messages; None if there is certainly none."""
        auto = self.product.attribute("auto_pad")
        if auto not in ("NOTSET", "VALID"):
            return f"auto_pad is {auto}"
        pads = self.product.attribute("pads", [])
        return f"its pads are {list(pads)}" if any(pads) and auto == "NOTSET" else None

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        x, w, b = node.operand(0), node.operand(1), node.input(2)
        weight, bias = constant(w), constant(b)
        if weight is None:
            return f"the weights `{w.name}` are {not_constant(w)}"
        if b is not None and bias is None:
            return f"the bias `{b.name}` is {not_constant(b)}"
        group, rank = int(node.attribute("group")), len(weight.shape)
        if rank < 3 or group < 1 or weight.shape[0] % group:
            own = f"the weights `{w.name}` of shape {list(weight.shape)}"
            return f"{own} cannot be split into {group} groups"
        misfits = misfit(node, rank - 2)
        if misfits is not None:
            return misfits
        first, second = weight.shape[0], weight.shape[1] * group
        channels, in_channels = (second, first) if node.op == "ConvTranspose" else (first, second)
        if b is not None and bias is not None and bias.shape != (channels,):
            return f"the bias `{b.name}` has shape {list(bias.shape)}, not [{channels}]"
        return cls((node,), x, w, weight, b, bias, rank, 1, channels, 1, in_channels)

    def smallest_input(self) -> tuple[int, ...]:
        """Spatial sizes that the kernel fits twice without padding."""
        window = Window.of(self.product)
        assert window is not None
        return window.smallest_input()

    def _first_axis(self, scale: Float64) -> Float64:
        return scale.reshape(-1, *(1,) * (self.rank - 1))

    def _both_axes(self, scale: Float64) -> Float64:
        spread = _by_group(scale, self.group, self.weight.shape[0])
        return spread.reshape(*spread.shape, *(1,) * (self.rank - 2))

    def rows(self, scale: Float64) -> Float64:
        return self._both_axes(scale) if self.transposed else self._first_axis(scale)

    def columns(self, scale: Float64) -> Float64:
        return self._first_axis(scale) if self.transposed else self._both_axes(scale)

    def response(self, shift: Float64) -> Float64:
        assert not self.transposed, "how many taps reach an output differs in a deconvolution"
        weight = self.weight.exact() * self.columns(shift)
        return np.asarray(weight.reshape(self.channels, -1).sum(axis=1))

    def rebuilt(self, new: Replacement, x: Value, w: Value, b: Value | None) -> Value:
        return new.again(self.product, x, w, b)


def misspelled_transposition(node: Node) -> str | None:
    """Why it is unclear whether a Gemm transposes its operands: what is neither yes nor no."""
    given = [node.attribute(name, 0) for name in ("transA", "transB")]
    return None if {*given} <= {0, 1} else f"its transA and transB are {given}, not 0 or 1"


@dataclass(frozen=True, slots=True)
class FullyConnected(Linear):
    """A product with constant weights: Gemm, or MatMul with or without the Add of a bias.

    The last two dimensions of the weights are (K, N), or (N, K) for a Gemm with transB.
    """

    operators: ClassVar[tuple[str, ...]] = ("Gemm", "MatMul", "Add")
    condition: ClassVar[Condition] = PRODUCT
    title: ClassVar[str] = "a Gemm or MatMul by constant weights"
    longest: ClassVar[int] = 2

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        match node.op:
            case "Gemm":
                return cls._of_gemm(node)
            case "MatMul":
                return cls._of_matmul(node)
        added = Scale.of(node)
        if not isinstance(added, Scale) or added.shift is None or added.x.producer is None:
            return None
        product = added.x.producer
        seen = cls._of_matmul(product) if product.op == "MatMul" else None
        if not isinstance(seen, cls) or added.shift.not_one_per_channel(
            seen.axis, seen.rank, seen.channels
        ):
            return None
        b = next(v for v in node.inputs if v is not added.x)
        return cls(
            (node, product), seen.x, seen.w, seen.weight, b, constant(b),
            seen.rank, seen.axis, seen.channels, seen.in_axis, seen.in_channels,
        )  # fmt: skip

    @classmethod
    def _of_gemm(cls, node: Node) -> Self | str | None:
        x, w, b = node.operand(0), node.operand(1), node.input(2)
        weight, bias = constant(w), constant(b)
        if weight is None:
            return f"the weights `{w.name}` are {not_constant(w)}"
        if b is not None and bias is None:
            return f"the bias `{b.name}` is {not_constant(b)}"
        if len(weight.shape) != 2:
            return f"the weights `{w.name}` have shape {list(weight.shape)}, not two dimensions"
        if unclear := misspelled_transposition(node):
            return unclear
        k, n = weight.shape[::-1] if node.attribute("transB") else weight.shape
        if bias is not None and (len(bias.shape) > 2 or bias.shape[-1:] not in ((), (1,), (n,))):
            assert b is not None
            return f"the bias `{b.name}` of shape {list(bias.shape)} does not broadcast to [M, {n}]"
        in_axis = 0 if node.attribute("transA") else 1
        return cls((node,), x, w, weight, b, bias, 2, 1, n, in_axis, k)

    @classmethod
    def _of_matmul(cls, node: Node) -> Self | str | None:
        x, w = node.operand(0), node.operand(1)
        weight = constant(w)
        if weight is None or len(weight.shape) < 2:
            return None
        if x.rank is None:
            return rank_not_known(x)
        if x.rank < 2:
            return None
        rank = max(x.rank, len(weight.shape))
        k, n = weight.shape[-2:]
        return cls((node,), x, w, weight, None, None, rank, rank - 1, n, x.rank - 1, k)

    @property
    def alpha(self) -> float:
        """What a Gemm multiplies its product by."""
        return float(self.product.attribute("alpha", 1.0))

    @property
    def bias_rows(self) -> int:
        """How many rows the bias of a Gemm has; it fixes those of the product if they are many."""
        shape = () if self.bias is None else self.bias.shape
        return shape[0] if self.product.op == "Gemm" and len(shape) == 2 else 1

    @property
    def takes_bias(self) -> bool:
        """Whether there is a place for a bias: in a Gemm, in an Add, or since it can be a Gemm."""
        gemm_or_add = len(self.nodes) == 2 or self.rank == 2
        return gemm_or_add and len(self.weight.shape) == 2

    def exact_bias(self) -> Float64 | None:
        if self.bias is None:
            return None
        return self.bias.exact() * float(self.product.attribute("beta", 1.0))

    def _matrix(self) -> Float64:
        """The weights as (K, N), float64."""
        weight = self.weight.exact()
        return weight.T if self._transposed() else weight

    def after(self, new: Replacement, first: FullyConnected) -> Value:
        """The layer of what another computes, as one layer of what that one computes from.

        The weights of both are matrices, and the bias of the first has one row.
        """
        matrix = first.alpha * first._matrix() @ self._matrix()
        weight = (
            FoldedWeights(matrix.T, self.weight.type, 0)
            if self._transposed()
            else FoldedWeights(matrix, self.weight.type, 1)
        )
        w = new.constant(weight, self.weight.type, self.w)
        before = first.exact_bias()
        if before is None:
            return self.rebuilt(new, first.x, w, self.b)
        row = np.broadcast_to(before.reshape(-1), (first.channels,))
        b = self._new_bias(new, None, self.alpha * row @ self._matrix())
        if self.takes_bias:
            return self.rebuilt(new, first.x, w, b)
        product = self.rebuilt(new, first.x, w, None)
        product.know(self.product.output.type, self.product.output.shape)
        return new.Add(product, b, like=first.nodes[0])

    def _transposed(self) -> bool:
        return bool(self.product.attribute("transB"))

    def _along(self, scale: Float64, axis: int) -> Float64:
        shape = [1] * len(self.weight.shape)
        shape[axis] = -1
        return scale.reshape(shape)

    def rows(self, scale: Float64) -> Float64:
        return self._along(scale, -2 if self._transposed() else -1)

    def columns(self, scale: Float64) -> Float64:
        return self._along(scale, -1 if self._transposed() else -2)

    def response(self, shift: Float64) -> Float64:
        weight = self.weight.exact() * self.columns(shift)
        return np.asarray(self.alpha * weight.sum(axis=1 if self._transposed() else 0))

    def rebuilt(self, new: Replacement, x: Value, w: Value, b: Value | None) -> Value:
        if self.product.op == "Gemm":
            return new.again(self.product, x, w, b, **({} if b is self.b else {"beta": 1.0}))
        if b is None:
            return new.again(self.product, x, w)
        if self.rank == 2:
            return new.Gemm(x, w, b, like=self.product)
        product = new.again(self.product, x, w)
        product.know(self.product.output.type, self.product.output.shape)
        return new.again(self.nodes[0], product, b)
