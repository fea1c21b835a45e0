"""Calls of groups as nodes again: what `emit` did, undone."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from trtfuse.groups.members import Members, members, noted_members
from trtfuse.ir.graph import GROUP_DOMAIN, Graph, Node, Value
from trtfuse.model.model import Model


def inline_groups(model: Model) -> int:
    """Lets the nodes of each group take the place of its call, under the names that they had.

    Returns:
        How many calls there were.
    """
    functions = {function.proto.name: function for function in model.functions if function.is_group}
    if not functions:
        return 0
    noted = noted_members(model.proto)
    count = 0
    # In a function there may be calls of others, in a file that is not ours.
    while calls := _calls(model, functions):
        for call in calls:
            _inline(call, functions[call.operator.name], noted)
        count += len(calls)
    model.drop_group_functions()
    return count


def _calls(model: Model, functions: Mapping[str, Graph]) -> list[Node]:
    return [
        node
        for graph in model.graphs()
        if not graph.root.is_group
        for node in graph.nodes()
        if node.operator.domain == GROUP_DOMAIN and node.operator.name in functions
    ]


def _inline(call: Node, function: Graph, noted: Members) -> None:
    graph = call.home
    inner = list(function.nodes())
    names = members(call.label, len(inner), noted)
    given = {attribute.name: attribute for attribute in call.proto.attribute}
    values: dict[Value | None, Value | None] = {None: None}
    # A call may leave out the last of its inputs and outputs.
    values.update(
        zip(function.inputs, [*call.inputs, *[None] * len(function.inputs)], strict=False)
    )
    values.update(zip(function.outputs, call.outputs, strict=False))
    for place, (node, name) in enumerate(zip(inner, names, strict=True)):
        proto = NodeProto(op_type=node.proto.op_type, domain=node.proto.domain, name=name)
        if place == 0:
            # The call has them of the first node.
            if call.proto.doc_string:
                proto.doc_string = call.proto.doc_string
            proto.metadata_props.extend(call.proto.metadata_props)
        for attribute in node.proto.attribute:
            named = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if named is not None:
                written = proto.attribute.add()
                written.CopyFrom(named)
                written.name = attribute.name
        for value in node.outputs:
            if value is not None and value not in values:
                values[value] = Value(graph.model.fresh_name(f"{name}_output"), graph)
        operator = graph.model.operator(proto, graph.opset)
        inputs, outputs = ([values[v] for v in side] for side in (node.inputs, node.outputs))
        made = Node(proto, operator, inputs, outputs)
        made.stale = True
        graph.insert(made, before=call)
    graph.remove(call)
