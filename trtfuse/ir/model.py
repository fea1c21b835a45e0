"""The model: the graph with what stands around it, read from a file or a proto and written back."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto

from trtfuse.errors import ModelError, UsageError
from trtfuse.ir.graph import GROUP_DOMAIN, Graph, Node, called, copy_fields
from trtfuse.ir.growth import METADATA, Growth
from trtfuse.ir.save import tensors
from trtfuse.ir.shapes import infer_shapes, without_weights
from trtfuse.ir.tensor import ExternalData, StoredTensor

if TYPE_CHECKING:
    import onnx_graphsurgeon
    import onnx_ir

#: What stands for a model wherever one is asked for.
ModelLike: TypeAlias = "str | Path | bytes | ModelProto | onnx_graphsurgeon.Graph | onnx_ir.Model"

#: Models with more bytes of weights than this are not given to the checker in one message, which
#: protobuf limits to 2 GiB.
_ONE_MESSAGE = 1 << 30


class Model:
    """An ONNX model with its graph.

    Args:
        proto: the model; kept and never modified.
        folder: where its external data is; None where there is no telling.

    Attributes:
        graph: the main graph.
        functions: the graphs of the model-local functions.
        ir_version: the IR version.
        growth: how much larger constants may make it, and have made it so far.
        names: every name that a value of any graph of the model has had.
        external: the tensors whose data is in files of their own.
        folder: as given.
    """

    def __init__(self, proto: ModelProto, folder: Path | None = None) -> None:
        self.proto = proto
        self.folder = folder
        self.ir_version = proto.ir_version
        self.growth = Growth(self)
        self.names: set[str] = set()
        self.external: list[StoredTensor] = []
        self._counter = 0
        self._inferred = False
        self._functions = {(_domain(f.domain), f.name, f.overload) for f in proto.functions}
        with collector_paused():
            self.graph = Graph(self, proto.graph)
            self.functions = [Graph.of_function(self, function) for function in proto.functions]
            for graph in (self.graph, *self.functions):
                graph.read_completely()

    def graphs(self) -> Iterator[Graph]:
        """The main graph and those of functions, each with the bodies inside it."""
        for graph in (self.graph, *self.functions):
            yield from graph.walk()

    def note_external(self, tensor: TensorProto) -> None:
        """Keeps in mind a tensor whose data is in a file of its own."""
        if tensor.data_location == TensorProto.EXTERNAL:
            self.external.append(StoredTensor(tensor, self.folder))

    def operator(self, node: NodeProto) -> str:
        """What `Node.op` says of a node: the operator with its domain, the default one left out."""
        domain = _domain(node.domain)
        if self._functions and (domain, node.op_type, node.overload) in self._functions:
            return called(domain, node.op_type, node.overload)
        return f"{domain}::{node.op_type}" if domain else node.op_type

    def fresh_name(self, stem: str) -> str:
        """A name for a value that is like `stem` and that no value of the model has had."""
        name = stem
        while name in self.names:
            self._counter += 1
            name = f"{stem}_{self._counter}"
        self.names.add(name)
        return name

    def infer_shapes(self) -> None:
        """Lets every value know its type and shape, the first time it is called."""
        if not self._inferred:
            self._inferred = True
            infer_shapes(self)

    def infer_shapes_again(self) -> bool:
        """Infers shapes anew after changes, if anybody asked for any; whether that changed any."""
        return self._inferred and infer_shapes(self)

    def infer_shapes_afresh(self) -> None:
        """Infers shapes as they would be if the model were written and read again.

        Where nobody has asked for any yet, they are inferred once somebody does.
        """
        for graph in self.graphs():
            for node in graph.nodes():
                for value in node.outputs:
                    if value is not None:
                        value.forget()
        if self._inferred:
            infer_shapes(self)

    def _note_growth(self, proto: ModelProto) -> None:
        """Says in the metadata how far constants have grown, where the limit has stopped some."""
        said = self.growth.metadata
        if said is not None:
            entries = (entry for entry in proto.metadata_props if entry.key == METADATA)
            entry = next(entries, None) or proto.metadata_props.add(key=METADATA)
            entry.value = said

    def add_group_function(self, function: FunctionProto) -> None:
        """Takes in a function that a group of nodes became; it imports what the model does."""
        for each in self.proto.opset_import:
            # In functions the checker knows one spelling of the default domain.
            function.opset_import.add(domain=_domain(each.domain), version=each.version)
        _import_groups(function)
        self._functions.add((GROUP_DOMAIN, function.name, ""))
        graph = Graph.of_function(self, function)
        graph.read_completely()
        self.functions.append(graph)

    def raise_ir_version(self, least: int) -> None:
        """Makes it a model of this IR version, if its own is lower."""
        self.ir_version = max(self.ir_version, least)

    def to_proto(self) -> ModelProto:
        """The model as ONNX has it. External data stays where it is."""
        proto = ModelProto()
        copy_fields(self.proto, proto, without=("graph", "functions"))
        proto.ir_version = self.ir_version
        self._note_growth(proto)
        proto.graph.SetInParent()
        self.graph.write(proto.graph)
        for graph in self.functions:
            proto.functions.append(graph.write_function())
            if any(node.proto.domain == GROUP_DOMAIN for node in _all_nodes(graph)):
                _import_groups(proto.functions[-1])
        if any(graph.is_group for graph in self.functions):
            _import_groups(proto)
        return proto


def _all_nodes(graph: Graph) -> Iterator[Node]:
    for each in graph.walk():
        yield from each.nodes()


def _import_groups(proto: ModelProto | FunctionProto) -> None:
    """Lets a model or function import the domain of the functions that groups became."""
    if all(each.domain != GROUP_DOMAIN for each in proto.opset_import):
        proto.opset_import.add(domain=GROUP_DOMAIN, version=1)


def _domain(spelled: str) -> str:
    return "" if spelled == "ai.onnx" else spelled


NOT_UTF_8 = "the model has a text that is not UTF-8, as protobuf wants it"


def read_model(source: ModelLike) -> Model:
    """Reads a model and checks that it is valid.

    Args:
        source: a path, the bytes of a model, a `ModelProto`, an `onnx_graphsurgeon.Graph` or an
            `onnx_ir.Model`; not modified.

    Raises:
        ModelError: it cannot be read, is not a valid ONNX model, or its external data is missing
            or lies outside the model's folder.
        UsageError: it is nothing of all that.
    """
    try:
        return _read_file(Path(source)) if isinstance(source, (str, Path)) else _read_given(source)
    except UnicodeDecodeError:
        raise ModelError(NOT_UTF_8) from None


def _read_given(source: bytes | ModelProto | onnx_graphsurgeon.Graph | onnx_ir.Model) -> Model:
    proto, folder = _given(source)
    model = Model(proto, folder)
    if folder is not None:
        _find_external_data(model)
    weights = sum(value.tensor.nbytes for value in model.graph.initializers if value.tensor)
    lean = model.external or weights > _ONE_MESSAGE
    _validate(_without_data(model) if lean else proto, "the model")
    return model


def _read_file(path: Path) -> Model:
    try:
        content = path.read_bytes()
        model = Model(_parsed(content, f"'{path}'"), path.parent)
        _find_external_data(model)
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {error.strerror}") from None
    _validate(str(path) if model.external else content, f"'{path}'")
    return model


def _given(
    source: bytes | ModelProto | onnx_graphsurgeon.Graph | onnx_ir.Model,
) -> tuple[ModelProto, Path | None]:
    """The proto of a model that is in memory, and the folder of its external data if known."""
    if isinstance(source, ModelProto):
        return source, None
    if isinstance(source, bytes):
        return _parsed(source, "the model"), None
    if _is_a(source, "onnx_graphsurgeon", "Graph"):
        from trtfuse.ir.graphsurgeon import from_graphsurgeon

        return from_graphsurgeon(source), None
    if _is_a(source, "onnx_ir", "Model"):
        from trtfuse.ir.onnx_ir import from_onnx_ir

        return from_onnx_ir(source)
    raise UsageError(
        "a model is a path, bytes, a ModelProto, an onnx_graphsurgeon.Graph or an onnx_ir.Model, "
        f"not {type(source).__module__}.{type(source).__name__}"
    )


def _is_a(source: Any, package: str, name: str) -> bool:
    """Whether an object is of a class of a package, which nothing is before it is imported."""
    return isinstance(source, getattr(sys.modules.get(package), name, ()))


def _without_data(model: Model) -> ModelProto:
    """A copy for the checker, which would look for external data where the program runs.

    That it cannot be found is no fault of the model: it may never be asked for.
    """
    lean = without_weights(model)
    for tensor in tensors(lean):
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    return lean


def _find_external_data(model: Model) -> None:
    for tensor in model.external:
        ExternalData.of(tensor.proto).file_of(tensor)


def _parsed(data: bytes, where: str) -> ModelProto:
    if not data:
        raise ModelError(f"{where} is empty, not an ONNX model")
    try:
        return ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(f"{where} is not an ONNX model, or only the beginning of one") from None


def _validate(model: ModelProto | bytes | str, where: str) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, EncodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{where} is not a valid ONNX model: {reason}") from None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Runs a block without Python's cyclic garbage collector: graphs are large and stay alive."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
