"""What each rule does to the engine where it stands: both spellings built, side by side.

    python benchmarks/contexts.py
    python benchmarks/contexts.py --rules mean-pool,l2-norm --types float16 --objective graph

A rule is tried alone, on small models: something before the pattern, the pattern, something after.
It needs TensorRT for RTX, and no GPU. A row is worse if it has more kernels, or 0.2 % more traffic.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper, parser

import trtfuse

Array = npt.NDArray[np.generic]
Shape = tuple[int, ...]

#: More traffic than this, relative to the original, is worse.
MORE = 1.002


@dataclass(frozen=True)
class Subject:
    """A pattern to try.

    Attributes:
        rules: the rule that takes it, and those that it needs, separated by spaces.
        text: nodes from `x` to `y`, in ONNX's textual form.
        shapes: of x.
        weights: the constants that it reads: numbers, or a shape to draw, -1 for the channels of x.
        opset: the one it is spelled for.
    """

    rules: str
    text: str
    shapes: tuple[Shape, ...]
    weights: Mapping[str, Shape | Array] = field(default_factory=dict)
    opset: int = 17

    @property
    def rule(self) -> str:
        return self.rules.split()[0]


#: What stands before the pattern: from `x0` to `x`.
BEFORE = {
    "input": "",
    "convolution": "x = Conv<pads = [1, 1, 1, 1]>(x0, before)",
    "conv + relu": "q0 = Conv<pads = [1, 1, 1, 1]>(x0, before) x = Relu(q0)",
    "pointwise": "x = Sigmoid(x0)",
    "product": "x = MatMul(x0, before)",
}
#: What stands after it: from `y` to `z`.
AFTER = {
    "output": "",
    "pointwise": "z = Sigmoid(y)",
    "convolution": "z = Conv(y, after)",
    "product": "z = MatMul(y, after)",
    "gate": "g0 = Sigmoid(y) z = Mul(x, g0)",
    "beside max": "z0 = GlobalMaxPool(x) z = Add(y, z0)",
}

SMALL: tuple[Shape, ...] = ((1, 32, 14, 14),)
PLANES: tuple[Shape, ...] = ((1, 32, 14, 14), (1, 32, 56, 56))
ROWS: tuple[Shape, ...] = ((128, 64), (1, 196, 64))
SEQUENCE: tuple[Shape, ...] = ((2, 96, 64),)


def _integers(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _number(value: float) -> Array:
    return np.array(value, np.float32)


def _listed(numbers: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def subjects() -> Iterator[Subject]:
    """Every pattern."""
    yield from _means()
    yield from _sums()
    yield from _reductions()
    yield from _scales()
    yield from _normalizations()
    yield from _others()


def _means() -> Iterator[Subject]:
    planes = ((1, 32, 7, 7), *PLANES, (1, 64, 112, 112), (1, 128, 14, 14))
    mean = "ReduceMean<axes = [2, 3], keepdims = 1>"
    yield Subject("mean-pool", f"y = {mean}(x)", planes)
    yield Subject("global-mean-pool", "y = GlobalAveragePool(x)", planes)
    silu = "s = Sigmoid(x) a = Mul(x, s)"
    yield Subject("mean-pool", f"{silu} y = {mean}(a)", PLANES)
    yield Subject("mean-pool", f"{silu} b = {mean}(a) c = Sigmoid(b) y = Mul(a, c)", PLANES)


def _sums() -> Iterator[Subject]:
    for axes, shapes in (((1,), PLANES + SEQUENCE), ((-1,), PLANES + ROWS), ((2, 3), PLANES)):
        for keep in (0, 1):
            total, w = f"ReduceSum<keepdims = {keep}>", {"axes": _integers(*axes)}
            yield Subject("l1-norm", f"a = Abs(x) y = {total}(a, axes)", shapes, w)
            yield Subject("sum-of-squares", f"a = Mul(x, x) y = {total}(a, axes)", shapes, w)
            yield Subject(
                "l2-norm sum-of-squares",
                f"a = Mul(x, x) b = {total}(a, axes) y = Sqrt(b)",
                shapes,
                w,
            )
            yield Subject("log-sum", f"a = Abs(x) b = {total}(a, axes) y = Log(b)", shapes, w)
            yield Subject(
                "log-sum-exp log-sum", f"a = Exp(x) b = {total}(a, axes) y = Log(b)", shapes, w
            )
        top = f"m = ReduceMax<axes = {_listed(axes)}, keepdims = 1>(x)"
        yield Subject(
            "log-sum-exp-max log-sum-exp log-sum",
            f"{top} d = Sub(x, m) a = Exp(d) b = ReduceSum(a, axes) l = Log(b) y = Add(l, m)",
            shapes,
            w,
        )
    for axis, opset in itertools.product((1, -1), (11, 17)):
        text = f"a = Softmax<axis = {axis}>(x) y = Log(a)"
        yield Subject("log-softmax", text, PLANES + ROWS, opset=opset)


def _reductions() -> Iterator[Subject]:
    for first, second in (((3,), (2,)), ((2,), (3,)), ((1,), (2,)), ((2, 3), (1,))):
        for operator in ("ReduceMean", "ReduceMax"):
            for keep in (0, 1):
                if not keep and second > first:
                    continue
                text = (
                    f"a = {operator}<axes = {_listed(first)}, keepdims = {keep}>(x) "
                    f"y = {operator}<axes = {_listed(second)}, keepdims = {keep}>(a)"
                )
                yield Subject("reduce-reduce", text, PLANES)
    for perm, axes in (((0, 2, 3, 1), (1, 2)), ((0, 2, 3, 1), (3,)), ((0, 3, 1, 2), (1,))):
        for operator, keep in itertools.product(("ReduceMean", "ReduceMax"), (0, 1)):
            text = (
                f"a = Transpose<perm = {_listed(perm)}>(x) "
                f"y = {operator}<axes = {_listed(axes)}, keepdims = {keep}>(a)"
            )
            yield Subject("shuffle-reduce", text, PLANES)


def _scales() -> Iterator[Subject]:
    variance = np.abs(np.random.default_rng(1).normal(1, 0.1, 32)).astype(np.float32)
    channel = (1, 32, 1, 1)
    w: dict[str, Shape | Array] = {
        **dict.fromkeys(("g", "b", "m"), (32,)),
        "v": variance,
        "w": (32, -1, 3, 3),
        "w1": (32, -1, 1, 1),
        "s": channel,
        "t": channel,
        "half": _number(0.5),
        "own": (1, -1, 1, 1),
    }
    conv = "c = Conv<pads = [1, 1, 1, 1]>(x, w)"
    norm = "BatchNormalization(c, g, b, m, v)"
    branch = f"{conv} n = {norm} d = Conv(x, w1) o = BatchNormalization(d, g, b, m, v)"
    for text in (
        f"{conv} y = Mul(c, s)",
        f"{conv} d = Mul(c, s) y = Add(d, t)",
        f"{conv} y = {norm}",
        f"{conv} n = {norm} y = Relu(n)",
        f"{conv} n = {norm} y = Add(n, x)",
        f"{conv} n = {norm} a = Add(n, x) y = Relu(a)",
        f"{branch} a = Add(n, o) y = Relu(a)",
        f"{branch} i = BatchNormalization(x, g, b, m, v) e = Add(n, o) a = Add(e, i) y = Relu(a)",
        f"{conv} n = {norm} y = GlobalAveragePool(n)",
        f"{conv} n = {norm} r = Relu(n) y = GlobalAveragePool(r)",
        f"{conv} n = {norm} r = Relu(n) p = GlobalAveragePool(r) q = Sigmoid(p) y = Mul(r, q)",
        f"{conv} n = {norm} q = Sigmoid(n) r = Mul(n, q) y = GlobalAveragePool(r)",
        f"{conv} n = {norm} d = Conv<pads = [1, 1, 1, 1]>(n, w) e = Mul(d, s) y = Add(n, e)",
        f"{conv} n = Mul(c, s) d = Conv<pads = [1, 1, 1, 1]>(x, w) e = Mul(d, t) y = Add(n, e)",
    ):
        yield Subject("conv-scale", text, PLANES, w)
    text = "d = Mul(x, own) y = Conv<pads = [1, 1, 1, 1]>(d, w)"
    yield Subject("scale-conv", text, PLANES, w)
    text = "d = Mul(x, own) e = Add(d, own) y = Conv(e, w1)"
    yield Subject("scale-conv", text, PLANES, w)
    text = "d = Mul(x, own) c = Conv(d, w1) a = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(c, a)"
    yield Subject("scale-conv", text, PLANES, w)
    yield Subject("activation-scale", f"{conv} r = Relu(c) y = Mul(r, half)", PLANES, w)
    text = f"d = Mul(x, half) r = Relu(d) {conv.replace('(x', '(r').replace('c =', 'y =')}"
    yield Subject("scale-activation", text, PLANES, w)
    yield Subject("scale-scale", "d = Mul(x, own) y = Mul(d, own)", PLANES, w)
    fc: dict[str, Shape | Array] = {"w": (64, 48), "s": (48,), "t": (48,), "u": (64,)}
    yield Subject("fc-scale", "c = MatMul(x, w) y = Mul(c, s)", ROWS, fc)
    yield Subject("fc-scale", "c = MatMul(x, w) y = Add(c, s)", ROWS, fc)
    yield Subject("fc-scale", "c = MatMul(x, w) d = Add(c, t) y = Mul(d, s)", ROWS, fc)
    yield Subject("fc-scale", "c = Gemm(x, w, t) d = Mul(c, s) y = Relu(d)", ROWS[:1], fc)
    yield Subject("scale-fc", "d = Mul(x, u) y = MatMul(d, w)", ROWS, fc)
    yield Subject("scale-fc", "d = Mul(x, u) e = Add(d, u) y = Gemm(e, w, t)", ROWS[:1], fc)
    text = "d = Mul(x, u) c = MatMul(d, w) a = MatMul(x, w) y = Add(c, a)"
    yield Subject("scale-fc", text, ROWS, fc)
    fc["k"] = (48, 16)
    yield Subject("product-product", "c = MatMul(x, w) y = MatMul(c, k)", ROWS, fc)


def _normalizations() -> Iterator[Subject]:
    for axes, shapes in (((-1,), ROWS), ((-2, -1), SEQUENCE), ((1, 2, 3), PLANES), ((1,), PLANES)):
        mean = f"ReduceMean<axes = {_listed(axes)}, keepdims = 1>"
        root = f"e = Mul(d, d) va = {mean}(e) f = Add(va, epsilon) h = Sqrt(f)"
        w: dict[str, Shape | Array] = {"epsilon": _number(1e-5), "axes": _integers(*axes)}
        centred = f"mu = {mean}(x) d = Sub(x, mu) {root}"
        yield Subject("layer-norm", f"{centred} y = Div(d, h)", shapes, w)
        yield Subject("layer-norm", f"{centred} n = Div(d, h) y = Add(n, mu)", shapes, w)
        square = "e = Mul(x, x) va = ReduceMean<keepdims = 1>(e, axes) f = Add(va, epsilon)"
        yield Subject("rms-norm", f"{square} h = Sqrt(f) y = Div(x, h)", shapes, w, 23)
        if axes == (-1,):
            w |= {"gain": (64,), "shift": (64,)}
            text = f"{centred} n = Div(d, h) o = Mul(n, gain) y = Add(o, shift)"
            yield Subject("layer-norm layer-norm-scale layer-norm-shift", text, shapes, w)
            text = f"{square} h = Sqrt(f) n = Div(x, h) y = Mul(n, gain)"
            yield Subject("rms-norm rms-norm-scale", text, shapes, w, 23)


def _others() -> Iterator[Subject]:
    w: dict[str, Shape | Array] = {
        "p": _integers(0, 0, 1, 1, 0, 0, 1, 1),
        "w": (32, -1, 3, 3),
        "k": (1, 32, 1, 1),
        "r": _integers(1, 4, 8, 14, 14),
        "q": _integers(1, 32, 14, 14),
        "f": _integers(1, 32, 196),
        "root": _number(2**0.5),
        "one": _number(1),
        "half": _number(0.5),
        "zero": _number(0),
        "three": _number(3),
        "six": _number(6),
    }
    yield Subject("pad-into-layer", "d = Pad(x, p) y = Conv(d, w)", PLANES, w)
    pool = "AveragePool<kernel_shape = [3, 3], count_include_pad = 1>"
    yield Subject("pad-into-layer", f"d = Pad(x, p) y = {pool}(d)", PLANES, w)
    for text in (
        "a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [0, 3, 1, 2]>(a) y = Exp(b)",
        "a = Transpose<perm = [0, 2, 3, 1]>(x) y = Transpose<perm = [0, 2, 1, 3]>(a)",
        "a = Reshape(x, r) b = Transpose<perm = [0, 2, 1, 3, 4]>(a) y = Reshape(b, q)",
        "a = Reshape(x, f) y = Reshape(a, q)",
        "a = Flatten(x) y = Reshape(a, q)",
    ):
        yield Subject("shuffle-shuffle", text, SMALL, w)
    gelu = "a = Div(x, root) b = Erf(a) c = Add(b, one) d = Mul(x, c) y = Mul(d, half)"
    yield Subject("gelu", gelu, PLANES + ROWS, w, 20)
    text = "a = Add(x, three) b = Clip(a, zero, six) y = Div(b, six)"
    yield Subject("hard-sigmoid", text, PLANES + ROWS, w)
    yield Subject("clip-clip", "a = Clip(x, zero, six) y = Clip(a, one, three)", PLANES, w)
    yield Subject("within-range", "a = Clip(x, zero, six) y = Relu(a)", PLANES, w)
    yield Subject("idempotent", "a = Relu(x) y = Relu(a)", PLANES)
    yield Subject("expanded-operand", "s = Shape(x) e = Expand(k, s) y = Mul(x, e)", PLANES, w)


def _draw(shape: Shape, rng: np.random.Generator) -> Array:
    numbers = rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5 + 0.05
    return numbers.astype(np.float32)


def _model(
    text: str, names: tuple[str, str], shape: Shape, weights: Mapping[str, Array], opset: int,
    element: str,
) -> ModelProto:  # fmt: skip
    source, target = names
    header = f'<ir_version: {10 if opset > 21 else 8}, opset_import: ["": {opset}]>'
    signature = f"({element}{_listed(shape)} {source}) => ({element} {target})"
    made = parser.parse_model(f"{header} context {signature} {{ {text} }}")
    read = {name for node in made.graph.node for name in node.input}
    for name in sorted(read & weights.keys()):
        numbers = weights[name]
        if numbers.dtype == np.float32 and element == "float16":
            numbers = numbers.astype(np.float16)
        made.graph.initializer.append(numpy_helper.from_array(numbers, name))
    for index, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{index}"
    # Its shape is what inference finds.
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def contexts(subject: Subject, shape: Shape, element: str) -> Iterator[tuple[str, str, ModelProto]]:
    """The models to try a pattern in, each with what is before and after it."""
    rng = np.random.default_rng(0)
    weights = {
        name: _draw(tuple(shape[1] if size == -1 else size for size in given), rng)
        if isinstance(given, tuple)
        else given
        for name, given in subject.weights.items()
    }
    alone = _model(subject.text, ("x", "y"), shape, weights, subject.opset, element)
    out = tuple(dim.dim_value for dim in alone.graph.output[0].type.tensor_type.shape.dim)
    planar, rows = len(shape) == 4, len(shape) < 4
    broadcasts = len(out) == len(shape) and all(
        a in (1, b) for a, b in zip(out, shape, strict=True)
    )
    fits_after = {
        "convolution": len(out) == 4,
        "product": rows and len(out) == len(shape) and out[-1] > 1,
        "gate": broadcasts,
        "beside max": planar and out == (*shape[:2], 1, 1),
    }
    for (before, head), (after, tail) in itertools.product(BEFORE.items(), AFTER.items()):
        if ("Conv" in head and not planar) or ("MatMul" in head and not rows):
            continue
        if not fits_after.get(after, True):
            continue
        around = dict(weights)
        around["before"] = _draw((shape[1], shape[1], 3, 3) if planar else (shape[-1],) * 2, rng)
        if after in ("convolution", "product"):
            feeds = (16, out[1], 1, 1) if after == "convolution" else (out[-1], 24)
            around["after"] = _draw(feeds, rng)
        names = ("x0" if head else "x", "z" if tail else "y")
        text = f"{head} {subject.text} {tail}"
        yield before, after, _model(text, names, shape, around, subject.opset, element)


@dataclass(frozen=True)
class Row:
    """Both spellings of one pattern in one context; kernels and bytes of each."""

    subject: Subject
    shape: Shape
    element: str
    before: str
    after: str
    kernels: tuple[int, int]
    traffic: tuple[int, int]
    made: bool

    @property
    def verdict(self) -> str:
        (k, more), (t, bytes_) = self.kernels, self.traffic
        if more > k or bytes_ > MORE * t:
            return "WORSE"
        if not self.made:
            return "held"
        return "better" if more < k or bytes_ * MORE < t else "same"

    def __str__(self) -> str:
        (k, now), (t, then) = self.kernels, self.traffic
        where = f"{self.before} / {self.after}"
        return (
            f"{self.verdict:6} {self.subject.rule:16} {where:25} {self.element:8} "
            f"{_listed(self.shape):17} {k:2} -> {now:2}  {t / 1e6:7.3f} -> {then / 1e6:7.3f}  "
            f"{self.subject.text}"
        )


def rows(subject: Subject, element: str, objective: str) -> list[Row]:
    """The rows of a pattern."""
    found = []
    for shape in subject.shapes:
        for before, after, model in contexts(subject, shape, element):
            chosen = subject.rules.split()
            result = trtfuse.fuse(
                model, rules=chosen, groups="off", verify="none", objective=objective
            )
            fused = {fusion.rule for fusion in result.report.fused}
            made = subject.rule in fused
            sources = (model, result.model) if fused else (model,)
            built = [trtfuse.build(source, in_process=True) for source in sources]
            kernels = built[0].kernels, built[-1].kernels
            traffic = built[0].traffic, built[-1].traffic
            found.append(Row(subject, shape, element, before, after, kernels, traffic, made))
    return found


def _work(job: tuple[Subject, str, str]) -> list[Row]:
    return rows(*job)


def main() -> None:
    """Prints the table."""
    assert __doc__ is not None
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rules", default="", help="rules to try; all if omitted")
    arguments.add_argument("--types", default="float,float16", help="element types of x")
    arguments.add_argument("--objective", default="safe", help="as for `trtfuse fuse`")
    arguments.add_argument("--processes", type=int, default=2)
    given = arguments.parse_args()
    chosen = set(filter(None, given.rules.split(",")))
    jobs = [
        (subject, element, given.objective)
        for subject in subjects()
        if not chosen or subject.rule in chosen
        for element in given.types.split(",")
    ]
    counts: dict[str, dict[str, int]] = {}
    with multiprocessing.get_context("spawn").Pool(given.processes, maxtasksperchild=20) as pool:
        for listed in pool.imap(_work, jobs):
            for row in listed:
                of_rule = counts.setdefault(row.subject.rule, {})
                of_rule[row.verdict] = of_rule.get(row.verdict, 0) + 1
                print(row, flush=True)
    print(table(counts))


def table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """How many rows came out how, rule by rule, as Markdown."""
    verdicts = ("better", "same", "held", "WORSE")
    lines = [f"| rule | {' | '.join(verdicts).lower()} |", "| --- " + "| --: " * 4 + "|"]
    for rule, of_rule in counts.items():
        cells = " | ".join(str(of_rule.get(verdict, 0)) for verdict in verdicts)
        lines.append(f"| {rule} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
