"""What a view is: the knowledge of one layer of TensorRT, written once for all rules."""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.condition import Condition


class View(Protocol):
    """A node, or a few, seen as one layer of TensorRT.

    Attributes:
        operators: the operators that can be the last node of such a layer.
        condition: that a node is such a layer; the report names it where one looks so and is not.
        title: the layer in a few words.
        longest: how many nodes it is made of at most.
        nodes: the nodes that make it up, the last one first.
        x: what it computes from.
    """

    operators: ClassVar[tuple[str, ...]]
    condition: ClassVar[Condition]
    title: ClassVar[str]
    longest: ClassVar[int]

    @property
    def nodes(self) -> tuple[Node, ...]: ...

    @property
    def x(self) -> Value: ...

    @classmethod
    def of(cls, node: Node) -> Self | str | None:
        """The view of a node; why it has none although it looks so; None if it does not."""
