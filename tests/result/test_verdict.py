"""Whether an engine is better: figure by figure, as a whole, and in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from trtfuse.result.verdict import THRESHOLDS, Cause, Change, Verdict

BASE = {"kernels": 9, "traffic": 1_000_000, "activation": 2_000_000, "size": 10_000_000}


def of(cause: Cause | None = None, **figures: Any) -> Verdict:
    return Verdict.of(BASE, {**BASE, **figures}, cause)


@pytest.mark.parametrize(
    ("figures", "outcome", "sentence"),
    [
        (
            {},
            "same",
            "Same: 9 kernels as before; the same traffic, activation memory and engine size.",
        ),
        (
            {"kernels": 8},
            "better",
            "Better: 8 kernels instead of 9; the same traffic, activation memory and engine size.",
        ),
        (
            {"kernels": 10, "traffic": 1_680_000},
            "worse",
            "Worse: 10 kernels instead of 9 and 68% more traffic; the same activation memory and "
            "engine size.",
        ),
        (
            {"kernels": 1, "traffic": 1_680_000, "activation": 1_000_000, "size": 11_000_000},
            "mixed",
            "Mixed: 1 kernel instead of 9 and 50% less activation memory, but 68% more traffic and "
            "an engine that is 10% larger.",
        ),
        (
            {"size": 9_000_000},
            "better",
            "Better: an engine that is 10% smaller; the same number of kernels, traffic and "
            "activation memory.",
        ),
    ],
)
def test_a_verdict_reads_like_this(figures: dict[str, int], outcome: str, sentence: str) -> None:
    verdict = of(**figures)
    assert (verdict.outcome, verdict.sentence) == (outcome, sentence)


@pytest.mark.parametrize("figure", list(THRESHOLDS))
def test_only_what_passes_both_thresholds_counts(figure: str) -> None:
    share, number = THRESHOLDS[figure].share, THRESHOLDS[figure].number
    large = 100_000_000
    assert Change(figure, large, large + int(share * large)).outcome == "same"
    assert Change(figure, large, large + int(share * large) + 1).outcome == "worse"
    assert Change(figure, large, large - int(share * large) - 1).outcome == "better"
    assert Change(figure, 10, 10 + number).outcome == "same"
    assert Change(figure, 10, 11 + number).outcome == "worse"


def test_what_one_of_both_does_not_tell_is_left_out() -> None:
    verdict = of(traffic=None, size=None)
    assert [change.figure for change in verdict.figures] == ["kernels", "activation"]
    assert verdict.sentence == "Same: 9 kernels as before; the same activation memory."
    assert Verdict.of({}, {}).sentence == "Unknown: no figure is known of both."


def test_what_was_nothing_has_no_share() -> None:
    verdict = Verdict.of({"kernels": 1, "traffic": 0}, {"kernels": 1, "traffic": 4096})
    assert verdict.sentence == "Worse: 4.1 kB more traffic; the same number of kernels."


@pytest.mark.parametrize(
    ("figures", "worse"),
    [
        ({}, False),
        ({"kernels": 8}, False),
        ({"size": 20_000_000}, True),
        ({"kernels": 8, "size": 20_000_000, "activation": 3_000_000}, False),
        ({"kernels": 8, "traffic": 2_000_000}, True),
        ({"kernels": 10, "traffic": 500_000}, True),
    ],
)
def test_more_room_is_worse_unless_time_is_won(figures: dict[str, int], worse: bool) -> None:
    assert of(**figures).worse is worse


def test_the_rule_that_did_it_is_named() -> None:
    cause = Cause("conv-scale", {**BASE, "traffic": 1_234_000}, ["fc-scale", "conv-scale"])
    assert of(cause, kernels=10, traffic=1_680_000).sentence == (
        "Worse: 10 kernels instead of 9 and 68% more traffic, because of conv-scale (without it, "
        "9 kernels and 1.23 MB of traffic): try --skip conv-scale."
    )
    assert of(cause, size=20_000_000).sentence == (
        "Worse: an engine 2 times as large, because of conv-scale (without it, an engine of "
        "10 MB): try --skip conv-scale."
    )


@pytest.mark.parametrize(
    ("tried", "end"),
    [
        (["a", "b", "c"], "; leaving out a, b or c alone does not make up for it."),
        (["a"], "; leaving out a does not make up for it."),
    ],
)
def test_that_no_rule_did_it_alone_is_said(tried: list[str], end: str) -> None:
    assert of(Cause(None, {}, tried), kernels=10).sentence == (
        f"Worse: 10 kernels instead of 9{end}"
    )


def test_as_data() -> None:
    content = of(Cause("conv-scale", {"kernels": 9}, ["conv-scale"]), kernels=10).to_dict()
    assert content["outcome"] == "worse"
    assert content["figures"][0] == {"figure": "kernels", "a": 9, "b": 10, "outcome": "worse"}
    assert content["figures"][1]["outcome"] == "same"
    assert content["cause"] == {
        "rule": "conv-scale",
        "without": {"kernels": 9},
        "tried": ["conv-scale"],
    }


def test_what_doubles_is_told_in_multiples() -> None:
    verdict = Verdict.of(
        {"kernels": 71, "traffic": 100_000, "size": 2_930_000},
        {"kernels": 58, "traffic": 250_000, "size": 38_200_000},
    )
    assert verdict.sentence == (
        "Mixed: 58 kernels instead of 71, but 2.5 times as much traffic and an engine 13 times as "
        "large."
    )


def test_factors_are_plain_numbers_and_not_all_is_gone() -> None:
    more = Verdict.of({"traffic": 10_000}, {"traffic": 1_500_000})
    assert more.sentence == "Worse: 150 times as much traffic."
    less = Verdict.of({"traffic": 10**9}, {"traffic": 10**4})
    assert less.sentence == "Better: over 99% less traffic."


def test_a_cause_that_tells_no_figure_has_none_in_brackets() -> None:
    verdict = Verdict.of(
        {"kernels": 9, "traffic": 100_000},
        {"kernels": 9, "traffic": 150_000},
        Cause("conv-scale", {"kernels": 9}, ["conv-scale"]),
    )
    assert verdict.sentence == (
        "Worse: 50% more traffic, because of conv-scale: try --skip conv-scale."
    )
