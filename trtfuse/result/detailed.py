"""The entries of a report with all that is to be said of them."""

from __future__ import annotations

import re
from typing import Any

from trtfuse.report.advice import helps, holds
from trtfuse.result.trace import Trace
from trtfuse.rewrite.rule import CATALOGUE, AnyRule

_DOCUMENTS = {
    "F": "Best Practices for TensorRT Performance, chapter 2.5",
    "C": "TensorRT's Layer Fusion Catalog",
}

_UNUSED = {
    "entry": "Cleanup",
    "document": "",
    "equation": "",
    "text": "Nothing reads what it computes.",
}


def detailed(data: dict[str, Any], trace: Trace | None) -> dict[str, Any]:
    """Adds to the plain entries of a report what its rules, its guards and its trace tell.

    Args:
        data: the report without details; changed in place, and returned.
        trace: where the details come from; without it, only rules and guards are described.
    """
    data.pop("trace", None)
    named = (*(each["rule"] for each in data["fused"]), *(d["rule"] for d in data["declined"]))
    data["rules"] = {name: _described(name) for name in dict.fromkeys(named)}
    guards = dict.fromkeys(each["guard"] for each in data["declined"])
    data["guards"] = {name: {"holds": holds(name), "helps": helps(name)} for name in guards}
    if trace is not None:
        details = trace.details()
        for entry, more in zip(data["fused"], details.fused, strict=False):
            entry.update(more)
        data["provenance"] = details.provenance
        data["cost"] = details.cost
        data["pictures"] = details.pictures
        data["graph"] = details.graph
    return data


def _described(name: str) -> dict[str, str]:
    rule = CATALOGUE.get(name)
    if rule is None:
        return dict(_UNUSED) if name == "unused" else dict.fromkeys(_UNUSED, "")
    entry, document = documented(rule)
    equation, _, text = rule.doc.partition("\n\n")
    return {
        "entry": entry,
        "document": document,
        "equation": " ".join(equation.split()),
        "text": " ".join(text.partition("\n\n")[0].split()),
    }


def documented(rule: AnyRule) -> tuple[str, str]:
    """The entry of the fusion list that a rule implements, with its title; and the document."""
    title = re.search(rf"Entry {re.escape(rule.entry)} (\([^)]*\))", " ".join(rule.doc.split()))
    entry = f"{rule.entry} {title[1]}" if rule.entry and title else rule.entry
    document = _DOCUMENTS.get(rule.entry[:1], "") if rule.entry[1:].isdigit() else ""
    return entry, document
