"""What a page says to do next, and in which order near misses are worth something."""

from __future__ import annotations

from typing import Any

import pytest
from models import not_fused

from trtfuse.check.model import Verification
from trtfuse.report.next_steps import kinds_of_miss, next_steps, rank
from trtfuse.result.report import Census, Fusion, Report


def data(**given: Any) -> dict[str, Any]:
    """A report of one fusion, two groups and three kinds of near misses."""
    census = Census(9, {"Relu": 9})
    fused = [Fusion("conv-scale", "rewrite", "a + b", ["a", "b"], [], ["a"], None)]
    fused += [Fusion("pointwise", "group", n, [n], [], [n], None) for n in ("p", "q")]
    declined = [
        *(not_fused("scale-fc", f"f{n}", "is-not-of-gelu", "it is of a GELU") for n in range(9)),
        *(not_fused("gelu", f"g{n}", "opset", "opset 13") for n in range(3)),
        *(not_fused("layer-norm", f"l{n}", "opset", "opset 13") for n in range(2)),
        *(not_fused("conv-scale", f"c{n}", "one-consumer", "two") for n in range(4)),
    ]
    report = Report("m.onnx", census, census, fused, declined, Verification("rewrite", checked=1))
    return {**report.to_dict(), **given}


def test_what_can_be_changed_comes_first_then_what_saves_most() -> None:
    kinds = [
        (kind["rule"], kind["guard"], kind["count"], kind["saves"])
        for kind in kinds_of_miss(data())
    ]
    assert kinds == [
        ("layer-norm", "opset", 2, 14),
        ("gelu", "opset", 3, 0),
        ("conv-scale", "one-consumer", 4, 4),
        ("scale-fc", "is-not-of-gelu", 9, 9),
    ]


@pytest.mark.parametrize(
    ("helps", "expected"),
    [
        ("convert the model", 0),
        ("nothing, if the other reader needs the value; else remove the reader", 1),
        ("nothing, unless the scale can be one positive number", 1),
        ("nothing: the builder needs the factor where it is", 2),
        ("nothing, for this engine; `--objective graph` makes the rewrite", 2),
        ("it takes this: something holds", 1),
        ("", 1),
    ],
)
def test_how_much_is_in_the_hands_of_a_user(helps: str, expected: int) -> None:
    assert rank(helps) == expected


def test_steps_begin_with_what_is_open_and_name_each_help_once() -> None:
    steps = [(step.text, step.gain, step.command) for step in next_steps(data())]
    assert steps == [
        (
            "Compare the whole model with the original, on your own data.",
            "",
            "--verify model --inputs FILE.npz",
        ),
        ("See what TensorRT makes of it.", "", "--build"),
        (
            "Convert the model with `onnx.version_converter`.",
            "layer-norm at 2 places, up to 14 nodes fewer; gelu at 3 places",
            "",
        ),
    ]


def test_what_was_checked_and_built_is_not_asked_for_again() -> None:
    engine = {"verdict": {"sentence": "Same.", "cause": None}}
    verification = {**data()["verification"], "level": "model"}
    steps = next_steps(data(engine=engine, verification=verification))
    assert [step.part for step in steps] == ["why-not"]


def test_the_rule_that_made_the_engine_worse_comes_first() -> None:
    engine = {"verdict": {"sentence": "Worse.", "cause": {"rule": "conv-scale"}}}
    first = next_steps(data(engine=engine))[0]
    assert (first.text, first.command) == ("Leave conv-scale out.", "--skip conv-scale")


def test_a_result_that_differs_is_all_that_counts() -> None:
    verification = {**data()["verification"], "ok": False, "notes": ["output 'y' differs"]}
    (step,) = next_steps(data(verification=verification))
    assert step.text.startswith("Do not use the result.")
    assert step.gain == "output 'y' differs"
