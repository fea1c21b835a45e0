"""What a shell completes: commands, options and values, names of rules and of nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import trtfuse
from trtfuse.cli import command


def completed(*words: str) -> list[str]:
    """What may stand for the last word."""
    *before, incomplete = words
    shell = ShellComplete(command, {}, "trtfuse", "_TRTFUSE_COMPLETE")
    return [item.value for item in shell.get_completions(before, incomplete)]


def test_commands_options_and_values() -> None:
    assert set(completed("")) == set(command.commands)
    assert completed("fuse", "--obj") == ["--objective"]
    assert completed("fuse", "--groups", "f") == ["flat", "functions"]


def test_rules_by_name_and_in_lists() -> None:
    assert completed("rules", "conv-s") == ["conv-sum", "conv-scale"]
    assert completed("fuse", "--rules", "conv-sc") == ["conv-scale"]
    assert completed("explain", "m.onnx", "--skip", "fc-relu,conv-sc") == ["fc-relu,conv-scale"]
    assert len(completed("fuse", "--skip", "")) == len(trtfuse.rules())


def test_nodes_of_the_model_that_is_named(folder: Path) -> None:
    assert completed("explain", "m.onnx", "") == ["conv1", "mul1", "relu1"]
    assert completed("explain", "m.onnx", "mu") == ["mul1"]
    (folder / "bad.onnx").write_bytes(b"\xff")
    for path in ("bad.onnx", "none.onnx", ".", "-"):
        assert completed("explain", path, "") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="this is for bash")
def test_bash_completes(folder: Path) -> None:
    script = """
        eval "$(_TRTFUSE_COMPLETE=bash_source trtfuse)"
        COMP_WORDS=(trtfuse explain m.onnx conv) COMP_CWORD=3
        _trtfuse_completion trtfuse
        echo "${COMPREPLY[@]}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert (ran.returncode, ran.stdout) == (0, "conv1\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell_that_is_documented(shell: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "trtfuse"],
        capture_output=True,
        text=True,
        env={**os.environ, "_TRTFUSE_COMPLETE": f"{shell}_source"},
    )
    assert ran.returncode == 0
    assert "_TRTFUSE_COMPLETE" in ran.stdout
