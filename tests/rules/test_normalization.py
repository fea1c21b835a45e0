from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import attributes, constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import trtfuse
from trtfuse.rules.normalization import MOST_ONES


def as_graph(made: ModelProto, **given: Any) -> trtfuse.FusionResult:
    """Every rewrite, whatever TensorRT makes of it: their algebra is what is tested."""
    return rewrite_and_explain(made, objective="graph", **given)


RULES = ("layer-norm", "layer-norm-scale", "layer-norm-shift", "rms-norm", "rms-norm-scale")
GAIN, SHIFT = np.linspace(0.5, 2, 4, dtype=np.float32), np.linspace(-1, 1, 4, dtype=np.float32)
EPSILON = np.float32(1e-5)
AXES = np.array([-1])


def widened(made: ModelProto) -> ModelProto:
    """A model as the reference implementation computes it in float64."""
    wide = ModelProto()
    wide.CopyFrom(made)
    for tensor in wide.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
            array = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return wide


def assert_same(before: ModelProto, after: ModelProto, x: np.ndarray) -> None:
    """Both compute the same in float64."""
    onnx.checker.check_model(after, full_check=True)
    # Without an epsilon, what does not vary is divided by 0.
    with np.errstate(all="ignore"):
        (expected,), (found,) = (
            ReferenceEvaluator(widened(made)).run(None, {"x": x.astype(np.float64)})
            for made in (before, after)
        )
    assert expected.shape == found.shape
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def operators(made: ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node]


@st.composite
def normalizations(draw: st.DrawFn) -> tuple[ModelProto, str, np.ndarray]:
    """A normalization in some spelling, the operator that it is, and an input."""
    opset = draw(st.sampled_from((17, 18, 21, 23)))
    element_type = draw(st.sampled_from((TensorProto.FLOAT, TensorProto.FLOAT16)))
    dtype = helper.tensor_dtype_to_np_dtype(element_type)
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    last = draw(st.integers(1, len(shape)))
    sizes = shape[-last:]
    names = [f"d{i}" if draw(st.booleans()) else size for i, size in enumerate(shape[:-last])]
    axes = [len(shape) - last + i - draw(st.sampled_from((0, len(shape)))) for i in range(last)]
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights: list[TensorProto] = []
    made: list[onnx.NodeProto] = []

    def constant(name: str, array: Any, of: Any = dtype) -> str:
        weights.append(numpy_helper.from_array(np.asarray(array, of), name))
        return name

    def number(name: str, content: float) -> str:
        return constant(name, np.full(draw(st.sampled_from(((), (1,)))), content))

    def node(operator: str, *inputs: str, **attributes: Any) -> str:
        ordered = list(inputs)
        if operator in ("Add", "Mul") and draw(st.booleans()):
            ordered.reverse()
        result = f"v{len(made)}"
        made.append(helper.make_node(operator, ordered, [result], name=f"n{result}", **attributes))
        return result

    def mean(of: str) -> str:
        listed = draw(st.permutations(axes))
        if opset < 18:
            return node("ReduceMean", of, axes=listed)
        return node("ReduceMean", of, constant(f"axes{len(made)}", listed, np.int64))

    def parameter(name: str) -> str | None:
        """Of the normalized sizes, or what spreads to them, with leading ones or without."""
        if draw(st.booleans()):
            return None
        own = [size if draw(st.integers(0, 3)) else 1 for size in sizes]
        own = [1] * draw(st.integers(0, len(shape) - last)) + own[draw(st.integers(0, last)) :]
        return constant(name, numbers.uniform(0.5, 2, own))

    rms = opset >= 23 and draw(st.booleans())
    centre = "x" if rms else mean("x")
    d = "x" if rms else node("Sub", "x", centre)
    square = node("Mul", d, d) if draw(st.booleans()) else node("Pow", d, number("two", 2))
    below = mean(square)
    if draw(st.integers(0, 4)):
        below = node("Add", below, number("epsilon", 2.0**-8))
    inverse = draw(st.sampled_from(("Div", "Reciprocal", "one / root", "Pow")))
    late = not rms and inverse != "Div" and draw(st.booleans())
    gain, shift = parameter("gain"), None if rms else parameter("shift")
    if inverse == "Pow":
        root = node("Pow", below, number("exponent", -0.5))
    else:
        halved = draw(st.booleans())
        root = node("Pow", below, number("half", 0.5)) if halved else node("Sqrt", below)
        if inverse == "Reciprocal":
            root = node("Reciprocal", root)
        elif inverse == "one / root":
            root = node("Div", number("one", 1), root)
    inside = inverse != "Div" and gain is not None and (late or draw(st.booleans()))
    if inside:
        root = node("Mul", root, str(gain))
    if late:
        scaled = node("Mul", "x", root)
        if shift is not None:
            y = node("Add", scaled, node("Sub", shift, node("Mul", centre, root)))
        elif draw(st.booleans()):
            y = node("Sub", scaled, node("Mul", centre, root))
        else:
            y = node("Add", scaled, node("Mul", node("Neg", centre), root))
    else:
        y = node("Div" if inverse == "Div" else "Mul", d, root)
        y = y if inside or gain is None else node("Mul", y, gain)
        y = y if shift is None else node("Add", y, shift)
    made[-1].output[0] = "y"
    listed = [*names, *sizes]
    graph = helper.make_graph(
        made,
        "normalization",
        [helper.make_tensor_value_info("x", element_type, listed)],
        [helper.make_tensor_value_info("y", element_type, [f"o{i}" for i in range(len(shape))])],
        weights,
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    x = numbers.standard_normal(shape).astype(dtype)
    return whole, "RMSNormalization" if rms else "LayerNormalization", x


@given(normalizations())
def test_a_normalization_in_any_spelling_is_one_operator(
    drawn: tuple[ModelProto, str, np.ndarray],
) -> None:
    made, operator, x = drawn
    for verify in ("none", "rewrite"):
        result = as_graph(made, verify=verify)
        assert operators(result.model) == [operator]
        assert "check" not in [miss.guard for miss in result.report.declined]
        assert_same(made, result.model, x)
        again = as_graph(result.model, verify="none")
        assert again.model.SerializeToString() == result.model.SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    both = (
        ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for m in (made, result.model)
    )
    (expected,), (found,) = (session.run(None, {"x": x}) for session in both)
    # Of two numbers that are nearly the same, ONNX Runtime 1.25 loses digits in the variance.
    tolerance = 2e-3 if x.dtype == np.float32 else 0.05
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_how_pytorch_spells_a_layer_normalization() -> None:
    made = model(
        """(float[n,t,4] x) => (float[n,t,4] y) {
            [mean] m = ReduceMean<axes=[-1]>(x) [sub] d = Sub(x, m)
            [pow] q = Pow(d, two) [variance] v = ReduceMean<axes=[-1]>(q)
            [add] e = Add(v, epsilon) [sqrt] s = Sqrt(e)
            [div] n = Div(d, s) [mul] g = Mul(n, gain) [last] y = Add(g, shift)
        }""",
        opset=17,
        two=np.float32(2),
        epsilon=EPSILON,
        gain=GAIN,
        shift=SHIFT,
    )
    result = as_graph(made)
    assert fused(result) == [
        ("layer-norm", "mean + sub + pow + variance + add + sqrt + div"),
        ("layer-norm-scale", "div + mul"),
        ("layer-norm-shift", "div + last"),
    ]
    assert nodes(result.model) == ["div: LayerNormalization(x, gain, shift) -> y"]
    assert attributes(result.model.graph.node[0]) == {"axis": -1, "epsilon": float(EPSILON)}
    assert_same(made, result.model, np.random.default_rng(0).standard_normal((2, 3, 4)))


def test_how_tensorflow_spells_a_layer_normalization() -> None:
    made = model(
        """(float[n,t,4] x) => (float[n,t,4] y) {
            m = ReduceMean<axes=[2]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes=[2]>(q)
            e = Add(v, epsilon) s = Sqrt(e) i = Reciprocal(s)
            r = Mul(i, gain) scaled = Mul(x, r) sunk = Mul(m, r)
            late = Sub(shift, sunk) [last] y = Add(scaled, late)
        }""",
        opset=17,
        epsilon=EPSILON,
        gain=GAIN,
        shift=SHIFT,
    )
    result = as_graph(made)
    assert nodes(result.model) == ["last: LayerNormalization(x, gain, shift) -> y"]
    assert_same(made, result.model, np.random.default_rng(0).standard_normal((2, 3, 4)))


def test_how_pytorch_decomposes_a_layer_normalization_whose_mean_is_computed_twice() -> None:
    made = model(
        """(float[n,4] x) => (float[n,4] y) {
            one = ReduceMean(x, axes) d = Sub(x, one) q = Mul(d, d) v = ReduceMean(q, axes)
            two = ReduceMean(x, axes) c = Sub(x, two)
            e = Add(v, epsilon) s = Sqrt(e) i = Reciprocal(s) y = Mul(c, i)
        }""",
        epsilon=EPSILON,
        axes=AXES,
    )
    assert operators(as_graph(made).model) == ["LayerNormalization"]


def test_how_llama_spells_an_rms_normalization_in_half_precision() -> None:
    made = model(
        """(float16[n,t,4] x) => (float16[n,t,4] y) {
            [up] w = Cast<to=1>(x) q = Pow(w, two) v = ReduceMean(q, axes) e = Add(v, epsilon)
            s = Sqrt(e) i = Reciprocal(s) [norm] n = Mul(w, i)
            [down] h = Cast<to=10>(n) [gain] y = Mul(gain, h)
        }""",
        opset=23,
        two=np.float32(2),
        epsilon=EPSILON,
        axes=AXES,
        gain=GAIN.astype(np.float16),
    )
    result = as_graph(made)
    assert operators(result.model) == ["Cast", "RMSNormalization", "Cast", "Mul"]
    (ones,) = [name for name in constants(result.model) if name.startswith("norm.gain")]
    np.testing.assert_array_equal(constants(result.model)[ones], np.ones(4, np.float32))


def test_a_normalization_of_a_plane_is_one_though_its_means_have_become_poolings() -> None:
    made = model(
        """(float[n,3,4,5] x) => (float[n,3,4,5] y) {
            m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
            e = Add(v, epsilon) s = Sqrt(e) y = Div(d, s)
        }""",
        axes=np.array([2, 3]),
        epsilon=EPSILON,
    )
    result = as_graph(made)
    assert [rule for rule, _ in fused(result)] == ["mean-pool", "mean-pool", "layer-norm"]
    assert operators(result.model) == ["LayerNormalization"]
    assert_same(made, result.model, np.random.default_rng(0).standard_normal((2, 3, 4, 5)))


@pytest.mark.parametrize(
    "pool",
    ["kernel_shape=[4,5], pads=[1,1,1,1], count_include_pad=1", "kernel_shape=[2,5]",
     "kernel_shape=[4,5], auto_pad=\"SAME_UPPER\""],
)  # fmt: skip
def test_a_pooling_of_less_or_more_than_the_plane_is_no_mean_of_it(pool: str) -> None:
    made = model(
        f"""(float[n,3,4,5] x) => (float[?,?,?,?] y) {{
            m = AveragePool<{pool}>(x) t = ReduceMean(m, axes) d = Sub(x, t) q = Mul(d, d)
            p = AveragePool<{pool}>(q) v = ReduceMean(p, axes)
            e = Add(v, epsilon) s = Sqrt(e) y = Div(d, s)
        }}""",
        axes=np.array([2, 3]),
        epsilon=EPSILON,
    )
    assert "LayerNormalization" not in operators(as_graph(made).model)


def test_what_has_no_mean_any_more_is_no_rms_normalization() -> None:
    made = model(
        """(float[n,4] x) => (float[n,4] y) {
            m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
            e = Add(v, epsilon) s = Sqrt(e) y = Div(d, s)
        }""",
        opset=23,
        axes=AXES,
        epsilon=EPSILON,
    )
    assert operators(as_graph(made).model) == ["LayerNormalization"]
    alone = as_graph(made, rules=["rms-norm"])
    assert (fused(alone), declined(alone)) == ([], [])


@pytest.mark.parametrize(
    ("opset", "rms", "needs"), [(13, False, 17), (16, False, 17), (22, True, 23)]
)
def test_older_opsets_keep_it_spelled_out(opset: int, rms: bool, needs: int) -> None:
    mean = "ReduceMean(q, axes)" if opset >= 18 else "ReduceMean<axes=[-1]>(q)"
    centred = "d = Identity(x)" if rms else f"m = {mean.replace('(q', '(x')} d = Sub(x, m)"
    made = model(
        f"""(float[2,t,4] x) => (float[2,t,4] y) {{
            {centred} q = Mul(d, d) v = {mean} e = Add(v, epsilon) s = Sqrt(e) [last] y = Div(d, s)
        }}""",
        opset=opset,
        epsilon=EPSILON,
        **({"axes": AXES} if opset >= 18 else {}),
    )
    result = as_graph(made)
    assert declined(result) == [
        (
            "rms-norm" if rms else "layer-norm",
            "last",
            "opset",
            f"the model imports opset {opset}, and the rule needs {needs}",
        )
    ]


SPELLED = """
    m = ReduceMean(x, first) d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, second)
    e = Add(v, epsilon) s = Sqrt(e) i = Reciprocal(s) g = Mul(i, gain) t = Mul(x, g) u = Mul(m, g)
    w = Sub(shift, u) [last] y = Add(t, w)
"""


@pytest.mark.parametrize(
    ("shape", "given", "guard", "because"),
    [
        ("float[2,3,4]", {"first": [0, 1], "second": [0, 1]}, "over-the-last-axes",
         "it normalizes the axes [0, 1] of 3, which are not the last ones"),
        ("float[2,3,4]", {"first": [1, 2], "second": [2]}, "over-the-last-axes",
         "the mean is taken over the axes [1, 2], the variance over [2]"),
        ("float[2,3,d]", {"gain": 2.0, "shift": 1.0}, "fixed-sizes",
         "the sizes [d] of `x` that it normalizes are not fixed"),
        ("float[2,3,4]", {"gain": np.full((3, 1), 2, np.float32)}, "one-per-element",
         "`gain` has shape [3, 1], and [4] is normalized"),
        ("float[2,3,4]", {"gain": np.full((1, 1, 1, 4), 2, np.float32)}, "one-per-element",
         "`gain` has shape [1, 1, 1, 4], of more dimensions than `x`"),
        ("float[2,3,4]", {"shift": np.full((3, 4), 2, np.float32)}, "one-per-element",
         "`shift` has shape [3, 4], and [4] is normalized"),
        ("float[2,3,4]", {"epsilon": np.full((1, 1, 1, 1), 1e-5, np.float32)},
         "numbers-keep-the-rank",
         "`epsilon` has shape [1, 1, 1, 1], of more dimensions than `x`"),
        ("double[2,3,4]", {}, "statistics-in-float32",
         "`x` is float64, and LayerNormalization computes its statistics in float32"),
    ],
)  # fmt: skip
def test_a_normalization_stays(shape: str, given: dict[str, Any], guard: str, because: str) -> None:
    dtype = np.float64 if shape.startswith("double") else np.float32
    numbers = {"two": 2.0, "epsilon": EPSILON, "gain": GAIN, "shift": SHIFT}
    listed = {"first": AXES, "second": AXES}
    weights = {name: np.asarray(given.get(name, n), dtype) for name, n in numbers.items()}
    axes = {name: np.array(given.get(name, n), np.int64) for name, n in listed.items()}
    out = shape[: shape.index("[")] + ("[?,?,?,?]" if "more dimensions" in because else "[?,?,?]")
    made = model(f"({shape} x) => ({out} y) {{ {SPELLED} }}", **weights, **axes)
    for verify in ("none", "rewrite"):
        result = as_graph(made, rules=RULES, verify=verify)
        assert declined(result) == [("layer-norm", "last", guard, because)]


def test_a_mean_of_something_of_unknown_rank_stays() -> None:
    text = """(float[n] given, int64[r] shape) => (float[n] y) {
        x = Reshape(given, shape) m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d)
        v = ReduceMean(q, axes) s = Sqrt(v) [last] n = Div(d, s) flat = Reshape(n, one)
        y = Neg(flat)
    }"""
    made = model(text, axes=AXES, one=np.array([-1]))
    assert declined(as_graph(made, rules=RULES)) == [
        ("layer-norm", "last", "over-the-last-axes", "the rank of `x` is not known")
    ]


def test_integers_are_not_normalized() -> None:
    made = model(
        """(int32[2,4] x) => (int32[2,4] y) {
            q = Mul(x, x) v = ReduceMean(q, axes) f = Add(v, one) s = Pow(f, half)
            [last] y = Div(x, s)
        }""",
        opset=23,
        axes=AXES,
        one=np.int32(1),
        half=np.float32(0.5),
    )
    assert declined(as_graph(made, rules=RULES)) == [
        (
            "rms-norm",
            "last",
            "floating",
            "`x` is int32, and only floating-point numbers may be regrouped",
        )
    ]


def test_statistics_that_are_needed_elsewhere_stay() -> None:
    made = model(
        """(float[2,4] x) => (float[2,4] y, float[2,1] z) {
            m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
            [add] e = Add(v, epsilon) [root] s = Sqrt(e) [last] y = Div(d, s) [more] z = Neg(s)
        }""",
        axes=AXES,
        epsilon=EPSILON,
    )
    assert declined(as_graph(made)) == [
        ("layer-norm", "last", "one-consumer", "`s` has 2 consumers: last, more")
    ]


@pytest.mark.parametrize("change", ["mean", "root", "gain"])
def test_a_mean_that_is_scaled_in_another_way_than_x_is_no_layer_normalization(change: str) -> None:
    spelled = {
        "mean": SPELLED.replace("u = Mul(m, g)", "o = ReduceMean(x, other) u = Mul(o, g)"),
        "root": SPELLED.replace(
            "u = Mul(m, g)", "j = Reciprocal(v) k = Mul(j, gain) u = Mul(m, k)"
        ),
        "gain": SPELLED.replace("u = Mul(m, g)", "u = Mul(m, i)"),
    }[change]
    made = model(
        f"(float[2,3,4] x) => (float[2,3,4] y) {{ {spelled} }}",
        two=np.float32(2),
        epsilon=EPSILON,
        gain=GAIN,
        shift=SHIFT,
        first=AXES,
        second=AXES,
        **({"other": np.array([1])} if change == "mean" else {}),
    )
    result = as_graph(made, rules=RULES, verify="none")
    assert fused(result) == []


def test_many_ones_are_not_added_to_a_model() -> None:
    text = """(float[2,{size}] x) => (float[2,{size}] y) {{
        m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
        e = Add(v, epsilon) s = Sqrt(e) [last] y = Div(d, s)
    }}"""
    most = model(text.format(size=MOST_ONES), axes=AXES, epsilon=EPSILON)
    assert operators(as_graph(most).model) == ["LayerNormalization"]
    more = model(text.format(size=MOST_ONES + 1), axes=AXES, epsilon=EPSILON)
    assert declined(as_graph(more)) == [
        (
            "layer-norm",
            "last",
            "fixed-sizes",
            "it has no gain, and one of 16385 ones is not added for it",
        )
    ]


@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization"])
def test_a_gain_of_another_shape_stays(operator: str) -> None:
    made = model(
        f"""(float[2,4] x) => (float[2,4] y) {{
            [norm] n = {operator}(x, ones) [mul] y = Mul(n, gain)
        }}""",
        opset=23,
        ones=np.ones(4, np.float32),
        gain=np.full((2, 1), 3, np.float32),
    )
    rule = "layer-norm-scale" if operator == "LayerNormalization" else "rms-norm-scale"
    assert declined(as_graph(made)) == [
        (
            rule,
            "mul",
            "one-per-element",
            "`gain` has shape [2, 1], and [4] is the shape of `ones`",
        )
    ]


def test_a_gain_joins_a_normalization_only_if_that_has_none() -> None:
    made = model(
        """(float[2,4] x) => (float[2,4] y, float[2,4] z) {
            n = LayerNormalization(x, gain) y = Mul(n, gain)
            b = LayerNormalization(x, ones, shift) z = Mul(b, gain)
        }""",
        ones=np.ones(4, np.float32),
        gain=GAIN,
        shift=SHIFT,
    )
    result = as_graph(made, rules=RULES)
    assert (fused(result), declined(result)) == ([], [])


def test_a_shift_of_another_shape_stays() -> None:
    made = model(
        """(float[2,4] x) => (float[2,4] y) {
            [norm] n = LayerNormalization(x, gain) [add] y = Add(n, shift)
        }""",
        gain=GAIN,
        shift=np.ones((2, 4), np.float32),
    )
    assert declined(as_graph(made)) == [
        (
            "layer-norm-shift",
            "add",
            "one-per-element",
            "`shift` has shape [2, 4], and [4] is the shape of `gain`",
        )
    ]


def test_a_normalization_whose_statistics_are_read_keeps_its_shift() -> None:
    made = model(
        """(float[2,4] x) => (float[2,4] y, float[2,1] m) {
            [norm] n, m = LayerNormalization(x, gain) [add] y = Add(n, shift)
        }""",
        gain=GAIN,
        shift=SHIFT,
    )
    assert declined(as_graph(made)) == [
        ("layer-norm-shift", "add", "one-consumer", "`m` is an output of the graph")
    ]


#: How the root can be spelled, with the number in it that makes it the root.
ROOTS = {
    "two": ("q = Pow(d, c) v = ReduceMean(q, axes) e = Add(v, epsilon) s = Sqrt(e)", 2.0, 3.0),
    "half": ("q = Mul(d, d) v = ReduceMean(q, axes) e = Add(v, epsilon) s = Pow(e, c)", 0.5, 0.25),
    "one": (
        "q = Mul(d, d) v = ReduceMean(q, axes) e = Add(v, epsilon) r = Sqrt(e) s = Div(c, r)",
        1.0,
        2.0,
    ),
    "half below one": (
        "q = Mul(d, d) v = ReduceMean(q, axes) e = Add(v, epsilon) r = Pow(e, c) s = Div(unit, r)",
        0.5,
        0.25,
    ),
    "minus half": (
        "q = Mul(d, d) v = ReduceMean(q, axes) e = Add(v, epsilon) s = Pow(e, c)",
        -0.5,
        -1.0,
    ),
}


INVERSE = ("one", "half below one", "minus half")


@pytest.mark.parametrize(
    ("spelling", "rms", "how"),
    [
        (spelling, rms, how)
        for spelling in ROOTS
        for rms in (False, True)
        for how in ("divided", "multiplied", "late")
        if not (how == "late" and rms) and not (how == "divided" and spelling in INVERSE)
    ],
)
def test_other_numbers_are_no_normalization(spelling: str, rms: bool, how: str) -> None:
    root, right, wrong = ROOTS[spelling]
    inverse = spelling in INVERSE
    head = "d = Neg(x)" if rms else "m = ReduceMean(x, axes) d = Sub(x, m)"
    if not inverse and how != "divided":
        root += " i = Reciprocal(s)"
    i = "s" if inverse else "i"
    tail = {
        "divided": "y = Div(d, s)",
        "multiplied": f"y = Mul(d, {i})",
        "late": f"a = Mul(x, {i}) b = Mul(m, {i}) y = Sub(a, b)",
    }[how]
    operator = "RMSNormalization" if rms else "LayerNormalization"
    for number in (right, wrong):
        made = model(
            f"(float[2,4] x) => (float[2,4] y) {{ {head} {root} {tail} }}",
            opset=23,
            axes=AXES,
            epsilon=EPSILON,
            c=number,
            **({"unit": 1.0} if "unit" in root else {}),
        )
        result = as_graph(made, rules=RULES, verify="none")
        assert (operator in operators(result.model)) == (number == right)


@pytest.mark.parametrize(
    ("rms", "tail"),
    [
        (False, "y = Div(d, s)"),
        (False, "i = Reciprocal(s) a = Mul(x, i) b = Mul(m, i) y = Sub(a, b)"),
        (True, "y = Div(d, s)"),
    ],
)
@pytest.mark.parametrize("name", ["epsilon", "two", "half"])
def test_one_number_for_each_row_is_no_number_of_a_normalization(
    name: str, rms: bool, tail: str
) -> None:
    given = {"epsilon": EPSILON, "two": 2.0, "half": 0.5}
    rows = {name: np.full((2, 1), given[name], np.float32)}
    head = "d = Neg(x)" if rms else "m = ReduceMean(x, axes) d = Sub(x, m)"
    made = model(
        f"""(float[2,4] x) => (float[2,4] y) {{
            {head} q = Pow(d, two) v = ReduceMean(q, axes) e = Add(v, epsilon) s = Pow(e, half)
            {tail}
        }}""",
        opset=23,
        axes=AXES,
        **given | rows,
    )
    assert fused(as_graph(made, rules=RULES, verify="none")) == []


@pytest.mark.parametrize(
    ("shape", "axes", "given", "guard", "because"),
    [
        ("double[2,3,4]", [2], {}, "statistics-in-float32",
         "`x` is float64, and RMSNormalization computes its statistics in float32"),
        ("float[2,3,4]", [1], {}, "over-the-last-axes",
         "it normalizes the axes [1] of 3, which are not the last ones"),
        ("float[2,3,4]", [2], {"epsilon": np.full((1, 1, 1, 1), 1e-5)}, "numbers-keep-the-rank",
         "`epsilon` has shape [1, 1, 1, 1], of more dimensions than `x`"),
        ("float[2,3,d]", [2], {"gain": 2.0}, "fixed-sizes",
         "the sizes [d] of `x` that it normalizes are not fixed"),
        ("float[2,3,4]", [2], {"gain": np.full((3, 1), 2.0)}, "one-per-element",
         "`gain` has shape [3, 1], and [4] is normalized"),
    ],
)  # fmt: skip
def test_a_normalization_without_a_mean_stays(
    shape: str, axes: list[int], given: dict[str, Any], guard: str, because: str
) -> None:
    dtype = np.float64 if shape.startswith("double") else np.float32
    numbers = {"epsilon": 1e-5, "gain": 2.0} | given
    out = shape[: shape.index("[")] + (
        "[?,?,?,?]" if guard == "numbers-keep-the-rank" else "[?,?,?]"
    )
    made = model(
        f"""({shape} x) => ({out} y) {{
            q = Mul(x, x) v = ReduceMean(q, axes) e = Add(v, epsilon) s = Sqrt(e) i = Reciprocal(s)
            g = Mul(i, gain) [last] y = Mul(x, g)
        }}""",
        opset=23,
        axes=np.array(axes),
        **{name: np.asarray(number, dtype) for name, number in numbers.items()},
    )
    for verify in ("none", "rewrite"):
        result = as_graph(made, rules=RULES, verify=verify)
        assert declined(result) == [("rms-norm", "last", guard, because)]


def test_integers_with_a_mean_are_not_normalized() -> None:
    made = model(
        """(int32[2,4] x) => (int32[2,4] y) {
            m = ReduceMean(x, axes) d = Sub(x, m) q = Mul(d, d) v = ReduceMean(q, axes)
            f = Add(v, one) s = Pow(f, half) [last] y = Div(d, s)
        }""",
        axes=AXES,
        one=np.int32(1),
        half=np.float32(0.5),
    )
    assert declined(as_graph(made, rules=["layer-norm"])) == [
        (
            "layer-norm",
            "last",
            "floating",
            "`x` is int32, and only floating-point numbers may be regrouped",
        )
    ]


def test_a_gain_joins_an_rms_normalization_only_if_that_has_none() -> None:
    made = model(
        "(float[2,4] x) => (float[2,4] y) { n = RMSNormalization(x, gain) y = Mul(n, gain) }",
        opset=23,
        gain=GAIN,
    )
    assert fused(as_graph(made, rules=RULES, verify="none")) == []
