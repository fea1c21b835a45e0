"""What a guard makes sure of, and what helps where it stops a rule, by name."""

from __future__ import annotations

import pytest

import trtfuse
from trtfuse.result.advice import BEFORE, helps, holds
from trtfuse.rewrite.condition import IMPLIED, Condition
from trtfuse.rewrite.guards import floating
from trtfuse.rewrite.pattern import op, var
from trtfuse.rewrite.rule import CATALOGUE, Guard, Rule


def test_every_guard_has_an_answer_to_what_would_have_to_change() -> None:
    guards = {guard.name for rule in trtfuse.rules() for guard in rule.guards}
    assert [name for name in sorted(guards) if not (helps(name) and holds(name))] == []


@pytest.mark.parametrize("condition", [*IMPLIED, *BEFORE], ids=lambda condition: condition.name)
def test_what_is_asked_of_every_rule_has_an_answer_too(condition: Condition) -> None:
    assert condition.helps
    assert helps(condition.name) == condition.helps
    assert holds(condition.name) == condition.doc


def test_the_advice_of_a_guard_is_its_own() -> None:
    assert helps("floating") == floating("x").helps
    assert holds("floating") == floating("x").doc


def test_a_guard_without_advice_says_what_it_takes() -> None:
    silent = Guard("silent", lambda m: None, "The input\nis silent.")
    rule = Rule("mine", op.Relu(var("x")), (silent,), lambda m, new: m["x"])
    assert helps("silent", rule) == "it takes this: The input is silent."
    assert holds("silent", rule) == "The input is silent."


def test_two_rules_may_give_different_advice_for_guards_of_one_name() -> None:
    def ask(helps: str) -> Rule:
        return Rule(helps, op.Relu(var("x")), (Guard("same", lambda m: None, "", helps),), _keep)

    first, second = ask("do this"), ask("do that")
    assert [helps("same", rule) for rule in (first, second)] == ["do this", "do that"]
    floating = Rule("own", op.Relu(var("x")), (Guard("floating", lambda m: None, "", "no"),), _keep)
    assert helps("floating", floating) == "no"
    assert helps("floating") != "no"


def test_a_name_that_is_no_guard_says_nothing() -> None:
    assert not any(guard.name == "nothing" for rule in CATALOGUE.values() for guard in rule.guards)
    assert holds("nothing") == ""


def _keep(m: object, new: object) -> None: ...
