"""`trtfuse verify`: the comparison, its exit code, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import onnx
from command_line import Run, clipped, parsed, refused


def test_verify_compares_two_models(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx")
    ran = run("verify", "m.onnx", "m.fused.onnx", "--shapes", "x:1x2x4x4")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("checked: 3 outputs on ONNX Runtime agree, largest error ")
    assert run("verify", "m.onnx", "m.fused.onnx", "-q").out == ""


def test_without_a_check_a_wrong_rule_is_not_found_but_by_verify(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 1e9)
    assert run("fuse", "c.onnx", "--verify", "none", "-o", "o.onnx").code == 0
    ran = run("verify", "c.onnx", "o.onnx")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("check failed: original and result differ, largest error ")
    assert run("verify", "c.onnx", "o.onnx", "-q").out == ""


def test_models_that_cannot_be_compared_are_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] z) => (float[2] y) { y = Neg(z) }"), folder / "other.onnx")
    assert refused(run, "verify", "m.onnx", "other.onnx") == (
        "the models have different inputs: ['x'] and ['z']"
    )
