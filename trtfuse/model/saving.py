"""Writing a model to a file: whole or not at all, and external data kept external."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto

from trtfuse.errors import ModelError
from trtfuse.ir.protos import tensors
from trtfuse.ir.tensor import ExternalData, StoredTensor

#: Tensors of this many bytes and more go to the external file of a model that has one.
EXTERNAL_FROM = 1024
#: Where a tensor begins in the external file, so that it can be mapped into memory.
_ALIGNMENT = 4096


def save_model(model: ModelProto, path: str | Path, folder: Path | None = None) -> Path | None:
    """Writes a model, and its external data to `PATH.data` beside it.

    Both are written under other names first and take their own when they are complete, so that a
    failure leaves what was there. External data is copied in pieces of 16 MiB.

    Args:
        model: not modified.
        path: where to; a file that is there is replaced.
        folder: where the external data of `model` is.

    Returns:
        The file with the external data, or None where there is none.

    Raises:
        ModelError: the file cannot be written, or external data cannot be read.
    """
    path = Path(path)
    message = None if is_external(model) else _message(model)
    if message is not None:
        with written(path) as file:
            file.write(message)
        return None
    beside = path.with_name(path.name + ".data")
    # The data takes its name first, so that the model is never there without it.
    with written(path) as file, written(beside) as data:
        lean = ModelProto()
        lean.CopyFrom(model)
        _move_out(lean, data, folder, beside)
        file.write(lean.SerializeToString())
    return beside


def is_external(model: ModelProto) -> bool:
    """Whether any tensor of a model has its data in a file of its own."""
    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors(model))


def _message(model: ModelProto) -> bytes | None:
    """The model in one message; None if it is larger than protobuf takes (2 GiB)."""
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError):
        return None


def _move_out(model: ModelProto, data: BinaryIO, folder: Path | None, beside: Path) -> None:
    """Writes large tensors to the external file, each once, and lets the model refer to them."""
    copied: dict[tuple[str, int, int], int] = {}
    for tensor in tensors(model):
        external = tensor.data_location == TensorProto.EXTERNAL
        if not external and len(tensor.raw_data) < EXTERNAL_FROM:
            continue
        if external:
            stored, location = StoredTensor(tensor, folder), ExternalData.of(tensor)
            source, size = location.file_of(stored), stored.stored_bytes
            if beside.exists() and source.samefile(beside):
                raise ModelError(
                    f"cannot write '{beside}': the model reads its weights from there; "
                    "choose another name"
                )
            place = location.file, location.offset, size
            offset = copied.get(place)
            if offset is None:
                offset = copied[place] = _align(data)
                for piece in location.pieces(source, size):
                    data.write(piece)
        else:
            offset, size = _align(data), len(tensor.raw_data)
            data.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", beside.name), ("offset", offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))


def _align(data: BinaryIO) -> int:
    """Goes on to where a tensor may begin."""
    data.write(bytes(-data.tell() % _ALIGNMENT))
    return data.tell()


@contextlib.contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, and is gone when it does not.

    Raises:
        ModelError: it cannot be written.
    """
    passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"cannot write '{path}': it is not a regular file")
        with passing.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)
    except OSError as error:
        raise ModelError(f"cannot write '{path}': {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            passing.unlink(missing_ok=True)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file."""
    try:
        return one.samefile(other)
    except OSError:
        return False
