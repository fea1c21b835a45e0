"""Why nodes were not fused, and what became of those that were."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.result.advice import condition
from trtfuse.result.explanation import Explanation

W = np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)
S = np.float32([2, 3]).reshape(1, 2, 1, 1)
ROOT = Path(__file__).parent


def said(found: Explanation) -> list[tuple[str, str, list[tuple[str, str]]]]:
    return [(m.rule, m.at, [(o.guard, o.because) for o in m.objections]) for m in found.misses]


@pytest.fixture
def chain() -> ModelProto:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z) {
        [conv1] a = Conv(x, w)
        [bn1] b = BatchNormalization(a, c, c, c, c)
        [mul1] d = Mul(b, s)
        [relu1] z = Relu(d)
        [unread] u = Neg(z)
    }"""
    return model(text, w=W, s=S, c=np.float32([1, 2]))


def test_what_happened_to_a_node_step_by_step(chain: ModelProto) -> None:
    found = trtfuse.explain(chain, "mul1", rules=["conv-scale"])
    assert (found.node, found.operator) == ("mul1", "Mul")
    sentences = [(step.nodes, step.sentence) for step in found.steps]
    assert sentences == [(["conv1", "mul1"], "fused by conv-scale into conv1")]


def test_what_a_rewrite_made_may_be_absorbed_again(chain: ModelProto) -> None:
    found = trtfuse.explain(chain, "bn1", rules=["conv-scale"])
    assert [step.sentence for step in found.steps] == [
        "fused by conv-scale into conv1",
        "absorbed by conv-scale into conv1",
    ]
    assert [step.nodes for step in found.steps] == [["conv1", "bn1"], ["conv1", "mul1"]]
    assert "conv1 + mul1: absorbed by conv-scale into conv1" in str(found)


def test_a_node_that_nothing_reads_is_removed(chain: ModelProto) -> None:
    found = trtfuse.explain(chain, "unread")
    assert [step.sentence for step in found.steps] == ["removed: its output is unused"]
    assert found.misses == []
    assert str(found).endswith("unread: removed: its output is unused")


def test_a_node_that_does_nothing_is_erased() -> None:
    text = "(float[2] x) => (float[2] z) { [one] y = Mul(x, c) [last] z = Relu(y) }"
    found = trtfuse.explain(model(text, c=np.float32([1])), "one")
    assert [step.sentence for step in found.steps] == ["erased by identity-scale"]


def test_a_node_that_stands_as_it_was(chain: ModelProto) -> None:
    found = trtfuse.explain(chain, "relu1", rules=["identity-scale"])
    assert (found.steps, found.misses) == ([], [])
    assert "It stands as it was.\nNo rule comes near it." in str(found)


def test_every_guard_that_vetoes_is_named_not_only_the_first() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z, float[1,2,4,4] y) {
        [conv] y = Conv(x, w)
        [pow] p = Pow(y, e)
        [mul] z = Mul(p, s)
    }"""
    made = model(text, w=W, e=np.float32([2]), s=np.ones((1, 1, 1, 4), np.float32))
    for name in ("pow", "conv"):
        found = trtfuse.explain(made, name, rules=["conv-scale"])
        (miss,) = [m for m in found.misses if m.at == "pow"]
        assert [(o.guard, o.because) for o in miss.objections] == [
            ("one-consumer", "`y` is an output of the graph"),
            ("power-of-one", "the power `e` is 2.0, not 1"),
        ]
        assert (miss.matched, miss.of) == (2, 2)
        assert (miss.nodes, miss.operators) == (["conv", "pow"], ["Conv", "Pow"])
        assert (miss.entry, miss.document) == (
            "F8 (Convolution and Scale)",
            "Best Practices for TensorRT Performance, chapter 2.5",
        )
        assert [o.helps for o in miss.objections] == [
            condition(o.guard).advice for o in miss.objections
        ]


def test_the_closest_comes_first_and_a_node_asks_for_rules_that_begin_elsewhere() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z, float[1,2,4,4] y) {
        [act] y = Relu(x)
        [scale] a = Mul(y, s)
        [conv] z = Conv(a, w)
    }"""
    found = trtfuse.explain(model(text, w=W, s=np.ones((1, 1, 1, 4), np.float32) * 2), "scale")
    rules = [miss.rule for miss in found.misses]
    assert rules[0] == "scale-conv"
    (first, *_) = found.misses[0].objections
    assert first.guard == "one-value-per-input-channel"
    distances = [(m.objections[0].guard == "structure", -m.matched / m.of) for m in found.misses]
    assert distances == sorted(distances)


def test_a_structure_that_is_nearly_there_says_what_is_in_its_place() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z) {
        [tanh] a = Tanh(x)
        [act] y = Relu(a)
        [conv] z = Conv(y, w)
    }"""
    found = trtfuse.explain(model(text, w=W), "conv", rules=["scale-activation"])
    assert said(found) == [
        (
            "scale-activation",
            "conv",
            [("structure", "`a` is computed by Tanh tanh, not by a Scale")],
        )
    ]
    assert (found.misses[0].matched, found.misses[0].of) == (2, 3)
    assert found.misses[0].nodes == ["act", "conv"]
    # A third of a structure is missing in every network: that is no near miss.
    assert trtfuse.explain(model(text, w=W), rules=["scale-activation"]).misses == []


def test_without_a_node_everything_left_is_looked_at() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z, float[1,2,4,4] y) {
        [conv] y = Conv(x, w)
        [mul] z = Mul(y, s)
    }"""
    found = trtfuse.explain(model(text, w=W, s=S))
    assert (found.node, found.operator, found.asked) == (None, None, 2)
    assert said(found) == [
        ("conv-scale", "mul", [("one-consumer", "`y` is an output of the graph")])
    ]
    assert json.loads(found.to_json())["misses"][0]["of"] == 2


def test_a_long_list_is_short_enough_to_read() -> None:
    lines = ["[c0] y0 = Conv(x, w)"]
    for i in range(300):
        lines += [f"[m{i}] z{i} = Mul(y{i}, s)", f"[a{i}] b{i} = Add(z{i}, y{i})"]
        lines += [f"[c{i + 1}] y{i + 1} = Conv(b{i}, w)"]
    text = f"(float[1,2,4,4] x) => (float[1,2,4,4] y300) {{ {' '.join(lines)} }}"
    found = trtfuse.explain(model(text, w=W, s=S))
    assert len([m for m in found.misses if m.rule == "conv-scale"]) == 300
    text = str(found)
    assert len(text.splitlines()) < 60
    assert "conv-scale [F8 (Convolution and Scale)]: 300 places" in text
    assert "  and 297 more" in text


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("conv", "the model has no node 'conv'; did you mean 'conv1'?"),
        ("Mul", "the model has no node 'Mul'; did you mean 'mul1'?"),
        ("zzzzzz", "the model has no node 'zzzzzz'; names are those of the report"),
        ("b", "'b' is a value, not a node; it is computed by 'bn1'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(chain: ModelProto, name: str, hint: str) -> None:
    with pytest.raises(trtfuse.UsageError) as raised:
        trtfuse.explain(chain, name)
    assert str(raised.value).startswith(hint)


def test_the_model_is_not_changed(chain: ModelProto) -> None:
    before = chain.SerializeToString()
    trtfuse.explain(chain)
    assert chain.SerializeToString() == before


def test_an_empty_graph_has_nothing_to_explain() -> None:
    found = trtfuse.explain(model("(float[2] x) => (float[2] x) { }"))
    assert str(found) == "written: 0 nodes left, no rule comes near any of them"


def test_a_rule_of_a_user_needs_no_entry() -> None:
    text = "(float[2] x) => (float[2] z) { [neg] y = Neg(x) [relu] z = Relu(y) }"
    from trtfuse.rewrite.pattern import op, var
    from trtfuse.rewrite.rule import Guard, Rule

    never = Guard("never", lambda m: "it is never done", "Never.")
    silent = Guard("breaks", lambda m: m["nothing"], "Counts on the other.")
    rule = Rule("mine", op.Relu(op.Neg(var("x"))), (never, silent), lambda m, new: m["x"])
    (miss,) = trtfuse.explain(model(text), rules=[rule]).misses
    assert (miss.rule, miss.entry, miss.document) == ("mine", "", "")
    (objection,) = miss.objections
    assert (objection.guard, objection.holds) == ("never", "Never.")
    assert objection.helps == "it takes this: Never."


def test_every_guard_of_every_rule_is_declined_by_a_test_of_rules() -> None:
    # Those tests run under a fixture that asks `explain` for every sentence they assert.
    pages = [page for folder in ("rules", "groups") for page in (ROOT / folder).rglob("test_*.py")]
    texts = "".join(page.read_text(encoding="utf-8") for page in pages)
    guards = {guard.name for rule in trtfuse.rules() for guard in rule.guards}
    assert [name for name in sorted(guards) if not re.search(rf'"{name}"', texts)] == []


MLP = """(float[4,2] x) => (float[4,2] z, float[4,2] c) {
    [ip1] a = MatMul(x, w)
    [relu1] b = Relu(a)
    [ip2] c = MatMul(b, w)
    [last] z = Sigmoid(c)
}"""


def test_a_node_in_a_group_says_in_which() -> None:
    found = trtfuse.explain(model(MLP, w=W[:, :, 0, 0]), "relu1")
    (step,) = found.steps
    assert step.nodes == ["ip1", "relu1", "ip2"]
    assert step.into == ["2-layer MLP (ip1 .. ip2)"]
    assert step.sentence == "one kernel by mlp: 2-layer MLP (ip1 .. ip2)"


def test_a_group_that_does_not_grow_says_why() -> None:
    found = trtfuse.explain(model(MLP, w=W[:, :, 0, 0]))
    (miss,) = [each for each in found.misses if each.rule == "mlp"]
    assert (miss.at, [each.guard for each in miss.objections]) == ("ip2", ["only-read-inside"])
    assert miss.entry.startswith("F16 ")


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_an_explanation_knows_how_much_constants_may_grow(limit: int) -> None:
    made = model(
        "(float[64,64] x) => (float[64,64] y) { wide = Tile(c, times) y = Add(x, wide) }",
        c=np.full((1, 64), 2, np.float32),
        times=np.int64([64, 1]),
    )
    declined = {miss.guard for miss in trtfuse.fuse(made, fold_limit=limit).report.declined}
    explained = said(trtfuse.explain(made, fold_limit=limit))
    guards = {guard for _, _, reasons in explained for guard, _ in reasons}
    assert ("bounded-growth" in declined) == ("bounded-growth" in guards) == (limit == 0)


def test_fuse_and_explain_tell_of_the_same_groups_and_misses() -> None:
    """A size that only a rewrite makes known is not known to groups, or a second run knew more."""
    text = """(float[N,4] x, float[N,4] v) => (float[?,?] z, float[N,4] e) {
        [shape] s = Shape(v)
        [same] r = Reshape(x, s)
        [a] p = Exp(r)
        [c] q = Add(p, v)
        [twice] z = Mul(q, q)
        [other] e = Tanh(v)
    }"""
    made = model(text)
    report = trtfuse.fuse(made, groups="flat").report
    grouped = {name: f.name for f in report.fused if f.kind == "group" for name in f.nodes}
    for node in made.graph.node:
        found = trtfuse.explain(made, node.name)
        kernels = [step.into[0] for step in found.steps if step.sentence.startswith("one kernel")]
        assert kernels == ([grouped[node.name]] if node.name in grouped else [])
    misses = {(rule, at, *why[0]) for rule, at, why in said(trtfuse.explain(made))}
    assert {(m.rule, m.at, m.guard, m.because) for m in report.declined} <= misses


def test_guards_that_count_on_a_later_opset_are_left_out() -> None:
    text = """(float[2,3] x) => (float[2,3] y) {
        h = HardSigmoid<alpha=0.16666667, beta=0.5>(x)
        [m] y = Mul(h, x)
    }"""
    (miss,) = trtfuse.explain(model(text, opset=13), rules=["hard-swish"]).misses
    assert [(o.guard, o.because) for o in miss.objections] == [
        ("opset", "the model imports opset 13, and the rule needs 14")
    ]


def test_a_rule_that_explains_what_is_left_over_says_what_it_looks_for() -> None:
    made = model(
        "(float[2,2] x) => (float[2,2] z) { y = Relu(x) z = BatchNormalization(y, c, c, c, c) }",
        c=np.float32([1, 2]),
    )
    (miss,) = trtfuse.explain(made, rules=["conv-scale"]).misses
    assert [(o.guard, o.helps) for o in miss.objections] == [
        ("structure", "it looks for s * (w * x + b) + t")
    ]
