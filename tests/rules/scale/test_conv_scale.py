"""conv-scale: a scale after a Conv or ConvTranspose goes into its weights and bias."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import SCALES, Array, attributes, body, constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper
from oracle import evaluate

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

W = np.float32([1, 2, 3, 4, 5, 6]).reshape(3, 2, 1, 1)
B = np.float32([1, 2, 3])
S = np.float32([2, 0.5, -1]).reshape(3, 1, 1)


def after_conv(lines: str, *, shape: str = "1,2,4,3", rank: int = 4, **given: Any) -> ModelProto:
    """A model whose first line is `[conv] y = Conv(x, w, b)`."""
    text = f"""(float[{shape}] x) => (float[{",".join("?" * rank)}] z) {{
        [conv] y = Conv(x, w, b)
        {lines}
    }}"""
    return model(text, **{"w": W, "b": B, **given})


def test_a_chain_of_scales_becomes_one_convolution() -> None:
    result = fuse(after_conv("[mul] m = Mul(y, s)\n[add] z = Add(m, t)", s=S, t=np.float32(10)))
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b_fused_1) -> z"]
    folded = constants(result.model)
    assert list(folded) == ["w_fused", "b_fused_1"]
    assert folded["w_fused"].reshape(3, 2).tolist() == [[2, 4], [1.5, 2], [-5, -6]]
    assert folded["b_fused_1"].tolist() == [12, 11, 7]
    assert fused(result) == [("conv-scale", "conv + mul"), ("conv-scale", "conv + add")]
    assert declined(result) == []


@pytest.mark.parametrize(
    ("line", "scale", "shift"),
    [
        ("z = Mul(y, c)", 4, 0),
        ("z = Mul(c, y)", 4, 0),
        ("z = Div(y, c)", 0.25, 0),
        ("z = Add(y, c)", 1, 4),
        ("z = Add(c, y)", 1, 4),
        ("z = Sub(y, c)", 1, -4),
        ("z = Sub(c, y)", -1, 4),
        ("z = Neg(y)", -1, 0),
        ("z = BatchNormalization <epsilon = 0.0> (y, gain, shift, mean, variance)", 1.5, -2),
    ],
)
def test_every_spelling_of_a_scale_folds(line: str, scale: float, shift: float) -> None:
    parameters = {"gain": 3, "shift": 1, "mean": 2, "variance": 4}
    vectors = {name: np.full(3, number, np.float32) for name, number in parameters.items()}
    result = fuse(after_conv(f"[scale] {line}", c=np.float32(4), **vectors))
    assert fused(result) == [("conv-scale", "conv + scale")]
    (node,) = result.model.graph.node
    folded = constants(result.model)
    assert (folded[node.input[1]] == W * scale).all()
    assert (folded[node.input[2]] == B * scale + shift).all()


def test_the_power_of_one_folds_where_its_shape_may_matter_elsewhere() -> None:
    # The width is open, so nothing says that the result of Pow is as wide as its input.
    made = after_conv("[pow] z = Pow(y, p)", shape="1,2,4,N", p=np.ones((3, 1, 1), np.float32))
    result = fuse(made, rules=["conv-scale"])
    assert nodes(result.model) == ["conv: Conv(x, w, b) -> z"]


def test_without_a_bias_only_a_shift_makes_one() -> None:
    text = """(float[1,2,4,3] x) => (float[1,3,4,3] z) {
        [conv] y = Conv(x, w)
        [scale] z = %s(y, c)
    }"""
    scaled = fuse(model(text % "Mul", w=W, c=S)).model
    assert nodes(scaled) == ["conv: Conv(x, w_fused) -> z"]
    shifted = fuse(model(text % "Add", w=W, c=S)).model
    assert nodes(shifted) == ["conv: Conv(x, w, conv.bias) -> z"]
    assert constants(shifted)["conv.bias"].tolist() == [2, 0.5, -1]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1), (3, 1, 1), (1, 3, 1, 1)])
def test_one_number_or_one_for_each_channel_folds(shape: tuple[int, ...]) -> None:
    factor = np.full(shape, 2, np.float32) if 3 not in shape else S.reshape(shape)
    result = fuse(after_conv("[scale] z = Mul(y, s)", s=factor))
    assert (constants(result.model)["w_fused"] == W * (2 if 3 not in shape else S[..., None])).all()
    assert declined(result) == []


@pytest.mark.parametrize(
    "shape",
    [
        (3,),  # the width, which is 3 as well
        (4, 1),
        (3, 4, 3),
        (1, 1, 4, 3),
        (2, 1, 1, 1),
        (2, 3, 1, 1),
    ],
)
def test_a_constant_along_other_axes_is_declined(shape: tuple[int, ...]) -> None:
    made = after_conv("[scale] z = Add(y, s)", s=np.ones(shape, np.float32))
    result = fuse(made)
    sentence = f"`s` has shape {list(shape)}, not one value per channel (3)"
    assert declined(result) == [("conv-scale", "scale", "one-value-per-channel", sentence)]
    assert result.model == made


def test_a_vector_aligns_with_the_width_and_a_column_with_the_height() -> None:
    for shape in ((3,), (3, 1)):
        made = after_conv("[scale] z = Add(y, s)", shape="1,2,3,3", s=np.ones(shape, np.float32))
        assert fuse(made).model == made


def test_a_constant_of_higher_rank_is_declined() -> None:
    made = after_conv("[scale] z = Mul(y, s)", rank=5, s=np.full((1,) * 5, 2, np.float32))
    sentence = "`s` has shape [1, 1, 1, 1, 1], of more than 4 dimensions"
    assert declined(fuse(made)) == [("conv-scale", "scale", "one-value-per-channel", sentence)]


@pytest.mark.parametrize("size", [0, 3])
def test_a_constant_that_broadcasts_the_only_channel_is_declined(size: int) -> None:
    text = """(float[1,2,4,3] x) => (float[1,?,4,3] z) {
        [conv] y = Conv(x, w)
        [scale] z = Mul(y, s)
    }"""
    made = model(text, w=W[:1], s=np.full((size, 1, 1), 2, np.float32))
    sentence = f"`s` has shape [{size}, 1, 1], not one value per channel (1)"
    assert declined(fuse(made, rules=["conv-scale"])) == [
        ("conv-scale", "scale", "one-value-per-channel", sentence)
    ]


def test_a_constant_divided_by_the_result_is_no_scale() -> None:
    made = after_conv("[scale] z = Div(s, y)", s=S)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == []


@pytest.mark.parametrize(
    ("power", "shown"),
    [(np.float32(2), "2.0"), (np.float32([[[1]], [[1]], [[2]]]), "[1.0, 1.0, 2.0]")],
)
def test_another_power_than_one_is_declined(power: Array, shown: str) -> None:
    made = after_conv("[pow] z = Pow(y, p)", p=power)
    result = fuse(made)
    assert declined(result) == [
        ("conv-scale", "pow", "power-of-one", f"the power `p` is {shown}, not 1")
    ]
    assert result.model == made


# Layouts


def test_one_and_three_dimensions_fold_too() -> None:
    for spatial in ((5,), (3, 2, 2)):
        dims = ",".join(map(str, spatial))
        text = f"""(float[1,1,{dims}] x) => (float[1,2,{dims}] z) {{
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
        }}"""
        ones = (1,) * len(spatial)
        w, s = np.float32([3, 5]), np.float32([2, -1])
        made = model(text, w=w.reshape(2, 1, *ones), s=s.reshape(2, *ones))
        folded = constants(fuse(made).model)["w_fused"]
        assert folded.reshape(-1).tolist() == [6, -5]


def test_a_grouped_convolution_scales_its_rows() -> None:
    text = """(float[1,4,2,2] x) => (float[1,4,2,2] z) {
        [conv] y = Conv <group = 2> (x, w)
        [scale] z = Mul(y, s)
    }"""
    made = model(
        text,
        w=np.ones((4, 2, 1, 1), np.float32),
        s=np.float32([1, 2, 3, 4]).reshape(4, 1, 1),
    )
    folded = constants(fuse(made).model)["w_fused"].reshape(4, 2)
    assert folded.tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]


def test_a_deconvolution_with_as_many_inputs_as_outputs_scales_the_second_axis() -> None:
    text = """(float[1,2,2,2] x) => (float[1,2,2,2] z) {
        [deconv] y = ConvTranspose(x, w, b)
        [bn] z = BatchNormalization <epsilon = 0.0> (y, gain, shift, mean, variance)
    }"""
    made = model(
        text,
        w=np.float32([1, 2, 3, 4]).reshape(2, 2, 1, 1),
        b=np.float32([1, 1]),
        gain=np.float32([10, 100]),
        shift=np.float32([0, 5]),
        mean=np.float32([0, 0]),
        variance=np.float32([1, 1]),
    )
    result = fuse(made)
    assert nodes(result.model) == ["deconv: ConvTranspose(x, w_fused, b_fused) -> z"]
    folded = constants(result.model)
    assert folded["w_fused"].reshape(2, 2).tolist() == [[10, 200], [30, 400]]
    assert folded["b_fused"].tolist() == [10, 105]


def test_a_deconvolution_in_groups_scales_each_group_by_its_own_channels() -> None:
    text = """(float[1,4,2,2] x) => (float[1,4,?,?] z) {
        [deconv] y = ConvTranspose <group = 2, strides = [2, 2], output_padding = [1, 0]> (x, w)
        [scale] z = Mul(y, s)
    }"""
    made = model(
        text,
        w=np.ones((4, 2, 1, 1), np.float32),
        s=np.float32([1, 2, 3, 4]).reshape(1, 4, 1, 1),
    )
    folded = constants(fuse(made).model)["w_fused"].reshape(4, 2)
    assert folded.tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_padding_strides_dilations_and_metadata_stay() -> None:
    made = after_conv("[scale] z = Mul(y, s)", s=S)
    conv = made.graph.node[0]
    conv.attribute.extend(
        [
            helper.make_attribute("pads", [1, 0, 0, 1]),
            helper.make_attribute("strides", [2, 1]),
            helper.make_attribute("auto_pad", "NOTSET"),
        ]
    )
    conv.doc_string = "the first one"
    conv.metadata_props.add(key="module", value="stem")
    (node,) = fuse(made).model.graph.node
    assert attributes(node) == {"pads": [1, 0, 0, 1], "strides": [2, 1], "auto_pad": b"NOTSET"}
    assert node.doc_string == "the first one"
    assert [(each.key, each.value) for each in node.metadata_props] == [("module", "stem")]


# Types


def test_float16_weights_and_float32_statistics_make_float16_weights() -> None:
    text = """(float16[1,1,2,2] x) => (float16[1,1,2,2] z) {
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization <epsilon = 0.0> (y, gain, shift, mean, variance)
    }"""
    third = np.float32([1 / 3])
    made = model(
        text,
        w=np.float16([[[[1.5]]]]),
        gain=third,
        shift=np.float32([1e-3]),
        mean=np.float32([0]),
        variance=np.float32([4]),
    )
    folded = constants(fuse(made).model)
    assert {name: array.dtype for name, array in folded.items()} == {
        "w_fused": np.float16,
        "conv.bias": np.float16,
    }
    assert folded["w_fused"].item() == np.float16(1.5 * float(third[0]) / 2)
    assert folded["conv.bias"].item() == np.float16(float(np.float32(1e-3)))


def test_bfloat16_weights_are_rounded_once() -> None:
    text = """(bfloat16[1,1,2,2] x) => (bfloat16[1,1,2,2] z) {
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization <epsilon = 0.0> (y, gain, zero, zero, one)
    }"""
    # 1 + 2^-8 is halfway between two bfloat16; the little more is lost in float32.
    made = model(
        text,
        opset=22,
        w=np.ones((1, 1, 1, 1), ml_dtypes.bfloat16),
        gain=np.float64([1 + 2**-8 + 2**-40]),
        zero=np.zeros(1),
        one=np.ones(1),
    )
    assert float(constants(fuse(made).model)["w_fused"].item()) == 1 + 2**-7


def test_two_scales_round_once() -> None:
    text = """(float16[1,1,2,2] x) => (float16[1,1,2,2] z) {
        [conv] y = Conv(x, w)
        [first] m = Mul(y, s)
        [second] z = Mul(m, t)
    }"""
    # The square of 1 + 2^-10 rounds down to 1 + 2^-9, and what that loses is seen in the end.
    w, t = 1 + 2**-10, 1.25
    made = model(text, w=np.float16([[[[w]]]]), s=np.float16(w), t=np.float16(t))
    (folded,) = constants(fuse(made).model).values()
    assert folded.item() == np.float16(w * w * t) == 1.2529296875
    assert np.float16(w * w) * np.float16(t) == 1.251953125


def test_integer_weights_are_never_regrouped() -> None:
    w = helper.make_tensor("w", TensorProto.INT32, [1, 1, 1, 1], [2])
    made = model(
        """(float[1,1,2,2] x) => (float[1,1,2,2] z) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
        }""",
        w=np.ones((1, 1, 1, 1), np.float32),
        s=np.float32(2),
    )
    # No valid Conv has integers, but the checker of onnx lets one pass.
    for info in (*made.graph.input, *made.graph.output):
        info.type.tensor_type.elem_type = TensorProto.INT32
    del made.graph.initializer[:]
    made.graph.initializer.extend([w, helper.make_tensor("s", TensorProto.INT32, [], [3])])
    sentence = "`w` is int32, and only floating-point numbers may be regrouped"
    result = fuse(made)
    assert declined(result) == [("conv-scale", "scale", "floating-weights", sentence)]


# Weights that are shared, hidden or no constants


def test_a_weight_shared_with_another_conv_is_left_alone() -> None:
    text = """(float[1,2,4,3] x) => (float[1,3,4,3] z, float[1,3,4,3] other) {
        [conv] y = Conv(x, w, b)
        [plain] other = Conv(x, w, b)
        [scale] z = Mul(y, s)
    }"""
    result = fuse(model(text, w=W, b=B, s=S), objective="graph")
    assert nodes(result.model) == [
        "plain: Conv(x, w, b) -> other",
        "conv: Conv(x, w_fused, b_fused) -> z",
    ]
    folded = constants(result.model)
    assert list(folded) == ["w", "b", "w_fused", "b_fused"]
    assert (folded["w"] == W).all()
    assert (folded["b"] == B).all()
    assert folded["b_fused"].tolist() == [2, 1, -3]


def test_convs_that_share_a_weight_get_one_each_when_both_are_scaled() -> None:
    text = """(float[1,2,4,3] x) => (float[1,3,4,3] z, float[1,3,4,3] q) {
        [one] y = Conv(x, w)
        [two] v = Conv(x, w)
        [times] z = Mul(y, s)
        [minus] q = Neg(v)
    }"""
    folded = constants(fuse(model(text, w=W, s=S), objective="graph").model)
    assert list(folded) == ["w_fused", "w_fused_1"]
    assert (folded["w_fused"] == W * S[..., None]).all()
    assert (folded["w_fused_1"] == -W).all()


@pytest.mark.parametrize(
    ("line", "stored"),
    [
        ("w = Constant <value = float[3,2,1,1] {1, 2, 3, 4, 5, 6}> ()", {}),
        ("w = Identity(w0)", {"w0": W}),
        ("w = Cast <to = 1> (w0)", {"w0": W.astype(np.float64)}),
        ("w = Reshape(w0, shape)", {"w0": W.reshape(6), "shape": np.int64([3, -1, 1, 1])}),
        ("w = Transpose(w0)", {"w0": np.ascontiguousarray(W.T)}),
        ("w = Unsqueeze(w0, axes)", {"w0": W.reshape(3, 2, 1), "axes": np.int64([-1])}),
        ("w = Squeeze(w0, axes)", {"w0": W[None], "axes": np.int64([0])}),
        (
            "half = Cast <to = 10> (w0)\nw1 = Cast <to = 1> (half)\nw = Identity(w1)",
            {"w0": W},
        ),
    ],
)
def test_weights_that_are_made_of_constants_fold(line: str, stored: dict[str, Array]) -> None:
    text = f"""(float[1,2,4,3] x) => (float[1,3,4,3] z) {{
        {line}
        [conv] y = Conv(x, w)
        [scale] z = Mul(y, s)
    }}"""
    result = fuse(model(text, s=S, **stored))
    assert nodes(result.model) == ["conv: Conv(x, w_fused) -> z"]
    folded = constants(result.model)
    assert list(folded) == ["w_fused"]
    assert (folded["w_fused"] == W * S[..., None]).all()


@pytest.mark.parametrize(
    ("inputs", "line", "sentence"),
    [
        (
            "float[3,2,1,1] w",
            "[conv] y = Conv(x, w)",
            "the weights `w` are an input of the graph, not a constant",
        ),
        (
            "float[3] b",
            "[conv] y = Conv(x, weight, b)",
            "the bias `b` is an input of the graph, not a constant",
        ),
        (
            "float[3,2,1,1] v",
            "[relu] w = Relu(v)\n[conv] y = Conv(x, w)",
            "the weights `w` are computed at run time by Relu relu, not a constant",
        ),
        (
            "float[3] v",
            "b = Relu(v)\n[conv] y = Conv(x, weight, b)",
            "the bias `b` is computed at run time by Relu node_of_b, not a constant",
        ),
        (
            "float[3,2,1,1] weight",
            "[conv] y = Conv(x, weight)",
            "the weights `weight` are an initializer that is a graph input too, which a caller "
            "may override",
        ),
        (
            "float[3] bias",
            "[conv] y = Conv(x, weight, bias)",
            "the bias `bias` is an initializer that is a graph input too, which a caller may "
            "override",
        ),
    ],
)
def test_weights_that_are_no_constants_are_declined(inputs: str, line: str, sentence: str) -> None:
    text = f"""(float[1,2,4,3] x, {inputs}) => (float[1,3,4,3] z) {{
        {line}
        [scale] z = Mul(y, s)
    }}"""
    made = model(text, weight=W, bias=B, s=S)
    result = fuse(made)
    assert declined(result) == [("conv-scale", "scale", "conv", sentence)]
    assert fused(result) == []


def test_a_scale_that_a_caller_may_override_is_no_constant() -> None:
    text = """(float[1,2,4,3] x, float[3,1,1] s) => (float[1,3,4,3] z) {
        [conv] y = Conv(x, w)
        [scale] z = Mul(y, s)
    }"""
    made = model(text, w=W, s=S)
    result = fuse(made)
    assert result.model == made
    assert declined(result) == []


# Other consumers


def test_other_consumers_are_named() -> None:
    made = model(
        """(float[1,2,4,3] x) => (float[1,3,4,3] z, float[1,3,4,3] r) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
            [relu] r = Relu(y)
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    assert declined(result) == [
        ("conv-scale", "scale", "one-consumer", "`y` has 2 consumers: scale, relu")
    ]
    assert result.model == made


def test_of_many_consumers_four_are_named() -> None:
    outputs = ", ".join(f"float[1,3,4,3] r{i}" for i in range(5))
    relus = "\n".join(f"[relu{i}] r{i} = Relu(y)" for i in range(5))
    made = model(
        f"""(float[1,2,4,3] x) => (float[1,3,4,3] z, {outputs}) {{
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
            {relus}
        }}""",
        w=W,
        s=S,
    )
    (only,) = declined(fuse(made))
    assert only[3] == "`y` has 6 consumers: scale, relu0, relu1, relu2 and 2 more"


def test_a_value_that_the_caller_gets_is_not_folded_away() -> None:
    made = model(
        """(float[1,2,4,3] x) => (float[1,3,4,3] z, float[1,3,4,3] y) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    assert declined(result) == [
        ("conv-scale", "scale", "one-consumer", "`y` is an output of the graph")
    ]
    assert result.model == made


def test_a_value_that_a_body_reads_is_not_folded_away() -> None:
    made = model(
        """(float[1,2,4,3] x, bool which) => (float[1,3,4,3] z, float[?,?,?,?] q) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
            [choose] q = If (which) <
                then_branch = then () => (float[?,?,?,?] a) { a = Relu(y) },
                else_branch = other () => (float[?,?,?,?] c) { c = Neg(x) }
            >
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    assert declined(result) == [
        ("conv-scale", "scale", "one-consumer", "`y` has 2 consumers: scale, choose")
    ]
    assert result.model == made


def test_a_body_may_read_the_value_before_the_scale_does() -> None:
    made = model(
        """(float[1,2,4,3] x, bool which) => (float[1,3,4,3] z, float[?,?,?,?] q) {
            [conv] y = Conv(x, w)
            [choose] q = If (which) <
                then_branch = then () => (float[?,?,?,?] a) { a = Relu(y) },
                else_branch = other () => (float[?,?,?,?] c) { c = Neg(x) }
            >
            [scale] z = Mul(y, s)
        }""",
        w=W,
        s=S,
    )
    assert declined(fuse(made)) == [
        ("conv-scale", "scale", "one-consumer", "`y` has 2 consumers: choose, scale")
    ]


def test_a_weight_that_is_an_output_as_well_stays() -> None:
    made = model(
        """(float[1,2,4,3] x) => (float[1,3,4,3] z, float[3,2,1,1] w) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused) -> z"]
    assert list(constants(result.model)) == ["w", "w_fused"]
    assert (constants(result.model)["w"] == W).all()


def test_a_reader_that_nothing_needs_is_no_consumer() -> None:
    made = model(
        """(float[1,2,4,3] x) => (float[1,3,4,3] z) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, s)
            [dead] r = Relu(y)
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused) -> z"]
    assert set(fused(result)) == {("unused", "dead"), ("conv-scale", "conv + scale")}
    assert declined(result) == []


# What the type of the weights cannot hold

HALF = """(float16[1,1,2,2] x) => (float16[1,1,2,2] z) {
    [conv] y = Conv(x, w, b)
    [scale] z = Mul(y, s)
}"""


@pytest.mark.parametrize(
    ("w", "b", "s", "sentence"),
    [
        (1000, 0, 100, "a folded value would be 1e+05, beyond the largest float16 (6.55e+04)"),
        (-1000, 0, 100, "a folded value would be 1e+05, beyond the largest float16 (6.55e+04)"),
        (1, -1000, 100, "a folded value would be 1e+05, beyond the largest float16 (6.55e+04)"),
        (np.inf, 0, 2, "a folded value would be inf, beyond the largest float16 (6.55e+04)"),
        (np.nan, 0, 2, "a folded value would not be a number"),
        (1, np.nan, 2, "a folded value would not be a number"),
        (0, 0, np.inf, "a folded value would not be a number"),
        (
            2**-10,
            0,
            2**-8,
            "all weights of one channel would be at most 3.81e-06, below the normal numbers of "
            "float16 (6.1e-05)",
        ),
    ],
)
def test_numbers_that_float16_does_not_hold_are_declined(
    w: float, b: float, s: float, sentence: str
) -> None:
    made = model(HALF, w=np.float16([[[[w]]]]), b=np.float16([b]), s=np.float16(s))
    result = fuse(made)
    assert declined(result) == [("conv-scale", "scale", "representable", sentence)]
    assert result.model == made


def test_numbers_that_lose_two_bits_fold() -> None:
    made = model(HALF, w=np.float16([[[[2**-10]]]]), b=np.float16([0]), s=np.float16(2**-7))
    (only,) = (a for n, a in constants(fuse(made).model).items() if n == "w_fused")
    assert only.item() == 2**-17


def test_a_channel_of_zeros_folds() -> None:
    text = HALF.replace("1,1,2,2] z", "1,2,2,2] z")
    made = model(
        text,
        w=np.float16([0, 1]).reshape(2, 1, 1, 1),
        b=np.float16([1, 1]),
        s=np.float16([2, 0]).reshape(2, 1, 1),
    )
    folded = constants(fuse(made).model)
    assert folded["w_fused"].reshape(-1).tolist() == [0, 0]
    assert folded["b_fused"].tolist() == [2, 0]


def test_one_channel_that_would_lose_its_precision_declines_all() -> None:
    text = HALF.replace("1,1,2,2] z", "1,2,2,2] z")
    made = model(
        text,
        w=np.float16([1, 2**-10]).reshape(2, 1, 1, 1),
        b=np.float16([0, 0]),
        s=np.float16([1, 2**-8]).reshape(2, 1, 1),
    )
    assert [each[2] for each in declined(fuse(made))] == ["representable"]


def test_factors_that_together_leave_float64_are_not_multiplied_first() -> None:
    made = model(
        """(double[1,1,2,2] x) => (double[1,1,2,2] z) {
            [conv] y = Conv(x, w)
            [one] m = Mul(y, s)
            [two] z = Mul(m, s)
        }""",
        w=np.full((1, 1, 1, 1), 1e250),
        s=np.float64(1e-200),
    )
    for level in ("none", "rewrite"):
        result = fuse(made, verify=level)
        x = np.ones((1, 1, 2, 2))
        (z,) = evaluate(result.model, {"x": x}).values()
        # The product of the two factors alone would be 0.
        assert np.allclose(z.value, 1e-150, rtol=1e-12, atol=0)


def normalized(**given: Any) -> ModelProto:
    statistics = {"gain": 1, "shift": 0, "mean": 0, "variance": 1} | given
    vectors = {name: np.full(3, number, np.float32) for name, number in statistics.items()}
    return after_conv(
        "[bn] z = BatchNormalization <epsilon = 0.0> (y, gain, shift, mean, variance)", **vectors
    )


@pytest.mark.parametrize(
    ("statistics", "sentence"),
    [
        ({"variance": 0}, "a folded value would be inf, beyond the largest float32 (3.4e+38)"),
        ({"variance": 0, "gain": 0}, "a folded value would not be a number"),
        ({"variance": -1}, "a folded value would not be a number"),
        ({"mean": np.nan}, "a folded value would not be a number"),
        ({"variance": np.nan}, "a folded value would not be a number"),
        ({"gain": 1e38}, "a folded value would be 6e+38, beyond the largest float32 (3.4e+38)"),
        ({"gain": 1e-44}, None),
    ],
)
def test_statistics_that_give_no_finite_weights_are_declined(
    statistics: dict[str, float], sentence: str | None
) -> None:
    made = normalized(**statistics)
    result = fuse(made)
    ((rule, at, guard, because),) = declined(result)
    assert (rule, at, guard) == ("conv-scale", "bn", "representable")
    assert because == sentence or (sentence is None and "below the normal numbers" in because)
    assert result.model == made


def test_infinite_scales_of_a_zero_bias_raise_no_warning() -> None:
    # Zero times infinity; pytest turns the warning of numpy into an error.
    made = normalized(variance=0)
    made.graph.initializer[1].CopyFrom(helper.make_tensor("b", TensorProto.FLOAT, [3], [0, 0, 0]))
    assert [each[2] for each in declined(fuse(made))] == ["representable"]


# BatchNormalization


def test_the_default_epsilon_is_part_of_the_weights() -> None:
    vectors = {"gain": 1, "shift": 0, "mean": 0, "variance": 0}
    made = after_conv(
        "[bn] z = BatchNormalization(y, gain, shift, mean, variance)",
        **{name: np.full(3, number, np.float32) for name, number in vectors.items()},
    )
    folded = constants(fuse(made).model)["w_fused"]
    exact = W.astype(np.float64) / np.sqrt(float(np.float32(1e-5)))
    assert (folded == exact.astype(np.float32)).all()


LEFT_OVER = """(float[1,2,4,3] x{inputs}) => (float[?,?,?,?] z) {{
    {lines}
}}"""
VECTORS = {"gain": np.ones(2, np.float32), "shift": np.zeros(2, np.float32)}
VECTORS |= {"mean": np.zeros(2, np.float32), "variance": np.ones(2, np.float32)}


@pytest.mark.parametrize(
    ("inputs", "lines", "because"),
    [
        (
            "",
            "[relu] y = Relu(x)\n[bn] z = BatchNormalization(y, gain, shift, mean, variance)",
            "`y` is computed by Relu relu, not by a Conv or ConvTranspose with constant weights, "
            "or by a Gemm or MatMul by constant weights",
        ),
        (
            "",
            "[bn] z = BatchNormalization(x, gain, shift, mean, variance)",
            "`x` is an input of the graph, not computed",
        ),
        (
            ", float[2] v",
            "[bn] z = BatchNormalization(x, gain, shift, mean, v)",
            "`v` is an input of the graph, not a constant",
        ),
        (
            "",
            "[bn] z, m, v = BatchNormalization <training_mode=1> (x, gain, shift, mean, variance)",
            "it normalizes by the statistics of the batch (training_mode is 1)",
        ),
    ],
)
def test_a_batch_normalization_left_over_is_explained(
    inputs: str, lines: str, because: str
) -> None:
    made = model(LEFT_OVER.format(inputs=inputs, lines=lines), **VECTORS)
    result = fuse(made)
    assert declined(result) == [("conv-scale", "bn", "structure", because)]


@pytest.mark.parametrize("parameter", ["gain", "shift", "mean", "variance"])
def test_each_parameter_of_a_batch_normalization_has_to_be_constant(parameter: str) -> None:
    names = [f"{name}_given" if name == parameter else name for name in VECTORS]
    text = f"""(float[1,2,4,3] x, float[2] {parameter}_given) => (float[1,2,4,3] z) {{
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization(y, {", ".join(names)})
    }}"""
    result = fuse(model(text, w=W[:2], **VECTORS))
    because = f"`{parameter}_given` is an input of the graph, not a constant"
    assert declined(result) == [("conv-scale", "bn", "structure", because)]


def test_a_batch_normalization_that_trains_after_a_conv_is_no_scale() -> None:
    text = """(float[1,2,4,3] x) => (float[1,2,4,3] z) {
        [conv] y = Conv(x, w)
        [bn] z, m, v = BatchNormalization <training_mode = 1> (y, gain, shift, mean, variance)
    }"""
    made = model(text, w=W[:2], **VECTORS)
    result = fuse(made)
    because = "it normalizes by the statistics of the batch (training_mode is 1)"
    assert declined(result) == [("conv-scale", "bn", "structure", because)]
    assert result.model == made


def test_an_output_of_the_statistics_in_use_is_no_scale() -> None:
    outputs = {
        "float[2] running": "running is a graph output",
        "float[2] r": "it is read",
    }
    for output, reader in zip(outputs, ("", "[reader] r = Relu(running)"), strict=True):
        text = f"""(float[1,2,4,3] x) => (float[1,2,4,3] z, {output}) {{
            [conv] y = Conv(x, w)
            [bn] z, running, other, saved, more = BatchNormalization(y, gain, shift, mean, variance)
            {reader}
        }}"""
        made = model(text, opset=9, w=W[:2], **VECTORS)
        result = fuse(made)
        because = "its output `running` is used as well"
        assert declined(result) == [("conv-scale", "bn", "structure", because)]
        assert result.model == made


def test_outputs_of_the_statistics_that_nothing_uses_do_not_matter() -> None:
    text = """(float[1,2,4,3] x) => (float[1,2,4,3] z) {
        [conv] y = Conv(x, w)
        [bn] z, running, other, saved, more = BatchNormalization(y, gain, shift, mean, variance)
    }"""
    result = fuse(model(text, opset=9, w=W[:2], **VECTORS))
    assert nodes(result.model) == ["conv: Conv(x, w_fused, conv.bias) -> z"]


def test_outputs_of_the_statistics_that_are_left_out_do_not_matter() -> None:
    text = """(float[1,2,4,3] x) => (float[1,2,4,3] z) {
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization(y, gain, shift, mean, variance)
    }"""
    made = model(text, opset=9, w=W[:2], **VECTORS)
    made.graph.node[1].output.extend(["", "", "", ""])
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused, conv.bias) -> z"]


def test_a_batch_normalization_of_each_element_is_no_scale() -> None:
    text = """(float[1,2,1,1] x) => (float[1,2,1,1] z) {
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization <spatial = 0> (y, gain, shift, mean, variance)
    }"""
    result = fuse(model(text, opset=7, w=W[:2], **VECTORS))
    because = "it normalizes each element by itself (spatial is 0)"
    assert declined(result) == [("conv-scale", "bn", "structure", because)]


def test_weights_that_are_no_constants_are_the_reason_for_a_batch_normalization_too() -> None:
    text = """(float[1,2,4,3] x, float[2,2,1,1] w) => (float[1,2,4,3] z) {
        [conv] y = Conv(x, w)
        [bn] z = BatchNormalization(y, gain, shift, mean, variance)
    }"""
    result = fuse(model(text, **VECTORS))
    because = "the weights `w` are an input of the graph, not a constant"
    assert declined(result) == [("conv-scale", "bn", "conv", because)]


# Bodies


def test_a_body_folds_with_weights_from_outside() -> None:
    made = model(
        """(float[1,2,4,3] x, bool which) => (float[1,3,4,3] q) {
            [choose] q = If (which) <
                then_branch = then () => (float[1,3,4,3] a) {
                    [conv] y = Conv(x, w, b)
                    [scale] a = Mul(y, s)
                },
                else_branch = other () => (float[1,3,4,3] c) { c = Conv(x, w) }
            >
        }""",
        w=W,
        b=B,
        s=S,
    )
    result = fuse(made)
    then = body(result.model, "choose", "then_branch")
    assert nodes(then) == ["conv: Conv(x, w_fused, b_fused) -> a"]
    assert (constants(then)["w_fused"] == W * S[..., None]).all()
    # The other branch reads the weights as they were; nothing reads the bias and the scale.
    assert nodes(body(result.model, "choose", "else_branch")) == ["-: Conv(x, w) -> c"]
    assert list(constants(result.model)) == ["w"]
    assert fused(result) == [("conv-scale", "conv + scale")]


def test_the_body_of_a_loop_folds_and_what_it_carries_is_no_constant() -> None:
    text = """(float[1,1,2,2] x) => (float[1,1,2,2] z) {{
        [loop] z{more} = Loop(three, yes, x{start}) <body = steps (
            int64 i, bool go, float[1,1,2,2] h{inner}
        ) => (bool on, float[1,1,2,2] out{outer}) {{
            on = Identity(go)
            [conv] y = Conv(h, {weight})
            [scale] out = Mul(y, s)
            {keep}
        }}>
    }}"""
    given = {
        "w": np.float32([[[[2]]]]),
        "s": np.float32(5),
        "three": np.int64(3),
        "yes": np.True_,
    }
    captured = text.format(more="", start="", inner="", outer="", weight="w", keep="")
    result = fuse(model(captured, **given))
    steps = body(result.model, "loop", "body")
    assert nodes(steps) == ["-: Identity(go) -> on", "conv: Conv(h, w_fused) -> out"]
    assert constants(steps)["w_fused"].item() == 10
    assert list(constants(result.model)) == ["three", "yes"]

    carried = text.format(
        more=", last",
        start=", w",
        inner=", float[1,1,1,1] v",
        outer=", float[1,1,1,1] next",
        weight="v",
        keep="next = Identity(v)",
    )
    result = fuse(model(carried, **given))
    because = "the weights `v` are an input of the graph, not a constant"
    assert declined(result) == [("conv-scale", "scale", "conv", because)]


# Versions


def test_every_opset_from_7_on_folds(opset: int) -> None:
    lines = "[mul] m = Mul(y, s)\n[bn] z = BatchNormalization(m, gain, shift, mean, variance)"
    vectors = {name: np.full(3, 1, np.float32) for name in VECTORS}
    result = fuse(after_conv(lines, opset=opset, s=S, **vectors))
    assert nodes(result.model) == ["conv: Conv(x, w_fused_1, b_fused_2) -> z"]
    assert result.model.opset_import[0].version == opset


def test_before_opset_7_nothing_happens() -> None:
    made = model(
        """(float[1,2,3,3] x) => (float[1,3,3,3] z) {
            [conv] y = Conv(x, w)
            [mul] m = Mul <broadcast = 1, axis = 1> (y, s)
            [bn] n = BatchNormalization <is_test = 1> (m, s, s, s, s)
            [add] z = Add <broadcast = 1, axis = 1> (n, s)
        }""",
        opset=6,
        w=W,
        s=S.reshape(3),
    )
    result = fuse(made)
    assert result.model == made
    assert declined(result) == [
        ("conv-scale", "mul", "opset", "the model imports opset 6, and the rule needs 7"),
        (
            "conv-scale",
            "bn",
            "structure",
            "`m` is computed by Mul mul, not by a Conv or ConvTranspose with constant weights, "
            "or by a Gemm or MatMul by constant weights",
        ),
    ]


def test_the_default_domain_may_be_spelled_out() -> None:
    made = after_conv("[scale] z = Mul(y, s)", s=S)
    made.opset_import[0].domain = "ai.onnx"
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b_fused) -> z"]
    assert result.model.opset_import[0].domain == "ai.onnx"


def test_an_operator_of_another_domain_is_another_operator() -> None:
    for index in range(2):
        made = after_conv("[scale] z = Mul(y, s)", s=S)
        made.opset_import.add(domain="custom", version=1)
        made.graph.node[index].domain = "custom"
        result = fuse(made)
        assert result.model == made
        assert declined(result) == []


def test_a_model_of_ir_3_lists_the_new_weights_as_inputs() -> None:
    result = fuse(after_conv("[scale] z = Mul(y, s)", ir_version=3, opset=8, s=S))
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b_fused) -> z"]
    assert list(constants(result.model)) == ["w_fused", "b_fused"]
    listed = {each.name: each.type.tensor_type for each in result.model.graph.input}
    assert list(listed) == ["x", "w_fused", "b_fused"]
    assert [dim.dim_value for dim in listed["w_fused"].shape.dim] == [3, 2, 1, 1]
    assert listed["b_fused"].elem_type == TensorProto.FLOAT


def test_a_body_of_ir_3_holds_the_new_weights_as_constants() -> None:
    made = model(
        """(float[1,2,4,3] x, bool which) => (float[1,3,4,3] q) {
            [choose] q = If (which) <
                then_branch = then () => (float[1,3,4,3] a) {
                    [conv] y = Conv(x, w)
                    [scale] a = Mul(y, s)
                },
                else_branch = other () => (float[1,3,4,3] c) { c = Conv(x, w) }
            >
        }""",
        ir_version=3,
        opset=8,
        w=W,
        s=S,
    )
    result = fuse(made)
    then = body(result.model, "choose", "then_branch")
    assert nodes(then) == ["-: Constant() -> w_fused", "conv: Conv(x, w_fused) -> a"]
    assert [each.name for each in result.model.graph.input] == ["x", "which", "w"]


# Dynamic shapes, names, and what the result is made of


def test_dynamic_dimensions_do_not_matter_after_a_convolution() -> None:
    made = after_conv("[scale] z = Mul(y, s)", shape="N,C,H,W", s=S)
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b_fused) -> z"]
    dims = result.model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in dims] == ["N", "C", "H", "W"]


def test_a_new_name_stays_clear_of_the_names_that_are_there() -> None:
    text = """(float[1,2,4,3] x, float[1] b_fused) => (float[1,3,4,3] z, float[1] w_fused) {
        [conv] y = Conv(x, w, b)
        [scale] z = Mul(y, s)
        w_fused = Relu(b_fused)
    }"""
    result = fuse(model(text, w=W, b=B, s=S))
    assert list(constants(result.model)) == ["w_fused_1", "b_fused_2"]


def test_nodes_without_names_are_known_by_their_outputs() -> None:
    text = """(float[1,2,4,3] x) => (float[1,3,4,3] z) {
        y = Conv(x, w)
        m = Mul(y, s)
        z = Relu(m)
    }"""
    result = fuse(model(text, w=W, s=S))
    (only,) = result.report.fused
    assert only.name == "node_of_y + node_of_m"
    assert only.into == ["node_of_m"]
    assert only.operators == ["Conv", "Mul"]
    assert only.error is not None
    assert only.error < 1e-12
