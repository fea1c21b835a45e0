"""Nodes seen as (x * scale + shift) ^ power."""

from __future__ import annotations

import numpy as np
import pytest
from models import model, node, value

from trtfuse.interop.reading import read_model
from trtfuse.layers.scale import Factor, Scale, not_constant
from trtfuse.model.model import Model

C = np.float32([2, 4])


def seen(line: str, inputs: str = "float[3,2] x", **given: object) -> Scale | str | None:
    text = f"({inputs}) => (float[3,2] z) {{ [scale] {line} }}"
    read = read_model(model(text, **{"c": C, **given}))  # type: ignore[arg-type]
    return Scale.of(node(read, "scale"))


def numbers(factor: Factor | None) -> object:
    return None if factor is None else factor.numbers().tolist()


@pytest.mark.parametrize(
    ("line", "scale", "shift", "power"),
    [
        ("z = Mul(x, c)", [2, 4], None, None),
        ("z = Mul(c, x)", [2, 4], None, None),
        ("z = Div(x, c)", [0.5, 0.25], None, None),
        ("z = Add(x, c)", None, [2, 4], None),
        ("z = Add(c, x)", None, [2, 4], None),
        ("z = Sub(x, c)", None, [-2, -4], None),
        ("z = Sub(c, x)", -1, [2, 4], None),
        ("z = Neg(x)", -1, None, None),
        ("z = Pow(x, c)", None, None, [2, 4]),
    ],
)
def test_the_spellings_of_a_scale(line: str, scale: object, shift: object, power: object) -> None:
    found = seen(line)
    assert isinstance(found, Scale)
    assert found.x.name == "x"
    assert found.nodes == (found.node,)
    assert numbers(found.scale) == scale
    assert numbers(found.shift) == shift
    assert numbers(found.power) == power
    assert len(found.factors) == 3 - (scale, shift, power).count(None)


@pytest.mark.parametrize(
    "line", ["z = Div(c, x)", "z = Pow(c, x)", "z = Mul(x, x)", "z = Sub(x, v)"]
)
def test_what_is_no_scale(line: str) -> None:
    assert seen(line, "float[3,2] x, float[2] v") is None


def test_of_two_constants_the_second_is_the_factor() -> None:
    for line in ("z = Mul(d, c)", "z = Add(d, c)", "z = Sub(d, c)"):
        found = seen(line, d=np.ones((3, 2), np.float32))
        assert isinstance(found, Scale)
        assert found.x.name == "d"
        assert found.factors[0].name == "c"


def test_a_batch_normalization_has_a_number_for_each_channel() -> None:
    found = seen(
        "z = BatchNormalization <epsilon = 1.0> (x, c, d, m, v)",
        d=np.float32([1, 2]),
        m=np.float32([3, 4]),
        v=np.float32([0, 3]),
    )
    assert isinstance(found, Scale)
    assert found.scale is not None
    assert found.shift is not None
    assert found.scale.per_channel
    assert found.shift.per_channel
    assert (found.scale.name, found.shift.name) == ("c", "d")
    assert numbers(found.scale) == [2, 2]
    assert numbers(found.shift) == [1 - 3 * 2, 2 - 4 * 2]


def test_the_epsilon_is_the_float32_number_next_to_the_decimal() -> None:
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)
    found = seen("z = BatchNormalization(x, o, n, n, n)", o=ones, n=zeros)
    assert isinstance(found, Scale)
    assert numbers(found.scale) == [1 / np.sqrt(np.float64(np.float32(1e-5)))] * 2


def test_a_division_by_zero_is_infinite_without_a_warning() -> None:
    found = seen("z = Div(x, c)", c=np.float32([0, -0.0]))
    assert isinstance(found, Scale)
    assert numbers(found.scale) == [np.inf, -np.inf]


@pytest.mark.parametrize(
    ("line", "given", "identity"),
    [
        ("z = Mul(x, c)", [1, 1], True),
        ("z = Mul(x, c)", [1, 2], False),
        ("z = Add(x, c)", [0, 0], True),
        ("z = Sub(x, c)", [-0.0, 0.0], True),
        ("z = Sub(c, x)", [0, 0], False),
        ("z = Pow(x, c)", [1, 1], True),
        ("z = Pow(x, c)", [1, 0], False),
        ("z = Neg(x)", [1, 1], False),
    ],
)
def test_an_identity_has_only_neutral_numbers(
    line: str, given: list[float], identity: bool
) -> None:
    found = seen(line, c=np.float32(given))
    assert isinstance(found, Scale)
    assert found.is_identity() is identity


# Factors


def factor(*shape: int, per_channel: bool = False) -> Factor:
    return Factor("c", shape, lambda: np.ones(shape), per_channel)


@pytest.mark.parametrize(
    ("shape", "axis", "rank", "channels", "fits"),
    [
        ((), 1, 4, 3, True),
        ((1, 1), 1, 4, 3, True),
        ((3, 1, 1), 1, 4, 3, True),
        ((1, 3, 1, 1), 1, 4, 3, True),
        ((3,), 1, 4, 3, False),
        ((3, 1), 1, 4, 3, False),
        ((3, 3, 1, 1), 1, 4, 3, False),
        ((1, 3, 1, 3), 1, 4, 3, False),
        ((2, 1, 1), 1, 4, 3, False),
        ((2, 1, 1), 1, 4, 1, False),
        ((0, 1, 1), 1, 4, 3, False),
        ((3,), 2, 3, 3, True),
        ((3, 1), 2, 3, 3, False),
        ((3, 1), 0, 2, 3, True),
    ],
)
def test_one_number_for_each_channel(
    shape: tuple[int, ...], axis: int, rank: int, channels: int, fits: bool
) -> None:
    why = factor(*shape).not_one_per_channel(axis, rank, channels)
    assert why == (
        None if fits else f"`c` has shape {list(shape)}, not one value per channel ({channels})"
    )


def test_a_factor_of_higher_rank_is_none_of_a_channel() -> None:
    why = factor(1, 1, 3).not_one_per_channel(1, 2, 3)
    assert why == "`c` has shape [1, 1, 3], of more than 2 dimensions"


def test_a_factor_per_channel_is_one_of_axis_1() -> None:
    normalized = factor(3, per_channel=True)
    assert normalized.not_one_per_channel(1, 4, 3) is None
    assert normalized.not_one_per_channel(2, 3, 3) == (
        "it normalizes axis 1, and the channels are on axis 2 of 3"
    )


@pytest.mark.parametrize(
    ("of", "shape", "sentence"),
    [
        ("2,3", (), None),
        ("2,3", (1, 1), None),
        ("2,3", (2, 3), None),
        ("N,3", (1, 3), None),
        ("N,3", (2, 3), "`c` has shape [2, 3], which may broadcast `x` of shape [N, 3]"),
        ("?,1", (3,), "`c` has shape [3], which may broadcast `x` of shape [?, 1]"),
        ("3", (1, 1), "`c` has shape [1, 1], of more dimensions than `x` (1)"),
    ],
)
def test_whether_a_factor_keeps_the_shape(
    of: str, shape: tuple[int, ...], sentence: str | None
) -> None:
    read = read_model(model(f"(float[{of}] x) => (float[{of}] z) {{ z = Relu(x) }}"))
    assert factor(*shape).broadcasts(value(read, "x")) == sentence


def open_rank() -> Model:
    return read_model(
        model(
            "(float[4] x, int64[n] shape) => (float[?] z) { y = Reshape(x, shape)\n z = Relu(y) }"
        )
    )


def test_of_an_open_rank_the_rank_of_the_result_may_tell() -> None:
    y = value(open_rank(), "y")
    unknown = "`c` has shape [1, 1] and the rank of `y` is not known"
    assert factor().broadcasts(y) is None
    assert factor(1, 1).broadcasts(y) == unknown
    assert factor(1, 1).broadcasts(y, result_rank=2) == unknown
    assert factor(1, 1).broadcasts(y, result_rank=3) is None
    assert factor(2, 1).broadcasts(y, result_rank=3) == (
        "`c` has shape [2, 1], which may broadcast `y` of shape [?, ?, ?]"
    )
    assert factor(2, per_channel=True).broadcasts(y) is None


def test_why_a_value_is_no_constant() -> None:
    made = model(
        """(float[2] x, float[2] c, bool which) => (float[2] z) {
            [relu] y = Relu(x)
            [choose] z = If (which) <
                then_branch = then () => (float[2] p) { [inner] p = Add(y, c) },
                else_branch = other () => (float[2] q) { [outer] q = Add(x, missing) }
            >
        }""",
        c=C,
        missing=C,
    )
    made.graph.sparse_initializer.add().values.name = "unused"
    read = Model(made)
    inner, outer = node(read, "inner"), node(read, "outer")
    y, c = inner.inputs
    x, _ = outer.inputs
    assert y is not None
    assert c is not None
    assert x is not None
    assert not_constant(y) == "computed at run time by Relu relu, not a constant"
    assert not_constant(x) == "an input of the graph, not a constant"
    assert not_constant(c) == (
        "an initializer that is a graph input too, which a caller may override"
    )
    (sparse,) = read.graph.sparse
    assert not_constant(sparse) == "not a constant"
