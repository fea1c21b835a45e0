"""Operators that do nothing: Identity, Dropout in inference, and no-ops of other operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.pattern import Match, Pattern, any_of, given, op, rest, var
from trtfuse.rewrite.rule import Replacement, guard, rule


def _leads_elsewhere(m: Match) -> bool:
    """The node is not all that stands between two names that are both known outside."""
    output, x = m.root.output, m["x"]
    return not output.outputs or (
        x.producer is not None and not x.outputs and x.graph is output.graph
    )


@guard
def only_first_output(m: Match) -> str | None:
    """Nothing reads the mask of the Dropout."""
    for output in m.root.outputs[1:]:
        if output is not None and (output.uses or output.outputs):
            return f"its mask `{output.name}` is used"
    return None


@guard
def inference(m: Match) -> str | None:
    """The Dropout is not told to train."""
    mode = m.root.input(2)
    if mode is None:
        return None
    tensor = constant(mode)
    if tensor is None:
        return f"whether it trains, `{mode.name}`, is decided at run time"
    return "it is told to train" if tensor.array().any() else None


def _zeros(value: Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and not tensor.array().any()


def _ones(value: Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and bool(np.all(tensor.array() == 1))


def _same_shape(node: Node) -> bool:
    before, after = node.inputs[0], node.output
    assert before is not None
    return before.shape is not None and None not in before.shape and before.shape == after.shape


def _cast(node: Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.type == node.attribute("to")


def _pad(node: Node) -> bool:
    listed = node.attribute("pads", node.attribute("paddings"))
    return _zeros(node.input(1)) if listed is None else not any(listed)


def _slice(node: Node) -> bool:
    # A slice of full size with steps of 1 begins at the beginning.
    return (node.input(4) is None or _ones(node.input(4))) and _same_shape(node)


def _tile(node: Node) -> bool:
    return _ones(node.input(1))


def _one_input(node: Node) -> bool:
    return len(node.inputs) == 1


def _one_output(node: Node) -> bool:
    return len(node.outputs) == 1


#: When an operator hands on its first input as it is.
_DOES_NOTHING: dict[str, Callable[[Node], bool]] = {
    "Cast": _cast,
    "Concat": _one_input,
    "Expand": _same_shape,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _one_output,
    "Sum": _one_input,
    "Max": _one_input,
    "Min": _one_input,
    "Mean": _one_input,
    "Tile": _tile,
}


def _does_nothing(m: Match) -> bool:
    return _DOES_NOTHING[m.root.op](m.root)


@rule("identity", given(op.Identity(var("x")), _leads_elsewhere), entry="Cleanup", since=1)
def identity(m: Match, _: Replacement) -> Value:
    """identity(x)  ==  x

    Entry Cleanup: an Identity goes, unless it leads from one name that is known outside straight
    to another.

    Takes: Identity.
    """
    x: Value = m["x"]
    return x


@rule(
    "dropout",
    op.Dropout(var("x"), rest("others")),
    only_first_output(),
    inference(),
    entry="Cleanup",
)
def dropout(m: Match, _: Replacement) -> Value:
    """dropout(x)  ==  x, in inference

    Entry Cleanup: a Dropout that is not told to train, and whose mask nobody reads, goes.

    Takes: Dropout of every opset, with training_mode absent or constant false.
    """
    x: Value = m["x"]
    return x


@rule(
    "no-op",
    given(
        any_of(*(op[operator](var("x"), rest("others")) for operator in _DOES_NOTHING)),
        _does_nothing,
    ),
    entry="Cleanup",
)
def no_op(m: Match, _: Replacement) -> Value:
    """f(x)  ==  x

    Entry Cleanup: a Cast to the type that x has, a Pad by nothing, a Slice or Expand to the shape
    that x has, a Tile by 1, a Concat, Sum, Max, Min or Mean of one, and a Split into one go. Those
    of Reshape and Transpose and their like are part of shuffle-shuffle.

    Takes: Cast, Concat, Expand, Max, Mean, Min, Pad, Slice, Split, Sum and Tile, with attributes or
    inputs by opset.
    """
    x: Value = m["x"]
    return x


def _expanded(name: str, to: str) -> Pattern:
    """A value that is expanded to the shape of another."""
    shape = op.Shape(var(to), out="shape", start=_none_or_zero, end=_is_none)
    return op.Expand(var(name), shape, out="expanded")


def _none_or_zero(start: int | None) -> bool:
    return not start


def _is_none(end: int | None) -> bool:
    return end is None


@rule(
    "expanded-operand",
    any_of(
        *(
            pattern
            for operator in ("Add", "Div", "Mul", "Pow", "Sub")
            for pattern in (
                op[operator](var("x"), _expanded("y", to="x")),
                op[operator](_expanded("y", to="x"), var("x")),
            )
        )
    ),
    entry="Cleanup",
    shared=("shape",),
)
def expanded_operand(m: Match, new: Replacement) -> Value:
    """x * expand(y, shape(x))  ==  x * y

    Entry Cleanup: these operators broadcast by themselves.

    Takes: Add, Div, Mul, Pow and Sub, with the Expand on either side, as in PyTorch's normalize.
    """
    operands = (m["y"] if value is m["expanded"] else value for value in m.root.inputs)
    return new.again(m.root, *operands)
