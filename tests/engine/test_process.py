"""The child process of a build: what becomes of a crash, of Ctrl-C, and of the child itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.engine import parse, process


def crashing() -> ModelProto:
    """An Attention whose query is its key, which ends the process of TensorRT for RTX 1.7.1."""
    return model(
        "(float16[1, 2, 8, 64] q, float16[1, 2, 8, 64] v) => (float16[1, 2, 8, 64] y) "
        "{ [attention] y = Attention(q, q, v) }",
        opset=23,
        ir_version=10,
    )


def long_build() -> ModelProto:
    """Layers that all differ, so that the builder compiles each by itself: a second and more."""
    layers: list[str] = []
    weights: dict[str, np.ndarray] = {}
    for size in (1, 3, 5, 7):
        pads, last = [size // 2] * 4, "x"
        for i in range(48):
            name = f"{size}_{i}"
            weights[f"w{name}"] = np.full((4 + i, 3 + i, size, size), 0.01, np.float32)
            layers.append(
                f"c{name} = Conv<pads = {pads}>({last}, w{name}) x{name} = Sigmoid(c{name})"
            )
            last = f"x{name}"
    outputs = ", ".join(f"float[1, 51, 56, 56] x{size}_47" for size in (1, 3, 5, 7))
    return model(f"(float[1, 3, 56, 56] x) => ({outputs}) {{ {' '.join(layers)} }}", **weights)


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets TensorRT have what is known to crash it."""
    monkeypatch.setattr(parse, "crashing", lambda *_: iter(()))


@pytest.fixture
def kept_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of models are kept after a crash."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("unguarded")
def test_a_crash_is_an_error_that_says_where_and_keeps_the_model(kept_copies: Path) -> None:
    made = crashing()
    with pytest.raises(trtfuse.EngineError) as raised:
        trtfuse.build(made)
    (folder,) = kept_copies.glob("trtfuse-crash-*")
    assert re.fullmatch(
        r"TensorRT for RTX crashed while building the model \(SIGSEGV in the phase '[^']+'\); the "
        f"model is kept in '{folder / 'model.onnx'}'",
        str(raised.value),
    )
    assert onnx.load(folder / "model.onnx") == made
    # The process is as it was.
    assert trtfuse.build(model("(float[2] x) => (float[2] y) { y = Relu(x) }")).kernels == 1


def crashing_with_weights(path: Path) -> trtfuse.FusionResult:
    """A fused model that crashes TensorRT, whose weights are in a file beside the original."""
    made = model(
        "(float16[1, 2, 8, 64] q, float16[1, 2, 8, 64] v) => (float16[1, 2, 8, 64] y) "
        "{ a = Attention(q, q, v) y = Add(a, w) }",
        opset=23,
        ir_version=10,
        w=np.arange(1024, dtype=np.float16).reshape(1, 2, 8, 64),
    )
    onnx.save(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return trtfuse.fuse(path)


@pytest.mark.usefixtures("unguarded")
def test_the_model_that_is_kept_after_a_crash_has_its_weights_with_it(
    tmp_path: Path, kept_copies: Path
) -> None:
    result = crashing_with_weights(tmp_path / "m.onnx")
    with pytest.raises(trtfuse.EngineError, match="the model is kept in"):
        trtfuse.build(result)
    (folder,) = kept_copies.glob("trtfuse-crash-*")
    for original in ("m.onnx", "weights.bin"):
        (tmp_path / original).unlink()
    kept = onnx.load(folder / "model.onnx")
    (weights,) = (each for each in kept.graph.initializer if each.name == "w")
    assert np.array_equal(
        onnx.numpy_helper.to_array(weights).reshape(-1), np.arange(1024, dtype=np.float16)
    )
    assert [node.op_type for node in kept.graph.node] == ["Attention", "Add"]


@pytest.mark.usefixtures("unguarded")
def test_a_crash_is_told_also_where_the_model_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = crashing_with_weights(tmp_path / "m.onnx")
    # A temporary file has no name; a folder has one.
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path / "nowhere"))
    with pytest.raises(trtfuse.EngineError) as raised:
        trtfuse.build(result)
    assert "crashed while building the fused" in str(raised.value)
    assert "; the model could not be kept: cannot write " in str(raised.value)


@pytest.mark.usefixtures("unguarded", "kept_copies")
def test_a_crash_in_a_thread_is_an_error_of_that_thread() -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            trtfuse.build(crashing())
        except trtfuse.EngineError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == 1
    assert "crashed while building the model (SIGSEGV" in str(raised[0])


def test_the_command_says_a_crash_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(crashing(), path)
    program = (
        "import trtfuse.engine.parse as parse, trtfuse.cli\n"
        "parse.crashing = lambda *_: iter(())\n"
        "trtfuse.cli.main(['build', 'm.onnx'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("trtfuse: TensorRT for RTX crashed while building 'm.onnx' (SIGSEGV in")
    assert line.endswith("'); the model is 'm.onnx'")
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


def test_what_a_child_prints_before_it_ends_by_itself_is_kept(
    monkeypatch: pytest.MonkeyPatch, kept_copies: Path
) -> None:
    monkeypatch.setattr(process, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(trtfuse.EngineError, match=r"\(exit code 3 in the phase 'starting Tensor"):
        trtfuse.build(relu())
    assert list(kept_copies.iterdir())


def relu() -> ModelProto:
    return model("(float[2] x) => (float[2] y) { y = Relu(x) }")


def test_ctrl_c_ends_a_long_build_within_a_second(tmp_path: Path) -> None:
    onnx.save(long_build(), tmp_path / "m.onnx")
    program = textwrap.dedent(
        """
        import os, signal, sys, threading, time
        import trtfuse

        # A shell lets its jobs in the background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pressed = []

        def press():
            pressed.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        def progress(phase, done, total):
            if not started:
                started.append(phase)
                threading.Timer(0.1, press).start()

        started = []
        try:
            trtfuse.build("m.onnx", progress=progress)
        except KeyboardInterrupt:
            print("interrupted", time.perf_counter() - pressed[0])
        else:
            print("built")
        """
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    word, seconds = ran.stdout.split()
    assert word == "interrupted"
    assert float(seconds) < 1


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    onnx.save(long_build(), tmp_path / "m.onnx")
    program = textwrap.dedent(
        """
        import subprocess
        import trtfuse

        def progress(phase, done, total):
            print(child.pid, flush=True)

        class Noted(subprocess.Popen):
            def __init__(self, *given, **named):
                global child
                super().__init__(*given, **named)
                child = self

        subprocess.Popen = Noted
        trtfuse.build("m.onnx", progress=progress)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process_id}/stat")
    # What nobody has waited for yet has ended all the same.
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_python_without_a_program_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(trtfuse.EngineError, match=r"build with in_process=True$"):
        trtfuse.build(relu())
    assert trtfuse.build(relu(), in_process=True).kernels == 1


def test_the_names_of_signals() -> None:
    assert process._end(-int(signal.SIGABRT)) == "SIGABRT"
    assert process._end(-int(signal.SIGKILL)) == "SIGKILL, often for want of memory"
    assert process._end(-250) == "signal 250"
