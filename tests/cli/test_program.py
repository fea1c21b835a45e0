"""The program: help, wrong usage in one line, tracebacks only where they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run, refused

import trtfuse
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


def test_help_and_version_go_to_stdout(run: Run) -> None:
    for arguments in (["--help"], ["-h"], ["fuse", "--help"], ["verify", "-h"], ["rules", "-h"]):
        ran = run(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("Usage: trtfuse")
    assert run("--version").out == f"trtfuse {trtfuse.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fuse"], "Missing argument 'IN.onnx...'."),
        (["verify", "m.onnx", "m.onnx", "more"], "Got unexpected extra argument (more)"),
        (["nonsense"], "No such command 'nonsense'."),
        (["fuse", "m.onnx", "--output"], "Option '--output' requires an argument."),
        (
            ["fuse", "m.onnx", "--verify", "all"],
            "Invalid value for '--verify': 'all' is not one of 'none', 'rewrite', 'model'.",
        ),
        (
            ["fuse", "m.onnx", "--rules", "conv-scal"],
            "unknown rule 'conv-scal'; did you mean 'conv-scale'?",
        ),
        (
            ["fuse", "m.onnx", "--skip", "identityscale"],
            "unknown rule 'identityscale'; did you mean 'identity-scale'?",
        ),
        (["rules", "scale_fc"], "unknown rule 'scale_fc'; did you mean 'scale-fc'?"),
        (
            ["fuse", "m.onnx", "--rules", "xyz"],
            "unknown rule 'xyz'; `trtfuse rules` lists them",
        ),
        (
            ["fuse", "m.onnx", "--report", "r.txt"],
            "cannot tell the kind of report from 'r.txt'; use .html, .json or .md",
        ),
        (
            ["fuse", "m.onnx", "--report", "r.json", "--report", "report"],
            "cannot tell the kind of report from 'report'; use .html, .json or .md",
        ),
    ],
)
def test_wrong_usage_is_said_in_one_line(run: Run, arguments: list[str], said: str) -> None:
    assert refused(run, *arguments) == said


def test_an_unknown_option_is_named(run: Run) -> None:
    said = refused(run, "fuse", "m.onnx", "--verbos")
    # How click punctuates it depends on its version.
    assert said.startswith("No such option")
    assert "--verbos" in said
    assert "--verbose" in said


def test_no_command_at_all_is_said_in_a_line_that_one_can_read(run: Run) -> None:
    assert len(refused(run)) < 100


def test_a_traceback_is_shown_where_it_is_asked_for(run: Run) -> None:
    for arguments in (["fuse", "no.onnx"], ["verify", "m.onnx", "no.onnx"]):
        ran = run(*arguments, "-vv")
        assert ran.code == 2
        assert ran.err.startswith("Traceback (most recent call last):\n")
        assert (
            ran.err.splitlines()[-1] == "trtfuse: cannot read 'no.onnx': No such file or directory"
        )
        for few in ([], ["-v"]):
            assert "Traceback" not in run(*arguments, *few).err


def test_an_error_of_our_own_is_said_in_one_line(run: Run) -> None:
    @trtfuse.rule("breaks", op.Relu(var("x")))
    def breaks(m: Match, _: Replacement) -> Value:
        """x  ==  y"""
        raise RuntimeError(f"on\n{m['x'].name}")

    try:
        ran, verbose = run("fuse", "m.onnx"), run("fuse", "m.onnx", "-vv")
    finally:
        del CATALOGUE[breaks.name]
    assert ran.code == verbose.code == 2
    assert ran.err == (
        "trtfuse: internal error of rule 'breaks' at relu1, RuntimeError: on b; please report it "
        "with the model (-vv shows where)\n"
    )
    assert "in breaks\n" in verbose.err


def test_the_command_runs_as_a_process_of_its_own(folder: Path) -> None:
    command = [sys.executable, "-m", "trtfuse", "fuse"]
    options = {"cwd": folder, "capture_output": True, "text": True, "check": False}
    ran = subprocess.run([*command, "m.onnx"], **options)  # type: ignore[call-overload]
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("wrote m.fused.onnx\n")
    ran = subprocess.run([*command, "no.onnx"], **options)  # type: ignore[call-overload]
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "trtfuse: cannot read 'no.onnx': No such file or directory\n"
