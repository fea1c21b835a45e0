"""Layer normalization and RMS normalization spelled out (C9).

What normalizes becomes the operator, with a gain of ones where it has none. A gain and a shift that
follow then take their places in it, one by one.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known, shown
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.ir.tensor import Tensor
from trtfuse.layers.guards import serves_the_engine
from trtfuse.layers.reduce import Mean
from trtfuse.layers.ways import GAIN_OF_ONES, NORMALIZATION_OF_SEVERAL_AXES, Way
from trtfuse.rewrite.condition import LAST_AXES, STATIC_SHAPES
from trtfuse.rewrite.entries import C9
from trtfuse.rewrite.guards import floating
from trtfuse.rewrite.pattern import Match, Pattern, const, given, op, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

#: A gain of ones has at most this many elements: a model should not grow by what it can do without.
MOST_ONES = 1 << 14


def _number(name: str, number: float | None = None) -> Pattern:
    """A constant of one element, which is this number if one is given."""
    return const(name, where=lambda c: c.size == 1 and (number is None or _scalar(c) == number))


def _scalar(tensor: Tensor) -> float:
    return float(tensor.array().reshape(()))


def _mean_of_squares(x: Pattern) -> Pattern:
    """mean(x^2) + epsilon; to add an epsilon of 0 is erased elsewhere."""
    mean = seen_as(Mean, "variance", op.Mul(x, x) | op.Pow(x, _number("two", 2.0)))
    return mean | op.Add(mean, _number("epsilon"), commutes=True)


def _root(of: Pattern) -> Pattern:
    return op.Sqrt(of) | op.Pow(of, _number("half", 0.5))


def _one_over_root(of: Pattern) -> Pattern:
    """1 / sqrt(...), or that times a gain."""
    inverse = (
        op.Reciprocal(_root(of))
        | op.Div(_number("one", 1.0), _root(of))
        | op.Pow(of, _number("minus_half", -0.5))
    )
    return inverse | op.Mul(inverse, const("gain"), commutes=True)


def _over_root(x: Pattern) -> Pattern:
    """x / sqrt(mean(x^2) + epsilon)."""
    below = _mean_of_squares(x)
    return op.Div(x, _root(below)) | op.Mul(x, _one_over_root(below), commutes=True)


_centred = op.Sub(var("x"), seen_as(Mean, "mean", var("x")))


def _subtracted_late() -> Pattern:
    """x * r + (shift - mean(x) * r), where r is 1 / sqrt(...): how TensorFlow has it."""
    root = _one_over_root(_mean_of_squares(_centred))
    scaled = op.Mul(var("x"), root, out="scaled", commutes=True)
    mean, factor = var("same_mean"), var("same_root")
    subtracted = op.Mul(mean, factor, commutes=True)
    added = op.Sub(const("shift"), subtracted) | op.Mul(op.Neg(mean), factor, commutes=True)

    return given(op.Sub(scaled, subtracted) | op.Add(scaled, added, commutes=True), _is_same)


def _is_same(m: Match) -> bool:
    """The mean that is subtracted is that of the variance, and is scaled as x is."""
    mean: Mean = m["mean"]
    scaled: Node = m["scaled"].producer
    roots = [value for value in scaled.inputs if value is not m["x"]]
    return m["same_mean"] is mean.node.output and m["same_root"] in roots


def _is_not_centred(m: Match) -> bool:
    """What is normalized has no mean subtracted over the same axes: that is layer-norm."""
    x: Value = m["x"]
    centred = next(_centred.matches(x, Match([])), None)
    rank = x.rank or 0
    return centred is None or centred["mean"].over(rank) != m["variance"].over(rank)


def _normalized(m: Match) -> Shape:
    """The sizes of the axes that are normalized."""
    x: Value = m["x"]
    assert x.shape is not None
    return x.shape[m["variance"].over(len(x.shape))[0] :]


@guard(helps="normalize in float32, if that is precise enough")
def statistics_in_float32(m: Match, operator: str) -> str | None:
    """The operator is no less precise: it takes mean and variance in float32 (stash_type 1)."""
    x: Value = m["x"]
    if x.type != TensorProto.DOUBLE:
        return None
    return f"`{x.name}` is float64, and {operator} computes its statistics in float32"


@guard(helps=LAST_AXES)
def over_the_last_axes(m: Match) -> str | None:
    """Mean and variance are taken over the same axes, which are the last ones."""
    x: Value = m["x"]
    if x.rank is None:
        return rank_not_known(x)
    variance = m["variance"].over(x.rank)
    mean = m["mean"].over(x.rank) if "mean" in m else variance
    if mean != variance:
        return f"the mean is taken over the axes {list(mean)}, the variance over {list(variance)}"
    if not variance or variance != tuple(range(variance[0], x.rank)):
        return f"it normalizes the axes {list(variance)} of {x.rank}, which are not the last ones"
    return None


@guard(helps="make epsilon and the exponents scalars")
def numbers_keep_the_rank(m: Match) -> str | None:
    """Epsilon, the exponents and the like have no more dimensions than x."""
    x: Value = m["x"]
    for name in ("epsilon", "two", "half", "one", "minus_half"):
        if name in m and len(m.tensor(name).shape) > (x.rank or 0):
            shape = list(m.tensor(name).shape)
            return f"`{m[name].name}` has shape {shape}, of more dimensions than `{x.name}`"
    return None


@guard(helps=STATIC_SHAPES)
def fixed_sizes(m: Match) -> str | None:
    """The sizes of the normalized axes are fixed, and few enough if a gain of ones is needed."""
    x: Value = m["x"]
    sizes = _normalized(m)
    fixed = [size for size in sizes if isinstance(size, int) and size > 0]
    if len(fixed) < len(sizes):
        return f"the sizes {shown(sizes)} of `{x.name}` that it normalizes are not fixed"
    if "gain" not in m and math.prod(fixed) > MOST_ONES:
        return f"it has no gain, and one of {math.prod(fixed)} ones is not added for it"
    return None


@guard(helps="give it one value for each normalized element")
def one_per_element(m: Match, name: str, like: str | None = None) -> str | None:
    """What is given, if it is, has one value for each normalized element or spreads to that."""
    if name not in m:
        return None
    x: Value = m["x"]
    shape = m.tensor(name).shape
    target = _normalized(m) if like is None else m.tensor(like).shape
    beyond = shape[: max(0, len(shape) - len(target))]
    pairs = zip(reversed(shape), reversed(target), strict=False)
    if any(size not in (1, other) for size, other in pairs) or any(size != 1 for size in beyond):
        what = "is normalized" if like is None else f"is the shape of `{m[like].name}`"
        return f"`{m[name].name}` has shape {list(shape)}, and {list(target)} {what}"
    if beyond and len(shape) > (x.rank or 0):
        return f"`{m[name].name}` has shape {list(shape)}, of more dimensions than `{x.name}`"
    return None


def _spread(m: Match, new: Replacement, name: str, shape: tuple[int, ...]) -> Value:
    """A constant with one value for each normalized element."""
    value: Value = m[name]
    tensor = m.tensor(name)
    if tensor.shape == shape:
        return value
    numbers = tensor.exact().reshape(tensor.shape[max(0, len(tensor.shape) - len(shape)) :])
    return new.constant(np.broadcast_to(numbers, shape), tensor.type, value)


def _operator(m: Match, new: Replacement, operator: str) -> Value:
    x: Value = m["x"]
    assert x.type is not None
    sizes = tuple(size for size in _normalized(m) if isinstance(size, int))
    if "gain" in m:
        gain = _spread(m, new, "gain", sizes)
    else:
        gain = new.constant(np.ones(sizes), x.type, f"{m.root.label}.gain")
    shift = [_spread(m, new, "shift", sizes)] if "shift" in m else []
    epsilon = _scalar(m.tensor("epsilon")) if "epsilon" in m else 0.0
    return new.op(operator, x, gain, *shift, axis=-len(sizes), epsilon=epsilon, like=m.root)


def _as_operator(m: Match) -> Way | None:
    """What TensorRT does that makes the operator dearer than its spelled-out form."""
    if len(_normalized(m)) > 1:
        return NORMALIZATION_OF_SEVERAL_AXES
    readers = list(m.root.output.uses)
    scaled = len(readers) == 1 and readers[0].op == "Mul" and any(map(constant, readers[0].inputs))
    return None if "gain" in m or scaled else GAIN_OF_ONES


@rule(
    "layer-norm",
    _over_root(_centred) | _subtracted_late(),
    floating("x"),
    statistics_in_float32("LayerNormalization"),
    over_the_last_axes(),
    numbers_keep_the_rank(),
    fixed_sizes(),
    one_per_element("gain"),
    one_per_element("shift"),
    serves_the_engine(_as_operator),
    equation=Equation("(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)", "layer_norm(x)"),
    takes="the deviation squared by Pow or Mul; divided by its root with Div, or times 1 over "
    "it with Reciprocal, Div or Pow; and TensorFlow's x * (g * r) + (b - mean * (g * r)).",
    entry=C9.part("layer normalization spelled out"),
    since=17,
)
def layer_norm(m: Match, new: Replacement) -> Value:
    """PyTorch, TensorFlow and Paddle spell out what is one operator from the opset that has
    LayerNormalization. Without a gain it gets one of ones.
    """
    return _operator(m, new, "LayerNormalization")


@rule(
    "rms-norm",
    given(_over_root(var("x")), _is_not_centred),
    floating("x"),
    statistics_in_float32("RMSNormalization"),
    over_the_last_axes(),
    numbers_keep_the_rank(),
    fixed_sizes(),
    one_per_element("gain"),
    serves_the_engine(_as_operator),
    equation=Equation("x / sqrt(mean(x^2) + epsilon)", "rms_norm(x)"),
    takes="as layer-norm, without the mean.",
    entry=C9.part("RMS normalization spelled out"),
    since=23,
)
def rms_norm(m: Match, new: Replacement) -> Value:
    """One operator says it, from the opset that has RMSNormalization. Without a gain it gets one of
    ones.
    """
    return _operator(m, new, "RMSNormalization")


def _ungained(operator: str) -> Pattern:
    ones = const("ones", where=lambda tensor: bool(np.all(tensor.array() == 1)))
    return op[operator](var("x"), ones, out="y")


def _with_gain(m: Match, new: Replacement) -> Value:
    gain = _spread(m, new, "gain", m.tensor("ones").shape)
    return new.again(m["y"].producer, m["x"], gain)


@rule(
    "layer-norm-scale",
    op.Mul(_ungained("LayerNormalization"), const("gain"), commutes=True),
    one_per_element("gain", like="ones"),
    equation=Equation("layer_norm(x, 1) * gain", "layer_norm(x, gain)"),
    takes="Mul by a constant of the normalized shape, or that broadcasts to it.",
    entry=C9.part("layer normalization spelled out"),
    since=17,
)
def layer_norm_scale(m: Match, new: Replacement) -> Value:
    """The gain of a LayerNormalization is its second input."""
    return _with_gain(m, new)


@rule(
    "layer-norm-shift",
    op.Add(op.LayerNormalization(var("x"), const("gain"), out="y"), const("shift"), commutes=True),
    one_per_element("shift", like="gain"),
    equation=Equation("layer_norm(x, gain) + shift", "layer_norm(x, gain, shift)"),
    takes="Add of a constant of the normalized shape, or that broadcasts to it.",
    entry=C9.part("layer normalization spelled out"),
    since=17,
)
def layer_norm_shift(m: Match, new: Replacement) -> Value:
    """The shift of a LayerNormalization is its third input."""
    shift = _spread(m, new, "shift", m.tensor("gain").shape)
    return new.again(m["y"].producer, m["x"], m["gain"], shift)


@rule(
    "rms-norm-scale",
    op.Mul(_ungained("RMSNormalization"), const("gain"), commutes=True),
    one_per_element("gain", like="ones"),
    equation=Equation("rms_norm(x, 1) * gain", "rms_norm(x, gain)"),
    takes="as layer-norm-scale.",
    entry=C9.part("RMS normalization spelled out"),
    since=23,
)
def rms_norm_scale(m: Match, new: Replacement) -> Value:
    """The gain of an RMSNormalization is its second input."""
    return _with_gain(m, new)
