"""The groups of one graph while they are found: which node is in which, and what stood in the way.

A group has one node, its last, whose output is read outside; what the others compute is read
inside only. So no path leaves a group and comes back: whatever leaves it comes from the last node,
and whatever enters it leads to the last node, so such a path would be a cycle. For the same reason
the graph of groups has no cycle either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import equal
from trtfuse.analysis.wording import shape_not_known, shown
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.rewrite.condition import NO_OTHER_READER, Condition
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.refusal import Reason, Refusal
from trtfuse.rewrite.rule import GroupRule

#: What holds for every group.
ONE_CONSUMER = Condition(
    "only-read-inside",
    "Values computed inside a group are read only inside it, and none of them is an output.",
    NO_OTHER_READER,
)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Nodes that one kernel runs.

    Attributes:
        rule: the name of the rule.
        nodes: each after those it reads from; the output of the last is that of the group.
        name: as TensorRT names the layer: `conv1 + relu1`.
        note: what else there is to say of it, or None.
    """

    rule: str
    nodes: tuple[Node, ...]
    name: str
    note: str | None = None

    @property
    def last(self) -> Node:
        """The node whose output the group has."""
        return self.nodes[-1]


class Partition:
    """The groups of one graph.

    Args:
        graph: what is divided; not changed.
        chosen: the names of the rules that may form groups.
        limit: the bytes of shared memory that the weights of one product may take in an MLP.
        target: how to call what has that much shared memory.

    Attributes:
        order: all nodes, in a topological order that does not depend on the file.
        rank: the place of each node in it.
        group_of: the group of each node that is in one.
        declined: what was not grouped, and why.
    """

    def __init__(self, graph: Graph, chosen: frozenset[str], limit: int, target: str) -> None:
        self.graph = graph
        self.chosen = chosen
        self.limit = limit
        self.target = target
        self.order = tuple(graph.canonical())
        self.rank = {node: place for place, node in enumerate(self.order)}
        self.group_of: dict[Node, Group] = {}
        self.refused: list[Refusal] = []
        self._said: set[tuple[str, Node]] = set()

    @property
    def groups(self) -> list[Group]:
        """The groups, in the order of their last nodes."""
        groups = dict.fromkeys(self.group_of.values())
        return sorted(groups, key=lambda group: self.rank[group.last])

    def allows(self, rule: GroupRule) -> bool:
        """Whether a rule is among those that were asked for."""
        return rule.name in self.chosen

    def free(self, node: Node | None) -> bool:
        """Whether a node is of this graph, and in no group yet."""
        return node is not None and node in self.rank and node not in self.group_of

    def form(
        self,
        rule: GroupRule,
        nodes: Iterable[Node],
        name: str | None = None,
        note: str | None = None,
    ) -> Group:
        """Makes a group of nodes, also of those that are all of a smaller group."""
        ordered = tuple(sorted(set(nodes), key=self.rank.__getitem__))
        group = Group(rule.name, ordered, name or joined(ordered), note)
        for node in ordered:
            self.group_of[node] = group
        return group

    def decline(self, rule: GroupRule, at: Node, guard: Condition, because: str) -> None:
        """Notes why a group was not formed or did not grow, once for each rule and node."""
        if self.allows(rule) and (rule.name, at) not in self._said:
            self._said.add((rule.name, at))
            self.refused.append(Refusal(rule.name, at, (Reason(guard, because),), (at,)))

    def open_value(self, nodes: Iterable[Node], last: Node) -> str | None:
        """Why nodes are no group: a value inside is read outside; None if they can be one."""
        inside = tuple(nodes)
        for node in inside:
            for value in node.outputs:
                if node is not last and value is not None:
                    why_not = consumers(value, inside)
                    if why_not is not None:
                        return why_not
        others = [v for v in last.outputs[1:] if v is not None and (v.uses or v.outputs)]
        return f"`{others[0].name}` is read as well" if others else None


def joined(nodes: Iterable[Node]) -> str:
    """The name of a layer that several nodes became, as TensorRT has it."""
    return " + ".join(node.label for node in nodes)


def only_reader(value: Value) -> Node | None:
    """The one node that reads a value; None if there are more, or it is an output of the graph.

    Also None where it is only a body of the node that reads the value.
    """
    if value.outputs or len(value.uses) != 1:
        return None
    (reader,) = value.uses
    return reader if any(operand is value for operand in reader.inputs) else None


def other_operand(node: Node, value: Value) -> Value | None:
    """What a node of two inputs reads besides a value; None if it reads something else, or both."""
    if len(node.inputs) != 2 or node.inputs[0] is node.inputs[1]:
        return None
    first, second = node.inputs
    return second if first is value else first if second is value else None


def computed(value: Value | None) -> bool:
    """Whether there is a value and it is no constant."""
    return value is not None and constant(value) is None


def same_shape(one: Value, other: Value, *, batch: bool = False) -> str | None:
    """None if two values certainly have the same shape; else the sentence.

    Args:
        one: a value.
        other: a value.
        batch: whether either may have 1 as its first dimension where the other has more.
    """
    a, b = one.shape, other.shape
    for value, shape in ((one, a), (other, b)):
        if shape is None:
            return shape_not_known(value)
    assert a is not None
    assert b is not None
    alike = len(a) == len(b) and all(
        equal(x, y) or (batch and axis == 0 and 1 in (x, y))
        for axis, (x, y) in enumerate(zip(a, b, strict=False))
    )
    if alike:
        return None
    return f"`{one.name}` has shape {shown(a)} and `{other.name}` has shape {shown(b)}"
