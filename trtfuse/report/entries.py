"""The entries of a report, as the schema `trtfuse.report/1` has them, counted and put in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from trtfuse.report.wording import amount, counted, joined
from trtfuse.rewrite.rule import cleans_up

#: A report, or an entry of one, as the schema has it.
Content = dict[str, Any]
Kind = Literal["fusion", "group", "cleanup"]
KINDS: tuple[Kind, ...] = ("fusion", "group", "cleanup")


def kind(entry: Content) -> Kind:
    """What an entry of `fused` is."""
    if entry["kind"] == "group":
        return "group"
    return "cleanup" if cleans_up(entry["rule"]) else "fusion"


def titled(entry: Content) -> str:
    """An entry of `fused` in a line: what was fused, and what else there is to say of it."""
    note = entry.get("note")
    return f"{entry['name']} ({note})" if note else str(entry["name"])


def by_rule(entries: Iterable[Content]) -> dict[str, list[Content]]:
    """The entries of each rule, in the order in which the rules come up."""
    made: dict[str, list[Content]] = {}
    for entry in entries:
        made.setdefault(entry["rule"], []).append(entry)
    return made


def of_kind(data: Content, wanted: Kind) -> dict[str, list[Content]]:
    """The fusions, groups or cleanups of each rule."""
    return by_rule(entry for entry in data["fused"] if kind(entry) == wanted)


def counts(data: Content) -> dict[Kind, int]:
    """How many fusions, groups and cleanups there are."""
    kinds = [kind(entry) for entry in data["fused"]]
    return {name: kinds.count(name) for name in KINDS}


def made(data: Content) -> str:
    """How much was done: "3 fusions, 1 cleanup and 2 groups"."""
    numbers = counts(data)
    order: tuple[Kind, ...] = ("fusion", "cleanup", "group")
    return joined(
        [counted(numbers[name], name) for name in order if numbers[name]] or ["no fusion"]
    )


def became(data: Content) -> list[Content]:
    """Of each group, in order, what the builder did with it; empty where it was not asked."""
    agreement = (data.get("engine") or {}).get("agreement") or {}
    return [fusion for fusion in agreement.get("fusions", ()) if fusion["kind"] == "group"]


def in_one_kernel(fusion: Content) -> bool:
    """Whether the builder runs a fusion in one kernel, be it with other nodes."""
    return fusion["outcome"] in ("one kernel", "merged further")


#: A file that changes by more than both, a share and so many bytes, changes by much.
_SHARE, _BYTES = 0.1, 10**6


def file_sizes(data: Content) -> str:
    """A sentence on the size of the file, where it changed by much; else nothing."""
    before, after = ((data.get(key) or {}).get("bytes") for key in ("original", "output"))
    if before is None or after is None:
        return ""
    change = abs(after - before)
    if change <= _BYTES or change <= _SHARE * before:
        return ""
    if after < before:
        return f"The file shrinks from {amount(before)} to {amount(after)}."
    folds = any(entry["rule"] == "fold-constants" for entry in data["fused"])
    limit = "; constants were folded, and --fold-limit says how far" if folds else ""
    return f"The file grows from {amount(before)} to {amount(after)}{limit}."


def operators(data: Content) -> Iterator[tuple[str, int, int]]:
    """Each operator with its count before and after, the most frequent first."""
    before, after = data["before"]["operators"], data["after"]["operators"]
    for operator in {**before, **after}:
        yield operator, before.get(operator, 0), after.get(operator, 0)


def verdict(verification: Content, *, everything: bool = False) -> list[str]:
    """What was checked and what came of it, in a sentence, then what else is worth knowing.

    Args:
        verification: as the schema has it.
        everything: whether to tell of every output, not only of the one that differs most.
    """
    level, checked = verification["level"], verification["checked"]
    error, tolerance = verification["max_error"], verification["tolerance"]
    numbers = f"largest error {error:.1e}, tolerance {tolerance:.1e}"
    if level == "none":
        line = "not checked"
    elif level == "rewrite" and not checked:
        line = "checked: nothing was rewritten"
    elif level == "rewrite":
        line = f"checked: {counted(checked, 'rewrite')} in float64, {numbers}"
    elif verification.get("compared"):
        return [*_compared(verification, everything), *verification["notes"]]
    elif verification["ok"]:
        line = f"checked: {counted(checked, 'output')} on ONNX Runtime agree, {numbers}"
    else:
        line = f"check failed: original and result differ, {numbers}"
    return [line, *verification["notes"]]


def inputs_of(verification: Content) -> str:
    """On what a whole model was compared: "4 sets of random inputs"."""
    samples, source = verification["samples"], verification["source"]
    if source == "random":
        return counted(samples, "set of random inputs", "sets of random inputs")
    if source == "arrays":
        return counted(samples, "set of your inputs", "sets of your inputs")
    return f"{counted(samples, 'set of inputs', 'sets of inputs')} from {source}"


def furthest(verification: Content) -> Content | None:
    """The output of a whole model that differs most; None if none does, or nobody can tell."""
    worst, compared = verification.get("worst"), verification.get("compared", ())
    return next((entry for entry in compared if entry["output"] == worst), None)


def apart(entry: Content) -> str:
    """How far apart an output is: absolute, relative, and next to what rounding does to it."""
    if not entry["absolute"]:
        same = "not all of it can be compared" if entry.get("undecided") else "identical"
        return same if entry["ok"] else "differs"
    moves = f"rounding alone moves the original by {entry['rounding']:.1e}"
    return f"{entry['absolute']:.1e} ({share(entry)}); {moves}"


def share(entry: Content) -> str:
    """How far apart an output is, next to its size."""
    if not entry["largest"]:
        return "the original is 0 everywhere"
    return f"{entry['relative']:.1e} of its largest value, {entry['largest']:.3g}"


def _compared(verification: Content, everything: bool) -> Iterator[str]:
    """What was compared of a whole model, and how far apart it is."""
    compared, worst = verification["compared"], furthest(verification)
    one, where = len(compared) == 1, inputs_of(verification)
    outputs = counted(len(compared), "output")
    if not verification["ok"]:
        wrong = sum(not entry["ok"] for entry in compared)
        differ = "differs" if wrong == 1 else "differ"
        yield f"check failed: {wrong} of {outputs} {differ} on {where}"
    elif worst is None and any(entry.get("undecided") for entry in compared):
        agree = "agrees" if one else "agree"
        yield f"checked: {outputs} {agree} on {where}, as far as they can be compared"
    elif worst is None:
        yield f"checked: {outputs} {'is' if one else 'are'} identical on {where}"
    else:
        yield f"checked: {outputs} {'agrees' if one else 'agree'} on {where}"
    if everything:
        yield from (f"'{entry['output']}': {apart(entry)}" for entry in compared)
    elif worst is not None:
        yield f"'{worst['output']}' differs {'by' if one else 'most: by'} {apart(worst)}"


def written(data: Content) -> str:
    """A sentence: where the result is, how large, and its hash; empty if it was not written."""
    output = data.get("output")
    if not output:
        return ""
    return f"Written to {output['path']}: {amount(output['bytes'])}, SHA-256 {output['sha256']}"


def in_words(value: Any) -> str:
    """The value of an option: names with commas between them, shapes like `x:1x3x224x224`."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name}={each}" if isinstance(each, int) else f"{name}:{in_words(each)}"
            for name, each in value.items()
        )
    if isinstance(value, list):
        if all(each is None or isinstance(each, int) for each in value):
            return "x".join("?" if each is None else str(each) for each in value)
        return ", ".join(map(str, value))
    return str(value)
