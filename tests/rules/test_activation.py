from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import attributes, constants, declined, fused, model
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]


def computed(made: ModelProto, x: Array) -> Array:
    """What the reference implementation computes of x."""
    return np.asarray(ReferenceEvaluator(made).run(None, {"x": x})[0])


def assert_settled(made: ModelProto) -> None:
    """A second run changes nothing."""
    again = rewrite_and_explain(made, verify="none")
    assert again.model.SerializeToString() == made.SerializeToString()


@pytest.mark.parametrize("operator", ["Abs", "Ceil", "Floor", "Relu", "Round", "Sign"])
def test_an_idempotent_activation_is_applied_once(operator: str) -> None:
    made = model(
        f"""(float[2,3] x) => (float[2,3] y, float[2,3] z) {{
            [one] a = {operator}(x) [two] b = {operator}(a) [end] y = Neg(b) [more] z = Exp(a)
        }}"""
    )
    result = rewrite_and_explain(made)
    assert [name for _, name in fused(result)] == ["one + two"]
    assert [node.op_type for node in result.model.graph.node] == [operator, "Neg", "Exp"]


bounds = st.floats(-4, 4, width=32) | st.sampled_from((-math.inf, math.inf, 0.0))


@given(
    st.lists(st.tuples(bounds, bounds) | st.just(None), min_size=2, max_size=4),
    st.sampled_from((7, 11, 13, 22)),
)
def test_nested_limits_limit_to_what_they_have_in_common(
    limits: list[tuple[float, float] | None], opset: int
) -> None:
    calls, constants, previous = [], {}, "x"
    for index, limit in enumerate(limits):
        if limit is None:
            calls.append(f"v{index} = Relu({previous})")
        else:
            low, high = sorted(limit)
            named = [(f"l{index}", "min", low), (f"h{index}", "max", high)]
            finite = [(name, word, bound) for name, word, bound in named if math.isfinite(bound)]
            if opset < 11:
                listed = ", ".join(f"{word}={bound!r}" for _, word, bound in finite)
                calls.append(f"v{index} = Clip{f'<{listed}>' if listed else ''}({previous})")
            else:
                words = [name if math.isfinite(bound) else "" for name, _, bound in named]
                constants |= {name: np.float64(bound) for name, _, bound in finite}
                calls.append(f"v{index} = Clip({previous}, {', '.join(words)})")
        previous = f"v{index}"
    made = model(
        f"(double[9] x) => (double[9] y) {{ {' '.join(calls)} y = Neg({previous}) }}",
        opset=opset,
        **constants,
    )
    result = rewrite_and_explain(made)
    assert "check" not in [miss.guard for miss in result.report.declined]
    onnx.checker.check_model(result.model, full_check=True)
    x = np.array([-9, -4, -1.5, -0.25, 0, 0.25, 1.5, 4, 9])
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert_settled(result.model)


def test_ranges_that_have_nothing_in_common_stay() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] y) {
            [low] a = Clip(x, m, z) [high] b = Clip(a, o, t) y = Neg(b)
        }""",
        m=-1.0,
        z=0.0,
        o=1.0,
        t=2.0,
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "clip-clip",
            "high",
            "ranges-overlap",
            "the ranges [-1, 0] and [1, 2] have nothing in common",
        )
    ]


def test_bounds_that_cross_or_are_computed_are_no_range() -> None:
    made = model(
        """(float[2,3] x, float given) => (float[2,3] y, float[2,3] z) {
            [cross] a = Clip(x, one, zero) [r1] y = Relu(a)
            [run] b = Clip(x, given) [r2] z = Relu(b)
        }""",
        one=1.0,
        zero=0.0,
    )
    assert declined(rewrite_and_explain(made)) == [
        ("clip-clip", "r1", "clip", "its bounds 1 and 0 cross"),
        ("clip-clip", "r2", "clip", "its bound `given` is an input of the graph, not a constant"),
    ]


@pytest.mark.parametrize("how", ["others", "output"])
def test_an_activation_that_others_read_is_applied_once_as_well(how: str) -> None:
    header = "(float[2,3] x) => (float[2,3] y, float[2,3] z)"
    body = {
        "others": "[one] a = Sigmoid(x) [two] b = Clip(a, , top) y = Neg(b) z = Exp(a)",
        "output": "[one] z = Sigmoid(x) [two] b = Clip(z, , top) y = Neg(b)",
    }[how]
    result = rewrite_and_explain(model(f"{header} {{ {body} }}", top=1.0))
    assert fused(result) == [("within-range", "one + two")]


WITHIN = [
    ("Abs(Relu(x))", "Relu"),
    ("Relu(Abs(x))", "Abs"),
    ("Relu(Exp(x))", "Exp"),
    ("Relu(Sigmoid(x))", "Sigmoid"),
    ("Abs(Softmax(x))", "Softmax"),
    ("Relu(Softplus(x))", "Softplus"),
    ("Relu(HardSigmoid(x))", "HardSigmoid"),
    ("Clip(HardSigmoid(x), zero, one)", "HardSigmoid"),
    ("Clip(Tanh(x), minus, one)", "Tanh"),
    ("Clip(Sigmoid(x), minus, two)", "Sigmoid"),
    ("Min(Sigmoid(x), one)", "Sigmoid"),
    ("Max(zero, Clip(x, one, two))", "Clip"),
    ("Abs(Clip(x, one, two))", "Clip"),
    ("Clip(Clip(x, zero, one), minus, two)", "Clip"),
    ("Relu(Max(x, one))", "Max"),
    ("Clip(Relu(x), zero)", "Relu"),
    ("Clip(Exp(x))", "Exp"),
]
BEYOND = [
    "Relu(Tanh(x))",
    "Abs(Clip(x, minus, one))",
    "Clip(Sigmoid(x), half, one)",
    "Clip(Tanh(x), zero, one)",
    "Min(Exp(x), one)",
    "Abs(Min(x, one))",
    "Clip(Softplus(x), zero, one)",
]
BOUNDS = {"zero": 0.0, "one": 1.0, "two": 2.0, "minus": -1.0, "half": 0.5}


def nested(text: str, opset: int = 22) -> ModelProto:
    """A model of two calls, one inside the other."""
    outer, inner = text.split("(", 1)
    start = next(i for i, c in enumerate(inner) if c == "(")
    first = max(inner.rfind(" ", 0, start), inner.rfind("(", 0, start)) + 1
    end = inner.index(")") + 1
    call, around = inner[first:end], f"{outer}({inner[:first]}a{inner[end:]}"
    used = {name: number for name, number in BOUNDS.items() if name in text}
    body = f"[inner] a = {call} [outer] b = {around} y = Neg(b)"
    return model(f"(float[2,3] x) => (float[2,3] y) {{ {body} }}", opset=opset, **used)


@pytest.mark.parametrize(("text", "left"), WITHIN)
@pytest.mark.parametrize("opset", [13, defs.onnx_opset_version()])
def test_what_is_in_its_range_already_is_not_limited(text: str, left: str, opset: int) -> None:
    made = nested(text, opset)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert [node.op_type for node in result.model.graph.node] == [left, "Neg"]
        assert result.report.declined == []
    x = np.array([[-3, -1, -0.25], [0, 0.5, 9]], np.float32)
    np.testing.assert_array_equal(computed(result.model, x), computed(made, x))
    assert_settled(result.model)


@pytest.mark.parametrize("text", BEYOND)
def test_what_may_lie_outside_is_limited(text: str) -> None:
    result = rewrite_and_explain(nested(text))
    assert result.report.fused == []


def test_integers_that_overflow_are_left_alone() -> None:
    made = model(
        "(int8[2] x) => (int8[2] y) { a = Abs(x) [relu] b = Relu(a) y = Neg(b) }", opset=14
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "within-range",
            "relu",
            "never-overflows",
            "`x` is int8, and the Abs of its least number may be negative",
        ),
    ]


def test_a_clip_without_bounds_does_nothing() -> None:
    made = model("(float[2] x) => (float[2] y) { [in] a = Neg(x) [clip] b = Clip(a) y = Exp(b) }")
    assert fused(rewrite_and_explain(made)) == [("clip-without-bounds", "clip")]
    made = model(
        "(float[2] x) => (float[2] y) { a = Neg(x) [clip] b = Clip(a, low, high) y = Exp(b) }",
        low=-math.inf,
        high=math.inf,
    )
    assert fused(rewrite_and_explain(made)) == [("clip-without-bounds", "clip")]
    made = model("(int32[2] x) => (int32[2] y) { a = Neg(x) [clip] b = Clip(a) y = Neg(b) }")
    assert fused(rewrite_and_explain(made)) == [("clip-without-bounds", "clip")]


def test_before_opset_11_a_clip_without_bounds_limits_to_float32() -> None:
    made = model("(double[2] x) => (double[2] y) { a = Neg(x) b = Clip(a) y = Exp(b) }", opset=10)
    assert fused(rewrite_and_explain(made)) == []
    made = model(
        """(double[2] x) => (double[2] y) {
            a = Clip<min=1.0>(x) b = Clip<max=2.0>(a) y = Neg(b)
        }""",
        opset=10,
    )
    (clip, _) = rewrite_and_explain(made).model.graph.node
    assert attributes(clip) == {"min": 1.0, "max": 2.0}
    made = model(
        "(double[2] x) => (double[2] y) { a = Relu(x) b = Clip<min=-1.0>(a) y = Neg(b) }", opset=10
    )
    (clip, _) = rewrite_and_explain(made).model.graph.node
    assert (clip.op_type, attributes(clip)) == ("Clip", {"min": 0.0})


@pytest.mark.parametrize(
    ("body", "expected", "bounds"),
    [
        ("a = Min(x, six) b = Max(a, zero)", "Clip", [0.0, 6.0]),
        ("a = Max(zero, x) b = Min(six, a)", "Clip", [0.0, 6.0]),
        ("a = Relu(x) b = Min(a, six)", "Clip", [0.0, 6.0]),
        ("a = Max(x, three) b = Max(a, six)", "Clip", [6.0]),
        ("a = Max(x, minus) b = Relu(a)", "Relu", []),
    ],
)
def test_min_and_max_by_a_constant_are_limits(
    body: str, expected: str, bounds: list[float]
) -> None:
    numbers = {"six": 6.0, "zero": 0.0, "three": 3.0, "minus": -1.0}
    used = {name: number for name, number in numbers.items() if name in body}
    made = model(f"(float[2,3] x) => (float[2,3] y) {{ {body} y = Neg(b) }}", opset=13, **used)
    result = rewrite_and_explain(made)
    assert [rule for rule, _ in fused(result)] == ["clip-clip"]
    assert result.model.graph.node[0].op_type == expected
    assert sorted(float(bound) for bound in constants(result.model).values()) == bounds
    x = np.array([[-3, -1, 0], [3, 6, 9]], np.float32)
    np.testing.assert_array_equal(computed(result.model, x), computed(made, x))
    assert_settled(result.model)


def test_a_min_that_broadcasts_or_reads_more_is_no_limit() -> None:
    made = model(
        """(float[3] x) => (float[1,3] y, float[3] z) {
            [m] a = Min(x, wide) [r] y = Relu(a) b = Min(x, one, one) z = Relu(b)
        }""",
        wide=np.ones((1, 1), np.float32),
        one=1.0,
    )
    assert declined(rewrite_and_explain(made)) == [
        ("clip-clip", "r", "clip", "`wide` has shape [1, 1], of more dimensions than `x` (1)")
    ]


@pytest.mark.parametrize(("opset", "axis"), [(11, None), (11, 2), (13, None), (13, 1), (22, -2)])
def test_softmax_and_log_are_log_softmax(opset: int, axis: int | None) -> None:
    listed = "" if axis is None else f"<axis={axis}>"
    made = model(
        f"(double[2,3,4] x) => (double[2,3,4] y) {{ s = Softmax{listed}(x) [log] y = Log(s) }}",
        opset=opset,
    )
    result = rewrite_and_explain(made, objective="graph")
    assert [node.op_type for node in result.model.graph.node] == ["LogSoftmax"]
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    (expected,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = ReferenceEvaluator(result.model).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float", "double", "bfloat16"])
def test_softmax_and_log_are_log_softmax_in_any_type(dtype: str) -> None:
    made = model(f"({dtype}[2,3] x) => ({dtype}[2,3] y) {{ s = Softmax<axis=0>(x) y = Log(s) }}")
    result = rewrite_and_explain(made)
    (node,) = result.model.graph.node
    assert (node.op_type, attributes(node)) == ("LogSoftmax", {"axis": 0})
    assert_settled(result.model)


def test_a_softmax_that_is_needed_stays() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] y, float[2,3] s) {
            [soft] s = Softmax(x) [log] y = Log(s)
        }"""
    )
    assert declined(rewrite_and_explain(made)) == [
        ("log-softmax", "log", "one-consumer", "`s` is an output of the graph")
    ]


# HardSigmoid

TYPES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
SIXTH = float(np.float32(1 / 6))


def hard(
    body: str, dtype: str = "float", opset: int = 17, shape: str = "2,3", **given: Any
) -> ModelProto:
    """A model of float[2,3] x in a type, with the constants that it names."""
    numbers = {
        "zero": 0.0,
        "one": 1.0,
        "three": 3.0,
        "six": 6.0,
        "sixth": 1 / 6,
        "half": 0.5,
    } | given
    used = {
        name: np.asarray(number, TYPES[dtype]) for name, number in numbers.items() if name in body
    }
    return model(f"({dtype}[2,3] x) => ({dtype}[{shape}] y) {{ {body} }}", opset=opset, **used)


TORCH = "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)"


@pytest.mark.parametrize(
    ("body", "alpha", "beta"),
    [
        (TORCH, SIXTH, 0.5),
        ("a = Add(three, x) c = Clip(a, zero, six) y = Mul(c, sixth)", SIXTH, 0.5),
        ("a = Add(x, three) r = Relu(a) m = Min(r, six) y = Div(m, six)", SIXTH, 0.5),
        ("a = Div(x, six) b = Add(a, half) y = Clip(b, zero, one)", SIXTH, 0.5),
        ("a = Mul(x, half) b = Add(a, half) y = Clip(b, zero, one)", 0.5, 0.5),
        ("a = Add(x, one) b = Mul(a, half) y = Clip(b, zero, one)", 0.5, 0.5),
        ("a = Mul(half, x) y = Clip(a, zero, one)", 0.5, 0.0),
        ("a = Sub(three, x) y = Clip(a, zero, one)", -1.0, 3.0),
        ("a = Sub(x, three) y = Clip(a, zero, one)", 1.0, -3.0),
        ("c = Clip(x, minus, one) m = Mul(c, half) y = Add(m, half)", 0.5, 0.5),
        ("n = Neg(x) a = Add(n, half) y = Clip(a, zero, one)", -1.0, 0.5),
        ("c = Clip(x, zero, six) y = Div(c, six)", SIXTH, 0.0),
    ],
)
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_a_limit_between_scales_is_a_hard_sigmoid(
    body: str, alpha: float, beta: float, dtype: str
) -> None:
    made = hard(body, dtype, minus=-1.0)
    if dtype == "float16" and "sixth" in body:
        # The nearest float16 is what it multiplies by.
        alpha, beta = float(np.float16(1 / 6)), 3 * float(np.float16(1 / 6))
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        (node,) = result.model.graph.node
        assert (node.op_type, node.input[:]) == ("HardSigmoid", ["x"])
        assert attributes(node) == {"alpha": alpha, "beta": beta}
        assert declined(result) == []
    x = np.array([[-9, -3, -0.5], [0, 0.75, 9]], np.float32)
    expected = np.clip(np.float64(alpha) * x + beta, 0, 1)
    np.testing.assert_allclose(computed(result.model, x), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(computed(made, x.astype(TYPES[dtype])), expected, atol=2e-3)
    assert_settled(result.model)


@pytest.mark.parametrize(
    ("body", "given", "guard", "because"),
    [
        (
            TORCH,
            {"dtype": "double"},
            "numbers-of-hard-sigmoid",
            "`three` is 3, and HardSigmoid(alpha=0.166666672, beta=0.5) takes 2.99999991",
        ),
        (
            "a = Add(x, three) c = Clip(a, zero, six) y = Mul(c, sixth)",
            {"sixth": 0.1666},
            "numbers-of-hard-sigmoid",
            "`six` is 6, and HardSigmoid(alpha=0.166600004, beta=0.499800026) takes 6.00240082",
        ),
        (
            "a = Mul(x, half) y = Clip(a, low, one)",
            {"low": 1e-3},
            "numbers-of-hard-sigmoid",
            "`low` is 0.00100000005, and HardSigmoid(alpha=0.5, beta=0) takes 0",
        ),
        (
            TORCH,
            {"dtype": "bfloat16"},
            "operator-takes",
            "HardSigmoid takes no bfloat16 in opset 17",
        ),
        (
            "a = Add(x, three) c = Clip<min=0.0, max=6.0>(a) y = Div(c, six)",
            {"opset": 10},
            "numbers-of-hard-sigmoid",
            "the upper bound of node_of_c is 6, and HardSigmoid(alpha=0.166666672, beta=0.5) "
            "takes 5.99999982",
        ),
        (
            "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)",
            {"three": [[[3.0]]], "shape": "1,2,3"},
            "scales-keep-shape",
            "`three` has shape [1, 1, 1], of more dimensions than `x` (2)",
        ),
    ],
)
def test_what_is_only_nearly_a_hard_sigmoid_stays(
    body: str, given: dict[str, Any], guard: str, because: str
) -> None:
    made = hard(body, **given)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, rules=["hard-sigmoid"], verify=verify)
        assert fused(result) == []
        assert [miss[2:] for miss in declined(result)] == [(guard, because)]


def test_a_constant_may_not_stand_for_two_numbers() -> None:
    # As a divisor it would have to be a little less than 3, as a shift it is exactly 3.
    body = "a = Div(x, three) b = Add(a, three) y = Clip(b, zero, one)"
    made = hard(body)
    for verify in ("none", "rewrite"):
        ((_, _, guard, because),) = declined(rewrite_and_explain(made, verify=verify))
        assert guard == "numbers-of-hard-sigmoid"
        assert because.startswith("`three` would stand for both 2.99999991")


@pytest.mark.parametrize("number", [1e-60, 1e60])
@pytest.mark.parametrize("operator", ["Mul", "Div"])
@pytest.mark.parametrize("before", [True, False])
def test_a_scale_beyond_float32_is_no_alpha(number: float, operator: str, before: bool) -> None:
    if before:
        body = f"a = {operator}(x, far) y = Clip(a, zero, one)"
    else:
        body = f"a = Clip(x, zero, top) y = {operator}(a, far)"
    top = number if operator == "Div" else 1 / number
    made = hard(body, "double", far=number, top=top)
    result = rewrite_and_explain(made, rules=["hard-sigmoid"], verify="none")
    assert (fused(result), declined(result)) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, three) c = Clip(a, zero, six) y = Neg(c)",
        "y = Clip(x, zero, one)",
        "a = Add(x, three) y = Relu(a)",
        "c = Clip(x, minus, zero) y = Neg(c)",
        "a = Mul(x, each) y = Clip(a, zero, one)",
        "a = Pow(x, three) y = Clip(a, zero, one)",
    ],
)
def test_other_ranges_and_scales_are_no_hard_sigmoid(body: str) -> None:
    result = rewrite_and_explain(
        hard(body, minus=-1.0, each=[0.5, 1.0, 2.0]), rules=["hard-sigmoid"]
    )
    assert (fused(result), declined(result)) == ([], [])


def test_a_value_inside_that_is_needed_stays_and_one_before_it_does_no_harm() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] y, float[2,3] z) {
            [three] a = Add(x, three) [clip] c = Clip(a, zero, six) [six] y = Div(c, six)
            [other] z = Neg(a)
        }""",
        three=3.0,
        zero=0.0,
        six=6.0,
    )
    assert declined(rewrite_and_explain(made)) == [
        ("hard-sigmoid", "six", "one-consumer", "`a` has 2 consumers: clip, other")
    ]
    made = model(
        """(float[2,3] x) => (float[2,3] y, float[2,3] z) {
            [half] h = Mul(x, half) [plus] a = Add(h, half) [clip] y = Clip(a, zero, one)
            [other] z = Neg(h)
        }""",
        half=0.5,
        zero=0.0,
        one=1.0,
    )
    result = rewrite_and_explain(made)
    assert fused(result) == [("hard-sigmoid", "plus + clip")]
    assert attributes(result.model.graph.node[1]) == {"alpha": 1.0, "beta": 0.5}


@st.composite
def limited(draw: st.DrawFn) -> ModelProto:
    """Up to two scales, a Clip, and up to two scales, of which most are a HardSigmoid."""
    dtype = draw(st.sampled_from(("float", "double", "float16")))
    opset = draw(st.sampled_from((7, 10, 11, 13, 17, 22)))
    nodes: list[onnx.NodeProto] = []
    numbers: dict[str, float] = {}

    def node(operator: str, *inputs: str, **listed: float) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"v{len(nodes)}"], **listed))
        return f"v{len(nodes) - 1}"

    def stored(number: float) -> str:
        numbers[f"c{len(numbers)}"] = number
        return f"c{len(numbers) - 1}"

    def affine(value: str, by: float, plus: float) -> str:
        """By and plus in one of the orders, spelled in one of the ways."""
        first = draw(st.booleans())
        for step in ("by", "plus") if first else ("plus", "by"):
            if step == "by" and by != 1:
                way = draw(st.sampled_from(("Mul", "Div")))
                value = node(way, value, stored(by if way == "Mul" else 1 / by))
            elif step == "plus" and plus:
                shift = plus if first or by == 1 else plus / by
                way = draw(st.sampled_from(("Add", "Sub")))
                value = node(way, value, stored(shift if way == "Add" else -shift))
        return value

    number = st.sampled_from((1.0, 0.5, 0.25, 1 / 6, 0.2, 1 / 3, 3.0, -0.5))
    shift = st.sampled_from((0.0, 0.5, -1.0, 3.0))
    value = affine("x", draw(number), draw(shift))
    by, plus = abs(draw(number)), draw(st.sampled_from((0.0, 0.0, 0.5)))
    low, high = -plus / by, (1 - plus) / by
    if draw(st.integers(0, 3)) == 3:
        high += 0.5
    if opset < 11:
        value = node("Clip", value, min=low, max=high)
    else:
        value = node("Clip", value, stored(low), stored(high))
    value = affine(value, by, plus)
    nodes[-1].output[0] = "y"
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(TYPES[dtype]))
    rows = draw(st.sampled_from(("n", 3, None)))
    graph = helper.make_graph(
        nodes,
        "limited",
        [helper.make_tensor_value_info("x", element_type, [rows, 5])],
        [helper.make_tensor_value_info("y", element_type, [None, 5])],
        [
            numpy_helper.from_array(np.asarray(number, TYPES[dtype]), name)
            for name, number in numbers.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@given(limited())
def test_scales_around_a_limit_stay_what_they_are(made: ModelProto) -> None:
    onnx.checker.check_model(made, full_check=True)
    element_type = made.graph.input[0].type.tensor_type.elem_type
    tolerance = {TensorProto.FLOAT: 2e-6, TensorProto.DOUBLE: 1e-12}.get(element_type, 4e-3)
    x = np.array([[-9, -4, -3, -1, -0.5], [-0.2, 0, 0.3, 1, 2], [2.9, 3, 3.1, 6, 20]])
    x = x.astype(helper.tensor_dtype_to_np_dtype(element_type))
    expected = computed(made, x)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert "check" not in [miss[2] for miss in declined(result)], declined(result)
        onnx.checker.check_model(result.model, full_check=True)
        found = computed(result.model, x).astype(np.float64)
        np.testing.assert_allclose(found, expected.astype(np.float64), atol=tolerance)
    assert_settled(result.model)


# A scale, an activation and a layer

LAYERS = {
    "Conv": ("w", {"w": (2, 3, 2, 2)}, "[n,3,4,4]", "[n,2,3,3]"),
    "ConvTranspose": ("w", {"w": (3, 2, 2, 2)}, "[n,3,4,4]", "[n,2,5,5]"),
    "Gemm": ("w, bias", {"w": (3, 2), "bias": (2,)}, "[n,3]", "[n,2]"),
    "MatMul": ("w", {"w": (3, 2)}, "[n,4,3]", "[n,4,2]"),
}
ACTIVATIONS = ("Relu({})", "LeakyRelu<alpha=0.25>({})", "PRelu({}, slope)")


def around(body: str, layer: str, **given: Any) -> ModelProto:
    """A layer, and a body whose nodes read `x` and compute `y`, with the constants it names."""
    weights, shapes, x, y = LAYERS[layer]
    arrays = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    numbers = {"s": 2.5, "slope": 0.125} | given
    used = {name: np.float32(n) for name, n in numbers.items() if f", {name})" in body}
    text = body.replace("LAYER(", f"{layer}(").replace(", weights)", f", {weights})")
    return model(f"(float{x} x) => (float{y} y) {{ {text} }}", opset=17, **arrays | used)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("before", [True, False])
def test_a_positive_scale_moves_through_an_activation_into_a_layer(
    layer: str, activation: str, before: bool
) -> None:
    if before:
        body = f"[s] a = Mul(x, s) [f] b = {activation.format('a')} [l] y = LAYER(b, weights)"
    else:
        body = f"[l] a = LAYER(x, weights) [f] b = {activation.format('a')} [s] y = Mul(b, s)"
    made = around(body, layer)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        rule = "scale-activation" if before else "activation-scale"
        assert fused(result) == [(rule, "s + f + l" if before else "l + f + s")]
        assert len(result.model.graph.node) == 2
    assert result.report.verification.max_error < 1e-12
    shape = [dim.dim_value or 2 for dim in made.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(computed(result.model, x), computed(made, x), rtol=1e-5, atol=1e-6)
    assert_settled(result.model)


@pytest.mark.parametrize(
    ("rule", "body", "at"),
    [
        ("scale-activation", "[s] a = Mul(x, s) [f] b = Relu(a) [l] y = LAYER(b, weights)", "l"),
        ("activation-scale", "[l] a = LAYER(x, weights) [f] b = Relu(a) [s] y = Mul(b, s)", "s"),
    ],
)
@pytest.mark.parametrize(
    ("layer", "scale", "guard", "because"),
    [
        ("Conv", -2.0, "positive", "`s` is -2, not positive"),
        ("Gemm", 0.0, "positive", "`s` is 0, not positive"),
        ("MatMul", math.nan, "positive", "`s` is nan, not positive"),
    ],
)
def test_only_a_positive_scale_does(
    rule: str, body: str, at: str, layer: str, scale: float, guard: str, because: str
) -> None:
    made = around(body, layer, s=scale)
    for verify in ("none", "rewrite"):
        assert declined(rewrite_and_explain(made, verify=verify)) == [(rule, at, guard, because)]


def test_a_scale_that_broadcasts_does_not() -> None:
    made = model(
        """(float[3] x, float[1,3] v) => (float[1,2] y, float[1,1,2] z) {
            [s] a = Mul(x, flat) [f] b = Relu(a) [l] y = MatMul(b, w)
            [m] c = MatMul(v, w) [g] d = Relu(c) [t] z = Mul(d, deep)
        }""",
        flat=np.full((1, 1), 2.0, np.float32),
        deep=np.full((1, 1, 1), 2.0, np.float32),
        w=np.ones((3, 2), np.float32),
    )
    assert declined(rewrite_and_explain(made, rules=["scale-activation", "activation-scale"])) == [
        (
            "scale-activation",
            "l",
            "keeps-shape",
            "`flat` has shape [1, 1], of more dimensions than `x` (1)",
        ),
        (
            "activation-scale",
            "t",
            "keeps-shape",
            "`deep` has shape [1, 1, 1], of more dimensions than `d` (2)",
        ),
    ]


def test_integers_stay_where_they_are() -> None:
    made = model(
        """(int32[n,3] x) => (int32[n,2] y) {
            [s] a = Mul(x, two) [f] b = Relu(a) [l] y = MatMul(b, w)
        }""",
        opset=14,
        two=np.int32(2),
        w=np.ones((3, 2), np.int32),
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "scale-activation",
            "l",
            "floating",
            "`x` is int32, and only floating-point numbers may be regrouped",
        )
    ]


def test_an_activation_that_others_read_keeps_its_scale() -> None:
    made = model(
        """(float[n,3] x) => (float[n,2] y, float[n,3] z) {
            [s] a = Mul(x, s) [f] b = Relu(a) [l] y = MatMul(b, w) [o] z = Neg(b)
        }""",
        s=2.0,
        w=np.ones((3, 2), np.float32),
    )
    assert declined(rewrite_and_explain(made)) == [
        ("scale-activation", "l", "one-consumer", "`b` has 2 consumers: l, o")
    ]


@pytest.mark.parametrize(
    ("calls", "opset", "expected"),
    [
        ("a = Relu(x) b = Clip(a, bound)", 21, math.inf),
        ("a = Clip<min=0.0>(x) b = Clip<min=3.4028234663852886e+38>(a)", 10, 3.4028234663852886e38),
        (
            "a = Clip<max=0.0>(x) b = Clip<max=-3.4028234663852886e+38>(a)",
            7,
            -3.4028234663852886e38,
        ),
    ],
)
def test_a_lower_bound_as_large_as_an_absent_upper_one_is_not_left_out(
    calls: str, opset: int, expected: float
) -> None:
    given = {"bound": np.float32(np.inf)} if "bound" in calls else {}
    made = model(
        f"(float[2] x) => (float[2] y) {{ {calls} y = Identity(b) }}", opset=opset, **given
    )
    result = rewrite_and_explain(made, verify="none")
    found = computed(result.model, np.float32([-2, 3]))
    np.testing.assert_array_equal(found, np.float32([expected] * 2))


INTEGERS = "`x` is int32, and only floating-point numbers may be regrouped"


@pytest.mark.parametrize(
    ("rule", "at", "body"),
    [
        ("hard-sigmoid", "d", "[a] a = Add(x, two) [c] c = Clip(a, zero, six) [d] b = Div(c, six)"),
        ("activation-scale", "s", "[l] a = MatMul(x, w) [f] c = Relu(a) [s] b = Mul(c, two)"),
    ],
)
def test_rules_of_activations_leave_integers_alone(rule: str, at: str, body: str) -> None:
    given = {"zero": 0, "two": 2, "six": 6, "ten": 10, "w": np.eye(3)}
    constants = {n: np.array(v, np.int32) for n, v in given.items() if n in body}
    made = model(
        f"(int32[2,3] x) => (int32[2,3] y) {{ {body} y = Identity(b) }}", opset=14, **constants
    )
    for verify in ("none", "rewrite"):
        assert declined(rewrite_and_explain(made, rules=[rule], verify=verify)) == [
            (rule, at, "floating", INTEGERS)
        ]


@pytest.mark.parametrize("layer", ["Conv", "MatMul"])
@pytest.mark.parametrize(
    "scale",
    [
        "Mul(IN, channels)",
        "Add(IN, shift)",
        "Sub(shift, IN)",
        "Pow(IN, power)",
        "BatchNormalization(IN, gain, gain, gain, gain)",
    ],
)
@pytest.mark.parametrize(
    ("rule", "before"), [("activation-scale", False), ("scale-activation", True)]
)
def test_only_a_scale_that_is_one_factor_moves_through_an_activation(
    rule: str, before: bool, layer: str, scale: str
) -> None:
    channels = np.float32([[[2.0]], [[-3.0]], [[0.5]]])
    given = {
        "channels": channels if layer == "Conv" else channels.reshape(3),
        "shift": np.float32(0.5),
        "power": np.float32(2.0),
        "gain": np.float32([2.0, 1.0, 0.5]),
    }
    w = np.ones((3, 3, 1, 1) if layer == "Conv" else (3, 3), np.float32)
    shape = "2,3,4,4" if layer == "Conv" else "2,3"
    body = (
        f"a = {scale.replace('IN', 'x')} b = Relu(a) y = {layer}(b, w)"
        if before
        else f"a = {layer}(x, w) b = Relu(a) y = {scale.replace('IN', 'b')}"
    )
    made = model(
        f"(float[{shape}] x) => (float[{shape}] y) {{ {body} }}",
        opset=15,
        w=w,
        **{name: value for name, value in given.items() if name in scale},
    )
    assert fused(rewrite_and_explain(made, rules=[rule], verify="none")) == []


INTEGER_TYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@given(st.data())
def test_nested_limits_of_integers_limit_to_what_they_have_in_common(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(INTEGER_TYPES))
    info = np.iinfo(kind)
    low, high = int(info.min), int(info.max)
    numbers = st.sampled_from((low, low + 1, 0, 1, 3, 5, high - 1, high)) | st.integers(low, high)
    calls, given = [], {}
    for index in range(data.draw(st.integers(1, 4))):
        operator = data.draw(st.sampled_from(("Clip", "Min", "Max")))
        limits = sorted(data.draw(st.tuples(numbers, numbers)))
        names = [f"l{index}", f"h{index}"]
        if operator == "Clip":
            names = data.draw(st.sampled_from((names, names[:1], ["", names[1]])))
        else:
            names = names[:1]
        given |= {
            name: np.array(limit, kind)
            for name, limit in zip((f"l{index}", f"h{index}"), limits, strict=True)
            if name in names
        }
        calls.append(f"v{index + 1} = {operator}(v{index}, {', '.join(names)})")
    made = model(
        f"({kind}[n] v0) => ({kind}[n] y) {{ {' '.join(calls)} y = Identity(v{len(calls)}) }}",
        opset=14,
        **given,
    )
    x = np.array([low, low + 1, 0, 1, 2, 3, 4, 5, 6, high - 1, high], kind)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify, groups="off")
        onnx.checker.check_model(result.model, full_check=True)
        assert "check" not in [miss.guard for miss in result.report.declined]
        np.testing.assert_array_equal(of_limits(made, x), of_limits(result.model, x))
        # TensorRT takes no Relu of integers, and no Clip of them with one bound.
        for node in result.model.graph.node:
            assert node.op_type != "Relu"
            made_anew = node.op_type == "Clip" and any("." in name for name in node.input)
            assert not made_anew or (len(node.input) == 3 and all(node.input))


def of_limits(made: ModelProto, x: Array) -> Array:
    """What Clip, Min and Max make of x, straight from their definitions."""
    numbers = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    values: dict[str, Array] = {"v0": x, **numbers}
    for node in made.graph.node:
        inputs = [values[name] if name else None for name in node.input]
        first, *bounds = inputs
        assert first is not None
        match node.op_type:
            case "Clip":
                least, most = (*bounds, None, None)[:2]
                found = first if least is None else np.maximum(first, least)
                found = found if most is None else np.minimum(found, most)
            case "Max":
                found = np.maximum(*inputs)
            case "Min":
                found = np.minimum(*inputs)
            case _:
                found = first
        values[node.output[0]] = found
    return values["y"]


@pytest.mark.parametrize(
    ("body", "operator", "numbers"),
    [
        ("a = Min(x, six) b = Max(a, two)", "Clip", [2, 6]),
        ("a = Max(x, two) b = Max(a, six)", "Max", [6]),
        ("a = Min(six, x) b = Min(two, a)", "Min", [2]),
        ("a = Clip(x, two, six) b = Min(a, big)", "Clip", [2, 6]),
        ("a = Max(x, big) b = Max(a, two)", "Max", [2**62 + 1]),
    ],
)
def test_limits_of_integers_become_what_tensorrt_takes(
    body: str, operator: str, numbers: list[int]
) -> None:
    given = {"six": np.int64(6), "two": np.int64(2), "big": np.int64(2**62 + 1)}
    used = {name: number for name, number in given.items() if name in body}
    made = model(f"(int64[n] x) => (int64[n] y) {{ {body} y = Neg(b) }}", **used)
    result = rewrite_and_explain(made, groups="off")
    limit = result.model.graph.node[0]
    assert [node.op_type for node in result.model.graph.node] == [operator, "Neg"]
    known = constants(result.model)
    assert [int(known[name]) for name in limit.input if name in known] == numbers
    assert {known[name].dtype for name in limit.input if name in known} == {np.dtype(np.int64)}
    assert_settled(result.model)


@pytest.mark.parametrize(
    ("kind", "call", "stays"),
    [
        ("uint8", "Clip(x, zero, top)", False),
        ("uint8", "Max(x, zero)", False),
        ("uint8", "Min(x, top)", False),
        ("int8", "Max(x, zero)", True),
        ("uint8", "Max(x, one)", True),
        ("uint16", "Min(x, top)", True),
    ],
)
def test_a_limit_to_the_range_of_the_type_does_nothing(kind: str, call: str, stays: bool) -> None:
    given = {"zero": 0, "one": 1, "top": 255}
    used = {name: np.array(n).astype(kind) for name, n in given.items() if name in call}
    made = model(f"({kind}[n] x) => ({kind}[?] y) {{ [l] a = {call} y = Identity(a) }}", **used)
    assert fused(rewrite_and_explain(made, rules=["clip-without-bounds"])) == (
        [] if stays else [("clip-without-bounds", "l")]
    )


def test_limits_of_integers_that_have_nothing_in_common_stay() -> None:
    made = model(
        "(int32[n] x) => (int32[n] y) { a = Min(x, one) [m] b = Max(a, two) y = Neg(b) }",
        one=np.int32(1),
        two=np.int32(2),
    )
    because = "the ranges [-inf, 1] and [2, inf] have nothing in common"
    assert declined(rewrite_and_explain(made)) == [("clip-clip", "m", "ranges-overlap", because)]


def test_a_limit_of_an_unknown_type_stays() -> None:
    made = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 17, "own": 1]>
        g (float[n] x) => (float[n] y) {
            zero = Constant<value_int=0>() z = own.Op(x)
            a = Clip(z, zero) [b] b = Clip(a, , zero) y = own.Op(b)
        }"""
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "clip-clip",
            "b",
            "known-type",
            "the type of `z` is not known: it comes from the custom operator `own::Op` (node "
            "`node_of_z`); declare the type of `z` in the value_info of the model",
        )
    ]


SWISH = "HardSigmoid<alpha=0.16666667, beta=0.5>(x)"


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
@pytest.mark.parametrize("operands", ["x, h", "h, x"])
@pytest.mark.parametrize("opset", [14, 22, defs.onnx_opset_version()])
def test_x_times_its_hard_sigmoid_is_a_hard_swish(kind: str, operands: str, opset: int) -> None:
    made = model(
        f"({kind}[n] x) => ({kind}[n] y) {{ h = {SWISH} [m] b = Mul({operands}) y = Neg(b) }}",
        opset=opset,
        ir_version=10,
    )
    numbers = np.array([-9, -3, -1.5, -0.0, 0, 1, 2.5, 3, 9, np.inf, np.nan])
    x = numbers.astype({"float": "f4", "float16": "f2", "double": "f8"}[kind])
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify, groups="off")
        assert fused(result) == [("hard-swish", "node_of_h + m")]
        np.testing.assert_allclose(computed(result.model, x), computed(made, x), rtol=1e-3)
        assert_settled(result.model)


@pytest.mark.parametrize(
    ("call", "guard", "because"),
    [
        ("HardSigmoid(x)", None, None),
        ("HardSigmoid<alpha=0.16666667, beta=0.4>(x)", None, None),
        ("HardSigmoid<alpha=0.1667>(x)", None, None),
        ("HardSigmoid<alpha=0.16666667>(z)", None, None),
        ("HardSigmoid<alpha=0.16666667>(x)", "opset",
         "the model imports opset 13, and the rule needs 14"),
    ],
)  # fmt: skip
def test_another_hard_sigmoid_times_x_stays(call: str, guard: str, because: str) -> None:
    made = model(
        f"(float[n] x, float[n] z) => (float[n] y) {{ h = {call} [m] b = Mul(x, h) y = Neg(b) }}",
        opset=14 if guard is None else 13,
    )
    result = rewrite_and_explain(made, groups="off")
    assert fused(result) == []
    assert declined(result) == ([] if guard is None else [("hard-swish", "m", guard, because)])


def test_a_hard_swish_of_a_type_that_the_opset_does_not_take_stays() -> None:
    made = model(
        f"(bfloat16[n] x) => (bfloat16[n] y) {{ h = {SWISH} [m] b = Mul(x, h) y = Neg(b) }}",
        opset=22,
        ir_version=10,
    )
    assert [rule for rule, _ in fused(rewrite_and_explain(made, groups="off"))] == ["hard-swish"]


SPELLED_SWISH = [
    "p = Add(x, three) c = Clip(p, zero, six) m = Mul(x, c) b = Div(m, six)",
    "p = Add(three, x) c = Clip(p, zero, six) m = Mul(c, x) b = Mul(m, sixth)",
    "p = Add(x, three) c = Clip(p, zero, six) d = Div(c, six) b = Mul(d, x)",
    "p = Add(x, three) c = Clip(p, zero, six) d = Mul(x, sixth) b = Mul(d, c)",
    "p = Add(x, three) r = Relu(p) c = Min(r, six) m = Mul(x, c) b = Div(m, six)",
    "p = Add(x, three) d = Div(p, six) c = Clip(d, zero, one) b = Mul(x, c)",
    "d = Div(x, six) p = Add(d, half) c = Clip(p, zero, one) b = Mul(c, x)",
]
SWISH_NUMBERS = {"zero": 0.0, "one": 1.0, "half": 0.5, "three": 3.0, "six": 6.0, "sixth": 1 / 6}


def spelled_swish(body: str, kind: Any = np.float32, **others: float) -> ModelProto:
    """A HardSwish spelled out, before a convolution."""
    used = {
        name: kind(number)
        for name, number in (SWISH_NUMBERS | others).items()
        if f" {name}" in body or f"({name}" in body
    }
    name = {np.float32: "float", np.float16: "float16", np.float64: "double"}[kind]
    return model(
        f"({name}[n,3,h,w] x) => ({name}[?,?,?,?] y) {{ {body} [conv] y = Conv(b, weights) }}",
        opset=18,
        weights=np.ones((2, 3, 1, 1), kind),
        **used,
    )


@pytest.mark.parametrize("body", SPELLED_SWISH)
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_hard_swish_spelled_out_before_a_convolution_is_one(body: str, kind: Any) -> None:
    made = spelled_swish(body, kind)
    rng = np.random.default_rng(0)
    x = (4 * rng.standard_normal((2, 3, 4, 5))).astype(kind)
    for verify in ("none", "rewrite"):
        # What is read by a layer with weights may go into them first.
        rules = ["hard-sigmoid", "hard-swish", "spelled-hard-swish", "clip-clip"]
        result = rewrite_and_explain(made, verify=verify, groups="off", rules=rules)
        assert [node.op_type for node in result.model.graph.node] == ["HardSwish", "Conv"]
        np.testing.assert_allclose(
            computed(result.model, x), computed(made, x), rtol=1e-2, atol=1e-2
        )
        assert_settled(result.model)


@pytest.mark.parametrize(
    ("body", "others"),
    [
        (SPELLED_SWISH[0], {"three": 2.5}),
        (SPELLED_SWISH[0], {"six": 5.0}),
        (SPELLED_SWISH[1], {"sixth": 0.2}),
        (SPELLED_SWISH[0].replace("Mul(x, c)", "Mul(p, c)"), {}),
        (SPELLED_SWISH[0].replace("Div(m", "Sub(m"), {}),
    ],
)
def test_what_is_no_hard_swish_stays(body: str, others: dict[str, float]) -> None:
    result = rewrite_and_explain(spelled_swish(body, **others), rules=["spelled-hard-swish"])
    assert fused(result) == []


def test_a_hard_swish_spelled_out_stays_where_its_numbers_are_others() -> None:
    result = rewrite_and_explain(
        spelled_swish(SPELLED_SWISH[0], three=3.001), rules=["spelled-hard-swish"]
    )
    ((rule, _, guard, because),) = declined(result)
    assert (rule, guard) == ("spelled-hard-swish", "numbers-of-hard-sigmoid")
    assert (
        because
        == "`three` is 3.00099993, and HardSigmoid(alpha=0.166666672, beta=0.5) takes 2.99999991"
    )


@pytest.mark.parametrize(
    ("end", "because"),
    [
        ("y = GlobalAveragePool(b)", "end reads it, and only a convolution gains by it"),
        ("y = Identity(b)", "end reads it, and only a convolution gains by it"),
    ],
)
def test_a_hard_swish_spelled_out_before_anything_else_stays(end: str, because: str) -> None:
    made = model(
        f"(float[n,3,h,w] x) => (float[?,?,?,?] y) {{ {SPELLED_SWISH[0]} [end] {end} }}",
        zero=0.0,
        three=3.0,
        six=6.0,
    )
    result = rewrite_and_explain(made, rules=["spelled-hard-swish"])
    assert declined(result) == [("spelled-hard-swish", "node_of_b", "feeds-convolutions", because)]
    made = model(
        f"(float[n,3,h,w] x) => (float[?,?,?,?] b) {{ {SPELLED_SWISH[0]} }}",
        zero=0.0,
        three=3.0,
        six=6.0,
    )
    result = rewrite_and_explain(made, rules=["spelled-hard-swish"])
    because = "`b` is an output of the graph, and only a convolution gains by it"
    assert [miss[2:] for miss in declined(result)] == [("feeds-convolutions", because)]
