"""`trtfuse verify`: the comparison, its exit code, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from command_line import Run, clipped, parsed, refused


def test_verify_compares_two_models(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx")
    ran = run("verify", "m.onnx", "m.fused.onnx", "--shapes", "x:1x2x4x4")
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.out.splitlines()
    assert first == "checked: 1 output agrees on 4 sets of random inputs"
    assert second.startswith("  'y' differs by ")
    assert "; rounding alone moves the original by " in second
    assert run("verify", "m.onnx", "m.fused.onnx", "-q").out == ""


def test_without_a_check_a_wrong_rule_is_not_found_but_by_verify(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 1e9)
    assert run("fuse", "c.onnx", "--verify", "none", "-o", "o.onnx").code == 0
    ran = run("verify", "c.onnx", "o.onnx")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("check failed: 1 of 1 output differs on 4 sets of random inputs\n")
    assert run("verify", "c.onnx", "o.onnx", "-q").out == ""


def test_verbose_tells_of_every_output(folder: Path, run: Run) -> None:
    onnx.save(
        parsed("(float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Abs(x) }"),
        folder / "two.onnx",
    )
    assert run("verify", "two.onnx", "two.onnx").out.splitlines() == [
        "checked: 2 outputs are identical on 4 sets of random inputs"
    ]
    assert run("verify", "two.onnx", "two.onnx", "-v").out.splitlines() == [
        "checked: 2 outputs are identical on 4 sets of random inputs",
        "  'y': identical",
        "  'z': identical",
    ]


def test_models_are_compared_on_the_inputs_that_are_given(folder: Path, run: Run) -> None:
    for name, operator in (("relu", "Relu"), ("same", "Identity")):
        text = f"(float[N] x) => (float[N] y) {{ y = {operator}(x) }}"
        onnx.save(parsed(text), folder / f"{name}.onnx")
    np.savez(folder / "a.npz", x=np.ones(3, np.float32))
    np.savez(folder / "b.npz", x=-np.ones(3, np.float32))
    ran = run("verify", "relu.onnx", "same.onnx", "--inputs", "a.npz")
    assert ran.out == "checked: 1 output is identical on 1 set of inputs from a.npz\n"
    assert ran.code == 0
    ran = run("verify", "relu.onnx", "same.onnx", "--inputs", "a.npz", "--inputs", "b.npz")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "check failed: 1 of 1 output differs on 2 sets of inputs from a.npz, b.npz",
        "  'y' differs by 1.0e+00 (the original is 0 everywhere); "
        "rounding alone moves the original by 1.2e-07",
        "  output 'y' (b.npz) differs by 1 of its largest number (tolerance 9.5e-07)",
    ]


def test_models_that_cannot_be_compared_are_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] z) => (float[2] y) { y = Neg(z) }"), folder / "other.onnx")
    assert refused(run, "verify", "m.onnx", "other.onnx") == (
        "the models have different inputs: ['x'] and ['z']"
    )
