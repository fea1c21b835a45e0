"""Equal nodes and equal constants become one: common subexpressions, duplicate initializers.

Which node is the twin of another is no matter of a pattern, so these look at a whole graph. What
they merge is computed by the same operator from the same values, so there is nothing to evaluate.
"""

from __future__ import annotations

import hashlib

from onnx import TensorProto

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import ExternalData, StoredTensor, Tensor
from trtfuse.rewrite.rule import Change, Changes, graph_rule

#: Operators that may give something else each time.
_RANDOM = frozenset(
    (
        "Bernoulli",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    )
)


@graph_rule("duplicate-constant", entry="Cleanup")
def duplicate_constant(graph: Graph) -> Changes:
    """c, c  ==  c

    Entry Cleanup (duplicate initializers): what reads an initializer that holds the same as an
    earlier one reads that one. Those that a caller may override stay, and those that are outputs.
    In a function, constants are nodes.

    Takes: initializers of every type, embedded or external; Constant nodes of functions.
    """
    first: dict[object, Value] = {}
    for value in [*graph.initializers, *_constant_nodes(graph)]:
        tensor = constant(value)
        if tensor is None or value.outputs or not value.uses or graph.is_kept(value):
            continue
        twin = first.setdefault(_content(tensor), value)
        if twin is value:
            continue
        readers, node = tuple(value.uses), value.producer
        if twin.producer is not None and graph.first not in (twin.producer, None):
            # It has to stand in front of what reads the other.
            graph.move(twin.producer, graph.first)
        graph.replace_uses(value, twin)
        if node is None:
            graph.remove_initializer(value)
        else:
            graph.remove(node)
        yield Change(readers, readers)


def _constant_nodes(graph: Graph) -> list[Value]:
    """Constants that stay nodes, where the graph can have no initializers."""
    if not graph.constants_are_nodes:
        return []
    return [node.output for node in graph.canonical() if node.op == "Constant"]


@graph_rule("duplicate-node", entry="Cleanup")
def duplicate_node(graph: Graph) -> Changes:
    """f(x), f(x)  ==  f(x)

    Entry Cleanup (common subexpressions): of nodes with the same operator, attributes and inputs
    one is enough. Nodes with random results, bodies or operators of other domains stay.

    Takes: every operator of the default domain.
    """
    position = {node: index for index, node in enumerate(graph.nodes())}
    first: dict[object, Node] = {}
    for node in list(graph.canonical()):
        standard = "::" not in node.op and not node.op.startswith("function ")
        # What an attribute of the function decides stands in angle brackets.
        if not standard or node.bodies or node.op.partition("<")[0] in _RANDOM:
            continue
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.proto.attribute)
        left_out = tuple(output is None for output in node.outputs)
        key = (node.op, *attributes, None, *node.inputs, None, *left_out)
        kept = first.setdefault(key, node)
        if kept is node:
            continue
        gone = node
        if _is_output(gone):
            if _is_output(kept):
                # Both names are known outside.
                continue
            kept, gone = gone, kept
            first[key] = kept
        if position[gone] < position[kept]:
            graph.move(kept, gone)
            position[kept] = position[gone]
        for old, new in zip(gone.outputs, kept.outputs, strict=True):
            if old is not None and new is not None:
                graph.replace_uses(old, new)
        graph.remove(gone)
        yield Change((gone, kept), (kept,))


def _is_output(node: Node) -> bool:
    return any(value is not None and value.outputs for value in node.outputs)


def _content(tensor: Tensor) -> object:
    """What two equal constants have in common."""
    if isinstance(tensor, StoredTensor) and tensor.external:
        location = ExternalData.of(tensor.proto)
        return tensor.type, tensor.shape, location.file, location.offset
    if tensor.type == TensorProto.STRING:
        # Its array has references to texts, not the texts.
        return tensor.type, tensor.shape, tuple(tensor.array().reshape(-1))
    return tensor.type, tensor.shape, hashlib.sha256(tensor.array().tobytes()).digest()
