"""Reading a model from a file or a proto: checked, and put right where that is possible."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto

from trtfuse.analysis.shapes import without_weights
from trtfuse.errors import ModelError
from trtfuse.ir.protos import tensors
from trtfuse.ir.tensor import ExternalData
from trtfuse.model.acceptance import look_over, put_right
from trtfuse.model.model import Model
from trtfuse.progress import Steps

#: The file, the proto in it, the graph, and what the checker says.
_STEPS = 4
#: Models with more bytes of weights than this are not given to the checker in one message, which
#: protobuf limits to 2 GiB.
_ONE_MESSAGE = 1 << 30


def read_file(path: Path, progress: Steps | None = None) -> Model:
    """Reads a model from a file, with its external data beside it.

    Raises:
        ModelError: as `read_proto`, or the file cannot be read.
    """
    try:
        content = path.read_bytes()
        _tell(progress, 1)
        proto = parsed(content, f"'{path}'")
        return read_proto(proto, path.parent, content, path=path, ours=True, progress=progress)
    except OSError as error:
        raise ModelError(f"cannot read '{path}': {error.strerror}") from None


def read_proto(
    proto: ModelProto,
    folder: Path | None,
    content: bytes | ModelProto,
    *,
    path: Path | None = None,
    ours: bool,
    progress: Steps | None = None,
) -> Model:
    """The model of a proto, put right where the checker does not take it as it is.

    Args:
        proto: modified only if it is ours.
        folder: where its external data is, if known.
        content: what to give to the checker.
        path: where the model was read from, if it was.
        ours: whether nobody else has the proto.
        progress: told how many steps are done, and of how many.
    """
    _tell(progress, 2)
    try:
        model = Model(proto, folder)
        _tell(progress, 3)
        if folder is not None:
            _find_external_data(model)
        objection = _objection(_checked(model, content, path))
        if objection is None:
            model.notes += look_over(proto)
            return model
    except ModelError:
        # Of nodes that are not in order, for one.
        external = any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors(proto))
        objection = None if external else _objection(content)
    if not ours:
        copy = ModelProto()
        copy.CopyFrom(proto)
        proto = copy
    notes = put_right(proto)
    model = Model(proto, folder)
    if folder is not None:
        _find_external_data(model)
    said = [] if objection is None else [f"ONNX's checker refuses the model: {objection}"]
    model.notes[:0] = said + notes
    return model


def _tell(progress: Steps | None, done: int) -> None:
    if progress is not None:
        progress(done, _STEPS)


def _checked(
    model: Model, content: bytes | ModelProto, path: Path | None
) -> bytes | str | ModelProto:
    """What of a model to give to the checker, which looks for external data beside a file."""
    if path is not None:
        return str(path) if model.external else content
    weights = sum(value.tensor.nbytes for value in model.graph.initializers if value.tensor)
    return _without_data(model) if model.external or weights > _ONE_MESSAGE else content


def _objection(content: bytes | str | ModelProto) -> str | None:
    """What ONNX's checker has against a model."""
    try:
        onnx.checker.check_model(content)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        EncodeError,
    ) as error:
        return " ".join(str(error).split()).replace(" ==> Context: ", "; ")
    return None


def parsed(data: bytes, where: str) -> ModelProto:
    """The proto that bytes hold, told where they are from."""
    if not data:
        raise ModelError(f"{where} is empty, not an ONNX model")
    try:
        return ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(f"{where} is not an ONNX model, or only the beginning of one") from None


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
