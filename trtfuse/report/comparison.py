"""The comparison of two engines on a terminal, and its rows for other reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.analysis.wording import written
from trtfuse.report.entries import Content
from trtfuse.report.terminal import line, listed
from trtfuse.report.terminal import plain as plain_text
from trtfuse.report.wording import amount, counted, printable

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


def rows(a: Content, b: Content) -> Iterator[tuple[str, str, str, str]]:
    """A line for each figure that one of the builds has: its name, both values, the change."""
    for title, figure, spelled in _FIGURES:
        before, after = a[figure], b[figure]
        if before is None and after is None:
            continue
        change = f"{after / before - 1:+.1%}" if before and after is not None else ""
        old, new = ("?" if value is None else spelled(value) for value in (before, after))
        yield title, old, new, "=" if before == after else change


def built_with(compared: Content) -> str:
    """A sentence: what built the two, and for which shapes."""
    if compared["backend"] is None:
        return "built elsewhere"
    shapes = compared["shapes"].items()
    listed = ", ".join(f"{name}:{written(sizes)}" for name, sizes in shapes)
    return f"built with {compared['backend']}{f' for {listed}' if listed else ''}"


def agreed(agreement: Content) -> str:
    """A sentence: how many fusions run in one kernel, and what became of the others."""
    fusions, counts = agreement["fusions"], agreement["counts"]
    if not fusions:
        return "no fusion to look for in the engine"
    several, unknown, further = (
        counts[outcome] for outcome in ("several kernels", "unknown", "merged further")
    )
    others = [f"{several} in several kernels"] if several else []
    others += [f"{unknown} not found in the engine"] if unknown else []
    inside = f", {further} of them with more nodes" if further else ""
    return (
        f"{counts['one kernel'] + further} of {len(fusions)} fusions run in one kernel{inside}"
        f"{''.join(f'; {other}' for other in others)}"
    )


#: Of what a verdict has, the colour on a terminal.
_COLOURS = {"better": "bold green", "worse": "bold red", "mixed": "bold yellow", "same": "bold"}


def ruled(compared: Content) -> Iterator[Text]:
    """The verdict in a line, for what has one: reports of older versions have none."""
    verdict = compared.get("verdict")
    if verdict is not None:
        yield line(verdict["sentence"], _COLOURS.get(verdict["outcome"], "bold"))


def summary(compared: Content, *, everything: bool = False) -> RenderableType:
    """The comparison for a rich console. Lines with names in them are not broken.

    Args:
        compared: the comparison as the schema `trtfuse.comparison/1` has it.
        everything: whether to list all kernels and fusions, not only the first of each kind.
    """
    parts: list[RenderableType] = [*ruled(compared), Text(), *_figures(compared)]
    for title in ("vanished", "appeared"):
        if compared[title]:
            parts += [Text(), *_kernels(title, compared[title], everything)]
    if compared["agreement"] is not None:
        parts += [Text(), *_agreement(compared["agreement"], everything)]
    parts += [Text(), line(built_with(compared)), *map(line, compared["notes"])]
    return Group(*parts)


def within(compared: Content, *, everything: bool) -> Iterator[Text]:
    """The comparison in the summary of a report, which has the verdict on its first line."""
    yield from _figures(compared)
    yield Text()
    vanished, appeared = (len(compared[title]) for title in ("vanished", "appeared"))
    if everything:
        for title in ("vanished", "appeared"):
            if compared[title]:
                yield from (*_kernels(title, compared[title], everything), Text())
    elif vanished or appeared:
        yield line(f"{counted(vanished, 'kernel')} vanished, {appeared:,} appeared")
    if compared["agreement"] is not None:
        if everything:
            yield from _agreement(compared["agreement"], everything)
        else:
            yield line(agreed(compared["agreement"]))
    yield line(built_with(compared))
    yield from map(line, compared["notes"])


def plain(compared: Content) -> str:
    """The comparison as plain text."""
    return plain_text(summary(compared))


def _figures(compared: Content) -> Iterator[Text]:
    """The figures in columns, and under them whose they are where the columns cannot tell."""
    a, b = compared["a"], compared["b"]
    left, right = (printable(Path(built["name"]).name) for built in (a, b))
    named = True
    if compared["agreement"] is not None:
        left, right = "original", "fused"
    elif left == right or len(left + right) > _WIDEST:
        left, right, named = "A", "B", False
    lines = [("", left, right, ""), *rows(a, b)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(4)]
    for number, (title, old, new, change) in enumerate(lines):
        cells = title.ljust(widths[0]), old.rjust(widths[1]), new.rjust(widths[2])
        text = "  ".join((*cells, change.rjust(widths[3])))
        yield line(text.rstrip(), "" if number else "bold")
    if not named:
        yield Text()
        yield from (line(f"{title}: {built['name']}") for title, built in ((left, a), (right, b)))


def _kernels(title: str, kernels: list[Content], everything: bool) -> Iterator[Text]:
    yield line(f"{title}: {len(kernels)}", "bold")
    texts = [f"{kernel['name']} ({kernel['type']}): {nodes_of(kernel)}" for kernel in kernels]
    yield from listed(texts, everything, SHOWN)


def nodes_of(kernel: Content) -> str:
    """The nodes of a kernel, or that it has none."""
    return " + ".join(kernel["nodes"]) or "no ONNX node"


def _agreement(agreement: Content, everything: bool) -> Iterator[Text]:
    yield line(agreed(agreement), "bold")
    for outcome in ("several kernels", "unknown"):
        fusions = [fusion for fusion in agreement["fusions"] if fusion["outcome"] == outcome]
        yield from listed([_became(fusion) for fusion in fusions], everything, SHOWN)
    beyond = agreement["beyond"]
    if beyond:
        yield line(f"kernels in which the builder fused more: {len(beyond)}", "bold")
        texts = [
            f"{kernel['kernel']} ({kernel['type']}): {' + '.join(kernel['nodes'])}"
            for kernel in beyond
        ]
        yield from listed(texts, everything, SHOWN)


def _became(fusion: Content) -> str:
    """What the builder made of a fusion, and in which kernels."""
    where = f": {', '.join(fusion['kernels'])}" if fusion["kernels"] else ""
    return f"{fusion['outcome']}: {fusion['name']} ({fusion['rule']}){where}"
