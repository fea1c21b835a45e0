"""The report on a terminal: what fits a screen, or everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.report import comparison
from trtfuse.report.entries import (
    Content,
    Kind,
    became,
    file_sizes,
    in_one_kernel,
    made,
    of_kind,
    operators,
    titled,
    verdict,
)
from trtfuse.report.terminal import line, listed, plain, shortened
from trtfuse.report.wording import counted, joined, printable

#: A summary has at most so many lines, and so many more where TensorRT was asked.
LINES, MORE_LINES = 28, 8
#: So many fusions of a rule, and near misses of a kind, are listed unless all are asked for.
SHOWN = 5

_ALL = 10**9
#: Where there is one line for a kind of near misses, its name leaves room for the reason.
_NAME = 40
#: A place has a line of its own, behind four spaces.
_PLACE = 96
_HINT = "More: -v lists everything, --report FILE.html draws it, trtfuse explain FILE says why not"
_TITLES: dict[Kind, str] = {
    "fusion": "fused",
    "group": "expected as one kernel",
    "cleanup": "cleaned up",
}


@dataclass(frozen=True)
class _Detail:
    """How much is told.

    Attributes:
        operators: so many rows of the table.
        rules: so many rules of each kind, and so many kinds of near misses.
        places: so many of each are named; with 0, the first stands behind the number.
        whole: whether long lines are whole.
    """

    operators: int
    rules: int
    places: int
    whole: bool = False


_EVERYTHING = _Detail(_ALL, _ALL, _ALL, whole=True)
#: From the most to the least; what fits is told.
_DETAILS = (
    _Detail(12, _ALL, SHOWN),
    _Detail(8, _ALL, 2),
    _Detail(8, _ALL, 0),
    _Detail(5, 5, 0),
    _Detail(3, 3, 0),
    _Detail(2, 2, 0),
    _Detail(2, 1, 0),
)


def summary(data: Content, *, everything: bool = False, hint: bool = False) -> RenderableType:
    """The report for a rich console.

    Args:
        data: the report as the schema has it.
        everything: whether to list every fusion and near miss, rather than what fits a screen.
        hint: whether to say on the last line how to see more.
    """
    if everything:
        return Group(*_lines(data, _EVERYTHING, hint))
    most = LINES if data.get("engine") is None else LINES + MORE_LINES
    for detail in _DETAILS:
        lines = list(_lines(data, detail, hint))
        if len(lines) <= most:
            break
    return Group(*lines)


def text(data: Content) -> str:
    """The report as plain text, as much of it as fits a screen."""
    return plain(summary(data))


def _lines(data: Content, detail: _Detail, hint: bool) -> Iterator[Text]:
    engine = data.get("engine")
    if engine is not None:
        yield from comparison.ruled(engine)
    yield _headline(data)
    notes = [*filter(None, [file_sizes(data)]), *data.get("also", ()), *data.get("notes", ())]
    yield from listed(notes, detail.whole, SHOWN)
    if data["fused"]:
        if data["before"]["operators"] != data["after"]["operators"]:
            yield Text()
            yield from _operators(data, detail)
        yield Text()
        yield from _fused(data, detail)
    if data["declined"]:
        yield Text()
        yield from _declined(data, detail)
    yield Text()
    said, *more = verdict(data["verification"], everything=detail.whole)
    yield line(said)
    yield from listed(more, detail.whole, SHOWN)
    if engine is not None:
        yield Text()
        yield from comparison.within(engine, everything=detail.whole)
    if hint and not detail.whole and (data["fused"] or data["declined"]):
        yield Text()
        yield line(_HINT, "dim")


def _headline(data: Content) -> Text:
    before, after = counted(data["before"]["nodes"], "node"), data["after"]["nodes"]
    if not data["fused"]:
        return line(f"{data['model']}: {before}, nothing to fuse", "bold")
    return line(f"{data['model']}: {before}, {after:,} after {made(data)}", "bold")


def _operators(data: Content, detail: _Detail) -> Iterator[Text]:
    """The operators whose number changed, by how much they did, and the others in one row."""
    counts = list(operators(data))
    changed = [row for row in counts if row[1] != row[2]]
    if len(changed) > detail.operators:
        changed.sort(key=lambda row: -abs(row[1] - row[2]))
        changed = changed[: detail.operators]
    rows = [("operator", "before", "after")]
    rows += [(printable(name), str(before), str(after)) for name, before, after in changed]
    others = [row for row in counts if row not in changed]
    if others:
        rows.append(("others", str(sum(r[1] for r in others)), str(sum(r[2] for r in others))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, (name, was, now) in enumerate(rows):
        style = "dim" if name == "others" else "" if number else "bold"
        yield line(f"{name:<{widths[0]}}  {was:>{widths[1]}}  {now:>{widths[2]}}", style)


def _fused(data: Content, detail: _Detail) -> Iterator[Text]:
    """The fusions by rule, the first few of each; of cleanups, how many of each."""
    for kind, title in _TITLES.items():
        rules = of_kind(data, kind)
        if not rules:
            continue
        if kind == "cleanup" and not detail.whole:
            most = sorted(rules.items(), key=lambda item: -len(item[1]))
            numbers = [f"{len(entries)} by {rule}" for rule, entries in most]
            if len(numbers) > SHOWN:
                numbers[SHOWN:] = [f"{len(numbers) - SHOWN} more rules"]
            yield line(f"{title}: {joined(numbers)}")
            continue
        yield line(f"{title}{_built(data) if kind == 'group' else ''}", "bold")
        parts = [(f"  {rule}", list(map(titled, entries))) for rule, entries in rules.items()]
        yield from _parts(parts, detail, "rule")


def _built(data: Content) -> str:
    """What the builder did with the groups, where it was asked."""
    outcomes = became(data)
    if not outcomes:
        return ""
    return f"; in the engine, {sum(map(in_one_kernel, outcomes))} of {len(outcomes)} are"


def _declined(data: Content, detail: _Detail) -> Iterator[Text]:
    """The near misses by rule and guard, the first few of each."""
    yield line("not fused, because", "bold")
    alike: dict[tuple[str, str], list[str]] = {}
    for miss in data["declined"]:
        at = miss["at"] if detail.whole or detail.places else shortened(miss["at"], _NAME)
        because = f"{at}: {miss['because']}"
        alike.setdefault((miss["rule"], miss["guard"]), []).append(because)
    parts = [(f"  {rule}, {guard}", sentences) for (rule, guard), sentences in alike.items()]
    yield from _parts(parts, detail, "reason")


def _parts(parts: list[tuple[str, list[str]]], detail: _Detail, what: str) -> Iterator[Text]:
    """What belongs together, with its number and the first few; then how many there are more."""
    if len(parts) > detail.rules:
        parts = sorted(parts, key=lambda part: -len(part[1]))
    for title, places in parts[: detail.rules]:
        if detail.places:
            yield line(f"{title}: {len(places)}")
            shown = places if detail.whole else [shortened(place, _PLACE) for place in places]
            yield from listed(shown, detail.whole, detail.places, "    ")
        else:
            yield line(shortened(f"{title}: {len(places)}, first {places[0]}"))
    if len(parts) > detail.rules:
        yield line(f"  and {counted(len(parts) - detail.rules, f'more {what}')}", "dim")
