"""`trtfuse explain`: of a model, of a node, as text and as JSON."""

from __future__ import annotations

import json

from command_line import Run, refused


def test_explain_says_what_became_of_a_node(run: Run) -> None:
    ran = run("explain", "m.onnx", "mul1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("m.onnx: Mul mul1\n\nconv1 + mul1: fused by conv-scale into conv1\n")


def test_explain_without_a_node_tells_near_misses(run: Run) -> None:
    ran = run("explain", "m.onnx", "--rules", "conv-scale")
    assert (ran.code, ran.out) == (0, "m.onnx: 2 nodes left, no rule comes near any of them\n")


def test_explain_as_json(run: Run) -> None:
    ran = run("explain", "m.onnx", "conv1", "--json", "--skip", "scale-activation")
    found = json.loads(ran.out)
    assert [step["sentence"] for step in found["steps"]] == [
        "fused by conv-scale into conv1",
        "one kernel by conv-relu: conv1 + relu1",
    ]
    assert "scale-activation" not in {miss["rule"] for miss in found["misses"]}


def test_explain_of_an_unknown_node_suggests_the_nearest(run: Run) -> None:
    said = refused(run, "explain", "m.onnx", "conv2")
    assert said == "the model has no node 'conv2'; did you mean 'conv1'?"
    assert refused(run, "explain", "none.onnx") == (
        "cannot read 'none.onnx': No such file or directory"
    )
