"""ONNX GraphSurgeon: its graphs as models, and models as its graphs.

GraphSurgeon's own exporter renames tensors of the model that a graph was imported from, adds
operator sets to it, gives the bodies of If and Loop a copy of every constant that they capture,
and holds weights several times over. A graph that is given to be fused stays as it is, so it is
written here; the result is what `onnx_graphsurgeon.export_onnx` means to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from trtfuse.errors import ModelError, UsageError, nothing_else_raised
from trtfuse.ir.operators import plain_domain
from trtfuse.ir.tensor import FLOATING, ExternalData, StoredTensor, numpy_type, rounded

try:
    import onnx_graphsurgeon as gs
    from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues
except ModuleNotFoundError:
    raise UsageError(
        "GraphSurgeon is not installed: pip install onnx-graphsurgeon, or trtfuse[graphsurgeon]"
    ) from None

#: The IR version of a graph that names none, if its operator sets need no later one. The newest
#: that the installed onnx knows may be too new for the runtimes of the day.
_IR_VERSION = 10
#: Weights of this many bytes and more are not copied more often than they have to be.
_LARGE = 1024
#: What `onnx_graphsurgeon.import_onnx` leaves out with a warning.
_NOT_IMPORTED = frozenset(
    (
        AttributeProto.SPARSE_TENSOR,
        AttributeProto.SPARSE_TENSORS,
        AttributeProto.TENSORS,
        AttributeProto.GRAPHS,
        AttributeProto.TYPE_PROTO,
        AttributeProto.TYPE_PROTOS,
    )
)


@nothing_else_raised
def from_graphsurgeon(graph: gs.Graph) -> ModelProto:
    """The model that a GraphSurgeon graph stands for.

    Names, weights, functions, bodies, operator sets, the IR version, the producer and the types
    of all tensors are the graph's. Weights that were not loaded yet are copied as they are stored,
    external ones as references; loaded ones are copied once.

    Args:
        graph: not modified, not even where `onnx_graphsurgeon.export_onnx` would. Its nodes have
            to be in order (`graph.toposort()`).

    Raises:
        UsageError: this is a function, which is part of a model.
        ModelError: ONNX has no way to write an attribute or a type.
    """
    if isinstance(graph, gs.Function):
        raise UsageError(f"'{graph.name}' is a function; fuse the graph that calls it")
    model = ModelProto(producer_name=graph.producer_name, producer_version=graph.producer_version)
    imports = _opset_imports(graph)
    model.opset_import.extend(imports)
    needed = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    model.ir_version = graph.ir_version or max(_IR_VERSION, needed)
    _write_graph(graph, model.graph, frozenset())
    if model.ir_version < 4:
        _list_initializers(model.graph)
    for function in graph.functions:
        _write_function(function, model.functions.add())
    return model


def _write_graph(graph: gs.Graph, proto: GraphProto, outer: frozenset[int]) -> None:
    """Writes a graph; `outer` are the tensors of the graphs around it, by identity."""
    proto.name = graph.name
    if graph.doc_string:
        proto.doc_string = graph.doc_string
    is_body = bool(outer)
    tensors = [*_tensors(graph), *(() if is_body else _shared(graph))]
    around = outer | {id(tensor) for tensor in tensors}
    for node in graph.nodes:
        _write_node(node, proto.node.add(), graph, around)
    for what, listed, infos in (
        ("input", graph.inputs, proto.input),
        ("output", graph.outputs, proto.output),
    ):
        for tensor in listed:
            info = _value_info(tensor)
            if info is None:
                if not is_body and what == "input":
                    raise ModelError(
                        f"{what} '{tensor.name}' has no dtype that ONNX knows; set its dtype"
                    )
                info = ValueInfoProto(name=tensor.name)
            infos.append(info)
    told = {info.name for info in (*proto.input, *proto.output)}
    for tensor in tensors:
        if id(tensor) in outer:
            continue
        if not isinstance(tensor, gs.Constant):
            if tensor.name not in told and (info := _value_info(tensor)) is not None:
                told.add(tensor.name)
                proto.value_info.append(info)
        elif isinstance(tensor._values, SparseValues):
            sparse = proto.sparse_initializer.add()
            sparse.CopyFrom(tensor._values.tensor)
            sparse.values.name = tensor.name
        else:
            _write_constant(tensor, proto.initializer.add())


def _list_initializers(graph: GraphProto) -> None:
    """Lists initializers as inputs, as they have to be before IR 4; GraphSurgeon drops them."""
    inputs = {info.name for info in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in inputs:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)


def _write_function(function: gs.Function, proto: FunctionProto) -> None:
    proto.name = function.name
    proto.domain = function.domain or ""
    if function.doc_string:
        proto.doc_string = function.doc_string
    proto.opset_import.extend(_opset_imports(function))
    proto.input.extend(tensor.name for tensor in function.inputs)
    proto.output.extend(tensor.name for tensor in function.outputs)
    tensors = [*_tensors(function), *_shared(function)]
    for tensor in tensors:
        # Functions have no initializers.
        if isinstance(tensor, gs.Constant):
            node = proto.node.add(op_type="Constant", output=[tensor.name])
            attribute = node.attribute.add(name="value", type=AttributeProto.TENSOR)
            _write_constant(tensor, attribute.t)
    around = frozenset(id(tensor) for tensor in tensors)
    for node in function.nodes:
        _write_node(node, proto.node.add(), function, around)
    for name, default in function.attrs.items():
        if default is None:
            proto.attribute.append(name)
        else:
            where = f"function '{function.name}'"
            _write_attribute(name, default, proto.attribute_proto.add(), around, where, None)


def _tensors(graph: gs.Graph) -> Iterator[gs.Tensor]:
    """The tensors that a graph or its nodes name, each once, inputs first."""
    seen: set[int] = set()
    listed = (tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs))
    for tensor in (*graph.inputs, *listed, *graph.outputs):
        if tensor.name and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _shared(graph: gs.Graph) -> list[gs.Constant]:
    """Constants that more than one body would write: they belong to the outer graph.

    GraphSurgeon knows a constant only by the nodes that read it. Without this, a decoder that is
    in both branches of an If, with and without a cache, would be written with all weights twice.
    """
    called: dict[str, set[int]] = {}
    for tensor in _tensors(graph):
        called.setdefault(tensor.name, set()).add(id(tensor))
    constants: dict[int, gs.Constant] = {}
    readers: dict[int, int] = {}
    pending = [(graph, frozenset(id(tensor) for tensor in _tensors(graph)))]
    while pending:
        outer, around = pending.pop()
        for body in (body for node in outer.nodes for body in node.subgraphs()):
            own = [tensor for tensor in _tensors(body) if id(tensor) not in around]
            for tensor in own:
                called.setdefault(tensor.name, set()).add(id(tensor))
                if isinstance(tensor, gs.Constant):
                    constants[id(tensor)] = tensor
                    readers[id(tensor)] = readers.get(id(tensor), 0) + 1
            pending.append((body, around.union(id(tensor) for tensor in own)))
    # In a graph further out, a name that another tensor has too may mean that one.
    return [
        constant
        for key, constant in constants.items()
        if readers[key] > 1 and len(called[constant.name]) == 1
    ]


def _write_node(node: gs.Node, proto: NodeProto, graph: gs.Graph, around: frozenset[int]) -> None:
    proto.op_type = node.op
    if node.name:
        proto.name = node.name
    if node.domain is not None:
        proto.domain = node.domain
    proto.input.extend(tensor.name for tensor in node.inputs)
    proto.output.extend(tensor.name for tensor in node.outputs)
    for name, content in node.attrs.items():
        kind = None if content else _attribute_type(node, graph, name)
        where = f"node '{node.name or node.op}'"
        _write_attribute(name, content, proto.attribute.add(), around, where, kind)


def _attribute_type(node: gs.Node, graph: gs.Graph, name: str) -> int | None:
    """The type of an attribute by the operator's schema: an empty list does not tell its own."""
    try:
        schema = onnx.defs.get_schema(node.op, graph.opset or 1, node.domain or "")
        kind: Any = schema.attributes[name].type
    except (onnx.defs.SchemaError, KeyError):
        return None
    return int(kind)


def _write_attribute(
    name: str,
    content: Any,
    proto: AttributeProto,
    around: frozenset[int],
    where: str,
    kind: int | None,
) -> None:
    proto.name = name
    if isinstance(content, gs.Constant):
        proto.type = AttributeProto.TENSOR
        _write_constant(content, proto.t)
    elif isinstance(content, gs.Graph):
        proto.type = AttributeProto.GRAPH
        _write_graph(content, proto.g, around)
    elif isinstance(content, gs.Node.AttributeRef):
        from onnx_graphsurgeon.util import misc

        proto.type = misc.convert_to_onnx_attr_type(content.type)
        proto.ref_attr_name = content.name
    else:
        if isinstance(content, (type, np.dtype)):
            content = _element_type(content) or content
        try:
            proto.CopyFrom(helper.make_attribute(name, content, attr_type=kind))
        except (TypeError, ValueError) as error:
            raise ModelError(f"attribute '{name}' of {where} cannot be written: {error}") from None


def _write_constant(constant: gs.Constant, proto: TensorProto) -> None:
    held = constant._values
    if isinstance(held, LazyValues):
        # As it is stored, under the name of now. The tensor is that of the imported model.
        proto.CopyFrom(held.tensor)
    else:
        # Loading external weights leaves `data_location` as it was: it no longer holds.
        array = np.asarray(held)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        target = _element_type(constant.export_dtype)
        if target is None:
            raise ModelError(f"constant '{constant.name}' is of {array.dtype}, not known to ONNX")
        if _element_type(array.dtype) != target:
            wide = array.astype(np.float64)
            array = rounded(wide, target) if target in FLOATING else wide.astype(numpy_type(target))
        proto.data_type = target
        proto.dims.extend(array.shape)
        large = array.nbytes >= _LARGE and target != TensorProto.STRING
        if large and StoredTensor(proto).stored_bytes == array.nbytes:
            proto.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        else:
            proto.CopyFrom(numpy_helper.from_array(array))
    proto.name = constant.name


def _value_info(tensor: gs.Tensor) -> ValueInfoProto | None:
    """The type and shape of a tensor; None where it has no type that ONNX has a number for."""
    element_type = None if tensor.dtype is None else _element_type(tensor.dtype)
    if not element_type:
        return None
    shape = tensor.shape
    if shape is not None:
        # GraphSurgeon's spelling of an unknown size (`Tensor.DYNAMIC`) is -1, ONNX has none.
        shape = [None if isinstance(size, int) and size < 0 else size for size in shape]
    match getattr(tensor, "type", "tensor_type"):
        case "tensor_type":
            return helper.make_tensor_value_info(tensor.name, element_type, shape)
        case "sequence_type":
            return helper.make_tensor_sequence_value_info(tensor.name, element_type, shape)
        case "sparse_tensor_type":
            return helper.make_sparse_tensor_value_info(tensor.name, element_type, shape)
    return None


def _element_type(dtype: Any) -> int | None:
    """A dtype, or an ONNX type where numpy has none, as a `TensorProto.DataType`."""
    if isinstance(dtype, int):
        return dtype
    try:
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype).newbyteorder("="))
    except (KeyError, TypeError, ValueError):
        return None


def _opset_imports(graph: gs.Graph) -> list[OperatorSetIdProto]:
    """The operator sets that a graph lists, then those that its nodes need beyond them."""
    imports = list(graph.import_domains or ())
    used = [""] if graph.import_domains is None else []
    for scope in (graph, *graph.subgraphs(recursive=True)):
        used.extend(plain_domain(node.domain or "") for node in scope.nodes)
    known = {plain_domain(opset.domain) for opset in imports}
    missing = [domain for domain in dict.fromkeys(used) if domain not in known]
    added = [helper.make_opsetid(domain, 1 if domain else graph.opset) for domain in missing]
    return imports + added


@nothing_else_raised
def to_graphsurgeon(model: ModelProto, folder: Path | None = None) -> gs.Graph:
    """A model as a GraphSurgeon graph that shares nothing with it.

    Weights in external files become arrays mapped into memory, copy on write: they take no memory
    before they are read, writing to them leaves the file alone, and
    `onnx_graphsurgeon.export_onnx` embeds them. GraphSurgeon has no place for metadata, doc
    strings of nodes, quantization annotations and shapes inside functions, and what may be
    overridden by a caller becomes a constant.

    Args:
        model: not modified.
        folder: where its external data is.

    Raises:
        ModelError: external data cannot be found; or GraphSurgeon would drop something that the
            model computes with: overloads of functions, or attributes of a kind it does not know.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    _refuse_losses(copy)
    graph = gs.import_onnx(copy)
    for constant in _constants(graph):
        held = constant._values
        if isinstance(held, SparseValues) or not isinstance(held, LazyValues):
            continue
        if held.tensor.data_location == TensorProto.EXTERNAL:
            constant.values = _mapped(held.tensor, folder)
            constant.data_location = None
    return graph


def _refuse_losses(model: ModelProto) -> None:
    for function in model.functions:
        if function.overload:
            raise ModelError(
                f"GraphSurgeon knows no overloads, and function '{function.name}' is one"
            )
    pending: list[NodeProto] = list(model.graph.node)
    for function in model.functions:
        pending.extend(function.node)
    while pending:
        node = pending.pop()
        for attribute in node.attribute:
            if attribute.type in _NOT_IMPORTED:
                raise ModelError(
                    f"GraphSurgeon would drop the attribute '{attribute.name}' of node "
                    f"'{node.name or node.op_type}'"
                )
            pending.extend(attribute.g.node)


def _constants(graph: gs.Graph) -> Iterator[gs.Constant]:
    graphs: Iterable[gs.Graph] = (graph, *graph.functions)
    for outer in graphs:
        for scope in (outer, *outer.subgraphs(recursive=True)):
            for tensor in _tensors(scope):
                if isinstance(tensor, gs.Constant):
                    yield tensor
            for node in scope.nodes:
                yield from (held for held in node.attrs.values() if isinstance(held, gs.Constant))


def _mapped(tensor: TensorProto, folder: Path | None) -> Any:
    """External weights for a constant: an array, or an embedded tensor where numpy has no type."""
    stored = StoredTensor(tensor, folder)
    location = ExternalData.of(tensor)
    file, size = location.file_of(stored), stored.stored_bytes
    if size != stored.nbytes:
        data = b"".join(location.pieces(file, size))
        return LazyValues(
            TensorProto(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=data
            )
        )
    if size == 0:
        return np.empty(stored.shape, numpy_type(stored.type))
    data_map = np.memmap(file, np.uint8, "c", location.offset, (size,))
    return data_map.view(numpy_type(stored.type)).reshape(stored.shape)
