"""Progress goes to a terminal, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CONV

import trtfuse
from trtfuse.cli.progress import _TITLES


def on_a_terminal(*arguments: str) -> tuple[bytes, str]:
    """What a command that ends well shows on a terminal, and what it prints."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "trtfuse", *arguments]
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
    return shown, out


def test_stages_are_told_in_plain_english(folder: Path) -> None:
    shown, out = on_a_terminal("fuse", "m.onnx", "--verify", "model")
    # What is shown last, before the display goes, is certain; what comes before may be too short.
    assert b"Saving" in shown
    assert out.startswith("m.onnx: 3 nodes, ")
    assert b"wrote" not in shown


@pytest.mark.usefixtures("folder")
def test_of_several_models_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = on_a_terminal("fuse", "m.onnx", ".", "-o", "out")
    assert b"m.onnx: Saving" in shown


@pytest.mark.usefixtures("folder")
def test_nothing_is_shown_where_it_is_to_be_quiet() -> None:
    assert on_a_terminal("fuse", "m.onnx", "-q") == (b"", "")


def test_every_stage_has_a_title(folder: Path) -> None:
    stages: list[str] = []
    trtfuse.fuse(folder / "m.onnx", verify="model", progress=lambda stage, *_: stages.append(stage))
    trtfuse.verify(CONV, CONV, progress=lambda stage, *_: stages.append(stage))
    trtfuse.inspect(CONV, progress=lambda stage, *_: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [title for title in _TITLES if title != "save"]


def test_a_progress_bar_of_the_build_goes_to_a_terminal(folder: Path) -> None:
    shown, out = on_a_terminal("build", "m.onnx")
    assert b"Building engine" in shown
    assert b"Optimizing graph" in shown
    assert out.startswith("m.onnx: built with ")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
