"""What tensors of sizes hold, number by number and symbol by symbol."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import model, value
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

import trtfuse
from trtfuse.ir.model import Model
from trtfuse.ir.sizes import Dim, Size, sizes

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
        ("s = Shape<end=2>(x) y = Concat<axis=0>(s, two, s)", ("n", 3, 2, "n", 3)),
        ("s = Shape(x) g = Gather(s, zero) y = Unsqueeze(g, first)", ("n",)),
        ("s = Shape<end=1>(x) g = Squeeze(s) y = Reshape(g, back)", ("n",)),
        ("s = Shape<end=2>(x) y = Identity(s)", ("n", 3)),
        ("s = Shape<start=1, end=2>(x) y = Add(s, two)", (5,)),
        ("s = Shape<start=1, end=2>(x) y = Sub(two, s)", (-1,)),
        ("s = Shape<start=3>(x) y = Div(s, three)", (2,)),
        ("s = Shape<end=2>(x) y = Mul(s, two)", (None, 6)),
        ("s = Shape<start=3>(x) m = Sub(two, s) y = Div(m, two)", (None,)),
        ("s = Shape<start=3>(x) y = Div(s, first)", (None,)),
        ("r = Reshape(x, three_sizes) t = Size(r) y = Unsqueeze(t, first)", (24,)),
    ],
)
def test_sizes_follow_the_arithmetic_of_shapes(calls: str, expected: tuple[Size, ...]) -> None:
    made = read(calls, three_sizes=np.array([2, 3, 4]))
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


def draw_calls(draw: Any) -> tuple[list[str], int]:
    """Lines that compute vectors v0, v1, ... of integers, each from those before."""
    lines = ["v0 = Shape(x)"]
    for index in range(1, draw(st.integers(2, 8))):
        a, b = (f"v{draw(st.integers(0, index - 1))}" for _ in range(2))
        low, high, step = (
            draw(st.integers(-5, 5)),
            draw(st.integers(-5, 5)),
            draw(st.integers(1, 2)),
        )
        back = draw(st.booleans())
        limits = [low, high, -step if back else step]
        names = [f"c{index}_{i}" for i in range(3)]
        lines += [
            f"{name} = Constant<value=int64[1] {{{number}}}>()"
            for name, number in zip(names, limits, strict=True)
        ]
        operators = (
            f"Concat<axis=0>({a}, {b})",
            f"Slice({a}, {names[0]}, {names[1]}, axis, {names[2]})",
            f"Slice({a}, {names[0]}, {names[1]})",
            f"Mul({a}, {names[0]})",
            f"Add({a}, {names[1]})",
            f"Sub({names[0]}, {a})",
            f"Div({a}, {names[2]})",
            f"Reshape({a}, back)",
            f"Cast<to=6>({a})",
        )
        operator = draw(st.sampled_from(operators))
        if operator.startswith("Cast"):
            lines.append(f"n{index} = {operator} v{index} = Cast<to=7>(n{index})")
        else:
            lines.append(f"v{index} = {operator}")
    return lines, index


@st.composite
def arithmetic(draw: Any) -> tuple[ModelProto, list[int]]:
    lines, last = draw_calls(draw)
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    text = (
        f"(float[{','.join(map(str, shape))}] x) => (int64[?] v{last})"
        "<int64[1] axis = {0}, int64[1] back = {-1}>"
        f"{{ {' '.join(lines)} }}"
    )
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 21]> drawn {text}')
    for index in range(last):
        made.graph.output.append(onnx.helper.make_tensor_value_info(f"v{index}", 7, ["?"]))
    return made, shape


@given(arithmetic())
def test_what_is_known_of_fixed_shapes_is_what_they_hold(
    drawn: tuple[ModelProto, list[int]],
) -> None:
    made, shape = drawn
    names = [output.name for output in made.graph.output]
    found = ReferenceEvaluator(made).run(None, {"x": np.zeros(shape, np.float32)})
    read = Model(made)
    for name, expected in zip(names, found, strict=True):
        known = held(read, name)
        if known is not None:
            assert len(known) == len(expected), name
            pairs = zip(known, expected.tolist(), strict=True)
            assert all(size in (None, number) for size, number in pairs), (name, known, expected)


def test_a_number_too_large_for_its_type_does_not_stop_the_work() -> None:
    made = read("c = Cast<to=6>(huge) d = Cast<to=7>(c) y = Neg(d)", huge=np.array([2**40]))
    result = trtfuse.fuse(made.proto)
    assert [node.op_type for node in result.model.graph.node] == ["Cast", "Cast", "Neg"]
