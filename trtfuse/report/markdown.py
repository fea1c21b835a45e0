"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from trtfuse.report.entries import (
    Content,
    became,
    by_rule,
    file_sizes,
    in_words,
    made,
    operators,
    titled,
    verdict,
    written,
)
from trtfuse.report.wording import counted, printable


def markdown(data: Content) -> str:
    """The whole report: every fusion and every near miss, as GitHub's Markdown has tables.

    Args:
        data: the report as the schema has it.
    """
    before, after = data["before"]["nodes"], data["after"]["nodes"]
    ruling = (data.get("engine") or {}).get("verdict")
    lines = [
        f"# {_escaped(data['model'])}",
        "",
        *([f"**{_escaped(ruling['sentence'])}**", ""] if ruling else []),
        f"{counted(before, 'node')}, {after:,} after {made(data)}.",
        "",
    ]
    lines += [f"- {line}" for line in verdict(data["verification"], everything=True)]
    lines += [*(f"- {_escaped(line)}" for line in (file_sizes(data), written(data)) if line), ""]
    if data.get("notes"):
        lines += ["## The model as it was read", ""]
        lines += [*(f"- {_escaped(note)}" for note in data["notes"]), ""]
    lines += ["## Operators", ""]
    lines += _table(("operator", "before", "after"), operators(data))
    outcomes = {id(entry): found for entry, found in zip(_groups(data), became(data), strict=False)}
    for rule, entries in by_rule(data["fused"]).items():
        if entries[0]["kind"] == "group":
            lines += [f"## Expected as one kernel by {rule}", ""]
            heads = ("nodes", "into", "TensorRT") if outcomes else ("nodes", "into")
            rows = (_group_row(entry, outcomes.get(id(entry))) for entry in entries)
            lines += _table(heads, rows)
        else:
            lines += [f"## Fused by {rule}", ""]
            lines += _table(("nodes", "into", "error"), map(_row, entries))
    if data["declined"]:
        lines += ["## Not fused", ""]
        keys = ("at", "rule", "guard", "because")
        declined = (tuple(miss[key] for key in keys) for miss in data["declined"])
        lines += _table(("node", "rule", "guard", "because"), declined)
    if data.get("engine") is not None:
        lines += _engine(data["engine"])
    lines += _run(data)
    seconds = ", ".join(f"{stage} {time:.2f} s" for stage, time in data["seconds"].items())
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return "\n".join([*lines, f"{seconds}; {versions}", ""])


def _run(data: Content) -> list[str]:
    """The command, when, and the options that are not what they are if nobody gives them."""
    said = [data.get("command"), data.get("date")]
    given = [f"- {_escaped(each)}" for each in said if each]
    options = {name: value for name, value in (data.get("options") or {}).items() if value}
    given += [f"- {name}: {_escaped(in_words(value))}" for name, value in options.items()]
    return ["## The run", "", *given, ""] if given else []


def _groups(data: Content) -> list[Content]:
    return [entry for entry in data["fused"] if entry["kind"] == "group"]


def _group_row(entry: Content, found: Content | None) -> tuple[str, ...]:
    """The nodes of a group, what stands for them, and what the builder did where it was asked."""
    into = "(as they are)" if entry["into"] == entry["nodes"] else ", ".join(entry["into"])
    if found is None:
        return titled(entry), into
    kernels = f": {', '.join(found['kernels'])}" if found["kernels"] else ""
    return titled(entry), into, f"{found['outcome']}{kernels}"


def _row(entry: Content) -> tuple[str, str, str]:
    """What was fused, what took its place, and what the check found."""
    error = entry["error"]
    into = ", ".join(entry["into"]) or "(erased)"
    return titled(entry), into, "" if error is None else f"{error:.1e}"


def _engine(compared: Content) -> list[str]:
    """What TensorRT made of the original and of the result."""
    from trtfuse.report.comparison import agreed, built_with, nodes_of, rows

    said = [built_with(compared), *compared["notes"]]
    lines = ["## Engine", "", *(f"- {_escaped(line)}" for line in said), ""]
    lines += _table(("", "original", "fused", "change"), rows(compared["a"], compared["b"]))
    for title in ("vanished", "appeared"):
        if compared[title]:
            listed = (
                (kernel["name"], kernel["type"], nodes_of(kernel)) for kernel in compared[title]
            )
            lines += [f"### Kernels that {title}", "", *_table(("kernel", "type", "nodes"), listed)]
    agreement = compared["agreement"]
    if agreement is not None:
        lines += ["### Agreement", "", f"{agreed(agreement)}.", ""]
        if agreement["fusions"]:
            outcomes = (
                (f["name"], f["rule"], f["outcome"], ", ".join(f["kernels"]))
                for f in agreement["fusions"]
            )
            lines += _table(("fusion", "rule", "builder", "kernels"), outcomes)
        if agreement["beyond"]:
            beyond = ((k["kernel"], k["type"], " + ".join(k["nodes"])) for k in agreement["beyond"])
            lines += ["### Kernels in which the builder fused more", ""]
            lines += _table(("kernel", "type", "nodes"), beyond)
    return lines


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(_escaped(str(cell)) for cell in row)} |" for row in rows]
    return [*lines, ""]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: a backslash before whatever might mean something."""
    return re.sub(r"([\\`*_\[\]<>&|~$!#]|:(?=//)|@)", r"\\\1", printable(" ".join(text.split())))
