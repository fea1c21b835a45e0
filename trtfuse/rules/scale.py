"""Scale: erased where it does nothing (F7), and part of the product before or after it (F8)."""

from __future__ import annotations

from trtfuse.ir.graph import Value
from trtfuse.ir.tensor import Float64
from trtfuse.layers.linear import Convolution, FullyConnected, Linear
from trtfuse.layers.scale import Factor, Scale
from trtfuse.rewrite.guards import floating_type
from trtfuse.rewrite.pattern import Match, given, seen_as, var
from trtfuse.rewrite.rule import Replacement, guard, rule


@guard
def keeps_shape(m: Match, scale: str) -> str | None:
    """Applying the scale certainly gives the shape of its input."""
    seen: Scale = m[scale]
    return next((why for f in seen.factors if (why := f.broadcasts(seen.x))), None)


@guard
def floating_weights(m: Match, layer: str) -> str | None:
    """The weights are float16, bfloat16, float32 or float64; integers are never regrouped."""
    seen: Linear = m[layer]
    return floating_type(seen.weight.type, seen.w.name)


@guard
def power_of_one(m: Match, scale: str) -> str | None:
    """The scale raises to no power, or to 1."""
    power: Factor | None = m[scale].power
    if power is None or (power.numbers() == 1).all():
        return None
    shown = power.vector()[:4].tolist()
    return f"the power `{power.name}` is {shown[0] if len(shown) == 1 else shown}, not 1"


@guard
def one_value_per_channel(m: Match, scale: str, of: str) -> str | None:
    """The scale has one number for all, or one for each output channel of the layer before it."""
    seen: Linear = m[of]
    return _per_channel(m[scale], seen.axis, seen.rank, seen.channels)


@guard
def one_value_per_input_channel(m: Match, scale: str, of: str) -> str | None:
    """The scale has one number for all, or one for each input channel of the layer after it."""
    seen: Linear = m[of]
    rank = seen.rank if isinstance(seen, Convolution) else seen.x.rank or seen.rank
    why = _per_channel(m[scale], seen.in_axis, rank, seen.in_channels)
    if why is None:
        reasons = (f.broadcasts(m[scale].x, result_rank=rank) for f in m[scale].factors)
        why = next((reason for reason in reasons if reason), None)
    return why


@guard
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
    entry="F7",
)
def identity_scale(m: Match, _: Replacement) -> Value:
    """(1 * x + 0) ^ 1  ==  x

    Entry F7 (Scale): a Scale that adds 0, multiplies by 1 and raises to 1 is erased. That turns
    -0.0 + 0 into -0.0 where ONNX has 0.0, and leaves a signalling NaN as it is.
    """
    x: Value = m["x"]
    return x


@rule(
    "conv-scale",
    seen_as(Scale, "scale", seen_as(Convolution, "conv", var("x"), out="y")),
    floating_weights("conv"),
    power_of_one("scale"),
    one_value_per_channel("scale", of="conv"),
    entry="F8",
    explains=("BatchNormalization",),
)
def conv_scale(m: Match, new: Replacement) -> Value:
    """s * (w * x + b) + t  ==  (s * w) * x + (s * b + t)

    Entry F8 (Convolution and Scale): a scale that is uniform or per output channel becomes part of
    the weights and the bias of the Conv or ConvTranspose before it, whatever its padding.
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
    entry="F8",
    explains=("BatchNormalization",),
)
def fc_scale(m: Match, new: Replacement) -> Value:
    """s * (x w + b) + t  ==  x (w * s) + (s * b + t)

    Entry F8 (Convolution and Scale), for a Gemm or a MatMul by constant weights. A MatMul of two
    dimensions becomes a Gemm where it needs a bias.
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
    entry="F8",
)
def scale_conv(m: Match, new: Replacement) -> Value:
    """w * (s * x + t) + b  ==  (w * s) * x + (w * t + b)

    Entry F8 (Convolution and Scale), for a scale before the convolution. With a shift only where
    nothing is padded, since the padding is not shifted.
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
    entry="F8",
)
def scale_fc(m: Match, new: Replacement) -> Value:
    """(s * x + t) w + b  ==  x (s * w) + (t w + b)

    Entry F8 (Convolution and Scale), for a scale before a Gemm or a MatMul by constant weights.
    """
    product: FullyConnected = m["product"]
    scale: Scale = m["scale"]
    return product.of_scaled(new, scale.x, _vector(scale.scale), _vector(scale.shift))
