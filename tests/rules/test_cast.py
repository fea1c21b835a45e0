from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from models import constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, parser

from trtfuse.ir.types import PLAIN, holds

Array = npt.NDArray[Any]

#: What the text of a model calls a type.
NAMES = {
    TensorProto.BOOL: "bool",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.FLOAT: "float",
    TensorProto.DOUBLE: "double",
}


def numpy_of(element_type: int) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))


def edges(element_type: int) -> Array:
    """Numbers at the edges of a type, and some in it."""
    kind = numpy_of(element_type)
    if kind.kind == "b":
        return np.array([False, True])
    if kind.kind in "iu":
        info = np.iinfo(kind)
        powers = [2**n + d for n in range(64) for d in (-1, 0, 1)]
        listed = {int(info.min), int(info.max), 0, 1, *powers, *(-n for n in powers)}
        return np.array(sorted(n for n in listed if info.min <= n <= info.max), kind)
    limits = ml_dtypes.finfo(kind)
    one = kind.type(1)
    listed = [
        0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, limits.max, limits.min, limits.tiny,
        limits.smallest_subnormal, one + limits.eps, one - limits.eps,
    ]  # fmt: skip
    return np.array(listed, kind)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same numbers, the sign of 0 included, NaN being one number."""
    if a.dtype != b.dtype:
        return False
    if a.dtype.kind in "iub":
        return np.array_equal(a, b)
    wide, other = a.astype(np.float64), b.astype(np.float64)
    return np.array_equal(wide, other, equal_nan=True) and np.array_equal(
        np.signbit(wide[~np.isnan(wide)]), np.signbit(other[~np.isnan(wide)])
    )


@pytest.mark.parametrize("wide", sorted(PLAIN))
@pytest.mark.parametrize("narrow", sorted(PLAIN))
def test_a_type_holds_another_where_its_edges_come_back(wide: int, narrow: int) -> None:
    numbers = edges(narrow)
    with np.errstate(all="ignore"):
        back = numbers.astype(numpy_of(wide)).astype(numpy_of(narrow))
        kept = same(numbers, back)
        if numpy_of(wide).kind in "iu" and numpy_of(narrow).kind in "iu":
            # Wrapped around twice, a number comes back as well.
            kept = [int(n) for n in numbers] == [int(n) for n in numbers.astype(numpy_of(wide))]
    if numpy_of(wide).kind == "b":
        kept = wide == narrow
    if numpy_of(wide).kind in "iu" and numpy_of(narrow).kind not in "iub":
        kept = False
    assert holds(wide, narrow) == kept


def test_types_that_are_not_plain_hold_only_themselves() -> None:
    assert holds(TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FN)
    assert not holds(TensorProto.FLOAT, TensorProto.FLOAT8E4M3FN)
    assert not holds(TensorProto.INT8, TensorProto.INT4)


def chain(*types: int) -> ModelProto:
    """Casts from each type to the next."""
    first, *others = types
    calls = " ".join(f"[c{i}] v{i + 1} = Cast<to={to}>(v{i})" for i, to in enumerate(others))
    last = len(others)
    return model(f"({NAMES[first]}[n] v0) => ({NAMES[others[-1]]}[?] v{last}) {{ {calls} }}")


ROUND_TRIPS = [
    (TensorProto.FLOAT16, TensorProto.FLOAT),
    (TensorProto.BFLOAT16, TensorProto.FLOAT),
    (TensorProto.FLOAT, TensorProto.DOUBLE),
    (TensorProto.INT32, TensorProto.INT64),
    (TensorProto.INT32, TensorProto.DOUBLE),
    (TensorProto.INT8, TensorProto.FLOAT16),
    (TensorProto.UINT8, TensorProto.BFLOAT16),
    (TensorProto.BOOL, TensorProto.FLOAT),
    (TensorProto.BOOL, TensorProto.INT64),
    (TensorProto.UINT32, TensorProto.INT64),
]
LOSSY = [
    (TensorProto.FLOAT, TensorProto.FLOAT16),
    (TensorProto.FLOAT16, TensorProto.BFLOAT16),
    (TensorProto.BFLOAT16, TensorProto.FLOAT16),
    (TensorProto.FLOAT, TensorProto.BOOL),
    (TensorProto.FLOAT, TensorProto.INT64),
    (TensorProto.INT64, TensorProto.INT32),
    (TensorProto.INT64, TensorProto.DOUBLE),
    (TensorProto.INT32, TensorProto.FLOAT),
    (TensorProto.INT8, TensorProto.UINT64),
    (TensorProto.DOUBLE, TensorProto.FLOAT),
]


@pytest.mark.parametrize(("narrow", "wide"), ROUND_TRIPS)
@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_a_cast_there_and_back_goes(narrow: int, wide: int, verify: Any) -> None:
    made = model(
        f"({NAMES[narrow]}[n] x) => ({NAMES[narrow]}[?] y, {NAMES[wide]}[?] z) {{"
        f" [a] a = Cast<to={wide}>(x) [b] b = Cast<to={narrow}>(a) [i] y = Concat<axis=0>(b, b)"
        f" [j] z = Concat<axis=0>(a, a) }}"
    )
    result = rewrite_and_explain(made, verify=verify, groups="off")
    assert fused(result) == [("cast-cast", "a + b")]
    assert nodes(result.model)[1:] == ["i: Concat(x, x) -> y", "j: Concat(a, a) -> z"]


@pytest.mark.parametrize(("wide", "narrow"), LOSSY)
def test_a_cast_that_loses_something_stays(wide: int, narrow: int) -> None:
    result = rewrite_and_explain(chain(wide, narrow, wide))
    first, second = numpy_of(wide), numpy_of(narrow)
    because = f"`v1` is {second}, which does not hold every {first} exactly"
    assert declined(result) == [("cast-cast", "c1", "nothing-lost", because)]


def test_casts_around_a_normalization_stay() -> None:
    made = model(
        """(float16[n,8] x) => (float16[n,8] y) {
            wide = Cast<to=1>(x) z = LayerNormalization(wide, gain) y = Cast<to=10>(z)
        }""",
        gain=np.ones(8, np.float32),
    )
    assert fused(rewrite_and_explain(made)) == []


def test_casts_to_special_types_stay() -> None:
    made = model(
        "(float16[n] x) => (float8e4m3fn[n] y) { a = Cast<to=1>(x) [c] y = Cast<to=17>(a) }"
    )
    because = "a Cast from or to float8_e4m3fn depends on more than the number"
    assert declined(rewrite_and_explain(made)) == [("cast-cast", "c", "nothing-lost", because)]


def test_an_integer_stays_where_it_would_wrap_around() -> None:
    made = chain(TensorProto.INT8, TensorProto.FLOAT, TensorProto.UINT8)
    because = (
        "uint8 does not hold every int8, and the integer would wrap around where the float32 is "
        "out of range"
    )
    assert declined(rewrite_and_explain(made)) == [("cast-cast", "c1", "wraps-alike", because)]
    for last in (TensorProto.BOOL, TensorProto.INT32, TensorProto.FLOAT16):
        made = chain(TensorProto.INT8, TensorProto.FLOAT, last)
        assert fused(rewrite_and_explain(made)) == [("cast-cast", "c0 + c1")]


def test_a_value_of_unknown_type_is_not_cast() -> None:
    made = parser.parse_model(
        """<ir_version: 10, opset_import: ["": 17, "own": 1]>
        g (float[n] x) => (int64[n] y) {
            z = own.Op(x) [a] a = Cast<to=6>(z) [b] y = Cast<to=7>(a)
        }"""
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "cast-cast",
            "b",
            "nothing-lost",
            "the type of `z` is not known: it comes from the custom operator `own::Op` (node "
            "`node_of_z`); declare the type of `z` in the value_info of the model",
        )
    ]


#: Types that ONNX Runtime casts from and to.
SOME = (
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.FLOAT16,
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
)


@pytest.mark.parametrize("first", SOME)
@pytest.mark.parametrize("between", SOME)
def test_a_chain_of_casts_gives_the_same_numbers(first: int, between: int) -> None:
    for last in SOME:
        made = chain(first, between, last)
        result = rewrite_and_explain(made, verify="none").model
        numbers = edges(first)
        if numpy_of(first).kind not in "iub" and numpy_of(last).kind in "iu":
            # Runtimes differ on what becomes of those out of range.
            numbers = np.array([0, -0.0, 1, 1.5, 2.75, 100], numpy_of(first))
        before, after = run(made, numbers), run(result, numbers)
        assert same(before, after)
        again = rewrite_and_explain(result, verify="none").model
        assert again.SerializeToString() == result.SerializeToString()


def run(made: ModelProto, numbers: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {made.graph.input[0].name: numbers})
    return np.asarray(found)


@pytest.mark.parametrize("opset", [15, 19, 25])
def test_a_cast_like_of_a_constant_is_a_constant(opset: int) -> None:
    made = model(
        """(float16[n,4] x) => (float16[?,4] y) {
            c = Constant<value_int=2>() k = CastLike(c, x) [m] y = Mul(x, k)
        }""",
        opset=opset,
        ir_version=10,
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify).model
        assert nodes(result) == ["m: Mul(x, k) -> y"]
        assert constants(result)["k"] == np.float16(2)
        assert constants(result)["k"].dtype == np.float16


def test_a_cast_like_to_a_known_type_is_a_cast() -> None:
    made = model("(float[n] x, int8[1] t) => (int8[?] y) { [c] y = CastLike(x, t) }")
    (cast,) = rewrite_and_explain(made).model.graph.node
    assert (cast.op_type, cast.name, list(cast.input)) == ("Cast", "c", ["x"])
    assert helper.get_attribute_value(cast.attribute[0]) == TensorProto.INT8


def test_a_cast_like_keeps_what_it_says_of_float8() -> None:
    made = model(
        "(float[n] x, float8e5m2[1] t) => (float8e5m2[?] y) { y = CastLike<saturate=0>(x, t) }"
    )
    (cast,) = rewrite_and_explain(made).model.graph.node
    found = {a.name: helper.get_attribute_value(a) for a in cast.attribute}
    assert found == {"to": TensorProto.FLOAT8E5M2, "saturate": 0}


GELU = """<domain: "torch", opset_import: ["" : 20]>
gelu (s) => (r) {
    h = Constant<value_float=0.5>() half = CastLike(h, s)
    o = Constant<value_int=1>() one = CastLike(o, s)
    t = Constant<value_float=1.4142135381698608>() root = CastLike(t, s)
    d = Div(s, root) e = Erf(d) p = Add(e, one) q = Mul(s, p) r = Mul(half, q)
}"""


def calling(*types: str) -> ModelProto:
    """A model that calls a GELU, once for each type."""
    inputs = ", ".join(f"{kind}[n,4] x{i}" for i, kind in enumerate(types))
    outputs = inputs.replace(" x", " y")
    calls = " ".join(f"y{i} = torch.gelu(x{i})" for i in range(len(types)))
    head = '<ir_version: 10, opset_import: ["" : 20, "torch" : 1]>'
    return parser.parse_model(f"{head} g ({inputs}) => ({outputs}) {{ {calls} }} {GELU}")


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_a_gelu_in_a_function_is_seen_behind_its_cast_likes(kind: str) -> None:
    result = rewrite_and_explain(calling(kind, kind))
    (function,) = result.model.functions
    operators = [node.op_type for node in function.node]
    if kind == "double":
        # float32's sqrt(2) is not next to that of float64.
        assert "Gelu" not in operators
        assert "CastLike" not in operators
    else:
        assert operators == ["Gelu"]


def test_a_function_that_is_called_with_two_types_keeps_its_cast_likes() -> None:
    result = rewrite_and_explain(calling("float", "float16"))
    assert set(declined(result)) == {
        ("cast-like", f"node_of_{name}", "known-type", "the type of `s` is not known")
        for name in ("half", "one", "root")
    }
