"""Why a rule did not even match: how far its structure went."""

from __future__ import annotations

import numpy as np
import pytest
from fusing import rewrite
from models import declined, model

from trtfuse.layers.linear import Convolution, FullyConnected
from trtfuse.layers.scale import Scale
from trtfuse.rewrite.pattern import Pattern, given, op, seen_as, var
from trtfuse.rewrite.rule import Rule

C = np.float32([1, 2])
RULES = ["conv-scale", "fc-scale"]
CONV = "a Conv or ConvTranspose with constant weights"
PRODUCT = "a Gemm or MatMul by constant weights"


def explained(lines: str, rules: list[str | Rule], inputs: str = "float[2,2] x") -> object:
    text = f"({inputs}) => (float[2,2] z) {{ {lines} }}"
    found = declined(rewrite(model(text, c=C), rules=rules, verify="none"))
    return [each for each in found if each[1] == "bn"]


BN = "[bn] z = BatchNormalization(y, c, c, c, c)"


def test_what_stands_there_and_what_is_wanted_by_each_rule() -> None:
    line = f"[pool] y = Relu(x)\n{BN}"
    computed = "`y` is computed by Relu pool"
    assert explained(line, RULES) == [
        ("conv-scale", "bn", "structure", f"{computed}, not by {CONV}, or by {PRODUCT}")
    ]
    assert explained(line, ["fc-scale"]) == [
        ("fc-scale", "bn", "structure", f"{computed}, not by {PRODUCT}")
    ]


def test_a_node_without_a_name_is_known_by_its_output() -> None:
    assert explained(f"y = Relu(x)\n{BN}", ["conv-scale"]) == [
        ("conv-scale", "bn", "structure", f"`y` is computed by Relu node_of_y, not by {CONV}")
    ]


def test_an_input_of_the_graph_is_not_computed() -> None:
    line = BN.replace("(y,", "(x,")
    because = "`x` is an input of the graph, not computed"
    assert explained(line, RULES) == [("conv-scale", "bn", "structure", because)]


def test_what_a_body_captures_is_given_from_outside() -> None:
    text = """(float[2,2] x, bool which) => (float[2,2] q) {
        y = Relu(x)
        q = If (which) <
            then_branch = then () => (float[2,2] z) {
                [bn] z = BatchNormalization(y, c, c, c, c)
            },
            else_branch = other () => (float[2,2] o) { o = Neg(x) }
        >
    }"""
    because = "`y` is given from outside, not computed"
    assert declined(rewrite(model(text, c=C))) == [("conv-scale", "bn", "structure", because)]


def test_a_view_that_refuses_is_the_reason() -> None:
    line = "y = Relu(x)\n[bn] z = BatchNormalization(y, c, c, c, v)"
    because = "`v` is an input of the graph, not a constant"
    assert explained(line, RULES, "float[2,2] x, float[2] v") == [
        ("conv-scale", "bn", "structure", because)
    ]


def test_nothing_is_said_where_a_rule_has_declined_already() -> None:
    # The Gemm is there, and a guard speaks against it.
    line = "[fc] y = Gemm(x, v)\n" + BN
    found = explained(line, RULES, "float[2,2] x, float[2,2] v")
    because = "the weights `v` are an input of the graph, not a constant"
    assert found == [("fc-scale", "bn", "product", because)]


def test_nothing_is_said_by_rules_that_explain_nothing() -> None:
    line = f"y = Relu(x)\n{BN}"
    assert explained(line, ["scale-conv", "identity-scale"]) == []


@pytest.mark.parametrize(
    ("lines", "because"),
    [
        (
            "w = Neg(x)\ny = Sigmoid(w)",
            "`y` is computed by Sigmoid node_of_y, not by a Scale",
        ),
        (
            "[relu] w = Relu(x)\n[minus] y = Neg(w)",
            f"`w` is computed by Relu relu, not by {PRODUCT}",
        ),
        (
            "w = Gemm(x, v)\ny = Neg(w)",
            "`w` is computed by Gemm node_of_w, and the weights `v` are an input of the graph, "
            "not a constant",
        ),
    ],
)
def test_the_deepest_mismatch_is_told(lines: str, because: str) -> None:
    deep = seen_as(Scale, "outer", seen_as(Scale, "inner", seen_as(FullyConnected, "fc", var("x"))))
    rules: list[str | Rule] = [
        Rule(
            "deep",
            given(deep, lambda m: True),
            (),
            lambda m, new: m["x"],
            explains=("BatchNormalization",),
        ),
    ]
    found = explained(f"{lines}\n{BN}", rules, "float[2,2] x, float[2,2] v")
    guard = "product" if "Gemm" in lines else "structure"
    expected = because.partition(", and ")[2] if guard == "product" else because
    assert found == [("deep", "bn", guard, expected)]


def test_of_two_rules_the_one_that_went_further_explains() -> None:
    near = seen_as(Scale, "outer", seen_as(Scale, "inner", seen_as(FullyConnected, "fc", var("x"))))
    far = seen_as(Scale, "outer", seen_as(FullyConnected, "fc", var("x")))
    rules: list[str | Rule] = [
        Rule(name, pattern, (), lambda m, new: m["x"], explains=("BatchNormalization",))
        for name, pattern in (("far", far), ("near", near))
    ]
    assert explained(f"[relu] w = Relu(x)\ny = Neg(w)\n{BN}", rules) == [
        ("near", "bn", "structure", f"`w` is computed by Relu relu, not by {PRODUCT}")
    ]


def test_only_rules_that_failed_alike_are_put_in_one_sentence() -> None:
    text = """(float[5,2,2] x) => (float[5,2,2] z) {
        [relu] r = Relu(x)
        [product] a = MatMul(r, w)
        [bias] z = Add(a, c)
    }"""
    conv = seen_as(Convolution, "conv", var("x"))
    own = seen_as(Scale, "inner", var("x"))
    # Through the Scale that an Add is, or through the product that it ends.
    scaled, product = seen_as(Scale, "s", conv), seen_as(FullyConnected, "p", own)
    deeper = seen_as(Scale, "s", seen_as(FullyConnected, "p", conv))

    def sentence(*patterns: Pattern) -> str:
        rules = [
            Rule(f"rule{i}", pattern, (), lambda m, new: m["x"], explains=("Add",))
            for i, pattern in enumerate(patterns)
        ]
        made = model(text, w=np.ones((2, 2), np.float32), c=C)
        ((_, _, guard, because),) = declined(rewrite(made, rules=rules, verify="none"))
        assert guard == "structure"
        return because

    assert sentence(scaled, product) == f"`a` is computed by MatMul product, not by {CONV}"
    assert sentence(product, scaled) == "`r` is computed by Relu relu, not by a Scale"
    assert sentence(product, deeper) == f"`r` is computed by Relu relu, not by {CONV}"


def test_a_layer_that_is_not_as_the_rule_needs_it_is_the_reason() -> None:
    pattern = seen_as(Scale, "s", seen_as(FullyConnected, "fc", var("x")), where=lambda seen: False)
    rule = Rule("picky", pattern, (), lambda m, new: m["x"], explains=("BatchNormalization",))
    because = "`z` is computed by BatchNormalization bn: not a Scale as the rule needs it"
    line = f"[fc] y = Gemm(x, x)\n{BN}"
    assert explained(line, [rule]) == [("picky", "bn", "structure", because)]


def test_a_pattern_of_calls_says_what_stands_there() -> None:
    pattern = op.BatchNormalization(op.Sigmoid(var("x")), var("a"), var("b"), var("c"), var("d"))
    rule = Rule("calls", pattern, (), lambda m, new: m["x"], explains=("BatchNormalization",))
    assert explained(f"y = Relu(x)\n{BN}", [rule]) == [
        ("calls", "bn", "structure", "`y` is computed by Relu node_of_y, not by Sigmoid")
    ]
