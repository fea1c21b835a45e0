"""Models from stdin and to stdout, several at once, and folders of them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import CONV, Run, contents, parsed, refused

import trtfuse

Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Puts bytes on stdin."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def zoo(folder: Path) -> Path:
    """A folder zoo with two models, one that trtfuse wrote, one that is broken, and a note."""
    (folder / "zoo").mkdir()
    for name in ("b.onnx", "a.onnx", "a.fused.onnx"):
        onnx.save(CONV, folder / "zoo" / name)
    (folder / "zoo" / "notes.txt").write_text("no model")
    return folder / "zoo"


# stdin and stdout


def test_a_model_goes_through_a_pipe(folder: Path) -> None:
    command = [sys.executable, "-m", "trtfuse", "fuse", "-", "-o", "-"]
    model = (folder / "m.onnx").read_bytes()
    ran = piped(command, model, folder)
    assert ran.returncode == 0
    fused = onnx.load_from_string(ran.stdout)
    assert [node.op_type for node in fused.graph.node] == [
        node.op_type for node in trtfuse.fuse(CONV).model.graph.node
    ]
    # The summary is not mixed into the bytes.
    assert ran.stderr.decode().startswith("stdin: 3 nodes, ")
    assert "wrote" not in ran.stderr.decode()
    assert os.listdir(folder) == ["m.onnx"]
    quiet = piped([*command, "-q"], model, folder)
    assert (quiet.stdout, quiet.stderr) == (ran.stdout, b"")


def piped(command: list[str], data: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=data, capture_output=True, cwd=folder, check=False)


def test_stdin_is_a_model_in_every_command_that_reads_one(
    folder: Path, run: Run, pipe: Pipe
) -> None:
    model = (folder / "m.onnx").read_bytes()
    pipe(model)
    ran = run("fuse", "-", "-o", "o.onnx", "--report", "{name}.json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("stdin: 3 nodes, ")
    assert ran.out.endswith("wrote o.onnx\nwrote stdin.json\n")
    for arguments, begins in (
        (("verify", "-", "o.onnx"), "checked: "),
        (("verify", "m.onnx", "-"), "checked: "),
        (("explain", "-"), "stdin: 2 nodes left"),
        (("explain", "-", "mul1"), "stdin: Mul mul1\n"),
        (("fuse", "-", "--dry-run"), "stdin: 3 nodes, "),
    ):
        pipe(model)
        ran = run(*arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(begins)


def test_a_report_comes_from_stdin_and_its_page_goes_to_stdout(
    folder: Path, run: Run, pipe: Pipe
) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "--report", "r.html", "-q")
    pipe((folder / "r.json").read_bytes())
    ran = run("report", "-", "-o", "-")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (folder / "r.html").read_text(encoding="utf-8")
    pipe(b"{")
    assert refused(run, "report", "-", "-o", "-").startswith("what is on stdin is not JSON; ")
    said = "a report from stdin has no name; say where to write its page, with -o"
    assert refused(run, "report", "-") == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "stdin is empty, not an ONNX model"),
        (b"\xff" * 9, "stdin is not an ONNX model, or only the beginning of one"),
    ],
)
def test_what_is_no_model_on_stdin(run: Run, pipe: Pipe, data: bytes, said: str) -> None:
    for arguments in (("fuse", "-", "-o", "o.onnx"), ("explain", "-"), ("verify", "-", "m.onnx")):
        pipe(data)
        ran = run(*arguments)
        assert (ran.code, ran.out, ran.err) == (2, "", f"trtfuse: {said}\n")


def test_a_model_from_stdin_says_where_it_is_to_go(folder: Path, run: Run, pipe: Pipe) -> None:
    (folder / "sub").mkdir()
    said = (
        "a model from stdin has no name; say where to write it, with -o FILE or, for stdout, -o -"
    )
    for arguments in ((), ("-o", "sub"), ("m.onnx", "-o", "sub")):
        pipe(CONV.SerializeToString())
        ran = run("fuse", "-", *arguments)
        assert (ran.code, ran.out, ran.err) == (2, "", f"trtfuse: {said}\n")
    said = "a model from stdin has no name; say where to write the engine, with -o"
    assert refused(run, "build", "-") == said


def test_only_one_model_comes_from_stdin(run: Run) -> None:
    said = "only one of the models can be read from stdin"
    assert refused(run, "verify", "-", "-") == said
    assert run("compare", "-", "-").err == f"trtfuse: {said}\n"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_no_bytes_and_gives_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    said = "stdout is a terminal, and a model is binary; pipe it on, or give -o FILE"
    assert refused(run, "fuse", "m.onnx", "-o", "-") == said
    said = said.replace("a model", "an engine")
    assert run("build", "m.onnx", "-o", "-").err == f"trtfuse: {said}\n"
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    said = "stdin is a terminal; redirect it, as in `trtfuse ... - < FILE`"
    assert refused(run, "fuse", "-", "-o", "o.onnx") == said


def test_a_model_with_external_data_does_not_go_to_stdout(folder: Path, run: Run) -> None:
    proto = parsed("(float[2000] x) => (float[2000] y) { y = Mul(x, w) }")
    weights = onnx.numpy_helper.from_array(np.ones(2000, np.float32), "w")
    proto.graph.initializer.append(weights)
    onnx.save(proto, folder / "e.onnx", save_as_external_data=True, location="w.bin")
    ran = run("fuse", "e.onnx", "-o", "-", "--skip", "identity-scale")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "trtfuse: the model has its weights in a file of their own, which cannot go to stdout; "
        "give -o FILE\n"
    )


def test_a_reader_that_is_gone_is_said_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Closed()))
    assert run("fuse", "m.onnx", "-o", "-", "-q").err == (
        "trtfuse: cannot write to stdout: Broken pipe\n"
    )


def test_an_engine_goes_to_stdout(folder: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="this builds an engine")
    command = [sys.executable, "-m", "trtfuse", "build", "-", "-o", "-"]
    ran = piped(command, (folder / "m.onnx").read_bytes(), folder)
    assert ran.returncode == 0
    assert len(ran.stdout) > 100_000
    assert ran.stderr.decode().startswith("stdin: built with TensorRT for RTX ")
    assert os.listdir(folder) == ["m.onnx"]


# Several models


def test_a_folder_is_its_models_but_for_those_that_trtfuse_wrote(zoo: Path, run: Run) -> None:
    ran = run("fuse", "zoo")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[:3] == ["wrote zoo/a.fused.onnx", "wrote zoo/b.fused.onnx", ""]
    titles = ["model", "before", "after", "fusions", "groups", "check", "seconds"]
    assert lines[3].split() == titles
    assert lines[4].split()[:2] == ["zoo/a.onnx", "3"]
    assert re.fullmatch(r"zoo/b\.onnx +3 +\d +1 +1  agrees +\d\.\d", lines[5])
    assert lines[6:] == ["", "2 models"]
    # Twice is as once.
    assert run("fuse", "zoo").out.splitlines()[:2] == lines[:2]


def test_several_models_go_to_a_folder_under_their_own_names(zoo: Path, run: Run) -> None:
    ran = run("fuse", "m.onnx", "zoo", "-o", "out", "--report", "out/{name}.json")
    assert (ran.code, ran.err) == (0, "")
    written = {"a.json", "a.onnx", "b.json", "b.onnx", "m.json", "m.onnx"}
    assert set(os.listdir("out")) == written
    assert [line for line in ran.out.splitlines() if line.startswith("wrote")] == [
        f"wrote out/{name}.{kind}" for name in "mab" for kind in ("onnx", "json")
    ]
    assert run("fuse", "m.onnx", "zoo", "-o", "out", "-q").out == ""
    assert "\n  conv-scale: 1\n" in run("fuse", "m.onnx", "zoo", "-o", "out", "-v").out


def test_one_model_goes_to_a_folder(folder: Path, run: Run) -> None:
    (folder / "sub").mkdir()
    assert run("fuse", "m.onnx", "-o", "sub").out.endswith("\nwrote sub/m.onnx\n")
    assert set(contents(folder)) == {"m.onnx", "sub", "sub/m.onnx"}


def test_a_model_that_cannot_be_read_does_not_stop_the_others(zoo: Path, run: Run) -> None:
    (zoo / "aa.onnx").write_bytes(b"nonsense")
    ran = run("fuse", "zoo", "none.onnx")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "trtfuse: 'zoo/aa.onnx' is not an ONNX model, or only the beginning of one",
        "trtfuse: cannot read 'none.onnx': No such file or directory",
    ]
    assert "wrote zoo/b.fused.onnx\n" in ran.out
    lines = ran.out.splitlines()
    assert lines[-1] == "4 models, 2 failed"
    assert [line.split()[0] for line in lines if " failed" in line][:2] == [
        "zoo/aa.onnx",
        "none.onnx",
    ]
    ran = run("explain", "zoo")
    assert ran.code == 2
    assert [line.split(":")[0] for line in ran.out.splitlines() if ".onnx" in line] == [
        "zoo/a.onnx",
        "zoo/b.onnx",
    ]
    assert "'zoo/aa.onnx' is not an ONNX model" in ran.err
    assert "Traceback" in run("fuse", "zoo", "-vv").err


@pytest.mark.usefixtures("zoo")
def test_the_exit_code_is_that_of_the_worst(
    run: Run, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = trtfuse.fuse

    def failing(model: Path, **how: object) -> trtfuse.FusionResult:
        result = fuse(model, **how)  # type: ignore[arg-type]
        if model.name == "a.onnx":
            result.report.verification.fail("it differs")
        return result

    monkeypatch.setattr(trtfuse, "fuse", failing)
    ran = run("fuse", "zoo")
    assert ran.code == 1
    assert ran.err == ("trtfuse: 'zoo/a.onnx' and its fused model differ: nothing was written\n")
    assert "zoo/a.fused" not in ran.out
    assert ran.out.endswith("\n2 models, 1 not written, since the result differs\n")


def test_what_is_wrong_for_all_models_is_said_once(zoo: Path, run: Run) -> None:
    said = refused(run, "fuse", "zoo", "--rules", "conv-scal")
    assert said == "unknown rule 'conv-scal'; did you mean 'conv-scale'?"
    assert refused(run, "fuse", "zoo", "--target", "1.0").startswith("unknown target '1.0'; ")
    assert refused(run, "explain", "zoo", "--skip", "conv-scal").startswith("unknown rule")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("zoo", "-o", "out.onnx"),
            "several models need a folder, and 'out.onnx' is none; give -o DIR",
        ),
        (
            ("m.onnx", "zoo", "-o", "-"),
            "only one model can be written to stdout; give a folder with -o DIR",
        ),
        (
            ("zoo", "--report", "r.html"),
            "each model needs a report of its own; put {name} where its name goes, as in "
            "'{name}.html'",
        ),
        (
            ("zoo", "--report", "pages/r.html"),
            "each model needs a report of its own; put {name} where its name goes, as in "
            "'pages/{name}.html'",
        ),
        (("zoo", "-o", "no/out"), "cannot write 'no/out': there is no folder 'no'"),
        (("zoo", "-o", "zoo"), "input and output are both 'zoo/a.onnx'; write to another file"),
        (
            ("zoo/a.onnx", "zoo/a.fused.onnx"),
            "input and output are both 'zoo/a.fused.onnx'; write to another file",
        ),
        (
            ("m.onnx", "other/m.onnx", "-o", "out"),
            "two outputs have the same path; give each its own",
        ),
        (("empty",), "there are no .onnx files in 'empty'"),
    ],
)
def test_several_models_that_cannot_be_written(
    zoo: Path, run: Run, arguments: tuple[str, ...], said: str
) -> None:
    (zoo.parent / "other").mkdir()
    (zoo.parent / "empty").mkdir()
    onnx.save(CONV, zoo.parent / "other" / "m.onnx")
    assert refused(run, "fuse", *arguments) == said


def test_a_folder_of_nothing_but_what_trtfuse_wrote(zoo: Path, run: Run) -> None:
    (zoo / "a.onnx").unlink()
    (zoo / "b.onnx").unlink()
    assert refused(run, "fuse", "zoo") == (
        "there are no .onnx files in 'zoo' but for 1 written by trtfuse"
    )


def test_explain_takes_a_folder_but_not_for_one_node(zoo: Path, run: Run) -> None:
    ran = run("explain", "zoo", "--rules", "conv-scale")
    assert (
        ran.out
        == "\n\n\n".join(
            f"zoo/{name}.onnx: 2 nodes left, no rule comes near any of them" for name in "ab"
        )
        + "\n"
    )
    found = json.loads(run("explain", "zoo", "--json").out)
    assert [entry["model"] for entry in found["models"]] == ["zoo/a.onnx", "zoo/b.onnx"]
    said = refused(run, "explain", "zoo", "conv1")
    assert said == "'zoo' is a folder; give the model that has the node 'conv1'"
