"""The first screen of a page: what changed and whether it is safe, one sentence, four numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from trtfuse.report.entries import counts, furthest, inputs_of, kind, made, share
from trtfuse.report.wording import amount, counted

#: Whether the result may be used: checked, not checked, or found to be wrong.
Standing = Literal["good", "open", "bad"]


@dataclass(frozen=True)
class Figure:
    """One of the four numbers: what it counts, the number itself, and what to know of it."""

    title: str
    number: str
    note: str


@dataclass(frozen=True)
class Headline:
    """What a report comes to.

    Attributes:
        sentence: what changed, and whether it is safe.
        standing: "good" if it was checked and agrees, "bad" if it does not, else "open".
        verdict: the same in two words.
        figures: nodes, fusions, largest error, near misses.
        engine: what TensorRT made of both models, a sentence; empty if it was not asked.
        ruling: whether that is "better", "worse", "mixed" or "same"; empty if nobody has said.
    """

    sentence: str
    standing: Standing
    verdict: str
    figures: tuple[Figure, ...]
    engine: str = ""
    ruling: str = ""


def headline(data: dict[str, Any]) -> Headline:
    """The headline of a report.

    Args:
        data: the report as the schema has it, of any version that wrote it.
    """
    standing, verdict, checked = _checked(data)
    ruling = (data.get("engine") or {}).get("verdict") or {}
    return Headline(
        _sentence(data, checked),
        standing,
        verdict,
        (_nodes(data), _fusions(data), _error(data), _misses(data)),
        ruling.get("sentence") or _engine(data.get("engine")),
        ruling.get("outcome", ""),
    )


def _sentence(data: dict[str, Any], checked: str) -> str:
    before, after = data["before"]["nodes"], data["after"]["nodes"]
    if not before:
        return "The graph has no nodes, so there is nothing to fuse."
    if not data["fused"]:
        stay = (
            "its only node is unchanged" if before == 1 else f"all {before:,} nodes are unchanged"
        )
        return f"Nothing to fuse: {stay}{checked}."
    if before == after:
        numbers = counts(data)
        expected = " expected as one kernel each" if numbers["group"] == len(data["fused"]) else ""
        return f"{made(data)}{expected}, in {counted(before, 'node')}{checked}."
    # A group saves no node.
    rewrites = {**data, "fused": [e for e in data["fused"] if e["kind"] != "group"]}
    return f"{before:,} nodes became {after:,} by {made(rewrites)}{checked}."


def _checked(data: dict[str, Any]) -> tuple[Standing, str, str]:
    """The standing, the verdict, and the end of the sentence."""
    verification = data["verification"]
    if not verification["ok"]:
        return "bad", "do not use", ", but original and result differ: do not use the result"
    if verification["level"] == "model":
        return "good", "checked", ", and both models agree on ONNX Runtime"
    if not data["fused"]:
        return "good", "unchanged", ""
    if verification["level"] == "none":
        return "open", "not checked", ", and nothing was checked"
    if not verification["checked"]:
        return "good", "same arithmetic", ", and no arithmetic was changed"
    agrees = ", and every rewrite that changes arithmetic agrees with its original in float64"
    return "good", "checked", agrees


def _nodes(data: dict[str, Any]) -> Figure:
    before, after = data["before"]["nodes"], data["after"]["nodes"]
    if before == after:
        return Figure("nodes", f"{before:,}", "as before")
    share = abs(before - after) / before if before else 0
    percent = f"{share:.0%}" if share >= 0.01 else "under 1%"
    more = "fewer" if after < before else "more"
    return Figure("nodes", f"{after:,}", f"{before:,} before, {percent} {more}")


def _fusions(data: dict[str, Any]) -> Figure:
    numbers = counts(data)
    beside = [counted(numbers[name], name) for name in ("cleanup", "group") if numbers[name]]
    rules = len({e["rule"] for e in data["fused"] if kind(e) == "fusion"})
    note = f"by {counted(rules, 'rule')}" if rules else "none applies"
    return Figure("fusions", f"{numbers['fusion']:,}", ", ".join([note, *beside]))


def _error(data: dict[str, Any]) -> Figure:
    verification = data["verification"]
    if verification["level"] == "none" or not verification["checked"]:
        note = "nothing was checked" if verification["level"] == "none" else "nothing to check"
        return Figure("largest error", "\N{EN DASH}", note)
    if verification.get("compared"):
        return _difference(verification)
    what = "output" if verification["level"] == "model" else "rewrite"
    where = "compared" if verification["level"] == "model" else "evaluated"
    checked = f"{counted(verification['checked'], what)} {where}"
    note = f"tolerance {verification['tolerance']:.0e}, {checked}"
    error = verification["max_error"]
    return Figure("largest error", f"{error:.1e}" if error else "0", note)


def _difference(verification: dict[str, Any]) -> Figure:
    """How far apart the models are, if that was found out output by output."""
    worst, number = furthest(verification), verification["outputs"]
    where = f"{counted(number, 'output')} on {inputs_of(verification)}"
    if worst is None:
        equal = all(entry["ok"] for entry in verification["compared"])
        return Figure("largest error", "0" if equal else "\N{EN DASH}", where)
    note = (
        f"in '{worst['output']}', {share(worst)}; rounding alone: {worst['rounding']:.1e}; {where}"
    )
    return Figure("largest error", f"{worst['absolute']:.1e}", note)


def _misses(data: dict[str, Any]) -> Figure:
    declined = data["declined"]
    guards = len({refusal["guard"] for refusal in declined})
    note = f"{counted(guards, 'reason')}, below" if declined else "every match was applied"
    return Figure("near misses", f"{len(declined):,}", note)


def _engine(compared: Any) -> str:
    """What TensorRT made of both models, as far as the report says it."""
    a, b = ((compared or {}).get(side) or {} for side in "ab")
    if not (isinstance(a.get("kernels"), int) and isinstance(b.get("kernels"), int)):
        return ""
    sentence = f"TensorRT runs {counted(b['kernels'], 'kernel')} instead of {a['kernels']:,}"
    if a["kernels"] == b["kernels"]:
        sentence = f"TensorRT runs {counted(b['kernels'], 'kernel')}, as before"
    if a.get("traffic") and b.get("traffic"):
        sentence += f", which move {amount(b['traffic'])} instead of {amount(a['traffic'])}"
    return f"{sentence}."
