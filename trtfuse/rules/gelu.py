"""GELU spelled out becomes Gelu (C5)."""

from __future__ import annotations

import math

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Value
from trtfuse.layers.gelu import INNER, OUTER, SpelledGelu
from trtfuse.layers.polynomial import Terms
from trtfuse.layers.scale import Factor
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import C5
from trtfuse.rewrite.guards import floating
from trtfuse.rewrite.pattern import Match, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

#: The largest error of float64 arithmetic on a few constants.
_SAME = 1e-14


@guard(helps="nothing, if another function is meant; else use GELU's own coefficients")
def numbers_of_gelu(m: Match, gelu: str) -> str | None:
    """The coefficients are those of GELU, in constants within one unit in the last place."""
    seen: SpelledGelu = m[gelu]
    function = seen.function.op.lower()
    outside, inside = ("x", f"x {function}(...)"), ("x", "x^3")
    for terms, wanted, shown in (
        (seen.inner.terms, INNER[seen.function.op], inside),
        (seen.outer.terms, OUTER, outside),
    ):
        if any(not math.isclose(terms[powers], wanted[powers], rel_tol=_SAME) for powers in wanted):
            where = f"{function} is taken of" if terms is seen.inner.terms else "it is"
            return f"{where} {_shown(terms, wanted, shown)}, not {_shown(wanted, wanted, shown)}"
    return None


def _shown(terms: Terms, order: Terms, names: tuple[str, ...]) -> str:
    pairs = zip(order, names, strict=False)
    return " + ".join(f"{terms[powers]:.9g} {name}" for powers, name in pairs)


@guard(helps=STATIC_SHAPES)
def constants_keep_shape(m: Match, gelu: str) -> str | None:
    """None of the constants broadcasts x to another shape."""
    seen: SpelledGelu = m[gelu]
    for value in seen.numbers:
        tensor = constant(value)
        assert tensor is not None
        if why := Factor(value.name, tensor.shape, tensor.exact).broadcasts(seen.x):
            return why
    return None


@rule(
    "gelu",
    seen_as(SpelledGelu, "gelu", var("x")),
    floating("x"),
    numbers_of_gelu("gelu"),
    constants_keep_shape("gelu"),
    equation=Equation("0.5 * x * (1 + erf(x / sqrt(2)))", "gelu(x)"),
    takes="what PyTorch's exporters, TensorFlow's and Paddle's converters and Hugging Face's "
    "models write: Mul and Div by constants anywhere in the product, x cubed as Pow or Mul.",
    entry=C5,
    since=20,
)
def gelu(m: Match, new: Replacement) -> Value:
    """So is 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), with approximate="tanh".
    The factors stand in any order, and the opset has to have Gelu. The constants are read as the
    numbers that they are roundings of.
    """
    seen: SpelledGelu = m["gelu"]
    for value, number in seen.numbers.items():
        tensor = constant(value)
        assert tensor is not None
        if (tensor.exact() != number).any():
            new.reads(value, np.full(tensor.shape, number))
    approximate = "tanh" if seen.function.op == "Tanh" else None
    return new.Gelu(m["x"], approximate=approximate, like=m.root)
