"""Ctrl-C during a build: it stops, nothing is left behind, and Python's own handler has its say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model

import trtfuse
from trtfuse.errors import EngineError


@pytest.fixture
def handler() -> Iterator[None]:
    """Puts the handler of Ctrl-C back."""
    kept = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, kept)


def press(phase: str, done: int, total: int) -> None:
    """Presses Ctrl-C where a build begins to optimize."""
    if phase == "Optimizing graph" and done == 0:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("in_process", [False, True])
def test_ctrl_c_ends_the_build_with_keyboard_interrupt(in_process: bool) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = model("(float[2] x) => (float[2] y) { [relu] y = Relu(x) }")
    with pytest.raises(KeyboardInterrupt):
        trtfuse.build(made, progress=press, in_process=in_process)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert trtfuse.build(made).kernels == 1


@pytest.mark.usefixtures("handler")
def test_a_handler_that_goes_on_gets_an_error_of_ours() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    made = model("(float[2] x) => (float[2] y) { [relu] y = Relu(x) }")
    with pytest.raises(EngineError, match=r"^the build was cancelled$"):
        trtfuse.build(made, progress=press, in_process=True)
    assert seen == [signal.SIGINT]
    # A child goes on as well: nobody asked for its end.
    assert trtfuse.build(made, progress=press).kernels == 1


def test_a_build_in_another_thread_leaves_the_handler_alone() -> None:
    made = model("(float[2] x) => (float[2] y) { [relu] y = Relu(x) }")
    handler = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        trtfuse.build(made, progress=lambda *_: seen.append(signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(seen) == {handler}


def test_the_command_leaves_nothing_behind_and_says_130(tmp_path: Path) -> None:
    onnx.save(
        model(
            "(float[4, 64] x) => (float[4, 64] y) { [product] p = MatMul(x, w) y = Relu(p) }",
            w=np.ones((64, 64), np.float32),
        ),
        tmp_path / "m.onnx",
    )
    # Ctrl-C is pressed by the progress of the build itself, so that it always falls into it.
    program = (
        "import os, signal, trtfuse.cli, trtfuse.cli.build, contextlib\n"
        # A shell lets its jobs in the background ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@contextlib.contextmanager\n"
        "def press(quiet):\n"
        "    yield lambda phase, done, total: os.kill(os.getpid(), signal.SIGINT)\n"
        "trtfuse.cli.build.shown_build = press\n"
        "trtfuse.cli.main(['build', 'm.onnx'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (130, "", "")
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]
