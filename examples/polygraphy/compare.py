"""Compares the digit classifier and its fused form with Polygraphy."""

from __future__ import annotations

import sys
from pathlib import Path

from polygraphy.backend.onnx import BytesFromOnnx, OnnxFromPath
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.comparator import Comparator, DataLoader, SimpleCompareFunc
from polygraphy.logger import G_LOGGER

import trtfuse
from trtfuse.polygraphy import FuseOnnx

MODEL = Path(__file__).parent.parent / "digits" / "digits.onnx"


def report(result: trtfuse.FusionResult) -> None:
    """Prints what was fused, every time that the loader is called."""
    for fusion in result.report.fused:
        print(f"{fusion.rule}: {fusion.name}")


def main() -> int:
    """Runs both on the same inputs.

    Returns:
        0, or 1 if Polygraphy finds a difference.
    """
    G_LOGGER.module_severity = G_LOGGER.ERROR
    load = OnnxFromPath(str(MODEL))
    fuse = FuseOnnx(load, on_result=report)
    # Where there is a GPU, TrtRunner(EngineFromNetwork(NetworkFromOnnxBytes(BytesFromOnnx(fuse))))
    # stands in the place of the second runner.
    runners = [
        OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(load)), name="original"),
        OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(fuse)), name="fused"),
    ]
    results = Comparator.run(runners, data_loader=DataLoader(seed=0, iterations=4))
    same = SimpleCompareFunc(atol=1e-5, rtol=1e-5)
    agree = bool(Comparator.compare_accuracy(results, compare_func=same))
    print(f"{len(results['fused'])} inputs:", "agree" if agree else "do not agree")
    return int(not agree)


if __name__ == "__main__":
    sys.exit(main())
