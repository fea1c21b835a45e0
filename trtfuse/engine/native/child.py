"""The child process of a build: one job comes in, and what happens goes out.

Both go as pickles of plain Python objects: the job to the standard input, and pairs of a kind and
its content back through the standard output. What TensorRT prints by itself is kept from there.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import traceback
from dataclasses import asdict
from typing import Any

from .cancel import Cancel
from .log import Log
from .session import Job, RefusedError, run


def main() -> None:
    """Builds what the parent process asks for."""
    try:
        _build()
    except BaseException:  # noqa: BLE001 - the parent shows it as a crash
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # TensorRT takes its time to clear up, and the process ends anyway.
    os._exit(0)


def _build() -> None:
    # What TensorRT prints goes to where stderr goes.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    package, path, job = pickle.load(sys.stdin.buffer)
    sys.path[:] = path
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    log = Log()
    told = 0

    def tell(kind: str, content: Any) -> None:
        nonlocal told
        new = [(message.severity, message.text) for message in log.messages[told:]]
        told += len(new)
        if new:
            pickle.dump(("messages", new), out)
        pickle.dump((kind, content), out)
        # A crash is to leave the last phase behind.
        out.flush()

    try:
        outcome = run(importlib.import_module(package), Job(**job), log, tell, Cancel())
    except RefusedError as error:
        tell("refused", (str(error), error.usage))
    else:
        tell("outcome", asdict(outcome))


def _end_with_the_parent() -> None:
    """Ends the process when the parent is gone: nobody is left to cancel the build."""
    # Not through the buffer, whose lock would be held for good.
    while os.read(0, 1):
        pass
    os._exit(1)
