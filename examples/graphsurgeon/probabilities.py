"""Gives the digit classifier probabilities for logits with GraphSurgeon, and fuses it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs

import trtfuse

MODEL = Path(__file__).parent.parent / "digits" / "digits.onnx"


def edit(graph: gs.Graph) -> None:
    """Divides the logits by a temperature and puts a Softmax behind them."""
    (logits,) = graph.outputs
    softer = gs.Variable("softer", np.float32, logits.shape)
    probability = gs.Variable("probability", np.float32, logits.shape)
    temperature = gs.Constant("temperature", np.float32([2]))
    graph.nodes += [
        gs.Node("Div", "soften", inputs=[logits, temperature], outputs=[softer]),
        gs.Node("Softmax", "softmax", {"axis": 1}, inputs=[softer], outputs=[probability]),
    ]
    graph.outputs = [probability]


def main() -> int:
    """Imports, edits, fuses and exports.

    Returns:
        0, or 1 if the check of the fused model failed.
    """
    graph = gs.import_onnx(onnx.load(MODEL))
    edit(graph)
    before = [node.name for node in graph.nodes]

    result = trtfuse.fuse(graph, verify="model")
    fused = result.to_graphsurgeon()

    for fusion in result.report.fused:
        print(f"{fusion.rule}: {fusion.name}")
    print("given:", *before)
    print("fused:", *[node.name for node in fused.nodes])
    print("check:", "agrees" if result.ok else "does not agree")
    # From here on it is a graph like any other: edit it, or export it.
    model = gs.export_onnx(fused)
    onnx.checker.check_model(model, full_check=True)
    print("weights:", *[tensor.name for tensor in model.graph.initializer])
    return int(not result.ok)


if __name__ == "__main__":
    sys.exit(main())
