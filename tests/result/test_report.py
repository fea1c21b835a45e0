"""The report as data and as JSON: the schema, and nothing that is not JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fusing import rewrite
from models import not_fused
from onnx import ModelProto, parser

import trtfuse
from trtfuse.check.verification import Verification
from trtfuse.result.report import SCHEMA, Census, Fusion, Report

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"

#: One model with everything that a report can hold: fusions, an erased node, near misses, a body.
MODEL = """
<ir_version: 8, opset_import: ["": 17, "custom": 1]>
everything (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] shared)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, float[1] one = {1}> {
  [conv1] a = Conv(x, w)
  [mul1] b = Mul(a, s)
  [nothing] d = Mul(b, one)
  [relu1] r = Relu(d)
  [conv2] shared = Conv(r, w)
  [mul2] e = Mul(shared, s)
  [dead] u = Neg(e)
  [if1] y = If(c) <
    then_branch = yes () => (float[1, 2, 4, 4] o) {
      [conv3] p = Conv(r, w)
      [mul3] q = Mul(p, s)
      [thing] o = custom.Thing(q)
    },
    else_branch = no () => (float[1, 2, 4, 4] o) { [abs1] o = Abs(e) }
  >
}
"""


@pytest.fixture(scope="module")
def proto() -> ModelProto:
    return parser.parse_model(MODEL)


@pytest.fixture(scope="module")
def report(proto: ModelProto) -> Report:
    return rewrite(proto).report


@pytest.fixture(scope="module")
def data(report: Report) -> dict[str, Any]:
    return json.loads(report.to_json(), parse_constant=pytest.fail)  # type: ignore[no-any-return]


#: What every entry has, and what a trace adds to it.
PLAIN = ("rule", "kind", "name", "nodes", "operators", "into", "error")
DETAILS = ("origin", "complete", "kept", "check", "saved", "picture", "wires")


def test_the_keys_are_those_of_the_schema(data: dict[str, Any]) -> None:
    assert list(data) == [
        "schema",
        "model",
        "before",
        "after",
        "fused",
        "declined",
        "verification",
        "seconds",
        "versions",
        "notes",
        "also",
        "engine",
        "options",
        "command",
        "date",
        "original",
        "output",
        "rules",
        "guards",
        "provenance",
        "cost",
        "pictures",
        "graph",
    ]
    assert data["schema"] == SCHEMA == "trtfuse.report/1"
    assert list(data["before"]) == list(data["after"]) == ["nodes", "operators"]
    for fusion in data["fused"]:
        assert list(fusion) == [*PLAIN, *DETAILS]
    for miss in data["declined"]:
        assert list(miss) == ["rule", "at", "guard", "because"]
    assert list(data["verification"]) == [
        "level",
        "ok",
        "max_error",
        "tolerance",
        "checked",
        "notes",
        "outputs",
        "samples",
        "source",
        "worst",
        "compared",
    ]
    assert list(data["seconds"]) == ["read", "rewrite", "write"]
    assert list(data["versions"]) == ["trtfuse", "onnx", "onnxruntime", "numpy"]


def test_nodes_of_bodies_count_and_the_most_frequent_operators_come_first(
    data: dict[str, Any],
) -> None:
    assert data["model"] == "everything"
    assert data["before"]["nodes"] == 12
    assert list(data["before"]["operators"].items()) == [
        ("Mul", 4),
        ("Conv", 3),
        ("Abs", 1),
        ("If", 1),
        ("Neg", 1),
        ("Relu", 1),
        ("custom::Thing", 1),
    ]
    assert data["after"]["nodes"] == sum(data["after"]["operators"].values()) == 8
    assert data["after"]["operators"] == {
        "Conv": 3,
        "Abs": 1,
        "If": 1,
        "Mul": 1,
        "Relu": 1,
        "custom::Thing": 1,
    }


def test_every_fusion_is_listed_with_what_it_made(data: dict[str, Any]) -> None:
    made = {f["name"]: {key: f[key] for key in PLAIN} for f in data["fused"]}
    assert set(made) == {"conv1 + mul1", "nothing", "conv3 + mul3", "dead"}
    assert made["conv1 + mul1"] | {"error": 0.0} == {
        "rule": "conv-scale",
        "kind": "rewrite",
        "name": "conv1 + mul1",
        "nodes": ["conv1", "mul1"],
        "operators": ["Conv", "Mul"],
        "into": ["conv1"],
        "error": 0.0,
    }
    assert 0 <= made["conv1 + mul1"]["error"] < 1e-12
    assert (made["nothing"]["rule"], made["nothing"]["into"]) == ("identity-scale", [])
    assert made["dead"] == {
        "rule": "unused",
        "kind": "rewrite",
        "name": "dead",
        "nodes": ["dead"],
        "operators": ["Neg"],
        "into": [],
        "error": None,
    }


def test_every_near_miss_says_why(data: dict[str, Any]) -> None:
    assert data["declined"] == [
        {
            "rule": "conv-scale",
            "at": "mul2",
            "guard": "one-consumer",
            "because": "`shared` is an output of the graph",
        }
    ]


def test_an_unchecked_fusion_has_no_error(proto: ModelProto) -> None:
    report = rewrite(proto, verify="none").report
    assert {fusion.error for fusion in report.fused} == {None}
    assert json.loads(report.to_json())["verification"] == {
        "level": "none",
        "ok": True,
        "max_error": 0.0,
        "tolerance": 0.0,
        "checked": 0,
        "notes": [],
        "outputs": 0,
        "samples": 0,
        "source": None,
        "worst": None,
        "compared": [],
    }


def test_a_rule_that_needs_a_later_opset_is_declined_where_it_would_apply() -> None:
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 6]>
        g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] z) <float[1, 1, 1, 1] w = {2}> {
            y = Conv(x, w) [neg] n = Neg(y) z = Relu(n)
        }"""
    )
    (miss,) = rewrite(proto).report.declined
    because = "the model imports opset 6, and the rule needs 7"
    assert miss.to_dict() == not_fused("conv-scale", "neg", "opset", because).to_dict()


def test_names_in_any_script_stay_readable_in_json(proto: ModelProto) -> None:
    named = ModelProto()
    named.CopyFrom(proto)
    names = ["Größe", "层/1", 'quo"te', "back\\slash", "new\nline", "\x00\x1f", "😀"]
    for node, name in zip(named.graph.node, names, strict=False):
        node.name = name
    text = rewrite(named).report.to_json()
    assert '"Größe + 层/1"' in text
    assert text.endswith("}\n")
    found = [fusion["nodes"] for fusion in json.loads(text)["fused"]]
    assert ["Größe", "层/1"] in found
    assert ['quo"te'] in found


def test_an_error_beyond_all_numbers_is_still_json(report: Report) -> None:
    original = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (double[4] x) => (double[4] y)
        <double[1] c = {1.2e308}> { s = Sign(x) y = Mul(s, c) }"""
    )
    opposite = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (double[4] x) => (double[4] y)
        <double[1] c = {-1.2e308}> { s = Sign(x) y = Mul(s, c) }"""
    )
    found = trtfuse.verify(original, opposite)
    assert not found.ok
    failed = Report("m", report.before, report.after, [], [], found)
    data = json.loads(failed.to_json(), parse_constant=pytest.fail)
    assert data["verification"]["ok"] is False


def test_operators_pair_what_was_with_what_is() -> None:
    before, after = Census(3, {"Mul": 2, "Neg": 1}), Census(3, {"Mul": 1, "Abs": 2})
    report = Report("m", before, after, [], [], Verification("none"))
    assert list(report.operators()) == [("Mul", 2, 1), ("Neg", 1, 0), ("Abs", 0, 2)]


def test_fusions_are_grouped_by_rule_in_the_order_they_were_made() -> None:
    made = [
        Fusion(rule, "rewrite", name, [], [], [], None)
        for name, rule in (("n0", "a"), ("n1", "b"), ("n2", "a"))
    ]
    report = Report("m", Census(0, {}), Census(0, {}), made, [], Verification("none"))
    assert {rule: [f.name for f in each] for rule, each in report.by_rule().items()} == {
        "a": ["n0", "n2"],
        "b": ["n1"],
    }


def test_a_report_and_a_result_are_a_line_each_in_a_console_and_html_in_a_notebook() -> None:
    result = trtfuse.fuse(DIGITS)
    line = f"<Report of '{DIGITS}': 8 -> 7 nodes, 1 fusion and 2 groups>"
    assert repr(result.report) == line
    assert repr(result) == f"<FusionResult: {line}>"
    assert result.report._repr_html_() == result._repr_html_()
    assert "conv-scale" in result.report._repr_html_()
