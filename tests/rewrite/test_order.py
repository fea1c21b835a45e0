"""What comes out does not depend on the order in which the file has its nodes, nor on rules named.

A file has one of many topological orders of its nodes, and which one is no property of the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from fusing import rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto
from strategies import Drawn, models

from trtfuse.rewrite.rule import CATALOGUE


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


@given(models(), st.integers(0, 2**16))
def test_the_order_of_the_nodes_in_the_file_does_not_matter(drawn: Drawn, seed: int) -> None:
    fused = rewrite(drawn.model, verify="none").model
    other = rewrite(shuffled(drawn.model, seed), verify="none").model
    assert contents(other) == contents(fused)


@given(models(), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_in_which_rules_are_named_does_not_matter(drawn: Drawn, random: Random) -> None:
    names = list(CATALOGUE)
    random.shuffle(names)
    fused = rewrite(drawn.model, verify="none").model
    other = rewrite(drawn.model, rules=names, verify="none").model
    assert other.SerializeToString() == fused.SerializeToString()


@given(models())
@settings(max_examples=20)
def test_two_runs_give_the_same_bytes(drawn: Drawn) -> None:
    first, second = (rewrite(drawn.model).model.SerializeToString() for _ in range(2))
    assert first == second


@given(models())
def test_a_second_run_changes_nothing(drawn: Drawn) -> None:
    fused = rewrite(drawn.model, verify="none").model
    again = rewrite(fused, verify="none")
    assert again.report.fused == []
    assert again.model.SerializeToString() == fused.SerializeToString()
