"""What stands behind the entries of a report: origins, pictures, costs, and the graph as a whole.

All of it is worked out when somebody asks for the report as JSON or as a page, and not before:
fusing a model does not wait for it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trtfuse.analysis.products import MADE_UP
from trtfuse.check.rewrite import TOLERANCE
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.ir.tensor import type_name
from trtfuse.model.model import Model
from trtfuse.result.estimate import cost, is_known
from trtfuse.rewrite.driver import Fused
from trtfuse.rewrite.refusal import Refusal
from trtfuse.rewrite.rule import CATALOGUE, cleans_up

#: An entry names so many original nodes, the nearest first; `complete` is false if
#: there are more.
MOST_ORIGINS = 64
#: A picture has at most so many nodes on a side.
MOST_DRAWN = 40
#: A graph of more nodes is not laid out as a whole.
MOST_LAID_OUT = 20_000

#: What happened to a node of the original.
KEPT, FUSED, CLEANED, GROUPED, DECLINED = "kept", "fused", "cleaned", "grouped", "declined"

#: A node as it was at some time: itself, what it read, and what it computed.
Drawn = tuple[Node, tuple[Value | None, ...], tuple[Value | None, ...]]


@dataclass
class Details:
    """What a report has besides its plain entries, as JSON has it.

    Attributes:
        fused: for each rewrite and then each group, in order, what is added to its entry.
        provenance: for each node of the result that a rewrite made: `node` and `origin`.
        cost: `before` and `after`: what all nodes cost (`trtfuse.result.estimate`).
        pictures: the distinct neighbourhoods.
        graph: the original as a whole; None if it is too large.
    """

    fused: list[dict[str, Any]] = field(default_factory=list)
    provenance: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    graph: dict[str, Any] | None = None


#: Operators whose result has the shape of their first input, where no broadcast widens it.
_SAME_SHAPE = frozenset(
    ("Add", "BatchNormalization", "Div", "Mul", "Neg", "Relu", "Sigmoid", "Sub", "Tanh")
)


class Trace:
    """What a run leaves behind to tell more of it.

    Args:
        model: as read; take the trace before anything is changed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.original = _nodes(model)
        self.fused: Sequence[Fused] = ()
        self.refused: Sequence[Refusal] = ()
        self.groups: list[list[Drawn]] = []
        self.result: list[Node] = self.original
        self._details: Details | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The nodes of a graph lead from one to the next, deeper than anything can recurse.
        return _finished, (self.details(),)

    def done(self, fused: Sequence[Fused], refused: Sequence[Refusal]) -> None:
        """Says what was rewritten, when it is."""
        self.fused, self.refused = fused, refused
        self.result = _nodes(self.model)

    def grouped(self, groups: Iterable[Iterable[Node]], refused: Sequence[Refusal]) -> None:
        """Says which nodes are one kernel, before anything is made of that.

        Args:
            groups: the nodes of each group, in the order of their entries in the report.
            refused: what was not grouped.
        """
        self.refused = [*self.refused, *refused]
        self.groups += [
            [(node, tuple(node.inputs), tuple(node.outputs)) for node in nodes] for nodes in groups
        ]

    def details(self) -> Details:
        """Works everything out, the first time it is asked for."""
        if self._details is None:
            self._details = _Tracing(self).details()
        return self._details


def _finished(details: Details) -> Trace:
    """A trace of which only the details are left."""
    trace = Trace.__new__(Trace)
    trace._details = details
    return trace


class _Tracing:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        # The original is read again: the nodes at hand have been changed, its proto has not.
        self.before = Model(trace.model.proto, trace.model.folder)
        self.before.infer_shapes()
        trace.model.infer_shapes()
        self.nodes_before = _nodes(self.before)
        self.after = trace.result
        self.twins = self._twins()
        self.shapes = self._shapes()
        self.drawn: dict[str, int] = {}
        self.pictures: list[dict[str, Any]] = []

    def _twins(self) -> dict[Value, Value]:
        """For each value of the original, the same value as it was read anew."""
        twins: dict[Value, Value] = {}
        for node, again in zip(self.trace.original, self.nodes_before, strict=True):
            wires = (*node.outputs, *node.inputs), (*again.outputs, *again.inputs)
            for value, twin in zip(*wires, strict=False):
                if value is not None and twin is not None and twin.name == value.name:
                    twins.setdefault(value, twin)
        return twins

    def _shapes(self) -> dict[Value, Shape]:
        """Shapes of the original's values that only inference on the result finds.

        There it gets further, since shape arithmetic has become constant.
        """
        after = {v.name: v.shape for n in self.after for v in n.outputs if v is not None}
        shapes: dict[Value, Shape] = {}
        for node in reversed(self.nodes_before):
            for value in node.outputs:
                told = None if value is None else after.get(value.name)
                if value is not None and told is not None and not is_known(value.shape):
                    shapes[value] = told
            first = node.input(0)
            if node.op in _SAME_SHAPE and first is not None and not is_known(first.shape):
                shape = shapes.get(node.output, node.output.shape)
                if shape is not None and is_known(shape):
                    shapes.setdefault(first, shape)
        return shapes

    def before_known(self, value: Value) -> tuple[int | None, Shape | None]:
        """The type and shape of a value of the original."""
        return value.type, self.shapes.get(value, value.shape)

    def known(self, value: Value) -> tuple[int | None, Shape | None]:
        """The type and shape of a value, also of one that is gone."""
        element_type, shape = value.known if value.source is None else (value.type, value.shape)
        twin = self.twins.get(value)
        if twin is not None and not (element_type and is_known(shape)):
            return self.before_known(twin)
        if not element_type and value.tensor is not None:
            return value.tensor.type, value.tensor.shape
        return element_type, shape

    def details(self) -> Details:
        made = [node for node in self.after if node.replaces]
        costs = {
            "before": asdict(cost(self.nodes_before, self.before_known)),
            "after": asdict(cost(self.after, self.known)),
        }
        details = Details(cost=costs)
        details.fused = [self._of(fusion) for fusion in self.trace.fused]
        details.fused += [self._of_group(nodes) for nodes in self.trace.groups]
        details.provenance = [
            {"node": node.label, "origin": [source.label for source in _origin([node])]}
            for node in made
        ]
        details.pictures = self.pictures
        if len(self.nodes_before) <= MOST_LAID_OUT:
            details.graph = self._graph()
        return details

    def _of(self, fusion: Fused) -> dict[str, Any]:
        origin = _origin(fusion.nodes, MOST_ORIGINS + 1)
        picture, wires = self._picture(fusion)
        return {
            "origin": [node.label for node in origin[:MOST_ORIGINS]],
            "complete": len(origin) <= MOST_ORIGINS,
            "kept": [node.label for node in fusion.kept],
            "check": _check(fusion),
            "saved": self._saved(fusion),
            "picture": picture,
            "wires": wires,
        }

    def _of_group(self, nodes: list[Drawn]) -> dict[str, Any]:
        origin = _origin((node for node, *_ in nodes), MOST_ORIGINS + 1)
        picture, wires = self._draw(nodes, [])
        return {
            "origin": [node.label for node in origin[:MOST_ORIGINS]],
            "complete": len(origin) <= MOST_ORIGINS,
            "kept": [],
            "check": None,
            "saved": None,
            "picture": picture,
            "wires": wires,
        }

    def _saved(self, fusion: Fused) -> dict[str, int] | None:
        before = cost(fusion.nodes, self.known)
        after = cost((*fusion.kept, *fusion.into), self.known)
        if before.uncounted or after.uncounted:
            return None
        return {
            "operations": before.operations - after.operations,
            "bytes": before.bytes - after.bytes,
        }

    def _picture(self, fusion: Fused) -> tuple[int | None, list[str]]:
        """The number of a picture of a neighbourhood, and the names of its values."""
        sides = fusion.nodes, (*fusion.kept, *fusion.into)
        if set(fusion.nodes) == set(fusion.into):
            return None, []
        before, after = ([(n, tuple(n.inputs), tuple(n.outputs)) for n in side] for side in sides)
        return self._draw(before, after)

    def _draw(self, before: list[Drawn], after: list[Drawn]) -> tuple[int | None, list[str]]:
        if max(len(before), len(after)) > MOST_DRAWN:
            return None, []
        index: dict[Value, int] = {}
        drawn: list[list[list[Any]]] = []
        for side in (before, after):
            drawn.append([])
            for node, inputs, outputs in side:
                reads = [index.setdefault(v, len(index)) for v in inputs if v is not None]
                makes = [index.setdefault(v, len(index)) for v in outputs if v is not None]
                drawn[-1].append([node.op, reads, makes, _attributes(node)])
        values = [self._value(value) for value in index]
        picture = {"before": drawn[0], "after": drawn[1], "values": values}
        key = json.dumps(picture)
        if key not in self.drawn:
            self.drawn[key] = len(self.pictures)
            self.pictures.append(picture)
        return self.drawn[key], [value.name for value in index]

    def _value(self, value: Value) -> list[Any]:
        """The shape, the type, and whether it is a constant."""
        element_type, shape = self.known(value)
        shown = None if shape is None else [_dimension(dim) for dim in shape]
        return [shown, type_name(element_type) if element_type else "", _is_constant(value)]

    def _graph(self) -> dict[str, Any]:
        """The original: for each node its name, operator, depth, what it reads, and its fate."""
        number = {node: index for index, node in enumerate(self.nodes_before)}
        depth: dict[Node, int] = {}
        reads: list[list[int]] = []
        for node in self.nodes_before:
            producers = [p for p in _producers(node) if p in number]
            reads.append([number[p] for p in producers])
            # A body comes after the nodes around it, and what it captures is before it.
            depth[node] = 1 + max((depth.get(p, -1) for p in producers), default=-1)
        # What reads nothing, such as a Constant, stands next to what reads it.
        first: dict[int, int] = {}
        for node, sources in zip(self.nodes_before, reads, strict=True):
            for source in sources:
                first[source] = min(first.get(source, depth[node]), depth[node])
        for index, node in enumerate(self.nodes_before):
            if not reads[index]:
                depth[node] = max(0, first.get(index, 1) - 1)
        fates = self._fates()
        operators = list(dict.fromkeys(node.op for node in self.nodes_before))
        return {
            "operators": operators,
            "nodes": [
                [node.label, operators.index(node.op), depth[node], reads[i], *fates[i]]
                for i, node in enumerate(self.nodes_before)
            ],
        }

    def _fates(self) -> list[tuple[str, int | None]]:
        """What happened to each node of the original, and in which entry of the report."""
        first: dict[Node, int] = {}
        for index, fusion in enumerate(self.trace.fused):
            gone = fusion.nodes if fusion.rule not in CATALOGUE else _taken(fusion)
            for node in gone:
                first.setdefault(node, index)
        grouped = {
            node: len(self.trace.fused) + index
            for index, nodes in enumerate(self.trace.groups)
            for node, *_ in nodes
        }
        missed: dict[Node, int] = {}
        for index, miss in enumerate(self.trace.refused):
            missed.setdefault(miss.at, index)
        fates: list[tuple[str, int | None]] = []
        for node in self.trace.original:
            if node in first:
                fusion = self.trace.fused[first[node]]
                fates.append((CLEANED if cleans_up(fusion.rule) else FUSED, first[node]))
            elif node in grouped:
                fates.append((GROUPED, grouped[node]))
            elif node in missed:
                fates.append((DECLINED, missed[node]))
            else:
                fates.append((KEPT, None))
        return fates


def _nodes(model: Model) -> list[Node]:
    """The nodes of a model, but those in the functions of groups."""
    graphs = (graph for graph in model.graphs() if not graph.root.is_group)
    return [node for graph in graphs for node in graph.nodes()]


def _taken(fusion: Fused) -> Iterable[Node]:
    """The nodes that a fusion took away, or all of them if it left all in their places."""
    left = {*fusion.into, *fusion.kept}
    return [node for node in fusion.nodes if node not in left] or fusion.nodes


def _producers(node: Node) -> Iterable[Node]:
    for value in (*node.inputs, *node.captured()):
        source = value
        while source is not None and source.source is not None:
            source = source.source
        if source is not None and source.producer is not None:
            yield source.producer


def _origin(nodes: Iterable[Node], most: int | None = None) -> list[Node]:
    """The nodes of the original that nodes were made from, the nearest first, `most` at most."""
    origin: dict[Node, None] = {}
    seen: set[Node] = set()
    pending = deque(nodes)
    while pending and (most is None or len(origin) < most):
        node = pending.popleft()
        if node in seen:
            continue
        seen.add(node)
        if node.replaces:
            pending.extend(node.replaces)
        else:
            origin[node] = None
    return list(origin)


def _check(fusion: Fused) -> dict[str, Any] | None:
    if fusion.checked is None:
        return None
    return {
        "inputs": fusion.checked.drawn,
        "error": fusion.checked.error,
        "tolerance": TOLERANCE,
        "shared": fusion.checked.shared,
    }


def _dimension(dim: int | str | None) -> int | str:
    return "?" if dim is None or str(dim).startswith(MADE_UP) else dim


def _is_constant(value: Value) -> bool:
    return value.producer is None and value.tensor is not None and not value.overridable


def _attributes(node: Node) -> str:
    """The attributes that fit in a line."""
    shown = []
    for attribute in node.proto.attribute:
        content = node.attribute(attribute.name)
        small = isinstance(content, (int, float, str)) or (
            isinstance(content, list) and len(content) <= 8
        )
        if small and len(text := f"{attribute.name}={_number(content)}") <= 48:
            shown.append(text)
    return ", ".join(shown[:6])


def _number(content: object) -> str:
    if isinstance(content, float):
        return f"{content:.6g}"
    return str(content).replace(" ", "")
