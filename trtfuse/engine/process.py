"""The process that TensorRT runs in: a child of its own for each build, or this one.

A crash of TensorRT ends the process that it happens in. In a child it is an error like others, and
Ctrl-C ends the child at once, wherever the builder is.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from trtfuse.engine.backend import Backend
from trtfuse.engine.native.cancel import CancelledError, cancellable
from trtfuse.engine.native.log import Capture, Log
from trtfuse.engine.native.session import Job, Outcome, ParserError, RefusedError, Tell, forget, run
from trtfuse.errors import EngineError, UsageError

#: Loads the files that a child needs, and not the rest of this package.
_CHILD = """
import importlib.util as u, sys
s = u.spec_from_file_location("native", sys.argv[1] + "/__init__.py",
                              submodule_search_locations=[sys.argv[1]])
m = sys.modules["native"] = u.module_from_spec(s)
s.loader.exec_module(m)
from native.child import main
main()
"""
_NATIVE = Path(__file__).with_name("native")

#: A build in this process has the logger and the streams of the process to itself.
_ONE_AT_A_TIME = threading.Lock()


def in_this_process(backend: Backend, job: Job, log: Log, tell: Tell) -> Outcome:
    """Builds in this process, which a crash of TensorRT ends.

    Args:
        backend: the package that builds.
        job: what to build.
        log: what TensorRT says goes there.
        tell: see `trtfuse.engine.native.session.Tell`.

    Raises:
        EngineError: TensorRT cannot take the model, or the build was cancelled.
        UsageError: something in the job does not fit.
    """
    with _ONE_AT_A_TIME, cancellable() as cancel, Capture(log) as capture:

        def told(kind: str, content: Any) -> None:
            with capture.paused():
                tell(kind, content)

        try:
            outcome = run(backend.trt, job, log, told, cancel)
        except RefusedError as error:
            raise _refusal(str(error), error.usage) from None
        except CancelledError:
            raise EngineError("the build was cancelled") from None
        if outcome.parsed and outcome.plan is None and backend.rtx:
            forget(backend.trt)
    return outcome


def in_a_child(
    backend: Backend, job: Job, log: Log, tell: Tell, kept: Callable[[], str]
) -> Outcome:
    """Builds in a child process, which ends with the build.

    Args:
        backend: the package that builds.
        job: what to build.
        log: what TensorRT says goes there.
        tell: see `trtfuse.engine.native.session.Tell`.
        kept: keeps the model for who looks into a crash, and says where.

    Raises:
        EngineError: as for `in_this_process`, or TensorRT crashed.
        UsageError: as for `in_this_process`.
    """
    if not sys.executable:
        raise EngineError("this Python has no program to start; build with in_process=True")
    with tempfile.TemporaryFile() as printed:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(_NATIVE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            # Ctrl-C in a terminal goes to a whole group of processes, and the parent sees to it.
            start_new_session=True,
        )
        to_child, from_child = child.stdin, child.stdout
        assert to_child is not None
        assert from_child is not None
        phase = "starting TensorRT"
        try:
            _send(to_child, (backend.name, sys.path, asdict(job)))
            while True:
                kind, content = _receive(from_child)
                if kind == "messages":
                    for severity, text in content:
                        log.note(severity, text)
                elif kind == "refused":
                    raise _refusal(*content)
                elif kind == "outcome":
                    errors = tuple(ParserError(**error) for error in content.pop("errors"))
                    return Outcome(**content, errors=errors)
                else:
                    phase = content[0] if kind == "progress" else "parsing the model"
                    tell(kind, content)
        except _GoneError:
            raise EngineError(
                f"{backend.title} crashed while building {job.where} ({_end(child.wait())} in the "
                f"phase '{phase}'); {kept()}"
            ) from None
        finally:
            child.kill()
            child.wait()
            for stream in (to_child, from_child):
                # What was not yet written has nobody left to read it.
                with contextlib.suppress(OSError):
                    stream.close()
            printed.seek(0)
            for line in printed.read().decode(errors="replace").splitlines():
                if line.strip():
                    log.note("warning", line.rstrip())


class _GoneError(Exception):
    """The child has ended before it said so."""


def _send(to_child: IO[bytes], content: object) -> None:
    try:
        pickle.dump(content, to_child)
        to_child.flush()
    except OSError:
        raise _GoneError from None


def _receive(from_child: IO[bytes]) -> tuple[str, Any]:
    try:
        kind, content = pickle.load(from_child)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise _GoneError from None
    return kind, content


def _refusal(message: str, usage: bool) -> EngineError | UsageError:
    return UsageError(message) if usage else EngineError(message)


def _end(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, often for want of memory" if name == "SIGKILL" else name
