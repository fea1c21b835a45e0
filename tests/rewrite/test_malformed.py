"""Nodes that no runtime can run: rules leave them alone, and what is sound beside them is fused."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from fusing import rewrite
from onnx import AttributeProto, ModelProto, helper, numpy_helper, parser

import trtfuse
from trtfuse.errors import InternalError
from trtfuse.model.model import Model
from trtfuse.rewrite.condition import MALFORMED
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Rule


def model(text: str) -> ModelProto:
    """A model that the checker has not seen."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {text}')


def stumbling(m: Match, _: Replacement) -> None:
    raise KeyError(m["x"].name)


STUMBLES = Rule("stumbles", op.Relu(var("x"), out="y"), (), stumbling)

SOUND = "(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"
#: The Transpose repeats an axis; the two Relus behind it are one.
MALFORMED_MODEL = """(float[2,3] x) => (float[?,?] y) {
    [turn] t = Transpose <perm = [1,1]> (x) [one] a = Relu(t) [two] y = Relu(a)
}"""


def wrong_weight() -> ModelProto:
    """A Gemm whose weights have three dimensions, behind it a scale."""
    made = model("(float[2,3] x) => (float[?,?] y) { g = Gemm(x, w) y = Mul(g, s) }")
    made.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3, 2), np.float32), "w"))
    made.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "s"))
    return made


def test_a_rule_that_stumbles_in_a_malformed_model_is_declined() -> None:
    driver = Driver(Model(model(MALFORMED_MODEL)), [STUMBLES])
    driver.run()
    assert driver.fused == []
    declined = [each for each in driver.refused if each.guard == MALFORMED.name]
    assert {each.at.label for each in declined} == {"one", "two"}
    assert all("no runtime can run the model: " in each.because for each in declined)
    assert all("perm" in each.because and "\n" not in each.because for each in declined)


def test_a_rule_that_stumbles_in_a_sound_model_is_a_mistake_of_ours() -> None:
    with pytest.raises(InternalError, match="rule 'stumbles' at node_of_y, KeyError: 'x'"):
        Driver(Model(model(SOUND)), [STUMBLES]).run()


def test_what_is_asked_of_the_model_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from trtfuse.model import model as models

    asked = []
    contradiction = models.contradiction
    monkeypatch.setattr(
        models, "contradiction", lambda each: asked.append(each) or contradiction(each)
    )
    driver = Driver(Model(model(MALFORMED_MODEL)), [STUMBLES])
    driver._enqueue_all()
    driver._drain()
    assert len(asked) == 1


@pytest.mark.parametrize("verify", ["none", "rewrite"])
@pytest.mark.parametrize("groups", ["off", "flat"])
def test_sound_nodes_of_a_malformed_model_are_fused(verify: str, groups: str) -> None:
    result = rewrite(model(MALFORMED_MODEL), verify=verify, groups=groups)  # type: ignore[arg-type]
    assert [node.op_type for node in result.model.graph.node] == ["Transpose", "Relu"]


def test_weights_of_the_wrong_rank_are_left_alone() -> None:
    made = wrong_weight()
    result = rewrite(made, verify="none", groups="flat")
    assert [node.op_type for node in result.model.graph.node] == ["Gemm", "Mul"]


def test_a_malformed_model_is_explained() -> None:
    said = trtfuse.explain(model(MALFORMED_MODEL), rules=[STUMBLES])
    objections = [each for miss in said.misses for each in miss.objections]
    assert MALFORMED.name in {each.guard for each in objections}
    assert all(each.helps for each in objections if each.guard == MALFORMED)
    assert "malformed-node: no runtime can run the model: " in str(said)


def test_an_explanation_has_the_notes_of_the_model() -> None:
    made = model("(float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }")
    first, second = made.graph.node
    del made.graph.node[:]
    made.graph.node.extend([second, first])
    said = trtfuse.explain(made)
    assert any("nodes sorted" in note for note in said.notes)
    assert all(note in str(said) for note in said.notes)
    assert said.to_dict()["notes"] == said.notes


# What runtimes take, though it is odd


def test_a_scalar_is_taken_for_a_list_of_one() -> None:
    made = model("(float[2,3] x) => (float[?] y) { a = Reshape(x, s) y = Relu(a) }")
    made.graph.initializer.append(numpy_helper.from_array(np.array(-1, np.int64), "s"))
    result = rewrite(made, verify="none")
    assert len(result.model.graph.initializer) == 1


def test_an_attribute_that_refers_to_none_of_a_function_is_no_rules_matter() -> None:
    made = model("""(float[2,3] x) => (float[?,?] y) {
        [turn] t = Transpose(x) [mean] y = ReduceMean <axes = [1], keepdims = 1> (t)
    }""")
    made.graph.node[1].attribute[1].ref_attr_name = "keep"
    result = rewrite(made, verify="none", groups="off")
    assert list(result.model.graph.node) == list(made.graph.node)


def test_keepdims_of_two_is_left_to_the_runtime() -> None:
    made = model("""(float[2,3] x) => (float[?] y) {
        [mean] t = ReduceMean <axes = [1], keepdims = 2> (x) [sum] y = ReduceSum <keepdims = 2> (t)
    }""")
    result = rewrite(made, verify="none", groups="off")
    assert [node.name for node in result.model.graph.node] == ["mean", "sum"]


def test_an_empty_perm_is_not_one_that_is_left_out() -> None:
    # ONNX Runtime loads it, and runs the other branch, as long as no shape follows.
    made = model("""(float[1,2,4,4] x, bool c) => (float[1,2,4,4] y) <float[1,2,1,1] s = {2,3}> {
        p = Transpose <perm = [0,2,3,1]> (x) q = Transpose(p) o = Relu(q)
        y = If(c) <then_branch = yes () => (float[1,2,4,4] a) { a = Mul(o, s) },
                   else_branch = no () => (float[1,2,4,4] b) { b = Mul(x, s) }>
    }""")
    empty = helper.make_attribute("perm", [], attr_type=AttributeProto.INTS)
    made.graph.node[1].attribute.append(empty)
    result = rewrite(made, verify="none", groups="off")
    assert "Transpose" in [node.op_type for node in result.model.graph.node]
    for each in (made, result.model):
        session = ort.InferenceSession(each.SerializeToString())
        assert session.get_inputs()[0].shape == [1, 2, 4, 4]


def test_noop_with_empty_axes_of_two_is_left_to_the_runtime() -> None:
    made = model("(float[2,3] x) => (float[?,?] y) { r = Relu(x) y = ReduceSum(r) }")
    made.graph.node[1].attribute.append(helper.make_attribute("noop_with_empty_axes", 2))
    result = rewrite(made, verify="none", groups="off")
    assert [node.op_type for node in result.model.graph.node] == ["Relu", "ReduceSum"]


def test_lists_of_a_slice_that_differ_in_length_are_left_alone() -> None:
    made = model("""(float[2,3] x) => (float[?,?] y)
        <int64[1] first = {0}, int64[2] behind = {9, 9}, int64[1] axis = {0}> {
        r = Relu(x) y = Slice(r, first, behind, axis)
    }""")
    result = rewrite(made, verify="none", groups="off")
    assert [node.op_type for node in result.model.graph.node] == ["Relu", "Slice"]
