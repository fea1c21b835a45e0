"""How a graph is changed: by the driver for a rule, and by graph-wide rules through an editor."""

from __future__ import annotations

from collections.abc import Iterable

from trtfuse.analysis.constants import became_constant, constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.rewrite.replacement import Replacement


def must_keep_name(old: Value, result: Value) -> bool:
    """Whether a value cannot take over the name of an output, being known by its own."""
    if result.graph is not old.graph or result.outputs:
        return True
    # Among nodes alone, a constant is written as one, which may be called anything.
    written = result.graph.constants_are_nodes and result in result.graph.initializers
    return result.producer is None and not written


def substitute(old: Value, result: Value) -> Node | None:
    """Lets a value take the place of another, its name included if it can.

    Returns:
        An Identity that carries it from one name to the other, to be inserted, where both are known
        outside; else None.
    """
    graph = old.graph
    keep = old.outputs and must_keep_name(old, result)
    graph.replace_uses(old, result)
    if constant(result) is not None:
        became_constant(result)
    if keep:
        new = Replacement(graph)
        new.Identity(result, like=old.producer)
        (identity,) = new.nodes
        identity.outputs = [old]
        return identity
    if old.outputs:
        graph.take_name(result, old)
    return None


class GraphEditor:
    """What a `GraphRule` reads a graph through, and changes it with.

    Every change is checked: what is taken out is read by nothing, and what is put in comes behind
    what it reads.

    Attributes:
        graph: the graph, to be read.
        added: the nodes that were put in.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.added: list[Node] = []

    def read_instead(self, old: Value, new: Value) -> None:
        """Lets every node that reads `old` read `new`. Outputs of the graph are left alone."""
        self.graph.replace_uses(old, new)

    def substitute(self, old: Value, result: Value) -> None:
        """Lets a value take the place of another, as an output of the graph too."""
        producer = old.producer
        identity = substitute(old, result)
        if identity is not None:
            self.graph.insert(identity, producer)
            self.added.append(identity)

    def inline(self, owner: Node, body: Graph, names: set[str]) -> None:
        """Puts the nodes of a body in the place of its owner (`Graph.inline`), and takes that out.

        Args:
            owner: the node; nothing reads it afterwards.
            body: one of its bodies.
            names: those of the nodes of this graph; kept up to date.
        """
        self.added += self.graph.inline(owner, body, names)
        for old, result in zip(owner.outputs, body.outputs, strict=True):
            if old is not None:
                self.substitute(old, result)
        self.remove(owner)

    def move(self, node: Node, before: Node) -> None:
        """Puts a node in front of an earlier one that reads nothing from in between."""
        self.graph.move(node, before)

    def remove(self, node: Node) -> None:
        """Takes out a node that nothing reads."""
        self.graph.remove(node)

    def remove_constant(self, value: Value) -> None:
        """Takes out an initializer that nothing reads."""
        self.graph.remove_initializer(value)

    def leave_out(self, node: Node, inputs: Iterable[int]) -> None:
        """Lets a node go without some optional inputs."""
        self.graph.leave_out(node, inputs)
