"""The models that a command is given: files, folders of them, and stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from trtfuse.errors import ModelError, UsageError
from trtfuse.model.reading import parsed

#: What stands for stdin in place of a model, and for stdout in place of an output.
DASH = Path("-")
#: How trtfuse names what it writes where nobody else does: a folder is not fused twice.
WRITTEN = ".fused.onnx"


@dataclass(frozen=True)
class Source:
    """One model to read.

    Attributes:
        path: of its file; `-` for stdin.
        model: what the functions of this package take: the path, or what stdin held.
        name: what to call it.
    """

    path: Path
    model: Path | ModelProto
    name: str

    @property
    def stdin(self) -> bool:
        """Whether it came through stdin."""
        return self.path == DASH


def source(path: Path) -> Source:
    """One model.

    Raises:
        UsageError: stdin is a terminal.
        ModelError: there is no model on stdin.
    """
    if path == DASH:
        return Source(path, parsed(stdin(), "stdin"), "stdin")
    return Source(path, path, str(path))


def pair(one: Path, other: Path) -> tuple[Source, Source]:
    """Two models, of which one at most is on stdin."""
    if one == other == DASH:
        raise UsageError("only one of the models can be read from stdin")
    return source(one), source(other)


def sources(paths: Sequence[Path]) -> list[Source]:
    """Models in the order given; of a folder its .onnx files, but for those that trtfuse wrote.

    Raises:
        UsageError: stdin is a terminal, or a folder has no model.
        ModelError: there is no model on stdin, or a folder cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        found += _models_in(path) if is_folder(path) else [path]
    return [source(path) for path in dict.fromkeys(found)]


def is_folder(path: Path) -> bool:
    """Whether a path stands for the models in a folder."""
    return path != DASH and path.is_dir()


def _models_in(folder: Path) -> list[Path]:
    try:
        listed = sorted(folder.iterdir())
    except OSError as error:
        raise ModelError(f"cannot read '{folder}': {error.strerror}") from None
    models = [path for path in listed if path.suffix == ".onnx" and path.is_file()]
    found = [path for path in models if not path.name.endswith(WRITTEN)]
    if not found:
        besides = f" but for {len(models)} written by trtfuse" if models else ""
        raise UsageError(f"there are no .onnx files in '{folder}'{besides}")
    return found


def stdin() -> bytes:
    """What is on stdin.

    Raises:
        UsageError: nothing can be, since it is a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("stdin is a terminal; redirect it, as in `trtfuse ... - < FILE`")
    return sys.stdin.buffer.read()
