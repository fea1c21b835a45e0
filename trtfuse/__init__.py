"""trtfuse applies TensorRT's documented fusions to ONNX graphs, and checks every one of them.

import trtfuse

result = trtfuse.fuse("model.onnx", verify="model")
print(result.report)
result.save("model.fused.onnx")
"""

from importlib.metadata import version as _version

import trtfuse.groups.find
import trtfuse.rules  # noqa: F401 - both fill the catalogue
from trtfuse.check.model import Verification
from trtfuse.errors import ModelError, TrtfuseError, UsageError, VerifyError
from trtfuse.pipeline import FusionResult, fuse, verify
from trtfuse.report.data import Report
from trtfuse.rewrite.rule import Rule, rule, rules

__version__ = _version("trtfuse")

__all__ = [
    "FusionResult",
    "ModelError",
    "Report",
    "Rule",
    "TrtfuseError",
    "UsageError",
    "Verification",
    "VerifyError",
    "fuse",
    "rule",
    "rules",
    "verify",
]
