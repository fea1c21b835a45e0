"""The functions of a model, and everything that runs when a node does."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import FunctionProto

from trtfuse.ir.graph import Graph, Node
from trtfuse.ir.operators import Operator, plain_domain


def functions_of(graph: Graph) -> dict[str, Graph]:
    """The functions of the model that a graph is part of, by what `Operator.base` says of a call.

    Those that groups became are left out.
    """
    return {
        function_called(f): function
        for function in graph.model.functions
        if (f := function.function) is not None and not function.is_group
    }


def function_called(function: FunctionProto) -> str:
    """What `Operator.base` says of a call of a function."""
    domain = plain_domain(function.domain)
    return Operator(domain, function.name, "function", function.overload).base


def nodes_within(node: Node) -> Iterator[Node]:
    """A node and all those in its bodies."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        for body in current.bodies:
            pending.extend(body.nodes())


def called_by(node: Node) -> list[Graph]:
    """The functions that a node or its bodies call, and those that these call."""
    functions = functions_of(node.home) if node.home.model.functions else {}
    pending, graphs = [node], dict[Graph, None]()
    while functions and pending:
        for inner in nodes_within(pending.pop()):
            function = functions.get(inner.operator.base)
            if function is not None and function not in graphs:
                graphs[function] = None
                pending.extend(function.nodes())
    return list(graphs)


def run_by(node: Node) -> Iterator[Node]:
    """Every node that runs when one does: itself, those in its bodies and in functions."""
    yield from nodes_within(node)
    for function in called_by(node):
        for inner in function.nodes():
            yield from nodes_within(inner)
