"""The patterns that `contexts.py` tries: each rule, alone, in its spellings, axes and sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """A pattern to try.

    Attributes:
        rules: the rule that takes it, and those that it needs, separated by spaces.
        text: nodes from `x` to `y`, in ONNX's textual form; TYPE is the number of the type of x,
            and ELEMENT its name.
        shapes: of x.
        weights: the constants that it reads: numbers, or a shape to draw, -1 for the channels of x.
        about: what sets it apart from other patterns of the rule.
        opset: the one it is spelled for.
        spatial: whether x has channels and space behind them, so that convolutions go with it.
            With 4 or 5 dimensions it always has.
    """

    rules: str
    text: str
    shapes: tuple[Shape, ...]
    weights: Mapping[str, Shape | Array] = field(default_factory=dict)
    about: str = ""
    opset: int = 17
    spatial: bool = False

    @property
    def rule(self) -> str:
        return self.rules.split()[0]


SMALL: tuple[Shape, ...] = ((1, 32, 14, 14),)
PLANES: tuple[Shape, ...] = ((1, 32, 14, 14), (1, 32, 56, 56))
VOLUME: tuple[Shape, ...] = ((1, 16, 8, 14, 14),)
SIGNAL: tuple[Shape, ...] = ((1, 32, 196),)
ROWS: tuple[Shape, ...] = ((128, 64), (1, 196, 64))
SEQUENCE: tuple[Shape, ...] = ((2, 96, 64),)


def integers(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def number(value: float) -> Array:
    return np.array(value, np.float32)


def listed(numbers: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


#: Numbers that patterns of several rules read.
NUMBERS: dict[str, Shape | Array] = {
    "root": number(2**0.5),
    "zero": number(0),
    "half": number(0.5),
    "one": number(1),
    "three": number(3),
    "six": number(6),
}

CONV = "Conv<pads = [1, 1, 1, 1]>"


def subjects() -> Iterator[Subject]:
    """Every pattern."""
    yield from _means()
    yield from _sums()
    yield from _reductions()
    yield from _conv_scales()
    yield from _scales()
    yield from _products()
    yield from _normalizations()
    yield from _shuffles()
    yield from _activations()
    yield from _parts()
    yield from _conditions()
    yield from _nothing()
    yield from _duplicates()
    yield from _constants()
    yield from _recurrent()


def _means() -> Iterator[Subject]:
    planes = ((1, 32, 7, 7), *PLANES, (1, 64, 112, 112), (1, 128, 14, 14))
    mean = "ReduceMean<axes = [2, 3], keepdims = 1>"
    yield Subject("mean-pool", f"y = {mean}(x)", planes, about="of a plane")
    yield Subject("global-mean-pool", "y = GlobalAveragePool(x)", planes, about="of a plane")
    volume = "ReduceMean<axes = [2, 3, 4], keepdims = 1>"
    yield Subject("mean-pool", f"y = {volume}(x)", VOLUME, about="of a volume")
    yield Subject("global-mean-pool", "y = GlobalAveragePool(x)", VOLUME, about="of a volume")
    yield Subject(
        "global-mean-pool", "y = GlobalAveragePool(x)", SIGNAL, about="of a signal", spatial=True
    )
    silu, about = "s = Sigmoid(x) a = Mul(x, s)", "of x * sigmoid(x)"
    yield Subject("mean-pool", f"{silu} y = {mean}(a)", PLANES, about=about)
    text = f"{silu} b = {mean}(a) c = Sigmoid(b) y = Mul(a, c)"
    yield Subject("mean-pool", text, PLANES, about=f"{about}, as its gate")


def _sums() -> Iterator[Subject]:
    for axes, shapes, about in (
        ((1,), PLANES + SEQUENCE, "over an inner axis"),
        ((-1,), PLANES + ROWS, "over the last axis"),
        ((2, 3), PLANES, "over the plane"),
        ((2, 3, 4), VOLUME, "over a volume"),
    ):
        for keep in (0, 1):
            total, w = f"ReduceSum<keepdims = {keep}>", {"axes": integers(*axes)}
            for rules, text in (
                ("l1-norm", f"a = Abs(x) y = {total}(a, axes)"),
                ("sum-of-squares", f"a = Mul(x, x) y = {total}(a, axes)"),
                ("l2-norm sum-of-squares", f"a = Mul(x, x) b = {total}(a, axes) y = Sqrt(b)"),
                ("log-sum", f"a = Abs(x) b = {total}(a, axes) y = Log(b)"),
                ("log-sum-exp log-sum", f"a = Exp(x) b = {total}(a, axes) y = Log(b)"),
            ):
                yield Subject(rules, text, shapes if keep else shapes[:1], w, about)
        top = f"m = ReduceMax<axes = {listed(axes)}, keepdims = 1>(x)"
        yield Subject(
            "log-sum-exp-max log-sum-exp log-sum",
            f"{top} d = Sub(x, m) a = Exp(d) b = ReduceSum(a, axes) l = Log(b) y = Add(l, m)",
            shapes,
            w,
            about,
        )
    for axis, opset in itertools.product((1, -1), (11, 17)):
        text = f"a = Softmax<axis = {axis}>(x) y = Log(a)"
        place = "inner axis" if axis == 1 else "last axis"
        about = f"{place}, opset {'before' if opset == 11 else 'from'} 13"
        yield Subject("log-softmax", text, PLANES + ROWS, about=about, opset=opset)


def _reductions() -> Iterator[Subject]:
    for first, second in (((3,), (2,)), ((2,), (3,)), ((1,), (2,)), ((2, 3), (1,))):
        for operator, keep in itertools.product(("ReduceMean", "ReduceMax"), (0, 1)):
            if not keep and second > first:
                continue
            text = (
                f"a = {operator}<axes = {listed(first)}, keepdims = {keep}>(x) "
                f"y = {operator}<axes = {listed(second)}, keepdims = {keep}>(a)"
            )
            last = {*first, *second} in ({2, 3}, {1, 2, 3})
            about = "to the last axes" if last else "to inner axes"
            shapes = PLANES if keep and operator == "ReduceMax" else SMALL
            yield Subject("reduce-reduce", text, shapes, about=about)
    text = "a = ReduceMax<axes = [4], keepdims = 1>(x) y = ReduceMax<axes = [2, 3]>(a)"
    yield Subject("reduce-reduce", text, VOLUME, about="to the last axes")
    for perm, axes in (((0, 2, 3, 1), (1, 2)), ((0, 2, 3, 1), (3,)), ((0, 3, 1, 2), (1,))):
        for operator, keep in itertools.product(("ReduceMean", "ReduceMax"), (0, 1)):
            text = (
                f"a = Transpose<perm = {listed(perm)}>(x) "
                f"y = {operator}<axes = {listed(axes)}, keepdims = {keep}>(a)"
            )
            yield Subject("shuffle-reduce", text, PLANES if keep else SMALL)
    text = "a = Transpose<perm = [0, 2, 3, 4, 1]>(x) y = ReduceMax<axes = [1, 2, 3]>(a)"
    yield Subject("shuffle-reduce", text, VOLUME)
    text = "a = Transpose<perm = [0, 2, 1]>(x) y = ReduceMean<axes = [1]>(a)"
    yield Subject("shuffle-reduce", text, SEQUENCE)
    for axes, shapes in (((1,), SMALL + SEQUENCE), ((-1,), SMALL + ROWS), ((2, 3), PLANES)):
        w: dict[str, Shape | Array] = {"axes": integers(*axes)}
        for operator in ("ReduceMean", "ReduceMax"):
            dropped = f"{operator}<axes = {listed(axes)}, keepdims = 0>"
            kept = dropped.replace("keepdims = 0", "keepdims = 1")
            text = f"a = {dropped}(x) y = Unsqueeze(a, axes)"
            yield Subject("reduce-unsqueeze", text, shapes, w)
            yield Subject("reduce-squeeze", f"a = {kept}(x) y = Squeeze(a, axes)", shapes, w)
    w = {"axes": integers(1)}
    text = "a = ArgMax<axis = 1, keepdims = {}>(x) b = {}(a, axes) y = Cast<to = TYPE>(b)"
    yield Subject("reduce-unsqueeze", text.format(0, "Unsqueeze"), PLANES, w)
    yield Subject("reduce-squeeze", text.format(1, "Squeeze"), PLANES, w)
    yield Subject("reduce-squeeze", "a = GlobalMaxPool(x) b = ReduceMax<axes = [2, 3]>(x) "
                  "c = Flatten(b) d = Flatten(a) y = Add(c, d)", PLANES)  # fmt: skip


def _batch_normalization(channels: int) -> dict[str, Shape | Array]:
    variance = np.abs(np.random.default_rng(1).normal(1, 0.1, channels)).astype(np.float32)
    return {**dict.fromkeys(("g", "b", "m"), (channels,)), "v": variance}


def _conv_scales() -> Iterator[Subject]:
    channel = (1, 32, 1, 1)
    w: dict[str, Shape | Array] = {
        **_batch_normalization(32),
        "w": (32, -1, 3, 3),
        "w1": (32, -1, 1, 1),
        "wd": (32, 1, 3, 3),
        "wt": (-1, 32, 3, 3),
        "s": channel,
        "t": channel,
    }
    conv = f"c = {CONV}(x, w)"
    norm = "BatchNormalization(c, g, b, m, v)"
    branch = f"{conv} n = {norm} d = Conv(x, w1) o = BatchNormalization(d, g, b, m, v)"
    for about, text in (
        ("", f"{conv} y = Mul(c, s)"),
        ("", f"{conv} d = Mul(c, s) y = Add(d, t)"),
        ("", f"{conv} y = {norm}"),
        ("", f"{conv} n = {norm} y = Relu(n)"),
        ("", f"{conv} n = {norm} y = Add(n, x)"),
        ("", f"{conv} n = {norm} a = Add(n, x) y = Relu(a)"),
        ("of branches", f"{branch} a = Add(n, o) y = Relu(a)"),
        (
            "of branches",
            f"{branch} i = BatchNormalization(x, g, b, m, v) "
            "e = Add(n, o) a = Add(e, i) y = Relu(a)",
        ),
        ("before a mean", f"{conv} n = {norm} y = GlobalAveragePool(n)"),
        ("before a mean", f"{conv} n = {norm} r = Relu(n) y = GlobalAveragePool(r)"),
        (
            "before a mean",
            f"{conv} n = {norm} r = Relu(n) p = GlobalAveragePool(r) q = Sigmoid(p) y = Mul(r, q)",
        ),
        (
            "before a mean",
            f"{conv} n = {norm} q = Sigmoid(n) r = Mul(n, q) y = GlobalAveragePool(r)",
        ),
        ("of shared weights", f"{conv} n = {norm} d = {CONV}(n, w) e = Mul(d, s) y = Add(n, e)"),
        ("of shared weights", f"{conv} n = Mul(c, s) d = {CONV}(x, w) e = Mul(d, t) y = Add(n, e)"),
        ("", f"c = ConvTranspose<pads = [1, 1, 1, 1]>(x, wt) n = {norm} y = Relu(n)"),
        ("", f"c = Conv<pads = [1, 1, 1, 1], group = 32>(x, wd) n = {norm} y = Relu(n)"),
    ):  # fmt: skip
        yield Subject("conv-scale", text, PLANES if about else SMALL, w, about)
    # From opset 19 on float16 is quantized, too.
    text = f"{conv} n = {norm} y = Relu(n)"
    yield Subject("conv-scale", text, SMALL, w, opset=21)
    volume = _batch_normalization(16) | {"w": (16, -1, 3, 3, 3)}
    text = f"c = Conv<pads = [1, 1, 1, 1, 1, 1]>(x, w) n = {norm} y = Relu(n)"
    yield Subject("conv-scale", text, VOLUME, volume)
    signal = _batch_normalization(32) | {"w": (32, -1, 3)}
    text = f"c = Conv<pads = [1, 1]>(x, w) n = {norm} y = Relu(n)"
    yield Subject("conv-scale", text, SIGNAL, signal, spatial=True)


def _scales() -> Iterator[Subject]:
    w: dict[str, Shape | Array] = {
        **NUMBERS,
        "w": (32, -1, 3, 3),
        "w1": (32, -1, 1, 1),
        "w3": (16, -1, 3, 3, 3),
        "s": (1, -1, 1, 1),
        "t": (1, -1, 1, 1),
        "s3": (1, -1, 1, 1, 1),
        "ones": np.ones((1, 32, 1, 1), np.float32),
    }
    yield Subject("scale-conv", f"d = Mul(x, s) y = {CONV}(d, w)", PLANES, w)
    yield Subject("scale-conv", "d = Mul(x, s) e = Add(d, t) y = Conv(e, w1)", PLANES, w)
    text = f"d = Mul(x, s) c = Conv(d, w1) a = {CONV}(x, w) y = Add(c, a)"
    yield Subject("scale-conv", text, PLANES, w)
    text = "d = Mul(x, s3) y = Conv<pads = [1, 1, 1, 1, 1, 1]>(d, w3)"
    yield Subject("scale-conv", text, VOLUME, w)
    for activation in ("Relu", "LeakyRelu"):
        text = f"c = {CONV}(x, w) r = {activation}(c) y = Mul(r, half)"
        yield Subject("activation-scale", text, PLANES, w)
        text = f"d = Mul(x, half) r = {activation}(d) y = {CONV}(r, w)"
        yield Subject("scale-activation", text, PLANES, w)
    text = "c = Conv<pads = [1, 1, 1, 1, 1, 1]>(x, w3) r = Relu(c) y = Mul(r, half)"
    yield Subject("activation-scale", text, VOLUME, w)
    yield Subject("scale-scale", "d = Mul(x, s) y = Mul(d, t)", PLANES, w)
    yield Subject("scale-scale", "d = Add(x, s) y = Add(d, t)", PLANES, w)
    bn = _batch_normalization(32) | {"s": (1, 32, 1, 1)}
    text = "d = BatchNormalization(x, g, b, m, v) y = Mul(d, s)"
    yield Subject("scale-scale", text, PLANES, bn)
    for text in ("Mul(x, one)", "Add(x, zero)", "Div(x, ones)", "Pow(x, one)"):
        yield Subject("identity-scale", f"y = {text}", PLANES, w)
    yield Subject("identity-scale", f"c = {CONV}(x, w) d = Mul(c, one) y = Relu(d)", SMALL, w)
    yield Subject("identity-scale", "y = Mul(x, one)", (*VOLUME, *ROWS), w)


def _products() -> Iterator[Subject]:
    w: dict[str, Shape | Array] = {
        **NUMBERS,
        "w": (64, 48),
        "s": (48,),
        "t": (48,),
        "u": (64,),
        "k": (48, 16),
    }
    yield Subject("fc-scale", "c = MatMul(x, w) y = Mul(c, s)", ROWS, w)
    yield Subject("fc-scale", "c = MatMul(x, w) y = Add(c, s)", ROWS[:1], w)
    yield Subject("fc-scale", "c = MatMul(x, w) d = Add(c, t) y = Mul(d, s)", ROWS, w)
    yield Subject("fc-scale", "c = Gemm(x, w, t) d = Mul(c, s) y = Relu(d)", ROWS[:1], w)
    text = "c = MatMul(x, w) d = Mul(c, s) e = MatMul(x, w) f = Mul(e, t) y = Add(d, f)"
    yield Subject("fc-scale", text, ROWS, w, "of shared weights")
    yield Subject("scale-fc", "d = Mul(x, u) y = MatMul(d, w)", ROWS, w)
    yield Subject("scale-fc", "d = Mul(x, u) e = Add(d, u) y = Gemm(e, w, t)", ROWS[:1], w)
    text = "d = Mul(x, u) c = MatMul(d, w) a = MatMul(x, w) y = Add(c, a)"
    yield Subject("scale-fc", text, ROWS, w, "of shared weights")
    text = "c = MatMul(x, w) r = Relu(c) y = Mul(r, half)"
    yield Subject("activation-scale", text, ROWS, w)
    text = "d = Mul(x, half) r = Relu(d) y = MatMul(r, w)"
    yield Subject("scale-activation", text, ROWS, w)
    yield Subject("product-product", "c = MatMul(x, w) y = MatMul(c, k)", ROWS, w)
    yield Subject("product-product", "c = Gemm(x, w, t) y = MatMul(c, k)", ROWS[:1], w)


def _normalizations() -> Iterator[Subject]:
    for axes, shapes, about in (
        ((-1,), ROWS, "over the last axis"),
        ((-2, -1), SEQUENCE, "over the last two axes"),
        ((1, 2, 3), SMALL, "over all axes but the first"),
        ((1,), SMALL, "over the channels"),
    ):
        mean = f"ReduceMean<axes = {listed(axes)}, keepdims = 1>"
        root = f"e = Mul(d, d) va = {mean}(e) f = Add(va, epsilon) h = Sqrt(f)"
        w: dict[str, Shape | Array] = {"epsilon": number(1e-5), "axes": integers(*axes)}
        centred = f"mu = {mean}(x) d = Sub(x, mu) {root}"
        alone = f"{about}, without a gain"
        yield Subject("layer-norm", f"{centred} y = Div(d, h)", shapes, w, alone)
        square = "e = Mul(x, x) va = ReduceMean<keepdims = 1>(e, axes) f = Add(va, epsilon)"
        yield Subject("rms-norm", f"{square} h = Sqrt(f) y = Div(x, h)", shapes, w, alone, 23)
        if axes == (-1,):
            text = f"{centred} n = Div(d, h) y = Add(n, mu)"
            yield Subject("layer-norm", text, shapes, w, "with its mean read outside")
            w |= {"gain": (64,), "shift": (64,), "ones": np.ones(64, np.float32)}
            text = f"{centred} n = Div(d, h) o = Mul(n, gain) y = Add(o, shift)"
            rules = "layer-norm layer-norm-scale layer-norm-shift"
            yield Subject(rules, text, shapes, w, about)
            text = f"{square} h = Sqrt(f) n = Div(x, h) y = Mul(n, gain)"
            yield Subject("rms-norm rms-norm-scale", text, shapes, w, about, 23)
            text = "n = LayerNormalization(x, ones) y = Mul(n, gain)"
            yield Subject("layer-norm-scale", text, shapes, w)
            text = "n = LayerNormalization(x, gain) y = Add(n, shift)"
            yield Subject("layer-norm-shift", text, shapes, w)
            text = "n = RMSNormalization(x, ones) y = Mul(n, gain)"
            yield Subject("rms-norm-scale", text, shapes, w, opset=23)


def _shuffles() -> Iterator[Subject]:
    w: dict[str, Shape | Array] = {
        "p": integers(0, 0, 1, 1, 0, 0, 1, 1),
        "p3": integers(0, 0, 1, 1, 1, 0, 0, 1, 1, 1),
        "p1": integers(0, 0, 1, 0, 0, 1),
        "w": (32, -1, 3, 3),
        "wt": (-1, 32, 3, 3),
        "w3": (16, -1, 3, 3, 3),
        "w1": (32, -1, 3),
        "q": integers(1, 32, 14, 14),
        "f": integers(1, 32, 196),
        "odd": integers(1, 28, 224),
        "heads": integers(2, 96, 4, 16),
        "joined": integers(2, 96, 64),
    }
    yield Subject("pad-into-layer", "d = Pad(x, p) y = Conv(d, w)", PLANES, w)
    text = "d = Pad(x, p) y = ConvTranspose<pads = [1, 1, 1, 1]>(d, wt)"
    yield Subject("pad-into-layer", text, PLANES, w)
    pool = "AveragePool<kernel_shape = [3, 3], count_include_pad = 1>"
    yield Subject("pad-into-layer", f"d = Pad(x, p) y = {pool}(d)", PLANES, w, "into a pooling")
    yield Subject("pad-into-layer", "d = Pad(x, p3) y = Conv(d, w3)", VOLUME, w)
    yield Subject("pad-into-layer", "d = Pad(x, p1) y = Conv(d, w1)", SIGNAL, w, spatial=True)
    there, back = "Transpose<perm = [0, 2, 3, 1]>", "Transpose<perm = [0, 3, 1, 2]>"
    for text in (
        f"a = {there}(x) b = {back}(a) y = Exp(b)",
        f"a = {there}(x) y = Transpose<perm = [0, 2, 1, 3]>(a)",
        "a = Reshape(x, f) y = Reshape(a, q)",
        "a = Flatten(x) y = Reshape(a, q)",
    ):
        yield Subject("shuffle-shuffle", text, SMALL, w)
    text = (
        "a = Reshape(x, heads) b = Transpose<perm = [0, 2, 1, 3]>(a) "
        "c = Transpose<perm = [0, 2, 1, 3]>(b) y = Reshape(c, joined)"
    )
    yield Subject("shuffle-shuffle", text, SEQUENCE, w)
    text = "a = Reshape(x, heads) b = Transpose<perm = [0, 2, 1, 3]>(a) " \
           "y = Transpose<perm = [0, 1, 3, 2]>(b)"  # fmt: skip
    yield Subject("shuffle-shuffle", text, SEQUENCE, w)
    text = "a = Transpose<perm = [0, 2, 3, 4, 1]>(x) b = Transpose<perm = [0, 4, 1, 2, 3]>(a) " \
           "y = Exp(b)"  # fmt: skip
    yield Subject("shuffle-shuffle", text, VOLUME, w)
    yield Subject("reshape-reshape", "a = Reshape(x, odd) y = Reshape(a, q)", SMALL, w)
    yield Subject("reshape-reshape", "a = Reshape(x, odd) y = Reshape(a, f)", SMALL, w)
    yield Subject("reshape-reshape", "a = Flatten(x) y = Reshape(a, f)", SMALL, w)
    w = {
        "zeroth": integers(0),
        "two": integers(2),
        "four": integers(4),
        "rest": integers(32, 196),
        "twice": integers(2, 2),
    }
    text = "s = Shape(x) n = Gather(s, zeroth) t = Concat<axis = 0>(n, rest) y = Reshape(x, t)"
    yield Subject("reshape-target", text, SMALL, w)
    for mode in ("nearest", "linear"):
        yield Subject(
            "resize-sizes",
            "s = Shape(x) k = Slice(s, zeroth, two) hw = Slice(s, two, four) d = Mul(hw, twice) "
            f't = Concat<axis = 0>(k, d) y = Resize<mode = "{mode}">(x, , , t)',
            SMALL,
            w,
        )


def _activations() -> Iterator[Subject]:
    both, w = SMALL + ROWS, NUMBERS
    gelu = "a = Div(x, root) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half)"
    yield Subject("gelu", gelu, (*PLANES, *ROWS, *VOLUME), w, opset=20)
    w = w | {"cubic": number(0.044715), "inner": number((2 / np.pi) ** 0.5)}
    tanh = (
        "a = Pow(x, three) b = Mul(a, cubic) c = Add(x, b) d = Mul(c, inner) e = Tanh(d) "
        "f = Add(e, one) g = Mul(x, f) y = Mul(g, half)"
    )
    yield Subject("gelu", tanh, both, w, "with Tanh", opset=20)
    text = "a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)"
    yield Subject("hard-sigmoid", text, (*both, *VOLUME), w)
    text = "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)"
    yield Subject("hard-swish", text, (*both, *VOLUME), w)
    text = "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)"
    yield Subject("spelled-hard-swish", text, SMALL, w)
    yield Subject("clip-clip", "a = Clip(x, zero, six) y = Clip(a, one, three)", SMALL, w)
    yield Subject("clip-clip", "a = Relu(x) y = Clip(a, zero, six)", both, w)
    yield Subject("within-range", "a = Clip(x, zero, six) y = Relu(a)", SMALL, w)
    yield Subject("within-range", "a = Sigmoid(x) y = Clip(a, zero, one)", both, w)
    yield Subject("idempotent", "a = Relu(x) y = Relu(a)", both)
    yield Subject("idempotent", "a = Abs(x) y = Abs(a)", SMALL)
    yield Subject("clip-without-bounds", "y = Clip(x)", both)
    w = w | {"w": (32, -1, 3, 3)}
    yield Subject("clip-without-bounds", f"c = {CONV}(x, w) d = Clip(c) y = Relu(d)", SMALL, w)


def _parts() -> Iterator[Subject]:
    w: dict[str, Shape | Array] = {
        "w": (32, -1, 3, 3),
        "first": integers(1),
        "second": integers(2),
        "last": integers(-1),
        "two": integers(2),
        "eight": integers(8),
        "far": integers(12),
    }
    for axis, shapes in ((1, PLANES), (2, SMALL), (-1, ROWS)):
        joined = f"Concat<axis = {axis}>"
        text = f"a = Exp(x) b = {joined}(x, a) y = {joined}(b, x)"
        yield Subject("concat-concat", text, shapes)
        text = f"a, b = Split<axis = {axis}>(x) y = {joined}(a, b)"
        yield Subject("split-concat", text, shapes)
    text = f"c = {CONV}(x, w) a = Concat<axis = 1>(c, x) y = Concat<axis = 1>(a, c)"
    yield Subject("concat-concat", text, SMALL, w)
    for text in (
        "a = Slice(x, two, far, first) y = Slice(a, two, far, last)",
        "a = Slice(x, two, far, last) y = Slice(a, first, eight, last)",
        "a = Slice(x, two, far, first, first) y = Slice(a, first, eight, first, two)",
    ):
        yield Subject("slice-slice", text, (*SMALL, *SEQUENCE), w)
    text = "s = SequenceConstruct(x, x) y = SequenceAt(s, place)"
    yield Subject("sequence-at", text, SMALL, {"place": np.array(1)})


def _conditions() -> Iterator[Subject]:
    w = NUMBERS | {
        "five": np.array(5, np.int32),
        "yes": np.array(True),
        "no": np.array(False),
    }
    above = "c = Greater(x, zero)"
    both = SMALL + ROWS[:1]
    yield Subject("not-not", f"{above} n = Not(c) m = Not(n) y = Where(m, x, zero)", both, w)
    text = "i = Cast<to = 6>(x) c = Less(i, five) n = Not(c) y = Where(n, x, zero)"
    yield Subject("not-comparison", text, both, w)
    yield Subject("where-not", f"{above} n = Not(c) y = Where(n, x, zero)", both, w)
    yield Subject("where-of-one", "y = Where(yes, x, zero)", both, w)
    yield Subject("where-of-one", f"{above} y = Where(c, x, x)", both, w)
    for operator, operand in (("And", "yes"), ("Or", "no"), ("Xor", "no")):
        text = f"{above} d = {operator}(c, {operand}) y = Where(d, x, zero)"
        yield Subject("and-true", text, both, w)
    text = (
        "y = If(yes) <then_branch = f () => (ELEMENT[1, 32, 14, 14] u) { u = Relu(x) }, "
        "else_branch = g () => (ELEMENT[1, 32, 14, 14] v) { v = Exp(x) }>"
    )
    yield Subject("constant-if", text, SMALL, w)


def _nothing() -> Iterator[Subject]:
    """Operators that do nothing, or nothing that the next one does not do."""
    w: dict[str, Shape | Array] = {
        "w": (32, -1, 3, 3),
        "k": (1, 32, 1, 1),
        "none": np.zeros(8, np.int64),
        "ones": np.ones(4, np.int64),
        "zeroth": integers(0),
        "first": integers(1),
        "far": integers(2**31 - 1),
        "epsilon": number(1e-6),
    }
    for operator in ("Identity", "Dropout"):
        rule = operator.lower()
        yield Subject(rule, f"a = {operator}(x) y = Relu(a)", (*SMALL, *VOLUME, *ROWS[:1]))
        yield Subject(rule, f"c = {CONV}(x, w) a = {operator}(c) y = Relu(a)", SMALL, w)
        yield Subject(rule, f"y = {operator}(x)", SMALL)
    for text in (
        "Cast<to = TYPE>({})",
        "Pad({}, none)",
        "Slice({}, zeroth, far, first)",
        "Tile({}, ones)",
        "Concat<axis = 1>({})",
        "Sum({})",
        "Max({})",
        "ReduceSum<noop_with_empty_axes = 1>({})",
    ):
        yield Subject("no-op", f"y = {text.format('x')}", SMALL, w)
        yield Subject("no-op", f"c = {CONV}(x, w) a = {text.format('c')} y = Relu(a)", SMALL, w)
    yield Subject("expanded-operand", "s = Shape(x) e = Expand(k, s) y = Mul(x, e)", SMALL, w)
    text = (
        "n = ReduceL2<axes = [1], keepdims = 1>(x) c = Clip(n, epsilon) s = Shape(x) "
        "e = Expand(c, s) y = Div(x, e)"
    )
    yield Subject("expanded-operand", text, (*PLANES, *VOLUME, *SEQUENCE), w, "as in normalize")
    for text in (
        "a = Cast<to = 1>(x) y = Cast<to = TYPE>(a)",
        "a = Cast<to = 11>(x) y = Cast<to = TYPE>(a)",
        "i = Cast<to = 6>(x) j = Cast<to = 7>(i) l = Cast<to = 6>(j) y = Cast<to = TYPE>(l)",
        "c = Greater(x, epsilon) i = Cast<to = 6>(c) y = Cast<to = TYPE>(i)",
    ):
        yield Subject("cast-cast", text, SMALL + ROWS[:1], w)
    text = "a = Cast<to = 7>(x) y = CastLike(a, x)"
    yield Subject("cast-like", text, SMALL + ROWS[:1], w)


def _duplicates() -> Iterator[Subject]:
    rng = np.random.default_rng(2)
    kernel, matrix, scale = (
        (rng.standard_normal(shape) * 0.05).astype(np.float32)
        for shape in ((32, 32, 3, 3), (64, 64), (1, 32, 1, 1))
    )
    w: dict[str, Shape | Array] = {
        "w": kernel,
        "v": kernel.copy(),
        "m": matrix,
        "n": matrix.copy(),
        "s": scale,
        "t": scale.copy(),
    }
    rule = "duplicate-constant"
    yield Subject(rule, "a = Mul(x, s) b = Tanh(a) y = Mul(b, t)", SMALL, w)
    yield Subject(rule, f"c = {CONV}(x, w) r = Relu(c) y = {CONV}(r, v)", PLANES, w)
    yield Subject(rule, f"c = {CONV}(x, w) r = Tanh(c) d = {CONV}(x, v) y = Add(r, d)", PLANES, w)
    yield Subject(rule, "a = MatMul(x, m) r = Relu(a) y = MatMul(r, n)", ROWS, w)
    yield Subject(rule, "a = MatMul(x, m) r = Tanh(a) b = MatMul(x, n) y = Mul(r, b)", ROWS, w)
    rule = "duplicate-node"
    for text in (
        "a = Sigmoid(x) b = Sigmoid(x) c = Tanh(a) y = Mul(b, c)",
        "a = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x) c = Tanh(a) "
        "b = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x) y = Mul(b, c)",
        "a = ReduceMean<axes = [1]>(x) b = ReduceMean<axes = [1]>(x) c = Sub(x, a) y = Mul(c, b)",
        "a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [0, 2, 3, 1]>(x) c = Tanh(a) "
        "y = Mul(b, c)",
        f"a = {CONV}(x, w) b = {CONV}(x, w) y = Add(a, b)",
        f"a = {CONV}(x, w) b = {CONV}(x, w) c = Tanh(a) d = Relu(b) y = Mul(c, d)",
        f"a = {CONV}(x, w) b = {CONV}(x, w) c = Relu(a) d = Relu(b) y = Mul(c, d)",
    ):
        yield Subject(rule, text, PLANES if "Conv" in text else SMALL, w)
    for text in (
        "a = MatMul(x, m) b = MatMul(x, m) y = Mul(a, b)",
        "a = MatMul(x, m) b = MatMul(x, m) c = Tanh(a) d = Relu(b) y = Mul(c, d)",
        "a = Softmax(x) b = Softmax(x) c = Tanh(a) y = Mul(b, c)",
    ):
        yield Subject(rule, text, ROWS, w)


def _constants() -> Iterator[Subject]:
    """Rules that only fold constants."""
    w = NUMBERS | {
        "s": (1, 32, 1, 1),
        "t": (1, 32, 1, 1),
        "m": (48, 64),
        "w": (32, -1, 3, 3),
        "zeroth": np.array(0),
        "axis": integers(0),
        "rest": integers(32, -1),
    }
    text = "k = Constant<value_float = 2.0>() j = Cast<to = TYPE>(k) y = Mul(x, j)"
    yield Subject("constant-node", text, SMALL)
    yield Subject("fold-constants", "a = Mul(s, t) y = Mul(x, a)", SMALL, w)
    yield Subject("fold-constants", f"v = Mul(w, half) y = {CONV}(x, v)", SMALL, w)
    yield Subject("fold-constants", "v = Transpose<perm = [1, 0]>(m) y = MatMul(x, v)", ROWS, w)
    text = (
        "s0 = Shape(x) n = Gather(s0, zeroth) u = Unsqueeze(n, axis) "
        "t0 = Concat<axis = 0>(u, rest) y = Reshape(x, t0)"
    )
    yield Subject("fixed-shape", text, SMALL, w)


def _recurrent() -> Iterator[Subject]:
    steps: tuple[Shape, ...] = ((16, 2, 64),)
    for operator, gates, directions in (
        ("LSTM", 4, 1),
        ("LSTM", 4, 2),
        ("GRU", 3, 1),
        ("RNN", 1, 1),
    ):
        w: dict[str, Shape | Array] = {
            "w": (directions, gates * 32, 64),
            "r": (directions, gates * 32, 32),
            "b": (directions, 2 * gates * 32),
            "h": np.zeros((directions, 2, 32), np.float32),
            "sizes": integers(directions, 2, 32),
            "dropped": integers(1),
        }  # fmt: skip
        way = "bidirectional" if directions > 1 else "forward"
        takes = f'{operator}<hidden_size = 32, direction = "{way}">'
        states = "h, h" if operator == "LSTM" else "h"
        drop = "y = Squeeze(a, dropped)" if directions == 1 else "y = ReduceMax<axes = [1]>(a)"
        yield Subject("zero-state", f"a = {takes}(x, w, r, b, , {states}) {drop}", steps, w)
        zeros = "k = ConstantOfShape(sizes) h0 = Cast<to = TYPE>(k)"
        states = states.replace("h", "h0")
        text = f"{zeros} a = {takes}(x, w, r, b, , {states}) {drop}"
        yield Subject("zero-state", text, steps, w)
