"""trtfuse applies TensorRT's documented fusions to ONNX graphs, and checks every one of them.

import trtfuse

result = trtfuse.fuse("model.onnx", verify="model")
print(result.report)
result.save("model.fused.onnx")
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

import trtfuse.groups.find
import trtfuse.rules  # noqa: F401 - both fill the catalogue
from trtfuse.check.verification import Verification
from trtfuse.errors import (
    EngineError,
    InternalError,
    ModelError,
    TrtfuseError,
    UsageError,
    VerifyError,
)
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.report import Report
from trtfuse.rewrite.rule import Rule, rule, rules
from trtfuse.run import fuse, verify

if _TYPE_CHECKING:
    from trtfuse.engine.agreement import agreement
    from trtfuse.engine.build import build
    from trtfuse.engine.compare import compare
    from trtfuse.engine.engine import Engine
    from trtfuse.engine.layers import read_layers
    from trtfuse.inspection import inspect
    from trtfuse.interop.networkx import to_networkx
    from trtfuse.result.comparison import Agreement, Comparison
    from trtfuse.result.explanation import Explanation
    from trtfuse.result.inspection import Inspection
    from trtfuse.result.layer import Layer
    from trtfuse.why_not import explain

__version__ = _version("trtfuse")

__all__ = [
    "Agreement",
    "Comparison",
    "Engine",
    "EngineError",
    "Explanation",
    "FusionResult",
    "Inspection",
    "InternalError",
    "Layer",
    "ModelError",
    "Report",
    "Rule",
    "TrtfuseError",
    "UsageError",
    "Verification",
    "VerifyError",
    "agreement",
    "build",
    "compare",
    "explain",
    "fuse",
    "inspect",
    "read_layers",
    "rule",
    "rules",
    "to_networkx",
    "verify",
]

#: What is imported when it is asked for, from where: fusing needs nothing of TensorRT.
_LAZY = {
    "Agreement": "trtfuse.result.comparison",
    "Comparison": "trtfuse.result.comparison",
    "Engine": "trtfuse.engine.engine",
    "Explanation": "trtfuse.result.explanation",
    "Inspection": "trtfuse.result.inspection",
    "Layer": "trtfuse.result.layer",
    "agreement": "trtfuse.engine.agreement",
    "build": "trtfuse.engine.build",
    "compare": "trtfuse.engine.compare",
    "explain": "trtfuse.why_not",
    "inspect": "trtfuse.inspection",
    "read_layers": "trtfuse.engine.layers",
    "to_networkx": "trtfuse.interop.networkx",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'trtfuse' has no attribute '{name}'")
    return getattr(_import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
