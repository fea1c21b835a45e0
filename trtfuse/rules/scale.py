"""Scale: erased where it does nothing (F7), and part of the product before or after it (F8)."""

from __future__ import annotations

import math

import numpy as np

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Float64, smallest_normal
from trtfuse.layers.epilogue import ACTIVATIONS, feeds_product, reads_space
from trtfuse.layers.gelu import SpelledGelu
from trtfuse.layers.guards import keeps_shape, serves_the_engine
from trtfuse.layers.linear import Convolution, FullyConnected, Linear
from trtfuse.layers.scale import Factor, Scale
from trtfuse.layers.ways import DEQUANTIZED_GEMM, MEAN_IN_THE_SCALE, SHARED_WEIGHTS, Way
from trtfuse.rewrite.condition import CAST_BEFORE, STATIC_SHAPES
from trtfuse.rewrite.entries import F7, F8
from trtfuse.rewrite.guards import consumers, floating, floating_type
from trtfuse.rewrite.pattern import Match, given, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


@guard(helps=CAST_BEFORE)
def floating_weights(m: Match, layer: str) -> str | None:
    """The weights are float16, bfloat16, float32 or float64; integers are never regrouped."""
    seen: Linear = m[layer]
    return floating_type(seen.weight.type, seen.w.name)


@guard(helps="nothing: a power is no part of a layer's weights")
def power_of_one(m: Match, scale: str) -> str | None:
    """The scale raises to no power, or to 1."""
    power: Factor | None = m[scale].power
    if power is None or (power.numbers() == 1).all():
        return None
    shown = power.vector()[:4].tolist()
    return f"the power `{power.name}` is {shown[0] if len(shown) == 1 else shown}, not 1"


@guard(helps="`[C]` added to NCHW aligns with W: export it as `[1, C, 1, 1]`")
def one_value_per_channel(m: Match, scale: str, of: str) -> str | None:
    """The scale has one number for all, or one for each output channel of the layer before it."""
    seen: Linear = m[of]
    return _per_channel(m[scale], seen.axis, seen.rank, seen.channels)


@guard(helps=f"`[C]` aligns with W: export it as `[1, C, 1, 1]`; {STATIC_SHAPES}")
def one_value_per_input_channel(m: Match, scale: str, of: str) -> str | None:
    """The scale has one number for all, or one for each input channel of the layer after it."""
    seen: Linear = m[of]
    rank = seen.rank if isinstance(seen, Convolution) else seen.x.rank or seen.rank
    why = _per_channel(m[scale], seen.in_axis, rank, seen.in_channels)
    if why is None:
        reasons = (f.broadcasts(m[scale].x, result_rank=rank) for f in m[scale].factors)
        why = next((reason for reason in reasons if reason), None)
    return why


@guard(
    helps="pad explicitly in front of the shift, or move the normalization behind the convolution"
)
def no_shift_into_padding(m: Match, scale: str, conv: str) -> str | None:
    """The scale does not shift, or the convolution pads nothing: padding is not shifted."""
    seen: Convolution = m[conv]
    if m[scale].shift is None:
        return None
    if seen.transposed:
        return "it shifts, and not every output of a ConvTranspose sums over the same taps"
    if seen.padding is not None:
        return f"it shifts, but the padding of {seen.product.label} stays 0: {seen.padding}"
    return None


@guard(helps="nothing: the builder needs the factor where it is")
def is_not_of_gelu(m: Match, scale: str) -> str | None:
    """The scale is not the last factor of a GELU spelled out, which TensorRT runs as one kernel."""
    node = m[scale].node
    gelu = SpelledGelu.of(node)
    if gelu is None or any(consumers(n.output, gelu.nodes) for n in gelu.nodes if n is not node):
        # What others read from the middle of is no one kernel anyway.
        return None
    return f"{node.label} is the last factor of a GELU, and without it TensorRT does not know that"


def _per_channel(scale: Scale, axis: int, rank: int, channels: int) -> str | None:
    reasons = (f.not_one_per_channel(axis, rank, channels) for f in scale.factors)
    return next((why for why in reasons if why), None)


def _vector(factor: Factor | None) -> Float64 | None:
    return None if factor is None else factor.vector()


def _shift_has_a_place(m: Match) -> bool:
    """MatMul and Add on more than two dimensions is how a bias is spelled: nothing to do."""
    return m["scale"].shift is None or m["product"].takes_bias


@rule(
    "identity-scale",
    seen_as(Scale, "scale", var("x"), where=Scale.is_identity),
    keeps_shape("scale"),
    equation=Equation("(1 * x + 0) ^ 1", "x"),
    takes="Mul and Div by 1, Add and Sub of 0, Pow by 1, and a BatchNormalization that does "
    "nothing, with the constant on either side where the algebra allows; integers too.",
    entry=F7,
)
def identity_scale(m: Match, _: Replacement) -> Value:
    """A Scale that adds 0, multiplies by 1 and raises to 1 is erased. That turns -0.0 + 0 into -0.0
    where ONNX has 0.0, and leaves a signalling NaN as it is.
    """
    x: Value = m["x"]
    return x


def _alike(m: Match) -> bool:
    """Both only multiply, or both only shift, or the first is a BatchNormalization."""
    inner: Scale = m["inner"]
    outer: Scale = m["outer"]
    if inner.power is not None or outer.power is not None:
        return False
    if inner.normalizes:
        return not outer.normalizes
    shifts = [layer.shift is not None for layer in (inner, outer)]
    scales = [layer.scale is not None for layer in (inner, outer)]
    return shifts == [False, False] or scales == [False, False]


@guard(helps="export the constant as `[1, C, 1, 1]`")
def one_value_per_normalized_channel(m: Match) -> str | None:
    """After a BatchNormalization, the scale has one number for all, or one for each channel."""
    inner: Scale = m["inner"]
    if not inner.normalizes or all(factor.shape == () for factor in m["outer"].factors):
        return None
    if inner.x.rank is None:
        return rank_not_known(inner.x)
    assert inner.scale is not None
    return _per_channel(m["outer"], 1, inner.x.rank, inner.scale.shape[0])


@guard(helps="nothing: one constant would be larger than both")
def no_more_numbers(m: Match) -> str | None:
    """The numbers of both together are no more than the larger of them has."""
    inner: Scale = m["inner"]
    if inner.normalizes:
        return None
    first, second = (layer.factors[0] for layer in (inner, m["outer"]))
    try:
        together = math.prod(np.broadcast_shapes(first.shape, second.shape))
    except ValueError:
        return f"`{first.name}` {list(first.shape)} does not go with {list(second.shape)}"
    if together <= max(math.prod(first.shape), math.prod(second.shape)):
        return None
    return (
        f"`{first.name}` {list(first.shape)} and `{second.name}` {list(second.shape)} "
        f"together have {together} numbers"
    )


@guard(helps="rescale the factors: together they are too small for the type")
def normal_product(m: Match) -> str | None:
    """The product of two factors is no smaller than the normal numbers of its type."""
    inner: Scale = m["inner"]
    if inner.normalizes or inner.scale is None:
        return None
    product = np.abs(inner.scale.numbers() * m["outer"].scale.numbers())
    smallest = smallest_normal(m["x"].type)
    lost = product[(product > 0) & (product < smallest)]
    if not lost.size:
        return None
    return f"a factor would be {lost.min():.3g}, below the normal numbers ({smallest:.3g})"


@rule(
    "scale-scale",
    given(seen_as(Scale, "outer", seen_as(Scale, "inner", var("x"), out="y")), _alike),
    floating("x"),
    one_value_per_normalized_channel(),
    no_more_numbers(),
    normal_product(),
    equation=Equation("(x * a) * b", "x * (a * b)")
    .also("(x + a) + b", "x + (a + b)")
    .also("bn(x) * a + b", "bn'(x)"),
    takes="two in a row of Mul, Div and Neg, or of Add and Sub; or any of these after "
    "BatchNormalization.",
    entry=F8,
)
def scale_scale(m: Match, new: Replacement) -> Value:
    """Where no layer takes the scales in, two factors are one, two shifts are one, and what follows
    a BatchNormalization is part of its gain and bias.
    """
    inner: Scale = m["inner"]
    outer: Scale = m["outer"]
    scale = None if outer.scale is None else outer.scale.numbers()
    shift = None if outer.shift is None else outer.shift.numbers()
    if inner.normalizes:
        return _normalized(new, inner, _vector(outer.scale), _vector(outer.shift))
    element_type = m["x"].type
    name = f"{outer.node.label}.constant"
    if scale is not None:
        assert inner.scale is not None
        product = new.constant(inner.scale.numbers() * scale, element_type, name)
        return new.Mul(m["x"], product, like=outer.node)
    assert inner.shift is not None
    assert shift is not None
    total = new.constant(inner.shift.numbers() + shift, element_type, name)
    return new.Add(m["x"], total, like=outer.node)


def _normalized(
    new: Replacement, inner: Scale, scale: Float64 | None, shift: Float64 | None
) -> Value:
    """A BatchNormalization with another gain and bias."""
    x, gain, bias, mean, variance = inner.node.inputs[:5]
    gains, biases = constant(gain), constant(bias)
    assert gain is not None
    assert bias is not None
    assert gains is not None
    assert biases is not None
    numbers = biases.exact()
    if scale is not None:
        gain = new.constant(gains.scaled(scale), gains.type, gain)
        numbers = numbers * scale
    numbers = numbers if shift is None else numbers + shift
    changed = new.constant(numbers, biases.type, bias)
    return new.again(inner.node, x, gain, changed, mean, variance)


def _mean_rides_along(m: Match) -> Way | None:
    """What TensorRT does with a plane that is scaled, and averaged for pointwise operators."""
    y: Value = m.root.output
    while len(y.uses) == 1 and not y.outputs:
        (reader,) = y.uses
        if reader.op != "Add" and reader.op not in ACTIVATIONS:
            break
        y = reader.output
    means = [node.output for node in y.uses if reads_space(node)]
    return MEAN_IN_THE_SCALE if means and not any(map(feeds_product, means)) else None


def _costs_weights(m: Match) -> Way | None:
    """What TensorRT does with weights that other layers read, which go on with other scales."""
    layer: Linear = m["conv"] if "conv" in m else m["product"]
    scale: Scale = m["scale"]
    others = [node for node in layer.w.uses if node not in m.nodes]
    # Behind a product and the Add of its bias, or in front of the product.
    behind = len(layer.nodes) if m.root is scale.node else 0
    alike = all(_is_scaled_alike(node, scale, behind) for node in others)
    return None if alike else SHARED_WEIGHTS


def _parts_from_dequantization(m: Match) -> Way | None:
    """What TensorRT does where the scale stands between a dequantization and a Gemm with a bias."""
    producer, product = m["scale"].x.producer, m["product"]
    dequantized = producer is not None and producer.op == "DequantizeLinear"
    return DEQUANTIZED_GEMM if dequantized and product.b is not None else None


def _is_scaled_alike(product: Node, scale: Scale, behind: int) -> bool:
    """Whether a product is scaled by the same constants, so that its new weights are the same."""
    other: Node | None = product
    if not behind:
        x = product.input(0)
        other = None if x is None else x.producer
    for _ in range(behind):
        readers = [] if other is None else list(other.output.uses)
        other = readers[0] if len(readers) == 1 else None
    if other is None or other.op != scale.node.op:
        return False
    ours, theirs = (
        [value for value in node.inputs if constant(value) is not None]
        for node in (scale.node, other)
    )
    return ours == theirs


@rule(
    "conv-scale",
    seen_as(Scale, "scale", seen_as(Convolution, "conv", var("x"), out="y")),
    floating_weights("conv"),
    power_of_one("scale"),
    one_value_per_channel("scale", of="conv"),
    serves_the_engine(_costs_weights),
    serves_the_engine(_mean_rides_along),
    equation=Equation("s * (w * x + b) + t", "(s * w) * x + (s * b + t)"),
    takes="Conv or ConvTranspose of any rank, group, dilation and padding, with a bias or "
    "without, then Mul, Div, Add, Sub, Neg or BatchNormalization, in any chain and order of "
    "operands; also where another layer has the same weights, if it goes on with the same "
    "scale.",
    entry=F8,
    explains=("BatchNormalization",),
)
def conv_scale(m: Match, new: Replacement) -> Value:
    """A scale that is uniform or per output channel becomes part of the weights and the bias of the
    Conv or ConvTranspose before it, whatever its padding.
    """
    conv: Convolution = m["conv"]
    return conv.then_scaled(new, _vector(m["scale"].scale), _vector(m["scale"].shift))


@rule(
    "fc-scale",
    given(
        seen_as(Scale, "scale", seen_as(FullyConnected, "product", var("x"), out="y")),
        _shift_has_a_place,
    ),
    floating_weights("product"),
    power_of_one("scale"),
    one_value_per_channel("scale", of="product"),
    serves_the_engine(_costs_weights),
    equation=Equation("s * (x w + b) + t", "x (w * s) + (s * b + t)"),
    takes="Gemm with any alpha, beta, transA, transB and constant C of any shape, or MatMul by "
    "constant weights with or without the Add of a bias, then the same Scales as conv-scale "
    "takes.",
    entry=F8,
    explains=("BatchNormalization",),
)
def fc_scale(m: Match, new: Replacement) -> Value:
    """As conv-scale, for a Gemm or a MatMul by constant weights. A MatMul of two dimensions becomes
    a Gemm where it needs a bias.
    """
    product: FullyConnected = m["product"]
    return product.then_scaled(new, _vector(m["scale"].scale), _vector(m["scale"].shift))


@rule(
    "scale-conv",
    seen_as(Convolution, "conv", seen_as(Scale, "scale", var("x"), out="y")),
    floating_weights("conv"),
    power_of_one("scale"),
    one_value_per_input_channel("scale", of="conv"),
    no_shift_into_padding("scale", "conv"),
    is_not_of_gelu("scale"),
    serves_the_engine(_costs_weights),
    equation=Equation("w * (s * x + t) + b", "(w * s) * x + (w * t + b)"),
    takes="the same Scales and layers as conv-scale, the other way round.",
    entry=F8,
)
def scale_conv(m: Match, new: Replacement) -> Value:
    """As conv-scale, for a scale before the convolution. With a shift only where nothing is padded,
    since the padding is not shifted.
    """
    conv: Convolution = m["conv"]
    scale: Scale = m["scale"]
    return conv.of_scaled(new, scale.x, _vector(scale.scale), _vector(scale.shift))


@rule(
    "scale-fc",
    given(
        seen_as(FullyConnected, "product", seen_as(Scale, "scale", var("x"), out="y")),
        _shift_has_a_place,
    ),
    floating_weights("product"),
    power_of_one("scale"),
    one_value_per_input_channel("scale", of="product"),
    is_not_of_gelu("scale"),
    serves_the_engine(_costs_weights),
    serves_the_engine(_parts_from_dequantization),
    equation=Equation("(s * x + t) w + b", "x (s * w) + (t w + b)"),
    takes="the same Scales and products as fc-scale, the other way round.",
    entry=F8,
)
def scale_fc(m: Match, new: Replacement) -> Value:
    """As fc-scale, for a scale before a Gemm or a MatMul by constant weights."""
    product: FullyConnected = m["product"]
    scale: Scale = m["scale"]
    return product.of_scaled(new, scale.x, _vector(scale.scale), _vector(scale.shift))
