"""`trtfuse fuse --check`: whether a model would change, with nothing written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import onnx
import pytest
from command_line import CONV, Run, contents, parsed, refused

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


def test_a_model_that_would_change_exits_with_1_and_stays(folder: Path, run: Run) -> None:
    before = contents(folder)
    ran = run("fuse", "--check", "m.onnx")
    assert (ran.code, ran.out, ran.err) == (1, "m.onnx would change: 1 fusion\n", "")
    assert contents(folder) == before
    quiet = run("fuse", "--check", "m.onnx", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", "")
    assert "\n  conv-scale: 1\n" in run("fuse", "--check", "m.onnx", "-v").out


def test_a_group_is_a_change_only_where_it_becomes_a_call(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "-o", "flat.onnx", "-q")
    ran = run("fuse", "--check", "flat.onnx")
    assert (ran.code, ran.out) == (0, "flat.onnx would not change\n")
    ran = run("fuse", "--check", "flat.onnx", "--groups", "functions")
    assert (ran.code, ran.out) == (1, "flat.onnx would change: 1 group\n")


@pytest.mark.parametrize("groups", ["flat", "functions", "off"])
def test_what_fuse_wrote_would_not_change(folder: Path, run: Run, groups: str) -> None:
    swish = parsed(
        """(float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] z)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float three = {3}, float zero = {0},
         float six = {6}> {
          a = Conv(x, w) s = Sigmoid(a) y = Mul(a, s)
          b = Add(x, three) c = Clip(b, zero, six) d = Div(c, six) z = Mul(x, d)
        }"""
    )
    (folder / "in").mkdir()
    for name, model in (("a", CONV), ("b", swish), ("c", onnx.load(DIGITS))):
        onnx.save(model, folder / "in" / f"{name}.onnx")
    how = ("--groups", groups)
    assert run("fuse", "--check", "in", *how).code == 1
    assert run("fuse", "in", "-o", "out", *how, "-q").code == 0
    ran = run("fuse", "--check", "out", *how)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "0 of 3 models would change"


def test_several_are_named_and_counted(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[2] x) => (float[2] y) { y = Relu(x) }"), folder / "n.onnx")
    (folder / "o.onnx").write_bytes(b"")
    ran = run("fuse", "--check", "m.onnx", "n.onnx", "o.onnx")
    assert ran.code == 2
    assert ran.out.splitlines() == [
        "m.onnx would change: 1 fusion",
        "n.onnx would not change",
        "",
        "1 of 3 models would change, and 1 cannot be used",
    ]
    assert ran.err == "trtfuse: 'o.onnx' is empty, not an ONNX model\n"


def test_check_as_json(folder: Path, run: Run) -> None:
    ran = run("fuse", "--check", "m.onnx", "--json")
    found = json.loads(ran.out)
    assert ran.code == 1
    assert (found["model"], found["would_change"]) == ("m.onnx", True)
    assert [entry["rule"] for entry in found["fused"]] == ["conv-scale"]
    run("fuse", "m.onnx", "-q")
    ran = run("fuse", "--check", "m.onnx", "m.fused.onnx", "--json")
    assert [each["would_change"] for each in json.loads(ran.out)["models"]] == [True, False]


@pytest.mark.parametrize(
    "option", [("-o", "o.onnx"), ("--report", "r.json"), ("--build",)], ids=lambda given: given[0]
)
def test_check_writes_nothing_that_is_asked_for_either(run: Run, option: tuple[str, ...]) -> None:
    said = refused(run, "fuse", "m.onnx", "--check", *option)
    assert said == f"--check writes and builds nothing; leave {option[0]} out"


def test_the_hook_of_pre_commit_is_a_command_that_runs(run: Run) -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    hook = dict(re.findall(r"^[- ] (\w+): (.*)$", text, re.MULTILINE))
    program, *arguments = shlex.split(hook["entry"])
    assert (program, hook["id"], hook["language"]) == ("trtfuse", "trtfuse", "python")
    assert re.search(hook["files"], "models/m.onnx")
    assert run(*arguments, "m.onnx").code == 1


def test_the_page_on_ci_shows_what_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "how-to" / "check-in-ci.md").read_text(encoding="utf-8")
    command = re.search(r"^    \$ trtfuse (.*)$", page, re.MULTILINE)
    assert command is not None
    monkeypatch.chdir(ROOT)
    ran = run(*command[1].split())
    assert ran.code == 1
    shown = "".join(f"    {line}".rstrip() + "\n" for line in ran.out.splitlines())
    assert f"{command[0]}\n{shown}" in page
