"""identity-scale: what adds 0, multiplies by 1 or raises to 1 is erased."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from fusing import rewrite_and_explain
from models import SCALES, Array, body, constants, declined, fused, model, nodes

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

ONE, ZERO = np.float32(1), np.float32(0)
BETWEEN = """(float[2,3] x) => (float[?,?] z) {{
    a = Relu(x)
    [scale] {line}
    z = Sigmoid(b)
}}"""


@pytest.mark.parametrize(
    "line",
    [
        "b = Mul(a, one)",
        "b = Mul(one, a)",
        "b = Div(a, one)",
        "b = Add(a, zero)",
        "b = Add(zero, a)",
        "b = Sub(a, zero)",
        "b = Pow(a, one)",
        "b = BatchNormalization <epsilon = 0.0> (a, ones, zeros, zeros, ones)",
    ],
)
def test_what_changes_nothing_is_erased(line: str, opset: int) -> None:
    vectors = {"ones": np.ones(3, np.float32), "zeros": np.zeros(3, np.float32)}
    made = model(BETWEEN.format(line=line), opset=opset, one=ONE, zero=ZERO, **vectors)
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> a", "-: Sigmoid(a) -> z"]
    assert constants(result.model) == {}
    assert fused(result) == [("identity-scale", "scale")]
    (only,) = result.report.fused
    assert only.into == []
    assert declined(result) == []


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("b = Mul(a, c)", 0),
        ("b = Mul(a, c)", [1, 1, 2]),
        ("b = Mul(a, c)", [2, 1, 1]),
        ("b = Mul(a, c)", np.nan),
        ("b = Div(c, a)", 1),
        ("b = Add(a, c)", 1),
        ("b = Add(a, c)", [0, 0, 1e-30]),
        ("b = Sub(c, a)", 0),
        ("b = Pow(a, c)", 2),
        ("b = Pow(a, c)", 0),
        ("b = Pow(c, a)", 1),
        ("b = Neg(a)", 0),
        ("b = BatchNormalization(a, ones, zeros, zeros, ones)", 1),
        ("b = BatchNormalization <epsilon = 0.0> (a, ones, ones, zeros, ones)", 1),
        ("b = BatchNormalization <epsilon = 0.0> (a, ones, zeros, ones, ones)", 1),
    ],
)
def test_what_changes_something_stays(line: str, numbers: float | list[float]) -> None:
    vectors = {"ones": np.ones(3, np.float32), "zeros": np.zeros(3, np.float32)}
    made = model(BETWEEN.format(line=line), c=np.float32(numbers), **vectors)
    result = fuse(made)
    assert fused(result) == []
    assert [each for each in declined(result) if each[2] != "structure"] == []


# Shapes


@pytest.mark.parametrize(
    ("of", "shape", "sentence"),
    [
        ("2,3", (4, 1, 1), "`c` has shape [4, 1, 1], of more dimensions than `x` (2)"),
        ("2,3", (1, 1, 1), "`c` has shape [1, 1, 1], of more dimensions than `x` (2)"),
        ("2,1", (3,), "`c` has shape [3], which may broadcast `x` of shape [2, 1]"),
        ("1,3", (2, 1), "`c` has shape [2, 1], which may broadcast `x` of shape [1, 3]"),
        ("2,1", (0,), "`c` has shape [0], which may broadcast `x` of shape [2, 1]"),
        ("N,3", (2, 1), "`c` has shape [2, 1], which may broadcast `x` of shape [N, 3]"),
        ("?,3", (2, 3), "`c` has shape [2, 3], which may broadcast `x` of shape [?, 3]"),
        ("", (1,), "`c` has shape [1], of more dimensions than `x` (0)"),
    ],
)
def test_a_constant_that_may_change_the_shape_is_declined(
    of: str, shape: tuple[int, ...], sentence: str
) -> None:
    rank = max(len(shape), of.count(",") + 1 if of else 0)
    kind = f"float[{of}]" if of else "float"
    text = f"({kind} x) => (float[{','.join('?' * rank)}] z) {{ [one] z = Mul(x, c) }}"
    made = model(text, c=np.ones(shape, np.float32))
    result = fuse(made)
    assert declined(result) == [("identity-scale", "one", "keeps-shape", sentence)]
    assert result.model == made


@pytest.mark.parametrize(
    ("of", "shape"),
    [
        ("2,3", ()),
        ("2,3", (1,)),
        ("2,3", (1, 1)),
        ("2,3", (3,)),
        ("2,3", (2, 3)),
        ("N,3", (1, 3)),
        ("N,M", (1, 1)),
        ("", ()),
        ("0,3", (3,)),
        ("0,3", (0, 3)),
    ],
)
def test_a_constant_that_keeps_the_shape_is_erased(of: str, shape: tuple[int, ...]) -> None:
    kind = f"float[{of}]" if of else "float"
    text = f"({kind} x) => ({kind} z) {{ a = Relu(x)\n z = Add(a, c) }}"
    result = fuse(model(text, c=np.zeros(shape, np.float32)))
    assert nodes(result.model) == ["-: Relu(x) -> z"]


def test_of_an_unknown_rank_only_a_scalar_certainly_keeps_the_shape() -> None:
    text = """(float[4] x, int64[n] shape) => (float[?,?] z) {
        [open] a = Reshape(x, shape)
        [one] z = Mul(a, c)
    }"""
    result = fuse(model(text, c=np.float32([1])))
    assert declined(result) == [
        (
            "identity-scale",
            "one",
            "keeps-shape",
            "`c` has shape [1] and the rank of `a` is not known",
        )
    ]
    result = fuse(model(text, c=ONE))
    assert nodes(result.model) == ["open: Reshape(x, shape) -> z"]


def test_a_batch_normalization_keeps_any_shape() -> None:
    text = """(float[4] x, int64[n] shape) => (float[?,?] z) {
        [open] a = Reshape(x, shape)
        [bn] z = BatchNormalization <epsilon = 0.0> (a, c, zeros, zeros, c)
    }"""
    made = model(text, c=np.ones(2, np.float32), zeros=np.zeros(2, np.float32))
    assert nodes(fuse(made).model) == ["open: Reshape(x, shape) -> z"]


def test_a_batch_normalization_of_an_open_number_of_channels_is_erased() -> None:
    text = """(float[N,C,H] x) => (float[N,C,H] z) {
        a = Relu(x)
        [bn] z = BatchNormalization <epsilon = 0.0> (a, c, zeros, zeros, c)
    }"""
    made = model(text, c=np.ones(3, np.float32), zeros=np.zeros(3, np.float32))
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> z"]
    assert declined(result) == []


# Types


@pytest.mark.parametrize(
    ("kind", "line", "constant"),
    [
        ("int64", "z = Mul(a, c)", np.int64(1)),
        ("int64", "z = Div(a, c)", np.int64([1, 1, 1])),
        ("int32", "z = Add(a, c)", np.int32(0)),
        ("uint8", "z = Sub(a, c)", np.uint8(0)),
        ("float16", "z = Mul(a, c)", np.float16(1)),
        ("double", "z = Mul(a, c)", np.float64(1)),
        ("int32", "z = Pow(a, c)", np.float32(1)),
        ("float", "z = Pow(a, c)", np.int64(1)),
    ],
)
def test_integers_and_mixed_types_are_erased_too(kind: str, line: str, constant: Array) -> None:
    text = f"({kind}[2,3] x) => ({kind}[2,3] z) {{ a = Identity(x)\n {line} }}"
    result = fuse(model(text, c=constant))
    assert nodes(result.model) == ["-: Identity(x) -> z"]
    assert declined(result) == []


@pytest.mark.parametrize("number", [0, 2, -1, 2**62])
def test_integer_products_that_change_something_stay(number: int) -> None:
    made = model("(int64[2,3] x) => (int64[2,3] z) { z = Mul(x, c) }", c=np.int64(number))
    result = fuse(made)
    assert result.model == made


def test_a_double_next_to_one_is_not_one() -> None:
    for number in (np.nextafter(1.0, 2.0), np.nextafter(1.0, 0.0)):
        for operator in ("Mul", "Div"):
            made = model(
                f"(double[2] x) => (double[2] z) {{ z = {operator}(x, c) }}", c=np.float64(number)
            )
            assert fuse(made).model == made


# Names and outputs


def test_from_input_straight_to_output_both_keep_their_names() -> None:
    made = model("(float[2,3] x) => (float[2,3] z) { [one] z = Mul(x, c) }", c=ONE)
    result = fuse(made)
    assert nodes(result.model) == ["one: Identity(x) -> z"]
    assert [each.name for each in result.model.graph.input] == ["x"]
    assert [each.name for each in result.model.graph.output] == ["z"]
    assert fused(result) == [("identity-scale", "one")]
    assert result.report.fused[0].into == ["one"]


def test_a_value_that_is_an_output_already_keeps_its_name() -> None:
    made = model(
        "(float[2,3] x) => (float[2,3] a, float[2,3] z) { a = Relu(x)\n [one] z = Mul(a, c) }",
        c=ONE,
    )
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> a", "one: Identity(a) -> z"]


def test_a_chain_down_to_an_output_leaves_one_node() -> None:
    lines = "\n".join(f"v{i + 1} = Add(v{i}, zero)" for i in range(9))
    made = model(
        f"(float[2] x) => (float[2] z) {{ v0 = Relu(x)\n {lines}\n z = Mul(one, v9) }}",
        one=ONE,
        zero=ZERO,
    )
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> z"]
    assert len(result.report.fused) == 10


def test_an_output_listed_twice_stays_listed_twice() -> None:
    made = model(
        "(float[2] x) => (float[2] z, float[2] z) { a = Relu(x)\n z = Mul(a, one) }", one=ONE
    )
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> z"]
    assert [each.name for each in result.model.graph.output] == ["z", "z"]


def test_other_readers_follow_and_the_value_may_have_many() -> None:
    made = model(
        """(float[2] x) => (float[2] z, float[2] q, float[2] r) {
            a = Relu(x)
            [one] b = Mul(a, one)
            z = Sigmoid(b)
            q = Add(b, b)
            r = Neg(a)
        }""",
        one=ONE,
    )
    assert nodes(fuse(made).model) == [
        "-: Relu(x) -> a",
        "-: Sigmoid(a) -> z",
        "-: Add(a, a) -> q",
        "-: Neg(a) -> r",
    ]


def test_a_reader_may_leave_outputs_out() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] z) {
            a = Relu(x)
            b = Mul(a, one)
            [bn] z = BatchNormalization(b, c, c, c, c)
        }""",
        opset=9,
        one=ONE,
        c=np.ones(3, np.float32),
    )
    made.graph.node[2].output.extend(["", "", "", ""])
    result = fuse(made)
    assert fused(result) == [("identity-scale", "node_of_b")]
    assert list(result.model.graph.node[1].input) == ["a", "c", "c", "c", "c"]


def test_a_body_that_reads_the_erased_value_reads_its_input() -> None:
    made = model(
        """(float[2] x, bool which) => (float[2] z) {
            a = Relu(x)
            [one] b = Mul(a, one)
            [choose] z = If (which) <
                then_branch = then () => (float[2] p) { p = Add(a, b) },
                else_branch = other () => (float[2] q) { q = Neg(b) }
            >
        }""",
        one=ONE,
    )
    result = fuse(made)
    assert nodes(result.model) == ["-: Relu(x) -> a", "choose: If(which) -> z"]
    assert nodes(body(result.model, "choose", "then_branch")) == ["-: Add(a, a) -> p"]
    assert nodes(body(result.model, "choose", "else_branch")) == ["-: Neg(a) -> q"]


def test_a_body_may_hold_an_identity_scale_of_a_captured_value() -> None:
    made = model(
        """(float[2] x, bool which) => (float[2] z) {
            [choose] z = If (which) <
                then_branch = then () => (float[2] p) { [one] p = Mul(x, one) },
                else_branch = other () => (float[2] q) { r = Add(zero, x)
                    q = Neg(r) }
            >
        }""",
        one=ONE,
        zero=ZERO,
    )
    result = fuse(made)
    assert nodes(body(result.model, "choose", "then_branch")) == ["one: Identity(x) -> p"]
    assert nodes(body(result.model, "choose", "else_branch")) == ["-: Neg(x) -> q"]
    assert constants(result.model) == {}


def test_a_name_that_moves_up_stays_clear_of_names_in_bodies() -> None:
    # `z` comes after the If, whose body may use the name for a value of its own.
    made = model(
        """(float[2] x, bool which) => (float[2] z, float[2] q) {
            a = Relu(x)
            [choose] q = If (which) <
                then_branch = then () => (float[2] p) { z = Neg(x)
                    p = Abs(z) },
                else_branch = other () => (float[2] o) { o = Abs(x) }
            >
            [one] z = Mul(a, one)
        }""",
        one=ONE,
    )
    fresh = fuse(made).model
    # Building it anew runs the checker of onnx, which refuses a name that is taken.
    assert nodes(fresh)[0] == "-: Relu(x) -> z"
    then = body(fresh, "choose", "then_branch")
    (hidden,) = then.node[0].output
    assert hidden != "z"
    assert list(then.node[1].input) == [hidden]


def test_value_infos_of_names_that_are_gone_go_too() -> None:
    made = model(BETWEEN.format(line="b = Mul(a, one)"), one=ONE)
    for name in ("a", "b"):
        info = made.graph.value_info.add(name=name)
        info.type.CopyFrom(made.graph.input[0].type)
    result = fuse(made)
    assert [info.name for info in result.model.graph.value_info] == ["a"]


def test_an_initializer_times_one_is_a_constant_again() -> None:
    made = model(
        """(float[1,1,2,2] x) => (float[1,1,2,2] z) {
            w = Mul(w0, one)
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, two)
        }""",
        w0=np.full((1, 1, 1, 1), 3, np.float32),
        one=ONE,
        two=np.float32(2),
    )
    result = fuse(made)
    assert nodes(result.model) == ["conv: Conv(x, w0_fused) -> z"]
    assert constants(result.model)["w0_fused"].item() == 6


def test_an_output_that_is_a_constant_keeps_its_name() -> None:
    made = model("() => (float z) { z = Mul(c, one) }", c=np.float32(3), one=ONE)
    result = fuse(made)
    assert nodes(result.model) == ["-: Identity(c) -> z"]


@pytest.mark.parametrize("stored", [False, True])
def test_the_bias_that_a_chain_cancels_is_erased_in_the_same_run(stored: bool) -> None:
    # Two scales become an Add of zeros after a product of three dimensions, whose shape is known
    # without inference where its input is an initializer.
    made = model(
        f"""(float[2,3,4] {"other" if stored else "x"}) => (float[2,3,2] z, float[?,?,?] q) {{
            [product] a = MatMul(x, w)
            [plus] b = Add(a, t)
            [minus] z = Sub(b, t)
            [relu] q = Relu({"other" if stored else "x"})
        }}""",
        w=np.ones((4, 2), np.float32),
        t=np.float32([1, 2]),
        **({"x": np.ones((2, 3, 4), np.float32)} if stored else {}),
    )
    result = fuse(made, verify="none")
    assert nodes(result.model)[0] == "product: MatMul(x, w) -> z"
    assert fused(result)[-1][0] == "identity-scale"
    assert declined(result) == []
