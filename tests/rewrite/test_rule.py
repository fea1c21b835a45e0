"""Rules as values, the catalogue of them, and what happens to a rule that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fusing import rewrite
from models import SCALES, attributes, declined, fused, model, node, nodes
from onnx import AttributeProto, TensorProto, defs

import trtfuse
from trtfuse.check.rewrite import RewriteCheck
from trtfuse.errors import UsageError
from trtfuse.ir.graph import Value
from trtfuse.model.model import Model
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.driver import Checked
from trtfuse.rewrite.entries import (
    BEST_PRACTICES,
    CLEANUP,
    F7,
    F8,
    FUSION_CATALOG,
    FUSION_LIST,
    UNLISTED,
    Entry,
)
from trtfuse.rewrite.guards import floating
from trtfuse.rewrite.pattern import Match, const, op, var
from trtfuse.rewrite.rule import CATALOGUE, Equation, Guard, Replacement, Rule, guard, selected

RELUS = model("(float[2] x) => (float[2] z) { [a] y = Relu(x)\n [b] z = Relu(y) }")
#: Chapter 2.5.2 of the document, today's catalog, and what a step before the build cleans up.
LABELS = [*(f"F{i}" for i in range(1, 17)), *(f"C{i}" for i in range(1, 13)), "Cleanup"]


@pytest.fixture(autouse=True)
def _catalogue() -> Iterator[None]:
    """Rules that a test adds are gone after it."""
    known = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(known)


def relu_of_relu(name: str = "relu-of-relu") -> Rule:
    @trtfuse.rule(
        name,
        op.Relu(op.Relu(var("x"))),
        equation=Equation("max(0, max(0, x))", "max(0, x)"),
        takes="Relu.",
    )
    def build(m: Match, new: Replacement) -> Value:
        """The second Relu does nothing."""
        return new.Relu(m["x"])

    return build


# The catalogue


def test_the_catalogue_has_its_rules_in_the_order_of_the_fusion_list() -> None:
    labels = [rule.entry.label for rule in trtfuse.rules()]
    assert labels == sorted(labels, key=LABELS.index)
    # Those of one entry stand as they are written.
    assert [rule.name for rule in trtfuse.rules() if rule.entry is F7] == ["identity-scale"]
    written = ["scale-scale", *SCALES[1:]]
    assert [rule.name for rule in trtfuse.rules() if rule.entry is F8] == written


@pytest.mark.parametrize("rule", trtfuse.rules(), ids=lambda rule: rule.name)
def test_a_rule_has_a_name_in_kebab_case_an_entry_and_a_kind(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert CATALOGUE[rule.name] is rule
    assert rule.entry.label in LABELS
    assert rule.kind in ("rewrite", "group")
    assert 1 <= rule.since <= defs.onnx_opset_version()


def test_a_rule_of_the_user_is_applied_listed_and_reported() -> None:
    added = relu_of_relu()
    assert trtfuse.rules()[-1] is added
    assert added.doc == "The second Relu does nothing."
    assert str(added.equation) == "max(0, max(0, x))  ==  max(0, x)"
    assert (added.takes, str(added.entry), added.entry.document) == ("Relu.", "", "")
    assert repr(added) == "Rule('relu-of-relu')"
    # Three of the catalogue's own do the same.
    result = rewrite(RELUS, skip=["idempotent", "clip-clip", "within-range"])
    assert fused(result) == [("relu-of-relu", "a + b")]
    assert nodes(result.model) == ["-: Relu(x) -> z"]


def test_a_rule_of_the_user_may_implement_an_entry_of_the_list() -> None:
    def add(name: str, entry: Entry | str) -> Rule:
        @trtfuse.rule(name, op.Relu(op.Relu(var("x"))), entry=entry)
        def build(m: Match, new: Replacement) -> Value:
            return new.Relu(m["x"])

        return build

    assert add("by-value", F7).entry is add("by-label", "F7").entry is F7
    names = [rule.name for rule in trtfuse.rules()]
    assert names[names.index("identity-scale") :][1:3] == ["by-value", "by-label"]
    assert add("elsewhere", "X1").entry == Entry("X1")
    assert trtfuse.rules()[-1].name == "elsewhere"


# The fusion list


def test_the_list_is_that_of_the_document_and_of_the_catalog() -> None:
    assert [entry.label for entry in FUSION_LIST] == LABELS
    assert [entry.place for entry in FUSION_LIST] == list(range(len(LABELS)))
    assert {entry.document for entry in FUSION_LIST[:16]} == {BEST_PRACTICES}
    assert {entry.document for entry in FUSION_LIST[16:28]} == {FUSION_CATALOG}
    assert [entry for entry in FUSION_LIST if entry.cleans_up] == [CLEANUP]
    assert UNLISTED.place == len(FUSION_LIST)


def test_a_part_of_an_entry_has_its_own_title_in_the_same_place() -> None:
    part = CLEANUP.part("constant folding")
    assert [str(each) for each in (F8, CLEANUP, part, UNLISTED)] == [
        "F8 (Convolution and Scale)",
        "Cleanup",
        "Cleanup (constant folding)",
        "",
    ]
    assert (part.place, part.cleans_up) == (CLEANUP.place, True)


def test_a_rule_may_go_by_several_equations() -> None:
    equation = Equation("and(x, true)", "x").also("or(x, false)", "x")
    assert str(equation) == "and(x, true)  ==  x;  or(x, false)  ==  x"
    assert (equation.before, equation.after) == ("and(x, true)", "x")


# More of the catalogue


def test_a_rule_defined_again_in_its_module_takes_the_place_of_the_first() -> None:
    first = relu_of_relu("conv-twice")
    last = relu_of_relu("last")
    second = relu_of_relu("conv-twice")
    assert second is not first
    assert trtfuse.rules()[-2:] == (second, last)


def test_the_name_of_a_rule_from_elsewhere_is_taken() -> None:
    expected = "there is a rule 'conv-scale' already, in trtfuse.rules.scale"
    with pytest.raises(UsageError, match=expected):
        relu_of_relu("conv-scale")
    assert CATALOGUE["conv-scale"].entry is F8


@pytest.mark.parametrize("pattern", [var("x"), const("c"), op.Relu(var("x")) | var("x")])
def test_a_pattern_has_to_begin_with_an_operator(pattern: object) -> None:
    with pytest.raises(
        UsageError, match="the pattern of rule 'rootless' does not begin with an operator"
    ):
        trtfuse.rule("rootless", pattern)(lambda m, new: m["x"])  # type: ignore[arg-type]
    assert "rootless" not in CATALOGUE


def test_rules_are_selected_by_name_in_the_order_of_the_catalogue() -> None:
    assert selected(None) == trtfuse.rules()
    assert set(selected(None)) == set(CATALOGUE.values())
    assert [rule.name for rule in selected(["fc-scale", "identity-scale"])] == [
        "identity-scale",
        "fc-scale",
    ]
    assert selected([]) == ()
    assert [rule.name for rule in selected(SCALES, ["fc-scale", "scale-fc"])] == [
        "identity-scale",
        "conv-scale",
        "scale-conv",
    ]
    left = selected(None, ["fc-scale", "scale-fc"])
    assert [rule for rule in trtfuse.rules() if rule not in left] == list(
        selected(["scale-fc", "fc-scale"])
    )
    own = Rule("own", op.Relu(var("x")), (), lambda m, new: m["x"])
    assert [rule.name for rule in selected([own, "scale-fc"])] == ["scale-fc", "own"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conv-scal", "unknown rule 'conv-scal'; did you mean 'conv-scale'?"),
        ("scale_fc", "unknown rule 'scale_fc'; did you mean 'scale-fc'?"),
        ("xyz", "unknown rule 'xyz'; `trtfuse rules` lists them"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name: str, message: str) -> None:
    for arguments in (([name], ()), (None, [name])):
        with pytest.raises(UsageError) as caught:
            selected(*arguments)
        assert str(caught.value) == message


def test_a_rule_says_from_which_opset_it_applies() -> None:
    late = Rule("late", op.Relu(op.Relu(var("x"))), (), lambda m, new: new.Relu(m["x"]), since=22)
    result = rewrite(RELUS, rules=[late])
    because = "the model imports opset 21, and the rule needs 22"
    assert declined(result) == [("late", "b", "opset", because)]
    assert result.model == RELUS
    newer = model("(float[2] x) => (float[2] z) { [a] y = Relu(x)\n [b] z = Relu(y) }", opset=22)
    assert fused(rewrite(newer, rules=[late])) == [("late", "a + b")]


# Guards


def test_a_guard_is_named_after_its_function_and_takes_arguments() -> None:
    @guard
    def is_called(m: Match, name: str, *, expected: str) -> str | None:
        """The value has the name that is expected."""
        found = m[name].name
        return None if found == expected else f"`{found}` is not called {expected}"

    made = is_called("x", expected="other")
    assert made.name == "is-called"
    assert made.doc == "The value has the name that is expected."
    rule = Rule("named", op.Relu(op.Relu(var("x"))), (made,), lambda m, new: new.Relu(m["x"]))
    assert declined(rewrite(RELUS, rules=[rule])) == [
        ("named", "b", "is-called", "`x` is not called other")
    ]
    assert (made.helps, made.advice) == (
        "",
        "it takes this: The value has the name that is expected.",
    )
    passing = Rule("named", rule.pattern, (is_called("x", expected="x"),), rule.build)
    assert fused(rewrite(RELUS, rules=[passing])) == [("named", "a + b")]


def test_a_guard_says_what_helps() -> None:
    @guard(helps="call it x")
    def is_x(m: Match, name: str) -> str | None:
        """The value is called x."""
        return None if m[name].name == "x" else "it is not"

    made = is_x("y")
    assert isinstance(made, Condition)
    assert (made.name, made.doc, made.helps) == ("is-x", "The value is called x.", "call it x")
    assert made.advice == "call it x"


@pytest.mark.parametrize(
    ("kind", "because"),
    [
        ("float", None),
        ("double", None),
        ("float16", None),
        ("bfloat16", None),
        ("int32", "`x` is int32, and only floating-point numbers may be regrouped"),
        ("int8", "`x` is int8, and only floating-point numbers may be regrouped"),
    ],
)
def test_the_guard_for_floating_types(kind: str, because: str | None) -> None:
    rule = Rule("any", op.Neg(op.Identity(var("x"))), (floating("x"),), lambda m, new: m["x"])
    made = model(
        f"({kind}[2] x) => ({kind}[2] z) {{ y = Identity(x)\n [a] w = Neg(y)\n z = Identity(w) }}"
    )
    result = rewrite(made, rules=[rule], verify="none")
    assert declined(result) == ([] if because is None else [("any", "a", "floating", because)])
    assert len(result.report.fused) == (because is None)


def test_a_value_of_unknown_type_is_not_floating() -> None:
    rule = Rule("any", op.Identity(var("x")), (floating("x"),), lambda m, new: m["x"])
    made = model("(float[2] x) => (float[2] z) { o = Relu(x)\n [a] z = Identity(o) }")
    made.opset_import.add(domain="custom", version=1)
    made.graph.node[0].domain = "custom"
    because = (
        "the type of `o` is not known: it comes from the custom operator `custom::Relu` (node "
        "`node_of_o`); declare the type of `o` in the value_info of the model"
    )
    assert declined(rewrite(made, rules=[rule])) == [("any", "a", "floating", because)]


# Wrong rules


def test_a_wrong_rule_is_stopped_by_the_check() -> None:
    wrong = Rule("wrong", op.Relu(op.Relu(var("x"))), (), lambda m, new: new.Abs(m["x"]))
    result = rewrite(RELUS, rules=[wrong], seed=7)
    ((rule, at, stopped_by, because),) = declined(result)
    assert (rule, at, stopped_by) == ("wrong", "b", "check")
    assert because.startswith("the two spellings do not compute the same: relative error ")
    assert because.endswith((" for normal x[2], seed 7", " for wide x[2], seed 7"))
    assert result.model == RELUS
    assert result.ok
    # Nothing but the check stands in its way.
    assert nodes(rewrite(RELUS, rules=[wrong], verify="none").model) == ["-: Abs(x) -> z"]


@pytest.mark.parametrize("other", [1 + 1e-9, 1 + 1e-6, -1, 0])
def test_a_slightly_wrong_number_is_stopped_too(other: float) -> None:
    def build(m: Match, new: Replacement) -> Value:
        factor = m.tensor("c").exact() * other
        return new.Mul(m["x"], new.constant(factor, TensorProto.DOUBLE, m["c"]))

    wrong = Rule("wrong", op.Mul(op.Relu(var("x")), const("c")), (), build)
    right = Rule("right", wrong.pattern, (), lambda m, new: new.Mul(new.Relu(m["x"]), m["c"]))
    made = model(
        "(double[5,4] x) => (double[5,4] z) { y = Relu(x)\n [mul] z = Mul(y, c) }",
        c=np.float64([1, 10, 100, 1000]),
    )
    assert [each[2] for each in declined(rewrite(made, rules=[wrong]))] == ["check"]
    # It stops no right one; what that makes matches again, so it is not given to the driver.
    mul = node(Model(made), "mul")
    match = next(iter(right.pattern.matches(mul.output, Match([]))))
    assert mul.graph is not None
    new = Replacement(mul.graph)
    built = right.build(match, new)
    assert isinstance(built, Value)
    assert RewriteCheck()(right, match, new, (built,)) == Checked(None, 0.0, drawn=8)


def test_another_shape_is_stopped() -> None:
    wrong = Rule(
        "wrong",
        op.Relu(op.Relu(var("x"))),
        (),
        lambda m, new: new.Relu(
            new.Reshape(m["x"], new.constant(np.int64([2, 1]), TensorProto.INT64, "shape"))
        ),
    )
    ((_, _, stopped_by, because),) = declined(rewrite(RELUS, rules=[wrong]))
    assert stopped_by == "check"
    assert because == (
        "the two spellings do not compute the same: float64[2] becomes float64[2, 1] "
        "for normal x[2], seed 0"
    )


def test_a_wrong_power_is_stopped_although_it_has_no_derivative_everywhere() -> None:
    # The check moves the exponent by a hair, and a negative number to that has no value.
    wrong = Rule("wrong", op.Pow(var("x"), const("c")), (), lambda m, new: new.Neg(m["x"]))
    made = model("(float[2,3] x) => (float[2,3] z) { z = Pow(x, c) }", c=np.float32(2))
    assert [each[2] for each in declined(rewrite(made, rules=[wrong]))] == ["check"]
    right = Rule("right", wrong.pattern, (), lambda m, new: new.Mul(m["x"], m["x"]))
    assert fused(rewrite(made, rules=[right])) == [("right", "node_of_z")]


def test_what_cannot_be_evaluated_is_stopped() -> None:
    wrong = Rule(
        "wrong",
        op.Relu(op.Relu(var("x"))),
        (),
        lambda m, new: new.op("custom::Relu", m["x"]),
    )
    made = model("(float[2] x) => (float[2] z) { [a] y = Relu(x)\n [b] z = Relu(y) }")
    made.opset_import.add(domain="custom", version=1)
    ((_, _, stopped_by, because),) = declined(rewrite(made, rules=[wrong]))
    assert stopped_by == "check"
    assert "could not be evaluated in float64" in because


def test_a_constant_that_its_type_does_not_hold_is_stopped_without_a_check() -> None:
    def build(m: Match, new: Replacement) -> Value:
        return new.Mul(m["x"], new.constant(np.float64([1e6]), TensorProto.FLOAT16, "large"))

    rule = Rule("large", op.Abs(var("x")), (), build)
    made = model("(float16[2] x) => (float16[2] z) { [abs] z = Abs(x) }")
    because = "a folded value would be 1e+06, beyond the largest float16 (6.55e+04)"
    result = rewrite(made, rules=[rule], verify="none")
    assert declined(result) == [("large", "abs", "representable", because)]


# Replacements


def replacement() -> tuple[Replacement, Value]:
    read = Model(RELUS)
    return Replacement(read.graph), next(iter(read.graph.inputs))


def test_a_new_node_is_in_no_graph_yet() -> None:
    new, x = replacement()
    y = new.Clip(x, None, x, None)
    (made,) = new.nodes
    assert (made.op, made.graph, made.output) == ("Clip", None, y)
    assert made.inputs == [x, None, x]
    assert not x.uses or made not in x.uses
    assert new.opset == 21
    with pytest.raises(AttributeError):
        new.relu(x)


def test_a_new_node_goes_by_the_opset_of_the_graph_that_it_is_for() -> None:
    made = model("(float[2] x) => (float[2] y) { y = Relu(x) }", opset=12)
    graph = Model(made).graph
    softmax = Replacement(graph).Softmax(next(iter(graph.inputs))).producer
    assert softmax is not None
    assert (softmax.graph, softmax.opset, softmax.attribute("axis")) == (None, 12, 1)


def test_a_new_node_may_read_nothing() -> None:
    new, _ = replacement()
    new.Constant(value_float=1.0)
    assert new.nodes[0].inputs == []


def test_a_new_value_is_named_after_its_node_or_else_its_operator() -> None:
    new, x = replacement()
    assert new.Neg(x).name == "Neg_output"
    assert x.uses
    (reader,) = x.uses
    assert new.Neg(x, like=reader).name == "a_output"


def test_attributes_that_are_none_are_left_out() -> None:
    new, x = replacement()
    new.Gemm(x, x, transB=1, alpha=None)
    assert attributes(new.nodes[0].proto) == {"transB": 1}


def test_a_node_again_keeps_all_but_what_is_given() -> None:
    made = model("(float[2,2] x) => (float[2,2] z) { [fc] z = Gemm <alpha=0.5, beta=2.0> (x, x) }")
    made.graph.node[0].doc_string = "kept"
    read = Model(made)
    (old,) = read.graph.nodes()
    new = Replacement(read.graph)
    (x,) = read.graph.inputs
    again = new.again(old, x, x, x, beta=1.0)
    proto = new.nodes[0].proto
    assert attributes(proto) == {"alpha": 0.5, "beta": 1.0}
    assert (proto.name, proto.doc_string) == ("fc", "kept")
    assert again.producer is new.nodes[0]
    assert attributes(old.proto) == {"alpha": 0.5, "beta": 2.0}


def test_a_node_like_another_takes_over_what_it_is_called() -> None:
    made = model("(float[2] x) => (float[2] z) { [old] z = Relu(x) }")
    made.graph.node[0].doc_string = "why"
    made.graph.node[0].metadata_props.add(key="k", value="v")
    read = Model(made)
    (old,) = read.graph.nodes()
    new = Replacement(read.graph)
    new.Neg(next(iter(read.graph.inputs)), like=old)
    proto = new.nodes[0].proto
    assert (proto.name, proto.doc_string) == ("old", "why")
    assert [(each.key, each.value) for each in proto.metadata_props] == [("k", "v")]


def test_a_new_constant_is_named_after_what_it_is_made_from() -> None:
    new, x = replacement()
    assert new.constant(np.ones(2), TensorProto.FLOAT, x).name == "x_fused"
    again = new.constant(np.ones(2), TensorProto.FLOAT, new.constants[0])
    assert again.name == "x_fused"
    assert new.constant(np.ones(2), TensorProto.FLOAT, "own").name == "own"
    assert again.tensor is not None
    assert again.tensor.array().dtype == np.float32


def test_what_has_no_docstring_says_nothing() -> None:
    @guard
    def silent(m: Match) -> str | None:
        return None

    assert silent().doc == ""
    assert Rule("silent", op.Relu(var("x")), (), lambda m, new: m["x"]).doc == ""


def test_a_guard_is_a_value() -> None:
    never = Guard("never", lambda m: "it never does", "Never.")
    assert (never.name, never.doc, never.helps) == ("never", "Never.", "")
    assert Guard("never", never.check, "Never.", "do it").advice == "do it"
    assert never == Guard("never", never.check, "Never.")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: trtfuse.rule("misspelled", op.Exp(op.Rleu(var("x"))))(lambda m, _: m["x"]),
            "the pattern of rule 'misspelled' asks for Rleu, which ONNX does not have; did you "
            "mean Relu?",
        ),
        (
            lambda: trtfuse.rule("wrong", op.Conv(var("x"), goup=1))(lambda m, _: m["x"]),
            "the pattern of rule 'wrong' asks for the attribute 'goup' of Conv, which ONNX does "
            "not have; did you mean 'group'?",
        ),
        (
            lambda: trtfuse.rule("shares", op.Relu(var("x")), shared=("y",))(lambda m, _: m["x"]),
            "the pattern of rule 'shares' binds no 'y', which it shares",
        ),
        (
            lambda: trtfuse.rule("asks", op.Relu(var("x")), floating)(lambda m, _: m["x"]),
            "guard 'floating' of rule 'asks' is not made yet; call it, as `floating(...)`",
        ),
    ],
)
def test_a_mistake_in_a_pattern_is_told_where_it_is_made(make: Any, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make()
    assert str(raised.value) == message


def test_attributes_of_older_opsets_and_operators_of_other_domains_are_no_mistakes() -> None:
    assert op.ReduceMean(var("x"), axes=[1]).mistake() is None
    assert op["com.microsoft::FusedConv"](var("x"), activation="Relu").mistake() is None


@pytest.mark.parametrize("each", [rule for rule in trtfuse.rules() if isinstance(rule, Rule)])
def test_no_rule_of_the_catalogue_has_a_mistake_in_its_pattern(each: Rule) -> None:
    assert each.pattern.mistake() is None
    assert set(each.shared) <= each.pattern.names()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m, _: m["z"], "rule 'mine': the pattern binds no 'z'; it binds 'x'"),
        (
            lambda m, new: new.Mul(m["x"], m.tensor("x")),
            "rule 'mine': the pattern binds 'x' to no constant; use `const('x')`",
        ),
        (lambda m, _: m.tensor("z"), "rule 'mine': the pattern binds no 'z'; it binds 'x'"),
        (lambda _, __: None, "rule 'mine' returns nothing for `a`"),
        (
            lambda m, new: new.LeakyRelu(m["x"], alpha=np.float32([0.5])),
            "rule 'mine': the builder makes LeakyRelu with alpha = array([0.5], dtype=float32); it "
            "takes float",
        ),
        (
            lambda m, new: new.Transpose(m["x"], perm=0),
            "rule 'mine': the builder makes Transpose with perm = 0; it takes a list of int",
        ),
        (
            lambda m, _: (m["x"], m["x"]),
            "rule 'mine' returns 2 values for node_of_a, which computes 1",
        ),
        (lambda _, __: 3, "rule 'mine' returns a value of type int, not a Value"),
        (
            lambda m, new: new.Rleu(m["x"]),
            "rule 'mine': the builder makes Rleu, which ONNX does not have at opset 17; did you "
            "mean Relu?",
        ),
        (
            lambda m, new: new.LeakyRelu(m["x"], alfa=2.0),
            "rule 'mine': the builder makes the attribute 'alfa' of LeakyRelu, which ONNX does not "
            "have at opset 17; did you mean 'alpha'?",
        ),
        (
            lambda m, new: new.Gelu(m["x"]),
            "rule 'mine': the builder makes Gelu, which ONNX does not have at opset 17",
        ),
    ],
)
def test_a_mistake_in_a_builder_is_told_in_its_words(build: Any, message: str) -> None:
    made = model("(float[2] x) => (float[2] y) { a = Relu(x) y = Exp(a) }", opset=17)
    mine = Rule("mine", op.Relu(var("x")), (), build)
    with pytest.raises(UsageError) as raised:
        rewrite(made, rules=[mine], verify="none")
    assert str(raised.value) == message


def test_an_attribute_is_of_the_type_that_onnx_declares() -> None:
    made = model("(float[2] x) => (float[2] y) { a = Relu(x) y = Exp(a) }", opset=17)
    mine = Rule("mine", op.Relu(var("x")), (), lambda m, new: new.LeakyRelu(m["x"], alpha=1))
    (leaky, _) = rewrite(made, rules=[mine], verify="none").model.graph.node
    assert (leaky.attribute[0].type, leaky.attribute[0].f) == (AttributeProto.FLOAT, 1.0)
