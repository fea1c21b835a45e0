"""Operators that do nothing: Identity, Dropout in inference, and no-ops of other operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import Size, at_least
from trtfuse.analysis.sizes import LARGEST_END, Sizes, sizes, sizes_of
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.operators import OF_MANY, OF_TWO
from trtfuse.layers.broadcast import expands_beyond
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.editor import must_keep_name
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.pattern import Match, Pattern, any_of, given, op, rest, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


def _leads_elsewhere(m: Match) -> bool:
    """The node is not all that stands between two names that are both known outside."""
    output: Value = m.root.output
    return not output.outputs or not must_keep_name(output, m["x"])


@guard(helps="leave the mask of the Dropout unread")
def only_first_output(m: Match) -> str | None:
    """Nothing reads the mask of the Dropout."""
    for output in m.root.outputs[1:]:
        if output is not None and (output.uses or output.outputs):
            return f"its mask `{output.name}` is used"
    return None


@guard(helps="export the model for inference")
def inference(m: Match) -> str | None:
    """The Dropout is not in training mode."""
    mode = m.root.input(2)
    if mode is None:
        return None
    tensor = constant(mode)
    if tensor is None:
        return f"its training mode `{mode.name}` is decided at run time"
    return "it is in training mode" if tensor.array().any() else None


def _zeros(value: Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and not tensor.array().any()


def _ones(value: Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and bool(np.all(tensor.array() == 1))


def _same_shape(node: Node) -> bool:
    before, after = node.operand(0), node.output
    return before.shape is not None and None not in before.shape and before.shape == after.shape


def _expand(node: Node) -> bool:
    x, target = node.operand(0), node.operand(1)
    return _same_shape(node) or expands_beyond(target, (x,)) is None


def _cast(node: Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.type == node.attribute("to")


def _pad(node: Node) -> bool:
    listed = node.attribute("pads", node.attribute("paddings"))
    return _zeros(node.input(1)) if listed is None else not any(listed)


def _slice(node: Node) -> bool:
    if node.input(4) is not None and not _ones(node.input(4)):
        return False
    # A slice of full size with steps of 1 begins at the beginning.
    return _same_shape(node) or _takes_all(node)


def _takes_all(node: Node) -> bool:
    """Whether a Slice begins at 0 and ends at or past the end, on each of its axes."""
    x = node.inputs[0]
    starts, ends, axes = (
        _listed(node, index, name) for index, name in ((1, "starts"), (2, "ends"), (3, "axes"))
    )
    if starts is None or ends is None or x is None:
        return False
    if axes is None:
        if node.input(3) is not None:
            return False
        axes = tuple(range(len(starts)))
    if not len(starts) == len(ends) == len(axes):
        return False
    own = sizes_of(x)
    return all(
        start == 0 and (_is_last(end) or (own is not None and _reaches(end, own, axis)))
        for start, end, axis in zip(starts, ends, axes, strict=True)
    )


def _listed(node: Node, index: int, name: str) -> Sizes | None:
    """What a Slice is given as an input or, before opset 10, as an attribute."""
    attribute = node.attribute(name)
    return sizes(node.input(index)) if attribute is None else tuple(attribute)


def _is_last(end: Size) -> bool:
    """Whether an end is as large as exporters write it to mean the end of the axis."""
    return isinstance(end, int) and end >= LARGEST_END


def _reaches(end: Size, own: Sizes, axis: Size) -> bool:
    """Whether an end is at or behind the end of an axis."""
    if end is None or not isinstance(axis, int) or not -len(own) <= axis < len(own):
        return False
    return at_least(end, own[axis])


def _tile(node: Node) -> bool:
    return _ones(node.input(1))


def _reduces_nothing(node: Node) -> bool:
    """Whether a reduction is over no axes, and says that this means none and not all."""
    if node.attribute("noop_with_empty_axes") != 1 or node.attribute("axes"):
        return False
    listed = node.input(1)
    tensor = constant(listed)
    return listed is None or (tensor is not None and tensor.size == 0)


def _one_input(node: Node) -> bool:
    return len(node.inputs) == 1


def _one_output(node: Node) -> bool:
    return len(node.outputs) == 1


#: When an operator returns its first input unchanged.
_DOES_NOTHING: dict[str, Callable[[Node], bool]] = {
    "Cast": _cast,
    "Concat": _one_input,
    "Expand": _expand,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _one_output,
    "Sum": _one_input,
    "Max": _one_input,
    "Min": _one_input,
    "Mean": _one_input,
    # Of one number, the others are its square, its size or a logarithm.
    **dict.fromkeys(
        ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduces_nothing
    ),
    "Tile": _tile,
}


def _does_nothing(m: Match) -> bool:
    return _DOES_NOTHING[m.root.op](m.root)


@rule(
    "identity",
    given(op.Identity(var("x")), _leads_elsewhere),
    equation=Equation("identity(x)", "x"),
    takes="Identity.",
    entry=CLEANUP,
    since=1,
)
def identity(m: Match, _: Replacement) -> Value:
    """An Identity goes, unless it leads from one name that is known outside straight to another."""
    x: Value = m["x"]
    return x


@rule(
    "dropout",
    op.Dropout(var("x"), rest("others")),
    only_first_output(),
    inference(),
    equation=Equation("dropout(x)", "x, in inference"),
    takes="Dropout of every opset, with training_mode absent or constant false.",
    entry=CLEANUP,
)
def dropout(m: Match, _: Replacement) -> Value:
    """A Dropout goes that is not in training mode and whose mask nobody reads."""
    x: Value = m["x"]
    return x


@rule(
    "no-op",
    given(
        any_of(*(op[operator](var("x"), rest("others")) for operator in _DOES_NOTHING)),
        _does_nothing,
    ),
    equation=Equation("f(x)", "x"),
    takes="Cast, Concat, Expand, Max, Mean, Min, Pad, ReduceMax, ReduceMean, ReduceMin, "
    "ReduceProd, ReduceSum, Slice, Split, Sum and Tile, with attributes or inputs by opset.",
    entry=CLEANUP,
)
def no_op(m: Match, _: Replacement) -> Value:
    """A Cast to the type that x has, a Pad by nothing, a Slice or Expand to the shape that x has, a
    Slice of all of an axis whatever its size is, a Tile by 1, a Concat, Sum, Max, Min or Mean of
    one, a Split into one, and a reduction over no axes (noop_with_empty_axes) go. Those of Reshape
    and Transpose and their like are part of shuffle-shuffle.
    """
    x: Value = m["x"]
    return x


def _of_an_expanded(operator: str) -> list[Pattern]:
    """An operator that broadcasts, each of its operands in turn being an Expand."""
    count = {"Where": 3}.get(operator, 2)
    expanded = op.Expand(var("y"), var("target"), out="expanded")
    others = [var(f"operand{i}") for i in range(count)]
    more = [rest("more")] if operator in OF_MANY else []
    return [op[operator](*others[:i], expanded, *others[i + 1 :], *more) for i in range(count)]


@guard(helps=STATIC_SHAPES)
def operands_are_as_large(m: Match) -> str | None:
    """The operator broadcasts by itself to whatever the Expand makes."""
    others = (v for v in m.root.inputs if v is not None and v is not m["expanded"])
    return expands_beyond(m["target"], (m["y"], *others))


@rule(
    "expanded-operand",
    any_of(*(p for operator in (*OF_TWO, "Where", *OF_MANY) for p in _of_an_expanded(operator))),
    operands_are_as_large(),
    equation=Equation(
        "x * expand(y, sizes)", "x * y, where x and y broadcast to the sizes by themselves"
    ),
    takes="Add, Div, Mul, Sub, Pow, Mod, the comparisons, logical and bitwise operators and "
    "Where, any operand of theirs being an Expand, and the first two of Max, Mean, Min and Sum; "
    "sizes that are constant, or computed from Shape, as in PyTorch's normalize.",
    entry=CLEANUP,
    shared=("expanded",),
)
def expanded_operand(m: Match, new: Replacement) -> Value:
    """Such operators broadcast by themselves. An Expand to sizes that no operand is certain to have
    stays, as it may be what makes the result as large.
    """
    operands = (m["y"] if value is m["expanded"] else value for value in m.root.inputs)
    return new.again(m.root, *operands)
