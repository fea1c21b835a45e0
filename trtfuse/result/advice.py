"""What a guard makes sure of, and what helps where it stops a rule, by its name in a report."""

from __future__ import annotations

import itertools

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
from trtfuse.rewrite.rule import CATALOGUE

#: What stops any rule before its guards are asked.
BEFORE = (
    OPSET,
    STRUCTURE,
    *(CONVOLUTION, PRODUCT, SCALE, REDUCE, MEAN, CLIP, SLICE),
    MALFORMED,
    NAMED_OUTPUT,
)


def condition(name: str) -> Condition:
    """The condition of a name in a report; an empty one if no condition has that name.

    Where several rules ask guards of one name, the first in the catalogue is meant.
    """
    guards = (guard for rule in CATALOGUE.values() for guard in rule.guards)
    known = itertools.chain(IMPLIED, BEFORE, guards)
    return next((candidate for candidate in known if candidate.name == name), Condition(name))
