"""Origins, checks and savings of fusions, traced through any number of rewrites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fusing import rewrite
from models import model
from pages import everything

from trtfuse.check.rewrite import TOLERANCE
from trtfuse.ir.model import Model
from trtfuse.result.trace import MOST_ORIGINS, Trace

W = np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)
S = np.float32([2, 3]).reshape(1, 2, 1, 1)


def entries(made: Any, **given: Any) -> list[dict[str, Any]]:
    fused: list[dict[str, Any]] = rewrite(made, **given).report.to_dict()["fused"]
    return fused


def test_origins_are_traced_through_several_rewrites() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z) {
        [conv] a = Conv(x, w) [one] b = Mul(a, s) [two] c = Add(b, s) [three] d = Mul(c, s)
        [relu] z = Relu(d)
    }"""
    data = rewrite(model(text, w=W, s=S), rules=["conv-scale"]).report.to_dict()
    assert [(entry["nodes"], sorted(entry["origin"])) for entry in data["fused"]] == [
        (["conv", "one"], ["conv", "one"]),
        (["conv", "two"], ["conv", "one", "two"]),
        (["conv", "three"], ["conv", "one", "three", "two"]),
    ]
    assert [(p["node"], sorted(p["origin"])) for p in data["provenance"]] == [
        ("conv", ["conv", "one", "three", "two"])
    ]
    assert all(entry["complete"] for entry in data["fused"])


def test_an_entry_names_the_nearest_origins_and_provenance_names_all() -> None:
    length = MOST_ORIGINS + 20
    lines = " ".join(f"[m{i}] v{i + 1} = Mul(v{i}, s)" for i in range(length))
    text = f"(float[1,2,4,4] x) => (float[1,2,4,4] z) {{ [conv] v0 = Conv(x, w) {lines}"
    text += f" [relu] z = Relu(v{length}) }}"
    made = model(text, w=W, s=np.ones((1, 2, 1, 1), np.float32) * np.float32(1.01))
    result = rewrite(made, rules=["conv-scale"], verify="none").report.to_dict()
    last = result["fused"][-1]
    assert (len(last["origin"]), last["complete"]) == (MOST_ORIGINS, False)
    assert f"m{length - 1}" in last["origin"][:2]
    assert "conv" not in last["origin"]
    (whole,) = result["provenance"]
    assert len(whole["origin"]) == length + 1


def test_a_check_tells_how_much_was_drawn() -> None:
    entry = next(e for e in entries(everything()) if e["rule"] == "conv-scale")
    assert entry["check"]["inputs"] == 8
    assert entry["check"]["tolerance"] == TOLERANCE
    assert entry["check"]["error"] == entry["error"] < TOLERANCE
    assert entry["check"]["shared"] is False
    assert {each["check"] for each in entries(everything(), verify="none")} == {None}


def test_checks_of_many_alike_are_shared() -> None:
    lines = " ".join(f"[c{i}] a{i} = Conv(x, w) [m{i}] z{i} = Mul(a{i}, s)" for i in range(12))
    outputs = ", ".join(f"float[1,2,4,4] z{i}" for i in range(12))
    made = model(f"(float[1,2,4,4] x) => ({outputs}) {{ {lines} }}", w=W, s=S)
    fused = entries(made, rules=["conv-scale"])
    assert [entry["check"]["shared"] for entry in fused] == [False] * 8 + [True] * 4


def test_savings_are_counted_from_shapes() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z) {
        [conv] a = Conv(x, w) [mul] b = Mul(a, s) [relu] z = Relu(b)
    }"""
    (entry,) = entries(model(text, w=W, s=S), rules=["conv-scale"])
    # 32 products less; the result of the Conv is neither written nor read, nor is the scale.
    assert entry["saved"] == {"operations": 32, "bytes": 2 * 32 * 4 + 2 * 4}


@pytest.mark.parametrize("level", ["none", "rewrite"])
def test_savings_of_a_model_are_those_of_its_fusions(level: str) -> None:
    made = model(
        """(float[1,2,4,4] x) => (float[1,2,4,4] z) {
            [conv] a = Conv(x, w) [mul] b = Mul(a, s) [relu] c = Relu(b) [id] d = Identity(c)
            [again] e = Relu(d) [last] z = Tanh(e) [unused] u = Neg(z)
        }""",
        w=W,
        s=S,
    )
    data = rewrite(made, verify=level).report.to_dict()  # type: ignore[arg-type]
    cost = data["cost"]
    for what in ("operations", "bytes"):
        saved = sum(entry["saved"][what] for entry in data["fused"])
        assert cost["before"][what] - cost["after"][what] == saved > 0


def test_what_has_no_known_size_has_no_estimate() -> None:
    text = """(float[?,?,?,?] x, int64[4] t) => (float[?,?,?,?] z) {
        [r] y = Reshape(x, t) [conv] a = Conv(y, w) [mul] b = Mul(a, s) [relu] z = Relu(b)
    }"""
    (entry,) = entries(model(text, w=W, s=S), rules=["conv-scale"])
    assert entry["saved"] is None


def test_the_fate_of_every_node_of_the_original() -> None:
    graph = rewrite(everything(), objective="graph").report.to_dict()["graph"]
    fates = {node[0]: node[4] for node in graph["nodes"]}
    assert fates == {
        "conv1": "fused",
        "mul1": "fused",
        "add1": "fused",
        "nothing": "fused",
        "relu1": "kept",
        "conv2": "kept",
        "mul2": "fused",
        "conv4": "fused",
        "mul4": "declined",
        "conv5": "kept",
        "mul5": "declined",
        "add5": "kept",
        "dead": "cleaned",
        "if1": "kept",
        "conv3": "fused",
        "mul3": "fused",
        "thing": "kept",
        "abs1": "kept",
    }


def test_groups_are_traced_as_they_were_before_anything_was_made_of_them() -> None:
    proto = everything()
    read = Model(proto)
    trace = Trace(read)
    nodes = {node.label: node for node in read.graph.nodes()}
    trace.grouped([[nodes["conv2"], nodes["mul2"]]], [])
    nodes["mul2"].inputs = []
    details = trace.details()
    (entry,) = details.fused
    assert entry["origin"] == ["conv2", "mul2"]
    picture = details.pictures[entry["picture"]]
    assert [node[0] for node in picture["before"]] == ["Conv", "Mul"]
    (between,) = set(picture["before"][0][2]) & set(picture["before"][1][1])
    assert entry["wires"][between] == "shared"
    assert picture["after"] == []
    assert details.graph is not None
    fates = {node[0]: node[4:] for node in details.graph["nodes"]}
    assert fates["conv2"] == fates["mul2"] == ["grouped", 0]
    assert fates["conv1"] == ["kept", None]
