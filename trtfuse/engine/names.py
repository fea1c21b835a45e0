"""The names that nodes had before groups became calls of functions.

The functions of groups are shared, so the nodes inside are called after their operators, and the
builder lists them as `Conv | conv1 + relu1 (conv_relu)`. The call tells which node it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from onnx import ModelProto, NodeProto

from trtfuse.groups.members import members, noted_members
from trtfuse.ir.graph import GROUP_DOMAIN
from trtfuse.result.layer import Layer

#: What the builder puts between a node and the calls around it.
CALLED = " | "


def with_own_names(layers: Iterable[Layer], model: ModelProto) -> tuple[Layer, ...]:
    """The layers, with the nodes in calls of groups named as before: `conv1`.

    Args:
        layers: of an engine that was built from the model.
        model: what was built.
    """
    noted = noted_members(model)
    names = {
        f"{inner}{CALLED}{call.name} ({call.op_type})": name
        for call, body in _calls(model)
        for inner, name in zip(body, members(call.name, len(body), noted), strict=True)
    }
    return tuple(
        replace(layer, nodes=tuple(dict.fromkeys(_own(node, names) for node in layer.nodes)))
        if any(CALLED in node for node in layer.nodes)
        else layer
        for layer in layers
    )


def _own(node: str, names: Mapping[str, str]) -> str:
    """A node, or one in a call that is itself in another, `Conv | call (F) | outer (G)`."""
    if node in names:
        return names[node]
    inside, separator, outer = node.rpartition(CALLED)
    return f"{_own(inside, names)}{CALLED}{outer}" if separator and CALLED in inside else node


def _calls(model: ModelProto) -> Iterator[tuple[NodeProto, list[str]]]:
    """The calls of groups, each with the names of the nodes in its function."""
    bodies = {
        function.name: [node.name for node in function.node]
        for function in model.functions
        if function.domain == GROUP_DOMAIN
    }
    pending = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while pending:
        node = pending.pop()
        if node.domain == GROUP_DOMAIN and node.op_type in bodies:
            yield node, bodies[node.op_type]
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                pending.extend(body.node)
