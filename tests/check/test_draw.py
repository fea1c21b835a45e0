"""Operands are drawn by what they are for: every such model runs, at sizes that nobody gave."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, parser

import trtfuse
from trtfuse.check.inputs import MOST_DRAWN, MOST_ELEMENTS, Search, drawn
from trtfuse.check.model import verify_models
from trtfuse.model.model import Model

#: What a model reads, computes, and how, by what is drawn in it.
OPERANDS = {
    "target": ("float[2, 6] x, int64[3] s", "Reshape(x, s)"),
    "sizes to expand to": ("float[1, 5] x, int64[3] s", "Expand(x, s)"),
    "sizes": ("int64[2] s", "ConstantOfShape(s)"),
    "limits": ("float[n, 6] x, int64[1] s, int64[1] e, int64[1] a", "Slice(x, s, e, a)"),
    "axes to reduce": ("float[2, 5, 3] x, int64[2] a", "ReduceSum(x, a)"),
    "axes of 1": ("float[3, 1, 5] x, int64[1] a", "Squeeze(x, a)"),
    "new axes": ("float[1, 5] x, int64[2] a", "Unsqueeze(x, a)"),
    "an axis": ("float[1, 5] x, int64 a", "CumSum(x, a)"),
    "pads": ("float[n, 6] x, int64[4] p", "Pad(x, p)"),
    "repeats": ("float[n, 6] x, int64[2] r", "Tile(x, r)"),
    "an index": ("float[n, 6] x, int64[3] i", "Gather<axis = 1>(x, i)"),
    "indices": ("float[4, 5] x, int64[3, 2] i", "GatherND(x, i)"),
    "places": ("float[4, 5] x, int64[3, 1] i, float[3, 5] u", "ScatterND(x, i, u)"),
    "elements": ("float[4, 5] x, int64[3, 5] i, float[3, 5] u", "ScatterElements(x, i, u)"),
    "a depth": ("int64[n] x, int64 d, float[2] v", "OneHot(x, d, v)"),
    "scales": ("float[1, 2, 4, 4] x, float[4] s", 'Resize<mode = "nearest">(x, , s)'),
    "sizes to resize to": ("float[1, 2, h, w] x, int64[4] s", 'Resize<mode = "nearest">(x, , , s)'),
    "limits of a range": ("int64 a, int64 b, int64 c", "Range(a, b, c)"),
    "divisors": ("int64[2, 5] x, int64[2, 5] d", "Div(x, d)"),
    "lengths": ("float[4, 3] x, int64[3] l", "ReverseSequence<time_axis = 0>(x, l)"),
}


def made(inputs: str, call: str) -> ModelProto:
    kind = "int64" if call.startswith(("Range", "Div")) else "float"
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => ({kind} y) {{ y = {call} }}'
    )


@pytest.mark.parametrize("what", OPERANDS)
def test_an_operand_fits_what_it_is_read_with(what: str) -> None:
    model = made(*OPERANDS[what])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    found = verify_models(Model(model), Model(model))
    assert found.ok
    assert found.checked == 4


def test_an_operand_is_followed_through_what_hands_it_on() -> None:
    model = made("float[2, 6] x, int32[3, 1] s", "Reshape(x, t)")
    casts = parser.parse_graph(
        "g (int32[3, 1] s) => (int64[3] t) <int64[1] rest = {-1}>"
        " { c = Cast<to = 7>(s)  t = Reshape(c, rest) }"
    )
    for node in reversed(casts.node):
        model.graph.node.insert(0, node)
    model.graph.initializer.extend(casts.initializer)
    feeds = next(drawn(Model(model), {"x": (2, 6), "s": (3, 1)}, "normal", np.random.default_rng()))
    assert feeds["s"].shape == (3, 1)
    assert feeds["s"].dtype == np.int32
    assert np.prod(feeds["s"]) == 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(float[n, k] x, float[37, 5] w) => (float[n, 5] y) { y = MatMul(x, w) }", {"x": (2, 37)}),
        ("(float[n, k] x, float[11] w) => (float[n, 11] y) { y = Add(x, w) }", {"x": (2, 11)}),
        (
            "(float[n, k] x) => (float[n, 3] y, float[n, 8] z) <int64[2] s = {3, 8}>"
            " { y, z = Split<axis = 1>(x, s) }",
            {"x": (2, 11)},
        ),
        (
            "(float[n, k] x, float[m, 19] w) => (float[p, 19] y) { y = Concat<axis = 0>(x, w) }",
            {"x": (2, 19)},
        ),
        (
            "(float[n, c, h, w] x) => (float[1, 3, 7, 7] y) <int64[4] s = {1, 3, 7, 7}>"
            " { y = Reshape(x, s) }",
            {"x": (1, 3, 7, 7)},
        ),
        (
            "(float[n, c, 9, 9] x, float[4, 6, 3, 3] w) => (float[n, 4, 7, 7] y)"
            " { y = Conv<group = 2>(x, w) }",
            {"x": (2, 12, 9, 9)},
        ),
        (
            "(float[1, k] x) => (float[m, 13] y) <int64[2] s = {-1, 13}> { y = Reshape(x, s) }",
            {"x": (1, 39)},
        ),
    ],
)
def test_a_size_that_the_graph_asks_for_is_taken(
    text: str, expected: dict[str, tuple[int, ...]]
) -> None:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')
    shapes = next(Search(Model(model), {}).shapes(2))
    assert {name: shapes[name] for name in expected} == expected
    assert trtfuse.verify(model, model).ok


def test_nine_open_sizes_ask_for_no_more_than_is_stated() -> None:
    sizes = "a, b, c, d, e, f, g, h, i"
    model = Model(
        parser.parse_model(
            f'<ir_version: 8, opset_import: ["": 17]> g (float[{sizes}] x) => (float[{sizes}] y)'
            " { y = Relu(x) }"
        )
    )
    tried = list(Search(model, {}).shapes(1))
    assert tried
    assert max(np.prod(shapes["x"]) for shapes in tried) <= MOST_DRAWN


def relu(shape: str) -> ModelProto:
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[{shape}] x) => (float[{shape}] y)'
        " { y = Relu(x) }"
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # What is fixed is not ours to choose.
        (f"3, {MOST_ELEMENTS}", [(3, MOST_ELEMENTS)]),
        # A batch of 2 is the least that the check wants.
        (f"n, {MOST_ELEMENTS}", [(1, MOST_ELEMENTS), (2, MOST_ELEMENTS)]),
    ],
)
def test_fixed_sizes_are_taken_as_they_are(shape: str, expected: list[tuple[int, ...]]) -> None:
    assert [shapes["x"] for shapes in Search(Model(relu(shape)), {}).shapes(2)] == expected


def test_what_is_given_is_taken_as_it_is() -> None:
    given = {"x": (1 << 14, 1 << 13)}
    assert list(Search(Model(relu("n, m")), given).shapes(1)) == [given]
    two = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n] x, float[n, 8] z) => (float[n] y)'
        " { y = Relu(x) }"
    )
    sizes = {"x": (MOST_ELEMENTS,)}
    expected = {"x": (MOST_ELEMENTS,), "z": (MOST_ELEMENTS, 8)}
    assert list(Search(Model(two), sizes).shapes(1)) == [expected]


def test_more_than_there_is_memory_for_is_said_in_one_line() -> None:
    model = relu("10000000, 10000000")
    with pytest.raises(trtfuse.VerifyError, match="there is no memory for input 'x'") as refused:
        trtfuse.verify(model, model)
    assert "\n" not in str(refused.value)


def test_what_onnx_runtime_has_no_memory_for_is_said_in_one_line() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1, 1] x) => (float[a, b] y)'
        " <int64[2] s = {1000000, 10000000}> { y = Expand(x, s) }"
    )
    with pytest.raises(trtfuse.VerifyError) as refused:
        trtfuse.verify(model, model)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4, 5])
def test_a_rank_that_is_not_declared_is_looked_for(rank: int) -> None:
    perm = list(range(rank))[::-1]
    text = f"Transpose<perm = {perm}>(x)" if rank else "OneHot(i, x, v)"
    extra = ", int64[3] i, float[2] v" if not rank else ""
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1] x{extra}) => (float[1] y)'
        f" {{ y = {text} }}"
    )
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert verify_models(Model(model), Model(model)).ok
