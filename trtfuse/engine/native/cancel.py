"""Ending a build before it is done, without an exception passing through TensorRT's own code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

#: Told the phase, how many of its steps are done, and of how many.
Told = Callable[[str, int, int], None]


class CancelledError(Exception):
    """Ctrl-C was pressed, and its handler goes on."""


class Cancel:
    """Why a build is to end before it is done, if it is.

    Attributes:
        error: what the callback that is told of progress raised.
        signal: Ctrl-C, as Python hands it to a handler.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.signal: tuple[int, FrameType | None] | None = None

    @property
    def asked(self) -> bool:
        """Whether the build is to end."""
        return self.error is not None or self.signal is not None

    def stop_if_asked(self) -> None:
        """Ends the build where nothing of TensorRT is running.

        Raises:
            CancelledError: Ctrl-C was pressed, and its handler goes on.
            BaseException: what the callback raised.
        """
        if self.error is not None:
            raise self.error
        if self.signal is not None:
            raise CancelledError


@contextlib.contextmanager
def cancellable() -> Iterator[Cancel]:
    """Notes Ctrl-C while TensorRT works, and lets it have its effect when the block is left.

    Python would raise KeyboardInterrupt wherever it runs next, which may be in the logger that
    TensorRT has called, and no exception may pass from there.
    """
    cancel = Cancel()

    def note(number: int, frame: FrameType | None) -> None:
        cancel.signal = number, frame

    # Only the main thread gets signals. A handler that is not callable is the system's own.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    if callable(handler):
        signal.signal(signal.SIGINT, note)
    try:
        yield cancel
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
            if cancel.signal is not None:
                handler(*cancel.signal)


def monitor(trt: ModuleType, cancel: Cancel, told: Told) -> Any:
    """A progress monitor that tells of each step, and stops the builder if asked to."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, _: str | None, steps: int) -> None:
            self.steps[phase] = steps
            self.tell(phase, 0)

        def step_complete(self, phase: str, step: int) -> bool:
            self.tell(phase, step + 1)
            return not cancel.asked

        def phase_finish(self, phase: str) -> None:
            self.tell(phase, self.steps.get(phase, 0))

        def tell(self, phase: str, done: int) -> None:
            if cancel.asked:
                return
            try:
                told(phase, done, self.steps.get(phase, done))
            except BaseException as error:  # noqa: BLE001 - raised when the builder has returned
                cancel.error = error

    return Monitor()
