"""The report as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trtfuse.report.data import Fusion, Report
from trtfuse.report.text import made, printable, verdict

if TYPE_CHECKING:
    from trtfuse.engine.compare import Comparison


def markdown(report: Report) -> str:
    """The whole report: every fusion and every near miss, as GitHub's Markdown has tables."""
    before, after = report.before.nodes, report.after.nodes
    lines = [
        f"# {_escaped(report.model)}",
        "",
        f"{before} nodes, {after} after {made(report)}.",
        "",
    ]
    lines += [*(f"- {line.strip()}" for line in verdict(report.verification).splitlines()), ""]
    if report.notes:
        lines += ["## The model as it was read", ""]
        lines += [*(f"- {_escaped(note)}" for note in report.notes), ""]
    lines += ["## Operators", ""]
    lines += _table(("operator", "before", "after"), report.operators())
    for rule, fusions in report.by_rule().items():
        lines += [f"## {'Grouped' if fusions[0].kind == 'group' else 'Fused'} by {rule}", ""]
        fused = (
            (
                _noted(f),
                ", ".join(f.into) or "(erased)",
                "" if f.error is None else f"{f.error:.1e}",
            )
            for f in fusions
        )
        lines += _table(("nodes", "into", "error"), fused)
    if report.declined:
        lines += ["## Not fused", ""]
        declined = ((miss.at, miss.rule, miss.guard, miss.because) for miss in report.declined)
        lines += _table(("node", "rule", "guard", "because"), declined)
    if report.engine is not None:
        lines += _engine(report.engine)
    seconds = ", ".join(f"{stage} {time:.2f} s" for stage, time in report.seconds.items())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n".join([*lines, f"{seconds}; {versions}", ""])


def _engine(found: Comparison) -> list[str]:
    """What TensorRT made of the original and of the result."""
    from trtfuse.report.comparison import agreed, built_with, nodes_of, rows

    said = [built_with(found), *found.notes]
    lines = ["## Engine", "", *(f"- {_escaped(line)}" for line in said), ""]
    lines += _table(("", "original", "fused", "change"), rows(found.a, found.b))
    for title, kernels in (("vanished", found.vanished), ("appeared", found.appeared)):
        if kernels:
            listed = ((kernel.name, kernel.type, nodes_of(kernel)) for kernel in kernels)
            lines += [f"### Kernels that {title}", "", *_table(("kernel", "type", "nodes"), listed)]
    if found.agreement is not None:
        outcomes = (
            (f.name, f.rule, f.outcome, ", ".join(f.kernels)) for f in found.agreement.fusions
        )
        lines += ["### Agreement", "", f"{agreed(found.agreement)}.", ""]
        if found.agreement.fusions:
            lines += _table(("fusion", "rule", "builder", "kernels"), outcomes)
        if found.agreement.beyond:
            beyond = ((k.kernel, k.type, " + ".join(k.nodes)) for k in found.agreement.beyond)
            lines += ["### Kernels in which the builder fused more", ""]
            lines += _table(("kernel", "type", "nodes"), beyond)
    return lines


def _noted(fusion: Fusion) -> str:
    return fusion.name if fusion.note is None else f"{fusion.name} ({fusion.note})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(_escaped(str(cell)) for cell in row)} |" for row in rows]
    return [*lines, ""]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: a backslash before whatever might mean something."""
    return re.sub(r"([\\`*_\[\]<>&|~$!#]|:(?=//)|@)", r"\\\1", printable(" ".join(text.split())))
