"""Nodes in calls of groups, by the names that they had."""

from __future__ import annotations

import onnx

from trtfuse.engine.names import with_own_names
from trtfuse.groups.members import note_members
from trtfuse.result.layer import Layer

MODEL = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["": 21, "trtfuse": 1, "mine": 1]>
    grouped (float[2] x) => (float[2] y) {
        ["conv1 + relu1"] t = trtfuse.conv_relu(x)
        ["conv2 + relu2"] u = trtfuse.conv_relu(t)
        ["2-layer MLP (fc1 .. act2)"] v = trtfuse.mlp(u)
        ["whole"] y = mine.Own(v)
    }
    <opset_import: ["": 21], domain: "trtfuse">
    conv_relu (a) => (c) { [Conv] b = Exp(a) [Relu] c = Relu(b) }
    <opset_import: ["": 21], domain: "trtfuse">
    mlp (a) => (d) { [Gemm] b = Exp(a) [Relu] c = Relu(b) [Gemm_2] d = Exp(c) }
    <opset_import: ["": 21, "trtfuse": 1], domain: "mine">
    Own (a) => (c) { ["in1 + in2"] b = trtfuse.conv_relu(a) [tail] c = Exp(b) }""")


def renamed(*nodes: str, model: onnx.ModelProto = MODEL) -> list[str]:
    (layer,) = with_own_names([Layer("k", "kgen", nodes=nodes)], model)
    return list(layer.nodes)


def test_each_call_has_names_of_its_own() -> None:
    assert renamed(
        "Conv | conv1 + relu1 (conv_relu)",
        "Relu | conv1 + relu1 (conv_relu)",
        "Conv | conv2 + relu2 (conv_relu)",
        "pool",
    ) == ["conv1", "relu1", "conv2", "pool"]


def test_where_the_name_of_a_call_does_not_tell_metadata_do() -> None:
    call = "2-layer MLP (fc1 .. act2)"
    nodes = [f"{inner} | {call} (mlp)" for inner in ("Gemm", "Relu", "Gemm_2")]
    assert renamed(*nodes) == [f"{call}/1", f"{call}/2", f"{call}/3"]
    noted = onnx.ModelProto()
    noted.CopyFrom(MODEL)
    note_members(noted, {call: ["fc1", "act1", "fc2"]})
    assert renamed(*nodes, model=noted) == ["fc1", "act1", "fc2"]


def test_a_group_in_a_function_of_the_user() -> None:
    assert renamed("Relu | in1 + in2 (conv_relu) | whole (Own)", "tail | whole (Own)") == [
        "in2 | whole (Own)",
        "tail | whole (Own)",
    ]


def test_calls_that_are_not_of_the_model_stay() -> None:
    assert renamed("Conv | a + b (conv_relu)", "x | y (z)") == [
        "Conv | a + b (conv_relu)",
        "x | y (z)",
    ]


def test_what_has_its_names_already_stays() -> None:
    once = with_own_names([Layer("k", "kgen", nodes=("conv1", "tail | whole (Own)"))], MODEL)
    assert with_own_names(once, MODEL) == once
