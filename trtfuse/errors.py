"""Every error that a user of trtfuse can meet.

Each carries one line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtfuse.engine.unsupported import Unsupported


class TrtfuseError(Exception):
    """What all errors of this package have in common, to catch them together."""


class UsageError(TrtfuseError, ValueError):
    """An argument that makes no sense: an unknown rule, a malformed shape, a wrong level."""


class ModelError(TrtfuseError):
    """A model that cannot be read, is not valid ONNX, or cannot be written."""


class VerifyError(TrtfuseError):
    """A check that could not be made, as opposed to one that was made and failed."""


class EngineError(TrtfuseError):
    """TensorRT is missing, cannot take or build a model, or its layers cannot be read.

    Attributes:
        unsupported: the nodes that TensorRT cannot take (`trtfuse.engine.unsupported.Unsupported`),
            where they are the reason.
    """

    def __init__(self, message: str, unsupported: Iterable[Unsupported] = ()) -> None:
        super().__init__(message)
        self.unsupported = tuple(unsupported)
