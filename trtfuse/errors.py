"""Every error that a user of trtfuse can meet.

Each carries one line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class TrtfuseError(Exception):
    """The base class of all errors in this package."""

    def __init__(self, *args: object) -> None:
        # Names in a model may have line breaks, and a message is one line.
        super().__init__(*("\\n".join(a.splitlines()) if isinstance(a, str) else a for a in args))


class UsageError(TrtfuseError, ValueError):
    """An argument that is not valid: an unknown rule, a malformed shape, a wrong level."""


class ModelError(TrtfuseError):
    """A model that cannot be read, is not valid ONNX, or cannot be written."""


class VerifyError(TrtfuseError):
    """A check that could not run, as opposed to one that ran and failed."""


@dataclass(frozen=True)
class Unsupported:
    """A node that TensorRT does not support.

    Attributes:
        operator: with its domain, like `com.microsoft.FusedConv`.
        name: of the node; where it has none, its first output.
        because: what is wrong with it.
        advice: what to do about it.
        origin: where it came from, as far as is known: the nodes that it was fused from, the
            function or body that it is in, the line of the program that was exported.
    """

    operator: str
    name: str
    because: str
    advice: str
    origin: str = ""

    def __str__(self) -> str:
        """The node in one line."""
        return f"{self.operator} {self.named}: {self.because}; {self.advice}"

    @property
    def named(self) -> str:
        """Its name, and where it came from."""
        return f"'{self.name}' ({self.origin})" if self.origin else f"'{self.name}'"


class EngineError(TrtfuseError):
    """TensorRT is missing, does not support or build a model, or its layers cannot be read.

    Attributes:
        unsupported: the nodes that TensorRT does not support, if they are the reason.
    """

    def __init__(self, message: str, unsupported: Iterable[Unsupported] = ()) -> None:
        super().__init__(message)
        self.unsupported = tuple(unsupported)


class InternalError(TrtfuseError):
    """A bug in trtfuse, or in a rule; its cause is the original exception."""


class NotEnoughMemoryError(TrtfuseError, MemoryError):
    """There is not enough memory."""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())


def internal(error: BaseException, where: str = "") -> InternalError:
    """What a user is told of an error that nobody expected.

    Args:
        error: whatever came up; give it as the cause of what is returned.
        where: what raised it, like "rule 'conv-scale' at conv1".
    """
    said = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    return InternalError(
        f"internal error{f' of {where}' if where else ''}, {said}; please report it with the model"
    )


def nothing_else_raised(function: Callable[P, R]) -> Callable[P, R]:
    """Lets a public function raise no errors but those of this module.

    Arguments that the function does not have are a TypeError as ever, and what a caller's own
    `progress` raises passes as it is.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        signature.bind(*args, **kwargs)
        raised: list[BaseException] = []
        if callable(progress := kwargs.get("progress")):
            kwargs["progress"] = _remembering(progress, raised)
        try:
            return function(*args, **kwargs)
        except TrtfuseError:
            raise
        except Exception as error:
            if any(error is from_progress for from_progress in raised):
                raise
            if isinstance(error, MemoryError):
                said = one_line(error) or f"{function.__name__} needs more than there is"
                raise NotEnoughMemoryError(f"out of memory: {said}") from error
            raise internal(error) from error

    return guarded


def _remembering(progress: Callable[..., Any], raised: list[BaseException]) -> Callable[..., Any]:
    """A caller's function that keeps in mind what it raises."""

    @functools.wraps(progress)
    def told(*args: Any) -> Any:
        try:
            return progress(*args)
        except BaseException as error:
            raised.append(error)
            raise

    return told
