"""scale-conv: a scale before a Conv or ConvTranspose goes into its weights and bias."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import SCALES, Array, constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper
from oracle import assert_equivalent

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

W = np.float32([1, 2, 3, 4, 5, 6]).reshape(3, 2, 1, 1)
B = np.float32([1, 2, 3])
S = np.float32([10, -1]).reshape(2, 1, 1)


def before_conv(
    line: str, *, attributes: str = "", shape: str = "1,2,4,4", operator: str = "Conv", **given: Any
) -> ModelProto:
    """A model of `line`, which computes y from x, and a convolution of y."""
    text = f"""(float[{shape}] x) => (float[?,?,?,?] z) {{
        {line}
        [conv] z = {operator} {attributes} (y, w, b)
    }}"""
    return model(text, **{"w": W, "b": B, **given})


def test_a_scale_goes_into_the_columns_and_a_shift_into_the_bias(opset: int) -> None:
    made = before_conv(
        "[mul] m = Mul(x, s)\n[add] y = Add(t, m)", opset=opset, s=S, t=np.float32(2)
    )
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b_fused) -> z"]
    folded = constants(result.model)
    assert list(folded) == ["b_fused", "w_fused"]
    assert folded["w_fused"].reshape(3, 2).tolist() == [[10, -2], [30, -4], [50, -6]]
    assert folded["b_fused"].tolist() == [1 + 2 * 3, 2 + 2 * 7, 3 + 2 * 11]
    assert fused(result) == [("scale-conv", "add + conv"), ("scale-conv", "mul + conv")]
    assert declined(result) == []


@pytest.mark.parametrize(
    ("line", "scale", "shift"),
    [
        ("y = Mul(x, c)", 4, 0),
        ("y = Div(x, c)", 0.25, 0),
        ("y = Add(c, x)", 1, 4),
        ("y = Sub(x, c)", 1, -4),
        ("y = Sub(c, x)", -1, 4),
        ("y = Neg(x)", -1, 0),
        ("y = BatchNormalization <epsilon = 0.0> (x, gain, shift, mean, variance)", 1.5, -2),
    ],
)
def test_every_spelling_of_a_scale_folds(line: str, scale: float, shift: float) -> None:
    parameters = {"gain": 3, "shift": 1, "mean": 2, "variance": 4}
    vectors = {name: np.full(2, number, np.float32) for name, number in parameters.items()}
    result = fuse(before_conv(f"[scale] {line}", c=np.float32(4), **vectors))
    assert fused(result) == [("scale-conv", "scale + conv")]
    (node,) = result.model.graph.node
    folded = constants(result.model)
    assert (folded[node.input[1]] == W * scale).all()
    expected = B + W.reshape(3, 2).sum(axis=1) * shift
    assert (folded[node.input[2]] == expected).all()


def test_without_a_bias_only_a_shift_makes_one() -> None:
    text = """(float[1,2,4,4] x) => (float[1,3,4,4] z) {
        [scale] y = %s(x, s)
        [conv] z = Conv(y, w)
    }"""
    scaled = fuse(model(text % "Mul", w=W, s=S)).model
    assert nodes(scaled) == ["conv: Conv(x, w_fused) -> z"]
    shifted = fuse(model(text % "Add", w=W, s=S)).model
    assert nodes(shifted) == ["conv: Conv(x, w, conv.bias) -> z"]
    assert constants(shifted)["conv.bias"].tolist() == [10 - 2, 30 - 4, 50 - 6]


def test_a_shift_per_channel_sums_over_all_taps() -> None:
    text = """(float[1,2,5,5] x) => (float[1,1,3,3] z) {
        [shift] y = Add(x, s)
        [conv] z = Conv <dilations = [1, 2], strides = [1, 1]> (y, w)
    }"""
    w = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 3, 2)
    result = fuse(model(text, w=w, s=S))
    assert constants(result.model)["conv.bias"].tolist() == [10 * 21 - 57]


def test_a_grouped_convolution_takes_the_channels_of_each_group() -> None:
    text = """(float[1,4,2,2] x) => (float[1,2,2,2] z) {
        [scale] y = Mul(x, s)
        [shift] v = Add(y, s)
        [conv] z = Conv <group = 2> (v, w)
    }"""
    result = fuse(
        model(
            text,
            w=np.float32([[1, 2], [3, 4]]).reshape(2, 2, 1, 1),
            s=np.float32([1, 10, 100, 1000]).reshape(4, 1, 1),
        )
    )
    (node,) = result.model.graph.node
    folded = constants(result.model)
    assert folded[node.input[1]].reshape(2, 2).tolist() == [[1, 20], [300, 4000]]
    assert folded[node.input[2]].tolist() == [21, 4300]


def test_two_rows_in_each_group_share_the_channels_of_it() -> None:
    text = """(float[1,2,2,2] x) => (float[1,4,2,2] z) {
        [scale] y = Mul(x, s)
        [conv] z = Conv <group = 2> (y, w)
    }"""
    made = model(text, w=np.ones((4, 1, 1, 1), np.float32), s=S)
    folded = constants(fuse(made).model)["w_fused"].reshape(4)
    assert folded.tolist() == [10, 10, -1, -1]


def test_one_and_three_dimensions_fold_too() -> None:
    for spatial in ((5,), (3, 2, 2)):
        dims, ones = ",".join(map(str, spatial)), (1,) * len(spatial)
        text = f"""(float[1,2,{dims}] x) => (float[1,1,{dims}] z) {{
            [scale] y = Mul(x, s)
            [conv] z = Conv(y, w)
        }}"""
        made = model(text, w=np.float32([3, 5]).reshape(1, 2, *ones), s=S.reshape(2, *ones))
        folded = constants(fuse(made).model)["w_fused"]
        assert folded.reshape(-1).tolist() == [30, -5]


# Padding

PADDED = [
    ("<pads = [1, 1, 1, 1]>", "its pads are [1, 1, 1, 1]"),
    ("<pads = [0, 0, 0, 1]>", "its pads are [0, 0, 0, 1]"),
    ('<auto_pad = "SAME_UPPER">', "auto_pad is SAME_UPPER"),
    ('<auto_pad = "SAME_LOWER">', "auto_pad is SAME_LOWER"),
]


@pytest.mark.parametrize(("attributes", "why"), PADDED)
@pytest.mark.parametrize("line", ["y = Add(x, s)", "y = Sub(s, x)"])
def test_a_shift_before_padding_is_declined(line: str, attributes: str, why: str) -> None:
    made = before_conv(f"[scale] {line}", attributes=attributes, s=S)
    result = fuse(made)
    sentence = f"it shifts, but the padding of conv stays 0: {why}"
    assert declined(result) == [("scale-conv", "conv", "no-shift-into-padding", sentence)]
    assert result.model == made


@pytest.mark.parametrize("attributes", [each for each, _ in PADDED])
def test_padding_does_not_matter_to_a_scale_without_a_shift(attributes: str) -> None:
    result = fuse(before_conv("[scale] y = Mul(x, s)", attributes=attributes, s=S))
    assert nodes(result.model) == ["conv: Conv(x, w_fused, b) -> z"]


@pytest.mark.parametrize(
    "attributes",
    [
        "<pads = [0, 0, 0, 0]>",
        '<auto_pad = "VALID">',
        '<auto_pad = "NOTSET">',
        '<auto_pad = "NOTSET", pads = [0, 0, 0, 0]>',
    ],
)
def test_a_shift_folds_where_nothing_is_padded(attributes: str) -> None:
    result = fuse(before_conv("[scale] y = Add(x, s)", attributes=attributes, s=S))
    assert nodes(result.model) == ["conv: Conv(x, w, b_fused) -> z"]


# ConvTranspose


def test_a_deconvolution_scales_its_first_axis() -> None:
    square = np.float32([[1, 2], [3, 4]]).reshape(2, 2, 1, 1)
    made = before_conv(
        "[scale] y = Mul(x, s)",
        operator="ConvTranspose",
        attributes="<strides = [2, 2], pads = [0, 1, 0, 0]>",
        w=square,
        b=B[:2],
        s=S,
    )
    result = fuse(made)
    assert nodes(result.model) == ["conv: ConvTranspose(x, w_fused, b) -> z"]
    folded = constants(result.model)["w_fused"].reshape(2, 2)
    assert folded.tolist() == [[10, 20], [-3, -4]]


def test_a_deconvolution_in_groups_scales_its_first_axis_too() -> None:
    made = before_conv(
        "[scale] y = Mul(x, s)",
        operator="ConvTranspose",
        attributes="<group = 2>",
        w=np.ones((2, 2, 1, 1), np.float32),
        b=np.ones(4, np.float32),
        s=S,
    )
    folded = constants(fuse(made).model)["w_fused"].reshape(2, 2)
    assert folded.tolist() == [[10, 10], [-1, -1]]


def test_a_shift_before_a_deconvolution_is_declined() -> None:
    made = before_conv(
        "[shift] y = Add(x, s)",
        operator="ConvTranspose",
        w=np.ones((2, 3, 1, 1), np.float32),
        s=S,
    )
    result = fuse(made)
    sentence = "it shifts, and not every output of a ConvTranspose sums over the same taps"
    assert declined(result) == [("scale-conv", "conv", "no-shift-into-padding", sentence)]
    assert result.model == made


# Shapes


@pytest.mark.parametrize(
    ("shape", "of"),
    [
        ((), "1,2,4,4"),
        ((1,), "1,2,4,4"),
        ((1, 1, 1, 1), "N,2,H,W"),
        ((2, 1, 1), "1,2,4,4"),
        ((1, 2, 1, 1), "N,2,H,W"),
    ],
)
def test_one_number_or_one_for_each_channel_folds(shape: tuple[int, ...], of: str) -> None:
    factor = S.reshape(shape) if 2 in shape else np.full(shape, 3, np.float32)
    result = fuse(before_conv("[scale] y = Mul(x, s)", shape=of, s=factor))
    expected = W * (S.reshape(1, 2, 1, 1) if 2 in shape else 3)
    assert (constants(result.model)["w_fused"] == expected).all()


@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 1, 2), (2, 1, 1, 1), (2, 2, 2)])
def test_a_constant_along_other_axes_is_declined(shape: tuple[int, ...]) -> None:
    for operator in ("Mul", "Add"):
        made = before_conv(
            f"[scale] y = {operator}(x, s)", shape="2,2,2,2", s=np.full(shape, 3, np.float32)
        )
        result = fuse(made)
        sentence = f"`s` has shape {list(shape)}, not one value per channel (2)"
        assert declined(result) == [("scale-conv", "conv", "one-value-per-input-channel", sentence)]
        assert result.model == made


@pytest.mark.parametrize(
    ("of", "shape", "sentence"),
    [
        (
            "1,1,4,4",
            (1, 2, 1, 1),
            "`s` has shape [1, 2, 1, 1], which may broadcast `x` of shape [1, 1, 4, 4]",
        ),
        (
            "N,C,4,4",
            (2, 1, 1),
            "`s` has shape [2, 1, 1], which may broadcast `x` of shape [N, C, 4, 4]",
        ),
        (
            "2,4,4",
            (1, 1, 1, 1),
            "`s` has shape [1, 1, 1, 1], of more dimensions than `x` (3)",
        ),
        (
            "4,4",
            (1, 2, 1, 1),
            "`s` has shape [1, 2, 1, 1], of more dimensions than `x` (2)",
        ),
    ],
)
def test_a_constant_that_may_make_the_input_larger_is_declined(
    of: str, shape: tuple[int, ...], sentence: str
) -> None:
    made = before_conv("[scale] y = Mul(x, s)", shape=of, s=np.full(shape, 3, np.float32))
    result = fuse(made)
    assert declined(result) == [("scale-conv", "conv", "one-value-per-input-channel", sentence)]
    assert result.model == made


def test_a_constant_that_the_input_is_taken_from_may_make_it_larger() -> None:
    # The scale of -1 keeps the shape; the shift does not.
    made = before_conv("[scale] y = Sub(s, x)", shape="1,1,4,4", s=S)
    result = fuse(made)
    sentence = "`s` has shape [2, 1, 1], which may broadcast `x` of shape [1, 1, 4, 4]"
    assert declined(result) == [("scale-conv", "conv", "one-value-per-input-channel", sentence)]
    assert result.model == made


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((), None),
        ((1, 1), None),
        (
            (2, 1, 1),
            "`s` has shape [2, 1, 1], which may broadcast `open` of shape [?, ?, ?, ?]",
        ),
        ((1, 2, 1, 1), "`s` has shape [1, 2, 1, 1] and the rank of `open` is not known"),
        ((1, 1, 1, 1), "`s` has shape [1, 1, 1, 1] and the rank of `open` is not known"),
    ],
)
def test_of_an_input_of_open_rank_the_convolution_tells_the_rank(
    shape: tuple[int, ...], sentence: str | None
) -> None:
    text = """(float[32] x, int64[n] shape) => (float[?,?,?,?] z) {
        open = Reshape(x, shape)
        [scale] y = Mul(open, s)
        [conv] z = Conv(y, w)
    }"""
    result = fuse(model(text, w=W, s=np.full(shape, 3, np.float32)))
    if sentence is None:
        assert nodes(result.model)[1:] == ["conv: Conv(open, w_fused) -> z"]
    else:
        assert declined(result) == [("scale-conv", "conv", "one-value-per-input-channel", sentence)]


# Other guards


def test_a_scale_that_two_convolutions_read_is_declined() -> None:
    text = """(float[1,2,4,4] x) => (float[1,3,4,4] z, float[1,3,4,4] q) {
        [scale] y = Mul(x, s)
        [conv] z = Conv(y, w)
        [other] q = Conv(y, w)
    }"""
    made = model(text, w=W, s=S)
    result = fuse(made)
    because = "`y` has 2 consumers: conv, other"
    assert declined(result) == [
        ("scale-conv", "conv", "one-consumer", because),
        ("scale-conv", "other", "one-consumer", because),
    ]
    assert result.model == made


def test_a_scaled_value_that_the_caller_gets_is_kept() -> None:
    made = model(
        """(float[1,2,4,4] x) => (float[1,3,4,4] z, float[1,2,4,4] y) {
            [scale] y = Mul(x, s)
            [conv] z = Conv(y, w)
        }""",
        w=W,
        s=S,
    )
    result = fuse(made)
    because = "`y` is an output of the graph"
    assert declined(result) == [("scale-conv", "conv", "one-consumer", because)]
    assert result.model == made


def test_other_readers_of_what_is_scaled_do_not_matter() -> None:
    made = model(
        """(float[1,2,4,4] x) => (float[1,3,4,4] z, float[1,2,4,4] q) {
            a = Relu(x)
            [scale] y = Mul(a, s)
            [conv] z = Conv(y, w)
            q = Neg(a)
        }""",
        w=W,
        s=S,
    )
    assert nodes(fuse(made).model) == [
        "-: Relu(x) -> a",
        "conv: Conv(a, w_fused) -> z",
        "-: Neg(a) -> q",
    ]


def test_a_weight_shared_with_another_conv_is_left_alone() -> None:
    made = model(
        """(float[1,2,4,4] x) => (float[1,3,4,4] z, float[1,3,4,4] q) {
            [scale] y = Add(x, s)
            [conv] z = Conv(y, w, b)
            [other] q = Conv(x, w, b)
        }""",
        w=W,
        b=B,
        s=S,
    )
    result = fuse(made, objective="graph")
    assert nodes(result.model) == [
        "conv: Conv(x, w, b_fused) -> z",
        "other: Conv(x, w, b) -> q",
    ]
    assert (constants(result.model)["b"] == B).all()


def test_another_power_than_one_is_declined() -> None:
    made = before_conv("[pow] y = Pow(x, two)", two=np.float32(2))
    result = fuse(made)
    assert declined(result) == [
        ("scale-conv", "conv", "power-of-one", "the power `two` is 2.0, not 1")
    ]
    assert result.model == made


@pytest.mark.parametrize(
    ("operator", "number"), [("Mul", 60000), ("Add", 60000), ("Mul", np.nan), ("Mul", 1e-7)]
)
def test_numbers_that_float16_does_not_hold_are_declined(operator: str, number: float) -> None:
    text = f"""(float16[1,1,2,2] x) => (float16[1,1,2,2] z) {{
        [scale] y = {operator}(x, s)
        [conv] z = Conv(y, w)
    }}"""
    made = model(text, w=np.float16([[[[2]]]]), s=np.float16(number))
    result = fuse(made)
    ((rule, at, guard, because),) = declined(result)
    assert (rule, at, guard) == ("scale-conv", "conv", "representable")
    assert because == {
        60000: "a folded value would be 1.2e+05, beyond the largest float16 (6.55e+04)",
        1e-7: "all weights of one channel would be at most 2.38e-07, below the normal numbers of "
        "float16 (6.1e-05)",
    }.get(number, "a folded value would not be a number")
    assert result.model == made


def test_integer_weights_are_never_regrouped() -> None:
    made = before_conv("[scale] y = Mul(x, s)", s=np.float32(2))
    # No valid Conv has integers, but the checker of onnx lets one pass.
    for info in (*made.graph.input, *made.graph.output):
        info.type.tensor_type.elem_type = TensorProto.INT32
    kept = [(tensor.name, list(tensor.dims)) for tensor in made.graph.initializer]
    del made.graph.initializer[:]
    for name, dims in kept:
        ones = np.ones(dims, np.int32) * 2
        made.graph.initializer.append(
            helper.make_tensor(name, TensorProto.INT32, dims, ones.reshape(-1).tolist())
        )
    result = fuse(made)
    sentence = "`w` is int32, and only floating-point numbers may be regrouped"
    assert declined(result) == [("scale-conv", "conv", "floating-weights", sentence)]


def test_weights_or_a_bias_that_are_no_constants_make_no_layer() -> None:
    for given in ("float[3,2,1,1] v", "float[3] v"):
        inputs = "y, v" if "2" in given else "y, w, v"
        text = f"""(float[1,2,4,4] x, {given}) => (float[1,3,4,4] z) {{
            [scale] y = Mul(x, s)
            [conv] z = Conv({inputs})
        }}"""
        made = model(text, w=W, s=S)
        result = fuse(made)
        assert fused(result) == []
        assert declined(result) == []


def test_what_is_no_scale_says_why() -> None:
    vectors = {name: np.ones(2, np.float32) for name in ("gain", "shift", "mean", "variance")}
    made = before_conv(
        "[bn] y, m, v = BatchNormalization <training_mode = 1> (x, gain, shift, mean, variance)",
        **vectors,
    )
    result = fuse(made)
    because = "it normalizes by the statistics of the batch (training_mode is 1)"
    assert declined(result) == [
        ("conv-scale", "bn", "structure", because),
        ("scale-conv", "conv", "scale", because),
    ]
    assert result.model == made


def test_statistics_that_are_left_out_are_read_by_nobody() -> None:
    names = ("gain", "shift", "mean", "variance")
    made = before_conv(
        "[bn] y = BatchNormalization(x, gain, shift, mean, variance)",
        opset=9,
        **{name: np.ones(2, np.float32) for name in names},
    )
    made.graph.node[0].output.extend(["", "", "", ""])
    assert fused(fuse(made)) == [("scale-conv", "bn + conv")]


def test_a_scale_on_both_sides_folds_from_both_sides() -> None:
    text = """(float[1,2,4,4] x) => (float[1,3,2,2] z) {
        [before] a = Add(x, s)
        [conv] y = Conv(a, w, b)
        [after] z = Mul(y, t)
    }"""
    w = np.arange(54, dtype=np.float32).reshape(3, 2, 3, 3)
    made = model(text, w=w, b=B, s=S, t=np.float32([2, 0.5, -1]).reshape(3, 1, 1))
    result = fuse(made)
    assert len(result.model.graph.node) == 1
    x: Array = np.random.default_rng(0).standard_normal((1, 2, 4, 4))
    assert_equivalent(made, result.model, {"x": x})


def test_the_last_factor_of_a_gelu_stays_where_the_builder_looks_for_it() -> None:
    line = "d = Div(x, root) e = Erf(d) a = Add(e, one) p = Mul(x, a) [last] y = Mul(p, half)"
    made = before_conv(line, root=2**0.5, one=1, half=0.5)
    because = "last is the last factor of a GELU, and without it TensorRT does not know that"
    assert declined(fuse(made)) == [("scale-conv", "conv", "is-not-of-gelu", because)]
