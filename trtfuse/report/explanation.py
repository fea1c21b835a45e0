"""An explanation on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.report.entries import Content
from trtfuse.report.wording import counted, printable
from trtfuse.rewrite.condition import STRUCTURE

#: So many kinds of misses, and of each so many places, are listed unless all are asked for.
KINDS, PLACES = 12, 3
#: And so many steps of a node. A miss of more nodes names the first and the last.
STEPS, NODES = 12, 4


def plain(data: Content, *, everything: bool = False) -> str:
    """The explanation as plain text, short enough to read.

    Args:
        data: what `Explanation.to_dict` has.
        everything: whether to list every miss and step, not only the closest.
    """
    lines = _lines(data, everything)
    return "\n".join(printable(line).rstrip() for line in lines)


def _lines(data: Content, everything: bool) -> Iterator[str]:
    if data["node"] is None:
        nodes = f"{counted(data['asked'], 'node')} left"
        yield f"{data['model']}: {nodes}, {_count(data['misses'])}"
    else:
        yield f"{data['model']}: {data['operator']} {data['node']}"
        yield ""
        yield from _steps(data, everything)
    yield from (f"  {note}" for note in data["notes"])
    groups = list(_alike(data["misses"]).items())
    shown = groups if everything else groups[:KINDS]
    for (rule, *_), misses in shown:
        yield ""
        yield from _group(rule, misses, everything)
    if len(groups) > len(shown):
        rest = sum(len(misses) for _, misses in groups[len(shown) :])
        yield f"\n{rest} more, of {counted(len(groups) - len(shown), 'kind')}; -v shows all"


def _count(misses: list[Content]) -> str:
    if not misses:
        return "no rule comes near any of them"
    return f"{counted(len(misses), 'near miss', 'near misses')}, the closest first"


def _steps(data: Content, everything: bool) -> Iterator[str]:
    shown = data["steps"] if everything else data["steps"][:STEPS]
    for step in shown:
        yield f"{' + '.join(step['nodes'])}: {step['sentence']}"
    if len(data["steps"]) > len(shown):
        yield f"and {counted(len(data['steps']) - len(shown), 'more step')}; -v shows all"
    if not data["steps"]:
        yield "It stands as it was."
    if not data["misses"] and (not data["steps"] or data["steps"][-1]["into"]):
        yield "No rule comes near it any more." if data["steps"] else "No rule comes near it."


def _group(rule: str, misses: list[Content], everything: bool) -> Iterator[str]:
    entry = f" [{misses[0]['entry']}]" if misses[0]["entry"] else ""
    times = f": {len(misses)} places" if len(misses) > 1 else ""
    yield f"{rule}{entry}{times}"
    shown = misses if everything else misses[:PLACES]
    for miss in shown:
        yield f"  {_place(miss)}"
        yield from (
            f"    {objection['guard']}: {objection['because']}" for objection in miss["objections"]
        )
    if len(misses) > len(shown):
        yield f"  and {len(misses) - len(shown)} more"
    helps = {objection["guard"]: objection["helps"] for objection in misses[0]["objections"]}
    for guard, text in helps.items():
        if text:
            yield f"  {text}" if guard == STRUCTURE.name else f"  what helps ({guard}): {text}"


def _alike(misses: list[Content]) -> dict[tuple[str, ...], list[Content]]:
    """Misses of the same rule by the same guards together, by (rule, guards ...)."""
    groups: dict[tuple[str, ...], list[Content]] = {}
    for miss in misses:
        key = miss["rule"], *(objection["guard"] for objection in miss["objections"])
        groups.setdefault(key, []).append(miss)
    return groups


def _place(miss: Content) -> str:
    parts = [f"{op} {name}" for op, name in zip(miss["operators"], miss["nodes"], strict=True)]
    nodes = ", ".join(parts)
    if len(parts) > NODES:
        nodes = f"{counted(len(parts), 'node')} from {parts[0]} to {parts[-1]}"
    matched, of = miss["matched"], miss["of"]
    far = f"{matched} of {of} there" if matched < of else "all there"
    return f"at {miss['at']}: {nodes} ({far})"
