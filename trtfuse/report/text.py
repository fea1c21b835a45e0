"""The report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trtfuse.report.entries import Content, Kind, made, of_kind, operators, titled, verdict
from trtfuse.report.terminal import line, listed, plain
from trtfuse.report.wording import counted, printable

#: So many fusions of a rule, and near misses of a kind, are listed unless all are asked for.
SHOWN = 5


def summary(data: Content, *, everything: bool = False) -> RenderableType:
    """The report for a rich console. Lines with names in them are not broken.

    Args:
        data: the report as the schema has it.
        everything: whether to list every fusion and near miss, not only the first of each kind.
    """
    parts: list[RenderableType] = [_headline(data)]
    parts += [line(f"  {note}") for note in data.get("notes", ())]
    if data["fused"]:
        if data["before"]["operators"] != data["after"]["operators"]:
            parts += [Text(), _operators(data)]
        parts += [Text(), *_fused(data, everything)]
    if data["declined"]:
        parts += [Text(), *_declined(data, everything)]
    said, *notes = verdict(data["verification"], everything=everything)
    parts += [Text(), line(said), *(line(f"  {note}") for note in notes)]
    if data.get("engine") is not None:
        from trtfuse.report import comparison

        parts += [Text(), comparison.summary(data["engine"], everything=everything)]
    return Group(*parts)


def text(data: Content) -> str:
    """The report as plain text."""
    return plain(summary(data))


def _headline(data: Content) -> Text:
    before, after = counted(data["before"]["nodes"], "node"), data["after"]["nodes"]
    if not data["fused"]:
        return line(f"{data['model']}: {before}, nothing to fuse", "bold")
    return line(f"{data['model']}: {before}, {after:,} after {made(data)}", "bold")


def _operators(data: Content) -> Table:
    """The operators whose number changed, then the others in one row."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("operator", no_wrap=True)
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    same = 0
    for operator, before, after in operators(data):
        if before == after:
            same += before
        else:
            table.add_row(Text(printable(operator)), str(before), str(after))
    if same:
        table.add_row("others", str(same), str(same), style="dim")
    return table


def _fused(data: Content, everything: bool) -> Iterator[Text]:
    """The fusions by rule, the first few of each; of cleanups, how many of each."""
    titles: dict[Kind, str] = {
        "fusion": "fused",
        "group": "grouped, each expected as one kernel",
        "cleanup": "cleaned up",
    }
    for kind, title in titles.items():
        rules = of_kind(data, kind)
        if rules:
            yield line(title, "bold")
        for rule, entries in rules.items():
            yield line(f"  {rule}: {len(entries)}")
            if everything or kind != "cleanup":
                yield from listed(list(map(titled, entries)), everything, SHOWN, "    ")


def _declined(data: Content, everything: bool) -> Iterator[Text]:
    """The near misses by rule and guard, the first few of each."""
    yield line("not fused, because", "bold")
    alike: dict[tuple[str, str], list[str]] = {}
    for miss in data["declined"]:
        because = f"{miss['at']}: {miss['because']}"
        alike.setdefault((miss["rule"], miss["guard"]), []).append(because)
    for (rule, guard), sentences in alike.items():
        yield line(f"  {rule}, {guard}: {len(sentences)}")
        yield from listed(sentences, everything, SHOWN, "    ")
