from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import attributes, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

#: Of Pad, Conv and AveragePool something changes at each of them.
OPSETS = (7, 10, 11, 13, 18, 19, 21, 22, 23)


def run(made: ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


def padded_into(
    layer: str, header: str = "(float[n,2,6,6] x) => (float[n,c,h,w] y)", **given: Any
) -> Any:
    """A model of a Pad of 1 above and 2 on the right, or of other amounts, and a layer of it."""
    opset = given.pop("opset", 17)
    body = given.pop("pad", "Pad(x, amounts)")
    given = {"amounts": np.array([0, 0, 1, 0, 0, 0, 0, 2])} | given
    if "(p, w)" in layer:
        given |= {"w": given.get("w", np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3))}
    return model(f"{header} {{ [pad] p = {body} [layer] y = {layer} }}", opset=opset, **given)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("Conv(p, w)", {"pads": [1, 0, 0, 2]}),
        ("Conv<pads=[1,2,3,4]>(p, w)", {"pads": [2, 2, 3, 6]}),
        ('Conv<auto_pad="VALID">(p, w)', {"pads": [1, 0, 0, 2], "auto_pad": b"NOTSET"}),
        ("AveragePool<kernel_shape=[3,3]>(p)", {"pads": [1, 0, 0, 2], "count_include_pad": 1}),
        (
            "AveragePool<kernel_shape=[3,5],pads=[1,1,1,1],count_include_pad=1>(p)",
            {"pads": [2, 1, 1, 3], "count_include_pad": 1},
        ),
        (
            "ConvTranspose<pads=[3,1,2,5],strides=[3,2]>(p, w)",
            {"pads": [0, 1, 2, 1]},
        ),
    ],
)
def test_zeros_around_the_input_become_the_padding_of_the_layer(
    layer: str, expected: dict[str, Any]
) -> None:
    made = padded_into(layer)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert fused(result) == [("pad-into-layer", "pad + layer")]
        weights = ", w" if "(p, w)" in layer else ""
        operator = layer.split("<")[0].split("(")[0]
        assert nodes(result.model) == [f"layer: {operator}(x{weights}) -> y"]
        (node,) = result.model.graph.node
        assert attributes(made.graph.node[1]) | expected == attributes(node)
    x = np.arange(144, dtype=np.float32).reshape(2, 2, 6, 6)
    np.testing.assert_allclose(run(result.model, x), run(made, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "given", "opset"),
    [
        ("Pad<pads=[0,0,1,0,0,0,0,2]>(x)", {}, 10),
        ('Pad<pads=[0,0,1,0,0,0,0,2], value=0.0, mode="constant">(x)', {}, 10),
        ("Pad(x, amounts, zero)", {"zero": 0.0}, 11),
        ("Pad(x, amounts, zero)", {"zero": -0.0}, 17),
        ("Pad(x, amounts, , axes)", {"amounts": [1, 0, 0, 2], "axes": [2, 3]}, 18),
        ("Pad(x, amounts, , axes)", {"amounts": [0, 1, 2, 0], "axes": [-1, -2]}, 19),
        ("Pad(x, amounts, , axes)", {"amounts": [1, 0], "axes": [2], "expected": [1, 0, 0, 0]}, 22),
    ],
)
def test_every_opset_lists_the_amounts_in_its_own_way(
    body: str, given: dict[str, Any], opset: int
) -> None:
    expected = given.pop("expected", [1, 0, 0, 2])
    arrays = {name: np.array(v) if isinstance(v, list) else v for name, v in given.items()}
    made = padded_into("Conv(p, w)", pad=body, opset=opset, **arrays)
    result = rewrite_and_explain(made)
    assert fused(result) == [("pad-into-layer", "pad + layer")]
    assert attributes(result.model.graph.node[0])["pads"] == expected


@pytest.mark.parametrize(
    ("layer", "given", "guard", "because"),
    [
        (
            "Conv(p, w)",
            {"pad": 'Pad<mode="edge">(x, amounts)'},
            "pads-with-zeros",
            "pad pads in mode edge",
        ),
        (
            "Conv(p, w)",
            {"pad": 'Pad<mode="reflect">(x, amounts)'},
            "pads-with-zeros",
            "pad pads in mode reflect",
        ),
        (
            "Conv(p, w)",
            {"pad": "Pad(x, amounts, one)", "one": 1.0},
            "pads-with-zeros",
            "pad fills in 1, not 0",
        ),
        (
            "Conv(p, w)",
            {"pad": "Pad<pads=[0,0,1,1,0,0,1,1], value=-0.5>(x)", "opset": 10},
            "pads-with-zeros",
            "pad fills in -0.5, not 0",
        ),
        (
            "Conv(p, w)",
            {
                "pad": "Pad(x, amounts, f)",
                "header": "(float[n,2,6,6] x, float f) => (float[n,c,h,w] y)",
            },
            "pads-with-zeros",
            "what it fills in, `f`, is an input of the graph, not a constant",
        ),
        (
            "MaxPool<kernel_shape=[3,3]>(p)",
            {},
            "zeros-are-its-padding",
            "layer pads with -inf, and pad with zeros",
        ),
        (
            "Conv(p, w)",
            {"amounts": np.array([0, 0, -1, 0, 0, 0, 2, 0])},
            "spatial-padding",
            "pad crops: its pads are [0, 0, -1, 0, 0, 0, 2, 0]",
        ),
        (
            "Conv(p, w)",
            {"amounts": np.array([1, 0, 1, 0, 0, 0, 0, 0])},
            "spatial-padding",
            "pad pads batch or channels: its pads are [1, 0, 1, 0, 0, 0, 0, 0]",
        ),
        (
            "Conv(p, w)",
            {"amounts": np.array([0, 0, 1, 0, 0, 1, 0, 0]), "w": np.ones((2, 3, 3, 3), np.float32)},
            "spatial-padding",
            "pad pads batch or channels: its pads are [0, 0, 1, 0, 0, 1, 0, 0]",
        ),
        (
            "Conv(p, w)",
            {"pad": "Pad(x, a)", "header": "(float[n,2,6,6] x, int64[8] a) => (float[n,c,h,w] y)"},
            "spatial-padding",
            "the amounts `a` are an input of the graph, not a constant",
        ),
        (
            "Conv(p, w)",
            {
                "pad": "Pad(x, amounts, , a)",
                "opset": 18,
                "header": "(float[n,2,6,6] x, int64[4] a) => (float[n,c,h,w] y)",
            },
            "spatial-padding",
            "the axes `a` are an input of the graph, not a constant",
        ),
        (
            'Conv<auto_pad="SAME_UPPER">(p, w)',
            {},
            "explicit-padding",
            "layer pads by the size of its input: auto_pad is SAME_UPPER",
        ),
        (
            "ConvTranspose<output_shape=[8,9]>(p, w)",
            {},
            "explicit-padding",
            "layer crops to output_shape [8, 9]",
        ),
        (
            "AveragePool<kernel_shape=[3,3],ceil_mode=1>(p)",
            {},
            "counted-padding",
            "layer rounds its size up (ceil_mode is 1)",
        ),
        (
            "AveragePool<kernel_shape=[3,3],pads=[1,1,1,1]>(p)",
            {},
            "counted-padding",
            "layer does not count its own padding [1, 1, 1, 1]",
        ),
        (
            "AveragePool<kernel_shape=[3,2]>(p)",
            {},
            "smaller-than-the-kernel",
            "layer would have pads [1, 0, 0, 2], not smaller than its kernel [3, 2]",
        ),
        (
            "ConvTranspose<pads=[1,1,1,1]>(p, w)",
            {},
            "crops-enough",
            "layer crops [1, 1, 1, 1], and the padding of its input adds [1, 0, 0, 2]",
        ),
        (
            "ConvTranspose<pads=[1,0,0,2], strides=[2,1]>(p, w)",
            {},
            "crops-enough",
            "layer crops [1, 0, 0, 2], and the padding of its input adds [2, 0, 0, 2]",
        ),
    ],
)
def test_a_padding_that_is_not_the_layers_own_stays(
    layer: str, given: dict[str, Any], guard: str, because: str
) -> None:
    made = padded_into(layer, **given)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, rules=["pad-into-layer"], verify=verify)
        assert fused(result) == []
        assert declined(result) == [("pad-into-layer", "layer", guard, because)]


def test_what_others_read_stays_padded() -> None:
    made = model(
        """(float[n,2,6,6] x) => (float[n,c,h,w] y, float[n,2,7,7] z) {
            [pad] p = Pad(x, amounts) [layer] y = Conv(p, w) [other] z = Relu(p)
        }""",
        amounts=np.array([0, 0, 1, 1, 0, 0, 0, 0]),
        w=np.ones((1, 2, 3, 3), np.float32),
    )
    assert declined(rewrite_and_explain(made)) == [
        ("pad-into-layer", "layer", "one-consumer", "`p` has 2 consumers: layer, other")
    ]


def test_weights_that_are_computed_are_none_of_its_business() -> None:
    made = model(
        """(float[n,2,6,6] x, float[3,2,3,3] w) => (float[n,c,h,k] y) {
            [pad] p = Pad(x, amounts) [layer] y = Conv(p, w)
        }""",
        amounts=np.array([0, 0, 1, 1, 0, 0, 0, 0]),
    )
    assert fused(rewrite_and_explain(made)) == [("pad-into-layer", "pad + layer")]


def test_an_input_of_unknown_rank_is_padded_as_the_kernel_has_it() -> None:
    made = model(
        """(float[m] flat, int64[k] shape) => (float[n,c,h,w] y) {
            x = Reshape(flat, shape) [pad] p = Pad(x, amounts)
            [layer] y = AveragePool<kernel_shape=[7,7]>(p)
        }""",
        amounts=np.array([0, 0, 1, 1, 0, 0, 0, 0]),
    )
    assert fused(rewrite_and_explain(made)) == [("pad-into-layer", "pad + layer")]


def test_two_paddings_in_a_row_both_become_the_layers() -> None:
    made = model(
        """(float[n,2,h,w] x) => (float[n,c,k,l] y) {
            [one] p = Pad(x, first) [two] q = Pad(p, second) [layer] y = Conv(q, v)
        }""",
        first=np.array([0, 0, 1, 0, 0, 0, 0, 0]),
        second=np.array([0, 0, 0, 0, 0, 0, 0, 2]),
        v=np.ones((1, 2, 7, 7), np.float32),
    )
    result = rewrite_and_explain(made)
    (node,) = result.model.graph.node
    assert attributes(node)["pads"] == [1, 0, 0, 2]
    assert result.report.declined == []


@st.composite
def padded(draw: st.DrawFn) -> tuple[ModelProto, Array]:
    """A Pad and a layer of any geometry; the numbers are integers that float32 adds exactly."""
    opset = draw(st.sampled_from(OPSETS))
    pooling = draw(st.sampled_from((None, None, "AveragePool", "AveragePool", "MaxPool")))
    operator = pooling or draw(st.sampled_from(("Conv", "ConvTranspose")))
    spatial = draw(st.integers(1, 3 if operator != "ConvTranspose" else 2))
    rank = spatial + 2

    def each(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=spatial, max_size=spatial))

    group, inner, outer = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    channels = group * inner
    kernel = each(2, 4) if pooling else each(1, 3)
    strides, dilations = each(1, 3), each(1, 2)
    room = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [size + more for size, more in zip(room, each(0, 3), strict=True)]
    shape = [draw(st.integers(1, 2)), channels, *sizes]
    most = 1 if pooling else 2
    amounts = [0, 0, *each(0, most), 0, 0, *each(0, most)]
    if draw(st.integers(0, 7)) == 7:
        amounts[draw(st.sampled_from((2, rank + 2)))] = -1
    listed: dict[str, Any] = {"strides": strides}
    if operator != "AveragePool" or opset >= 19:
        listed["dilations"] = dilations
    if pooling is not None:
        listed["kernel_shape"] = kernel
    if operator == "AveragePool" and draw(st.booleans()):
        listed["count_include_pad"] = 1
    if operator == "AveragePool" and opset >= 10 and draw(st.integers(0, 3)) == 3:
        listed["ceil_mode"] = 1
    if operator == "ConvTranspose":
        listed["output_padding"] = [draw(st.integers(0, max(s, 1) - 1)) for s in strides]
    own = draw(st.sampled_from(("none", "VALID", "SAME_UPPER", "pads", "pads")))
    if own == "pads":
        most = 6 if operator == "ConvTranspose" else 1
        listed["pads"] = [draw(st.integers(0, most)) for _ in range(2 * spatial)]
        if pooling:
            limits = [k - 1 for k in kernel] * 2
            listed["pads"] = [min(p, m) for p, m in zip(listed["pads"], limits, strict=True)]
    elif own != "none" and (own == "VALID" or max(dilations) == 1) and operator != "ConvTranspose":
        listed["auto_pad"] = own
    constants: dict[str, Array] = {}
    names = ["p"]
    if pooling is None:
        listed["group"] = group
        first = (channels, outer) if operator == "ConvTranspose" else (group * outer, inner)
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        constants["w"] = rng.integers(-3, 4, (*first, *kernel)).astype(np.float32)
        names.append("w")
        if draw(st.booleans()):
            constants["b"] = rng.integers(-3, 4, group * outer).astype(np.float32)
            names.append("b")
    inputs, how = ["x"], {}
    if opset < 11:
        how["pads"] = amounts
    elif opset >= 18 and draw(st.booleans()):
        axes = draw(st.permutations(range(2, rank)))
        both = [amounts[axis] for axis in axes] + [amounts[axis + rank] for axis in axes]
        constants["amounts"] = np.array(both)
        constants["axes"] = np.array([a - rank if draw(st.booleans()) else a for a in axes])
        inputs += ["amounts", "", "axes"]
    else:
        constants["amounts"] = np.array(amounts)
        inputs.append("amounts")
    free = draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    graph = helper.make_graph(
        [
            helper.make_node("Pad", inputs, ["p"], name="pad", **how),
            helper.make_node(operator, names, ["y"], name="layer", **listed),
        ],
        "padded",
        [
            helper.make_tensor_value_info(
                "x",
                TensorProto.FLOAT,
                [
                    f"d{i}" if f and i != 1 else s
                    for i, (s, f) in enumerate(zip(shape, free, strict=True))
                ],
            )
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    x = np.random.default_rng(draw(st.integers(0, 99))).integers(-4, 5, shape)
    return made, x.astype(np.float32)


@given(padded())
def test_a_padded_layer_stays_what_it_is(drawn: tuple[ModelProto, Array]) -> None:
    made, x = drawn
    try:
        onnx.checker.check_model(made, full_check=True)
        expected = run(made, x)
    except Exception:  # noqa: BLE001
        # A kernel that no longer fits, or a crop of more than there is.
        return
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert "check" not in [miss[2] for miss in declined(result)], declined(result)
        onnx.checker.check_model(result.model, full_check=True)
        found = run(result.model, x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    again = rewrite_and_explain(result.model, verify="none")
    assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("amount", "own", "because"),
    [
        (100_000, 0, ""),
        (100_000, 1, "layer would pad 100,001, and TensorRT takes 100,000 at most"),
        # It pads more than that already, and is refused as it is.
        (1, 100_001, "layer would pad 100,002, and TensorRT takes 100,000 at most"),
        (0, 100_001, ""),
    ],
)
def test_a_layer_pads_no_more_than_tensorrt_takes(amount: int, own: int, because: str) -> None:
    made = padded_into(
        f"Conv<pads=[0,0,{own},0]>(p, w)", amounts=np.array([0, 0, 1, 0, 0, 0, amount, 0])
    )
    result = rewrite_and_explain(made, rules=["pad-into-layer"], verify="none")
    assert bool(fused(result)) == (not because)
    expected = [("pad-into-layer", "layer", "buildable-padding", because)] if because else []
    assert declined(result) == expected
