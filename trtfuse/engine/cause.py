"""Which rule made an engine worse: the model is fused and built again without each."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trtfuse.engine.build import build
from trtfuse.engine.compare import built
from trtfuse.errors import EngineError
from trtfuse.progress import Progress
from trtfuse.result.comparison import Comparison
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.report import Report
from trtfuse.result.verdict import Cause, Verdict
from trtfuse.rewrite.rule import CATALOGUE, cleans_up

#: So many rules are left out, one after the other, and so many seconds are spent on it.
MOST_RULES, MOST_SECONDS = 5, 60.0


def with_cause(
    compared: Comparison,
    report: Report,
    without: Callable[[str], FusionResult],
    progress: Progress | None = None,
) -> Comparison:
    """Adds to a comparison which rule made the result worse than the original, if it is worse.

    A rule is left out at a time: fusions before cleanups, the most frequent first. The first
    without which nothing is worse ends the search. Else it is the one that leaves the fewest
    figures worse, if that is fewer than before.

    Args:
        compared: original and result.
        report: of the result.
        without: fuses the original without a rule.
        progress: as for `build`.
    """
    before = compared.a.to_dict()
    worse = len(compared.verdict.having("worse"))
    if not worse:
        return compared
    end, longest = time.monotonic() + MOST_SECONDS, 0.0
    tried: list[str] = []
    found = Cause(None, {}, tried)
    for rule in _rewrites(report)[:MOST_RULES]:
        start = time.monotonic()
        if start + longest > end:
            break
        # Without the rule it may be a model that does not build; others still tell.
        with contextlib.suppress(EngineError):
            verdict = Verdict.of(before, _figures(without(rule), compared.shapes, progress))
            tried.append(rule)
            if len(verdict.figures) < len(compared.verdict.figures):
                # What it does not tell may be as bad.
                continue
            if len(verdict.having("worse")) < worse:
                worse = len(verdict.having("worse"))
                found = Cause(rule, {change.figure: change.b for change in verdict.figures}, tried)
        longest = max(longest, time.monotonic() - start)
        if not worse:
            break
    return replace(compared, cause=found)


def _figures(
    result: FusionResult, shapes: dict[str, tuple[int, ...]], progress: Progress | None
) -> dict[str, Any]:
    engine = build(result, shapes=shapes, progress=progress)
    return built(engine, "", engine.layers).to_dict()


def _rewrites(report: Report) -> list[str]:
    """The rules that rewrote something, in the order in which they are suspected."""
    made = Counter(fusion.rule for fusion in report.fused if fusion.kind == "rewrite")
    known = [rule for rule, _ in made.most_common() if rule in CATALOGUE]
    return sorted(known, key=cleans_up)
