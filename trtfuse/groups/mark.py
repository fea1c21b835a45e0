"""Groups in a graph that stays flat: each node says in its metadata which group it is in."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import NodeProto

from trtfuse.groups.partition import Group
from trtfuse.ir.graph import Node
from trtfuse.model.model import Model

#: The key in the metadata of a node; its value is the name of the group.
MARK = "trtfuse.group"
#: The first IR version in which nodes have metadata.
_SINCE = 10


def mark(model: Model, groups: Iterable[Group]) -> None:
    """Marks the nodes of groups, and takes marks away that are out of date.

    Before IR 10, in which nodes have no metadata, it does nothing.
    """
    if model.ir_version < _SINCE:
        return
    names = {node: group.name for group in groups for node in group.nodes}
    for graph in model.graphs():
        for node in graph.nodes():
            _mark(node, names.get(node))


def _mark(node: Node, name: str | None) -> None:
    marks = [entry.value for entry in node.proto.metadata_props if entry.key == MARK]
    if marks == ([] if name is None else [name]):
        return
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    kept = [entry for entry in node.proto.metadata_props if entry.key != MARK]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    if name is not None:
        proto.metadata_props.add(key=MARK, value=name)
    node.proto = proto
