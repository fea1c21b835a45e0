"""Models for the benchmark: chains of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8


def chain(nodes: int, path: Path) -> None:
    """Writes a chain of Conv, BatchNormalization, Relu and two Transposes that cancel.

    Every Conv and every BatchNormalization has weights of its own.
    """
    rng = np.random.default_rng(0)
    made: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []

    def weight(name: str, array: NDArray[np.float64]) -> str:
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        made.append(helper.make_node(operator, inputs, [f"{name}_y"], name, **attributes))
        return f"{name}_y"

    x = "x"
    for i in range(nodes // 5):
        w = weight(f"w{i}", rng.normal(size=(CHANNELS, CHANNELS, 1, 1)) / np.sqrt(CHANNELS))
        b = weight(f"b{i}", rng.normal(size=CHANNELS))
        x = node("Conv", [x, w, b], f"conv{i}")
        drawn = rng.uniform(0.5, 1.5, (4, CHANNELS))
        statistics_of = [weight(f"bn{i}_{k}", a) for k, a in zip("sbmv", drawn, strict=True)]
        x = node("BatchNormalization", [x, *statistics_of], f"bn{i}")
        x = node("Relu", [x], f"relu{i}")
        x = node("Transpose", [x], f"there{i}", perm=[0, 2, 3, 1])
        x = node("Transpose", [x], f"back{i}", perm=[0, 3, 1, 2])
    shape = [1, CHANNELS, 4, 4]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", x)]
    graph = helper.make_graph(made, "chain", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
