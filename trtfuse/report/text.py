"""The report on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from trtfuse.check.model import Verification
from trtfuse.report.data import Fusion, NearMiss, Report

#: So many fusions of a rule, and near misses of a kind, are listed unless all are asked for.
SHOWN = 5


def summary(report: Report, *, everything: bool = False) -> RenderableType:
    """The report for a rich console. Lines with names in them are not broken.

    Args:
        report: what to show.
        everything: whether to list every fusion and near miss, not only the first of each kind.
    """
    parts: list[RenderableType] = [_headline(report)]
    parts += [_line(f"  {note}") for note in report.notes]
    if report.fused:
        if report.before.operators != report.after.operators:
            parts += [Text(), _operators(report)]
        parts += [Text(), *_fused(report, everything)]
    if report.declined:
        parts += [Text(), *_declined(report, everything)]
    parts += [Text(), *(_line(line) for line in verdict(report.verification).splitlines())]
    if report.engine is not None:
        from trtfuse.report import comparison

        parts += [Text(), comparison.summary(report.engine, everything=everything)]
    return Group(*parts)


def plain(report: Report) -> str:
    """The report as plain text."""
    file = io.StringIO()
    show(Console(file=file, width=100, color_system=None), summary(report))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def show(console: Console, content: RenderableType) -> None:
    """Prints something without breaking or cropping its lines."""
    console.print(content, soft_wrap=True)


def printable(text: str) -> str:
    """Text in which what would control a terminal, or break a line, is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ignore")


def _headline(report: Report) -> Text:
    before, after = counted(report.before.nodes, "node"), report.after.nodes
    if not report.fused:
        return _line(f"{report.model}: {before}, nothing to fuse", "bold")
    return _line(f"{report.model}: {before}, {after:,} after {made(report)}", "bold")


def made(report: Report) -> str:
    """How much was done: "3 fusions, 1 cleanup and 2 groups"."""
    kinds = (
        ("fusion", report.fusions()),
        ("cleanup", report.cleanups()),
        ("group", report.groups()),
    )
    counts = [(thing, sum(map(len, by_rule.values()))) for thing, by_rule in kinds]
    *first, last = [counted(n, thing) for thing, n in counts if n] or ["no fusion"]
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things: "1 node", "2 nodes"; with the plural given, where it is no s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def _operators(report: Report) -> Table:
    """The operators whose number changed, then the others in one row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("operator", no_wrap=True)
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    same = 0
    for operator, before, after in report.operators():
        if before == after:
            same += before
        else:
            table.add_row(Text(printable(operator)), str(before), str(after))
    if same:
        table.add_row("others", str(same), str(same), style="dim")
    return table


def _fused(report: Report, everything: bool) -> Iterator[Text]:
    """The fusions by rule, the first few of each; of cleanups, how many of each."""
    if report.fusions():
        yield _line("fused", "bold")
    for rule, fusions in report.fusions().items():
        yield from _listed(rule, fusions, fusions if everything else fusions[:SHOWN])
    if report.groups():
        yield _line("grouped, each for one kernel", "bold")
    for rule, groups in report.groups().items():
        yield from _listed(rule, groups, groups if everything else groups[:SHOWN])
    if report.cleanups():
        yield _line("cleaned up", "bold")
    for rule, cleanups in report.cleanups().items():
        yield from _listed(rule, cleanups, cleanups if everything else [])


def _listed(rule: str, fusions: list[Fusion], shown: list[Fusion]) -> Iterator[Text]:
    yield _line(f"  {rule}: {len(fusions)}")
    for fusion in shown:
        yield _line(f"    {fusion.name}" + (f" ({fusion.note})" if fusion.note else ""))
    if shown and len(fusions) > len(shown):
        yield _line(f"    and {len(fusions) - len(shown)} more", "dim")


def _declined(report: Report, everything: bool) -> Iterator[Text]:
    """The near misses by rule and guard, the first few of each."""
    yield _line("not fused, because", "bold")
    alike: dict[tuple[str, str], list[NearMiss]] = {}
    for miss in report.declined:
        alike.setdefault((miss.rule, miss.guard), []).append(miss)
    for (rule, guard), misses in alike.items():
        yield _line(f"  {rule}, {guard}: {len(misses)}")
        shown = misses if everything else misses[:SHOWN]
        yield from (_line(f"    {miss.at}: {miss.because}") for miss in shown)
        if len(misses) > len(shown):
            yield _line(f"    and {len(misses) - len(shown)} more", "dim")


def verdict(found: Verification) -> str:
    """What was checked and what came of it, in a sentence, and notes below it."""
    numbers = f"largest error {found.max_error:.1e}, tolerance {found.tolerance:.1e}"
    match found.level:
        case "none":
            line = "not checked"
        case "rewrite" if not found.checked:
            line = "checked: nothing was rewritten"
        case "rewrite":
            line = f"checked: {counted(found.checked, 'rewrite')} in float64, {numbers}"
        case _ if found.ok:
            outputs = counted(found.checked, "output")
            line = f"checked: {outputs} on ONNX Runtime agree, {numbers}"
        case _:
            line = f"check failed: original and result differ, {numbers}"
    return "\n".join([line, *(f"  {note}" for note in found.notes)])
