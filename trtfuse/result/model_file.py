"""Model files: how large they are, and the hash by which one is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFile:
    """A file that was written: its path, its bytes, and its SHA-256 in hexadecimal digits."""

    path: str
    bytes: int
    sha256: str

    @staticmethod
    def of(path: Path) -> DataFile:
        """Reads a file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return DataFile(str(path), path.stat().st_size, digest)


@dataclass(frozen=True)
class OutputFile:
    """The fused model where it was written.

    Attributes:
        path, sha256: of the file itself.
        bytes: of the file, and of the one with its weights if it has one.
        data: the file with its weights, or None.
    """

    path: str
    bytes: int
    sha256: str
    data: DataFile | None

    @staticmethod
    def of(path: Path, data: Path | None) -> OutputFile:
        """Reads what was written."""
        model, weights = DataFile.of(path), None if data is None else DataFile.of(data)
        size = model.bytes + (0 if weights is None else weights.bytes)
        return OutputFile(model.path, size, model.sha256, weights)


@dataclass(frozen=True)
class OriginalFile:
    """The original where it was read from: its path, and its bytes with the weights beside it."""

    path: str
    bytes: int

    @staticmethod
    def of(path: Path, data: Iterable[Path]) -> OriginalFile | None:
        """Asks for the sizes of files; None where one is gone by now."""
        try:
            return OriginalFile(str(path), sum(each.stat().st_size for each in (path, *data)))
        except OSError:
            return None
