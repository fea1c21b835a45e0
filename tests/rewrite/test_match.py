"""How far a pattern goes where it does not match."""

from __future__ import annotations

import numpy as np
import pytest
from models import model, value
from onnx import ModelProto

from trtfuse.ir.graph import Value
from trtfuse.layers.linear import FullyConnected
from trtfuse.layers.scale import Scale
from trtfuse.model.model import Model
from trtfuse.rewrite.match import Lack, NearMatch
from trtfuse.rewrite.pattern import Match, Pattern, const, given, op, rest, seen_as, var

TEXT = """(float[2,2] x, float[2,2] v) => (float[2,2] z, float[4,2] q) {
    [neg] a = Neg(x)
    [relu] b = Relu(a)
    [scale] c = Mul(b, s)
    [tanh] z = Tanh(c)
    [pair] d = Add(b, x)
    [both] q = Concat<axis=0>(d, c)
}"""


@pytest.fixture
def proto() -> ModelProto:
    return model(TEXT, s=np.float32(2))


def at(proto: ModelProto, name: str) -> Value:
    return value(Model(proto), name)


def told(near: NearMatch) -> tuple[list[str], int, int, tuple[str, ...]]:
    return [node.label for node in near.nodes], near.layers, near.missing, near.because


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        (
            op.Tanh(op.Mul(op.Relu(var("x")), const("s"))),
            "z",
            (["tanh", "scale", "relu"], 3, 0, ()),
        ),
        (
            op.Tanh(op.Mul(op.Sigmoid(var("x")), const("s"))),
            "z",
            (["tanh", "scale"], 2, 1, ("`b` is computed by Relu relu, not by Sigmoid",)),
        ),
        (
            op.Tanh(op.Mul(const("s"), op.Relu(var("x")), commutes=True)),
            "z",
            (["tanh", "scale", "relu"], 3, 0, ()),
        ),
        (
            op.Relu(op.Neg(op.Exp(var("x")))),
            "b",
            (["relu", "neg"], 2, 1, ("`x` is an input of the graph, not computed by Exp",)),
        ),
        (
            op.Mul(op.Relu(var("x")), const("s", where=lambda c: c.array() == 3)),
            "c",
            (["scale", "relu"], 2, 0, ("`s` = 2.0 is not the constant that the rule needs",)),
        ),
        (
            op.Add(op.Relu(var("x")), const("s")),
            "d",
            (["pair", "relu"], 2, 0, ("`x` is an input of the graph, not a constant",)),
        ),
        (
            op.Add(var("y"), op.Exp(var("y"))),
            "d",
            (["pair"], 1, 1, ("`x` is an input of the graph, not computed by Exp",)),
        ),
        (
            op.Concat(rest("parts", op.Mul(var("x"), const("s"))), axis=0),
            "q",
            (["both", "scale"], 2, 1, ("`d` is computed by Add pair, not by Mul",)),
        ),
        (
            op.Concat(rest("parts"), axis=1),
            "q",
            ([], 0, 1, ("the attribute axis of Concat both is 0",)),
        ),
        (op.Add(var("y")), "d", ([], 0, 1, ("Add pair has more than 1 input",))),
        (
            seen_as(Scale, "s", seen_as(FullyConnected, "fc", var("x"))),
            "c",
            (
                ["scale"],
                1,
                1,
                ("`b` is computed by Relu relu, not by a Gemm or MatMul by constant weights",),
            ),
        ),
        (
            op.Tanh(op.Exp(var("x")) | op.Mul(op.Exp(var("x")), const("s"))),
            "z",
            (["tanh", "scale"], 2, 1, ("`b` is computed by Relu relu, not by Exp",)),
        ),
        (
            op.Tanh(op.Exp(var("x")) | op.Sigmoid(var("x"))),
            "z",
            (["tanh"], 1, 1, ("`c` is computed by Mul scale, not by Exp or Sigmoid",)),
        ),
    ],
)
def test_what_is_there_and_what_is_not(
    proto: ModelProto,
    pattern: Pattern,
    name: str,
    expected: tuple[list[str], int, int, tuple[str, ...]],
) -> None:
    assert told(pattern.nearest(at(proto, name))) == expected


def test_where_all_is_there_a_condition_is_named(proto: ModelProto) -> None:
    def never(_: Match) -> bool:
        """The moon is full."""
        return False

    found = given(op.Relu(op.Neg(var("x"))), never).nearest(at(proto, "b"))
    assert told(found) == (["relu", "neg"], 2, 0, ("this does not hold: the moon is full",))
    assert found.condition == "this does not hold: the moon is full"
    unnamed = given(op.Relu(var("x")), lambda _: False).nearest(at(proto, "b"))
    assert unnamed.because == ("a condition of the rule fails",)


def test_the_name_of_an_operator_in_a_condition_keeps_its_capitals(proto: ModelProto) -> None:
    def never(_: Match) -> bool:
        """MatMul is alone."""
        return False

    found = given(op.Relu(var("x")), never).nearest(at(proto, "b"))
    assert found.because == ("this does not hold: MatMul is alone",)


def test_one_name_stands_for_one_value(proto: ModelProto) -> None:
    found = op.Add(op.Relu(var("y")), var("y")).nearest(at(proto, "d"))
    assert found.because == ("its parts are there, but do not read the same values",)
    assert (found.layers, found.missing) == (2, 0)


def test_a_condition_on_a_view_is_named(proto: ModelProto) -> None:
    def is_small(_: Scale) -> bool:
        """It is small."""
        return False

    found = seen_as(Scale, "s", var("x"), where=is_small).nearest(at(proto, "c"))
    assert found.because == ("`c` is computed by Mul scale: it is small",)


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        (var("x"), 0),
        (op.Relu(op.Neg(var("x")), const("c")), 2),
        (seen_as(Scale, "s", seen_as(Scale, "t", var("x"))), 2),
        (op.Relu(op.Neg(var("x"))) | op.Tanh(var("x")), 1),
        (given(op.Split(var("x"))[1], lambda _: True), 1),
        (op.Concat(rest("parts")), 1),
    ],
)
def test_how_many_layers_a_pattern_has(pattern: Pattern, size: int) -> None:
    assert pattern.layers() == size


def test_another_output_of_a_node_is_another_value() -> None:
    proto = model(
        "(float[4] x) => (float[2] y, float[2] z) { [split] y, z = Split<num_outputs=2>(x) }"
    )
    split = op.Split(var("x"), num_outputs=2)
    assert told(split[1].nearest(at(proto, "z"))) == (["split"], 1, 0, ())
    assert split[1].nearest(at(proto, "y")).missing == 1


def near(layers: int, missing: int, *lacks: str) -> NearMatch:
    match = NearMatch()
    match.layers, match.missing, match.lacks = layers, missing, tuple(map(Lack, lacks))
    return match


def test_what_is_closer_comes_first() -> None:
    whole, most = near(3, 0), near(2, 1, "no")
    assert whole.closeness > most.closeness > near(1, 1, "no").closeness
    assert most.closeness > near(2, 1, "no", "nor this").closeness


def test_a_name_that_stands_for_two_values_is_told_only_where_all_is_there(
    proto: ModelProto,
) -> None:
    absent = op.Add(op.Exp(var("y")), var("y")).nearest(at(proto, "d"))
    assert (absent.condition, absent.missing) == (None, 1)
    there = op.Add(op.Relu(var("y")), var("y")).nearest(at(proto, "d"))
    assert there.condition == "its parts are there, but do not read the same values"


def test_another_attribute_is_closer_than_another_operator(proto: ModelProto) -> None:
    made = model(
        "(float[2] x) => (float[2] y) { [gate] h = HardSigmoid<alpha=0.5>(x) y = Mul(h, x) }"
    )
    gate = op.HardSigmoid(var("x"), alpha=0.25)
    near = op.Mul(var("x"), gate, commutes=True).nearest(value(Model(made), "y"))
    assert near.because == ("the attribute alpha of HardSigmoid gate is 0.5",)
