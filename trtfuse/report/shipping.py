"""What has to be known before a result is shipped: what was checked, built and written, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trtfuse.report.comparison import built_with
from trtfuse.report.entries import Content, became, file_sizes, in_words, verdict
from trtfuse.report.wording import amount, counted, joined


@dataclass(frozen=True)
class Fact:
    """A line of the table: what it is about, what is to be said, and whether that is code."""

    title: str
    lines: tuple[str, ...]
    code: bool = False


def facts(data: Content) -> list[Fact]:
    """What there is to know, of a report of any version; what it does not tell is left out."""
    engine, output = data.get("engine") or {}, data.get("output") or {}
    found = [Fact("check", tuple(verdict(data["verification"])))]
    if "backend" in engine:
        found.append(Fact("engine", (built_with(engine), *engine.get("notes", ()))))
    elif data["fused"]:
        found.append(Fact("engine", ("not built: --build compares what TensorRT makes of each",)))
    found.append(Fact("groups", (groups_built(data),)))
    if output:
        found.append(Fact("output", (output["path"], _sizes(data)), code=True))
        found.append(Fact("SHA-256", (output["sha256"],), code=True))
        weights = output.get("data")
        if weights:
            said = f"{weights['path']}, {amount(weights['bytes'])}"
            found.append(Fact("its weights", (said, weights["sha256"]), code=True))
    found.append(Fact("command", (data.get("command") or "",), code=True))
    # Those that are neither empty nor 0.
    given = {name: value for name, value in (data.get("options") or {}).items() if value}
    options = (f"{name}: {in_words(value)}" for name, value in given.items())
    found.append(Fact("options", (", ".join(options),)))
    versions = (f"{name} {version}" for name, version in (data.get("versions") or {}).items())
    found.append(Fact("versions", (", ".join(versions),)))
    found.append(Fact("date", (_date(data.get("date")),)))
    return [
        Fact(fact.title, tuple(filter(None, fact.lines)), fact.code)
        for fact in found
        if any(fact.lines)
    ]


def _sizes(data: Content) -> str:
    """How large the result is, and what it was before where that is known."""
    said = file_sizes(data)
    if said:
        return said
    before, after = data.get("original"), data["output"]
    was = f", {amount(before['bytes'])} before" if before else ""
    return f"{amount(after['bytes'])}{was}"


def _date(date: Any) -> str:
    """A date that people read: "2026-11-28 14:32:05 UTC"."""
    return str(date).replace("T", " ").replace("Z", " UTC") if date else ""


def groups_built(data: Content) -> str:
    """What became of the groups, a sentence; empty where there are none."""
    groups = sum(entry["kind"] == "group" for entry in data["fused"])
    if not groups:
        return ""
    expected = counted(groups, "group")
    outcomes = [fusion["outcome"] for fusion in became(data)]
    if not outcomes:
        return f"{expected} expected as one kernel each; only a build can tell"
    named: dict[str, str] = {
        "one kernel": "in one kernel",
        "merged further": "in one kernel with other nodes",
        "several kernels": "in several kernels",
        "unknown": "not found in the engine",
    }
    counts = [(words, outcomes.count(outcome)) for outcome, words in named.items()]
    found = joined([f"{number:,} {words}" for words, number in counts if number])
    return f"{expected} expected as one kernel each; TensorRT runs {found}"
