"""`--json`: stdout is one JSON document, whatever the command."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from command_line import CONV, Run, refused

import trtfuse


def test_fuse_prints_the_report_and_writes_the_same(folder: Path, run: Run) -> None:
    ran = run("fuse", "m.onnx", "--json", "--report", "r.json", "-v")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == json.loads((folder / "r.json").read_text(encoding="utf-8"))
    assert (folder / "m.fused.onnx").exists()
    assert json.loads(run("fuse", "m.onnx", "--json", "-q").out)["model"] == "m.onnx"


def test_several_models_are_a_list_in_an_object(folder: Path, run: Run) -> None:
    onnx.save(CONV, folder / "n.onnx")
    (folder / "o.onnx").write_bytes(b"")
    ran = run("fuse", ".", "--json")
    assert ran.code == 2
    models = json.loads(ran.out)["models"]
    assert [entry["model"] for entry in models] == ["m.onnx", "n.onnx", "o.onnx"]
    assert models[0]["schema"] == "trtfuse.report/1"
    assert models[2] == {"model": "o.onnx", "error": "'o.onnx' is empty, not an ONNX model"}
    # One model of a folder is a list, too: a program reads the same whatever is in there.
    (folder / "sub").mkdir()
    onnx.save(CONV, folder / "sub" / "m.onnx")
    assert len(json.loads(run("fuse", "sub", "--json").out)["models"]) == 1
    explained = run("explain", ".", "--json")
    assert explained.code == 2
    found = json.loads(explained.out)["models"]
    assert [entry["model"] for entry in found] == ["m.onnx", "n.onnx", "o.onnx"]
    assert "error" in found[2]


def test_verify_prints_what_it_found(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "-q")
    ran = run("verify", "m.onnx", "m.fused.onnx", "--json")
    found = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (found["level"], found["ok"], found["checked"]) == ("model", True, 4)
    assert (found["outputs"], found["samples"], found["source"]) == (1, 4, "random")
    assert found["compared"][0]["output"] == "y"


def test_report_says_what_it_wrote(run: Run) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "-q")
    ran = run("report", "r.json", "--json")
    assert json.loads(ran.out) == {"model": "m.onnx", "path": "r.html"}


def test_rules_as_data(run: Run) -> None:
    rules = json.loads(run("rules", "--json").out)["rules"]
    assert [rule["name"] for rule in rules] == [rule.name for rule in trtfuse.rules()]
    one = json.loads(run("rules", "conv-scale", "--json").out)
    assert (one["kind"], one["entry"]) == ("rewrite", "F8")
    assert one in rules
    assert {"name", "doc", "helps"} == set(one["guards"][0])


def test_build_prints_figures_and_where_the_engine_is(folder: Path, run: Run) -> None:
    pytest.importorskip("tensorrt_rtx", reason="this builds an engine")
    ran = run("build", "m.onnx", "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert (found["model"], found["path"]) == ("m.onnx", "m.engine")
    assert found["sizes"]["engine"] == (folder / "m.engine").stat().st_size


@pytest.mark.parametrize(
    "arguments", [("fuse", "m.onnx"), ("build", "m.onnx"), ("report", "r.json")]
)
def test_stdout_is_for_one_thing(run: Run, arguments: tuple[str, ...]) -> None:
    said = refused(run, arguments[0], *arguments[1:], "--json", "-o", "-")
    assert said == "--json and -o - both write to stdout; give one of them"


def test_an_error_prints_no_json(run: Run) -> None:
    ran = run("fuse", "no.onnx", "--json")
    assert (ran.code, ran.out) == (2, "")
