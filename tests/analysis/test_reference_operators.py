"""The float64 evaluation, held against ONNX Runtime.

Inputs and weights are small integers, so that float32 and float64 compute the same numbers exactly
and the comparison is one of equality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, parser

from trtfuse.analysis.reference_operators import Evaluator
from trtfuse.ir.tensor import Array
from trtfuse.model.model import Model


def with_text(text: str, opset: int = 17) -> Model:
    return Model(parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {text}'))


def evaluated(model: Model, feeds: dict[str, Array]) -> list[Array]:
    """All outputs of a model, in float64."""
    outputs = list(model.graph.outputs)
    evaluator = Evaluator(model.graph.nodes(), outputs, model.proto.opset_import)
    return evaluator.run({value: feeds[value.name] for value in evaluator.inputs})


def widened(feeds: dict[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) for name, array in feeds.items()}


def on_onnx_runtime(model: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, feeds)
    return found


def integers(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-4, 5, shape).astype(np.float32)


@dataclass
class Layer:
    """A Conv or ConvTranspose, and the sizes of what goes into it."""

    op: str
    batch: int
    group: int
    inner: int
    outer: int
    kernel: tuple[int, ...]
    sizes: tuple[int, ...]
    bias: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)

    def model(self, opset: int = 17) -> ModelProto:
        names = ["x", "w", "b"][: 2 + self.bias]
        node = helper.make_node(self.op, names, ["y"], group=self.group, **self.attributes)
        rank = len(self.kernel) + 2
        shapes = {name: 1 if name == "b" else rank for name in (*names, "y")}
        infos = {
            name: helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [f"{name}{i}" for i in range(shapes[name])]
            )
            for name in shapes
        }
        graph = helper.make_graph([node], "g", [infos[name] for name in names], [infos["y"]])
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def feeds(self) -> dict[str, Array]:
        rng = np.random.default_rng(0)
        c, m = self.group * self.inner, self.group * self.outer
        w = (c, self.outer) if self.op == "ConvTranspose" else (m, self.inner)
        found = {
            "x": integers(rng, self.batch, c, *self.sizes),
            "w": integers(rng, *w, *self.kernel),
        }
        return found | ({"b": integers(rng, m)} if self.bias else {})

    def attribute(self, name: str) -> list[int]:
        return list(self.attributes.get(name, [1] * len(self.kernel)))

    def reach(self) -> list[int]:
        """The size of the kernel with its dilation."""
        pairs = zip(self.kernel, self.attribute("dilations"), strict=True)
        return [dilation * (size - 1) + 1 for size, dilation in pairs]


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    axes = draw(st.integers(1, 3))

    def per_axis(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(axes))

    made = Layer(
        "Conv",
        batch=draw(st.integers(1, 3)),
        group=draw(st.integers(1, 3)),
        inner=draw(st.integers(1, 3)),
        outer=draw(st.integers(1, 3)),
        kernel=per_axis(1, 3),
        sizes=per_axis(5, 8),
        bias=draw(st.booleans()),
    )
    made.attributes["strides"] = per_axis(1, 3)
    made.attributes["dilations"] = per_axis(1, 2)
    if draw(st.booleans()):
        made.attributes["kernel_shape"] = made.kernel
    match draw(st.sampled_from(["", "pads", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])):
        case "":
            pass
        case "pads":
            made.attributes["pads"] = (*per_axis(0, 2), *per_axis(0, 2))
        case auto_pad:
            made.attributes["auto_pad"] = auto_pad
            if auto_pad.startswith("SAME"):
                # ONNX Runtime has no dilated Conv of this padding.
                del made.attributes["dilations"]
    return made


@st.composite
def deconvolutions(draw: st.DrawFn) -> Layer:
    made = draw(convolutions())
    made.op = "ConvTranspose"
    axes = range(len(made.kernel))
    strides = made.attribute("strides")
    if draw(st.booleans()):
        # ONNX Runtime takes it only where it is smaller than the stride, whatever the dilation.
        made.attributes["output_padding"] = [draw(st.integers(0, size - 1)) for size in strides]
    extra = made.attributes.get("output_padding", [0] * len(axes))
    full = [strides[i] * (made.sizes[i] - 1) + made.reach()[i] + extra[i] for i in axes]
    auto_pad = made.attributes.get("auto_pad", "NOTSET")
    if auto_pad.startswith("SAME"):
        # Where an output of sizes times strides is larger than all the taps reach, its padding is
        # negative. ONNX Runtime takes 0 for it and gives a smaller output than ONNX asks for, so
        # there is nothing to compare with.
        for i in axes:
            while strides[i] * made.sizes[i] > full[i]:
                strides[i] -= 1
                extra[i] = min(extra[i], strides[i] - 1)
                full[i] = strides[i] * (made.sizes[i] - 1) + made.reach()[i] + extra[i]
        made.attributes["strides"] = strides
        if "output_padding" in made.attributes:
            made.attributes["output_padding"] = extra
    elif auto_pad == "NOTSET" and "pads" not in made.attributes and draw(st.booleans()):
        made.attributes["output_shape"] = [draw(st.integers(max(1, n - 3), n)) for n in full]
    pads = made.attributes.get("pads")
    if pads and min(full[i] - pads[i] - pads[i + len(axes)] for i in axes) < 1:
        del made.attributes["pads"]
    return made


def assert_agrees(layer: Layer) -> None:
    model, feeds = layer.model(), layer.feeds()
    (expected,) = on_onnx_runtime(model, feeds)
    (found,) = evaluated(Model(model), widened(feeds))
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@given(convolutions())
def test_a_convolution_computes_what_onnx_runtime_computes(layer: Layer) -> None:
    assert_agrees(layer)


@given(deconvolutions())
@example(
    Layer(
        "ConvTranspose", 2, 2, 3, 1, (3, 2), (5, 6),
        attributes={"strides": (3, 2), "output_padding": (2, 1), "pads": (1, 0, 2, 1)},
    )
)  # fmt: skip
@example(
    # Three more than the output has room for: the spare one goes to the end, or to the beginning.
    Layer(
        "ConvTranspose", 1, 1, 1, 1, (3,), (5,),
        attributes={"strides": (2,), "output_shape": (8,)},
    )
)  # fmt: skip
@example(
    Layer(
        "ConvTranspose", 1, 1, 1, 1, (3,), (5,),
        attributes={"strides": (2,), "auto_pad": "SAME_UPPER"},
    )
)  # fmt: skip
def test_a_deconvolution_computes_what_onnx_runtime_computes(layer: Layer) -> None:
    assert_agrees(layer)


def test_negative_padding_of_a_deconvolution_makes_its_output_larger() -> None:
    attributes = {"strides": (3,), "auto_pad": "SAME_UPPER"}
    layer = Layer("ConvTranspose", 1, 1, 1, 1, (1,), (2,), False, attributes)
    feeds = {"x": np.array([[[1.0, 2.0]]]), "w": np.array([[[10.0]]])}
    (found,) = evaluated(Model(layer.model()), feeds)
    # By the specification the output is 2 times 3 long, and the taps reach 4 of it. Of the two
    # that are left SAME_UPPER puts one at each end.
    np.testing.assert_array_equal(found, [[[0, 10, 0, 0, 20, 0]]])


@pytest.mark.parametrize(("auto_pad", "pads"), [("SAME_UPPER", (1, 2)), ("SAME_LOWER", (2, 1))])
def test_a_dilated_kernel_is_padded_by_all_that_it_reaches(
    auto_pad: str, pads: tuple[int, int]
) -> None:
    # 6 inputs at stride 2 give 3 outputs, which take 2 * 2 + 5 inputs: three are missing.
    same = {"strides": (2,), "dilations": (2,), "auto_pad": auto_pad}
    layer = Layer("Conv", 1, 1, 2, 2, (3,), (6,), attributes=same)
    explicit = Layer("Conv", 1, 1, 2, 2, (3,), (6,), attributes={**same, "pads": pads})
    del explicit.attributes["auto_pad"]
    feeds = widened(layer.feeds())
    (found,) = evaluated(Model(layer.model()), feeds)
    (expected,) = evaluated(Model(explicit.model()), feeds)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (1, 2, 3)


def test_a_batch_of_nothing_convolves_to_nothing() -> None:
    for op in ("Conv", "ConvTranspose"):
        layer = Layer(op, 0, 2, 2, 2, (3,), (5,))
        (expected,) = on_onnx_runtime(layer.model(), layer.feeds())
        (found,) = evaluated(Model(layer.model()), widened(layer.feeds()))
        assert found.shape == expected.shape
        assert found.size == 0


def test_a_convolution_has_the_precision_of_float64() -> None:
    layer = Layer("Conv", 1, 1, 3, 1, (1,), (4,), bias=False)
    x = np.array([1.0, 1e-9, 1e-15]).reshape(1, 3, 1).repeat(4, axis=2)
    (found,) = evaluated(Model(layer.model()), {"x": x, "w": np.ones((1, 3, 1))})
    np.testing.assert_allclose(found, math.fsum([1.0, 1e-9, 1e-15]), rtol=2.3e-16)
    assert found[0, 0, 0] != 1.0 + 1e-9


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
def test_a_batch_normalization_computes_what_onnx_runtime_computes(
    opset: int, shape: tuple[int, ...]
) -> None:
    model = with_text(
        f"(float{list(shape)} x, float[3] gain, float[3] bias, float[3] mean, float[3] variance)"
        f" => (float{list(shape)} y)"
        " { y = BatchNormalization<epsilon = 0.25>(x, gain, bias, mean, variance) }",
        opset,
    )
    rng = np.random.default_rng(0)
    feeds = {name: integers(rng, 3) for name in ("gain", "bias", "mean")}
    feeds |= {"x": integers(rng, *shape), "variance": np.array([0, 3.75, 8.75], np.float32)}
    (expected,) = on_onnx_runtime(model.proto, feeds)
    (found,) = evaluated(model, widened(feeds))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    # The standard deviations are 1/2, 2 and 3.
    deviations = np.array([0.5, 2, 3]).reshape(3, *(1 for _ in shape[2:]))
    gain, bias, mean = (
        feeds[name].astype(np.float64).reshape(deviations.shape)
        for name in ("gain", "bias", "mean")
    )
    np.testing.assert_allclose(found, (feeds["x"] - mean) / deviations * gain + bias, rtol=1e-14)


def test_the_epsilon_that_a_batch_normalization_leaves_out_is_the_one_onnx_states() -> None:
    text = (
        "(float[1, 1] x, float[1] s, float[1] b, float[1] m, float[1] v) => (float[1, 1] y)"
        " { y = BatchNormalization(x, s, b, m, v) }"
    )
    zero, one = np.zeros(1), np.ones(1)
    feeds = {"x": np.ones((1, 1)), "s": one, "b": zero, "m": zero, "v": zero}
    (found,) = evaluated(with_text(text), feeds)
    stated = float(np.float32(1e-5))
    np.testing.assert_allclose(found, 1 / math.sqrt(stated), rtol=1e-14)


def test_a_batch_normalization_that_trains_is_refused() -> None:
    model = with_text(
        "(float[2, 1] x, float[1] s, float[1] b, float[1] m, float[1] v) => (float[2, 1] y)"
        " { y, mean, variance = BatchNormalization<training_mode = 1>(x, s, b, m, v) }"
    )
    feeds = {"x": np.ones((2, 1)), **{name: np.ones(1) for name in "sbmv"}}
    with pytest.raises(NotImplementedError, match=r"^a BatchNormalization that is no Scale$"):
        evaluated(model, feeds)


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_a_narrow_model_is_evaluated_in_float64(narrow: str) -> None:
    model = with_text(
        f"({narrow}[2] x, {narrow}[2] y) => ({narrow}[2] z) {{ p = Mul(x, y)  z = Sub(p, y) }}"
    )
    # Neither the product nor the last bit of it would fit.
    x = np.array([1e5, 1 + 2.0**-40])
    y = np.array([1e300, 1.0])
    (found,) = evaluated(model, {"x": x, "y": y})
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, x * y - y)


@pytest.mark.parametrize(
    "to", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]
)
def test_a_cast_between_floating_types_changes_nothing(to: int) -> None:
    model = with_text(f"(float[3] x) => (float[3] y) {{ h = Cast<to = {to}>(x)  y = Add(h, h) }}")
    x = np.array([1 + 2.0**-40, 1e300, -1e-300])
    (found,) = evaluated(model, {"x": x})
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, 2 * x)


def test_a_cast_to_integers_still_cuts_off() -> None:
    model = with_text("(float[3] x) => (int64[3] y) { y = Cast<to = 7>(x) }")
    (found,) = evaluated(model, {"x": np.array([1.9, -1.9, 3.0])})
    assert found.dtype == np.int64
    assert found.tolist() == [1, -1, 3]


def test_the_model_keeps_the_type_that_a_cast_has() -> None:
    model = with_text("(float[1] x) => (float16[1] y) { y = Cast<to = 10>(x) }")
    evaluated(model, {"x": np.ones(1)})
    assert model.to_proto() == model.proto
    assert model.proto.graph.node[0].attribute[0].i == TensorProto.FLOAT16


def test_the_inputs_are_what_the_nodes_read_and_do_not_compute() -> None:
    model = with_text(
        "(float[1] a, float[1] b, float[1] unused) => (float[1] y)"
        " { s = Add(b, a)  t = Mul(s, b)  y = Clip(t, , a) }"
    )
    nodes = list(model.graph.nodes())
    evaluator = Evaluator(nodes, [nodes[-1].output], model.proto.opset_import)
    assert [value.name for value in evaluator.inputs] == ["b", "a"]
    # Only the end of the chain: what the beginning computes is an input then.
    evaluator = Evaluator(nodes[1:], [nodes[-1].output], model.proto.opset_import)
    assert [value.name for value in evaluator.inputs] == ["s", "b", "a"]
    numbers = (np.array([2.0]), np.array([3.0]), np.array([5.0]))
    feeds = dict(zip(evaluator.inputs, numbers, strict=True))
    assert evaluator.run(feeds)[0].tolist() == [5.0]


def test_a_result_may_be_an_input_and_may_be_asked_for_twice() -> None:
    model = with_text("(float[2] x) => (float[2] y) { y = Neg(x) }")
    (x,) = model.graph.inputs
    (y,) = model.graph.outputs
    evaluator = Evaluator(model.graph.nodes(), [x, y, y, x], model.proto.opset_import)
    found = evaluator.run({x: np.array([1.0, -2.0])})
    assert [array.tolist() for array in found] == [[1, -2], [-1, 2], [-1, 2], [1, -2]]


def test_values_that_share_a_name_are_told_apart() -> None:
    text = "(float[2] x) => (float[2] y) { y = Neg(x) }"
    one, other = with_text(text), with_text(text)
    (first,), (second,) = one.graph.nodes(), other.graph.nodes()
    second.inputs = [first.output]
    evaluator = Evaluator([first, second], [second.output], one.proto.opset_import)
    assert evaluator.run({first.inputs[0]: np.array([1.0, 2.0])})[0].tolist() == [1, 2]


def test_names_may_hold_any_character() -> None:
    model = with_text("(float[1] x) => (float[1] y) { t = Neg(x)  y = Neg(t) }")
    for value, name in zip(
        (*model.graph.inputs, *model.graph.outputs), ("/a:0 b", "ü\n"), strict=True
    ):
        value.name = name
    (found,) = evaluated(model, {"/a:0 b": np.array([3.0])})
    assert found.tolist() == [3.0]


@pytest.mark.parametrize("imported", ["", "ai.onnx"])
@pytest.mark.parametrize("written", ["", "ai.onnx"])
def test_the_default_domain_may_be_spelled_either_way(imported: str, written: str) -> None:
    model = with_text("(float[2] x) => (float[2] y) { y = Neg(x) }").proto
    model.opset_import[0].domain = imported
    model.graph.node[0].domain = written
    (found,) = evaluated(Model(model), {"x": np.array([1.0, -2.0])})
    assert found.tolist() == [-1, 2]


def test_overflow_and_invalid_numbers_are_no_warnings() -> None:
    model = with_text(
        "(float[3] x, float[3] y) => (float[3] p, float[3] q) { p = Mul(x, y)  q = Div(x, y) }"
    )
    x, y = np.array([1e300, 1.0, 0.0]), np.array([1e300, 0.0, 0.0])
    product, quotient = evaluated(model, {"x": x, "y": y})
    assert product.tolist() == [np.inf, 0, 0]
    assert quotient[:2].tolist() == [1, np.inf]
    assert np.isnan(quotient[2])


# Pooling


def test_a_pooling_without_padding_keeps_its_dilations() -> None:
    text = """(float[1,1,3,4] x) => (float[1,1,a,b] y) {
        y = AveragePool<auto_pad="VALID", kernel_shape=[2,2], dilations=[1,2]>(x)
    }"""
    feeds = {"x": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)}
    model = with_text(text, 19)
    (expected,) = on_onnx_runtime(model.proto, feeds)
    (found,) = evaluated(model, widened(feeds))
    np.testing.assert_array_equal(found, expected)


MAXIMA = (
    "kernel_shape=[2,1], pads=[1,0,1,0]",
    "kernel_shape=[1,3], pads=[0,2,0,2]",
    "kernel_shape=[3,2], strides=[2,1], pads=[0,1,1,0]",
    "kernel_shape=[2,2], strides=[2,2], ceil_mode=1",
    "kernel_shape=[2,3], strides=[3,2], pads=[1,1,1,1], ceil_mode=1",
    "kernel_shape=[2,2], dilations=[2,1]",
    'kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_UPPER"',
    'kernel_shape=[3,2], strides=[2,2], auto_pad="SAME_LOWER"',
    'kernel_shape=[3,2], auto_pad="VALID"',
)


@pytest.mark.parametrize("attributes", MAXIMA)
def test_a_maximum_pooling_computes_what_onnx_runtime_computes(attributes: str) -> None:
    text = f"(float[2,2,5,4] x) => (float[2,2,a,b] y) {{ y = MaxPool<{attributes}>(x) }}"
    assert_computed(text, 14, integers(np.random.default_rng(0), 2, 2, 5, 4))


AVERAGES = (
    *(each for each in MAXIMA if "ceil_mode" not in each),
    "kernel_shape=[2,1], pads=[1,0,1,0], count_include_pad=1",
    "kernel_shape=[3,2], strides=[2,1], pads=[0,1,1,0], count_include_pad=1",
    "kernel_shape=[2,2], strides=[2,2], ceil_mode=1",
)


@pytest.mark.parametrize("attributes", AVERAGES)
def test_an_average_pooling_computes_what_onnx_runtime_computes(attributes: str) -> None:
    text = f"(float[2,2,5,4] x) => (float[2,2,a,b] y) {{ y = AveragePool<{attributes}>(x) }}"
    model = with_text(text, 19)
    x = integers(np.random.default_rng(0), 2, 2, 5, 4)
    (expected,) = on_onnx_runtime(model.proto, {"x": x})
    (found,) = evaluated(model, {"x": x.astype(np.float64)})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_a_global_maximum_keeps_the_channels(rank: int) -> None:
    sizes = (2, 3, 4, 2, 2)[:rank]
    text = (
        f"(float{list(sizes)} x) => (float[2,3,?{',?' * (rank - 3)}] y) {{ y = GlobalMaxPool(x) }}"
    )
    assert_computed(text, 14, integers(np.random.default_rng(0), *sizes))


def assert_computed(text: str, opset: int, x: Array) -> None:
    """The evaluation computes what ONNX Runtime does, bit for bit."""
    model = with_text(text, opset)
    (expected,) = on_onnx_runtime(model.proto, {"x": x})
    (found,) = evaluated(model, {"x": x.astype(np.float64)})
    np.testing.assert_array_equal(found, expected)


# Shuffles and broadcasts


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize("axes", [(0, 2), (2, 0), (-4, -2), (-2, -4), (0, -2), (-2, 0)])
def test_squeeze_takes_axes_in_any_order(opset: int, axes: tuple[int, int]) -> None:
    text = with_axes("Squeeze", "float[1,3,1,4] x", opset, axes)
    assert_computed(text, opset, integers(np.random.default_rng(0), 1, 3, 1, 4))


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize("axes", [(0, 2), (2, 0), (-4, -2), (-1, -3), (3, 1), (-1, 0)])
def test_unsqueeze_takes_axes_in_any_order(opset: int, axes: tuple[int, int]) -> None:
    text = with_axes("Unsqueeze", "float[3,4] x", opset, axes)
    assert_computed(text, opset, integers(np.random.default_rng(0), 3, 4))


def with_axes(operator: str, declared: str, opset: int, axes: tuple[int, int]) -> str:
    if opset < 13:
        node = f"y = {operator}<axes = {list(axes)}>(x)"
    else:
        node = (
            f"axes = Constant<value = int64[2] {{{axes[0]}, {axes[1]}}}>() y = {operator}(x, axes)"
        )
    return f"({declared}) => (float y) {{ {node} }}"


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [7, 11, 12, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_softmax_goes_over_the_axes_of_its_opset(
    operator: str, opset: int, axis: int | None
) -> None:
    given = "" if axis is None else f"<axis = {axis}>"
    model = with_text(f"(float[2,3,4] x) => (float[2,3,4] y) {{ y = {operator}{given}(x) }}", opset)
    x = integers(np.random.default_rng(0), 2, 3, 4)
    (expected,) = on_onnx_runtime(model.proto, {"x": x})
    (found,) = evaluated(model, {"x": x.astype(np.float64)})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_mean_broadcasts_all_its_operands() -> None:
    text = """(float[4] x) => (float[2,3,4] y) {
        flat = Constant<value = int64[3] {2, 3, 4}>()
        wide = Expand(x, flat)
        y = Mean(x, wide)
    }"""
    assert_computed(text, 13, integers(np.random.default_rng(0), 4))


def test_a_slice_backwards_from_before_the_beginning_takes_the_first() -> None:
    text = """(float[2,3] x) => (float[2,1] y) {
        before = Constant<value = int64[1] {-9}>()
        back = Constant<value = int64[1] {-1}>()
        y = Slice(x, before, before, back, back)
    }"""
    assert_computed(text, 13, integers(np.random.default_rng(0), 2, 3))


@pytest.mark.parametrize("opset", [7, 13])
def test_a_tile_repeats_along_the_axes_that_there_are(opset: int) -> None:
    text = """(float[2,3] x) => (float[4,3] y) {
        twice = Constant<value = int64[2] {2, 1}>()
        y = Tile(x, twice)
    }"""
    assert_computed(text, opset, integers(np.random.default_rng(0), 2, 3))
    # As where a rank is guessed that is not known.
    model = with_text("(float[2,3] x, int64[n] r) => (float[?] y) { y = Tile(x, r) }", opset)
    with pytest.raises(ValueError, match="3 repeats for 2 axes"):
        evaluated(model, {"x": np.zeros((2, 3)), "r": np.array([1, 1, 1])})


# GELU


@pytest.mark.parametrize("x", [-30.0, -6.5, -1.0, -1e-9, 0.0, 0.3, 1.0, 5.5, 40.0])
def test_erf_is_as_exact_as_float64(x: float) -> None:
    model = with_text("(double[1] x) => (double[1] y) { y = Erf(x) }")
    (found,) = evaluated(model, {"x": np.array([x])})
    assert found.dtype == np.float64
    assert found[0] == math.erf(x)


@pytest.mark.parametrize("approximate", ["", "<approximate='none'>", "<approximate='tanh'>"])
def test_gelu_is_its_definition_in_float64(approximate: str) -> None:
    text = f"(double[7] x) => (double[7] y) {{ y = Gelu{approximate}(x) }}".replace("'", '"')
    x = np.array([-9.0, -2.5, -0.75, 0.0, 0.3, 1.0, 6.0])
    (found,) = evaluated(with_text(text, 20), {"x": x})
    exact = {
        "none": [0.5 * n * (1 + math.erf(n / math.sqrt(2))) for n in x],
        "tanh": [
            0.5 * n * (1 + math.tanh(math.sqrt(2 / math.pi) * (n + 0.044715 * n**3))) for n in x
        ],
    }["tanh" if "tanh" in approximate else "none"]
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-15)
    single = x.astype(np.float32)
    (expected,) = on_onnx_runtime(
        with_text(text.replace("double", "float"), 20).proto, {"x": single}
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
