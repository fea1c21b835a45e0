"""Fuses the digit classifier between two passes of onnx-ir."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir
from onnx_ir.passes import Sequential
from onnx_ir.passes.common import CheckerPass, NameFixPass, ShapeInferencePass

import trtfuse

MODEL = Path(__file__).parent.parent / "digits" / "digits.onnx"


def main() -> int:
    """Loads, names, fuses, and infers the shapes of what came out.

    Returns:
        0, or 1 if the check of the fused model failed.
    """
    model = onnx_ir.load(MODEL)
    NameFixPass()(model)
    before = [node.name for node in model.graph]

    result = trtfuse.fuse(model, verify="model")
    fused = result.to_onnx_ir()

    for fusion in result.report.fused:
        print(f"{fusion.rule}: {fusion.name}")
    print("given:", *before)
    print("fused:", *[node.name for node in fused.graph])
    print("check:", "agrees" if result.ok else "does not agree")
    # From here on it is a model like any other.
    Sequential(ShapeInferencePass(), CheckerPass())(fused)
    for node in fused.graph:
        print(f"{node.name}: {node.op_type} {node.outputs[0].shape}")
    return int(not result.ok)


if __name__ == "__main__":
    sys.exit(main())
