"""No rule makes the engine worse where it stands, and those that are held back would.

`benchmarks/contexts.py` builds every pattern in every context; here it is each rule once.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import trtfuse
from trtfuse.rewrite.rule import GroupRule

pytest.importorskip("tensorrt_rtx")


def _contexts() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "contexts.py"
    # What it imports stands beside it.
    sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location("contexts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["contexts"] = module
    spec.loader.exec_module(module)
    return module


CONTEXTS = _contexts()
#: The first pattern of each rule, at its first shape.
FIRST = {
    subject.rule: replace(subject, shapes=subject.shapes[:1])
    for subject in reversed(list(CONTEXTS.subjects()))
}
#: Why a rule has no pattern to try.
WITHOUT_A_PATTERN = {
    "a group changes no node": {
        rule.name for rule in trtfuse.rules() if isinstance(rule, GroupRule)
    },
}
#: Rules whose first pattern is known to cost the engine behind an input.
COSTLY = ("mean-pool", "global-mean-pool", "log-sum-exp", "log-softmax", "layer-norm", "rms-norm")


@pytest.fixture
def few_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind an input or a convolution, and in front of an output."""
    before = {name: CONTEXTS.BEFORE[name] for name in ("input", "conv + relu")}
    monkeypatch.setattr(CONTEXTS, "BEFORE", before)
    monkeypatch.setattr(CONTEXTS, "AFTER", {"output": ""})


def test_every_rule_has_a_pattern_or_a_reason() -> None:
    reasons = set().union(*WITHOUT_A_PATTERN.values())
    assert {rule.name for rule in trtfuse.rules()} - set(FIRST) == reasons


@pytest.mark.parametrize("rule", sorted(FIRST))
def test_every_pattern_is_one_that_the_rule_takes(rule: str) -> None:
    """With the objective "graph", in one of its contexts."""
    taken = False
    for subject in CONTEXTS.subjects():
        if subject.rule != rule or taken:
            continue
        for *_, model in CONTEXTS.contexts(subject, subject.shapes[0], "float"):
            chosen = subject.rules.split()
            result = trtfuse.fuse(
                model, rules=chosen, groups="off", verify="none", objective="graph"
            )
            taken = taken or rule in {fusion.rule for fusion in result.report.fused}
    assert taken


@pytest.mark.usefixtures("few_contexts")
@pytest.mark.parametrize("rule", sorted(FIRST))
def test_no_rule_makes_the_engine_worse(rule: str) -> None:
    rows = CONTEXTS.rows(FIRST[rule], "float", "safe")
    assert rows
    assert [str(row) for row in rows if row.verdict == "worse"] == []


@pytest.mark.usefixtures("few_contexts")
@pytest.mark.parametrize("rule", COSTLY)
def test_what_is_held_back_would_make_it_worse(rule: str) -> None:
    held = {row.before for row in CONTEXTS.rows(FIRST[rule], "float", "safe") if not row.made}
    costs = ("worse", "constant")
    worse = {
        row.before for row in CONTEXTS.rows(FIRST[rule], "float", "graph") if row.verdict in costs
    }
    assert "input" in worse
    assert worse <= held
