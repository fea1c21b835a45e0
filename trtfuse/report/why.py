"""An explanation on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.explanation import Explanation, NotFused, alike
from trtfuse.report.text import counted, printable
from trtfuse.rewrite.condition import STRUCTURE

#: So many kinds of misses, and of each so many places, are listed unless all are asked for.
KINDS, PLACES = 12, 3
#: And so many steps of a node. A miss of more nodes names the first and the last.
STEPS, NODES = 12, 4


def plain(explanation: Explanation, *, everything: bool = False) -> str:
    """The explanation as plain text, short enough to read.

    Args:
        explanation: what to show.
        everything: whether to list every miss and step, not only the closest.
    """
    lines = _lines(explanation, everything)
    return "\n".join(printable(line).rstrip() for line in lines)


def _lines(found: Explanation, everything: bool) -> Iterator[str]:
    if found.node is None:
        nodes = f"{counted(found.asked, 'node')} left"
        yield f"{found.model}: {nodes}, {_count(found.misses)}"
    else:
        yield f"{found.model}: {found.operator} {found.node}"
        yield ""
        yield from _steps(found, everything)
    yield from (f"  {note}" for note in found.notes)
    groups = list(alike(found.misses))
    shown = groups if everything else groups[:KINDS]
    for (rule, *_), misses in shown:
        yield ""
        yield from _group(rule, misses, everything)
    if len(groups) > len(shown):
        rest = sum(len(misses) for _, misses in groups[len(shown) :])
        yield f"\n{rest} more, of {counted(len(groups) - len(shown), 'kind')}; -v shows all"


def _count(misses: list[NotFused]) -> str:
    if not misses:
        return "no rule comes near any of them"
    return f"{counted(len(misses), 'near miss', 'near misses')}, the closest first"


def _steps(found: Explanation, everything: bool) -> Iterator[str]:
    shown = found.steps if everything else found.steps[:STEPS]
    for step in shown:
        yield f"{' + '.join(step.nodes)}: {step.sentence}"
    if len(found.steps) > len(shown):
        yield f"and {counted(len(found.steps) - len(shown), 'more step')}; -v shows all"
    if not found.steps:
        yield "It stands as it was."
    if not found.misses and (not found.steps or found.steps[-1].into):
        yield "No rule comes near it any more." if found.steps else "No rule comes near it."


def _group(rule: str, misses: list[NotFused], everything: bool) -> Iterator[str]:
    entry = f" [{misses[0].entry}]" if misses[0].entry else ""
    times = f": {len(misses)} places" if len(misses) > 1 else ""
    yield f"{rule}{entry}{times}"
    shown = misses if everything else misses[:PLACES]
    for miss in shown:
        yield f"  {_place(miss)}"
        for objection in miss.objections:
            yield f"    {objection.guard}: {objection.because}"
    if len(misses) > len(shown):
        yield f"  and {len(misses) - len(shown)} more"
    for guard, text in {each.guard: each.helps for each in misses[0].objections}.items():
        if text:
            yield f"  {text}" if guard == STRUCTURE.name else f"  what helps ({guard}): {text}"


def _place(miss: NotFused) -> str:
    parts = [f"{op} {name}" for op, name in zip(miss.operators, miss.nodes, strict=True)]
    nodes = ", ".join(parts)
    if len(parts) > NODES:
        nodes = f"{counted(len(parts), 'node')} from {parts[0]} to {parts[-1]}"
    far = f"{miss.matched} of {miss.of} there" if miss.matched < miss.of else "all there"
    return f"at {miss.at}: {nodes} ({far})"
