"""What a guard makes sure of, and what helps where it stops a rule, by name."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
import pytest
from models import model

import trtfuse
from trtfuse.result.advice import BEFORE, condition
from trtfuse.rewrite.condition import IMPLIED, Condition
from trtfuse.rewrite.guards import floating
from trtfuse.rewrite.pattern import op, var
from trtfuse.rewrite.rule import CATALOGUE, Guard, Rule


def test_every_guard_has_an_answer_to_what_would_have_to_change() -> None:
    guards = {guard.name for rule in trtfuse.rules() for guard in rule.guards}
    assert [
        name for name in sorted(guards) if not (condition(name).advice and condition(name).holds)
    ] == []


@pytest.mark.parametrize("asked", [*IMPLIED, *BEFORE], ids=lambda asked: asked.name)
def test_what_is_asked_of_every_rule_has_an_answer_too(asked: Condition) -> None:
    assert asked.helps
    assert condition(asked.name).advice == asked.helps
    assert condition(asked.name).holds == asked.doc


def test_the_advice_of_a_guard_is_its_own() -> None:
    assert condition("floating").advice == floating("x").helps
    assert condition("floating").holds == floating("x").doc


def test_a_guard_without_advice_says_what_it_takes() -> None:
    assert explained(Guard("silent", lambda m: "no", "The input\nis silent.")) == (
        "silent",
        "The input is silent.",
        "it takes this: The input is silent.",
    )


def test_two_rules_may_give_different_advice_for_guards_of_one_name() -> None:
    first, second = (Guard("same", lambda m: "no", "", helps) for helps in ("do this", "do that"))
    assert [explained(guard)[2] for guard in (first, second)] == ["do this", "do that"]
    assert explained(Guard("floating", lambda m: "no", "", "no"))[2] == "no"
    assert condition("floating").advice != "no"


def test_a_name_that_is_no_guard_says_nothing() -> None:
    assert not any(guard.name == "nothing" for rule in CATALOGUE.values() for guard in rule.guards)
    assert condition("nothing").holds == ""


def explained(guard: Guard) -> tuple[str, str, str]:
    """What an explanation says of a guard that vetoes: its name, what it holds, what helps."""
    rule = Rule("mine", op.Relu(var("x")), (guard,), lambda m, new: m["x"])
    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }")
    (miss,) = trtfuse.explain(made, rules=[rule]).misses
    (reason,) = miss.objections
    return reason.guard, reason.holds, reason.helps


def test_the_advice_on_the_opset_works_on_what_fuse_wrote() -> None:
    normalized = model(
        """(float[2,8] x) => (float[2,8] y) {
            m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes=[-1]>(q)
            e = Add(v, tiny) s = Sqrt(e) n = Div(d, s) g = Mul(n, scale) y = Add(g, shift)
        }""",
        opset=13,
        tiny=np.float32(1e-5),
        scale=np.linspace(1, 2, 8).astype(np.float32),
        shift=np.linspace(-1, 1, 8).astype(np.float32),
    )
    result = trtfuse.fuse(normalized)
    (miss,) = [miss for miss in result.report.declined if miss.guard == "opset"]
    assert miss.because == "the model imports opset 13, and the rule needs 17"
    assert condition("opset").advice == "convert the model with `onnx.version_converter`"
    again = trtfuse.fuse(onnx.version_converter.convert_version(result.model, 17), verify="model")
    assert again.ok
    assert list(again.report.after.operators) == ["LayerNormalization"]
    pytest.importorskip("tensorrt_rtx")
    assert trtfuse.build(again).kernels >= 1
