"""Progress goes to a terminal, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_progress_bar_of_the_build_goes_to_a_terminal(folder: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "trtfuse", "build", "m.onnx"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as ran:
        os.close(theirs)
        shown = b""
        # Linux reports the end of a terminal as an error.
        while chunk := _read(ours):
            shown += chunk
        assert ran.stdout is not None
        out = ran.stdout.read()
    os.close(ours)
    assert ran.returncode == 0
    assert b"Building engine" in shown
    assert b"Optimizing graph" in shown
    assert out.startswith("m.onnx: built with ")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
