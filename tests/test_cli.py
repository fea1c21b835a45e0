"""The command line: exit codes, one line on stderr, nothing written where something is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper, parser

import trtfuse
from trtfuse.cli import main
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


def parsed(text: str, opset: str = '"": 17') -> ModelProto:
    return parser.parse_model(f"<ir_version: 8, opset_import: [{opset}]> g {text}")


CONV = parsed(
    """
    (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
    <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
      [conv1] a = Conv(x, w)
      [mul1] b = Mul(a, s)
      [relu1] y = Relu(b)
    }
    """
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model m.onnx in it."""
    monkeypatch.chdir(tmp_path)
    onnx.save(CONV, tmp_path / "m.onnx")
    return tmp_path


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in the working folder."""

    def ran(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, *capfd.readouterr())

    return ran


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file under a folder; of what is not a file, its kind."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file()
        else str(path.lstat().st_mode)
        for path in sorted(folder.rglob("*"))
    }


def refused(run: Run, *arguments: str | Path) -> str:
    """What a command that is refused says, in its one line."""
    before = contents(Path.cwd())
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("trtfuse: ")
    assert ran.err.endswith("\n")
    assert len(ran.err.splitlines()) == 1
    assert "internal error" not in ran.err
    assert contents(Path.cwd()) == before
    if arguments and arguments[0] in ("fuse", "verify", "build"):
        verbose = run(arguments[0], "-vv", *arguments[1:])
        assert verbose.code == 2
        assert verbose.err.startswith("Traceback (most recent call last):\n")
        assert verbose.err.endswith(ran.err)
        assert contents(Path.cwd()) == before
    return ran.err.removeprefix("trtfuse: ").removesuffix("\n")


# What it does


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
    assert "wrote" not in ran.out
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
        "model": "checked: 3 outputs on ONNX Runtime agree, ",
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


def test_verify_compares_two_models(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx")
    ran = run("verify", "m.onnx", "m.fused.onnx", "--input-shapes", "x:1,2,4,4")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("checked: 3 outputs on ONNX Runtime agree, largest error ")
    assert run("verify", "m.onnx", "m.fused.onnx", "-q").out == ""


def test_rules_lists_the_catalogue_or_explains_one(run: Run) -> None:
    ran = run("rules")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [r.name for r in trtfuse.rules()]
    ran = run("rules", "conv-scale")
    assert ran.code == 0
    assert ran.out.startswith("conv-scale (rewrite, F8)\n\ns * (w * x + b) + t  ==  ")
    assert "  one-value-per-channel: " in ran.out


def test_help_and_version_go_to_stdout(run: Run) -> None:
    for arguments in (["--help"], ["-h"], ["fuse", "--help"], ["verify", "-h"], ["rules", "-h"]):
        ran = run(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("Usage: trtfuse")
    assert run("--version").out == f"trtfuse {trtfuse.__version__}\n"


def test_groups_are_reported_and_become_calls_where_that_is_asked_for(
    folder: Path, run: Run
) -> None:
    ran = run("fuse", "m.onnx")
    assert ran.out.splitlines()[0] == "m.onnx: 3 nodes, 2 after 1 fusion and 1 group"
    assert "grouped, each expected as one kernel\n  conv-relu: 1\n    conv1 + relu1\n" in ran.out
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


def test_the_rule_of_mlps_prints_the_limits(run: Run) -> None:
    ran = run("rules", "mlp")
    assert ran.out.startswith("mlp (group, F16)\n")
    assert "64 KiB for 7.5; 163 KiB for 8.0; " in ran.out
    assert "  fits-on-chip: " in ran.out


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fuse"], "Missing argument 'IN.onnx'."),
        (["fuse", "m.onnx", "more"], "Got unexpected extra argument (more)"),
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


@pytest.mark.parametrize("given", ["x", "x:a", "x:1,a", "x:1,,2", "x:-1,2", ":1,2", "x:1.5", "1,2"])
def test_a_malformed_shape_is_refused_with_an_example(run: Run, given: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--input-shapes", given) == (
        f"Invalid value for '--input-shapes': '{given}' is no shape; write it like x:1,3,224,224"
    )


@pytest.mark.parametrize("level", ["rewrite", "model"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing:1,2,4,4", "the model has no input 'nothing'; it has x"),
        ("x:1,2,4", "input 'x' has shape [1, 2, 4, 4], which [1, 2, 4] does not fit"),
        ("x:1,3,4,4", "input 'x' has shape [1, 2, 4, 4], which [1, 3, 4, 4] does not fit"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(run: Run, level: str, given: str, said: str) -> None:
    assert refused(run, "fuse", "m.onnx", "--verify", level, "--input-shapes", given) == said


# Files that cannot be used


def test_a_missing_model_is_named(folder: Path, run: Run) -> None:
    (folder / "there.onnx").write_bytes(b"")
    said = "cannot read 'no.onnx': No such file or directory"
    assert refused(run, "fuse", "no.onnx") == said
    assert refused(run, "fuse", "no.onnx", "-o", "o.onnx") == said
    assert refused(run, "fuse", "no.onnx", "-o", "there.onnx") == said
    assert refused(run, "verify", "no.onnx", "m.onnx") == said
    assert refused(run, "verify", "m.onnx", "no.onnx") == said
    elsewhere = "cannot read 'no/m.onnx': No such file or directory"
    assert refused(run, "fuse", "no/m.onnx") == elsewhere
    assert refused(run, "verify", "no/m.onnx", "m.onnx") == elsewhere


@pytest.mark.parametrize("name", ["sub", ".", "..", "/", ""])
def test_a_folder_is_no_model(folder: Path, run: Run, name: str) -> None:
    (folder / "sub").mkdir()
    shown = name or "."
    assert refused(run, "fuse", name) == f"cannot read '{shown}': Is a directory"
    assert refused(run, "verify", name, "m.onnx") == f"cannot read '{shown}': Is a directory"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'bad.onnx' is empty, not an ONNX model"),
        (b"\xff" * 100, "'bad.onnx' is not an ONNX model, or only the beginning of one"),
        (b"{}\n", "'bad.onnx' is not an ONNX model, or only the beginning of one"),
        (
            CONV.SerializeToString()[:-9],
            "'bad.onnx' is not an ONNX model, or only the beginning of one",
        ),
    ],
    ids=["empty", "garbage", "text", "truncated"],
)
def test_a_file_that_is_no_model_is_refused(
    folder: Path, run: Run, content: bytes, said: str
) -> None:
    (folder / "bad.onnx").write_bytes(content)
    assert refused(run, "fuse", "bad.onnx") == said
    assert refused(run, "fuse", "bad.onnx", "-o", "o.onnx", "--report", "r.json", "-q") == said
    assert refused(run, "verify", "m.onnx", "bad.onnx") == said


def test_an_operator_that_onnx_does_not_have_is_taken_and_noted(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { y = Nonsense(x) }"), folder / "odd.onnx")
    ran = run("fuse", "odd.onnx", "--report", "odd.json", "--report", "odd.md")
    assert ran.code == 0
    note = (
        "no operators of ONNX at the imported opset, so that no rule knows them: Nonsense "
        "'node_of_y'"
    )
    assert f"  {note}\n" in ran.out
    assert json.loads((folder / "odd.json").read_text())["notes"][1] == note
    assert "## The model as it was read" in (folder / "odd.md").read_text()


def test_a_node_that_no_runtime_takes_is_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { [n] y = Neg(x, x) }"), folder / "bad.onnx")
    assert refused(run, "fuse", "bad.onnx") == (
        "node 'n' is not a valid Neg: Node(n) with schema(::Neg:13) has input size 2 not in range "
        "[min=1, max=1]; correct it, or export the model for another opset"
    )


def test_a_graph_that_hangs_in_the_air_is_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { y = Add(x, z) }"), folder / "bad.onnx")
    assert refused(run, "fuse", "bad.onnx") == (
        "node 'node_of_y' (Add) reads 'z', which nothing computes"
    )


@pytest.fixture
def outside(folder: Path) -> Iterator[Path]:
    """A file of weights that is not in the folder of the model."""
    path = folder.parent / f"{folder.name}-secret.bin"
    path.write_bytes(np.ones(4, np.float32).tobytes())
    yield path
    path.unlink()


def external(folder: Path, location: str) -> None:
    """e.onnx, a product by external weights."""
    proto = parsed(
        """(float[2, 2] x) => (float[2, 2] y) <float[2] s = {2, 3}> {
          t = MatMul(x, w)
          y = Mul(t, s)
        }"""
    )
    weights = proto.graph.initializer.add(name="w", dims=[2, 2], data_type=TensorProto.FLOAT)
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (folder / "e.onnx").write_bytes(proto.SerializeToString())


def test_missing_or_short_external_data_is_refused(folder: Path, run: Run) -> None:
    external(folder, "w.bin")
    where = "weights 'w' are in the external file 'w.bin'"
    assert refused(run, "fuse", "e.onnx") == f"{where}, which is missing from '.'"
    (folder / "w.bin").write_bytes(bytes(15))
    said = f"{where} up to byte 16, but the file ends at 15"
    assert refused(run, "fuse", "e.onnx") == said
    assert refused(run, "verify", "e.onnx", "m.onnx") == said


@pytest.mark.parametrize("how", ["parent", "absolute", "symlink"])
def test_external_data_outside_the_folder_is_refused(
    folder: Path, run: Run, outside: Path, how: str
) -> None:
    location = {"parent": f"../{outside.name}", "absolute": str(outside), "symlink": "w.bin"}[how]
    (folder / "w.bin").symlink_to(outside)
    external(folder, location)
    where = f"weights 'w' are in the external file '{location}'"
    assert refused(run, "fuse", "e.onnx") == f"{where}, which is outside the folder of the model"


def test_external_data_is_copied_and_its_file_is_not_written_over(folder: Path, run: Run) -> None:
    external(folder, "w.bin")
    weights = np.array([[1, 2], [3, 4]], np.float32)
    (folder / "w.bin").write_bytes(weights.tobytes())
    said = refused(run, "fuse", "e.onnx", "--skip", "fc-scale", "-o", "w.bin")
    assert "'w.bin'" in said
    assert run("fuse", "e.onnx", "--skip", "fc-scale", "-o", "o.onnx").code == 0
    assert set(contents(folder)) == {"e.onnx", "m.onnx", "o.onnx", "o.onnx.data", "w.bin"}
    (found,) = [t for t in onnx.load(folder / "o.onnx").graph.initializer if t.name == "w"]
    np.testing.assert_array_equal(numpy_helper.to_array(found), weights)


# Paths that cannot be written


def test_a_folder_or_a_missing_folder_cannot_be_written_to(folder: Path, run: Run) -> None:
    (folder / "sub").mkdir()
    assert refused(run, "fuse", "m.onnx", "-o", "sub") == "cannot write 'sub': it is a folder"
    assert refused(run, "fuse", "m.onnx", "-o", "no/o.onnx") == (
        "cannot write 'no/o.onnx': there is no folder 'no'"
    )
    assert refused(run, "fuse", "m.onnx", "--report", "no/r.json") == (
        "cannot write 'no/r.json': there is no folder 'no'"
    )
    assert refused(run, "fuse", "m.onnx", "-o", "m.onnx/o.onnx") == (
        "cannot write 'm.onnx/o.onnx': there is no folder 'm.onnx'"
    )


def test_a_name_that_is_too_long_cannot_be_written_to(run: Run) -> None:
    name = "x" * 300
    said = refused(run, "fuse", "m.onnx", "-o", name)
    assert said.endswith(f" '{name}': File name too long")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission_cannot_be_written_to(folder: Path, run: Run) -> None:
    (folder / "sub").mkdir()
    (folder / "sub").chmod(0o500)
    assert refused(run, "fuse", "m.onnx", "-o", "sub/o.onnx") == (
        "cannot write 'sub/o.onnx': Permission denied"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_pipe_or_a_device_is_not_replaced_by_a_file(folder: Path, run: Run, option: str) -> None:
    os.mkfifo(folder / "pipe.json")
    said = refused(run, "fuse", "m.onnx", option, "pipe.json")
    assert said.startswith("cannot write 'pipe.json': ")
    assert stat.S_ISFIFO((folder / "pipe.json").stat().st_mode)


def test_the_model_is_not_written_over_itself(folder: Path, run: Run) -> None:
    (folder / "link.onnx").symlink_to("m.onnx")
    (folder / "hard.onnx").hardlink_to(folder / "m.onnx")
    (folder / "sub").mkdir()
    for source, output in (
        ("m.onnx", "m.onnx"),
        ("m.onnx", "./sub/../m.onnx"),
        ("m.onnx", "link.onnx"),
        ("link.onnx", "m.onnx"),
        ("m.onnx", "hard.onnx"),
    ):
        assert refused(run, "fuse", source, "-o", output) == (
            f"input and output are both '{Path(output)}'; write to another file"
        )


@pytest.mark.parametrize("suffix", [".json", ".md"])
def test_a_report_is_not_written_over_a_model(folder: Path, run: Run, suffix: str) -> None:
    (folder / "m.onnx").rename(folder / f"m{suffix}")
    assert f"'m{suffix}'" in refused(run, "fuse", f"m{suffix}", "--report", f"m{suffix}")
    said = refused(run, "fuse", f"m{suffix}", "-o", f"o{suffix}", "--report", f"o{suffix}")
    assert said == "two outputs have the same path; give each its own"


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_full_disk_leaves_no_file(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (folder / "o.json").write_bytes(b"old")
    arguments = ["--dry-run"] if option == "--report" else []
    assert refused(run, "fuse", "m.onnx", option, "o.json", *arguments) == (
        "cannot write 'o.json': No space left on device"
    )


def test_a_name_that_is_no_text_is_still_a_file(folder: Path, run: Run) -> None:
    name = os.fsdecode(b"\xff.onnx")
    try:
        (folder / "m.onnx").rename(folder / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    reports = ("--report", "r.json", "--report", "r.md")
    ran = run("fuse", name, *reports, "-o", "o.onnx", "--groups", "off")
    assert (ran.code, ran.err) == (0, "")
    assert len(json.loads((folder / "r.json").read_text(encoding="utf-8"))["fused"]) == 1
    assert (folder / "r.md").read_text(encoding="utf-8").startswith("# ")


# Checks that fail, and checks that cannot be made


@pytest.fixture
def wrong_rule() -> Iterator[str]:
    """A rule that is wrong beyond a million, which no check of one rewrite draws."""

    @trtfuse.rule("clip-is-identity", op.Clip(var("x"), var("low"), var("high")))
    def clip_is_identity(m: Match, _: Replacement) -> Value:
        """min(max(x, low), high)  ==  x"""
        x: Value = m["x"]
        return x

    yield clip_is_identity.name
    del CATALOGUE[clip_is_identity.name]


def clipped(folder: Path, factor: float) -> None:
    proto = parsed(
        """(float[4] x) => (float[4] y) <float low = {-1000000}, float high = {1000000}> {
          [large] t = Mul(x, factor)
          [clip] u = Clip(t, low, high)
          y = Neg(u)
        }"""
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    onnx.save(proto, folder / "c.onnx")


def test_a_model_that_differs_is_not_written_and_exits_with_1(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 1e9)
    before = contents(folder)
    ran = run("fuse", "c.onnx", "--verify", "model", "-o", "o.onnx")
    assert ran.code == 1
    assert ran.err == "trtfuse: 'c.onnx' and its fused model differ: nothing was written\n"
    assert f"  {wrong_rule}: 1" in ran.out
    assert "check failed: original and result differ, largest error " in ran.out
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
    skipped = run(
        "fuse", "c.onnx", "--verify", "model", "--skip", "scale-scale", "--groups", "flat"
    )
    assert skipped.code == 0
    assert onnx.load(folder / "c.fused.onnx").graph.node[-1].op_type == "Neg"


def test_without_a_check_a_wrong_rule_is_not_found_but_by_verify(
    folder: Path, run: Run, wrong_rule: str
) -> None:
    clipped(folder, 1e9)
    assert run("fuse", "c.onnx", "--verify", "none", "-o", "o.onnx").code == 0
    ran = run("verify", "c.onnx", "o.onnx")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("check failed: original and result differ, largest error ")
    assert run("verify", "c.onnx", "o.onnx", "-q").out == ""


def test_a_rewrite_that_is_found_wrong_is_declined(folder: Path, run: Run) -> None:
    @trtfuse.rule("relu-is-identity", op.Relu(var("x")))
    def relu_is_identity(m: Match, _: Replacement) -> Value:
        """max(x, 0)  ==  x"""
        x: Value = m["x"]
        return x

    try:
        ran = run("fuse", "m.onnx", "-v", "--groups", "flat")
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


def test_models_that_cannot_be_compared_are_refused(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] z) => (float[2] y) { y = Neg(z) }"), folder / "other.onnx")
    assert refused(run, "verify", "m.onnx", "other.onnx") == (
        "the models have different inputs: ['x'] and ['z']"
    )


# Tracebacks


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


# Builds


def test_build_writes_beside_the_model_and_says_how_large_it_is(folder: Path, run: Run) -> None:
    ran = run("build", "m.onnx")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert re.fullmatch(r"m\.onnx: built with TensorRT for RTX [\d.]+ in \d+\.\d\d s", lines[0])
    rows = dict(line.split(maxsplit=1) for line in lines[2:8])
    assert list(rows) == ["kernels", "traffic", "engine", "weights", "activations", "scratch"]
    size = (folder / "m.engine").stat().st_size
    assert size > 100_000
    assert rows["engine"] == f"{size / 1000:.3g} kB"
    assert lines[-1] == "wrote m.engine"
    assert sorted(os.listdir(folder)) == ["m.engine", "m.onnx"]


def test_a_build_with_everything_that_can_be_said(folder: Path, run: Run) -> None:
    made = parsed(
        "(float[N, 3] x, int64[N, 3] i) => (float[N, 3] y) "
        "{ [cast] c = Cast <to = 1> (i) [add] y = Add(x, c) }"
    )
    onnx.save(made, folder / "d.onnx")
    shapes = ("--shapes", "x:1x3..2x3..4x3", "--shapes", "i:1,3..2,3..4,3")
    options = ("--target", "8.6, 8.9", "--workspace", "64", "--level", "1", "-v")
    ran = run("build", "d.onnx", "-o", "out.plan", *shapes, *options)
    assert (ran.code, ran.err) == (0, "")
    assert "built for    compute capability 8.6, 8.9\n" in ran.out
    assert "shape of x   1x3..2x3..4x3\n" in ran.out
    assert "\ntraffic" not in ran.out
    assert "Make sure input i has Int64 binding." in ran.out
    assert re.search(r"\n  \S+ \(\w+\): cast, add\n", ran.out)
    assert ran.out.endswith("\nwrote out.plan\n")
    brief = run("build", "d.onnx", "-o", "out.plan", *shapes)
    assert re.search(r"\n\d+ warnings?; -v shows them\nwrote out.plan\n$", brief.out)
    quiet = run("build", "d.onnx", "--shapes", "x:4x3", "--shapes", "i:4x3", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert sorted(os.listdir(folder)) == ["d.engine", "d.onnx", "m.onnx", "out.plan"]


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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.onnx"], "cannot read 'none.onnx': No such file or directory"),
        (["m.onnx", "-o", "m.onnx"], "input and output are both 'm.onnx'; write to another file"),
        (
            ["m.onnx", "-o", "no/m.engine"],
            "cannot write 'no/m.engine': there is no folder 'no'",
        ),
        (["m.onnx", "-o", "."], "cannot write '.': it is a folder"),
        (
            ["m.onnx", "--shapes", "z:1x2"],
            "'m.onnx' has no input 'z' to have a shape; its inputs are: 'x'",
        ),
        (
            ["m.onnx", "--shapes", "x:1x2x4x5"],
            "input 'x' of 'm.onnx' is [1, 2, 4, 4], with 4 at axis 3; 1x2x4x5 does not fit",
        ),
        (
            ["m.onnx", "--backend", "tensorrt-rtx"],
            "there is no backend 'tensorrt-rtx'; did you mean 'tensorrt_rtx'?",
        ),
        (
            ["m.onnx", "--timing-cache", "t", "--backend", "tensorrt_rtx"],
            "TensorRT for RTX has no timing cache; leave it out",
        ),
    ],
)
def test_builds_that_are_refused(run: Run, arguments: list[str], reason: str) -> None:
    assert refused(run, "build", *arguments) == reason


@pytest.mark.parametrize("shape", ["x", "x:", ":1x2", "x:1xa", "x:1..2", "x:-1x3", "x:1x2..3x4"])
def test_malformed_shapes_of_builds(run: Run, shape: str) -> None:
    if shape == "x:":
        # That of a single number, which x is not.
        reason = "input 'x' of 'm.onnx' is [1, 2, 4, 4], with 4 sizes; 0 were given"
    else:
        reason = (
            f"Invalid value for '--shapes': '{shape}' is no shape; write it like x:1x3x224x224, "
            "or smallest, best and largest like x:1x3x8x8..4x3x8x8..8x3x8x8"
        )
    assert refused(run, "build", "m.onnx", "--shapes", shape) == reason


def test_a_target_that_there_is_not(run: Run) -> None:
    said = refused(run, "build", "m.onnx", "--target", "9.0")
    assert re.fullmatch(
        r"TensorRT for RTX [\d.]+ cannot build for compute capability '9\.0'; it knows [\d., ]+",
        said,
    )


def test_nodes_that_tensorrt_cannot_take_are_listed_when_asked(folder: Path, run: Run) -> None:
    nodes = " ".join(f"[u{n}] y{n} = Unique(x)" for n in range(7))
    onnx.save(parsed(f"(float[2] x) => (float[?] y0) {{ {nodes} }}"), folder / "u.onnx")
    said = refused(run, "build", "u.onnx")
    assert said == (
        "TensorRT for RTX cannot take 7 nodes of 'u.onnx': Unique 'u0', 'u1', 'u2', 'u3', 'u4' and "
        "2 more: it has no such operator; spell it with operators that TensorRT has, or run it "
        "outside the engine"
    )
    listed = run("build", "u.onnx", "-v").err.splitlines()
    assert listed[-1] == f"trtfuse: {said}"
    assert [line.split(":")[0] for line in listed[:-1]] == [f"  Unique 'u{n}'" for n in range(7)]


def test_a_build_without_tensorrt_says_what_to_install(folder: Path) -> None:
    program = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('tensorrt', 'tensorrt_rtx'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "from trtfuse.cli import main\n"
        "main(['build', 'm.onnx'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "trtfuse: no TensorRT is installed; pip install 'trtfuse[rtx]' gets one that builds "
        "engines without a GPU, pip install 'trtfuse[tensorrt]' the full one\n"
    )
    assert os.listdir(folder) == ["m.onnx"]


# What explain says


def test_explain_says_what_became_of_a_node(run: Run) -> None:
    ran = run("explain", "m.onnx", "mul1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("m.onnx: Mul mul1\n\nconv1 + mul1: fused by conv-scale into conv1\n")


def test_explain_without_a_node_tells_near_misses(run: Run) -> None:
    ran = run("explain", "m.onnx", "--rules", "conv-scale")
    assert (ran.code, ran.out) == (0, "m.onnx: 2 nodes left, no rule comes near any of them\n")


def test_explain_as_json(run: Run) -> None:
    ran = run("explain", "m.onnx", "conv1", "--json", "--skip", "scale-activation")
    found = json.loads(ran.out)
    assert [step["sentence"] for step in found["steps"]] == [
        "fused by conv-scale into conv1",
        "one kernel by conv-relu: conv1 + relu1",
    ]
    assert "scale-activation" not in {miss["rule"] for miss in found["misses"]}


def test_explain_of_an_unknown_node_suggests_the_nearest(run: Run) -> None:
    said = refused(run, "explain", "m.onnx", "conv2")
    assert said == "the model has no node 'conv2'; did you mean 'conv1'?"
    assert refused(run, "explain", "none.onnx") == (
        "cannot read 'none.onnx': No such file or directory"
    )


# Pages


def test_a_report_may_be_a_page(folder: Path, run: Run) -> None:
    assert run("fuse", "m.onnx", "--report", "r.html", "--report", "r.json", "-q").code == 0
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "3 nodes became 2 by 1 fusion" in page
    # The same page comes of the JSON.
    ran = run("report", "r.json", "-o", "again.html")
    assert (ran.code, ran.out, ran.err) == (0, "wrote again.html\n", "")
    assert (folder / "again.html").read_text(encoding="utf-8") == page


def test_a_report_of_an_older_version_still_has_a_page(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "-q")
    data = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    plain = ("schema", "model", "before", "after", "fused", "declined", "verification")
    old = {key: data[key] for key in plain}
    kept = ("rule", "kind", "name", "nodes", "operators", "into", "error")
    old["fused"] = [{key: entry[key] for key in kept} for entry in old["fused"]]
    (folder / "old.json").write_text(json.dumps(old), encoding="utf-8")
    assert run("report", "old.json", "-q").out == ""
    assert "3 nodes became 2" in (folder / "old.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "'r.json' is no JSON; `trtfuse fuse --report R.json` writes it"),
        ("[]", "'r.json' is no report of trtfuse; `--report R.json` writes one"),
        ('{"schema": 1}', "'r.json' is no report of trtfuse; `--report R.json` writes one"),
        (
            '{"schema": "trtfuse.report/9"}',
            "'r.json' is of the schema trtfuse.report/9; this version reads trtfuse.report/1",
        ),
        (
            '{"schema": "trtfuse.report/1", "model": "m"}',
            "'r.json' is no whole report: there is no 'before' in it",
        ),
        (
            '{"schema": "trtfuse.report/1", "model": "m", "before": {"nodes": 1}}',
            "'r.json' is no whole report: there is no 'operators' in an entry of 'before'",
        ),
    ],
)
def test_what_is_no_report_has_no_page(folder: Path, run: Run, content: str, said: str) -> None:
    (folder / "r.json").write_text(content, encoding="utf-8")
    assert refused(run, "report", "r.json") == said


def test_a_page_is_not_written_over_its_report(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "-q")
    assert refused(run, "report", "r.json", "-o", "r.json").startswith("input and output are both")
    assert refused(run, "report", "none.json").startswith("cannot read 'none.json'")
