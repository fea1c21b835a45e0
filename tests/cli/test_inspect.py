"""`trtfuse inspect`: one model or several, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from command_line import CONV, Run, parsed, refused


def test_inspect_says_what_a_model_is_made_of(folder: Path, run: Run) -> None:
    ran = run("inspect", "m.onnx")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "m.onnx: 3 nodes, 6 parameters"
    assert "weights     24 bytes in 2 tensors (float32 24 bytes)" in lines
    assert "opset       ai.onnx 17" in lines
    assert "producer    not stated" in lines
    assert lines[lines.index("inputs") + 1] == "  x  float32  [1, 2, 4, 4]"
    assert lines[lines.index("operators") + 1] == "  Conv  1"
    assert lines[-1].startswith("TensorRT: no objection from ")


def test_more_is_listed_on_request(folder: Path, run: Run) -> None:
    names = ("Abs", "Neg", "Exp", "Log", "Sqrt", "Sin", "Cos", "Tan", "Relu", "Sigmoid", "Tanh")
    names += ("Floor", "Ceil", "Sign")
    nodes = " ".join(f"v{i + 1} = {name}(v{i})" for i, name in enumerate(names))
    onnx.save(parsed(f"(float[2] v0) => (float[2] v{len(names)}) {{ {nodes} }}"), folder / "n.onnx")
    assert "  and 2 more\n" in run("inspect", "n.onnx").out
    assert "more" not in run("inspect", "n.onnx", "-v").out


def test_several_models_and_one_that_cannot_be_read(folder: Path, run: Run) -> None:
    onnx.save(CONV, folder / "n.onnx")
    (folder / "o.onnx").write_bytes(b"")
    ran = run("inspect", ".")
    assert (ran.code, ran.err) == (2, "trtfuse: 'o.onnx' is empty, not an ONNX model\n")
    heads = [line for line in ran.out.splitlines() if " parameters" in line]
    assert heads == ["m.onnx: 3 nodes, 6 parameters", "n.onnx: 3 nodes, 6 parameters"]
    found = json.loads(run("inspect", ".", "--json").out)["models"]
    assert [entry["model"] for entry in found] == ["m.onnx", "n.onnx", "o.onnx"]
    assert "error" in found[2]


def test_inspect_as_json(run: Run) -> None:
    found = json.loads(run("inspect", "m.onnx", "--json").out)
    assert (found["schema"], found["model"]) == ("trtfuse.inspection/1", "m.onnx")
    assert found["inputs"] == [{"name": "x", "type": "float32", "shape": [1, 2, 4, 4]}]


def test_what_tensorrt_cannot_take_is_named_and_is_no_failure(folder: Path, run: Run) -> None:
    onnx.save(parsed("(float[4] x) => (float[?] y) { [u] y = Unique(x) }"), folder / "u.onnx")
    ran = run("inspect", "u.onnx")
    assert (ran.code, ran.err) == (0, "")
    assert "\n  Unique 'u': " in ran.out


@pytest.mark.parametrize("path", ["none.onnx", "bad.onnx"])
def test_inspect_refuses_what_is_no_model(folder: Path, run: Run, path: str) -> None:
    (folder / "bad.onnx").write_bytes(b"\xff")
    assert path in refused(run, "inspect", path)
