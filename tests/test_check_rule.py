"""Every rule is named in the tests, and the loop of its author finds them."""

from __future__ import annotations

import pytest
from check_rule import main, mentioning

import trtfuse


@pytest.mark.parametrize("name", [rule.name for rule in trtfuse.rules()])
def test_tests_mention_every_rule(name: str) -> None:
    assert mentioning(name)


def test_tests_of_rules_come_first() -> None:
    of_rules = ["rules" in path.parts for path in mentioning("conv-scale")]
    assert any(of_rules)
    assert of_rules == sorted(of_rules, reverse=True)


def test_an_unknown_rule_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conv-scal"]) == 2
    assert "conv-scale" in capsys.readouterr().err
