"""How tests of rules fuse: without groups, and with the explanation held against the report."""

from __future__ import annotations

from typing import Any

import trtfuse
from trtfuse.interop.reading import ModelLike


def rewrite(
    model: ModelLike, *, groups: trtfuse.run.GroupsAs = "off", **options: Any
) -> trtfuse.FusionResult:
    """Fuses a model, and looks for groups only if a test asks for them."""
    return trtfuse.fuse(model, groups=groups, **options)


def rewrite_and_explain(model: ModelLike, **options: Any) -> trtfuse.FusionResult:
    """As `rewrite`; whatever a rule declines has to be in the explanation of the model, too."""
    result = rewrite(model, **options)
    asked = {name: options[name] for name in _EXPLAINED if name in options}
    if result.report.declined and not set(options) - {*asked, "verify"}:
        explanation = trtfuse.explain(model, **asked)
        said = {
            (miss.rule, miss.at, reason.guard, reason.because)
            for miss in explanation.misses
            for reason in miss.objections
        }
        # An explanation checks every rewrite; where that refuses one, others meet another graph.
        refuted = any(guard == "check" for _, _, guard, _ in said)
        declined = [] if refuted else result.report.declined
        assert {(miss.rule, miss.at, miss.guard, miss.because) for miss in declined} <= said
        assert str(explanation)
    return result


#: The options that an explanation takes as well.
_EXPLAINED = ("rules", "skip", "objective", "fold_limit", "seed")
