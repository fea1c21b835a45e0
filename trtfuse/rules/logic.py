"""Not, And, Or and Where: conditions that say the same in fewer operators, or choose nothing."""

from __future__ import annotations

from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.sizes import sizes_of
from trtfuse.analysis.wording import rank_not_known, type_not_known
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import type_name
from trtfuse.ir.types import INTEGERS
from trtfuse.layers.broadcast import larger_than
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.pattern import Match, Pattern, any_of, const, given, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

#: What holds where a comparison of numbers does not.
_OPPOSITE = {
    "Greater": "LessOrEqual",
    "GreaterOrEqual": "Less",
    "Less": "GreaterOrEqual",
    "LessOrEqual": "Greater",
}


@rule(
    "not-not",
    op.Not(op.Not(var("x"), out="negated")),
    equation=Equation("not(not(x))", "x"),
    takes="Not; the inner one may have other readers.",
    entry=CLEANUP,
    shared=("negated",),
)
def not_not(m: Match, _: Replacement) -> Value:
    """Two Nots in a row do nothing."""
    x: Value = m["x"]
    return x


@guard(helps="nothing, if the numbers may be NaN")
def integers(m: Match, name: str) -> str | None:
    """What is compared are integers: of a NaN, a comparison and its opposite are both false."""
    value: Value = m[name]
    if value.type in INTEGERS and value.type != TensorProto.BOOL:
        return None
    if value.type is None:
        return type_not_known(value)
    known = type_name(value.type)
    return f"`{value.name}` is {known}, and of a NaN a comparison and its opposite are both false"


@rule(
    "not-comparison",
    any_of(*(op.Not(op[name](var("a"), var("b"), out="compared")) for name in _OPPOSITE)),
    integers("a"),
    equation=Equation("not(a < b)", "a >= b, for integers"),
    takes="Not of Greater, GreaterOrEqual, Less and LessOrEqual of integers, from opset 12 on.",
    entry=CLEANUP,
    since=12,
)
def not_comparison(m: Match, new: Replacement) -> Value:
    """The opposite of a comparison is a comparison. Of floating-point numbers it is not, since a
    NaN is neither less than a number nor greater or equal.
    """
    compared: Node = m["compared"].producer
    return new.op(_OPPOSITE[compared.op], m["a"], m["b"], like=m.root)


@rule(
    "where-not",
    op.Where(op.Not(var("c"), out="negated"), var("a"), var("b")),
    equation=Equation("where(not(c), a, b)", "where(c, b, a)"),
    takes="Where and Not; the Not may have other readers.",
    entry=CLEANUP,
    shared=("negated",),
    since=9,
)
def where_not(m: Match, new: Replacement) -> Value:
    """The branches change places, and the Not goes."""
    return new.again(m.root, m["c"], m["b"], m["a"])


def _chosen(node: Node) -> Value | None:
    """What a Where takes everywhere; None where it is now one and now the other."""
    condition, a, b = node.inputs
    if a is b:
        return a
    tensor = constant(condition)
    if tensor is None or tensor.size == 0:
        return None
    array = tensor.array()
    return a if array.all() else None if array.any() else b


@guard(helps=STATIC_SHAPES)
def choice_has_the_shape(m: Match) -> str | None:
    """The condition and what is not taken do not broadcast what is."""
    chosen = _chosen(m.root)
    assert chosen is not None
    for other in map(m.root.operand, range(3)):
        if other is chosen:
            continue
        own = sizes_of(other)
        if own is None:
            return f"`{other.name}` may broadcast `{chosen.name}`, and {rank_not_known(other)}"
        if why := larger_than(own, (chosen,)):
            return f"`{other.name}` broadcasts: {why}"
    return None


@rule(
    "where-of-one",
    given(op.Where(var("c"), var("a"), var("b")), lambda m: _chosen(m.root) is not None),
    choice_has_the_shape(),
    equation=Equation("where(true, a, b)", "a").also("where(c, a, a)", "a"),
    takes="Where with a constant condition that is true everywhere or nowhere, or with the same "
    "value twice; what is taken must have the shape of the result already.",
    entry=CLEANUP,
    since=9,
)
def where_of_one(m: Match, _: Replacement) -> Value:
    """A Where that takes all from one of the two is that one."""
    chosen = _chosen(m.root)
    assert chosen is not None
    return chosen


def _nothing_but(truth: bool) -> Pattern:
    return const("decided", where=lambda tensor: bool((tensor.array() == truth).all()))


@guard(helps=STATIC_SHAPES)
def decided_is_no_larger(m: Match) -> str | None:
    """What is decided already does not broadcast x."""
    why = larger_than(m.tensor("decided").shape, (m["x"],))
    return why and f"`{m['decided'].name}` broadcasts: {why}"


@rule(
    "and-true",
    any_of(
        op.And(var("x"), _nothing_but(True), commutes=True),
        op.Or(var("x"), _nothing_but(False), commutes=True),
        op.Xor(var("x"), _nothing_but(False), commutes=True),
    ),
    decided_is_no_larger(),
    equation=Equation("and(x, true)", "x").also("or(x, false)", "x").also("xor(x, false)", "x"),
    takes="And, Or and Xor, in any order of their operands, with a constant of one number or of "
    "one that broadcasts to x.",
    entry=CLEANUP,
    since=7,
)
def and_true(m: Match, _: Replacement) -> Value:
    """A mask that hides nothing changes nothing."""
    x: Value = m["x"]
    return x
