"""The optimizers that are compared, each as its own documentation has it, with its defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx


@dataclass(frozen=True)
class Tool:
    """An optimizer as it is used from Python, in three steps.

    Attributes:
        optimize: what `load` returned to what `save` takes.
        whole: it does everything in `save`, so that optimization alone cannot be told apart.
    """

    optimize: Callable[[Any], Any]
    load: Callable[[Path], Any] = onnx.load
    save: Callable[[Any, Path], Any] = onnx.save
    whole: bool = False


def _trtfuse(verify: str) -> Tool:
    import trtfuse

    def fuse(path: Path) -> Any:
        return trtfuse.fuse(path, verify=verify)  # type: ignore[arg-type]

    return Tool(fuse, load=Path, save=lambda result, path: result.save(path))


def _onnxscript() -> Tool:
    import onnxscript.optimizer

    return Tool(onnxscript.optimizer.optimize)


def _onnxscript_rewriter() -> Tool:
    import onnxscript.rewriter

    return Tool(onnxscript.rewriter.rewrite)


def _onnxslim() -> Tool:
    import onnxslim

    return Tool(onnxslim.slim)


def _onnxoptimizer() -> Tool:
    import onnxoptimizer

    return Tool(onnxoptimizer.optimize)


def _onnxsim() -> Tool:
    import onnxsim

    return Tool(lambda model: onnxsim.simplify(model)[0])


def _onnxruntime() -> Tool:
    import onnxruntime as ort

    def write(source: Path, target: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return Tool(Path, load=Path, save=write, whole=True)


TOOLS: dict[str, Callable[[], Tool]] = {
    "trtfuse": lambda: _trtfuse("none"),
    "trtfuse-checked": lambda: _trtfuse("rewrite"),
    "onnxruntime": _onnxruntime,
    "onnxsim": _onnxsim,
    "onnxscript": _onnxscript,
    "onnxscript.rewriter": _onnxscript_rewriter,
    "onnxslim": _onnxslim,
    "onnxoptimizer": _onnxoptimizer,
}
PACKAGES = (
    "trtfuse",
    *("onnxruntime", "onnxsim", "onnxscript", "onnxslim", "onnxoptimizer"),
    *("onnx", "onnx_ir", "numpy", "protobuf"),
)
