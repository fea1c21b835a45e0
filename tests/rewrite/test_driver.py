"""The driver: what it rewrites, in which order, what it leaves, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from fusing import rewrite
from models import SCALES, body, constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper
from oracle import assert_equivalent

from trtfuse.errors import UsageError
from trtfuse.ir.graph import Value
from trtfuse.ir.model import Model
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.pattern import Match, Pattern, op, rest, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Guard, Rule, selected

W = np.ones((1, 1, 1, 1), np.float32)
TWO = np.float32(2)


def rule(
    name: str,
    pattern: Pattern,
    build: Callable[[Match, Replacement], Value | tuple[Value, ...]],
    *guards: Guard,
    shared: tuple[str, ...] = (),
) -> Rule:
    return Rule(name, pattern, guards, build, shared=shared)


#: max(0, max(0, x)) is max(0, x).
RELU = rule("relu-of-relu", op.Relu(op.Relu(var("x"), out="y")), lambda m, new: new.Relu(m["x"]))
#: x - x is 0, whose shape the rule takes for the one of x.
ZERO = rule(
    "zero",
    op.Sub(var("x"), var("x")),
    lambda m, new: new.constant(np.zeros(m["x"].shape), TensorProto.FLOAT, "zero"),
)


# The worklist


def test_a_rewrite_becomes_possible_when_another_consumer_goes() -> None:
    # The Mul is looked at first, and in the end it is as if the Sub had never been.
    made = model(
        """(float[1,1,2,2] x) => (float[1,1,2,2] z, float[1,1,2,2] q) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, two)
            [sub] d = Sub(y, y)
            [add] q = Add(d, x)
        }""",
        w=W,
        two=TWO,
    )
    result = rewrite(made, rules=["conv-scale", ZERO])
    assert fused(result) == [("zero", "sub"), ("conv-scale", "conv + scale")]
    assert declined(result) == []
    without = rewrite(made, rules=["conv-scale"])
    assert declined(without) == [
        ("conv-scale", "scale", "one-consumer", "`y` has 2 consumers: scale, sub")
    ]


def test_the_reason_is_told_as_it_is_in_the_end() -> None:
    made = model(
        """(float[1,1,2,2] x) => (float[1,1,2,2] z, float[1,1,2,2] q, float[1,1,2,2] r) {
            [conv] y = Conv(x, w)
            [scale] z = Mul(y, two)
            [relu] r = Relu(y)
            [sub] d = Sub(y, y)
            [add] q = Add(d, x)
        }""",
        w=W,
        two=TWO,
    )
    result = rewrite(made, rules=["conv-scale", ZERO])
    assert declined(result) == [
        ("conv-scale", "scale", "one-consumer", "`y` has 2 consumers: scale, relu")
    ]


def test_a_change_reaches_rules_that_begin_further_down() -> None:
    # What shifts x is seen to do so only after the product and its bias were looked at.
    shift = rule(
        "exp-is-add",
        op.Abs(op.Exp(var("x"), out="e")),
        lambda m, new: new.Add(m["x"], new.constant(np.ones(2), TensorProto.FLOAT, "t")),
    )
    made = model(
        """(float[3,3,2] x) => (float[3,3,2] z, float[3,3,2] q) {
            e = Exp(x)
            y = Abs(e)
            a = MatMul(y, w)
            [plus] z = Add(a, b)
            d = Sub(e, e)
            q = Add(d, x)
        }""",
        w=np.ones((2, 2), np.float32),
        b=np.ones(2, np.float32),
    )
    chosen = [shift, ZERO, "scale-fc"]
    result = rewrite(made, rules=chosen, verify="none")
    assert [name for name, _ in fused(result)] == ["zero", "exp-is-add", "scale-fc"]


def test_a_declined_record_of_a_node_that_fuses_otherwise_vanishes() -> None:
    never = rule(
        "never",
        op.Relu(op.Relu(var("x"))),
        lambda m, new: new.Relu(m["x"]),
        Guard("no", lambda m: "it never does"),
    )
    made = model("(float[2] x) => (float[2] z) { [a] y = Relu(x)\n [b] z = Relu(y) }")
    assert declined(rewrite(made, rules=[never])) == [("never", "b", "no", "it never does")]
    result = rewrite(made, rules=[never, RELU])
    assert fused(result) == [("relu-of-relu", "a + b")]
    assert declined(result) == []


def test_the_first_match_that_the_guards_let_pass_is_taken() -> None:
    add = op.Add(var("x"), var("y"), commutes=True)
    seen: list[str] = []

    def second(m: Match) -> str | None:
        seen.append(m["x"].name)
        return None if m["x"].name == "b" else "it is not b"

    made = model("(float[2] a, float[2] b) => (float[2] z) { z = Add(a, b) }")
    swap = rule("sub", add, lambda m, new: new.Sub(m["x"], new.Neg(m["y"])), Guard("b", second))
    result = rewrite(made, rules=[swap])
    assert seen == ["a", "b"]
    assert result.model.graph.node[1].input[0] == "b"
    assert declined(result) == []


def test_of_two_ways_to_match_only_one_is_rewritten() -> None:
    built: list[str] = []

    def build(m: Match, new: Replacement) -> Value:
        built.append(m["x"].name)
        return new.Sub(m["x"], new.Neg(m["y"]))

    once = rule("once", op.Add(var("x"), var("y"), commutes=True), build)
    made = model("(float[2] a, float[2] b) => (float[2] z) { z = Add(a, b) }")
    result = rewrite(made, rules=[once])
    assert built == ["a"]
    assert len(result.report.fused) == 1


def test_a_root_whose_first_output_is_left_out_is_let_alone() -> None:
    made = model(
        """(float[4] x) => (float[?] right) {
            left, right = Split <num_outputs = 2> (x)
        }"""
    )
    made.graph.node[0].output[0] = ""
    split = rule("split", op.Split(var("x")), lambda m, new: new.Relu(m["x"]))
    result = rewrite(made, rules=[split])
    assert result.model == made


def test_a_root_may_leave_inputs_out() -> None:
    text = "(float[2] x) => (float[2] z) { z = Clip(x, low, high) }"
    made = model(text, low=np.float32(0), high=np.float32(9))
    made.graph.node[0].input[1] = ""
    clip = rule(
        "clip",
        op.Clip(var("x"), var("low", optional=True), var("high")),
        lambda m, new: new.Min(m["x"], m["high"]),
    )
    assert nodes(rewrite(made, rules=[clip]).model) == ["-: Min(x, high) -> z"]


def test_guards_are_asked_in_order_and_the_first_veto_is_told() -> None:
    asked: list[str] = []

    def asking(name: str, answer: str | None) -> Guard:
        def check(m: Match) -> str | None:
            asked.append(name)
            return answer

        return Guard(name, check)

    strict = rule(
        "strict",
        op.Relu(var("x")),
        lambda m, new: new.Abs(m["x"]),
        asking("one", None),
        asking("two", "of two"),
        asking("three", "of three"),
    )
    made = model("(float[2] x) => (float[2] z) { [relu] z = Relu(x) }")
    assert declined(rewrite(made, rules=[strict])) == [("strict", "relu", "two", "of two")]
    assert asked == ["one", "two"]


def test_rules_are_tried_in_the_order_given() -> None:
    abs_first = rule("to-abs", op.Relu(var("x")), lambda m, new: new.Abs(m["x"]))
    neg_first = rule("to-neg", op.Relu(var("x")), lambda m, new: new.Neg(m["x"]))
    made = model("(float[2] x) => (float[2] z) { z = Relu(x) }")
    for first, second in ((abs_first, neg_first), (neg_first, abs_first)):
        read = Model(made)
        driver = Driver(read, [first, second])
        driver.run()
        assert [each.rule for each in driver.fused] == [first.name]


# Other consumers


def test_a_shared_value_may_have_other_consumers() -> None:
    made = model(
        """(float[2] x) => (float[2] z, float[2] q) {
            [a] y = Relu(x)
            [b] z = Relu(y)
            [c] q = Neg(y)
        }"""
    )
    because = "`y` has 2 consumers: b, c"
    assert declined(rewrite(made, rules=[RELU])) == [("relu-of-relu", "b", "one-consumer", because)]
    sharing = rule("sharing", RELU.pattern, RELU.build, shared=("y",))
    result = rewrite(made, rules=[sharing])
    assert nodes(result.model) == [
        "a: Relu(x) -> y",
        "-: Relu(x) -> z",
        "c: Neg(y) -> q",
    ]


def test_a_shared_value_may_be_an_output() -> None:
    made = model("(float[2] x) => (float[2] z, float[2] y) { [a] y = Relu(x)\n [b] z = Relu(y) }")
    because = "`y` is an output of the graph"
    assert declined(rewrite(made, rules=[RELU])) == [("relu-of-relu", "b", "one-consumer", because)]
    sharing = rule("sharing", RELU.pattern, RELU.build, shared=("y",))
    assert fused(rewrite(made, rules=[sharing])) == [("sharing", "a + b")]


def test_readers_inside_the_match_are_no_other_consumers() -> None:
    relu = op.Relu(var("x"))
    both = rule("both", op.Add(relu, op.Neg(relu)), lambda m, new: new.Sub(m["x"], m["x"]))
    made = model(
        """(float[2] x) => (float[2] z) {
            y = Relu(x)
            n = Neg(y)
            z = Add(y, n)
        }"""
    )
    result = rewrite(made, rules=[both], verify="none")
    assert nodes(result.model) == ["-: Sub(x, x) -> z"]


def test_another_output_of_an_interior_node_counts_as_well() -> None:
    pattern = op.Neg(op.Split(var("x"), num_outputs=2))
    halve = rule("halve", pattern, lambda m, new: new.Neg(m["x"]))
    text = """(float[4] x) => (float[?] z, float[?] q) {
        left, right = Split <num_outputs = 2> (x)
        [neg] z = Neg(left)
        [other] q = Relu(%s)
    }"""
    assert declined(rewrite(model(text % "right"), rules=[halve])) == [
        ("halve", "neg", "one-consumer", "`right` is read by other")
    ]


def test_an_output_that_only_a_body_reads_counts_as_well() -> None:
    pattern = op.Neg(op.Split(var("x"), num_outputs=2))
    halve = rule("halve", pattern, lambda m, new: new.Neg(m["x"]))
    made = model(
        """(float[4] x, bool which) => (float[?] z, float[?] q) {
            left, right = Split <num_outputs = 2> (x)
            [neg] z = Neg(left)
            [choose] q = If (which) <
                then_branch = then () => (float[?] a) { a = Relu(right) },
                else_branch = other () => (float[?] b) { b = Neg(right) }
            >
        }"""
    )
    assert declined(rewrite(made, rules=[halve])) == [
        ("halve", "neg", "one-consumer", "`right` is read by the body of choose")
    ]


# What is committed


def test_new_nodes_stand_where_the_root_stood() -> None:
    made = model(
        """(float[2] x) => (float[2] q) {
            [a] y = Relu(x)
            [n] m = Neg(x)
            [b] z = Relu(y)
            [q] q = Add(m, z)
        }"""
    )
    assert nodes(rewrite(made, rules=[RELU]).model) == [
        "n: Neg(x) -> m",
        "-: Relu(x) -> z",
        "q: Add(m, z) -> q",
    ]


def test_a_rule_for_several_outputs_returns_one_value_for_each() -> None:
    pattern = op.Split(var("x"), var("sizes"))

    def build(m: Match, new: Replacement) -> tuple[Value, ...]:
        return new.Relu(m["x"]), new.Neg(m["x"])

    made = model(
        """(float[4] x) => (float[?] z, float[?] right) {
            left, right = Split(x, sizes)
            z = Abs(left)
        }""",
        sizes=np.int64([2, 2]),
    )
    result = rewrite(made, rules=[rule("split", pattern, build)], verify="none")
    assert nodes(result.model) == [
        "-: Relu(x) -> left",
        "-: Neg(x) -> right",
        "-: Abs(left) -> z",
    ]
    assert constants(result.model) == {}


def test_one_new_value_may_be_made_of_another() -> None:
    def build(m: Match, new: Replacement) -> tuple[Value, ...]:
        first = new.Relu(m["x"])
        return first, new.Neg(first)

    made = model(
        """(float[4] x) => (float[?] z, float[?] right) {
            left, right = Split(x, sizes)
            z = Abs(left)
        }""",
        sizes=np.int64([2, 2]),
    )
    split = rule("split", op.Split(var("x"), var("sizes")), build)
    result = rewrite(made, rules=[split], verify="none")
    assert nodes(result.model) == [
        "-: Relu(x) -> left",
        "-: Neg(left) -> right",
        "-: Abs(left) -> z",
    ]


def test_an_output_that_a_rule_forgets_is_an_error_unless_nothing_needs_it() -> None:
    pattern = op.Split(var("x"), var("sizes"))
    forgetful = rule("forgetful", pattern, lambda m, new: new.Relu(m["x"]))
    text = """(float[4] x) => (float[?] z%s) {
        left, right = Split(x, sizes)
        z = Abs(left)
    }"""
    made = model(text % ", float[?] right", sizes=np.int64([2, 2]))
    with pytest.raises(UsageError, match="rule 'forgetful' returns nothing for `right`"):
        rewrite(made, rules=[forgetful], verify="none")
    read = model(
        (text % ", float[?] q").replace("Abs(left)", "Abs(left)\nq = Neg(right)"),
        sizes=np.int64([2, 2]),
    )
    with pytest.raises(UsageError, match="rule 'forgetful' returns nothing for `right`"):
        rewrite(read, rules=[forgetful], verify="none")
    result = rewrite(model(text % "", sizes=np.int64([2, 2])), rules=[forgetful], verify="none")
    assert nodes(result.model) == ["-: Relu(x) -> left", "-: Abs(left) -> z"]


def test_values_between_new_nodes_get_names_that_are_free() -> None:
    double = rule("double", op.Abs(var("x")), lambda m, new: new.Neg(new.Relu(m["x"])))
    made = model(
        """(float[2] x) => (float[2] z) {
            Relu_output = Abs(x)
            y = Abs(Relu_output)
            z = Abs(y)
        }"""
    )
    result = rewrite(made, rules=[double], verify="none")
    onnx.checker.check_model(result.model, full_check=True)
    written = [name for each in result.model.graph.node for name in each.output]
    assert len(set(written)) == len(written) == 6


def test_the_report_names_what_took_the_place_of_what() -> None:
    renamed = rule(
        "renamed",
        op.Relu(op.Relu(var("x"), out="y")),
        lambda m, new: new.Relu(m["x"], like=m["y"].producer),
    )
    made = model("(float[2] x) => (float[2] z) { [a] y = Relu(x)\n [b] z = Relu(y) }")
    read = Model(made)
    a, b = read.graph.nodes()
    driver = Driver(read, [renamed])
    driver.run()
    (only,) = driver.fused
    assert only.nodes == (a, b)
    assert [each.label for each in only.into] == ["a"]
    assert only.into[0].replaces == (b, a)
    assert (a.graph, b.graph) == (None, None)
    assert only.error is None


def test_progress_is_told_from_time_to_time() -> None:
    lines = "\n".join(f"v{i + 1} = Relu(v{i})" for i in range(600))
    made = model(f"(float[2] x) => (float[2] z) {{ v0 = Neg(x)\n {lines}\n z = Relu(v600) }}")
    told: list[tuple[int, int]] = []
    never = rule("never", op.Relu(var("x")), RELU.build, Guard("no", lambda m: "never"))
    Driver(Model(made), [never], progress=lambda done, of: told.append((done, of))).run()
    assert told == [(256, 601), (512, 601)]


# What nothing needs


def test_unused_nodes_go_and_those_of_other_domains_stay() -> None:
    made = model(
        """(float[2] x) => (float[2] z) {
            [dead1] a = Neg(x)
            [dead2] b = Abs(a)
            [kept] c = Neg(x)
            [custom] d = Neg(c)
            [ml] e = Neg(x)
            z = Relu(x)
        }""",
    )
    made.opset_import.add(domain="custom", version=1)
    made.opset_import.add(domain="ai.onnx.ml", version=3)
    made.graph.node[3].domain = "custom"
    made.graph.node[4].CopyFrom(
        helper.make_node("Binarizer", ["x"], ["e"], "ml", domain="ai.onnx.ml", threshold=0.5)
    )
    result = rewrite(made)
    assert nodes(result.model) == [
        "kept: Neg(x) -> c",
        "custom: Neg(c) -> d",
        "-: Relu(x) -> z",
    ]
    assert sorted(fused(result)) == [("unused", "dead1"), ("unused", "dead2"), ("unused", "ml")]
    for each in result.report.fused:
        assert (each.into, each.kind, each.error) == ([], "rewrite", None)


def test_a_call_of_a_function_that_nothing_needs_goes() -> None:
    made = model("(float[2] x) => (float[2] z) { [dead] y = Neg(x)\n z = Relu(x) }")
    made.opset_import.add(domain="mine", version=1)
    made.graph.node[0].domain = "mine"
    made.functions.append(
        helper.make_function(
            "mine", "Neg", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], made.opset_import
        )
    )
    assert nodes(rewrite(made).model) == ["-: Relu(x) -> z"]


def test_unused_constants_go_and_those_a_caller_may_pass_stay() -> None:
    made = model(
        "(float[2] x, float[2] passed) => (float[2] z) { z = Relu(x) }",
        passed=np.ones(2, np.float32),
        unused=np.ones(2, np.float32),
    )
    result = rewrite(made)
    assert list(constants(result.model)) == ["passed"]
    assert [each.name for each in result.model.graph.input] == ["x", "passed"]


def test_a_constant_that_is_an_output_stays_though_no_node_reads_it() -> None:
    made = model(
        "(float[2] x) => (float[2] z, float[2] c) { z = Relu(x) }", c=np.ones(2, np.float32)
    )
    assert rewrite(made).model == made


def test_an_unused_body_goes_and_with_it_what_it_captured() -> None:
    made = model(
        """(float[2] x, bool which) => (float[2] z) {
            y = Neg(x)
            [dead] q = If (which) <
                then_branch = then () => (float[2] a) { a = Add(y, c) },
                else_branch = other () => (float[2] b) { b = Abs(y) }
            >
            z = Relu(x)
        }""",
        c=np.ones(2, np.float32),
    )
    result = rewrite(made)
    assert nodes(result.model) == ["-: Relu(x) -> z"]
    assert constants(result.model) == {}


def test_what_is_unused_in_a_body_goes() -> None:
    made = model(
        """(float[2] x, bool which) => (float[2] z) {
            y = Neg(x)
            [choose] z = If (which) <
                then_branch = then () => (float[2] a) { dead = Add(y, c)
                    a = Relu(x) },
                else_branch = other () => (float[2] b) { b = Abs(x) }
            >
        }""",
        c=np.ones(2, np.float32),
    )
    result = rewrite(made)
    assert nodes(result.model) == ["choose: If(which) -> z"]
    assert nodes(body(result.model, "choose", "then_branch")) == ["-: Relu(x) -> a"]
    assert constants(result.model) == {}


def test_a_body_that_a_rewrite_made_unused_is_not_rewritten_any_more() -> None:
    # The body waits in the worklist when its owner goes.
    made = model(
        """(float[1,1,2,2] x, bool which) => (float[1,1,2,2] z) {
            [choose] q = If (which) <
                then_branch = then () => (float[1,1,2,2] a) { y = Conv(x, w)
                    a = Mul(y, two) },
                else_branch = other () => (float[1,1,2,2] b) { b = Neg(x) }
            >
            k = Identity(q)
            [sub] d = Sub(k, k)
            z = Relu(d)
        }""",
        w=W,
        two=TWO,
    )
    sized = rule(
        "zero",
        ZERO.pattern,
        lambda m, new: new.constant(np.zeros((1, 1, 2, 2)), TensorProto.FLOAT, "zero"),
    )
    result = rewrite(made, rules=[sized, "conv-scale"], verify="none")
    # What becomes a constant keeps its name.
    assert nodes(result.model) == ["-: Relu(d) -> z"]
    assert fused(result) == [("zero", "sub")]


def test_what_only_a_rewrite_needed_goes_but_not_what_is_read_elsewhere() -> None:
    made = model(
        """(float[2] x) => (float[2] z, float[2] q) {
            [a] a = Add(x, c)
            [b] b = Add(a, d)
            [s] s = Sub(b, b)
            z = Add(s, x)
            q = Add(x, d)
        }""",
        c=np.ones(2, np.float32),
        d=np.ones(2, np.float32),
    )
    result = rewrite(made, rules=[ZERO])
    assert nodes(result.model) == ["-: Add(s, x) -> z", "-: Add(x, d) -> q"]
    assert list(constants(result.model)) == ["d", "s"]


# The whole


def test_nested_bodies_are_rewritten() -> None:
    made = model(
        """(float[2] x, bool which) => (float[2] z) {
            r = Relu(x)
            [outer] z = If (which) <
                then_branch = then () => (float[2] a) {
                    s = Relu(r)
                    [inner] a = If (which) <
                        then_branch = deep () => (float[2] p) { t = Relu(s)
                            p = Relu(t) },
                        else_branch = low () => (float[2] o) { o = Neg(r) }
                    >
                },
                else_branch = other () => (float[2] b) { b = Abs(x) }
            >
        }"""
    )
    result = rewrite(made, rules=[RELU])
    then = body(result.model, "outer", "then_branch")
    assert nodes(then) == ["-: Relu(r) -> s", "inner: If(which) -> a"]
    inner = next(a.g for a in then.node[1].attribute if a.name == "then_branch")
    assert nodes(inner) == ["-: Relu(s) -> p"]
    for which in (True, False):
        feeds = {"x": np.float64([-1, 2]), "which": np.array(which)}
        assert_equivalent(made, result.model, feeds)


def test_erasing_an_identity_between_an_input_and_an_output_comes_to_an_end() -> None:
    asked = 0

    def counted(m: Match) -> str | None:
        nonlocal asked
        asked += 1
        assert asked < 10, "the driver goes round in circles"
        return None

    # Both names are known outside, so there has to be an Identity in the end.
    erase = rule("erase", op.Identity(var("x")), lambda m, new: m["x"], Guard("count", counted))
    made = model("(float[2] x) => (float[2] z) { y = Identity(x)\n [last] z = Identity(y) }")
    result = rewrite(made, rules=[erase])
    assert nodes(result.model) == ["last: Identity(x) -> z"]


def test_a_call_with_the_rest_of_its_inputs_is_rewritten() -> None:
    flat = rule(
        "sum-of-sum",
        op.Sum(op.Sum(rest("inner")), rest("outer")),
        lambda m, new: new.Sum(*m["inner"], *m["outer"]),
    )
    made = model(
        """(float[2] a, float[2] b, float[2] c) => (float[2] z) {
            y = Sum(a, b)
            z = Sum(y, c, a)
        }"""
    )
    result = rewrite(made, rules=[flat])
    assert nodes(result.model) == ["-: Sum(a, b, c, a) -> z"]


def test_an_operator_of_another_domain_can_be_made() -> None:
    fast = rule("fast", op.Gelu(var("x")), lambda m, new: new.op("com.microsoft::Gelu", m["x"]))
    made = model("(float[2] x) => (float[2] z) { z = Gelu(x) }")
    made.opset_import.add(domain="com.microsoft", version=1)
    (only,) = rewrite(made, rules=[fast], verify="none").model.graph.node
    assert (only.domain, only.op_type) == ("com.microsoft", "Gelu")


def test_no_rules_change_nothing() -> None:
    made = model("(float[2] x) => (float[2] z) { y = Relu(x)\n z = Relu(y) }")
    result = rewrite(made, rules=[])
    assert result.model == made
    assert declined(result) == []


def star(readers: int) -> ModelProto:
    """One value, to which 0 is added over and over, each time for another reader."""
    made = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 21)])
    lines = [helper.make_node("Relu", ["x"], ["a"])]
    for i in range(readers):
        lines.append(helper.make_node("Add", ["a", "zero"], [f"b{i}"]))
        lines.append(helper.make_node("Neg", [f"b{i}"], [f"c{i}"]))
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    outputs = [
        helper.make_tensor_value_info(f"c{i}", TensorProto.FLOAT, [2]) for i in range(readers)
    ]
    zero = numpy_helper.from_array(np.zeros(2, np.float32), "zero")
    made.graph.CopyFrom(helper.make_graph(lines, "star", [shape], outputs, [zero]))
    return made


def seconds_to_erase(readers: int) -> float:
    read = Model(star(readers))
    read.infer_shapes()
    driver = Driver(read, selected(SCALES))
    start = time.process_time()
    driver.run()
    spent = time.process_time() - start
    assert len(driver.fused) == readers
    assert sum(1 for _ in read.graph.nodes()) == readers + 1
    return spent


def test_the_time_grows_as_the_number_of_nodes() -> None:
    # 20,000 and 100,000 nodes; five times as many would take 25 times as long if it were quadratic.
    few = min(seconds_to_erase(10_000) for _ in range(2))
    assert seconds_to_erase(50_000) < 12 * few


def test_initializers_that_a_quantization_annotation_names_stay() -> None:
    made = model(
        "(float[4] x) => (float[4] y) { a = Mul(x, s) b = Sub(a, t) y = Relu(b) }",
        s=0.5,
        t=0.5,
        z=np.int8(0),
    )
    note = made.graph.quantization_annotation.add(tensor_name="b")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="t")
    note.quant_parameter_tensor_names.add(key="ZERO_POINT_TENSOR", value="z")
    result = rewrite(made)
    assert result.model == made
