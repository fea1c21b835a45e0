"""`trtfuse fuse`: what it writes, what it says, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Run, clipped, contents, parsed, refused

import trtfuse
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


def test_fuse_writes_beside_the_model_and_says_what_it_did(folder: Path, run: Run) -> None:
    before = (folder / "m.onnx").read_bytes()
    ran = run("fuse", "m.onnx", "--groups", "off")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0] == "m.onnx: 3 nodes, 2 after 1 fusion"
    assert "  conv-scale: 1" in lines
    assert "    conv1 + mul1" in lines
    assert lines[-1] == "wrote m.fused.onnx"
    assert sorted(os.listdir(folder)) == ["m.fused.onnx", "m.onnx"]
    fused = onnx.load(folder / "m.fused.onnx")
    assert [node.op_type for node in fused.graph.node] == ["Conv", "Relu"]
    assert (folder / "m.onnx").read_bytes() == before


def test_the_output_and_any_number_of_reports_go_where_they_are_told(
    folder: Path, run: Run
) -> None:
    (folder / "out").mkdir()
    ran = run(
        "fuse", "m.onnx", "-o", "out/o.onnx", "--report", "r.json", "--report", "out/r.md", "-q"
    )
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert set(contents(folder)) == {"m.onnx", "out", "out/o.onnx", "out/r.md", "r.json"}
    data = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert (data["schema"], data["model"]) == ("trtfuse.report/1", "m.onnx")
    text = (folder / "out" / "r.md").read_text(encoding="utf-8")
    assert text.startswith("# m")
    assert "\n## Fused by conv-scale\n" in text


def test_a_dry_run_writes_reports_and_no_model(folder: Path, run: Run) -> None:
    ran = run("fuse", "m.onnx", "--dry-run", "--report", "r.json")
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if "wrote" in line] == ["wrote r.json"]
    assert set(contents(folder)) == {"m.onnx", "r.json"}


def test_nothing_to_fuse_is_no_failure(folder: Path, run: Run) -> None:
    ran = run("fuse", "m.onnx", "--skip", "conv-scale", "-o", "o.onnx", "--groups", "off")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "m.onnx: 3 nodes, nothing to fuse"
    assert (folder / "o.onnx").read_bytes() == (folder / "m.onnx").read_bytes()


def test_rules_are_chosen_and_skipped_by_name(run: Run) -> None:
    for arguments, fused in (
        (["--rules", "conv-scale"], True),
        (["--rules", "fc-scale, conv-scale"], True),
        (["--rules", "fc-scale"], False),
        (["--rules", "conv-scale", "--skip", "conv-scale"], False),
        (["--skip", "fc-scale,scale-conv"], True),
    ):
        ran = run("fuse", "m.onnx", "--dry-run", *arguments)
        assert ran.code == 0
        assert ("nothing to fuse" not in ran.out) is fused


@pytest.mark.parametrize("level", ["none", "rewrite", "model"])
def test_every_level_of_verification_says_what_was_checked(run: Run, level: str) -> None:
    ran = run("fuse", "m.onnx", "--verify", level, "--dry-run", "--input-shapes", "x:1,2,4,4")
    assert ran.code == 0
    said = [line for line in ran.out.splitlines() if "checked" in line]
    begins = {
        "none": "not checked",
        "rewrite": "checked: 1 ",
        "model": "checked: 1 output agrees on 4 sets of random inputs",
    }
    assert len(said) == 1
    assert said[0].startswith(begins[level])


def test_verbose_lists_everything(folder: Path, run: Run) -> None:
    lines = "".join(f"[n{i}] v{i + 1} = Mul(v{i}, one) " for i in range(8))
    proto = parsed(
        f"(float[2] v0) => (float[2] y) <float[1] one = {{1}}> {{ {lines} y = Relu(v8) }}"
    )
    onnx.save(proto, folder / "long.onnx")
    assert "    and 3 more" in run("fuse", "long.onnx", "--dry-run").out
    ran = run("fuse", "long.onnx", "--dry-run", "-v")
    assert "more" not in ran.out
    assert all(f"    n{i}" in ran.out for i in range(8))


def test_groups_are_reported_and_become_calls_where_that_is_asked_for(
    folder: Path, run: Run
) -> None:
    ran = run("fuse", "m.onnx")
    assert ran.out.splitlines()[0] == "m.onnx: 3 nodes, 2 after 1 fusion and 1 group"
    assert "expected as one kernel\n  conv-relu: 1\n    conv1 + relu1\n" in ran.out
    flat = onnx.load(folder / "m.fused.onnx")
    assert [node.op_type for node in flat.graph.node] == ["Conv", "Relu"]
    ran = run("fuse", "m.onnx", "--groups", "functions")
    assert ran.out.splitlines()[0] == "m.onnx: 3 nodes, 2 after 1 fusion and 1 group"
    (call,) = onnx.load(folder / "m.fused.onnx").graph.node
    assert (call.domain, call.op_type, call.name) == ("trtfuse", "conv_relu", "conv1 + relu1")
    ran = run("fuse", "m.onnx", "--groups", "off")
    assert ran.out.splitlines()[0] == "m.onnx: 3 nodes, 2 after 1 fusion"


@pytest.mark.parametrize(("old", "new"), [("--flat", "flat"), ("--no-groups", "off")])
def test_the_old_spellings_of_groups_go_on_working(
    folder: Path, run: Run, old: str, new: str
) -> None:
    assert run("fuse", "m.onnx", "-o", "new.onnx", "--groups", new).code == 0
    ran = run("fuse", "m.onnx", "-o", "old.onnx", old)
    assert (ran.code, ran.err) == (0, f"trtfuse: {old} is now --groups {new}\n")
    assert (folder / "old.onnx").read_bytes() == (folder / "new.onnx").read_bytes()


def test_an_unknown_target_is_refused(run: Run) -> None:
    said = refused(run, "fuse", "m.onnx", "--target", "5.2")
    assert said.startswith("unknown target '5.2'; the compute capabilities are 7.5, ")


def test_a_model_that_differs_is_not_written_and_exits_with_1(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 1e9)
    before = contents(folder)
    ran = run("fuse", "c.onnx", "--verify", "model", "-o", "o.onnx")
    assert ran.code == 1
    assert ran.err == "trtfuse: 'c.onnx' and its fused model differ: nothing was written\n"
    assert f"  {wrong_rule}: 1" in ran.out
    assert "check failed: 1 of 1 output differs on 4 sets of random inputs\n" in ran.out
    assert "  'y' differs by " in ran.out
    assert "output 'y' (normal inputs, batch 1) differs by " in ran.out
    assert "wrote" not in ran.out
    assert contents(folder) == before


def test_a_report_of_a_failed_check_is_written(folder: Path, run: Run, wrong_rule: str) -> None:
    clipped(folder, 1e9)
    ran = run("fuse", "c.onnx", "--verify", "model", "-o", "o.onnx", "--report", "r.json", "-q")
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1
    data = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert data["verification"]["ok"] is False
    assert data["verification"]["max_error"] > data["verification"]["tolerance"]
    assert not (folder / "o.onnx").exists()


def test_where_the_wrong_rule_does_no_harm_the_check_agrees(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 10)
    skipped = run("fuse", "c.onnx", "--verify", "model", "--skip", "scale-scale")
    assert skipped.code == 0
    assert onnx.load(folder / "c.fused.onnx").graph.node[-1].op_type == "Neg"


def test_inputs_make_it_compare_the_whole_model_on_them(folder: Path, run: Run) -> None:
    (folder / "data").mkdir()
    for number in range(3):
        np.savez(folder / "data" / f"{number}.npz", x=np.full((1, 2, 4, 4), number, np.float32))
    np.save(folder / "one.npy", np.ones((1, 2, 4, 4), np.float32))
    for level in ([], ["--verify", "model"]):
        ran = run("fuse", "m.onnx", "--inputs", "data", "--inputs", "one.npy", "--dry-run", *level)
        assert (ran.code, ran.err) == (0, "")
        (said,) = [line for line in ran.out.splitlines() if line.startswith("checked: ")]
        assert said == "checked: 1 output is identical on 4 sets of inputs from data, one.npy"


@pytest.mark.parametrize("level", ["none", "rewrite"])
def test_inputs_that_would_not_be_compared_are_refused(folder: Path, run: Run, level: str) -> None:
    np.save(folder / "one.npy", np.ones((1, 2, 4, 4), np.float32))
    assert refused(run, "fuse", "m.onnx", "--verify", level, "--inputs", "one.npy") == (
        "inputs are compared by the check of the whole model: leave verify out or make it "
        f"'model', not '{level}'"
    )


def test_a_rewrite_that_is_found_wrong_is_declined(folder: Path, run: Run) -> None:
    @trtfuse.rule("relu-is-identity", op.Relu(var("x")))
    def relu_is_identity(m: Match, _: Replacement) -> Value:
        """max(x, 0)  ==  x"""
        x: Value = m["x"]
        return x

    try:
        ran = run("fuse", "m.onnx", "-v")
    finally:
        del CATALOGUE[relu_is_identity.name]
    assert ran.code == 0
    assert "  relu-is-identity, check: 1" in ran.out
    assert "    relu1: the two spellings do not compute the same: relative error " in ran.out
    assert onnx.load(folder / "m.fused.onnx").graph.node[-1].op_type == "Relu"


def test_a_model_that_onnx_runtime_does_not_take_cannot_be_checked(folder: Path, run: Run) -> None:
    proto = parsed("(float[2] x) => (float[2] y) { y = custom.Thing(x) }", '"": 17, "custom": 1')
    onnx.save(proto, folder / "bad.onnx")
    said = refused(run, "fuse", "bad.onnx", "--verify", "model", "--report", "r.json")
    assert said.startswith("ONNX Runtime does not take the original: ")
    assert run("fuse", "bad.onnx").code == 0


def test_a_model_that_onnx_runtime_cannot_run_cannot_be_checked(folder: Path, run: Run) -> None:
    proto = parsed("(float[6] x) => (float[?, ?] y) <int64[2] to = {4, 2}> { y = Reshape(x, to) }")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto.graph.output[0].type.tensor_type.shape.dim.add()
    proto.graph.output[0].type.tensor_type.shape.dim.add()
    onnx.save(proto, folder / "bad.onnx")
    said = refused(run, "fuse", "bad.onnx", "--verify", "model")
    assert said.startswith("ONNX Runtime ")


def test_the_report_has_the_command_and_the_file_that_was_written(run: Run, folder: Path) -> None:
    ran = run("fuse", "m.onnx", "-o", "a b.onnx", "--report", "r.json", "-q")
    assert ran.code == 0
    report = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert report["command"] == "trtfuse fuse m.onnx -o 'a b.onnx' --report r.json -q"
    assert report["output"]["path"] == "a b.onnx"
    assert report["output"]["bytes"] == (folder / "a b.onnx").stat().st_size
    assert report["date"].endswith("Z")


def test_the_summary_ends_with_how_to_see_more(run: Run) -> None:
    *_, hint, wrote = run("fuse", "m.onnx").out.splitlines()
    assert hint.startswith("More: -v lists everything")
    assert wrote == "wrote m.fused.onnx"
    assert hint not in run("fuse", "m.onnx", "-v").out


def test_check_tells_of_sizes_that_would_be_fixed_and_of_calls(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[n, 4] x) => (float[m, k] y) { y = Relu(x) }"), folder / "open.onnx")
    assert run("fuse", "open.onnx", "--check").code == 0
    ran = run("fuse", "open.onnx", "--check", "--shapes", "n=3")
    assert (ran.code, ran.out) == (1, "open.onnx would change: sizes of inputs fixed\n")
    assert run("fuse", "open.onnx", "--shapes", "n=3", "-o", "three.onnx").code == 0
    assert run("fuse", "three.onnx", "--check", "--shapes", "x:3x4").code == 0
    assert run("fuse", "m.onnx", "--groups", "functions", "-o", "calls.onnx").code == 0
    assert run("fuse", "calls.onnx", "--check", "--groups", "functions").code == 0
    ran = run("fuse", "calls.onnx", "--check")
    assert (ran.code, ran.out) == (
        1,
        "calls.onnx would change: 1 call of groups turned back into nodes\n",
    )
