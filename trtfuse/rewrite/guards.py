"""Guards that any rule may want, and what is asked of every match without being said.

See `trtfuse.rewrite.rule.guard` for how to write a guard.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto, defs

from trtfuse.analysis.wording import type_not_known
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, type_name
from trtfuse.rewrite.condition import CAST_BEFORE, ONE_CONSUMER, OPSET
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.rule import Rule, guard


def floating_type(element_type: int, name: str) -> str | None:
    """None if the type is a floating one that rules compute in; else the sentence."""
    if element_type in FLOATING:
        return None
    return (
        f"`{name}` is {type_name(element_type)}, and only floating-point numbers may be regrouped"
    )


def why_not_floating(value: Value) -> str | None:
    """None if a value is of a floating type that rules compute in; else the sentence."""
    return floating_type(value.type, value.name) if value.type else type_not_known(value)


@guard(helps=CAST_BEFORE)
def floating(m: Match, name: str) -> str | None:
    """The value is float16, bfloat16, float32 or float64; integers are never regrouped."""
    return why_not_floating(m[name])


@guard(helps="give the model types where it has none, or call the function with one type only")
def known_type(m: Match, name: str) -> str | None:
    """The type of the value is known."""
    value: Value = m[name]
    return None if value.type else type_not_known(value)


@guard(helps="convert the model to an opset whose operator takes the type")
def operator_takes(m: Match, operator: str, name: str) -> str | None:
    """The operator that is to be made takes the type of the value, in the opset of the model."""
    value: Value = m[name]
    assert value.type is not None
    opset = m.root.opset
    taken = defs.get_schema(operator, opset, "").type_constraints[0].allowed_type_strs
    if f"tensor({TensorProto.DataType.Name(value.type).lower()})" in taken:
        return None
    return f"{operator} takes no {type_name(value.type)} in opset {opset}"


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


def opset_too_old(rule: Rule, match: Match) -> Reason | None:
    """Why the model's opset is before the one that a rule applies from."""
    opset = match.root.opset
    if rule.since <= opset:
        return None
    return Reason(OPSET, f"the model imports opset {opset}, and the rule needs {rule.since}")


def read_elsewhere(rule: Rule, match: Match) -> Iterator[tuple[Value, Reason]]:
    """The interior values of a match that others read, where the rule does not share them."""
    shared = {match[name] for name in rule.shared}
    for node in match.nodes[1:]:
        for value in node.outputs:
            if value is not None and value not in shared:
                others = consumers(value, match.nodes)
                if others is not None:
                    yield value, Reason(ONE_CONSUMER, others)
