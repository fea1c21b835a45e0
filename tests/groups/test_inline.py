"""Calls of groups that become nodes again."""

from __future__ import annotations

import numpy as np
import onnx
from models import model
from onnx import ModelProto

import trtfuse

W = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
MLP = """(float[2,4] x) => (float[2,4] y) {
    [fc1] a = MatMul(x, w) [act1] b = LeakyRelu<alpha=0.3>(a) [fc2] c = MatMul(b, w)
    [last] y = Softmax(c)
}"""


def called(made: ModelProto) -> ModelProto:
    """With a call for each group."""
    fused = trtfuse.fuse(made, groups="functions").model
    assert len(fused.functions) > 0
    return fused


def without_values(made: ModelProto) -> list[tuple[str, str, list[str]]]:
    """Name, operator and attributes of each node."""
    return [
        (node.name, node.op_type, [str(attribute) for attribute in node.attribute])
        for node in made.graph.node
    ]


def test_nodes_have_their_names_and_attributes_again() -> None:
    made = model(MLP, w=W)
    result = trtfuse.fuse(called(made))
    assert without_values(result.model) == without_values(made)
    assert list(result.model.functions) == []
    assert [(opset.domain, opset.version) for opset in result.model.opset_import] == [
        (opset.domain, opset.version) for opset in made.opset_import
    ]
    assert list(result.model.metadata_props) == list(made.metadata_props)
    assert result.report.also == ["1 call of groups turned back into nodes"]
    onnx.checker.check_model(result.model, full_check=True)
    assert trtfuse.verify(made, result.model).max_error == 0


def test_without_metadata_nodes_are_numbered() -> None:
    bare = called(model(MLP, w=W))
    del bare.metadata_props[:]
    names = [node.name for node in trtfuse.fuse(bare).model.graph.node]
    call = "2-layer MLP (fc1 .. fc2)"
    assert names == [f"{call}/1", f"{call}/2", f"{call}/3", "last"]


def test_metadata_that_is_no_list_of_names_is_passed_over() -> None:
    odd = called(model(MLP, w=W))
    for text in ("nonsense", "[1]", '{"2-layer MLP (fc1 .. fc2)": 3}'):
        odd.metadata_props[0].value = text
        assert trtfuse.fuse(odd).model.graph.node[0].name.endswith("/1")


def test_without_groups_calls_become_nodes_too() -> None:
    made = model(MLP, w=W)
    result = trtfuse.fuse(called(made), groups="off")
    assert without_values(result.model) == without_values(made)
    assert result.report.fused == []


def test_calls_in_bodies_and_in_functions_of_a_user() -> None:
    branch = "() => (float[?,?] {0}) {{ [fc_{0}] m{0} = MatMul(x, w) [relu_{0}] {0} = Relu(m{0}) }}"
    made = model(
        f"""(bool cond, float[2,4] x) => (float[?,?] y) {{
            y = If (cond) <then_branch = t {branch.format("t")},
                           else_branch = e {branch.format("e")}>
        }}""",
        w=W,
    )
    own = onnx.FunctionProto(name="Block", domain="mine", input=["p"], output=["s"])
    own.node.append(onnx.helper.make_node("Neg", ["p"], ["r"], name="neg"))
    own.node.append(onnx.helper.make_node("Exp", ["r"], ["s"], name="exp"))
    own.opset_import.extend(made.opset_import)
    made.functions.append(own)
    made.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    made.graph.node[0].output[0] = "z"
    made.graph.node.append(onnx.helper.make_node("Block", ["z"], ["y"], domain="mine", name="call"))
    back = trtfuse.fuse(called(made)).model
    names = [[node.name for node in a.g.node] for a in back.graph.node[0].attribute]
    assert sorted(names) == [["fc_e", "relu_e"], ["fc_t", "relu_t"]]
    (block,) = back.functions
    assert [node.name for node in block.node] == ["neg", "exp"]
    assert [opset.domain for opset in block.opset_import] == [""]
    assert trtfuse.verify(made, back).max_error == 0


def test_what_the_first_node_says_of_itself_comes_back() -> None:
    made = model(MLP, w=W, ir_version=10)
    made.graph.node[0].doc_string = "the first"
    made.graph.node[0].metadata_props.add(key="origin", value="here")
    back = trtfuse.fuse(called(made), groups="off").model
    assert back.graph.node[0] == made.graph.node[0] or back.graph.node[0].doc_string == "the first"
    assert [entry.key for entry in back.graph.node[0].metadata_props] == ["origin"]


def test_a_call_is_no_saving() -> None:
    report = trtfuse.fuse(model(MLP, w=W), groups="functions").report
    assert report.after == report.before


def test_calls_within_the_function_of_a_call_become_nodes_too() -> None:
    nested = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "trtfuse": 1]>
        made (float[2] x) => (float[2] y) { [outer] y = trtfuse.both(x) }
        <opset_import: ["": 21], domain: "trtfuse"> one (a) => (b) { b = Exp(a) }
        <opset_import: ["": 21, "trtfuse": 1], domain: "trtfuse">
        both (a) => (c) { b = trtfuse.one(a) c = Tanh(b) }""")
    result = trtfuse.fuse(nested, verify="model")
    assert [node.op_type for node in result.model.graph.node] == ["Exp", "Tanh"]
    assert result.report.also == ["2 calls of groups turned back into nodes"]
    assert result.ok
