"""The laws of rewriting, held against what happens: for tests, since it takes time.

Matching, guards, builders and checks change nothing; a commit changes nothing outside the match
but what reads its results; and the use-def chains are what a rebuild from scratch finds. The
environment variable `TRTFUSE_DEBUG` turns it on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence

from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.model.model import Model
from trtfuse.rewrite.pattern import Match

#: Whether rewrites are watched.
ENABLED = bool(os.environ.get("TRTFUSE_DEBUG"))
#: Models with more nodes are not: each attempt takes a look at all of them.
_MOST_NODES = 200

#: What a node is: its operator, attributes and name, what it reads, and what it computes.
_State = tuple[str, bytes, tuple[Value | None, ...], tuple[Value | None, ...]]


class LawBrokenError(AssertionError):
    """A rule, a guard, a check or the driver does what it must not do."""


class Watch:
    """Compares a model with what it was when the watch began."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._before = _states(model)

    def nothing_changed(self, rule: str) -> None:
        """Raises if a node, its place or its wires are different before a rule is committed."""
        now = _states(self.model)
        if now != self._before or list(now) != list(self._before):
            raise LawBrokenError(f"trying rule '{rule}' changed the graph")

    def committed(self, rule: str, match: Match, results: Sequence[Value | None]) -> None:
        """Raises if a commit changed what is outside the match, but for reading its results."""
        now, root = _states(self.model), match.root
        instead = dict(zip(root.outputs, results, strict=False))
        for node, (operator, content, inputs, outputs) in self._before.items():
            if node in match.nodes:
                continue
            if node not in now:
                # What only the match needed goes with it.
                if any(value is not None and _is_needed(value, now) for value in outputs):
                    raise LawBrokenError(f"rule '{rule}' took out {node.label}")
                continue
            wires = tuple(v if v not in instead or v is None else instead[v] for v in inputs)
            # Where a body captures the result already, its nodes read that.
            allowed = (inputs, wires) if node.graph is root.graph else (now[node][2],)
            if now[node][:2] != (operator, content) or now[node][2] not in allowed:
                raise LawBrokenError(f"rule '{rule}' changed {node.label}, outside its match")
            if now[node][3] != outputs:
                raise LawBrokenError(f"rule '{rule}' changed what {node.label} computes")
        check_uses(self.model)


def _is_needed(value: Value, nodes: Collection[Node]) -> bool:
    """Whether one of the nodes of a model reads a value, or it is an output of a graph there."""
    owner = value.graph.owner
    there = owner is None or owner in nodes
    return there and (bool(value.outputs) or any(reader in nodes for reader in value.uses))


def _states(model: Model) -> dict[Node, _State]:
    return {
        node: (
            node.op,
            node.proto.SerializeToString(deterministic=True),
            tuple(node.inputs),
            tuple(node.outputs),
        )
        for graph in model.graphs()
        for node in graph.nodes()
    }


def is_watched(model: Model) -> bool:
    """Whether rewrites of a model are watched."""
    if not ENABLED:
        return False
    return sum(1 for graph in model.graphs() for _ in graph.nodes()) <= _MOST_NODES


def check_uses(model: Model) -> None:
    """Raises where the use-def chains are not what the nodes and outputs of the graphs say."""
    reads: dict[Value, Counter[Node]] = {}
    listed: Counter[Value] = Counter()
    values: set[Value] = set()
    for graph in model.graphs():
        listed.update(graph.outputs)
        values.update((*graph.inputs, *graph.initializers, *graph.captures.values()))
        seen: set[Value] = {*graph.inputs, *graph.initializers, *graph.sparse}
        seen.update(graph.captures.values())
        for node in graph.nodes():
            _check_node(graph, node, seen)
            for value in node.inputs:
                if value is not None:
                    reads.setdefault(value, Counter())[node] += 1
            for value in node.captured():
                reads.setdefault(value, Counter())[node] += 1
            values.update(value for value in node.outputs if value is not None)
    for value in values | reads.keys():
        if dict(reads.get(value, {})) != value.uses:
            raise LawBrokenError(f"the uses of `{value.name}` are not the nodes that read it")
        if listed[value] != value.outputs:
            raise LawBrokenError(f"`{value.name}` is not as often an output as it says")


def _check_node(graph: Graph, node: Node, seen: set[Value]) -> None:
    if node.graph is not graph:
        raise LawBrokenError(f"{node.label} is listed in a graph that it is not of")
    for value in (*node.inputs, *node.captured()):
        if value is not None and value not in seen:
            raise LawBrokenError(f"{node.label} reads `{value.name}` before it is computed")
    for value in node.outputs:
        if value is not None:
            if value.producer is not node:
                raise LawBrokenError(f"`{value.name}` does not know {node.label}, which makes it")
            seen.add(value)
