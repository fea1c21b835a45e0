"""Whether one engine is better than another: by figure, as a whole, and in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trtfuse.report.wording import amount, counted, joined

#: "same" is said of figures that are as good as equal; "mixed" of engines alone.
Outcome = Literal["better", "worse", "mixed", "same"]


@dataclass(frozen=True)
class Threshold:
    """By how much a figure has to change to count: by more than both, a share and a number."""

    share: float
    number: int


#: Kernels and traffic are the same in every build. The engine's size also holds the names of nodes:
#: long ones in place of short ones make up to 1 % of it.
THRESHOLDS: dict[str, Threshold] = {
    "kernels": Threshold(0, 0),
    "traffic": Threshold(0.01, 1_000),
    "activation": Threshold(0.01, 1_000),
    "size": Threshold(0.02, 64_000),
}
#: What is called what in a sentence.
_CALLED = {
    "kernels": "number of kernels",
    "traffic": "traffic",
    "activation": "activation memory",
    "size": "engine size",
}
#: Those that take time, and not only room.
_TIME = frozenset(("kernels", "traffic"))


@dataclass(frozen=True)
class Change:
    """What became of one figure: kernels, traffic, activation or size; of each, less is better."""

    figure: str
    a: int
    b: int

    @property
    def outcome(self) -> Outcome:
        """Whether it is better, worse, or as good as equal."""
        threshold, change = THRESHOLDS[self.figure], abs(self.b - self.a)
        if change <= threshold.number or change <= threshold.share * self.a:
            return "same"
        return "better" if self.b < self.a else "worse"

    def __str__(self) -> str:
        """The change in words: "10 kernels instead of 9", "68% more traffic"."""
        if self.figure == "kernels":
            return f"{counted(self.b, 'kernel')} instead of {self.a:,}"
        more = self.b > self.a
        if self.a and self.b >= 2 * self.a:
            ratio = self.b / self.a
            times = f"{ratio:.2g} times as" if ratio < 10 else f"{ratio:,.0f} times as"
            if self.figure == "size":
                return f"an engine {times} large"
            return f"{times} much {_CALLED[self.figure]}"
        # A change that counts is one of at least 1 %, and what was nothing has no share.
        by = f"{abs(self.b / self.a - 1):.0%}" if self.a else amount(abs(self.b - self.a))
        if self.b and by == "100%" and not more:
            by = "over 99%"
        if self.figure == "size":
            return f"an engine that is {by} {'larger' if more else 'smaller'}"
        return f"{by} {'more' if more else 'less'} {_CALLED[self.figure]}"


@dataclass(frozen=True)
class Cause:
    """Which rule made an engine worse, found by fusing and building without it.

    Attributes:
        rule: its name; None if leaving out no single rule helped.
        without: the figures of the engine without it.
        tried: the rules that were left out, each by itself.
    """

    rule: str | None
    without: dict[str, int]
    tried: list[str]


@dataclass(frozen=True)
class Verdict:
    """Whether an engine is better than the one that it is compared to.

    Attributes:
        figures: each that is known of both.
        cause: which rule made it worse, where that was looked for.
    """

    figures: tuple[Change, ...]
    cause: Cause | None = None

    @staticmethod
    def of(a: Mapping[str, Any], b: Mapping[str, Any], cause: Cause | None = None) -> Verdict:
        """The verdict on `b`, from the figures of both."""
        known = [name for name in THRESHOLDS if _number(a.get(name)) and _number(b.get(name))]
        return Verdict(tuple(Change(name, int(a[name]), int(b[name])) for name in known), cause)

    @property
    def outcome(self) -> Outcome:
        """All figures taken together: "mixed" is some better and some worse."""
        outcomes = {change.outcome for change in self.figures} - {"same"}
        if len(outcomes) > 1:
            return "mixed"
        return next(iter(outcomes), "same")

    @property
    def worse(self) -> bool:
        """What fails a build: it is worse, or mixed with more kernels or more traffic."""
        if self.outcome == "mixed":
            return any(change.figure in _TIME for change in self.having("worse"))
        return self.outcome == "worse"

    def having(self, outcome: Outcome) -> list[Change]:
        """The figures with an outcome."""
        return [change for change in self.figures if change.outcome == outcome]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        better, worse, same = self.having("better"), self.having("worse"), self.having("same")
        # "mixed": what is gained, but what it costs.
        said = ", but ".join(_listed(changes) for changes in (better, worse) if changes)
        kept = joined([_CALLED[change.figure] for change in same]) if same else ""
        if not said:
            return self._unchanged()
        cause = self._because()
        rest = f"; the same {kept}" if kept and not cause else ""
        return f"{self.outcome.capitalize()}: {said}{cause}{rest}."

    def _unchanged(self) -> str:
        kernels = [change for change in self.figures if change.figure == "kernels"]
        others = [_CALLED[change.figure] for change in self.figures if change not in kernels]
        if not self.figures:
            return "Unknown: no figure is known of both."
        number = [f"{counted(change.b, 'kernel')} as before" for change in kernels]
        return f"Same: {'; '.join([*number, *([f'the same {joined(others)}'] if others else [])])}."

    def _because(self) -> str:
        if self.cause is None or not self.cause.tried:
            return ""
        rule, without = self.cause.rule, self.cause.without
        if rule is None:
            alone = " alone" if len(self.cause.tried) > 1 else ""
            return f"; leaving out {joined(self.cause.tried, 'or')}{alone} does not make up for it"
        worse = [change.figure for change in self.having("worse") if change.figure in without]
        left = [_left(figure, without[figure]) for figure in worse]
        without_it = f" (without it, {joined(left)})" if left else ""
        return f", because of {rule}{without_it}: try --skip {rule}"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON has it."""
        return {
            "outcome": self.outcome,
            "sentence": self.sentence,
            "figures": [{**asdict(change), "outcome": change.outcome} for change in self.figures],
            "cause": None if self.cause is None else asdict(self.cause),
        }


def _number(value: object) -> bool:
    return isinstance(value, (int, float))


def _listed(changes: Iterable[Change]) -> str:
    return joined([str(change) for change in changes])


def _left(figure: str, value: int) -> str:
    if figure == "kernels":
        return counted(value, "kernel")
    return (
        f"an engine of {amount(value)}"
        if figure == "size"
        else f"{amount(value)} of {_CALLED[figure]}"
    )
