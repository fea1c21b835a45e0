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
#: Rules whose first pattern is known to cost the engine behind an input.
COSTLY = ("mean-pool", "global-mean-pool", "log-sum-exp", "log-softmax", "layer-norm", "rms-norm")


@pytest.fixture
def few_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind an input or a convolution, and in front of an output."""
    before = {name: CONTEXTS.BEFORE[name] for name in ("input", "conv + relu")}
    monkeypatch.setattr(CONTEXTS, "BEFORE", before)
    monkeypatch.setattr(CONTEXTS, "AFTER", {"output": ""})


@pytest.mark.usefixtures("few_contexts")
@pytest.mark.parametrize("rule", sorted(FIRST))
def test_no_rule_makes_the_engine_worse(rule: str) -> None:
    rows = CONTEXTS.rows(FIRST[rule], "float", "safe")
    assert rows
    assert [str(row) for row in rows if row.verdict == "WORSE"] == []


@pytest.mark.usefixtures("few_contexts")
@pytest.mark.parametrize("rule", COSTLY)
def test_what_is_held_back_would_make_it_worse(rule: str) -> None:
    held = {row.before for row in CONTEXTS.rows(FIRST[rule], "float", "safe") if not row.made}
    worse = {
        row.before for row in CONTEXTS.rows(FIRST[rule], "float", "graph") if row.verdict == "WORSE"
    }
    assert "input" in worse
    assert worse <= held
