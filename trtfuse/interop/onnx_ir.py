"""onnx-ir: its models as protos, and protos as its models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto

from trtfuse.errors import ModelError, UsageError, nothing_else_raised

try:
    import onnx_ir
except ModuleNotFoundError:
    raise UsageError("onnx-ir is not installed: pip install onnx-ir, or trtfuse[onnx-ir]") from None


@nothing_else_raised
def from_onnx_ir(model: onnx_ir.Model) -> tuple[ModelProto, Path | None]:
    """The proto of an onnx-ir model, and the folder of its external data.

    External tensors stay references; the others are copied once.

    Args:
        model: not modified, not even the names of its tensors, which `onnx_ir.to_proto` sets.

    Returns:
        The model, and None for the folder if no tensor is external.

    Raises:
        ModelError: onnx-ir cannot write it, or its external data is in more than one folder.
    """
    folder = _folder(model)
    weights = [
        value.const_value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    names = [tensor.name for tensor in weights]
    try:
        return onnx_ir.to_proto(model), folder
    except onnx_ir.serde.SerdeError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ModelError(f"onnx-ir cannot write the model: {reason}") from None
    finally:
        for tensor, name in zip(weights, names, strict=True):
            if tensor.name != name:
                tensor.name = name


def _folder(model: onnx_ir.Model) -> Path | None:
    folders: dict[Path, str] = {}
    for tensor in _tensors(model):
        if isinstance(tensor, onnx_ir.ExternalTensor):
            if not tensor.valid():
                raise ModelError(
                    f"the file of weights '{tensor.name}' was overwritten; load the model again"
                )
            folders.setdefault(Path(tensor.base_dir), str(tensor.name))
    if len(folders) > 1:
        (one, first), (other, second) = list(folders.items())[:2]
        raise ModelError(
            f"weights '{first}' are in folder '{one}' and weights '{second}' in '{other}'; "
            "save the model with onnx_ir.save first"
        )
    return next(iter(folders), None)


def _tensors(model: onnx_ir.Model) -> Iterator[onnx_ir.TensorProtocol]:
    """Every tensor of a model: initializers and attributes, bodies and functions."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == onnx_ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
            elif attribute.type == onnx_ir.AttributeType.TENSORS:
                yield from attribute.as_tensors()


def _nodes(model: onnx_ir.Model) -> Iterator[onnx_ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


@nothing_else_raised
def to_onnx_ir(model: ModelProto, folder: Path | None = None) -> onnx_ir.Model:
    """A model as an onnx-ir model that shares nothing with it.

    External initializers stay external, and are found wherever the program runs. External tensors
    in attributes, which `onnx_ir.save` would leave where they are, are read.

    Args:
        model: not modified.
        folder: where its external data is.

    Raises:
        ModelError: the model has sparse initializers or attributes, which onnx-ir does not have.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    _refuse_losses(copy)
    try:
        made = onnx_ir.from_proto(copy)
    except onnx_ir.serde.SerdeError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ModelError(f"onnx-ir cannot read the model: {reason}") from None
    if folder is not None:
        for tensor in _tensors(made):
            if isinstance(tensor, onnx_ir.ExternalTensor):
                tensor.base_dir = folder.resolve()
        _embed_attributes(made)
    return made


def _embed_attributes(model: onnx_ir.Model) -> None:
    for node in _nodes(model):
        for name, attribute in list(node.attributes.items()):
            held = attribute.value
            if isinstance(held, onnx_ir.ExternalTensor):
                array = held.numpy()
                embedded = onnx_ir.Tensor(array, dtype=held.dtype, name=held.name)
                node.attributes[name] = onnx_ir.AttrTensor(name, embedded)


def _refuse_losses(model: ModelProto) -> None:
    pending: list[GraphProto] = [model.graph]
    while pending:
        graph = pending.pop()
        for sparse in graph.sparse_initializer:
            raise ModelError(f"onnx-ir would drop the sparse initializer '{sparse.values.name}'")
        for attribute in (a for node in graph.node for a in node.attribute):
            pending.extend((attribute.g, *attribute.graphs))
