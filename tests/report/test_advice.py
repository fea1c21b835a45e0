"""What a guard makes sure of, and what helps where it stops a rule."""

from __future__ import annotations

import pytest

import trtfuse
from trtfuse.report.advice import HELPS, helps, holds


def test_every_guard_has_an_answer_to_what_would_have_to_change() -> None:
    guards = {guard.name for rule in trtfuse.rules() for guard in rule.guards}
    assert [name for name in sorted(guards) if not (helps(name) and holds(name))] == []


def test_advice_is_on_guards_that_there_are() -> None:
    assert [name for name in HELPS if not holds(name)] == []


def test_a_guard_without_advice_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert helps("floating") == HELPS["floating"]
    monkeypatch.delitem(HELPS, "floating")
    assert helps("floating") == f"it takes this: {holds('floating')}"
