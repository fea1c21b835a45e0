"""Resize: sizes that exporters compute from the shape of what is resized."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import quotient
from trtfuse.analysis.sizes import sizes, sizes_of
from trtfuse.ir.graph import Value
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.pattern import Match, given, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

#: A float32 holds a number of this many bits, divided by any power of 2 that a size has.
_BITS = 24


def _sizes_are_computed(m: Match) -> bool:
    return constant(m["sizes"]) is None


def _scales(m: Match) -> list[Fraction] | None:
    """By how much each axis grows or shrinks, where that is exact."""
    own, wanted = sizes_of(m["x"]), sizes(m["sizes"])
    axes = m.root.attribute("axes")
    if own is None or wanted is None:
        return None
    along = range(len(own)) if axes is None else axes
    if len(along) != len(wanted) or not all(-len(own) <= axis < len(own) for axis in along):
        return None
    scales = []
    for axis, result in zip(along, wanted, strict=True):
        size = own[axis]
        scale = quotient(result, size)
        if not isinstance(scale, (int, Fraction)) or scale <= 0:
            return None
        exact = Fraction(scale)
        numerator, denominator = exact.numerator, exact.denominator
        # Of an open size a fraction is no whole number, and of others it may be rounded.
        halves = isinstance(size, int) and not denominator & (denominator - 1)
        if numerator.bit_length() > _BITS or (denominator != 1 and not halves):
            return None
        scales.append(exact)
    return scales


@guard(helps="resize by scales, or by whole numbers, halves, quarters and so on")
def exact_scales(m: Match) -> str | None:
    """Each size is that of `x` times a number that a float32 holds exactly."""
    if _scales(m) is not None:
        return None
    return (
        f"the sizes `{m['sizes'].name}` are computed, and are not those of `{m['x'].name}` "
        "times fixed numbers"
    )


@guard(helps="resize by scales, which say the same for every size")
def scales_do_as_sizes_do(m: Match) -> str | None:
    """The result depends on the sizes only through the scales that they amount to."""
    policy = m.root.attribute("keep_aspect_ratio_policy", "stretch")
    mode = m.root.attribute("coordinate_transformation_mode")
    if policy != "stretch":
        return f"{m.root.label} keeps the aspect ratio ({policy})"
    if mode == "tf_crop_and_resize":
        return f"{m.root.label} resizes a part of `{m['x'].name}`"
    return None


@rule(
    "resize-sizes",
    given(
        op.Resize(var("x"), var("roi", optional=True), var("scales", optional=True), var("sizes")),
        _sizes_are_computed,
    ),
    scales_do_as_sizes_do(),
    exact_scales(),
    equation=Equation("resize(x, sizes = h * 2)", "resize(x, scales = 2)"),
    takes="Resize, axes listed or not, of open dimensions times whole numbers, and of fixed "
    "ones times whole numbers, halves, quarters and so on.",
    entry=CLEANUP.part("constant folding"),
)
def resize_sizes(m: Match, new: Replacement) -> Value:
    """Sizes that exporters compute with Shape, Mul and Floor become constant scales where they come
    to the same for every size.
    """
    scales = np.array([float(scale) for scale in _scales(m) or ()])
    fixed = new.constant(scales, TensorProto.FLOAT, f"{m.root.label}.scales")
    return new.again(m.root, m["x"], m["roi"], fixed)
