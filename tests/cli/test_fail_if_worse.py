"""`--fail-if-worse` of `compare` and of `fuse --build`: exit code, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from command_line import Run, refused
from models import siamese

pytest.importorskip("tensorrt_rtx", reason="these build engines")


@pytest.fixture
def worse(folder: Path) -> Path:
    """A model whose branches no longer share weights where their scales are folded in."""
    onnx.save(siamese(), folder / "s.onnx")
    return folder


def test_fuse_fails_with_the_rule_that_did_it_and_writes_no_model(run: Run, worse: Path) -> None:
    asked = ("fuse", "s.onnx", "--objective", "graph", "--build", "--report", "r.json")
    ran = run(*asked, "--fail-if-worse")
    assert ran.code == 1
    first = ran.out.splitlines()[0]
    assert first.startswith("Worse: an engine that is ")
    assert first.endswith(": try --skip conv-scale.")
    assert ran.err == "trtfuse: the engine of 's.onnx' is worse: nothing was written\n"
    assert not (worse / "s.fused.onnx").exists()
    verdict = json.loads((worse / "r.json").read_text(encoding="utf-8"))["engine"]["verdict"]
    assert (verdict["outcome"], verdict["cause"]["rule"]) == ("worse", "conv-scale")
    assert verdict["sentence"] == first

    # It is said and written all the same where nobody asks for the exit code.
    ran = run(*asked)
    assert (ran.code, ran.out.splitlines()[0], ran.err) == (0, first, "")
    assert (worse / "s.fused.onnx").exists()

    # What it says to try helps.
    ran = run(*asked, "--fail-if-worse", "--skip", "conv-scale")
    assert ran.code == 0
    assert ran.out.startswith("Same: ")


def test_compare_fails_in_text_and_in_json(run: Run, worse: Path) -> None:
    run("fuse", "s.onnx", "--objective", "graph", "-q", "-o", "f.onnx")
    assert run("compare", "s.onnx", "f.onnx").code == 0
    ran = run("compare", "s.onnx", "f.onnx", "--fail-if-worse")
    assert ran.code == 1
    assert ran.out.startswith("Worse: ")
    ran = run("compare", "s.onnx", "f.onnx", "--fail-if-worse", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["verdict"]["outcome"] == "worse"
    assert run("compare", "f.onnx", "s.onnx", "--fail-if-worse").code == 0


def test_fuse_has_to_build_to_know(run: Run) -> None:
    assert refused(run, "fuse", "m.onnx", "--fail-if-worse") == (
        "--fail-if-worse needs --build, which tells whether it is worse"
    )
