"""Activations: with a scale before or after them (F3), nested (C4), Softmax and Log (C6)."""

from __future__ import annotations

import math

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import type_not_known
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, type_name
from trtfuse.ir.types import INTEGERS, integer_range
from trtfuse.layers.clip import Bounded, Clip
from trtfuse.layers.epilogue import is_fed_by_product
from trtfuse.layers.guards import keeps_shape, serves_the_engine
from trtfuse.layers.hard_sigmoid import SWISH, SpelledHardSigmoid, SpelledHardSwish
from trtfuse.layers.linear import Convolution, FullyConnected
from trtfuse.layers.scale import Scale
from trtfuse.layers.ways import FLATTENED_SOFTMAX, LOG_SOFTMAX_AT_THE_END, Way
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import C4, C6, F3
from trtfuse.rewrite.guards import floating, known_type, operator_takes
from trtfuse.rewrite.pattern import Match, Pattern, any_of, const, given, op, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

_IDEMPOTENT = ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")


@guard(helps="look at the bounds: nothing lies within both")
def ranges_overlap(m: Match, outer: str, inner: str) -> str | None:
    """Some number lies in both ranges; else the result would be a constant."""
    first, second = m[inner], m[outer]
    if max(first.low, second.low) <= min(first.high, second.high):
        return None
    return (
        f"the ranges [{first.low:g}, {first.high:g}] and [{second.low:g}, {second.high:g}] "
        "have nothing in common"
    )


@rule(
    "idempotent",
    any_of(*(op[name](op[name](var("x"), out="y")) for name in _IDEMPOTENT)),
    equation=Equation("f(f(x))", "f(x)"),
    takes="two in a row of Relu, Abs, Ceil, Floor, Round or Sign; the inner one may have other "
    "readers.",
    entry=C4.part("ReLU of ReLU and idempotent activations"),
    shared=("y",),
)
def idempotent(m: Match, _: Replacement) -> Value:
    """The second Relu, Abs, Ceil, Floor, Round or Sign does nothing."""
    y: Value = m["y"]
    return y


def _within(m: Match) -> bool:
    """The outer operator does nothing to what is in the inner range."""
    inner: Bounded = m["inner"]
    low, high = m["outer"].range if "outer" in m else (0.0, math.inf)
    return bool(low <= inner.low and inner.high <= high)


_bounded = seen_as(Bounded, "inner", var("x"), out="y")


@guard(helps="nothing: the result may be negative")
def never_overflows(m: Match, inner: str) -> str | None:
    """The inner range holds for every number of the type.

    Abs leaves the least number of a signed integer type negative, since its opposite is too large.
    """
    seen: Bounded = m[inner]
    kind = seen.x.type
    if seen.node.op != "Abs" or kind in FLOATING:
        return None
    if kind in INTEGERS and integer_range(kind)[0] == 0:
        return None
    if kind is None:
        return type_not_known(seen.x)
    return f"`{seen.x.name}` is {type_name(kind)}, and the Abs of its least number may be negative"


@rule(
    "within-range",
    given(seen_as(Clip, "outer", _bounded) | op.Abs(_bounded), _within),
    never_overflows("inner"),
    equation=Equation("clip(sigmoid(x), 0, 1)", "sigmoid(x)"),
    takes="Clip, Relu, Abs, or Min or Max by a constant, after what has a range within theirs.",
    entry=C4,
    shared=("y",),
)
def within_range(m: Match, _: Replacement) -> Value:
    """A Clip, Relu or Abs does nothing to what is in its range already: what comes from Relu, Abs,
    Exp, Sigmoid, HardSigmoid, Softmax, Softplus, Tanh, or a Clip, Min or Max by constants.
    """
    y: Value = m["y"]
    return y


def _limits_nothing(clip: Clip) -> bool:
    """Whether every number is in the range."""
    low, high = -math.inf, math.inf
    # The bounds are of the type of x, and theirs takes no inference to tell.
    for bound in clip.bounds:
        tensor = constant(bound)
        if tensor is not None and tensor.type in INTEGERS:
            low, high = integer_range(tensor.type)
    return clip.low <= low and high <= clip.high


@rule(
    "clip-without-bounds",
    seen_as(Clip, "clip", var("x"), where=_limits_nothing),
    equation=Equation("clip(x)", "x"),
    takes="Clip with bounds left out or infinite; Clip, Min and Max of integers by numbers that "
    "no other number of the type is beyond.",
    entry=C4.part("nested activations"),
)
def clip_without_bounds(m: Match, _: Replacement) -> Value:
    """A Clip without bounds does nothing, nor does one with infinite bounds, or of integers with
    those of their type. Before opset 11 a Clip without bounds limits to the numbers of float32, and
    stays.
    """
    x: Value = m["x"]
    return x


@rule(
    "clip-clip",
    seen_as(Clip, "outer", seen_as(Clip, "inner", var("x"), out="y")),
    known_type("x"),
    ranges_overlap("outer", "inner"),
    equation=Equation("clip(clip(x, a, b), c, d)", "clip(x, max(a, c), min(b, d))"),
    takes="Clip with bounds as attributes or constant inputs, Relu, and Min or Max by one "
    "number, of floating-point numbers or integers.",
    entry=C4.part("nested activations"),
)
def clip_clip(m: Match, new: Replacement) -> Value:
    """A Clip or Relu of a Clip or Relu limits to what both ranges have in common; from opset 11 a
    Min or Max by a constant is a Clip too.
    """
    inner: Clip = m["inner"]
    outer: Clip = m["outer"]
    low, high = max(inner.low, outer.low), min(inner.high, outer.high)
    return outer.rebuilt(new, m["x"], low, high)


#: From this opset on, Softmax is taken over one axis.
_ONE_AXIS = 13


def _copies(m: Match) -> Way | None:
    """What TensorRT does of a LogSoftmax over several axes, as before opset 13, or at the end."""
    softmax: Node = m["y"].producer
    axis, rank = softmax.attribute("axis"), m["x"].rank
    one = softmax.opset >= _ONE_AXIS or axis == -1 or axis + 1 == rank
    if not one:
        return FLATTENED_SOFTMAX
    ends = m.root.output.outputs and (softmax.opset < _ONE_AXIS or is_fed_by_product(m["x"]))
    return LOG_SOFTMAX_AT_THE_END if ends else None


@rule(
    "log-softmax",
    op.Log(op.Softmax(var("x"), out="y")),
    serves_the_engine(_copies),
    equation=Equation("log(softmax(x))", "log_softmax(x)"),
    takes="Softmax and Log, of any opset and axis; of several axes, as before opset 13, or as "
    "an output of the model behind a matrix product, they stay a group, spelled-log-softmax, "
    'unless the objective is "graph".',
    entry=C6,
)
def log_softmax(m: Match, new: Replacement) -> Value:
    """Both go over the same axis. Where Softmax rounds to 0, Log is -inf and LogSoftmax is not:
    that is an improvement.
    """
    axis = m["y"].producer.given("axis")
    return new.LogSoftmax(m["x"], axis=axis, like=m.root)


@guard(helps="round alpha and beta to float32 where the model is made")
def numbers_of_hard_sigmoid(m: Match, spelled: str) -> str | None:
    """Alpha and beta are float32, and the constants within one unit in the last place of theirs."""
    seen: SpelledHardSigmoid | SpelledHardSwish = m[spelled]
    needed: dict[Value, float] = {}
    wanted = f"HardSigmoid(alpha={seen.alpha:.9g}, beta={seen.beta:.9g})"
    for number in seen.numbers:
        if not number.stands:
            return f"{number.name} is {number.stored:.9g}, and {wanted} takes {number.needed:.9g}"
        if number.value is not None:
            other = needed.setdefault(number.value, number.needed)
            if not math.isclose(other, number.needed, rel_tol=1e-14):
                return f"{number.name} would stand for both {other:.17g} and {number.needed:.17g}"
    return None


@guard(helps=STATIC_SHAPES)
def scales_keep_shape(m: Match, spelled: str) -> str | None:
    """The constants do not broadcast what they scale."""
    seen: SpelledHardSigmoid | SpelledHardSwish = m[spelled]
    factors = ((scale.x, f) for scale in (*seen.before, *seen.after) for f in scale.factors)
    return next((why for x, factor in factors if (why := factor.broadcasts(x))), None)


@rule(
    "hard-sigmoid",
    seen_as(SpelledHardSigmoid, "spelled", var("x")),
    floating("x"),
    operator_takes("HardSigmoid", "x"),
    scales_keep_shape("spelled"),
    numbers_of_hard_sigmoid("spelled"),
    equation=Equation("s * clip(a * x + b, l, h) + t", "hard_sigmoid(x, alpha=s*a, beta=s*b+t)"),
    takes="Clip, Relu, Min and Max by constants, with one or two of Mul, Div, Add, Sub and Neg "
    "by one number before them and after them, such as PyTorch's Hardsigmoid.",
    entry=F3,
)
def hard_sigmoid(m: Match, new: Replacement) -> Value:
    """One operator says it where all constants are uniform, s * l + t is 0 and s * h + t is 1. As
    clip(x + 3, 0, 6) / 6 it has an alpha of 1/6, which is rounded to float32; the constants are
    read as the numbers that make it exact.
    """
    seen: SpelledHardSigmoid = m["spelled"]
    _read_as_needed(new, seen)
    return new.HardSigmoid(m["x"], alpha=seen.alpha, beta=seen.beta, like=m.root)


@rule(
    "hard-swish",
    op.Mul(
        var("x"),
        op.HardSigmoid(
            var("x"),
            alpha=lambda alpha: alpha == SWISH[0],
            beta=lambda beta: beta == SWISH[1],
        ),
        commutes=True,
    ),
    operator_takes("HardSwish", "x"),
    equation=Equation("x * hard_sigmoid(x, alpha=1/6, beta=1/2)", "hard_swish(x)"),
    takes="HardSigmoid with the alpha and beta of HardSwish, and Mul in either order.",
    entry=F3,
    since=14,
)
def hard_swish(m: Match, new: Replacement) -> Value:
    """What PyTorch's exporters write for Hardswish is one operator, from the opset that has it."""
    return new.HardSwish(m["x"], like=m.root)


@guard(helps="nothing: TensorRT runs the spelled-out form at least as well there")
def feeds_convolutions(m: Match) -> str | None:
    """Only convolutions read it; anything else runs as fast after the spelled-out form, or faster.

    TensorRT computes the mean of the spelled-out form in one kernel, and that of HardSwish in two.
    """
    output: Value = m.root.output
    if output.outputs:
        return f"`{output.name}` is an output of the graph, and only a convolution gains by it"
    other = next((node for node in output.uses if node.op != "Conv"), None)
    return None if other is None else f"{other.label} reads it, and only a convolution gains by it"


@rule(
    "spelled-hard-swish",
    seen_as(SpelledHardSwish, "spelled", var("x")),
    floating("x"),
    operator_takes("HardSwish", "x"),
    scales_keep_shape("spelled"),
    numbers_of_hard_sigmoid("spelled"),
    feeds_convolutions(),
    equation=Equation("x * clip(x + 3, 0, 6) / 6", "hard_swish(x), before a convolution"),
    takes="what hard-sigmoid takes, times x, with the division before or after the product, as "
    "Div by 6 or Mul by 1/6.",
    entry=F3,
    since=14,
)
def spelled_hard_swish(m: Match, new: Replacement) -> Value:
    """One operator says it. The constants are read as the numbers that make it exact, as in
    hard-sigmoid.
    """
    seen: SpelledHardSwish = m["spelled"]
    _read_as_needed(new, seen.gate)
    return new.HardSwish(m["x"], like=m.root)


def _read_as_needed(new: Replacement, seen: SpelledHardSigmoid) -> None:
    """Lets the check read constants as the numbers that make a spelling exact."""
    for number in seen.numbers:
        tensor = constant(number.value)
        if number.value is not None and tensor is not None and not number.same:
            new.reads(number.value, np.full(tensor.shape, number.needed))


@guard(helps="nothing, unless the scale can be one positive number")
def positive(m: Match, scale: str) -> str | None:
    """The scale is one positive number and shifts nothing."""
    seen: Scale = m[scale]
    assert seen.scale is not None
    number = float(seen.scale.vector()[0])
    return None if number > 0 else f"`{seen.scale.name}` is {number:g}, not positive"


def _only_multiplies(scale: Scale) -> bool:
    return (
        scale.scale is not None
        and scale.scale.uniform
        and scale.shift is None
        and scale.power is None
    )


def _activation(x: Pattern) -> Pattern:
    """f(x), for an f such that f(s * x) is s * f(x) for any s > 0."""
    return any_of(
        op.Relu(x, out="activated"),
        op.LeakyRelu(x, out="activated"),
        op.PRelu(x, const("slope"), out="activated"),
    )


def _again(m: Match, new: Replacement, x: Value) -> Value:
    """The activation of something else."""
    activation: Node = m["activated"].producer
    return new.again(activation, x, *activation.inputs[1:])


@rule(
    "activation-scale",
    any_of(
        *(
            seen_as(
                Scale,
                "scale",
                _activation(seen_as(layer, "layer", var("x"), out="y")),
                where=_only_multiplies,
            )
            for layer in (Convolution, FullyConnected)
        )
    ),
    floating("x"),
    positive("scale"),
    keeps_shape("scale"),
    equation=Equation("s * relu(w * x + b)", "relu((s * w) * x + (s * b)), for s > 0"),
    takes="Mul or Div by one positive number after Relu, LeakyRelu or PRelu of any layer that "
    "conv-scale or fc-scale takes.",
    entry=F3,
)
def activation_scale(m: Match, new: Replacement) -> Value:
    """A positive uniform scale moves through a Relu, LeakyRelu or PRelu into the weights of the
    layer before it.
    """
    layer: Convolution | FullyConnected = m["layer"]
    scale: Scale = m["scale"]
    assert scale.scale is not None
    return _again(m, new, layer.then_scaled(new, scale.scale.vector(), None))


@rule(
    "scale-activation",
    any_of(
        *(
            seen_as(
                layer,
                "layer",
                _activation(seen_as(Scale, "scale", var("x"), where=_only_multiplies)),
            )
            for layer in (Convolution, FullyConnected)
        )
    ),
    floating("x"),
    positive("scale"),
    keeps_shape("scale"),
    equation=Equation("w * relu(s * x) + b", "(s * w) * relu(x) + b, for s > 0"),
    takes="Mul or Div by one positive number before Relu, LeakyRelu or PRelu, and the same "
    "layers after that.",
    entry=F3,
)
def scale_activation(m: Match, new: Replacement) -> Value:
    """A positive uniform scale moves through a Relu, LeakyRelu or PRelu into the weights of the
    layer after it.
    """
    layer: Convolution | FullyConnected = m["layer"]
    scale: Scale = m["scale"]
    assert scale.scale is not None
    return layer.of_scaled(new, _again(m, new, m["x"]), scale.scale.vector(), None)
