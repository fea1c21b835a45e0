"""Defaults from `[tool.trtfuse]` in pyproject.toml: what they set, and what is wrong with them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import onnx
import pytest
from command_line import CONV, Run, refused

import trtfuse
from trtfuse.cli import command

ROOT = Path(__file__).parents[2]


def configured(text: str, folder: Path | None = None) -> None:
    """Writes a pyproject.toml with a table, or several, for trtfuse."""
    path = (folder or Path.cwd()) / "pyproject.toml"
    path.write_text(f"[project]\nname = 'deploy'\n\n{text}", encoding="utf-8")


def checked(run: Run, *arguments: str) -> str:
    """The line on what was checked."""
    ran = run("fuse", "m.onnx", "--dry-run", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return next(line for line in ran.out.splitlines() if "checked" in line)


def test_options_of_fuse_have_their_defaults_from_the_file(folder: Path, run: Run) -> None:
    configured(
        """
        [tool.trtfuse]
        verify = "none"
        groups = "off"
        skip = ["conv-scale", "scale-and-activation", "scale-activation"]
        report = ["{name}.json", "{name}.md"]
        fold-limit = "2 MB"
        target = 8.9
        shapes = "x:1x2x4x4"
        """
    )
    ran = run("fuse", "m.onnx")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "m.onnx: 3 nodes, nothing to fuse",
        "",
        "not checked",
        "wrote m.fused.onnx",
        "wrote m.json",
        "wrote m.md",
    ]


def test_the_command_line_wins(folder: Path, run: Run) -> None:
    configured('[tool.trtfuse]\nverify = "none"\nreport = "r.json"\nquiet = true')
    assert run("fuse", "m.onnx", "--dry-run").out == ""
    configured('[tool.trtfuse]\nverify = "none"\nreport = "r.json"')
    assert checked(run).startswith("not checked")
    assert checked(run, "--verify", "rewrite").startswith("checked: 1 ")
    (folder / "r.json").unlink()
    assert checked(run, "--report", "s.json").startswith("not checked")
    assert set(os.listdir(folder)) == {"m.onnx", "pyproject.toml", "s.json"}


@pytest.mark.parametrize("option", ["--no-config", "--isolated"])
def test_the_file_is_ignored_on_request(run: Run, option: str) -> None:
    configured('[tool.trtfuse]\nverify = "none"')
    assert checked(run, option).startswith("checked: 1 ")
    configured("[tool.trtfuse]\nnonsense = 1")
    assert checked(run, option).startswith("checked: 1 ")
    configured("[tool.trtfuse")
    assert checked(run, option).startswith("checked: 1 ")


def test_the_nearest_file_with_a_table_counts(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured('[tool.trtfuse]\nverify = "none"\nreport = "reports/{name}.json"')
    (folder / "reports").mkdir()
    inner = folder / "sub" / "sub"
    inner.mkdir(parents=True)
    (folder / "sub" / "pyproject.toml").write_text("[tool.ruff]\nline-length = 1")
    onnx.save(CONV, inner / "m.onnx")
    monkeypatch.chdir(inner)
    # A path in the file is one beside it.
    assert checked(run).startswith("not checked")
    assert os.listdir(folder / "reports") == ["m.json"]
    configured('[tool.trtfuse]\nverify = "rewrite"')
    assert checked(run).startswith("checked: 1 ")
    # Another tool's broken file is none of our business.
    (inner / "pyproject.toml").write_text("[tool.ruff")
    (folder / "sub" / "pyproject.toml").unlink()
    assert checked(run).startswith("not checked")


def test_explain_takes_what_fuse_does(run: Run) -> None:
    configured('[tool.trtfuse]\nskip = "conv-scale"\nverify = "none"\nreport = "r.json"')
    explained = run("explain", "m.onnx", "conv1", "--json")
    assert explained.code == 0
    rules = {step["rule"] for step in json.loads(explained.out)["steps"]}
    assert "conv-scale" not in rules
    assert "conv-scale" in run("explain", "m.onnx", "conv1", "--no-config").out


def test_other_commands_have_tables_of_their_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    def build(*_: object, **how: object) -> None:
        given.update(how)
        raise trtfuse.UsageError("no more is asked")

    monkeypatch.setattr(trtfuse, "build", build)
    configured(
        """
        [tool.trtfuse]
        target = "8.9"
        [tool.trtfuse.build]
        workspace = 64
        level = 2
        target = ["8.6", "8.9"]
        in-process = true
        [tool.trtfuse.fuse]
        verify = "none"
        [tool.trtfuse.verify]
        quiet = true
        """
    )
    run("build", "m.onnx")
    assert (given["workspace"], given["level"], given["in_process"]) == (64 << 20, 2, True)
    assert given["targets"] == ("8.6", "8.9")
    assert checked(run).startswith("not checked")
    assert run("verify", "m.onnx", "m.onnx").out == ""
    configured('[tool.trtfuse]\ntarget = "8.9"')
    run("build", "m.onnx")
    assert given["targets"] == ()


def test_check_does_not_mind_what_the_file_would_write(folder: Path, run: Run) -> None:
    configured('[tool.trtfuse]\nreport = "r.json"\noutput = "o.onnx"')
    ran = run("fuse", "--check", "m.onnx")
    assert (ran.code, ran.err) == (1, "")
    assert set(os.listdir(folder)) == {"m.onnx", "pyproject.toml"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("verfy = 'none'", "there is no key 'verfy'; did you mean 'verify'?"),
        ("fold_limit = 1", "there is no key 'fold_limit'; did you mean 'fold-limit'?"),
        ("no-config = true", "there is no key 'no-config'; "),
        ("flat = true", "there is no key 'flat'; "),
        ("build = 1", "'build' is true or false, not 1"),
        ("dry-run = 'yes'", "'dry-run' is true or false, not 'yes'"),
        ("verbose = true", "'verbose' is a whole number, not true"),
        ("verify = false", "'verify' is text or a number, not false"),
        ("verify = ['none']", "'verify' is text or a number, not ['none']"),
        ("verify = 'all'", "'verify': 'all' is not one of 'none', 'rewrite', 'model'."),
        ("rules = [1, true]", "'rules' is text, or a list of it, not [1, True]"),
        ("fold-limit = 'big'", "'fold-limit': 'big' is not a size; write it like 500MB or 2GiB, "),
        ("fold-limit = -1", "'fold-limit': '-1' is not a size; "),
        ("groups = {a = 1}", "'groups' is text or a number, not a table"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_one_line(run: Run, text: str, said: str) -> None:
    configured(f"[tool.trtfuse]\n{text}")
    assert refused(run, "fuse", "m.onnx").startswith(f"'pyproject.toml', [tool.trtfuse]: {said}")
    # Whatever the command: else it would be found long after.
    assert refused(run, "verify", "m.onnx", "m.onnx").startswith("'pyproject.toml', [tool.trtfuse]")


def test_what_is_wrong_in_a_table_names_the_table(run: Run) -> None:
    configured("[tool.trtfuse.build]\nlevel = 9")
    said = refused(run, "fuse", "m.onnx")
    assert said == "'pyproject.toml', [tool.trtfuse.build]: 'level': 9 is not in the range 0<=x<=5."
    configured("[tool.trtfuse.biuld]\nlevel = 3")
    said = refused(run, "fuse", "m.onnx")
    assert (
        said == "'pyproject.toml', [tool.trtfuse]: there is no key 'biuld'; did you mean 'build'?"
    )
    configured("[tool]\ntrtfuse = 3")
    assert refused(run, "fuse", "m.onnx") == "'pyproject.toml': tool.trtfuse is a table, not 3"


def test_a_file_that_is_no_toml_is_named(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured("[tool.trtfuse")
    said = refused(run, "fuse", "m.onnx")
    assert said.startswith("cannot read 'pyproject.toml': ")
    assert said.endswith("; correct it, or give --no-config")
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    assert refused(run, "fuse", "m.onnx").startswith("cannot read '../pyproject.toml': ")


def test_rules_and_help_need_no_file(run: Run) -> None:
    configured("[tool.trtfuse")
    assert run("rules", "conv-scale").code == 0
    assert run("fuse", "--help").code == 0


def test_every_key_on_the_page_is_an_option(run: Run) -> None:
    page = (ROOT / "docs" / "how-to" / "configure.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    configured(text)
    assert run("verify", "m.onnx", "m.onnx").code == 0
    assert set(command.commands) - {"rules"} == {
        name
        for name, each in command.commands.items()
        if any(parameter.name == "no_config" for parameter in each.params)
    }
