"""Two products in a row, with the weights multiplied out (C12)."""

from __future__ import annotations

import math

from trtfuse.ir.graph import Value
from trtfuse.layers.linear import FullyConnected
from trtfuse.rewrite.condition import CAST_BEFORE
from trtfuse.rewrite.entries import C12
from trtfuse.rewrite.guards import floating_type
from trtfuse.rewrite.pattern import Match, given, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


def _plain(m: Match) -> bool:
    """Both weights are matrices, and neither product transposes what it multiplies."""
    layers: tuple[FullyConnected, ...] = (m["first"], m["second"])
    return all(
        len(layer.weight.shape) == 2 and not layer.product.attribute("transA") for layer in layers
    )


@guard(helps=CAST_BEFORE)
def floating_products(m: Match) -> str | None:
    """Both weights are float16, bfloat16, float32 or float64."""
    layers: tuple[FullyConnected, ...] = (m["first"], m["second"])
    reasons = (floating_type(layer.weight.type, layer.w.name) for layer in layers)
    return next((why for why in reasons if why), None)


@guard(helps="nothing: one product would take more multiplications")
def fewer_operations(m: Match) -> str | None:
    """One product takes fewer multiplications than two."""
    first: FullyConnected = m["first"]
    second: FullyConnected = m["second"]
    k, hidden, n = first.in_channels, first.channels, second.channels
    apart, together = k * hidden + hidden * n, k * n
    if together < apart:
        return None
    return f"{k} x {n} weights in one take {together} multiplications a row, and {apart} in two"


@guard(helps="add the bias after the second product")
def one_row_of_bias(m: Match) -> str | None:
    """The first product adds the same to every row, or nothing."""
    first: FullyConnected = m["first"]
    if first.bias is None or math.prod(first.bias.shape[:-1]) == 1:
        return None
    return f"the bias of {first.product.label} has shape {list(first.bias.shape)}, not one row"


@rule(
    "product-product",
    given(
        seen_as(FullyConnected, "second", seen_as(FullyConnected, "first", var("x"), out="y")),
        _plain,
    ),
    floating_products(),
    fewer_operations(),
    one_row_of_bias(),
    equation=Equation("(x v + a) w + b", "x (v w) + (a w + b)"),
    takes="Gemm, and MatMul by constant matrices with or without the Add of a bias.",
    entry=C12,
)
def product_product(m: Match, new: Replacement) -> Value:
    """Two products are one, where that takes fewer operations. The weights are multiplied in
    float64, and the bias of the first follows.
    """
    first: FullyConnected = m["first"]
    second: FullyConnected = m["second"]
    return second.after(new, first)
