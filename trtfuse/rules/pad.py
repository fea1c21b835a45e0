"""A Pad before a convolution, deconvolution or pooling becomes part of it (C3)."""

from __future__ import annotations

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.layers.limits import PADDING
from trtfuse.layers.scale import not_constant
from trtfuse.layers.window import Window
from trtfuse.rewrite.entries import C3
from trtfuse.rewrite.pattern import Match, op, rest, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


def _amounts(pad: Node, rank: int) -> list[int] | str:
    """What a Pad adds at the beginning of each axis, then at the end; why it is not known."""
    listed = pad.attribute("pads")
    if listed is not None:
        return list(listed)
    value, axes = pad.operand(1), pad.input(3)
    amounts = constant(value)
    if amounts is None:
        return f"the amounts `{value.name}` are {not_constant(value)}"
    numbers = amounts.integers()
    if axes is None:
        return numbers
    chosen = constant(axes)
    if chosen is None:
        return f"the axes `{axes.name}` are {not_constant(axes)}"
    spread = [0] * (2 * rank)
    for index, axis in enumerate(axis % rank for axis in chosen.integers()):
        spread[axis] = numbers[index]
        spread[axis + rank] = numbers[index + chosen.size]
    return spread


@guard(helps="pad with zeros, if that is what is meant")
def pads_with_zeros(m: Match) -> str | None:
    """The Pad is constant and fills in zeros."""
    pad: Node = m["padded"].producer
    mode = pad.attribute("mode")
    if mode != "constant":
        return f"{pad.label} pads in mode {mode}"
    value = pad.input(2)
    filler = pad.attribute("value", 0.0)
    if value is not None:
        tensor = constant(value)
        if tensor is None:
            return f"what it fills in, `{value.name}`, is {not_constant(value)}"
        if tensor.size != 1:
            return f"what it fills in, `{value.name}`, has shape {list(tensor.shape)}"
        filler = float(tensor.exact().reshape(()))
    return None if filler == 0 else f"{pad.label} fills in {filler:g}, not 0"


@guard(helps="pad spatial axes only, and crop with a Slice")
def spatial_padding(m: Match) -> str | None:
    """The Pad adds to spatial axes only, and takes nothing away."""
    pad: Node = m["padded"].producer
    rank = m["layer"].rank
    amounts = _amounts(pad, rank)
    if isinstance(amounts, str):
        return amounts
    if len(amounts) != 2 * rank:
        return f"{pad.label} has {len(amounts)} pads for {rank} axes"
    if min(amounts) < 0:
        return f"{pad.label} crops: its pads are {amounts}"
    if any(amounts[axis] or amounts[axis + rank] for axis in (0, 1)):
        return f"{pad.label} pads batch or channels: its pads are {amounts}"
    return None


@guard(helps="nothing: a MaxPool pads with the smallest number, not with 0")
def zeros_are_its_padding(m: Match) -> str | None:
    """The layer itself pads with zeros, as all but MaxPool do."""
    if m.root.op != "MaxPool":
        return None
    return f"{m.root.label} pads with -inf, and {m['padded'].producer.label} with zeros"


@guard(helps="export explicit pads instead of auto_pad")
def explicit_padding(m: Match) -> str | None:
    """The layer does not work out a padding of its own from the size of what it gets."""
    layer: Window = m["layer"]
    if layer.auto_pad not in ("NOTSET", "VALID"):
        return f"{m.root.label} pads by the size of its input: auto_pad is {layer.auto_pad}"
    if m.root.attribute("output_shape"):
        return f"{m.root.label} crops to output_shape {m.root.attribute('output_shape')}"
    return None


@guard(helps="export the AveragePool with count_include_pad, without ceil_mode")
def counted_padding(m: Match) -> str | None:
    """An average counts its padding, or has none yet; and none is added by rounding up."""
    if m.root.op != "AveragePool":
        return None
    if m.root.attribute("ceil_mode"):
        return f"{m.root.label} rounds its size up (ceil_mode is 1)"
    own = m["layer"].pads
    if any(own) and not m.root.attribute("count_include_pad"):
        return f"{m.root.label} does not count its own padding {own}"
    return None


@guard(helps="nothing: runtimes refuse a pooling that pads as much as its kernel")
def smaller_than_the_kernel(m: Match) -> str | None:
    """A pooling pads less than its kernel, as runtimes demand."""
    kernel, pads = m["layer"].kernel, _new_pads(m)
    if m.root.op != "AveragePool" or all(
        size < limit for size, limit in zip(pads, (*kernel, *kernel), strict=True)
    ):
        return None
    return f"{m.root.label} would have pads {pads}, not smaller than its kernel {list(kernel)}"


@guard(helps="nothing: TensorRT takes the Pad as it is, and no layer that pads as much")
def buildable_padding(m: Match) -> str | None:
    """TensorRT builds a layer that pads as much, or the layer pads as much already."""
    own, pads = m["layer"].pads, _new_pads(m)
    most = max(pads)
    if most <= max(PADDING.most, *own):
        return None
    return f"{m.root.label} would pad {most:,}, and TensorRT takes {PADDING.most:,} at most"


@guard(helps="crop more in the deconvolution, or leave the Pad out")
def crops_enough(m: Match) -> str | None:
    """A deconvolution crops at least what the padding of its input adds to its output."""
    own, pads = m["layer"].pads, _new_pads(m)
    if m.root.op != "ConvTranspose" or min(pads) >= 0:
        return None
    more = [before - after for before, after in zip(own, pads, strict=True)]
    return f"{m.root.label} crops {own}, and the padding of its input adds {more}"


def _new_pads(m: Match) -> list[int]:
    """The pads of the layer with those of the Pad."""
    layer: Window = m["layer"]
    amounts = _amounts(m["padded"].producer, layer.rank)
    assert isinstance(amounts, list)
    added = [*amounts[2 : layer.rank], *amounts[layer.rank + 2 :]]
    if m.root.op == "ConvTranspose":
        # A zero at the beginning of its input is a stride more of what it crops there.
        added = [-more * step for more, step in zip(added, layer.strides * 2, strict=True)]
    return [own + more for own, more in zip(layer.pads, added, strict=True)]


@rule(
    "pad-into-layer",
    seen_as(Window, "layer", op.Pad(var("x"), rest("how"), out="padded")),
    pads_with_zeros(),
    zeros_are_its_padding(),
    spatial_padding(),
    explicit_padding(),
    counted_padding(),
    smaller_than_the_kernel(),
    buildable_padding(),
    crops_enough(),
    equation=Equation("conv(pad(x, p), pads=q)", "conv(x, pads=q + p)"),
    takes="Pad with amounts as attribute or input, with axes or without, before Conv, "
    "ConvTranspose or AveragePool of any rank.",
    entry=C3,
)
def pad_into_layer(m: Match, new: Replacement) -> Value:
    """Zeros around the input are what the layer's own padding is. An AveragePool has to count them.
    A ConvTranspose crops that much less of its output, a stride for each. MaxPool pads with -inf,
    so it is left alone.
    """
    attributes: dict[str, object] = {"pads": _new_pads(m)}
    if m["layer"].auto_pad != "NOTSET":
        attributes["auto_pad"] = "NOTSET"
    if m.root.op == "AveragePool":
        attributes["count_include_pad"] = 1
    return new.again(m.root, m["x"], *m.root.inputs[1:], **attributes)
