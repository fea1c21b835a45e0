"""What the builder did with the fusions of a report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from models import model
from onnx import ModelProto

from trtfuse.check.verification import Verification
from trtfuse.engine.agreement import agreement
from trtfuse.engine.layers import read_layers
from trtfuse.result.comparison import Agreement, BuilderFusion, FusionOutcome
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.layer import Layer
from trtfuse.result.report import Census, Fusion, Report


def report(*fused: Fusion) -> Report:
    nothing = Census(0, {})
    return Report("m", nothing, nothing, list(fused), [], Verification("none"))


def fusion(nodes: str, into: str, rule: str = "conv-scale", kind: str = "rewrite") -> Fusion:
    listed = nodes.split()
    return Fusion(rule, kind, " + ".join(listed), listed, ["?"] * len(listed), into.split(), None)


def kernel(name: str, *nodes: str, kind: str = "kgen", profile: int = 0) -> Layer:
    return Layer(name, kind, nodes=nodes, profile=profile)


def looked_up(made: Report, layers: Iterable[Layer], of: ModelProto | None = None) -> Agreement:
    return agreement(FusionResult(of or ModelProto(), made), layers)


def outcomes(
    made: Report, *layers: Layer, of: ModelProto | None = None
) -> list[tuple[str, list[str]]]:
    return [(f.outcome, f.kernels) for f in looked_up(made, layers, of).fusions]


def test_one_kernel_or_several_or_merged_further_or_unknown() -> None:
    made = report(
        fusion("c1 b1", "c1"), fusion("c2 b2", "c2"), fusion("c3 b3", "c3"), fusion("c4 b4", "c4")
    )
    layers = (
        kernel("k0", "c1"),
        kernel("s", "c1", kind="signal"),
        kernel("k1", "c2"),
        kernel("k2", "c2", "r2"),
        kernel("k3", "c3", "r3"),
        kernel("k4", "c1", profile=1),
    )
    found = looked_up(made, layers)
    assert [(f.outcome, f.kernels) for f in found.fusions] == [
        ("one kernel", ["k0"]),
        ("several kernels", ["k1", "k2"]),
        ("merged further", ["k3"]),
        ("unknown", []),
    ]
    assert found.counts == {
        "one kernel": 1,
        "merged further": 1,
        "several kernels": 1,
        "unknown": 1,
    }
    assert (found.confirmed, found.share) == (2, 0.5)
    assert found.beyond == [
        BuilderFusion("k2", "kgen", ["c2", "r2"]),
        BuilderFusion("k3", "kgen", ["c3", "r3"]),
    ]


def test_nothing_fused_has_no_share() -> None:
    found = looked_up(report(), [kernel("k", "a")])
    assert (found.share, found.confirmed, found.fusions, found.beyond) == (None, 0, [], [])


def test_a_node_that_is_fused_again_counts_as_what_it_became() -> None:
    made = report(fusion("c b", "node_of_t"), fusion("node_of_t m", "c2"), fusion("c2 a", "c2"))
    assert outcomes(made, kernel("k", "c2")) == [("one kernel", ["k"])] * 3


def test_a_name_that_is_used_again_for_another_node_is_not_mixed_up() -> None:
    # The first c is erased by the second fusion; the third makes a node of the same name.
    made = report(fusion("x b", "c"), fusion("c d", ""), fusion("y z", "c"))
    found = looked_up(made, [kernel("k", "c")])
    assert [(f.name, f.into) for f in found.fusions] == [("y + z", ["c"])]


def test_cleanups_and_what_is_gone_are_left_out() -> None:
    made = report(
        fusion("i", "", rule="identity"),
        fusion("k", "k2", rule="fold-constants"),
        fusion("t1 t2", "", rule="shuffle-shuffle"),
    )
    assert outcomes(made, kernel("k", "k2")) == []


def test_a_fusion_of_several_nodes_wants_them_in_one_kernel() -> None:
    made = report(fusion("r1 t1", "reduce transpose"), fusion("r2 t2", "p q"))
    layers = (kernel("k0", "reduce", "transpose"), kernel("k1", "p"), kernel("k2", "q"))
    assert outcomes(made, *layers) == [("one kernel", ["k0"]), ("several kernels", ["k1", "k2"])]


GROUPED = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["": 21, "trtfuse": 1]>
    grouped (float[2] x) => (float[2] y) {
        ["conv1 + relu1"] t = trtfuse.conv_relu(x)
        ["2-layer MLP (a .. b)"] y = trtfuse.mlp(t)
    }
    <opset_import: ["": 21], domain: "trtfuse">
    conv_relu (a) => (c) { [Exp] b = Exp(a) [Relu] c = Relu(b) }
    <opset_import: ["": 21], domain: "trtfuse">
    mlp (a) => (c) { [Tanh] b = Tanh(a) [Tanh_2] c = Tanh(b) }""")
CONV, RELU = (f"{node} | conv1 + relu1 (conv_relu)" for node in ("Exp", "Relu"))


def test_a_group_is_the_call_of_its_function() -> None:
    made = report(fusion("conv1 relu1", "call", "conv-relu", "group"))
    made.fused[0].into[0] = "conv1 + relu1"
    assert outcomes(made, kernel("k", CONV, RELU), of=GROUPED) == [("one kernel", ["k"])]
    apart = kernel("k", CONV), kernel("l", RELU)
    assert outcomes(made, *apart, of=GROUPED) == [("several kernels", ["k", "l"])]
    further = looked_up(made, [kernel("k", CONV, RELU, "tail")], GROUPED)
    assert further.fusions[0].outcome == "merged further"
    assert further.fusions[0].into == ["conv1 + relu1"]
    assert further.beyond == [BuilderFusion("k", "kgen", ["conv1 + relu1", "tail"])]


def test_a_node_in_two_groups_of_one_name_tells_nothing() -> None:
    made = report(
        fusion("c r", "call", "conv-relu", "group"), fusion("c s", "other", "conv-relu", "group")
    )
    assert outcomes(made, kernel("k", "c")) == [("unknown", []), ("unknown", [])]


def test_what_was_fused_before_it_was_grouped_is_looked_up_by_itself() -> None:
    made = report(fusion("c b", "c"), fusion("c r", "call", "conv-relu", "group"))
    layers = kernel("k", "c"), kernel("l", "r")
    assert outcomes(made, *layers) == [("one kernel", ["k"]), ("several kernels", ["k", "l"])]
    made = report(fusion("conv1 b", "conv1"), fusion("conv1 relu1", "call", "g", "group"))
    made.fused[1].into[0] = "conv1 + relu1"
    found = outcomes(made, kernel("k", CONV), kernel("l", RELU), of=GROUPED)
    assert found == [("one kernel", ["k"]), ("several kernels", ["k", "l"])]


def test_a_group_in_a_recorded_engine() -> None:
    made = report(fusion("fc relu", "call", "fc-relu", "group"))
    made.fused[0].into[0] = "fc + relu"
    layers = read_layers(Path(__file__).parent / "logs" / "function.log")
    assert outcomes(made, *layers) == [("one kernel", ["fc_myl0_0"])]


def test_a_group_whose_nodes_stay() -> None:
    made = report(fusion("conv1 relu1", "conv1 relu1", "conv-relu", "group"))
    assert outcomes(made, kernel("k", "conv1", "relu1")) == [("one kernel", ["k"])]
    assert looked_up(made, [kernel("k", "conv1", "relu1")]).beyond == []


def test_a_function_that_is_called_twice_has_a_kernel_for_each_call() -> None:
    made = report(fusion("c b", "c"))
    calls = kernel("k", "c | first (F)"), kernel("l", "c | second (F) | outer (G)")
    assert outcomes(made, *calls) == [("one kernel", ["k", "l"])]
    assert outcomes(made, *calls, kernel("m", "c | first (F)")) == [
        ("several kernels", ["k", "l", "m"])
    ]


def test_a_name_that_looks_like_a_call() -> None:
    made = report(fusion("c b", "c"))
    made.fused[0].into[0] = "a | b (c)"
    assert outcomes(made, kernel("k", "a | b (c)")) == [("one kernel", ["k"])]


def test_a_name_that_two_nodes_have_tells_nothing() -> None:
    fused = model("(float[2] x) => (float[2] y) { [c] t = Exp(x) [c] y = Abs(t) }")
    made, layers = report(fusion("c b", "c")), [kernel("k", "c")]
    assert outcomes(made, *layers) == [("one kernel", ["k"])]
    assert outcomes(made, *layers, of=fused) == [("unknown", [])]


def test_as_data() -> None:
    found = looked_up(report(fusion("c b", "c")), [kernel("k", "c", "r")])
    assert found.fusions == [
        FusionOutcome("conv-scale", "rewrite", "c + b", ["c"], "merged further", ["k"])
    ]
    assert found.to_dict() == {
        "share": 1.0,
        "counts": {"one kernel": 0, "merged further": 1, "several kernels": 0, "unknown": 0},
        "fusions": [
            {
                "rule": "conv-scale",
                "kind": "rewrite",
                "name": "c + b",
                "into": ["c"],
                "outcome": "merged further",
                "kernels": ["k"],
            }
        ],
        "beyond": [{"kernel": "k", "type": "kgen", "nodes": ["c", "r"]}],
    }
