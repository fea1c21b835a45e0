"""Rewrites that are known to cost the engine where they stand are not made by default."""

from __future__ import annotations

import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import fused, model
from onnx import ModelProto, numpy_helper, parser

import trtfuse
from trtfuse.layers.ways import WAYS

RELU = "c = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(c)"
CLASSES = {"k": np.eye(16, dtype=np.float32), "b": np.full(16, 0.5, np.float32)}
SILU = "c = Conv<pads = [1, 1, 1, 1]>(x, w) q = Sigmoid(c) s0 = Mul(c, q)"
MEAN = "ReduceMean<axes = [2, 3], keepdims = 1>"


def weights(channels: int) -> np.ndarray:
    return np.full((channels, channels, 3, 3), 0.01, np.float32)


def planar(text: str, channels: int, size: int, opset: int = 17) -> ModelProto:
    """Nodes from x to y, and a weight for a convolution."""
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    shape = f"1, {channels}, {size}, {size}"
    made = parser.parse_model(f"{header} planar (float[{shape}] x) => (float y) {{ {text} }}")
    made.graph.output[0].type.tensor_type.ClearField("shape")
    scale = np.full((1, channels, 1, 1), 2, np.float32)
    narrow = weights(channels)[..., :1, :1].copy()
    stored = {"v": weights(channels), "v1": narrow, "w": weights(channels), "s": scale}
    for name, numbers in stored.items():
        if f", {name})" in text:
            made.graph.initializer.append(numpy_helper.from_array(numbers, name))
    return made


def made(text: str, channels: int, size: int, rule: str, opset: int = 17) -> str:
    """Why a rule is not applied to a model, or nothing; with "graph" it always is."""
    source = planar(text, channels, size, opset)
    as_graph = rewrite_and_explain(source, rules=[rule, "log-sum"], objective="graph")
    assert rule in [name for name, _ in fused(as_graph)]
    result = rewrite_and_explain(source, rules=[rule, "log-sum"])
    applied = rule in [name for name, _ in fused(result)]
    (because,) = [d.because for d in result.report.declined if d.rule == rule] or [""]
    assert applied == (not because)
    guards = {d.guard for d in result.report.declined if d.rule == rule}
    assert guards <= {"serves-the-engine"}
    return because


@pytest.mark.parametrize(
    ("text", "channels", "size", "because"),
    [
        (f"y = {MEAN}(x)", 32, 56, "copies the tensor to another layout and back"),
        (f"r = Sigmoid(x) y = {MEAN}(r)", 32, 56, "copies the tensor to another layout and back"),
        (f"{RELU} y = {MEAN}(r)", 32, 20, "in the kernel that copies it to its layout"),
        (f"{RELU} y = {MEAN}(r)", 32, 24, ""),
        (f"c = Conv<pads = [1, 1, 1, 1]>(x, w) y = {MEAN}(c)", 32, 28, ""),
        (f"{RELU} p = MaxPool<kernel_shape = [2, 2]>(r) y = {MEAN}(p)", 32, 28, ""),
        (f"{RELU} t = Transpose<perm = [0, 1, 3, 2]>(r) y = {MEAN}(t)", 32, 28, "copies the"),
        (
            f"{RELU} a = {MEAN}(r) b = GlobalMaxPool(r) y = Add(a, b)",
            32,
            28,
            "in the kernel of the other reduction beside it",
        ),
        (
            f"{SILU} y = {MEAN}(s0)",
            32,
            28,
            "takes the mean along in the pointwise kernel before it",
        ),
        (
            f"{SILU} a = {MEAN}(s0) g = Sigmoid(a) y = Mul(s0, g)",
            32,
            28,
            "takes the mean along in the pointwise kernel before it",
        ),
        (f"{SILU} a = {MEAN}(s0) g = Sigmoid(a) d = Mul(s0, g) y = Conv(d, v)", 32, 28, ""),
        (f"{SILU} a = {MEAN}(s0) p = Conv(a, v1) g = Sigmoid(p) y = Mul(s0, g)", 32, 28, ""),
        (
            f"{SILU} a = {MEAN}(s0) p = Conv(a, v1) g = Sigmoid(p) d = Mul(s0, g) y = Add(d, x)",
            32,
            28,
            "takes the mean along in the pointwise kernel before it",
        ),
        (
            f"b = Conv<pads = [1, 1, 1, 1]>(x, v) {SILU} a = {MEAN}(s0) g = Sigmoid(a) "
            "d = Mul(s0, g) y = Add(d, b)",
            32,
            28,
            "",
        ),
    ],
)
def test_a_mean_is_a_pooling_where_that_serves_the_engine(
    text: str, channels: int, size: int, because: str
) -> None:
    said = made(text, channels, size, "mean-pool")
    assert because in said
    assert bool(said) == bool(because)
    assert said == "" or said.startswith("TensorRT for RTX 1.7 ")
    pooled = text.replace(MEAN, "GlobalAveragePool")
    assert made(pooled, channels, size, "global-mean-pool") == said


def test_a_pooling_with_a_window_that_tensorrt_refuses_is_never_made() -> None:
    source = planar(f"{RELU} y = {MEAN}(r)", 2, 317)
    for objective in ("safe", "graph"):
        result = rewrite_and_explain(source, rules=["mean-pool"], objective=objective)
        (missed,) = result.report.declined
        assert missed.guard == "buildable-window"
        assert (
            missed.because
            == "the plane [317, 317] has 100,489 elements, and a pooling takes at most 99,999"
        )
    assert fused(rewrite_and_explain(planar(f"{RELU} y = {MEAN}(r)", 2, 316), rules=["mean-pool"]))


@pytest.mark.parametrize(
    ("shape", "is_made"),
    [
        ((1, 1, 250, 400), False),
        ((1, 1, 1, 99_999), True),
        ((1, 1, 316, 316, 316), True),
        ((1, 1, 316, 316, 317), False),
    ],
)
def test_a_window_may_be_as_large_as_tensorrt_takes(shape: tuple[int, ...], is_made: bool) -> None:
    sizes, axes = list(shape), list(range(2, len(shape)))
    source = model(
        f"(float{sizes} x) => (float[?,?,?,?{',?' * (len(shape) - 4)}] y) "
        f"{{ y = ReduceMean<axes = {axes}, keepdims = 1>(x) }}",
        opset=17,
    )
    result = rewrite_and_explain(source, rules=["mean-pool"], verify="none", objective="graph")
    assert bool(fused(result)) == is_made
    guards = [d.guard for d in result.report.declined]
    assert guards == ([] if is_made else ["buildable-window"])


def test_a_log_sum_exp_stays_a_group_of_its_entry() -> None:
    source = model(
        "(float[2, 3, 4] x) => (float[2, 4] y) "
        "{ a = Exp(x) b = ReduceSum<keepdims = 0>(a, axes) [last] y = Log(b) }",
        axes=np.array([1]),
    )
    result = rewrite_and_explain(source, groups="flat")
    assert fused(result) == [
        ("log-sum", "node_of_b + last"),
        ("spelled-log-sum-exp", "node_of_a + node_of_y"),
    ]
    (missed,) = [d for d in result.report.declined if d.rule == "log-sum-exp"]
    assert missed.because == (
        "TensorRT for RTX 1.7 computes ReduceLogSumExp in its guarded form, up to 4 kernels for 2"
    )
    as_graph = rewrite_and_explain(source, groups="flat", objective="graph")
    assert [rule for rule, _ in fused(as_graph)] == ["log-sum", "log-sum-exp"]


NORMS = {
    "l2-norm": "a = Mul(x, x) b = ReduceSum<keepdims = 1>(a, axes) y = Sqrt(b)",
    "log-sum": "b = ReduceSum<keepdims = 1>(x, axes) y = Log(b)",
}


@pytest.mark.parametrize("rule", NORMS)
@pytest.mark.parametrize(
    ("kind", "shape", "axis", "stays"),
    [
        ("float16", "2,3,4,5", 1, True),
        ("float16", "2,3,4,5", 3, True),
        ("float16", "2,3,4", 1, True),
        ("float16", "2,3,4", 2, False),
        ("float16", "2,3,4", -1, False),
        ("float16", "2,3", 1, False),
        ("bfloat16", "2,3,4,5", 1, False),
        ("float", "2,3,4,5", 1, False),
    ],
)
def test_a_norm_of_float16_stays_a_group_but_over_channels(
    rule: str, kind: str, shape: str, axis: int, stays: bool
) -> None:
    some = ",".join("?" * len(shape.split(",")))
    source = model(
        f"({kind}[{shape}] x) => ({kind}[{some}] y) {{ {NORMS[rule]} }}",
        opset=17,
        axes=np.array([axis]),
    )
    kept = rewrite_and_explain(source, groups="flat", verify="none")
    named = [name for name, _ in fused(kept)]
    assert (f"spelled-{rule}" in named) == stays
    assert (rule in named) != stays
    because = [d.because for d in kept.report.declined if d.rule == rule]
    assert bool(because) == stays
    assert all(why.startswith("TensorRT for RTX 1.7 computes ReduceL2 and") for why in because)
    as_graph = rewrite_and_explain(source, groups="flat", objective="graph", verify="none")
    assert rule in [name for name, _ in fused(as_graph)]


def test_a_log_sum_exp_of_float16_stays_a_group_of_its_entry() -> None:
    body = "a = Exp(x) b = ReduceSum<keepdims = 1>(a, axes) y = Log(b)"
    source = model(
        f"(float16[2,3,4,5] x) => (float16[2,3,4,1] y) {{ {body} }}", axes=np.array([-1])
    )
    names = "node_of_a + node_of_b + node_of_y"
    assert fused(rewrite_and_explain(source, groups="flat")) == [("spelled-log-sum-exp", names)]
    as_graph = rewrite_and_explain(source, groups="flat", objective="graph")
    assert [rule for rule, _ in fused(as_graph)] == ["log-sum", "log-sum-exp"]


def test_a_log_sum_exp_of_float16_below_its_maximum_is_one_operator() -> None:
    source = model(
        """(float16[2,3,4,5] x) => (float16[2,3,4,1] y) {
            m = ReduceMax<keepdims = 1>(x, axes) d = Sub(x, m) a = Exp(d)
            b = ReduceSum<keepdims = 1>(a, axes) l = Log(b) y = Add(l, m)
        }""",
        axes=np.array([-1]),
    )
    result = rewrite_and_explain(source, groups="flat")
    assert [rule for rule, _ in fused(result)] == ["log-sum-exp-max"]
    assert [node.op_type for node in result.model.graph.node] == ["ReduceLogSumExp"]


@pytest.mark.parametrize(
    ("opset", "axis", "stays"), [(11, 1, True), (11, 2, True), (11, -1, True), (13, 1, False)]
)
def test_a_softmax_over_several_axes_and_its_logarithm_stay_a_group(
    opset: int, axis: int, stays: bool
) -> None:
    source = model(
        "(float[2, 3, 4] x) => (float[2, 3, 4] y) "
        f"{{ [soft] a = Softmax<axis = {axis}>(x) [last] y = Log(a) }}",
        opset=opset,
    )
    expected = "spelled-log-softmax" if stays else "log-softmax"
    assert fused(rewrite_and_explain(source, groups="flat")) == [(expected, "soft + last")]
    as_graph = rewrite_and_explain(source, groups="flat", objective="graph")
    assert fused(as_graph) == [("log-softmax", "soft + last")]


@pytest.mark.parametrize(("other", "folds"), [("s", True), ("t", False)])
def test_weights_that_layers_share_stay_shared(other: str, folds: bool) -> None:
    source = model(
        f"""(float[1, 4, 8, 8] a, float[1, 4, 8, 8] b) => (float[1, 4, 8, 8] y) {{
            [one] c = Conv<pads = [1, 1, 1, 1]>(a, w) d = Mul(c, s)
            [two] e = Conv<pads = [1, 1, 1, 1]>(b, w) f = Mul(e, {other})
            y = Add(d, f)
        }}""",
        w=weights(4),
        s=np.full((1, 4, 1, 1), 2, np.float32),
        t=np.full((1, 4, 1, 1), 3, np.float32),
    )
    result = rewrite_and_explain(source, groups="off")
    operators = [node.op_type for node in result.model.graph.node]
    assert operators.count("Mul") == (0 if folds else 2)
    assert len({node.input[1] for node in result.model.graph.node if node.op_type == "Conv"}) == 1
    as_graph = rewrite_and_explain(source, groups="off", objective="graph").model.graph.node
    assert "Mul" not in [node.op_type for node in as_graph]


@pytest.mark.parametrize("size", [8, 56])
@pytest.mark.parametrize(
    ("after", "folds"),
    [
        (f"m = {MEAN}(r) y = Mul(r, m)", False),
        (f"m = {MEAN}(r) q = Sigmoid(m) y = Mul(r, q)", False),
        (f"a = Add(r, x) m = {MEAN}(a) y = Mul(a, m)", False),
        ("y = GlobalAveragePool(r)", False),
        (f"m = {MEAN}(r) p = Conv<pads = [1, 1, 1, 1]>(m, w) y = Mul(r, p)", True),
        (f"m = {MEAN}(r) f = Flatten(m) y = MatMul(f, f)", True),
        ("y = Abs(r)", True),
        ("p = Conv<pads = [1, 1, 1, 1]>(r, w) y = GlobalAveragePool(p)", True),
    ],
)
def test_a_scale_stays_where_a_mean_that_no_product_reads_rides_along(
    size: int, after: str, folds: bool
) -> None:
    scaled = "c = Conv<pads = [1, 1, 1, 1]>(x, v) d = Mul(c, s) r = Relu(d)"
    source = planar(f"{scaled} {after}", 32, size)
    result = rewrite_and_explain(source, rules=["conv-scale"])
    assert bool(fused(result)) == folds
    assert fused(rewrite_and_explain(source, rules=["conv-scale"], objective="graph"))


@pytest.mark.parametrize(
    ("first", "second", "merges"), [([3], [2], True), ([1], [2], False), ([2, 3], [1], True)]
)
def test_reductions_merge_over_the_last_axes(
    first: list[int], second: list[int], merges: bool
) -> None:
    text = (
        f"a = ReduceMax<axes = {first}, keepdims = 1>(x) "
        f"y = ReduceMax<axes = {second}, keepdims = 1>(a)"
    )
    said = made(text, 4, 8, "reduce-reduce")
    assert said == (
        ""
        if merges
        else "TensorRT for RTX 1.7 reduces several axes at once only where they are the last ones, "
        "and copies the tensor otherwise"
    )


@pytest.mark.parametrize(("gain", "is_made"), [("y = Identity(n)", False), ("y = Mul(n, g)", True)])
def test_a_normalization_without_a_gain_stays_a_group(gain: str, is_made: bool) -> None:
    mean = "ReduceMean<axes = [-1], keepdims = 1>"
    source = model(
        f"""(float[8, 16] x) => (float[8, 16] y) {{
            mu = {mean}(x) d = Sub(x, mu) e = Mul(d, d) v = {mean}(e) f = Add(v, epsilon)
            h = Sqrt(f) n = Div(d, h) {gain}
        }}""",
        opset=17,
        epsilon=np.float32(1e-5),
        g=np.full(16, 2, np.float32),
    )
    rules = [rule for rule, _ in fused(rewrite_and_explain(source, groups="flat"))]
    assert ("layer-norm" in rules) == is_made
    assert ("spelled-normalization" in rules) != is_made


@pytest.mark.parametrize(
    ("first", "second", "size", "merges"),
    [(2, 3, 56, False), (3, 2, 56, True), (2, 3, 14, True)],
)
def test_reductions_of_a_large_plane_behind_a_convolution_stay_two(
    first: int, second: int, size: int, merges: bool
) -> None:
    text = (
        f"{RELU} a = ReduceMax<axes = [{first}], keepdims = 1>(r) "
        f"y = ReduceMax<axes = [{second}], keepdims = 1>(a)"
    )
    assert made(text, 32, size, "reduce-reduce").startswith("TensorRT") != merges


@pytest.mark.parametrize(("size", "merges"), [(20, True), (24, False)])
def test_reductions_of_many_elements_to_one_stay_two(size: int, merges: bool) -> None:
    text = (
        "a = ReduceMax<axes = [2, 3], keepdims = 1>(x) y = ReduceMax<axes = [1], keepdims = 1>(a)"
    )
    said = made(text, 32, size, "reduce-reduce")
    assert ("splits a reduction of 16,384 elements" in said) != merges


TRANSPOSED = "Transpose<perm = [0, 2, 3, 1]>"


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(
    ("text", "size", "because"),
    [
        ("t = {t}(x) y = ReduceMax<axes = [1, 2], keepdims = {k}>(t)", 56, ""),
        (RELU + " t = {t}(r) y = ReduceMax<axes = [1, 2], keepdims = {k}>(t)", 20, ""),
        (
            RELU + " t = {t}(r) y = ReduceMean<axes = [1, 2], keepdims = {k}>(t)",
            24,
            "reads the channels of a convolution where they are",
        ),
        (
            "t = {t}(x) y = ReduceMax<axes = [3], keepdims = {k}>(t)",
            8,
            "reduces several axes at once only where they are the last ones",
        ),
        (
            "q = QuantizeLinear(x, u, z) d = DequantizeLinear(q, u, z) t = {t}(d) "
            "y = ReduceMax<axes = [1, 2], keepdims = {k}>(t)",
            8,
            "takes the dequantization in the kernel that transposes",
        ),
    ],
)
def test_a_transposition_that_serves_a_reduction_stays(
    text: str, size: int, because: str, keep: int
) -> None:
    source = planar(text.format(t=TRANSPOSED, k=keep), 32, size)
    for name, content in (("u", np.float32(0.1)), ("z", np.int8(0))):
        if f"{name}, z)" in text or f", {name})" in text:
            source.graph.initializer.append(numpy_helper.from_array(np.asarray(content), name))
    rules = ["shuffle-reduce", "spelled-shuffle-reduce"]
    result = rewrite_and_explain(source, rules=rules, groups="flat", verify="none")
    expected = ["spelled-shuffle-reduce" if because else "shuffle-reduce"]
    assert [rule for rule, _ in fused(result)] == expected
    said = [d.because for d in result.report.declined if d.rule == "shuffle-reduce"]
    assert len(said) == bool(because)
    assert all(because in why for why in said)
    as_graph = rewrite_and_explain(
        source, rules=rules, groups="flat", verify="none", objective="graph"
    )
    assert [rule for rule, _ in fused(as_graph)] == ["shuffle-reduce"]


@pytest.mark.parametrize(("keep", "moves"), [(0, True), (1, False)])
def test_a_volume_is_transposed_before_it_is_reduced(keep: int, moves: bool) -> None:
    source = model(
        f"""(float[1,4,2,3,5] x) => (float[?,?{",?,?,?" * keep}] y) {{
            t = Transpose<perm = [0, 2, 3, 4, 1]>(x)
            y = ReduceMax<axes = [1, 2, 3], keepdims = {keep}>(t)
        }}""",
        opset=17,
    )
    result = rewrite_and_explain(source, rules=["shuffle-reduce"])
    assert bool(fused(result)) == moves


@pytest.mark.parametrize(
    ("text", "opset", "stays"),
    [
        ("c = MatMul(x, k) s = Softmax(c) y = Log(s)", 17, True),
        ("c = Gemm(x, k, b) s = Softmax(c) y = Log(s)", 17, True),
        ("c = MatMul(x, k) d = Add(c, b) e = Relu(d) s = Softmax(e) y = Log(s)", 17, True),
        ("c = MatMul(x, k) s = Softmax(c) l = Log(s) y = Neg(l)", 17, False),
        ("s = Softmax(x) y = Log(s)", 17, False),
        ("s = Softmax<axis = -1>(x) y = Log(s)", 12, True),
        ("s = Softmax<axis = -1>(x) l = Log(s) y = Neg(l)", 12, False),
    ],
)
def test_a_log_softmax_at_the_end_stays_a_group_behind_a_product(
    text: str, opset: int, stays: bool
) -> None:
    source = model(
        f"(float[8,16] x) => (float[8,16] y) {{ {text} }}",
        opset=opset,
        **{name: n for name, n in CLASSES.items() if f", {name}" in text},
    )
    result = rewrite_and_explain(
        source, rules=["log-softmax", "spelled-log-softmax"], groups="flat"
    )
    expected = "spelled-log-softmax" if stays else "log-softmax"
    assert [rule for rule, _ in fused(result)] == [expected]
    said = [d.because for d in result.report.declined if d.rule == "log-softmax"]
    assert [why[:48] for why in said] == (
        ["TensorRT for RTX 1.7 copies a LogSoftmax that is"] if stays else []
    )


@pytest.mark.parametrize(
    ("text", "goes"),
    [
        (
            "c = Conv<pads = [1, 1, 1, 1]>(x, w) a, b = Split<axis = 1>(c) "
            "y = Concat<axis = 1>(a, b)",
            0,
        ),
        (f"{RELU} a, b = Split<axis = 1>(r) d = Concat<axis = 1>(a, b) y = Sigmoid(d)", 1),
        ("a, b = Split<axis = 1>(x) y = Concat<axis = 1>(a, b)", 1),
    ],
)
def test_the_parts_of_a_convolution_that_is_an_output_stay_joined(text: str, goes: int) -> None:
    assert bool(made(text, 4, 8, "split-concat")) != bool(goes)


def test_ways_are_sentences_with_an_experiment() -> None:
    assert len({way.name for way in WAYS}) == len(WAYS)
    for way in WAYS:
        assert str(way) == f"TensorRT for RTX 1.7 {way.does}"
        assert way.shown.endswith(".")
        assert not way.does.endswith(".")


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(
        trtfuse.UsageError, match=r"^unknown objective 'fast'; there are safe, graph$"
    ):
        rewrite_and_explain(planar("y = Relu(x)", 1, 1), objective="fast")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("product", "left"), [("Gemm(d, w, t)", ["Mul", "Gemm"]), ("MatMul(d, w)", ["MatMul"])]
)
def test_a_scale_stays_between_a_dequantization_and_a_gemm_with_a_bias(
    product: str, left: list[str]
) -> None:
    made = model(
        f"""(int8[4,3] q) => (float[4,2] y) {{
            x = DequantizeLinear(q, step, point) d = Mul(x, s) y = {product}
        }}""",
        step=np.float32(0.5),
        point=np.int8(0),
        s=np.float32([1, 2, 3]),
        w=np.ones((3, 2), np.float32),
        t=np.float32([1, 2]),
    )
    for objective, expected in (("safe", left), ("graph", left[-1:])):
        result = rewrite_and_explain(made, rules=["scale-fc"], objective=objective)
        operators = [node.op_type for node in result.model.graph.node]
        assert operators == ["DequantizeLinear", *expected]
