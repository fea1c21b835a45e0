"""What TensorRT says: by its logger, and what its parser prints of its own accord."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Self, get_args

Severity = Literal["error", "warning", "info", "verbose"]

#: What follows other errors on a machine without a driver, and says nothing of their cause.
_AFTERMATH = "catchCudaError"
#: What is said on every machine or in every build, whatever the model.
_NOISE = ("Thread context has not been set", "The logger passed into create")
_CODE = re.compile(r"^.*?Error Code \d+: (?P<kind>[^(]*)\((?P<text>.*)\)\s*$", re.DOTALL)
#: Places in TensorRT's sources, which tell its users nothing.
_PLACES = (
    re.compile(r"\s*\[checkMacros\.cpp::catchCudaError.*", re.DOTALL),
    re.compile(r"(?:\s*\.)?\s*In \w+ at \S+:\d+\s*"),
    re.compile(r"\[[\w/]+\.\w+:\d+: \w+\]\s*"),
    re.compile(r"\bMyelinCheckException:\s*"),
    re.compile(r"\b[\w/]+\.(?:cpp|h):\d+:\s*"),
    re.compile(r"\bCHECK\([^ ]*\) failed\.\s*"),
    re.compile(r"^Assertion .*? failed\.\s*"),
)
#: A message that is longer ends with a sentence before this.
_LONGEST = 400


@dataclass(frozen=True)
class Message:
    """One message of TensorRT: "error", "warning", "info" or "verbose", and its text."""

    severity: Severity
    text: str


class Log:
    """The messages of one build, in the order in which they came."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def note(self, severity: Severity, text: str) -> None:
        """Takes one message in, unless it says nothing about the model."""
        if severity == "verbose" or not any(noise in text for noise in _NOISE):
            self.messages.append(Message(severity, text))

    def reason(self) -> str | None:
        """The last error in one line, without places in TensorRT's sources."""
        errors = [message.text for message in self.messages if message.severity == "error"]
        telling = [text for text in errors if _AFTERMATH not in text] or errors
        return plain(telling[-1]) if telling else None


def plain(text: str) -> str:
    """A message of TensorRT in one line, without error codes and places in its sources."""
    coded = _CODE.match(text)
    said = coded["text"] if coded else text
    for place in _PLACES:
        said = place.sub("", said)
    said = " ".join(said.split())
    if len(said) > _LONGEST:
        ends = [end.end() for end in re.finditer(r"[.;)](?= )", said[:_LONGEST])]
        said = said[: ends[-1]] if ends else said[:_LONGEST]
    said = said.strip(" .;!")
    # Some end with the bracket of the macro that wrote them.
    return said.removesuffix(")") if said.count(")") > said.count("(") else said


@contextlib.contextmanager
def logged(trt: ModuleType, log: Log) -> Iterator[Any]:
    """TensorRT's logger, while it writes to `log`.

    TensorRT keeps a pointer to the first logger that it sees, so there is one for as long as the
    process lives, and what it writes to changes.
    """
    logger = _logger(trt)
    logger.sink = log
    try:
        yield logger
    finally:
        logger.sink = None


@functools.cache
def _logger(trt: ModuleType) -> Any:
    severities: dict[Any, Severity] = {
        getattr(trt.ILogger, severity.upper()): severity for severity in get_args(Severity)
    }

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.sink: Log | None = None

        def log(self, severity: Any, text: str) -> None:
            if self.sink is not None:
                # What is left over is INTERNAL_ERROR.
                self.sink.note(severities.get(severity, "error"), text)

    return Logger()


class Capture:
    """Takes what native code prints to stdout and stderr into a log, as warnings.

    TensorRT prints some of its reasons past the logger. Everything that the process prints inside
    the block is taken, but for what is printed while it is `paused`.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        for descriptor in (1, 2):
            # A process may run without one.
            with contextlib.suppress(OSError):
                self._kept.append((os.dup(descriptor), descriptor))
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for copy, _descriptor in self._kept:
            os.close(copy)
        self._file.seek(0)
        for line in self._file.read().decode(errors="replace").splitlines():
            if line.strip():
                self._log.note("warning", line.rstrip())
        self._file.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Lets through what is printed inside the block."""
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def _take(self) -> None:
        _flush()
        for _, descriptor in self._kept:
            os.dup2(self._file.fileno(), descriptor)

    def _give_back(self) -> None:
        _flush()
        for copy, descriptor in self._kept:
            os.dup2(copy, descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be missing, closed, or of a kind that has nothing to flush.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
