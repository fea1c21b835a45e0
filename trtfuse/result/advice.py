"""What a guard makes sure of, and what helps where it stops a rule, by its name in a report."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.layers.clip import CLIP
from trtfuse.layers.cut import SLICE
from trtfuse.layers.linear import CONVOLUTION, PRODUCT
from trtfuse.layers.reduce import MEAN, REDUCE
from trtfuse.layers.scale import SCALE
from trtfuse.rewrite.condition import (
    IMPLIED,
    MALFORMED,
    NAMED_OUTPUT,
    OPSET,
    STRUCTURE,
    Condition,
)
from trtfuse.rewrite.rule import CATALOGUE, AnyRule

#: What stops any rule before its guards are asked.
BEFORE = (
    OPSET,
    STRUCTURE,
    *(CONVOLUTION, PRODUCT, SCALE, REDUCE, MEAN, CLIP, SLICE),
    MALFORMED,
    NAMED_OUTPUT,
)


def asked(rule: AnyRule | None = None) -> Iterator[Condition]:
    """Every condition that may stand in the way of a rule, its own guards first."""
    if rule is not None:
        yield from rule.guards
    yield from IMPLIED
    yield from BEFORE
    for known in CATALOGUE.values():
        yield from known.guards


def condition(name: str, rule: AnyRule | None = None) -> Condition:
    """The condition of a name, as a rule asks it; an empty one if no condition has that name.

    Args:
        name: the guard in a report.
        rule: what it stopped; without it, the first rule with a guard of that name is meant.
    """
    return next((candidate for candidate in asked(rule) if candidate.name == name), Condition(name))


def holds(guard: str, rule: AnyRule | None = None) -> str:
    """What a guard makes sure of, in one line; empty for a name that is none."""
    return " ".join(condition(guard, rule).doc.split())


def helps(guard: str, rule: AnyRule | None = None) -> str:
    """What would have to change for a guard to let a rule go on."""
    return condition(guard, rule).advice
