"""The pattern language: what matches, in how many ways, and what it binds."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from graphs import Drawn, graphs
from hypothesis import settings
from models import model, node, value
from onnx import ModelProto, NodeProto, helper

from trtfuse.errors import UsageError
from trtfuse.ir.graph import Value
from trtfuse.layers.linear import Convolution, FullyConnected
from trtfuse.layers.scale import Scale
from trtfuse.layers.shuffle import Shuffle
from trtfuse.model.model import Model
from trtfuse.rewrite.pattern import Match, Pattern, const, given, op, rest, seen_as, var
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.rule import CATALOGUE, Rule


def read(text: str, opset: int = 21, **constants: object) -> Model:
    return Model(model(text, opset=opset, **constants))  # type: ignore[arg-type]


def ways(
    pattern: Pattern, target: Value, vetoes: list[Reason] | None = None
) -> list[dict[str, str]]:
    """What each way to match binds, by names."""
    matches = pattern.matches(target, Match([] if vetoes is None else vetoes))
    return [
        {name: _shown(thing) for name, thing in match.bound.items() if isinstance(name, str)}
        for match in matches
    ]


def _shown(thing: object) -> str:
    if isinstance(thing, tuple):
        return " ".join(_shown(each) for each in thing)
    return thing.name if isinstance(thing, Value) else str(thing)


TWO = "(float[2] a, float[2] b) => (float[2] z) {{ {} }}"


# Variables and constants


def test_a_name_twice_is_one_value_twice() -> None:
    pattern = op.Add(var("x"), var("x"))
    same = read(TWO.format("z = Add(a, a)"))
    assert ways(pattern, value(same, "z")) == [{"x": "a"}]
    different = read(TWO.format("z = Add(a, b)"))
    assert ways(pattern, value(different, "z")) == []


def test_two_names_may_be_one_value() -> None:
    same = read(TWO.format("z = Add(a, a)"))
    assert ways(op.Add(var("x"), var("y")), value(same, "z")) == [{"x": "a", "y": "a"}]


def test_a_variable_matches_a_constant_but_a_constant_no_variable() -> None:
    graph = read(TWO.format("z = Add(a, c)"), c=np.float32([1, 2]))
    assert ways(op.Add(var("x"), var("y")), value(graph, "z")) == [{"x": "a", "y": "c"}]
    assert ways(op.Add(var("x"), const("c")), value(graph, "z")) == [{"x": "a", "c": "c"}]
    assert ways(op.Add(const("c"), var("x")), value(graph, "z")) == []


def test_a_constant_may_be_made_of_constants() -> None:
    graph = read(
        TWO.format("half = Cast <to = 10> (c)\nc2 = Cast <to = 1> (half)\nz = Add(a, c2)"),
        c=np.float32([0.5, 2]),
    )
    (match,) = op.Add(var("x"), const("c")).matches(value(graph, "z"), Match([]))
    assert match.tensor("c").array().tolist() == [0.5, 2]


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    graph = read(TWO.format("z = Add(a, b)"), b=np.float32([1, 2]))
    assert ways(op.Add(var("x"), const("c")), value(graph, "z")) == []


def test_where_asks_something_of_a_constant() -> None:
    graph = read(TWO.format("z = Add(a, c)"), c=np.float32([1, 2]))
    positive = const("c", where=lambda tensor: bool((tensor.array() > 0).all()))
    assert ways(op.Add(var("x"), positive), value(graph, "z")) == [{"x": "a", "c": "c"}]
    vetoes: list[Reason] = []
    large = const("c", where=lambda tensor: bool((tensor.array() > 1).all()))
    assert ways(op.Add(var("x"), large), value(graph, "z"), vetoes) == []
    assert vetoes == []


# Inputs


def test_operands_that_commute_match_in_both_orders() -> None:
    graph = read(TWO.format("z = Add(a, b)"))
    pattern = op.Add(var("x"), var("y"), commutes=True)
    assert ways(pattern, value(graph, "z")) == [{"x": "a", "y": "b"}, {"x": "b", "y": "a"}]
    left = read(TWO.format("z = Mul(c, a)"), c=np.float32([1, 2]))
    assert ways(op.Mul(var("x"), const("c"), commutes=True), value(left, "z")) == [
        {"x": "a", "c": "c"}
    ]
    assert ways(op.Mul(var("x"), const("c")), value(left, "z")) == []


def test_every_way_through_nested_calls_is_tried() -> None:
    graph = read(TWO.format("m = Mul(a, b)\nz = Add(m, m)"))
    inner = op.Mul(var("x"), var("y"), commutes=True)
    found = ways(op.Add(inner, var("m")), value(graph, "z"))
    assert found == [{"x": "a", "y": "b", "m": "m"}, {"x": "b", "y": "a", "m": "m"}]


CLIP = "(float[2] a) => (float[2] z) {{ z = Clip({}) }}"


@pytest.mark.parametrize(
    ("inputs", "bound"),
    [
        ("a", "a None None"),
        ("a, low", "a low None"),
        ("a, low, high", "a low high"),
        ('a, "", high', "a None high"),
    ],
)
def test_inputs_may_be_left_out_at_the_end_or_in_between(inputs: str, bound: str) -> None:
    made = model(CLIP.format("a, low, high"), low=np.float32(0), high=np.float32(1))
    clip = made.graph.node[0]
    del clip.input[:]
    clip.input.extend(each.strip().strip('"') for each in inputs.split(","))
    target = value(Model(made), "z")
    pattern = op.Clip(var("x"), const("low", optional=True), var("high", optional=True))
    (found,) = ways(pattern, target)
    assert f"{found['x']} {found['low']} {found['high']}" == bound
    required = op.Clip(var("x"), var("low"), var("high"))
    assert bool(ways(required, target)) == ("None" not in bound)
    needed = op.Clip(var("x"), const("low"), const("high", optional=True))
    assert bool(ways(needed, target)) == ("low" in bound)


def test_an_input_that_the_pattern_does_not_name_is_none_of_it() -> None:
    full = model(CLIP.format("a, low"), low=np.float32(0))
    assert ways(op.Clip(var("x")), value(Model(full), "z")) == []
    full.graph.node[0].input[1] = ""
    assert ways(op.Clip(var("x")), value(Model(full), "z")) == [{"x": "a"}]


def test_the_rest_of_the_inputs() -> None:
    graph = read(TWO.format("z = Sum(a, b, a)"))
    assert ways(op.Sum(rest("parts")), value(graph, "z")) == [{"parts": "a b a"}]
    assert ways(op.Sum(var("x"), rest("parts")), value(graph, "z")) == [{"x": "a", "parts": "b a"}]
    three = op.Sum(var("x"), var("y"), var("x"), rest("parts"))
    assert ways(three, value(graph, "z")) == [{"x": "a", "y": "b", "parts": ""}]
    four = op.Sum(var("w"), var("x"), var("y"), var("v"), rest("parts"))
    assert ways(four, value(graph, "z")) == []


def test_each_of_the_rest_binds_names_of_its_own() -> None:
    graph = read(TWO.format("p = Relu(a)\nq = Relu(b)\nz = Sum(p, q, p)"))
    (match,) = op.Sum(rest("parts", op.Relu(var("x")))).matches(value(graph, "z"), Match([]))
    assert [part["x"].name for part in match["parts"]] == ["a", "b", "a"]
    assert [each.op for each in match.nodes] == ["Sum", "Relu", "Relu"]
    neg = op.Sum(rest("parts", op.Neg(var("x"))))
    assert ways(neg, value(graph, "z")) == []
    mixed = read(TWO.format("p = Relu(a)\nz = Sum(p, b)"))
    assert ways(op.Sum(rest("parts", op.Relu(var("x")))), value(mixed, "z")) == []


def test_the_first_inputs_may_commute_in_front_of_a_rest() -> None:
    graph = read(TWO.format("p = Relu(a)\nz = Sum(b, p, b)"))
    pattern = op.Sum(op.Relu(var("x")), var("y"), rest("parts"), commutes=True)
    assert ways(pattern, value(graph, "z")) == [{"x": "a", "y": "b", "parts": "b"}]


# Operators and attributes


def test_another_operator_is_none() -> None:
    graph = read(TWO.format("z = Sub(a, b)"))
    assert ways(op.Add(var("x"), var("y")), value(graph, "z")) == []
    assert ways(op.Add(var("x"), var("y")), value(graph, "a")) == []


def test_an_attribute_is_equal_or_satisfies_a_function() -> None:
    graph = read("(float[2,3] a) => (float[?,?] z) { z = Transpose <perm = [1, 0]> (a) }")
    target = value(graph, "z")
    assert ways(op.Transpose(var("x"), perm=[1, 0]), target) == [{"x": "a"}]
    assert ways(op.Transpose(var("x"), perm=[0, 1]), target) == []
    assert ways(op.Transpose(var("x"), perm=lambda perm: perm[0] == 1), target) == [{"x": "a"}]
    assert ways(op.Transpose(var("x"), perm=lambda perm: perm[0] == 0), target) == []
    # An attribute that is left out is None.
    target = value(read("(float[2,3] a) => (float[?,?] z) { z = Transpose(a) }"), "z")
    assert ways(op.Transpose(var("x"), perm=None), target) == [{"x": "a"}]
    assert ways(op.Transpose(var("x"), perm=lambda found: found is not None), target) == []


def test_a_text_attribute_is_compared_as_text() -> None:
    graph = read('(float[2] a) => (float[2] z) { z = Gelu <approximate = "tanh"> (a) }')
    assert ways(op.Gelu(var("x"), approximate="tanh"), value(graph, "z")) == [{"x": "a"}]


def test_the_domain_is_part_of_the_operator() -> None:
    made = model("(float[2] a) => (float[2] z) { z = Gelu(a) }")
    standard = value(Model(made), "z")
    assert ways(op.Gelu(var("x")), standard) == [{"x": "a"}]
    assert ways(op["com.microsoft::Gelu"](var("x")), standard) == []
    made.opset_import.add(domain="com.microsoft", version=1)
    made.graph.node[0].domain = "com.microsoft"
    other = value(Model(made), "z")
    assert ways(op.Gelu(var("x")), other) == []
    assert ways(op["com.microsoft::Gelu"](var("x")), other) == [{"x": "a"}]
    assert op["com.microsoft::Gelu"](var("x")).roots() == ("com.microsoft::Gelu",)


def test_a_function_of_the_model_is_no_operator() -> None:
    made = model("(float[2] a) => (float[2] z) { z = Relu(a) }")
    made.functions.append(
        helper.make_function(
            "", "Relu", ["x"], ["y"], [helper.make_node("Neg", ["x"], ["y"])], made.opset_import
        )
    )
    assert ways(op.Relu(var("x")), value(Model(made), "z")) == []


# Several outputs, and nodes that are shared

SPLIT = """(float[4] x) => (float[?] z) {
    left, right = Split <num_outputs = 2> (x)
    p = Relu(left)
    q = Relu(right)
    z = %s
}"""


def test_a_call_is_its_first_output_and_an_index_another() -> None:
    graph = read(SPLIT % "Add(p, q)")
    split = op.Split(var("x"), out=("l", "r"))
    bound = {"x": "x", "l": "left", "r": "right"}
    assert ways(op.Relu(split), value(graph, "p")) == [bound]
    assert ways(op.Relu(split), value(graph, "q")) == []
    assert ways(op.Relu(split[1]), value(graph, "q")) == [bound]
    assert ways(op.Relu(split[1]), value(graph, "p")) == []
    assert ways(op.Relu(split[2]), value(graph, "q")) == []
    assert split[1].roots() == ("Split",)
    assert split[1].depth() == 1


def test_one_call_twice_is_one_node_twice() -> None:
    split = op.Split(var("x"))
    both = op.Add(op.Relu(split), op.Relu(split[1]))
    graph = read(SPLIT % "Add(p, q)")
    (match,) = both.matches(value(graph, "z"), Match([]))
    assert [each.op for each in match.nodes] == ["Add", "Relu", "Split", "Relu"]
    two = read(
        """(float[4] x) => (float[?] z) {
            left, right = Split <num_outputs = 2> (x)
            other, more = Split <num_outputs = 2> (x)
            p = Relu(left)
            q = Relu(more)
            z = Add(p, q)
        }"""
    )
    assert ways(both, value(two, "z")) == []
    # Two calls that look alike are two patterns, and may match one node or two.
    apart = op.Add(op.Relu(op.Split(var("x"))), op.Relu(op.Split(var("x"))[1]))
    assert ways(apart, value(two, "z")) == [{"x": "x"}]
    assert ways(apart, value(graph, "z")) == [{"x": "x"}]


def test_out_names_what_a_call_computes() -> None:
    graph = read(TWO.format("y = Relu(a)\nz = Neg(y)"))
    pattern = op.Neg(op.Relu(var("x"), out="inner"), out="outer")
    assert ways(pattern, value(graph, "z")) == [{"x": "a", "inner": "y", "outer": "z"}]


# Alternatives and conditions


def test_alternatives_match_in_their_order() -> None:
    pattern = op.Relu(var("x")) | op.Neg(var("x")) | op.Neg(var("y"))
    relu = read(TWO.format("z = Relu(a)"))
    assert ways(pattern, value(relu, "z")) == [{"x": "a"}]
    neg = read(TWO.format("z = Neg(a)"))
    assert ways(pattern, value(neg, "z")) == [{"x": "a"}, {"y": "a"}]
    assert ways(pattern, value(read(TWO.format("z = Abs(a)")), "z")) == []
    assert pattern.roots() == ("Relu", "Neg")
    assert pattern.describe() == "Relu or Neg or Neg"
    assert (pattern | var("x")).roots() == ()
    assert (op.Relu(op.Neg(var("x"))) | op.Neg(var("x"))).depth() == 2


def test_a_condition_on_all_that_is_bound() -> None:
    graph = read(TWO.format("z = Add(a, b)"))
    add = op.Add(var("x"), var("y"), commutes=True)
    pattern = given(add, lambda m: m["x"].name == "b")
    assert ways(pattern, value(graph, "z")) == [{"x": "b", "y": "a"}]
    assert ways(given(add, lambda m: "w" in m), value(graph, "z")) == []
    assert (pattern.roots(), pattern.depth(), pattern.describe()) == (("Add",), 1, "Add")


# Layers


def test_a_layer_in_any_spelling() -> None:
    graph = read(TWO.format("y = Relu(a)\nz = Sub(y, c)"), c=np.float32([1, 2]))
    scale = seen_as(Scale, "scale", op.Relu(var("x")), out="z")
    (match,) = scale.matches(value(graph, "z"), Match([]))
    assert match["scale"].shift.numbers().tolist() == [-1, -2]
    assert match["x"].name == "a"
    assert match["z"].name == "z"
    assert [each.op for each in match.nodes] == ["Sub", "Relu"]
    assert ways(scale, value(graph, "y")) == []
    assert ways(scale, value(graph, "a")) == []
    none = seen_as(Scale, "scale", var("x"), where=lambda seen: seen.scale is not None)
    assert ways(none, value(graph, "z")) == []
    assert scale.roots() == Scale.operators
    assert scale.depth() == 2
    assert seen_as(FullyConnected, "product", scale).depth() == 4
    assert scale.describe() == "a Scale"


def test_a_layer_of_two_nodes_covers_both() -> None:
    graph = read(
        """(float[4,2] x) => (float[4,3] z) {
            a = MatMul(x, w)
            z = Add(a, b)
        }""",
        w=np.ones((2, 3), np.float32),
        b=np.ones(3, np.float32),
    )
    product = seen_as(FullyConnected, "product", var("x"))
    (match,) = product.matches(value(graph, "z"), Match([]))
    assert [each.op for each in match.nodes] == ["Add", "MatMul"]
    assert match.root is value(graph, "z").producer


def test_a_layer_that_refuses_says_why_unless_it_is_the_root() -> None:
    graph = read(
        """(float[1,1,4] x, float[1,1,1] w) => (float[?,?,?] z) {
            y = Conv(x, w)
            z = Mul(y, two)
        }""",
        two=np.float32(2),
    )
    conv = seen_as(Convolution, "conv", var("x"))
    vetoes: list[Reason] = []
    assert ways(seen_as(Scale, "scale", conv), value(graph, "z"), vetoes) == []
    assert [(each.guard, each.because) for each in vetoes] == [
        ("conv", "the weights `w` are an input of the graph, not a constant")
    ]
    vetoes.clear()
    assert ways(conv, value(graph, "y"), vetoes) == []
    assert vetoes == []


def test_only_the_first_output_of_a_layer_is_its_result() -> None:
    graph = read(
        """(float[2,2] x) => (float[2,2] z) {
            y, mean, variance, m, v = BatchNormalization(x, c, c, c, c)
            w = Relu(mean)
            z = Relu(y)
        }""",
        opset=9,
        c=np.ones(2, np.float32),
    )
    scale = seen_as(Scale, "scale", var("x"))
    assert ways(scale, value(graph, "mean")) == []


# Matches


def test_the_nodes_of_a_diamond_come_after_what_they_read() -> None:
    graph = read(
        """(float[2] x) => (float[2] z) {
            top = Relu(x)
            left = Neg(top)
            right = Abs(top)
            low = Exp(right)
            z = Add(left, low)
        }"""
    )
    relu = op.Relu(var("x"))
    pattern = op.Add(op.Neg(relu), op.Exp(op.Abs(relu)))
    (match,) = pattern.matches(value(graph, "z"), Match([]))
    assert match.root.op == "Add"
    assert len(match.nodes) == 5
    ordered = [each.op for each in match.ordered]
    assert sorted(ordered) == ["Abs", "Add", "Exp", "Neg", "Relu"]
    assert ordered[0] == "Relu"
    assert ordered[-1] == "Add"
    assert ordered.index("Abs") < ordered.index("Exp")


def test_a_long_match_is_ordered_without_recursion() -> None:
    depth = 5000
    chain = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in range(depth)]
    made = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 21)])
    info = helper.make_tensor_value_info("v0", 1, [1])
    out = helper.make_tensor_value_info(f"v{depth}", 1, [1])
    made.graph.CopyFrom(helper.make_graph(chain, "long", [info], [out]))
    graph = Model(made)
    match = Match([]).with_("x", value(graph, "v0"), tuple(reversed(list(graph.graph.nodes()))))
    assert [each.output.name for each in match.ordered] == [f"v{i + 1}" for i in range(depth)]


def test_matching_changes_neither_the_graph_nor_earlier_matches() -> None:
    graph = read(TWO.format("y = Relu(a)\nz = Add(y, b)"))
    before = graph.to_proto()
    empty = Match([])
    pattern = op.Add(op.Relu(var("x")), var("y"), commutes=True)
    assert len(list(pattern.matches(value(graph, "z"), empty))) == 1
    assert empty.bound == {}
    assert empty.nodes == ()
    assert graph.to_proto() == before


def test_patterns_describe_themselves() -> None:
    assert var("x").describe() == "any value"
    assert const("c").describe() == "a constant"
    assert op.Relu(var("x")).describe() == "Relu"
    assert op.Split(var("x"))[1].describe() == "output 1 of Split"
    assert rest("parts").describe() == "any inputs"
    assert rest("parts", const("c")).describe() == "inputs that are each a constant"
    assert op.Sum(rest("parts", op.Relu(var("x")))).depth() == 2
    assert (var("x").depth(), const("c").depth(), rest("r").depth()) == (0, 0, 0)
    assert var("x").roots() == ()


def test_a_match_knows_what_it_holds() -> None:
    graph = read(TWO.format("[add] z = Add(a, c)"), c=np.float32([1, 2]))
    (match,) = op.Add(var("x"), const("c")).matches(value(graph, "z"), Match([]))
    assert "x" in match
    assert "y" not in match
    assert match.root is node(graph, "add")
    with pytest.raises(UsageError, match="the pattern binds no 'y'; it binds 'x', 'c'"):
        match["y"]
    with pytest.raises(UsageError, match="binds 'x' to no constant"):
        match.tensor("x")


def test_an_output_that_is_left_out_is_none_of_a_match() -> None:
    made = model(
        """(float[4] x) => (float[?] z) {
            left, right = Split <num_outputs = 2> (x)
            z = Relu(right)
        }"""
    )
    split: NodeProto = made.graph.node[0]
    split.output[0] = ""
    graph = Model(made)
    pattern = op.Relu(op.Split(var("x"), out=("l", "r"))[1])
    assert ways(pattern, value(graph, "z")) == [{"x": "x", "l": "None", "r": "right"}]


# What it may read from


MAY_READ = [
    (op.Relu(var("x")), {"Exp"}, True),
    (op.Relu(op.Conv(var("x"), const("w"))), {"Exp", "Conv"}, True),
    (op.Relu(op.Conv(var("x"), const("w"))), {"Exp"}, False),
    (op.Add(op.Exp(var("x")), op.Log(var("x"))), {"Exp", "Log"}, True),
    (op.Add(op.Exp(var("x")), op.Log(var("x"))), {"Exp"}, False),
    (op.Add(op.Mul(var("x"), const("c")), var("y"), commutes=True), {"Mul"}, True),
    (op.Relu(op.Exp(var("x"))) | op.Neg(op.Log(var("x"))), {"Log"}, True),
    (op.Relu(op.Exp(var("x"))) | op.Neg(op.Log(var("x"))), {"Abs"}, False),
    (op.Split(op.Relu(var("x")), out=("a", "b"))[1], {"Exp"}, False),
    (given(op.Relu(op.Exp(var("x"))), lambda _: False), {"Log"}, False),
    (op.Concat(rest("parts", op.Relu(var("x")))), {"Exp"}, True),
    (op.Concat(rest("parts", const("each"))), {"Exp"}, False),
    (op.Concat(rest("parts", const("each"))), {"Cast", "Constant"}, True),
    (op.Add(const("a"), const("b")), {"Exp"}, False),
    (op.Add(const("a"), const("b")), set(), True),
    (seen_as(Scale, "s", var("x")), {"Exp"}, True),
    (seen_as(Scale, "s", seen_as(Convolution, "c", var("x"))), {"ConvTranspose"}, True),
    (seen_as(Scale, "s", seen_as(Convolution, "c", var("x"))), {"Exp"}, False),
    (seen_as(Shuffle, "s", op.Relu(var("x"))), {"Exp"}, True),
]


@pytest.mark.parametrize(("pattern", "operators", "may"), MAY_READ)
def test_a_pattern_knows_what_it_may_read_from(
    pattern: Pattern, operators: set[str], may: bool
) -> None:
    assert pattern.may_read(frozenset(operators)) == may


@settings(max_examples=settings().max_examples // 2)
@hypothesis.given(graphs())
def test_where_a_rule_matches_it_may_read_what_is_there(drawn: Drawn) -> None:
    for each in (n for graph in Model(drawn.model).graphs() for n in graph.nodes()):
        operators = frozenset(v.producer.op for v in each.inputs if v is not None and v.producer)
        for rule in CATALOGUE.values():
            if not isinstance(rule, Rule) or each.op not in rule.pattern.roots():
                continue
            if next(rule.pattern.matches(each.output, Match([])), None) is not None:
                assert rule.pattern.may_read(operators), rule.name
