"""Shapes and types of all values, from ONNX's own shape inference.

Inference runs on a copy of the model without its large weights, which it has no use for; small
constants stay, since Reshape, Slice and their like need the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import GraphProto, ModelProto, TypeProto, ValueInfoProto, helper

from trtfuse.ir.graph import Graph, Shape, Value, copy_fields
from trtfuse.ir.tensor import StoredTensor

if TYPE_CHECKING:
    from trtfuse.ir.model import Model

#: Constants of more elements than this are left out; no shape is made of that many numbers.
_LARGEST_SHAPE = 256


def infer_shapes(model: Model) -> None:
    """Tells every value of a model what inference finds, as far as it gets."""
    lean = without_weights(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(lean, data_prop=True)
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
        # A model that is valid but that inference chokes on keeps the shapes it declares.
        inferred = lean
    pairs = [(model.graph, inferred.graph)]
    while pairs:
        graph, proto = pairs.pop()
        _tell(graph, proto)
        nodes = list(graph.nodes())
        # Before IR 4 the new constants of a body are written as nodes in front of the others.
        for node, written in zip(nodes, proto.node[len(proto.node) - len(nodes) :], strict=True):
            if node.bodies:
                bodies = [
                    body
                    for attribute in written.attribute
                    for body in (
                        *([attribute.g] if attribute.HasField("g") else ()),
                        *attribute.graphs,
                    )
                ]
                pairs.extend(zip(node.bodies, bodies, strict=True))


def _tell(graph: Graph, proto: GraphProto) -> None:
    infos: dict[str, ValueInfoProto] = {}
    for info in (*proto.value_info, *proto.output, *proto.input):
        infos[info.name] = info
    for value in _values(graph):
        if value.name in infos and (value.tensor is None or value.overridable):
            value.know(*type_and_shape(infos[value.name].type))


def _values(graph: Graph) -> list[Value]:
    computed = [v for node in graph.nodes() for v in node.outputs if v is not None]
    return [*graph.inputs, *computed]


def type_and_shape(proto: TypeProto) -> tuple[int | None, Shape | None]:
    """The element type and shape that a type proto states; None for what it leaves open."""
    if not proto.HasField("tensor_type"):
        return None, None
    tensor = proto.tensor_type
    element_type = tensor.elem_type or None
    if not tensor.HasField("shape"):
        return element_type, None
    return element_type, tuple(
        # Some exporters write -1 for a size that is not known.
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or None
        for dim in tensor.shape.dim
    )


def without_weights(model: Model) -> ModelProto:
    """A copy of a model in which large and external initializers are inputs."""
    proto = ModelProto()
    copy_fields(model.proto, proto, without=("graph", "ir_version"))
    # Before IR 4 inference takes an initializer only where the inputs list it.
    proto.ir_version = max(4, model.ir_version)
    source, target = model.graph, proto.graph
    copy_fields(
        source.proto, target, without=("node", "initializer", "sparse_initializer", "input")
    )
    target.node.extend(source.written_nodes())
    listed = set()
    for value, info in source.inputs.items():
        listed.add(value)
        target.input.append(info)
    for value in source.initializers:
        if value.overridable:
            # Whatever it holds, a caller may pass something else.
            continue
        assert value.tensor is not None
        external = isinstance(value.tensor, StoredTensor) and value.tensor.external
        if value.tensor.size <= _LARGEST_SHAPE and not external:
            target.initializer.append(value.tensor.to_proto(value.name))
        elif value not in listed:
            target.input.append(
                helper.make_tensor_value_info(value.name, value.tensor.type, value.tensor.shape)
            )
    target.sparse_initializer.extend(source.sparse.values())
    return proto
