"""Constants: shape and type at once, the numbers when a rule asks for them.

A `Tensor` is a `StoredTensor` (it stands in the model file, embedded or external), a
`FoldedTensor` (a rule computed it) or a `ScaledTensor` (a stored tensor times per-channel
factors, multiplied out only when it is written). The last two keep float64, so that any number
of folds rounds once, to the type of the tensor, at the end.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from trtfuse.errors import ModelError

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

#: Element types that the algebra of rules is for; integers are never regrouped.
FLOATING = frozenset(
    (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
)


#: Tensors of up to this many elements are kept once read; larger ones are read anew.
SMALL = 4096
_PACKED_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}


@lru_cache
def numpy_type(element_type: int) -> np.dtype[Any]:
    """The numpy dtype of a `TensorProto.DataType`."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))


@lru_cache
def type_name(element_type: int) -> str:
    """The name users know a `TensorProto.DataType` by: float32, bfloat16, int64."""
    return "string" if element_type == TensorProto.STRING else str(numpy_type(element_type))


@lru_cache
def _limits(element_type: int) -> tuple[float, float]:
    """The largest finite and the smallest normal number of a floating type."""
    info = ml_dtypes.finfo(numpy_type(element_type))  # type: ignore[no-untyped-call]
    return float(info.max), float(info.smallest_normal)


@lru_cache
def _last_place(element_type: int) -> float:
    """One unit in the last place of a floating type, relative to the number that it is of."""
    return float(ml_dtypes.finfo(numpy_type(element_type)).eps)  # type: ignore[no-untyped-call]


#: The field that holds the numbers of an element type where they are not raw, by bits, and how many
#: entries of it an element takes.
_FIELDS: dict[int, tuple[str, int]] = {
    **dict.fromkeys((TensorProto.INT64,), ("int64_data", 1)),
    **dict.fromkeys((TensorProto.UINT32, TensorProto.UINT64), ("uint64_data", 1)),
    TensorProto.FLOAT: ("float_data", 1),
    TensorProto.COMPLEX64: ("float_data", 2),
    TensorProto.DOUBLE: ("double_data", 1),
    TensorProto.COMPLEX128: ("double_data", 2),
    TensorProto.STRING: ("string_data", 1),
}
#: The element types of ONNX.
ELEMENT_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
#: To look at raw data is to copy it: tensors of more bytes are looked at when they are read.
LOOKED_AT = 1 << 22
#: No message holds more bytes than this.
_ONE_MESSAGE = 1 << 31


def misdeclared(proto: TensorProto) -> str | None:
    """Why nobody can tell what a tensor is: its type, or its dimensions.

    Returns:
        The end of the sentence "initializer 'w' ...", or None where all is well.
    """
    if proto.data_type not in ELEMENT_TYPES:
        return f"is of element type {proto.data_type}, which ONNX does not have"
    if any(size < 0 for size in proto.dims):
        return f"has the dimensions {list(proto.dims)}, and sizes cannot be negative"
    return None


def misfilled(proto: TensorProto, most: int | None = None) -> str | None:
    """Why a tensor does not hold what its type and dimensions ask for.

    Args:
        proto: a tensor that is not `misdeclared`. External data is not looked at.
        most: look only at raw data of up to this many bytes; at all of it if left out.

    Returns:
        The end of the sentence "initializer 'w' ...", or None where all is well.
    """
    if proto.data_location == TensorProto.EXTERNAL:
        return None
    size, element_type = math.prod(proto.dims), proto.data_type
    if element_type != TensorProto.STRING:
        needed = _bytes(size, element_type)
        large = most is not None and most < needed < _ONE_MESSAGE
        if large and proto.HasField("raw_data"):
            return None
        raw = len(proto.raw_data)
        if raw or proto.HasField("raw_data"):
            if raw == needed:
                return None
            shaped = f"{type_name(element_type)}{list(proto.dims)}"
            return f"holds {raw:,} bytes, but {shaped} takes {needed:,}"
    name, entries = _FIELDS.get(element_type, ("int32_data", 1))
    packed = element_type in _PACKED_BITS
    count = _bytes(size, element_type) if packed else size * entries
    held = len(getattr(proto, name))
    if held == count:
        return None
    return f"has {held:,} entries in {name}, but its dimensions {list(proto.dims)} take {count:,}"


def _bytes(size: int, element_type: int) -> int:
    """How many bytes a number of elements takes; types of less than a byte are packed."""
    bits = _PACKED_BITS.get(element_type, 8 * numpy_type(element_type).itemsize)
    return -(-size * bits // 8)


def stands_for(stored: Float64, numbers: Float64, element_type: int) -> bool:
    """Whether stored numbers may be read as others: each is within one unit in the last place."""
    if element_type not in FLOATING or stored.shape != numbers.shape:
        return False
    near = np.abs(numbers - stored) <= _last_place(element_type) * np.abs(stored)
    return bool((near & np.isfinite(stored)).all())


def smallest_normal(element_type: int) -> float:
    """The smallest number of a floating type that has all its digits."""
    return _limits(element_type)[1]


def rounded(values: Float64, element_type: int) -> Array:
    """`values` rounded once to an element type, to nearest, ties to even."""
    with np.errstate(over="ignore", invalid="ignore"):
        if element_type == TensorProto.BFLOAT16:
            values = _to_odd_float32(values)
        return values.astype(numpy_type(element_type))


def _to_odd_float32(values: Float64) -> Array:
    """Rounds to float32, inexact numbers to the neighbour whose last bit is odd.

    ml_dtypes goes through float32, and two roundings to nearest are not one. Rounding to odd on
    the way keeps the second one right.
    """
    single = values.astype(np.float32)
    back = single.astype(np.float64)
    nearer_zero = np.nextafter(single, np.float32(0))
    towards_zero = np.where(np.abs(back) > np.abs(values), nearer_zero, single)
    inexact = (back != values) & np.isfinite(back)
    odd = towards_zero.view(np.uint32) | inexact.astype(np.uint32)
    return np.where(inexact, odd.view(np.float32), single)


class Tensor:
    """A constant.

    Attributes:
        shape: its dimensions.
        type: its element type, a `TensorProto.DataType`.
    """

    __slots__ = ("shape", "type")
    shape: tuple[int, ...]
    type: int

    def array(self) -> Array:
        """The numbers, in the tensor's own type."""
        raise NotImplementedError

    def exact(self) -> Float64:
        """The numbers in float64, before they are rounded to the tensor's type."""
        return self.array().astype(np.float64)

    def integers(self) -> list[int]:
        """The numbers as a list, whatever the shape: runtimes take one axis as a scalar too."""
        return [int(number) for number in self.array().reshape(-1)]

    def to_proto(self, name: str) -> TensorProto:
        """The tensor as ONNX has it, under a name."""
        return numpy_helper.from_array(self.array(), name)

    def scaled(self, factor: Float64) -> Tensor:
        """The tensor times `factor`, which broadcasts to its shape."""
        return ScaledTensor(self, factor)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes its elements take in the tensor's type."""
        return self.size * numpy_type(self.type).itemsize

    @property
    def stored_bytes(self) -> int:
        """How many bytes it takes in a file; types of 4 and 2 bits are packed there."""
        return _bytes(self.size, self.type)

    def misrounding(self) -> str | None:
        """Why rounding to the tensor's type would lose the value, or None where it does not."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type_name(self.type)}{list(self.shape)})"


class StoredTensor(Tensor):
    """A constant as it stands in the model file, read when asked.

    Args:
        proto: the tensor; never modified.
        folder: where its external data is; None if the model came without a folder.
    """

    __slots__ = ("_small", "folder", "proto")

    def __init__(self, proto: TensorProto, folder: Path | None = None) -> None:
        self.proto = proto
        self.folder = folder
        self._small: Array | None = None
        self.shape = tuple(proto.dims)
        self.type = proto.data_type

    @property
    def external(self) -> bool:
        """Whether its data is in a file of its own."""
        return self.proto.data_location == TensorProto.EXTERNAL

    def array(self) -> Array:
        if self._small is not None:
            return self._small
        array = self._read()
        if self.size <= SMALL:
            self._small = array
        return array

    def _read(self) -> Array:
        if not self.external:
            raw = self.proto.raw_data
            if raw and sys.byteorder == "little" and len(raw) == self.nbytes:
                return np.frombuffer(raw, numpy_type(self.type)).reshape(self.shape)
            why_not = misdeclared(self.proto) or misfilled(self.proto)
            if why_not is not None:
                raise ModelError(f"initializer '{self.proto.name}' {why_not}")
            return numpy_helper.to_array(self.proto)
        location = ExternalData.of(self.proto)
        file, size = location.file_of(self), self.stored_bytes
        if size == 0:
            return np.empty(self.shape, numpy_type(self.type))
        data = np.memmap(file, np.uint8, "r", location.offset, (size,))
        if size == self.nbytes:
            return data.view(numpy_type(self.type)).reshape(self.shape)
        # Types of less than a byte are packed; onnx knows how.
        embedded = TensorProto(dims=self.shape, data_type=self.type, raw_data=data.tobytes())
        return numpy_helper.to_array(embedded)

    def to_proto(self, name: str) -> TensorProto:
        if self.proto.name == name:
            return self.proto
        copy = TensorProto()
        copy.CopyFrom(self.proto)
        copy.name = name
        return copy


class FoldedTensor(Tensor):
    """A constant that a rule computed.

    Args:
        values: the numbers, in the element type or, to be rounded when written, in float64.
        element_type: a `TensorProto.DataType`.
    """

    __slots__ = ("values",)

    def __init__(self, values: Array, element_type: int) -> None:
        self.values = values
        self.shape = values.shape
        self.type = element_type

    def array(self) -> Array:
        if self.values.dtype == numpy_type(self.type):
            return self.values
        return rounded(self.values, self.type)

    def exact(self) -> Float64:
        return self.values.astype(np.float64, copy=False)

    def misrounding(self) -> str | None:
        if self.type not in FLOATING or self.size == 0:
            return None
        return _overflow(float(np.max(np.abs(self.values))), self.type)


class FoundTensor(FoldedTensor):
    """A constant that a node computes, in its own type: nothing is left to be rounded.

    Args:
        values, element_type: as in `FoldedTensor`.
    """

    __slots__ = ()

    def misrounding(self) -> str | None:
        # What is not finite is not finite at run time either.
        return None


class FoldedWeights(FoldedTensor):
    """Weights that a rule computed, not from those of a tensor one by one.

    Args:
        values, element_type: as in `FoldedTensor`.
        axis: the axis of the output channels.
    """

    __slots__ = ("axis",)

    def __init__(self, values: Array, element_type: int, axis: int) -> None:
        super().__init__(values, element_type)
        self.axis = axis

    def misrounding(self) -> str | None:
        others = tuple(axis for axis in range(len(self.shape)) if axis != self.axis)
        peaks = np.abs(self.values).max(axis=others, initial=0.0)
        return super().misrounding() or _underflow(peaks, self.type)


class ScaledTensor(Tensor):
    """A stored constant times factors, multiplied out only when it is written.

    Args:
        base: what is scaled.
        factor: float64 of the base's rank, each dimension the base's or 1.
    """

    __slots__ = ("base", "factor")

    def __init__(self, base: Tensor, factor: Float64) -> None:
        self.base = base
        self.factor = factor
        self.shape = base.shape
        self.type = base.type

    def array(self) -> Array:
        return rounded(self.exact(), self.type)

    def exact(self) -> Float64:
        return self.base.exact() * self.factor

    def scaled(self, factor: Float64) -> Tensor:
        with np.errstate(all="ignore"):
            both = self.factor * factor
            zero = (self.factor == 0) | (factor == 0)
            held = zero | (np.isfinite(both) & (np.abs(both) >= np.finfo(np.float64).tiny))
            if not held.all():
                # The factors leave float64 together, though with the numbers they may not.
                return FoldedTensor(self.exact() * factor, self.type)
        return ScaledTensor(self.base, both)

    def misrounding(self) -> str | None:
        if self.size == 0:
            return None
        alike = tuple(axis for axis, size in enumerate(self.factor.shape) if size == 1)
        base = self.base.array()
        with np.errstate(over="ignore", invalid="ignore"):
            peaks = np.maximum(
                base.max(axis=alike, keepdims=True), -base.min(axis=alike, keepdims=True)
            )
            peaks = np.abs(peaks.astype(np.float64) * self.factor)
        # Weights that share a factor lose precision together.
        return _overflow(float(peaks.max()), self.type) or _underflow(peaks, self.type)


def _underflow(peaks: Float64, element_type: int) -> str | None:
    """Why channels whose largest weights these are lose them.

    Below the normal numbers the last bits go, and with them what the scale kept apart from the sum.
    """
    smallest = _limits(element_type)[1]
    lost = (peaks < smallest / 8) & (peaks > 0)
    if not lost.any():
        return None
    return (
        f"all weights of one channel would be at most {peaks[lost].min():.3g}, "
        f"below the normal numbers of {type_name(element_type)} ({smallest:.3g})"
    )


def _overflow(peak: float, element_type: int) -> str | None:
    if math.isnan(peak):
        return "a folded value would not be a number"
    largest = _limits(element_type)[0]
    if peak > largest:
        return (
            f"a folded value would be {peak:.3g}, beyond the largest "
            f"{type_name(element_type)} ({largest:.3g})"
        )
    return None


class ExternalData:
    """Where the data of an external tensor lies.

    Attributes:
        file: the location as the model has it, relative to the model's folder.
        offset, length: in bytes; `length` is None where the model leaves it out.
    """

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: str, offset: int, length: int | None) -> None:
        self.file = file
        self.offset = offset
        self.length = length

    @staticmethod
    def of(proto: TensorProto) -> ExternalData:
        """The location that a tensor names; `ModelError` where its numbers are none."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        try:
            length = entries.get("length")
            return ExternalData(
                entries.get("location", ""),
                int(entries.get("offset") or 0),
                int(length) if length else None,
            )
        except ValueError:
            raise ModelError(
                f"weights '{proto.name}' have an external offset or length that is no number"
            ) from None

    def file_of(self, tensor: StoredTensor) -> Path:
        """The path of the file, once it is certain that it holds the tensor.

        Raises:
            ModelError: the location leaves the model's folder or the folder is not known, or the
                file is missing or too short.
        """
        name, needed = tensor.proto.name, tensor.stored_bytes
        where = f"weights '{name}' are in the external file '{self.file}'"
        if tensor.folder is None:
            raise ModelError(f"{where}, and the model came without a folder; pass its path instead")
        path = tensor.folder / self.file
        outside = tensor.folder.resolve() not in path.resolve().parents
        if not self.file or Path(self.file).is_absolute() or outside:
            raise ModelError(f"{where}, which is outside the folder of the model")
        if not path.is_file():
            raise ModelError(f"{where}, which is missing from '{tensor.folder}'")
        if self.length is not None and self.length != needed:
            raise ModelError(f"{where} with a length of {self.length} bytes, but take {needed}")
        end, size = self.offset + needed, path.stat().st_size
        if self.offset < 0 or end > size:
            raise ModelError(f"{where} up to byte {end}, but the file ends at {size}")
        return path

    def pieces(self, path: Path, size: int, most: int = 1 << 24) -> Iterator[bytes]:
        """`size` bytes from the offset on, in pieces of at most `most`."""
        with path.open("rb") as file:
            file.seek(self.offset)
            while size > 0 and (piece := file.read(min(most, size))):
                size -= len(piece)
                yield piece
