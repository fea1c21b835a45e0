"""What is found in a proto without making a graph of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, wherever it hides: initializers, attributes, bodies, functions."""
    pending: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        if isinstance(graph, GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        yield from _attribute_tensors(graph.node, pending)


def _attribute_tensors(
    nodes: Iterable[NodeProto], pending: list[GraphProto | FunctionProto]
) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                pending.append(attribute.g)
            pending.extend(attribute.graphs)
