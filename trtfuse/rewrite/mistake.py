"""Mistakes in rules, told where they are made."""

from __future__ import annotations

from trtfuse.errors import UsageError


class RuleError(UsageError):
    """A rule asks a match, or ONNX, for something that is not there; the driver adds its name."""
