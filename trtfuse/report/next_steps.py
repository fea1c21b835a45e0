"""What to do next: what a report leaves open, and the near misses that are worth something."""

from __future__ import annotations

from dataclasses import dataclass

from trtfuse.report.entries import Content
from trtfuse.report.wording import counted

#: So many near misses are among the steps; the page has all of them below.
_MOST_MISSES = 4
_COMPARE = "Compare the whole model with the original, on your own data."


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
        text: what, a sentence.
        gain: what comes of it, where that can be said.
        command: what to type; empty if it is not done by typing.
        part: the part of the page that says more; empty if none does.
    """

    text: str
    gain: str = ""
    command: str = ""
    part: str = ""


def next_steps(data: Content) -> list[Step]:
    """What to do, the most urgent first.

    Args:
        data: the report as the schema has it, of any version that wrote it.
    """
    verification = data["verification"]
    if not verification["ok"]:
        return [
            Step(
                "Do not use the result. Find the rule with --skip, and please report it.",
                "; ".join(verification["notes"]),
            )
        ]
    steps = []
    verdict = (data.get("engine") or {}).get("verdict") or {}
    rule = (verdict.get("cause") or {}).get("rule")
    if rule:
        steps.append(
            Step(f"Leave {rule} out.", "It makes the engine worse.", f"--skip {rule}", "engine")
        )
    if verification["level"] != "model" and data["fused"]:
        steps.append(Step(_COMPARE, "", "--verify model --inputs FILE.npz"))
    if not data.get("engine") and data["fused"]:
        steps.append(Step("See what TensorRT makes of it.", "", "--build"))
    return steps + _misses(data)[:_MOST_MISSES]


def rank(helps: str) -> int:
    """How much of a near miss is in the hands of a user.

    Args:
        helps: what helps, as the report has it.

    Returns:
        0 if something can be changed, 1 if it depends, 2 if nothing can.
    """
    if not helps.startswith("nothing"):
        return 0 if helps and not helps.startswith("it takes this") else 1
    return 1 if "; else" in helps or "nothing, if" in helps or "nothing, unless" in helps else 2


def kinds_of_miss(data: Content) -> list[Content]:
    """The near misses by rule and guard: those to be helped first, then those that gain most.

    Each has `rule`, `guard`, `helps`, `count`, and `saves`, the nodes that all of them would save
    at most; 0 where the report does not tell.
    """
    found: dict[tuple[str, str], Content] = {}
    rules, guards = data.get("rules") or {}, data.get("guards") or {}
    for miss in data["declined"]:
        rule, guard = miss["rule"], miss["guard"]
        kind = found.setdefault(
            (rule, guard),
            {
                "rule": rule,
                "guard": guard,
                "helps": (guards.get(guard) or {}).get("helps", ""),
                "saves": 0,
                "count": 0,
            },
        )
        kind["count"] += 1
        kind["saves"] += (rules.get(rule) or {}).get("saves") or 0
    return sorted(found.values(), key=lambda kind: (_rank(kind), -kind["saves"], -kind["count"]))


def _rank(kind: Content) -> int:
    return rank(kind["helps"])


def _misses(data: Content) -> list[Step]:
    """What a user can change, each once, and what comes of it."""
    gains: dict[str, list[str]] = {}
    for kind in kinds_of_miss(data):
        if _rank(kind) == 0:
            saves = f", up to {counted(kind['saves'], 'node')} fewer" if kind["saves"] else ""
            where = f"{kind['rule']} at {counted(kind['count'], 'place')}{saves}"
            gains.setdefault(kind["helps"], []).append(where)
    return [
        Step(f"{helps[:1].upper()}{helps[1:]}.", "; ".join(gain), part="why-not")
        for helps, gain in gains.items()
    ]
