"""What groups were found in a model, as lists to compare."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto

import trtfuse
from trtfuse.rewrite.rule import CATALOGUE

#: Only groups, no rewrites, for tests in which the nodes are to stay as they are.
GROUPS = tuple(rule.name for rule in trtfuse.rules() if rule.kind == "group")


def report(made: ModelProto, **options: Any) -> trtfuse.Report:
    """The report on the groups of a model that nothing is rewritten in."""
    given = {"rules": GROUPS, "verify": "none", "groups": "flat", **options}
    return trtfuse.fuse(made, **given).report


def groups(made: ModelProto, **options: Any) -> list[tuple[str, str]]:
    """The groups of a model: rule and name."""
    return [(each.rule, each.name) for each in report(made, **options).fused]


def misses(made: ModelProto, **options: Any) -> list[tuple[str, str, str, str]]:
    """What was not grouped: rule, node, guard, and why."""
    return [
        (miss.rule, miss.at, miss.guard, miss.because)
        for miss in report(made, **options).declined
        if CATALOGUE[miss.rule].kind == "group"
    ]
