"""The comparison of two engines on a terminal, and its rows for other reports."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.text import Text

from trtfuse.report.engine import amount
from trtfuse.report.text import printable

if TYPE_CHECKING:
    from trtfuse.engine.agreement import Agreement
    from trtfuse.engine.compare import Built, Comparison, Kernel

#: So many kernels and fusions of a kind are listed unless all are asked for.
SHOWN = 5
#: Names of more characters than this, taken together, do not stand above columns.
_WIDEST = 60


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s"


#: The figures of a build with their names, each with how it is written.
_FIGURES: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("kernels", "kernels", str),
    ("traffic", "traffic", amount),
    ("build time", "seconds", _time),
    ("engine size", "size", amount),
    ("weights", "weights", amount),
    ("activation memory", "activation", amount),
)


def rows(a: Built, b: Built) -> Iterator[tuple[str, str, str, str]]:
    """A line for each figure that one of the builds has: its name, both values, the change."""
    for title, figure, spelled in _FIGURES:
        before, after = getattr(a, figure), getattr(b, figure)
        if before is None and after is None:
            continue
        change = f"{after / before - 1:+.1%}" if before and after is not None else ""
        old, new = ("?" if value is None else spelled(value) for value in (before, after))
        yield title, old, new, "=" if before == after else change


def built_with(comparison: Comparison) -> str:
    """A sentence: what built the two, and for which shapes."""
    from trtfuse.engine.shapes import written

    if comparison.backend is None:
        return "built elsewhere"
    shapes = (f"{name}:{written(shape)}" for name, shape in comparison.shapes.items())
    listed = ", ".join(shapes)
    return f"built with {comparison.backend}{f' for {listed}' if listed else ''}"


def agreed(found: Agreement) -> str:
    """A sentence: how many fusions run in one kernel, and what became of the others."""
    if not found.fusions:
        return "no fusion to look for in the engine"
    counts = found.counts
    several, unknown, further = (
        counts[each] for each in ("several kernels", "unknown", "merged further")
    )
    others = [f"{several} in several kernels"] if several else []
    others += [f"of {unknown} the engine has no trace"] if unknown else []
    inside = f", {further} of them with more nodes" if further else ""
    return (
        f"{found.confirmed} of {len(found.fusions)} fusions run in one kernel{inside}"
        f"{''.join(f'; {each}' for each in others)}"
    )


def summary(comparison: Comparison, *, everything: bool = False) -> RenderableType:
    """The comparison for a rich console. Lines with names in them are not broken.

    Args:
        comparison: what to show.
        everything: whether to list all kernels and fusions, not only the first of each kind.
    """
    parts: list[RenderableType] = [*_figures(comparison)]
    for title, kernels in (("vanished", comparison.vanished), ("appeared", comparison.appeared)):
        if kernels:
            parts += [Text(), *_kernels(title, kernels, everything)]
    if comparison.agreement is not None:
        parts += [Text(), *_agreement(comparison.agreement, everything)]
    parts += [Text(), _line(built_with(comparison)), *map(_line, comparison.notes)]
    return Group(*parts)


def plain(comparison: Comparison) -> str:
    """The comparison as plain text."""
    file = io.StringIO()
    console = Console(file=file, width=100, color_system=None)
    console.print(summary(comparison), soft_wrap=True)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ignore")


def _figures(comparison: Comparison) -> Iterator[Text]:
    """The figures in columns, and under them whose they are where the columns cannot tell."""
    a, b = comparison.a, comparison.b
    left, right = (printable(Path(built.name).name) for built in (a, b))
    named = True
    if comparison.agreement is not None:
        left, right = "original", "fused"
    elif left == right or len(left + right) > _WIDEST:
        left, right, named = "A", "B", False
    lines = [("", left, right, ""), *rows(a, b)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    for number, (title, old, new, change) in enumerate(lines):
        cells = title.ljust(widths[0]), old.rjust(widths[1]), new.rjust(widths[2])
        text = "  ".join((*cells, change.rjust(widths[3])))
        yield _line(text.rstrip(), "" if number else "bold")
    if not named:
        yield Text()
        yield from (_line(f"{title}: {built.name}") for title, built in ((left, a), (right, b)))


def _kernels(title: str, kernels: list[Kernel], everything: bool) -> Iterator[Text]:
    yield _line(f"{title}: {len(kernels)}", "bold")
    shown = kernels if everything else kernels[:SHOWN]
    for kernel in shown:
        yield _line(f"  {kernel.name} ({kernel.type}): {nodes_of(kernel)}")
    if len(kernels) > len(shown):
        yield _line(f"  and {len(kernels) - len(shown)} more", "dim")


def nodes_of(kernel: Kernel) -> str:
    """The nodes of a kernel, or that it has none."""
    return " + ".join(kernel.nodes) or "no ONNX node"


def _agreement(found: Agreement, everything: bool) -> Iterator[Text]:
    yield _line(agreed(found), "bold")
    for outcome in ("several kernels", "unknown"):
        fusions = [fusion for fusion in found.fusions if fusion.outcome == outcome]
        shown = fusions if everything else fusions[:SHOWN]
        for fusion in shown:
            where = f": {', '.join(fusion.kernels)}" if fusion.kernels else ""
            yield _line(f"  {outcome}: {fusion.name} ({fusion.rule}){where}")
        if len(fusions) > len(shown):
            yield _line(f"  and {len(fusions) - len(shown)} more", "dim")
    if found.beyond:
        yield _line(f"kernels in which the builder fused more: {len(found.beyond)}", "bold")
        beyond = found.beyond if everything else found.beyond[:SHOWN]
        for kernel in beyond:
            yield _line(f"  {kernel.kernel} ({kernel.type}): {' + '.join(kernel.nodes)}")
        if len(found.beyond) > len(beyond):
            yield _line(f"  and {len(found.beyond) - len(beyond)} more", "dim")
