"""trtfuse applies TensorRT's documented fusions to ONNX graphs, and checks every one of them.

import trtfuse

result = trtfuse.fuse("model.onnx", verify="model")
print(result.report)
result.save("model.fused.onnx")
"""

from importlib.metadata import version as _version

import trtfuse.rules  # noqa: F401 - fills the catalogue
from trtfuse.check.model import Verification
from trtfuse.errors import ModelError, TrtfuseError, UsageError, VerifyError
from trtfuse.explanation import Explanation, explain
from trtfuse.pipeline import FusionResult, fuse, verify
from trtfuse.report.data import Report
from trtfuse.rewrite.rule import Rule, rule, rules

__version__ = _version("trtfuse")

__all__ = [
    "Explanation",
    "FusionResult",
    "ModelError",
    "Report",
    "Rule",
    "TrtfuseError",
    "UsageError",
    "Verification",
    "VerifyError",
    "explain",
    "fuse",
    "rule",
    "rules",
    "verify",
]
