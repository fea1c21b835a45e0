"""The benchmark of engines runs, with trtfuse alone: other optimizers need not be installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "engine.py"


@pytest.mark.skipif(not PROGRAM.exists(), reason="the package comes without its benchmarks")
def test_the_engines_of_a_model_and_of_what_is_left_of_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="it builds engines")
    written = model(
        """(float[n,2,4,4] x) => (float[n,2,4,4] y) {
            [conv1] a = Conv(x, w) [mul1] b = Mul(a, s) [relu1] y = Relu(b)
        }""",
        w=np.ones((2, 2, 1, 1), np.float32),
        s=np.full((2, 1, 1), 3, np.float32),
    )
    onnx.save(written, tmp_path / "good.onnx")
    odd = model("(int32[2] x) => (int32[2] y) { [odd] y = BitwiseNot(x) }")
    onnx.save(odd, tmp_path / "odd.onnx")
    results = tmp_path / "results.json"
    options = ["--tools", "trtfuse", "--repeats", "1", "--json", str(results)]
    printed = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), *options],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)},
    ).stdout
    content = json.loads(results.read_text(encoding="utf-8"))
    good = content["results"]["good.onnx"]
    assert good["original"]["kernels"] >= good["trtfuse"]["kernels"] > 0
    assert content["agreement"]["good.onnx"]["unknown"] == 0
    assert "BitwiseNot 'odd'" in content["results"]["odd.onnx"]["original"]["trouble"]
    assert "Built: original 1, trtfuse 1, of 2" in printed
    assert "| good.onnx | 2 | " in printed
