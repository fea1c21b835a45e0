"""The entries of a report with all that is to be said of them."""

from __future__ import annotations

from typing import Any

from trtfuse.result.advice import condition
from trtfuse.result.trace import Trace
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.rule import CATALOGUE, Rule

_UNUSED: dict[str, str | int] = {
    "entry": str(CLEANUP),
    "document": "",
    "equation": "",
    "text": "Nothing reads what it computes.",
}


def detailed(data: dict[str, Any], trace: Trace | None) -> dict[str, Any]:
    """Adds to a report what its rules and guards are about, and what its trace recorded.

    Args:
        data: the report without details; changed in place, and returned.
        trace: where the details come from; without it, only rules and guards are described.
    """
    named = (
        *(entry["rule"] for entry in data["fused"]),
        *(refusal["rule"] for refusal in data["declined"]),
    )
    data["rules"] = {name: _described(name) for name in dict.fromkeys(named)}
    guards = dict.fromkeys(refusal["guard"] for refusal in data["declined"])
    conditions = {name: condition(name) for name in guards}
    data["guards"] = {
        name: {"holds": asked.holds, "helps": asked.advice} for name, asked in conditions.items()
    }
    if trace is not None:
        details = trace.details()
        for entry, more in zip(data["fused"], details.fused, strict=False):
            entry.update(more)
        data["provenance"] = details.provenance
        data["cost"] = details.cost
        data["pictures"] = details.pictures
        data["graph"] = details.graph
    return data


def _described(name: str) -> dict[str, str | int]:
    rule = CATALOGUE.get(name)
    if rule is None:
        return dict(_UNUSED) if name == "unused" else dict.fromkeys(_UNUSED, "")
    # As many nodes as its pattern has become one.
    saves = rule.pattern.layers() - 1 if isinstance(rule, Rule) else 0
    return {
        "entry": str(rule.entry),
        "document": rule.entry.document,
        "equation": str(rule.equation or ""),
        "text": " ".join(rule.doc.split()),
        "saves": saves,
    }
