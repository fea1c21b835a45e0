"""A layer that slides a kernel over the spatial axes of its input: convolution and pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.rewrite.condition import Condition

WINDOW = Condition(
    "window",
    "The node is a convolution or a pooling with explicit pads.",
)


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution, deconvolution or pooling, whatever its weights.

    Attributes:
        node: the node that computes it.
        x: what it slides over.
        kernel: the sizes of the kernel.
        channels: how many channels x has, as far as that is known.
    """

    operators: ClassVar[tuple[str, ...]] = ("Conv", "ConvTranspose", "AveragePool", "MaxPool")
    condition: ClassVar[Condition] = WINDOW
    title: ClassVar[str] = "a convolution or pooling"
    longest: ClassVar[int] = 1

    node: Node
    x: Value
    kernel: tuple[int, ...]
    channels: int | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.node,)

    @classmethod
    def of(cls, node: Node) -> Self | None:
        x, weights = node.operand(0), node.input(1)
        tensor = constant(weights)
        shape = tensor.shape if tensor is not None else None if weights is None else weights.shape
        listed = node.attribute("kernel_shape") or (shape and shape[2:])
        kernel = tuple(size for size in listed or () if isinstance(size, int))
        if not listed or len(kernel) < len(listed) or misfit(node, len(kernel)) is not None:
            return None
        return cls(node, x, kernel, _channels(node, x, shape))

    @property
    def rank(self) -> int:
        """The rank of x: batch, channels, and one for each size of the kernel."""
        return len(self.kernel) + 2

    @property
    def auto_pad(self) -> str:
        """NOTSET where the pads are listed."""
        return str(self.node.attribute("auto_pad"))

    @property
    def pads(self) -> list[int]:
        """Its own pads, all the beginnings and then all the ends; those that auto_pad gives not."""
        listed = self.node.attribute("pads") if self.auto_pad == "NOTSET" else None
        return list(listed or [0] * (2 * len(self.kernel)))

    @property
    def strides(self) -> list[int]:
        """Its strides."""
        return list(self.node.attribute("strides") or [1] * len(self.kernel))

    def smallest_input(self) -> tuple[int, ...]:
        """Spatial sizes that the kernel fits twice without padding."""
        if self.node.op == "ConvTranspose":
            return tuple(2 for _ in self.kernel)
        dilations = self.node.attribute("dilations") or [1] * len(self.kernel)
        return tuple(
            dilation * (size - 1) + 1 + stride
            for size, dilation, stride in zip(self.kernel, dilations, self.strides, strict=True)
        )


def misfit(node: Node, axes: int) -> str | None:
    """Which attribute does not fit the number of spatial axes; no runtime runs the layer then."""
    for name in ("kernel_shape", "strides", "dilations", "pads"):
        listed = node.attribute(name)
        if listed and len(listed) != axes * (2 if name == "pads" else 1):
            return f"its {name} are {list(listed)}, which do not fit {axes} spatial axes"
    return None


def _channels(node: Node, x: Value, weights: Shape | None) -> int | None:
    """How many channels go in, by the weights or by what is known of x."""
    if weights is not None and len(weights) > 2:
        own = weights[0 if node.op == "ConvTranspose" else 1]
        if isinstance(own, int):
            return own * int(node.attribute("group")) if node.op == "Conv" else own
    size = x.shape[1] if x.shape is not None and len(x.shape) > 1 else None
    return size if isinstance(size, int) else None
