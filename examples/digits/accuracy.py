"""Compares `digits.onnx` and its fused form on the held-back digits."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime as ort
from data import MODEL, Images, Labels, split
from numpy.typing import NDArray

import trtfuse


def logits(model: onnx.ModelProto, images: Images) -> NDArray[np.float32]:
    """Runs a model: images [n, 1, 8, 8] to logits [n, 10]."""
    options = ort.SessionOptions()
    # By default ONNX Runtime folds and fuses by itself, and would not run the original as it is.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    result: NDArray[np.float32] = session.run(["logits"], {"image": images})[0]
    return result


def correct(scores: NDArray[np.float32], labels: Labels) -> int:
    """How many images have their largest logit at their label."""
    return int(np.count_nonzero(scores.argmax(axis=1) == labels))


def main() -> int:
    """Prints the comparison.

    Returns:
        0, or 1 if the accuracies differ or trtfuse's own check of the fused model failed.
    """
    original = onnx.load(MODEL)
    result = trtfuse.fuse(MODEL, verify="model")
    _, images, _, labels = split()
    before, after = logits(original, images), logits(result.model, images)
    correct_before, correct_after = correct(before, labels), correct(after, labels)
    difference, largest = np.abs(after - before).max(), np.abs(before).max()
    total = len(labels)
    print(f"nodes:    {len(original.graph.node)} before, {len(result.model.graph.node)} after")
    print(
        f"accuracy: {correct_before / total:.4f} before, {correct_after / total:.4f} after"
        f" ({correct_before} and {correct_after} of {total})"
    )
    print(f"logits:   differ by at most {difference:.2g}, reach {largest:.2g}")
    print(f"check:    {'agrees' if result.ok else 'does not agree'}")
    return int(correct_before != correct_after or not result.ok)


if __name__ == "__main__":
    sys.exit(main())
