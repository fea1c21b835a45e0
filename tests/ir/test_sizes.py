"""What tensors of sizes hold, number by number and symbol by symbol."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite
from hypothesis import given
from hypothesis import strategies as st
from models import model, value
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

from trtfuse.ir.model import Model
from trtfuse.ir.products import Dim, Product, Size
from trtfuse.ir.sizes import sizes

LONGEST = np.iinfo(np.int64).max

#: Operands that calls may name.
OPERANDS: dict[str, Any] = {
    "zero": np.array(0),
    "first": np.array([0]),
    "last": np.array([-1]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "back": np.array([-1]),
    "end": np.array([LONGEST]),
    "start": np.array([-LONGEST]),
    "none": np.array([], np.int64),
    "pair": np.array([[0, 1]]),
    "far": np.array([7]),
    "narrow": np.array([3], np.int32),
    "six": np.array([6]),
    "half": np.float32(0.5),
    "one_and_a_half": np.float32(1.5),
    "tenth": np.float32(0.1),
    "twofold": np.float32(2),
    "bits": np.float32(257),
}


def read(calls: str, kind: str = "int64[?] y", opset: int = 21, **more: Any) -> Model:
    """A model of x: [n, 3, ?, 8] and of the operands that the calls name."""
    words = calls.replace("(", " ").replace(")", " ").replace(",", " ").split()
    given = {name: each for name, each in (OPERANDS | more).items() if name in words}
    return Model(model(f"(float[n,3,?,8] x) => ({kind}) {{ {calls} }}", opset=opset, **given))


def held(read: Model, name: str = "y") -> tuple[Size, ...] | None:
    return sizes(value(read, name))


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("y = Shape<start=1, end=2>(x)", (3,)),
        ("y = Shape<start=-1>(x)", (8,)),
        ("y = Shape<end=2>(x)", ("n", 3)),
        ("s = Shape(x) y = Gather(s, first)", ("n",)),
        ("s = Shape(x) y = Gather(s, last)", (8,)),
        ("s = Shape(x) y = Slice(s, first, two)", ("n", 3)),
        ("s = Shape(x) y = Slice(s, one, end, first, two)", (3, 8)),
        ("s = Shape<end=2>(x) y = Slice(s, last, start, first, back)", (3, "n")),
        # It begins at the first one, as ONNX has it.
        ("s = Shape(x) y = Slice(s, start, start, first, back)", ("n",)),
        ("s = Shape<end=2>(x) y = Concat<axis=0>(s, two, s)", ("n", 3, 2, "n", 3)),
        ("s = Shape(x) g = Gather(s, zero) y = Unsqueeze(g, first)", ("n",)),
        ("s = Shape<end=1>(x) g = Squeeze(s) y = Reshape(g, back)", ("n",)),
        ("s = Shape<end=2>(x) y = Identity(s)", ("n", 3)),
        ("s = Shape<start=1, end=2>(x) y = Add(s, two)", (5,)),
        ("s = Shape<start=1, end=2>(x) y = Sub(two, s)", (-1,)),
        ("s = Shape<start=3>(x) y = Div(s, three)", (2,)),
        ("s = Shape<end=2>(x) y = Mul(s, two)", (Product(2, ("n",)), 6)),
        ("s = Shape<start=3>(x) m = Sub(two, s) y = Div(m, two)", (-3,)),
        ("s = Shape<start=3>(x) m = Sub(two, s) d = Add(m, one) y = Div(d, two)", (None,)),
        ("s = Shape<start=3>(x) y = Div(s, first)", (None,)),
        ("r = Reshape(x, three_sizes) t = Size(r) y = Unsqueeze(t, first)", (24,)),
    ],
)
def test_sizes_follow_the_arithmetic_of_shapes(calls: str, expected: tuple[Size, ...]) -> None:
    made = read(calls, three_sizes=np.array([2, 3, 4]))
    assert held(made) == expected


#: The size n of x, and the sizes n and 8, as floats.
FLOAT = "b = Shape<end=1>(x) f = Cast<to=1>(b) "
BOTH = "b = Shape(x) g = Gather(b, ends) f = Cast<to=1>(g) "


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (f"{FLOAT} y = Cast<to=7>(f)", ("n",)),
        (f"{FLOAT} m = Mul(f, twofold) y = Cast<to=7>(m)", (Product(2, ("n",)),)),
        (f"{FLOAT} m = Mul(f, twofold) r = Floor(m) y = Cast<to=7>(r)", (Product(2, ("n",)),)),
        (f"{FLOAT} m = Mul(f, twofold) r = Ceil(m) d = Div(r, f) y = Cast<to=7>(d)", (2,)),
        (f"{FLOAT} m = Mul(f, half) d = Div(m, half) y = Cast<to=7>(d)", ("n",)),
        (f"{BOTH} m = Mul(f, half) r = Round(m) y = Cast<to=7>(r)", (None, 4)),
        (f"{BOTH} m = Mul(f, one_and_a_half) y = Cast<to=7>(m)", (None, 12)),
        # What a float does not hold exactly is rounded at run time.
        (f"{FLOAT} m = Mul(f, tenth) d = Div(m, tenth) y = Cast<to=7>(d)", (None,)),
        (f"{FLOAT} m = Mul(f, bits) y = Cast<to=7>(m)", (None,)),
        ("f = Cast<to=1>(inexact) y = Cast<to=7>(f)", (2**24,)),
        ("h = Cast<to=10>(even) y = Cast<to=7>(h)", (4096,)),
        ("b = Shape<end=1>(x) h = Cast<to=10>(b) y = Cast<to=7>(h)", (None,)),
        ("b = Shape<end=1>(x) d = Cast<to=11>(b) y = Cast<to=7>(d)", ("n",)),
    ],
)
def test_floats_are_followed_where_they_hold_the_sizes(
    calls: str, expected: tuple[Size, ...]
) -> None:
    made = read(calls, ends=np.array([0, 3]), inexact=np.array([2**24 + 1]), even=np.array([4096]))
    assert held(made) == expected


#: The sizes n, 3 and 8.
THREE = "b = Shape(x) s = Gather(b, which) "


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("m = Mul(s, two) y = Div(m, two)", ("n", 3, 8)),
        ("m = Mul(s, s) y = Div(m, s)", ("n", 3, 8)),
        ("m = Mul(s, six) y = Div(m, s)", (6, 6, 6)),
        ("y = Div(s, two)", (None, 1, 4)),
        ("y = Add(s, s)", (Product(2, ("n",)), 6, 16)),
        ("y = Sub(s, s)", (0, 0, 0)),
        ("z = Sub(s, s) y = Add(z, s)", ("n", 3, 8)),
        ("y = Add(s, one)", (None, 4, 9)),
        ("m = Mul(s, six) y = Mod(m, three)", (0, 0, 0)),
        ("y = Mod(s, three)", (None, 0, 2)),
        ("y = Neg(s)", (Product(-1, ("n",)), -3, -8)),
        ("t = Neg(s) y = Abs(t)", ("n", 3, 8)),
        ("y = Max(s, six)", (None, 6, 8)),
        ("y = Max(s, back)", ("n", 3, 8)),
        ("y = Min(s, six, s)", (None, 3, 6)),
        ("y = Min(s, first)", (0, 0, 0)),
        ("k = Equal(s, back) y = Where(k, one, s)", ("n", 3, 8)),
        ("k = Equal(s, three) y = Where(k, one, s)", (None, 1, 8)),
        ("k = Equal(s, s) y = Cast<to=7>(k)", (1, 1, 1)),
        ("l = Shape(s) o = ConstantOfShape<value=int64[1] {1}>(l) m = Mul(o, back) "
         "k = Equal(s, m) y = Where(k, o, s)", ("n", 3, 8)),
        ("y = ReduceProd(s)", (Product(24, ("n",)),)),
        ("y = ReduceProd(s, first)", (Product(24, ("n",)),)),
        ("g = Slice(s, one, three) y = ReduceSum(g, first)", (11,)),
        ("g = Slice(s, one, three) y = ReduceMax(g)", (8,)),
        ("y = ReduceMin(s)", (None,)),
        ("g = Slice(s, first, two) y = Tile(g, two)", ("n", 3, "n", 3)),
        ("g = Slice(s, first, one) y = Expand(g, two)", ("n", "n")),
        ("y = Expand(s, one)", ("n", 3, 8)),
        ("p, y = Split(s, parts)", (3, 8)),
        ("y, p = Split(s, parts)", ("n",)),
    ],
)  # fmt: skip
def test_arithmetic_of_open_sizes(calls: str, expected: tuple[Size, ...]) -> None:
    which = np.array([0, 1, 3])
    made = read(f"{THREE} {calls}", which=which, parts=np.array([1, 2]))
    assert held(made) == expected


def test_a_dimension_without_a_symbol_is_the_dimension_of_its_value() -> None:
    made = Model(
        model("(float[n,3] x, int64[2] s) => (int64[2] y) { r = Expand(x, s) y = Shape(r) }")
    )
    found = held(made)
    assert found is not None
    r = value(made, "r")
    expected = tuple(Dim(r, i) if size is None else size for i, size in enumerate(r.shape or ()))
    assert found == expected
    assert len(found) == 2
    assert "n" not in found


@pytest.mark.parametrize(
    "calls",
    [
        "s = Shape(x) g = Gather(s, pair) y = ReduceSum<keepdims=0>(g, first)",
        "s = Shape(x) g = Gather(s, pair) y = Reshape(g, back)",
    ],
)
def test_of_what_was_a_matrix_nothing_is_known_but_the_count(calls: str) -> None:
    assert held(read(calls)) == (None, None)


def test_a_number_that_its_type_cannot_hold_is_not_known() -> None:
    calls = "s = Shape<start=1, end=2>(x) y = Mul(s, huge)"
    assert held(read(calls, huge=np.array([LONGEST]))) == (None,)
    calls = "c = Cast<to=6>(huge) y = Cast<to=7>(c)"
    assert held(read(calls, huge=np.array([2**40]))) == (None,)
    assert held(read("c = Cast<to=6>(s) y = Cast<to=7>(c)", s=np.array([2**30]))) == (2**30,)


def test_what_is_too_long_for_a_shape_is_not_followed() -> None:
    assert held(read("y = Concat<axis=0>(s, s)", s=np.ones(32, np.int64))) == (1,) * 64
    assert held(read("y = Concat<axis=0>(s, s, one)", s=np.ones(32, np.int64))) is None


@pytest.mark.parametrize(
    "calls",
    [
        "s = Shape(x) e = Slice(s, two, two) y = Mul(e, e)",
        "s = Shape(x) e = Slice(s, two, two) y = Add(e, two)",
        "s = Shape(x) y = Gather(s, none)",
    ],
)
def test_no_sizes_at_all_are_none(calls: str) -> None:
    assert held(read(calls, kind="int64[0] y")) == ()


def test_a_slice_along_no_axes_is_not_followed() -> None:
    assert held(read("s = Shape<end=2>(x) y = Slice(s, none, none, none)")) == (None, None)


def test_before_opset_10_the_limits_of_a_slice_are_attributes() -> None:
    made = read("s = Shape(x) y = Slice<starts=[-1], ends=[9]>(s)", opset=9)
    assert held(made) == (8,)
    made = read("s = Shape(x) y = Slice<axes=[0], starts=[0], ends=[2]>(s)", opset=9)
    assert held(made) == ("n", 3)


def test_numbers_that_are_no_sizes_are_not_followed() -> None:
    made = Model(model("(float[2] x) => (float[4] y) { y = Concat<axis=0>(x, x) }"))
    assert held(made) is None


def test_an_initializer_that_a_caller_may_override_is_not_known() -> None:
    made = model("(float[4] x, int64[1] s) => (int64[1] y) { y = Identity(s) }", s=np.array([2]))
    assert held(Model(made)) == (None,)


def test_sums_of_sums_take_no_time() -> None:
    # Of 40 doublings every path is another one, and there are a million million of them.
    steps = "".join(f"a{i + 1} = Add(a{i}, a{i}) " for i in range(40))
    made = read(f"a0 = Shape<start=3>(x) {steps} y = Identity(a40)")
    start = time.process_time()
    assert held(made) == (8 * 2**40,)
    assert time.process_time() - start < 3


def test_sums_that_are_too_many_come_to_an_end() -> None:
    steps = "".join(f"a{i + 1} = Add(a{i}, zero) " for i in range(3000))
    made = read(f"a0 = Shape<start=3>(x) {steps} y = Identity(a3000)")
    start = time.process_time()
    assert held(made) == (None,)
    assert time.process_time() - start < 3


def draw_calls(draw: Any) -> tuple[list[str], list[str]]:
    """Lines that compute vectors of integers, each from those before, and the names of these."""
    lines, names = ["v0 = Shape(x)"], ["v0"]
    for index in range(1, draw(st.integers(2, 9))):
        a, b = (draw(st.sampled_from(names)) for _ in range(2))
        numbers = [draw(st.integers(-5, 5)), draw(st.integers(-5, 5)), draw(st.integers(1, 3))]
        numbers[2] *= draw(st.sampled_from((1, 1, -1)))
        low, high, step = (f"c{index}_{i}" for i in range(3))
        lines += [
            f"{name} = Constant<value=int64[1] {{{number}}}>()"
            for name, number in zip((low, high, step), numbers, strict=True)
        ]
        factor = draw(st.sampled_from((0.5, 2.0, 3.0, 1.5, 0.1)))
        rounding = draw(st.sampled_from(("Floor", "Ceil", "Round", "Identity")))
        floats = (
            f"f{index} = Cast<to=1>({a}) k{index} = Constant<value_float={factor}>() "
            f"m{index} = Mul(f{index}, k{index}) r{index} = {rounding}(m{index}) "
        )
        v = f"v{index}"
        lines.append(
            draw(
                st.sampled_from(
                    (
                        f"{v} = Concat<axis=0>({a}, {b})",
                        f"{v} = Slice({a}, {low}, {high}, axis, {step})",
                        f"{v} = Slice({a}, {low}, {high})",
                        f"{v} = Mul({a}, {low})",
                        f"{v} = Mul({a}, {a})",
                        f"{v} = Add({a}, {a})",
                        f"{v} = Add({a}, {high})",
                        f"{v} = Sub({low}, {a})",
                        f"{v} = Sub({a}, {a})",
                        f"{v} = Reshape({a}, back)",
                        f"{v} = ReduceProd({a})",
                        f"{v} = Max({a}, {low})",
                        f"{v} = Min({a}, {low})",
                        f"{v} = Abs({a})",
                        f"{v} = Neg({a})",
                        f"t{index} = Abs({a}) u{index} = Abs({step}) {v} = Div(t{index}, u{index})",
                        f"t{index} = Abs({a}) u{index} = Abs({step}) {v} = Mod(t{index}, u{index})",
                        f"t{index} = Mul({a}, {step}) {v} = Div(t{index}, {step})",
                        f"t{index} = Equal({a}, {low}) {v} = Where(t{index}, {high}, {a})",
                        f"n{index} = Cast<to=6>({a}) {v} = Cast<to=7>(n{index})",
                        f"{floats} {v} = Cast<to=7>(r{index})",
                        f"{floats} d{index} = Div(r{index}, k{index}) {v} = Cast<to=7>(d{index})",
                    )
                )
            )
        )
        names.append(v)
    return lines, names


@st.composite
def arithmetic(draw: Any) -> tuple[ModelProto, list[int | str]]:
    lines, names = draw_calls(draw)
    sizes = st.sampled_from((0, 1, 2, 3, 4, "n", "m"))
    shape = draw(st.lists(sizes, min_size=1, max_size=4))
    text = (
        f"(float[{','.join(map(str, shape))}] x) => (int64[?] {names[-1]})"
        "<int64[1] axis = {0}, int64[1] back = {-1}>"
        f"{{ {' '.join(lines)} }}"
    )
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 21]> drawn {text}')
    for name in names[:-1]:
        made.graph.output.append(onnx.helper.make_tensor_value_info(name, 7, ["?"]))
    return made, shape


def at(size: Size, real: dict[Any, int]) -> Any:
    """A size where the dimensions have these sizes."""
    if isinstance(size, Product):
        return size.number * math.prod(real[each] for each in size.of)
    return real.get(size, size)


@given(arithmetic())
def test_what_is_known_is_what_the_tensors_hold_at_any_size(
    drawn: tuple[ModelProto, list[int | str]],
) -> None:
    made, shape = drawn
    names = [output.name for output in made.graph.output]
    read = Model(made)
    known = {name: held(read, name) for name in names}
    for n, m in ((2, 3), (5, 5), (1, 64), (0, 7)):
        real: dict[Any, int] = {"n": n, "m": m}
        x = np.zeros([real.get(size, size) for size in shape], np.float32)
        with np.errstate(divide="ignore"):
            found = ReferenceEvaluator(made).run(None, {"x": x})
        for name, expected in zip(names, found, strict=True):
            sizes = known[name]
            if sizes is not None:
                assert len(sizes) == len(expected), name
                pairs = zip(sizes, expected.tolist(), strict=True)
                assert all(size is None or at(size, real) == number for size, number in pairs), (
                    name,
                    sizes,
                    expected,
                )


def test_a_number_too_large_for_its_type_does_not_stop_the_work() -> None:
    made = read("c = Cast<to=6>(huge) d = Cast<to=7>(c) y = Neg(d)", huge=np.array([2**40]))
    result = rewrite(made.proto)
    assert [node.op_type for node in result.model.graph.node] == ["Cast", "Cast", "Neg"]
