"""`trtfuse compare` and `trtfuse fuse --build`: results, exit codes, one line where it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model

from trtfuse.cli import main

pytest.importorskip("tensorrt_rtx", reason="these build engines")

LOGS = Path(__file__).parents[1] / "engine" / "logs"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in a folder with a model m.onnx; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    written = model(
        """(float[n,2,4,4] x) => (float[n,2,4,4] y) {
            [conv1] a = Conv(x, w) [mul1] b = Mul(a, s) [relu1] y = Relu(b)
        }""",
        w=np.ones((2, 2, 1, 1), np.float32),
        s=np.full((2, 1, 1), 3, np.float32),
    )
    onnx.save(written, "m.onnx")
    onnx.save(model("(int32[2] z) => (int32[2] y) { [odd] y = BitwiseNot(z) }"), "odd.onnx")

    def ran(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capfd.readouterr()

    return ran


def test_two_models(run: Run) -> None:
    run("fuse", "m.onnx", "-q")
    code, out, err = run("compare", "m.onnx", "m.fused.onnx", "--shapes", "x:2x2x4x4")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Same: ")
    assert lines[2].split() == ["m.onnx", "m.fused.onnx"]
    assert [line[:18].strip() for line in lines[3:9]] == [
        *("kernels", "traffic", "build time", "engine size", "weights", "activation memory")
    ]
    assert lines[-1].startswith("built with TensorRT for RTX ")
    assert lines[-1].endswith(" for x:2x2x4x4")


def test_json(run: Run) -> None:
    code, out, _ = run("compare", "m.onnx", LOGS / "int8.log", "--json", "--target", "8.6")
    content = json.loads(out)
    assert code == 0
    assert (content["schema"], content["b"]["kernels"]) == ("trtfuse.comparison/1", 3)
    assert content["shapes"] == {"x": [1, 2, 4, 4]}


def test_all_kernels_on_request(run: Run, tmp_path: Path) -> None:
    layers = [{"Name": f"k{n}", "LayerType": "kgen"} for n in range(7)]
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": layers}))
    _, short, _ = run("compare", "layers.json", LOGS / "bfloat16.log")
    assert "vanished: 7" in short
    assert "and 2 more" in short
    assert "k6 (kgen)" not in short
    _, long, _ = run("compare", "layers.json", LOGS / "bfloat16.log", "-v")
    assert "k6 (kgen)" in long
    assert "more" not in long


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["m.onnx", "gone.onnx"], "cannot read 'gone.onnx'"),
        (["m.onnx", "gone.log"], "cannot read 'gone.log': No such file or directory"),
        (["m.onnx", "m.onnx", "--shapes", "z:1"], "the model has no input 'z'; it has x"),
        (["m.onnx", "m.onnx", "--shapes", "x:1xa"], "'x:1xa' is not a shape; write it like"),
        (["m.onnx", "m.onnx", "--backend", "trt"], "there is no backend 'trt'"),
        (["m.onnx", "m.onnx", "--target", "9.0"], "cannot build for compute capability '9.0'"),
        (["m.onnx", "odd.onnx"], "BitwiseNot 'odd'"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    run: Run, arguments: list[str], said: str
) -> None:
    code, out, err = run("compare", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err


def test_fuse_builds_both_and_reports_it(run: Run, tmp_path: Path) -> None:
    code, out, err = run("fuse", "m.onnx", "--build", "--report", "r.json", "--report", "r.md")
    assert (code, err) == (0, "")
    assert "original" in out
    assert "2 of 2 fusions run in one kernel" in out
    engine = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["engine"]
    assert engine["agreement"]["share"] == 1.0
    assert engine["agreement"]["fusions"][0]["into"] == ["conv1"]
    assert engine["b"]["name"] == "m.onnx fused"
    assert "### Agreement" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_fuse_builds_for_the_shapes_it_is_given(run: Run) -> None:
    _, out, _ = run("fuse", "m.onnx", "--build", "--shapes", "x:3,2,4,4", "--dry-run")
    assert " for x:3x2x4x4" in out


def test_a_model_that_does_not_build_is_fused_all_the_same(run: Run, tmp_path: Path) -> None:
    code, out, err = run("fuse", "odd.onnx", "--build", "--report", "r.json")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "BitwiseNot 'odd'" in err
    assert "wrote odd.fused.onnx" in out
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["engine"] is None
    assert (tmp_path / "odd.fused.onnx").exists()


def test_without_tensorrt_nothing_is_fused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("tensorrt", "tensorrt_rtx"):
        # How Python has it that a module cannot be imported.
        monkeypatch.setitem(sys.modules, package, None)
    code, _, err = run("fuse", "m.onnx", "--build")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "install" in err
    assert not (tmp_path / "m.fused.onnx").exists()
