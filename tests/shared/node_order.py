"""Models with their nodes in another order, and what a model says whatever the order."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto


def bodies(node: NodeProto) -> list[GraphProto]:
    return [
        body
        for attribute in node.attribute
        for body in (
            [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        )
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    ]


def read_by(node: NodeProto) -> set[str]:
    """The names that a node or a body of it reads; more than those outside do no harm."""
    names = set(node.input)
    for body in bodies(node):
        names.update(name for inner in body.node for name in read_by(inner))
        names.update(output.name for output in body.output)
    return names


def shuffled(model: ModelProto, seed: int) -> ModelProto:
    """The model with its nodes, and those of bodies and functions, in another order."""
    copy = ModelProto()
    copy.CopyFrom(model)
    random = Random(seed)
    shuffle(copy.graph.node, random)
    for function in copy.functions:
        shuffle(function.node, random)
    return copy


def shuffle(nodes: Iterable[NodeProto], random: Random) -> None:
    """Puts a repeated field of nodes into another topological order."""
    left = list(nodes)
    for node in left:
        for body in bodies(node):
            shuffle(body.node, random)
    random.shuffle(left)
    missing = {name for node in left for name in node.output if name}
    order: list[NodeProto] = []
    while left:
        ready = next(node for node in left if not read_by(node) & missing)
        left.remove(ready)
        missing -= set(ready.output)
        order.append(ready)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in order]
    del nodes[:]  # type: ignore[attr-defined]
    nodes.extend(copies)  # type: ignore[attr-defined]


def contents(model: ModelProto) -> object:
    """All that a model says but the order of its nodes."""
    functions = [
        (f.domain, f.name, f.overload, list(f.input), list(f.output), said(f.node))
        for f in model.functions
    ]
    return graph_contents(model.graph), functions


def graph_contents(graph: GraphProto) -> object:
    rest = GraphProto()
    rest.CopyFrom(graph)
    del rest.node[:], rest.initializer[:]
    initializers = sorted(
        tensor.SerializeToString(deterministic=True) for tensor in graph.initializer
    )
    return said(graph.node), initializers, rest.SerializeToString(deterministic=True)


def said(nodes: Iterable[NodeProto]) -> list[str]:
    """The nodes, in an order of their own."""
    lines = []
    for node in nodes:
        rest = NodeProto()
        rest.CopyFrom(node)
        attributes = [a for a in node.attribute if not (a.HasField("g") or a.graphs)]
        del rest.attribute[:]
        rest.attribute.extend(attributes)
        inside = [graph_contents(body) for body in bodies(node)]
        lines.append(f"{rest.SerializeToString(deterministic=True)!r} {inside!r}")
    return sorted(lines)
