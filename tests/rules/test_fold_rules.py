from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from models import constants, declined, fused, model, nodes

import trtfuse
from trtfuse.rules.fold import FOLDABLE

A = np.array([[0.5, -1.25, 3.0], [2.0, -0.75, 0.1]], np.float32)
B = np.array([[1.5, 2.0, 0.3]], np.float32)
P = np.abs(A) + np.float32(0.1)
I = np.array([3, 1, 2])  # noqa: E741 - a tensor of integers
T = np.array([True, False, True])

#: For each foldable operator, a call on constants and the type of what it gives.
CALLS: dict[str, tuple[str, str]] = {
    "Abs": ("Abs(a)", "float[2,3]"),
    "Add": ("Add(a, b)", "float[2,3]"),
    "And": ("And(t, t)", "bool[3]"),
    "Cast": ("Cast<to=7>(a)", "int64[2,3]"),
    "Ceil": ("Ceil(a)", "float[2,3]"),
    "Clip": ("Clip(a, zero, one)", "float[2,3]"),
    "Concat": ("Concat<axis=1>(a, a)", "float[2,6]"),
    "ConstantOfShape": ("ConstantOfShape<value=float[1] {2.5}>(i)", "float[3,1,2]"),
    "Cos": ("Cos(a)", "float[2,3]"),
    "CumSum": ("CumSum(a, axis)", "float[2,3]"),
    "Div": ("Div(i, i)", "int64[3]"),
    "Equal": ("Equal(i, i)", "bool[3]"),
    "Erf": ("Erf(a)", "float[2,3]"),
    "Exp": ("Exp(a)", "float[2,3]"),
    "Expand": ("Expand(b, larger)", "float[2,3]"),
    "Flatten": ("Flatten<axis=0>(a)", "float[1,6]"),
    "Floor": ("Floor(a)", "float[2,3]"),
    "Gather": ("Gather<axis=1>(a, last)", "float[2,1]"),
    "GatherElements": ("GatherElements<axis=1>(a, columns)", "float[2,1]"),
    "GatherND": ("GatherND(a, columns)", "float[2,3]"),
    "Greater": ("Greater(a, b)", "bool[2,3]"),
    "GreaterOrEqual": ("GreaterOrEqual(a, b)", "bool[2,3]"),
    "Identity": ("Identity(a)", "float[2,3]"),
    "IsInf": ("IsInf(a)", "bool[2,3]"),
    "IsNaN": ("IsNaN(a)", "bool[2,3]"),
    "Less": ("Less(a, b)", "bool[2,3]"),
    "LessOrEqual": ("LessOrEqual(a, b)", "bool[2,3]"),
    "Log": ("Log(p)", "float[2,3]"),
    "MatMul": ("MatMul(a, w)", "float[2,2]"),
    "Max": ("Max(a, b)", "float[2,3]"),
    "Min": ("Min(a, b)", "float[2,3]"),
    "Mod": ("Mod(i, step)", "int64[3]"),
    "Mul": ("Mul(i, i)", "int64[3]"),
    "Neg": ("Neg(a)", "float[2,3]"),
    "Not": ("Not(t)", "bool[3]"),
    "OneHot": ("OneHot(i, depth, ends)", "float[3,4]"),
    "Or": ("Or(t, t)", "bool[3]"),
    "Pow": ("Pow(p, b)", "float[2,3]"),
    "Range": ("Range(from, to, step)", "int64[3]"),
    "Reciprocal": ("Reciprocal(a)", "float[2,3]"),
    "ReduceL1": ("ReduceL1(a, last)", "float[2,1]"),
    "ReduceL2": ("ReduceL2(a, last)", "float[2,1]"),
    "ReduceLogSum": ("ReduceLogSum(p, last)", "float[2,1]"),
    "ReduceLogSumExp": ("ReduceLogSumExp(a, last)", "float[2,1]"),
    "ReduceMax": ("ReduceMax(a, last)", "float[2,1]"),
    "ReduceMean": ("ReduceMean(a, last)", "float[2,1]"),
    "ReduceMin": ("ReduceMin(a, last)", "float[2,1]"),
    "ReduceProd": ("ReduceProd(i, first)", "int64[1]"),
    "ReduceSum": ("ReduceSum(a, last)", "float[2,1]"),
    "ReduceSumSquare": ("ReduceSumSquare(a, last)", "float[2,1]"),
    "Relu": ("Relu(a)", "float[2,3]"),
    "Reshape": ("Reshape(a, flat)", "float[6]"),
    "Round": ("Round(a)", "float[2,3]"),
    "ScatterElements": ("ScatterElements<axis=1>(a, columns, p1)", "float[2,3]"),
    "ScatterND": ("ScatterND(a, columns, p)", "float[2,3]"),
    "Sigmoid": ("Sigmoid(a)", "float[2,3]"),
    "Sign": ("Sign(a)", "float[2,3]"),
    "Sin": ("Sin(a)", "float[2,3]"),
    "Slice": ("Slice(a, one_i, two_i, one_i)", "float[2,1]"),
    "Softmax": ("Softmax(a)", "float[2,3]"),
    "Softplus": ("Softplus(a)", "float[2,3]"),
    "Sqrt": ("Sqrt(p)", "float[2,3]"),
    "Squeeze": ("Squeeze(b, first)", "float[3]"),
    "Sub": ("Sub(a, b)", "float[2,3]"),
    "Tanh": ("Tanh(a)", "float[2,3]"),
    "Tile": ("Tile(b, two_one)", "float[2,3]"),
    "Transpose": ("Transpose(a)", "float[3,2]"),
    "Trilu": ("Trilu(a)", "float[2,3]"),
    "Unsqueeze": ("Unsqueeze(a, last)", "float[2,3,1]"),
    "Where": ("Where(t, a, b)", "float[2,3]"),
    "Xor": ("Xor(t, t)", "bool[3]"),
}
GIVEN: dict[str, Any] = {
    "a": A, "b": B, "p": P, "i": I, "t": T, "w": P.T @ np.float32([[1, 2], [3, 4]]),
    "zero": 0.0, "one": 1.0, "shape": np.array([1, 2]), "last": np.array([-1]),
    "first": np.array([0]), "flat": np.array([-1]), "one_i": np.array([1]), "two_i": np.array([2]),
    "two_one": np.array([2, 1]), "larger": np.array([2, 3]),
    "from": np.array(2), "to": np.array(8), "step": np.array(2),
    "axis": np.array(1), "columns": np.array([[1], [0]]), "p1": P[:, :1], "depth": np.array(4),
    "ends": np.float32([0, 1]),
}  # fmt: skip


def test_every_foldable_operator_is_compared() -> None:
    assert set(CALLS) == set(FOLDABLE)


@pytest.mark.parametrize("operator", CALLS)
def test_a_folded_constant_is_what_onnx_runtime_computes(operator: str) -> None:
    call, kind = CALLS[operator]
    words = call.replace("(", " ").replace(")", " ").replace(",", " ").split()
    given = {name: GIVEN[name] for name in words if name in GIVEN}
    made = model(
        f"(float[2] x) => ({kind} y, float[2] z) {{ v = {call} y = Identity(v) z = Neg(x) }}",
        **given,
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options)
    (expected,) = session.run(["y"], {"x": np.zeros(2, np.float32)})
    result = trtfuse.fuse(made)
    assert [node.op_type for node in result.model.graph.node] == ["Identity", "Neg"]
    (found,) = constants(result.model).values()
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype == np.float32:
        # Each is within half a unit of the exact value; transcendental functions, within a few.
        np.testing.assert_array_max_ulp(found, expected, maxulp=4)
    else:
        np.testing.assert_array_equal(found, expected)


def test_a_chain_of_constants_is_one_constant_under_the_name_of_the_last() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] y) {
            [c] c = Constant<value_float=2.0>() [s] s = Sqrt(c) [d] d = Div(s, c) [m] y = Mul(x, d)
        }"""
    )
    result = trtfuse.fuse(made)
    assert [rule for rule, _ in fused(result)] == ["constant-node", *["fold-constants"] * 2]
    assert nodes(result.model) == ["m: Mul(x, d) -> y"]
    (d,) = constants(result.model).values()
    assert d == np.float32(np.float32(np.sqrt(2.0)) / 2)


def test_what_grows_too_much_stays() -> None:
    made = model(
        """(float[400,100] x) => (float[400,100] y) {
            [big] c = Expand(one, sizes) [add] y = Add(x, c)
        }""",
        one=np.float32([1.0]),
        sizes=np.array([400, 100]),
    )
    assert declined(trtfuse.fuse(made, rules=["fold-constants"]))[0] == (
        "fold-constants",
        "big",
        "bounded-growth",
        "`c` would have 160000 bytes, made from 20, and the limit of growth is 65536",
    )


def test_a_cast_that_overflows_stays() -> None:
    made = model(
        """(int8[1] x) => (int8[1] y) { [cast] c = Cast<to=3>(big) [max] y = Max(x, c) }""",
        big=np.float32([300.0]),
    )
    assert declined(trtfuse.fuse(made)) == [
        ("fold-constants", "cast", "exact-cast", "`big` has numbers that int8 does not")
    ]


@pytest.mark.parametrize(
    "call",
    [
        "RandomNormal<shape=[2,3]>()",
        "Add(given, given)",
        "DequantizeLinear(q, s)",
    ],
)
def test_what_is_no_constant_or_has_to_stay_one_is_not_folded(call: str) -> None:
    given: dict[str, Any] = {}
    if "(q" in call:
        given = {"q": np.array([[1, 2, 3]], np.int8), "s": np.float32(0.5)}
    made = model(
        f"(float[2,3] x, float[2,3] given) => (float[2,3] y) {{ c = {call} y = Max(x, c) }}",
        **given,
    )
    assert fused(trtfuse.fuse(made)) == []


def test_an_overridable_initializer_is_not_folded() -> None:
    made = model(
        "(float[2] x, float[2] w) => (float[2] y) { n = Sqrt(w) y = Max(x, n) }", w=np.ones(2, "f")
    )
    assert fused(trtfuse.fuse(made)) == []


def test_a_constant_that_is_an_output_stays_a_node() -> None:
    made = model(
        "(float[2] x) => (float[2] y, float c) { c = Constant<value_float=2.0>() y = Relu(x) }"
    )
    assert trtfuse.fuse(made).model == made


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        ("s = Shape<start=1>(x)", "int64[2]", [3, 4]),
        ("f = Shape(x) s = Gather(f, i)", "int64[2]", [4, 3]),
        ("f = Shape(x) s = Slice(f, one, two)", "int64[1]", [3]),
    ],
)
def test_a_fixed_dimension_of_a_dynamic_shape_is_a_constant(
    call: str, kind: str, expected: list[int]
) -> None:
    made = model(
        f"(float[n,3,4] x) => ({kind} y) {{ {call} y = Neg(s) }}",
        **{
            name: value
            for name, value in {
                "i": np.array([2, 1]), "one": np.array([1]), "two": np.array([2])
            }.items()
            if f"{name}" in call.replace("(", " ").replace(",", " ").replace(")", " ").split()
        },
    )  # fmt: skip
    result = trtfuse.fuse(made)
    assert fused(result)[0][0] == "fixed-shape"
    # Neg leads to an output, so it stays a node.
    (found,) = constants(result.model).values()
    assert found.tolist() == expected


def test_a_dynamic_dimension_is_no_constant() -> None:
    made = model(
        "(float[n,3] x) => (int64 y) { f = Shape(x) s = Gather(f, i) y = Neg(s) }", i=np.array(0)
    )
    assert fused(trtfuse.fuse(made)) == []


@pytest.mark.parametrize(
    "call",
    ["Softmax<axis=1>(c)", "Softmax(c)", "Unsqueeze<axes=[2,0]>(c)", "Unsqueeze<axes=[-1,-3]>(c)"],
)
def test_operators_that_changed_at_opset_13_fold_as_they_were_before(call: str) -> None:
    c = np.arange(24, dtype=np.float32).reshape(2, 3, 4) % 5
    rank = 5 if call.startswith("Unsqueeze") else 3
    shape = ",".join("?" * rank)
    text = f"(float x) => (float[{shape}] y) {{ made = {call} y = Mul(made, x) }}"
    made = model(text, opset=12, ir_version=7, c=c)
    result = trtfuse.fuse(made)
    assert fused(result)[0][0] == "fold-constants"
    feeds = {"x": np.array(1, np.float32)}
    (expected,) = ort.InferenceSession(made.SerializeToString()).run(None, feeds)
    (found,) = ort.InferenceSession(result.model.SerializeToString()).run(None, feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "kind", "given", "because"),
    [
        (
            "[n] v = Cast<to=8>(c)",
            "string[1]",
            {"c": np.float32([0.1])},
            "n writes numbers as texts, each runtime in its own way",
        ),
        (
            "[n] v = Squeeze(c, axes)",
            "float[?,?]",
            {"c": np.float32([[1, 2]]), "axes": np.array([], np.int64)},
            "the axes of n are empty, which some runtimes read as all",
        ),
        (
            "[n] v = Pow(c, d)",
            "int32[1]",
            {"c": np.int32([-300000]), "d": np.int32([3])},
            "powers of the integers of n overflow int32",
        ),
    ],
)
def test_what_runtimes_disagree_about_is_not_folded(
    call: str, kind: str, given: dict[str, Any], because: str
) -> None:
    made = model(
        f"(bool[1] x) => ({kind} y) {{ {call} y = Where(x, v, v) }}",
        **given,
    )
    result = trtfuse.fuse(made, rules=["fold-constants"])
    assert declined(result) == [("fold-constants", "n", "same-everywhere", because)]


def test_a_squeeze_of_no_axes_is_no_fixed_shape() -> None:
    made = model(
        """(float[3,4] x) => (float[?] y) {
            f = Shape<end=1>(x) s = Squeeze(f, axes) [cast] c = Cast<to=1>(s) y = Neg(c)
        }""",
        axes=np.array([], np.int64),
    )
    result = trtfuse.fuse(made)
    assert fused(result) == [("fixed-shape", "node_of_f")]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_softmax_before_opset_13_is_folded_over_all_axes_from_one_on(axis: int) -> None:
    c = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8
    made = model(
        f"""(float[2,3,4] x) => (float[2,3,4] y) {{
            s = Softmax<axis={axis}>(c) y = Add(x, s)
        }}""",
        opset=12,
        c=c,
    )
    result = trtfuse.fuse(made)
    assert fused(result) == [("fold-constants", "node_of_s")]
    (found,) = constants(result.model).values()
    powers = np.exp(c.astype(np.float64))
    expected = powers / powers.sum(axis=tuple(range(axis, 3)), keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_range_whose_end_is_on_the_edge_is_folded() -> None:
    made = model(
        "(double[?] x) => (double[?] y) { r = Range(a, b, c) y = Add(x, r) }",
        a=np.float64(0),
        b=np.float64(1),
        c=np.float64(0.1),
    )
    assert fused(trtfuse.fuse(made)) == [("fold-constants", "node_of_r")]


def test_a_sum_of_squares_of_integers_is_folded() -> None:
    made = model(
        "(int32[1] x) => (int32[1] y) { r = ReduceSumSquare(c) y = Add(x, r) }",
        c=np.int32([3, -4]),
    )
    result = trtfuse.fuse(made)
    assert fused(result) == [("fold-constants", "node_of_r")]
    (found,) = constants(result.model).values()
    assert (found.dtype, found.tolist()) == (np.int32, [25])


def test_a_node_that_fails_at_run_time_stays_there_to_fail() -> None:
    made = model(
        "(float[?] x) => (float[?] y) { [far] g = Gather(c, i) y = Add(x, g) }",
        c=np.float32([1, 2]),
        i=np.array([5]),
    )
    result = trtfuse.fuse(made)
    assert fused(result) == []
    ((rule, at, guard, because),) = declined(result)
    assert (rule, at, guard) == ("fold-constants", "far", "computable")
    assert because.startswith("it cannot be computed: ")
