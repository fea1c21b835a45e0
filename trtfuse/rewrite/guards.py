"""Guards that any rule may want. See `trtfuse.rewrite.rule.guard` for how to write one."""

from __future__ import annotations

from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, type_name
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.rule import guard


def floating_type(element_type: int | None, name: str) -> str | None:
    """None if the type is a floating one that rules compute in; else the sentence."""
    if element_type in FLOATING:
        return None
    known = "of unknown type" if not element_type else type_name(element_type)
    return f"`{name}` is {known}, and only floating-point numbers may be regrouped"


@guard
def floating(m: Match, name: str) -> str | None:
    """The value bound to `name` is float16, bfloat16, float32 or float64."""
    value: Value = m[name]
    return floating_type(value.type, value.name)


def consumers(value: Value, besides: tuple[Node, ...]) -> str | None:
    """Who else needs a value that only some nodes may read, or None if nobody does.

    Implied for every interior value of a pattern that the rule does not share.
    """
    if value.outputs:
        return f"`{value.name}` is an output of the graph"
    if all(node in besides for node in value.uses):
        return None
    readers = list(value.uses)
    if len(readers) == 1 and value in readers[0].captured():
        return f"`{value.name}` is read by the body of {readers[0].label}"
    if len(readers) == 1:
        return f"`{value.name}` is read by {readers[0].label}"
    shown = ", ".join(node.label for node in readers[:4])
    more = f" and {len(readers) - 4} more" if len(readers) > 4 else ""
    return f"`{value.name}` has {len(readers)} consumers: {shown}{more}"
