"""What became of several models: a table with a line each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.report.entries import Content, counts
from trtfuse.report.terminal import line
from trtfuse.report.wording import counted

_TITLES = ("model", "before", "after", "fusions", "groups", "check", "seconds")


def table(models: Sequence[tuple[str, Content | None]]) -> RenderableType:
    """Models side by side.

    Args:
        models: the name of each, and its report as the schema has it, or None if there is none.
    """
    rows = [_TITLES, *(_row(name, data) for name, data in models)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        cells[-2] = row[-2].ljust(widths[-2])
        lines.append(line("  ".join((row[0].ljust(widths[0]), *cells)).rstrip()))
    lines[0].stylize("bold")
    return Group(*lines, Text(), line(_total(models)))


def _row(name: str, data: Content | None) -> tuple[str, ...]:
    if data is None:
        return (name, "-", "-", "-", "-", "failed", "-")
    numbers = counts(data)
    return (
        name,
        f"{data['before']['nodes']:,}",
        f"{data['after']['nodes']:,}",
        f"{numbers['fusion']:,}",
        f"{numbers['group']:,}",
        _checked(data["verification"]),
        f"{sum(data['seconds'].values()):.1f}",
    )


def _checked(verification: Content) -> str:
    if not verification["ok"]:
        return "differs"
    if verification["level"] == "none":
        return "not checked"
    return "agrees" if verification["checked"] else "nothing to check"


def _total(models: Sequence[tuple[str, Content | None]]) -> str:
    failed = sum(data is None for _, data in models)
    differ = sum(data is not None and not data["verification"]["ok"] for _, data in models)
    parts = [counted(len(models), "model")]
    parts += [f"{differ} not written, since the result differs"] if differ else []
    parts += [f"{failed} failed"] if failed else []
    return ", ".join(parts)
