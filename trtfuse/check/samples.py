"""Inputs of the user's own for the check of a whole model: arrays, or files of them.

What is read: a .npz with an array for each input; a .npy, for a model of one input; a .json as
`polygraphy run --save-inputs` writes it, with any number of samples; a folder of those. Nothing
that is pickled is read.
"""

from __future__ import annotations

import base64
import io
import json
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from trtfuse.analysis.shapes import type_and_shape
from trtfuse.analysis.wording import shown
from trtfuse.check.inputs import runtime_inputs
from trtfuse.errors import UsageError
from trtfuse.ir.graph import Shape
from trtfuse.ir.tensor import Array, numpy_type
from trtfuse.model.model import Model

#: A sample, or a file or folder of samples.
Given: TypeAlias = "str | os.PathLike[str] | Array | Mapping[str, Any]"
#: What stands for inputs wherever they are asked for.
Inputs: TypeAlias = "Given | Sequence[Given]"

_SUFFIXES = (".json", ".npy", ".npz")
_POLYGRAPHY = "`polygraphy run --save-inputs` writes it"
#: So many files are named.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Sample:
    """An array for each input of a model.

    Attributes:
        name: where it is from.
        feeds: the arrays.
    """

    name: str
    feeds: dict[str, Array]


class Samples:
    """The samples that a user gives, each read when its turn comes.

    Args:
        model: what they are for. All of them are read once to see whether they fit.
        given: the samples.

    Attributes:
        source: where they come from.

    Raises:
        UsageError: a file cannot be read or is of no kind that is known, or an array does not fit
            the model.
    """

    def __init__(self, model: Model, given: Inputs) -> None:
        inputs = runtime_inputs(model)
        if not inputs:
            raise UsageError("the model has no inputs; leave `inputs` out")
        self._declared = {v.name: type_and_shape(model.graph.inputs[v].type) for v in inputs}
        self._given = _listed(given)
        paths = [str(each) for each in self._given if isinstance(each, Path)]
        named = list(dict.fromkeys(paths)) or ["arrays"]
        more = [f"{len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
        self.source = ", ".join((*named[:_MOST_NAMED], *more))
        self._count = sum(1 for _ in self)
        if not self._count:
            raise UsageError("`inputs` is empty; give at least one sample")

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        """Reads them one by one."""
        for number, given in enumerate(self._given, 1):
            if isinstance(given, Path):
                for file in _files(given):
                    for name, arrays in _read(file):
                        yield Sample(name, self._fitting(name, arrays))
            else:
                name = f"sample {number}"
                yield Sample(name, self._fitting(name, given))

    def _fitting(self, where: str, given: Any) -> dict[str, Array]:
        """The arrays of a sample, in the order of the inputs."""
        has = ", ".join(self._declared)
        if not isinstance(given, Mapping):
            if len(self._declared) > 1:
                raise UsageError(
                    f"'{where}' is a single array, but the model has the inputs {has}; "
                    "give arrays by name, like a .npz has them"
                )
            given = {next(iter(self._declared)): given}
        for name in given:
            if name not in self._declared:
                raise UsageError(f"'{where}' has an array '{name}'; the model's inputs are {has}")
        feeds: dict[str, Array] = {}
        for name, (element_type, shape) in self._declared.items():
            if name not in given:
                raise UsageError(f"'{where}' has no array for the input '{name}'")
            if element_type is None:
                raise UsageError(f"input '{name}' is not a tensor, so no array can be given for it")
            feeds[name] = _typed(where, name, given[name], numpy_type(element_type))
            _compare_shapes(where, name, feeds[name], shape)
        return feeds


def _listed(given: Any) -> list[Any]:
    """What is given, one by one, with paths for files and folders."""
    if isinstance(given, (str, os.PathLike, np.ndarray, Mapping)):
        given = [given]
    if not isinstance(given, Iterable):
        raise UsageError(
            f"`inputs` are arrays by input name, or a path, not of type {type(given).__name__}"
        )
    return [Path(each) if isinstance(each, (str, os.PathLike)) else each for each in given]


def _typed(where: str, name: str, given: Any, wanted: np.dtype[Any]) -> Array:
    try:
        array = np.asarray(given, order="C")
    except Exception:  # noqa: BLE001 - what other libraries call an array raises anything
        raise UsageError(f"'{name}' in '{where}' is not an array") from None
    if wanted.kind == "O" and array.dtype.kind in "OSU":
        return array.astype(object)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype != wanted:
        said = f"'{name}' in '{where}' is {array.dtype}, but the input is {wanted}"
        raise UsageError(f"{said}; convert it with `.astype`")
    return array


def _compare_shapes(where: str, name: str, array: Array, declared: Shape | None) -> None:
    if declared is None:
        return
    fits = array.ndim == len(declared) and all(
        size == dim or not isinstance(dim, int)
        for size, dim in zip(array.shape, declared, strict=True)
    )
    if not fits:
        raise UsageError(
            f"'{name}' in '{where}' has shape {list(array.shape)}, "
            f"which does not fit the input's {shown(declared)}"
        )


def _files(path: Path) -> list[Path]:
    """The files that a path stands for."""
    try:
        if not path.is_dir():
            return [path]
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None
    if not files:
        raise UsageError(f"the folder '{path}' has no .npz, .npy or .json files in it")
    return files


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """The samples in a file, by what they are to be called."""
    kind = path.suffix.lower()
    if kind not in _SUFFIXES:
        raise UsageError(f"inputs are read from .npz, .npy and .json files, not from '{path}'")
    try:
        if kind == ".json":
            yield from _from_polygraphy(path, path.read_bytes())
        else:
            with path.open("rb") as file:
                save = "numpy.savez" if kind == ".npz" else "numpy.save"
                yield (
                    str(path),
                    _from_numpy(file, f"'{path}'", f"a {kind} file; `{save}` writes one"),
                )
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror or error}") from None


#: What numpy raises at files that are cut off, damaged, encrypted, or something else.
_UNREADABLE = (
    EOFError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def _from_numpy(file: IO[bytes], where: str, wanted: str) -> Any:
    """An array, or arrays by name.

    Args:
        file: what they are read from.
        where: what that is called.
        wanted: what it should be, if it is something else.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except _UNREADABLE as error:
        if str(error).startswith("Object arrays"):
            raise UsageError(
                f"{where} has pickled Python objects, which are not read; save arrays of numbers"
            ) from None
        raise UsageError(f"{where} is not {wanted}") from None


def _from_polygraphy(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Array]]]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError(f"'{path}' is not JSON as {_POLYGRAPHY}") from None
    samples = read if isinstance(read, list) else [read]
    for number, sample in enumerate(samples, 1):
        if not isinstance(sample, dict):
            raise UsageError(f"'{path}' is not JSON as {_POLYGRAPHY}")
        arrays = {name: _decoded(path, name, entry) for name, entry in sample.items()}
        yield f"{path}, sample {number}" if len(samples) > 1 else str(path), arrays


def _decoded(path: Path, name: str, entry: Any) -> Array:
    where, wanted = f"'{name}' in '{path}'", f"an array as {_POLYGRAPHY}"
    try:
        content = base64.b64decode(entry["array"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{where} is not {wanted}") from None
    array: Array = _from_numpy(io.BytesIO(content), where, wanted)
    return array
