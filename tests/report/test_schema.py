"""Every report validates against the schema in the package, which refuses what is none."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fusing import rewrite
from models import model
from onnx import ModelProto, helper
from pages import EDGES, everything, nothing_fuses

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json.loads(
    (importlib.resources.files("trtfuse.report") / "schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def report_of(proto: ModelProto, **given: Any) -> dict[str, Any]:
    return json.loads(rewrite(proto, **given).report.to_json())  # type: ignore[no-any-return]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("level", ["none", "rewrite"])
def test_a_report_of_everything_is_valid(level: str) -> None:
    data = report_of(everything(), verify=level)
    VALIDATOR.validate(data)
    assert {"rules", "guards", "provenance", "cost", "pictures", "graph"} <= set(data)


@pytest.mark.parametrize("name", EDGES)
def test_edges_are_valid(name: str) -> None:
    VALIDATOR.validate(report_of(EDGES[name]()))


def test_an_example_is_valid() -> None:
    result = rewrite(ROOT / "examples" / "digits" / "digits.onnx", verify="model")
    data = json.loads(result.report.to_json())
    VALIDATOR.validate(data)
    assert [entry["output"] for entry in data["verification"]["compared"]] == ["logits"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": -1},
        {"source": 3},
        {"worst": 0},
        {"compared": [{"output": "y"}]},
        {"compared": {}},
    ],
)
def test_what_is_no_verification_is_refused(wrong: dict[str, object]) -> None:
    data = report_of(nothing_fuses(), verify="model")
    VALIDATOR.validate(data)
    data["verification"] |= wrong
    assert not VALIDATOR.is_valid(data)


def test_reports_without_what_is_told_by_output_are_valid() -> None:
    data = report_of(nothing_fuses(), verify="model")
    for key in ("outputs", "samples", "source", "worst", "compared"):
        del data["verification"][key]
    VALIDATOR.validate(data)


def test_without_details_it_is_valid_too() -> None:
    data = report_of(everything())
    for key in ("rules", "guards", "provenance", "cost", "pictures", "graph"):
        del data[key]
    for entry in data["fused"]:
        for key in ("origin", "complete", "kept", "check", "saved", "picture", "wires"):
            entry.pop(key)
    VALIDATOR.validate(data)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("schema", "trtfuse.report/2"),
        ("before", {"nodes": -1, "operators": {}}),
        ("fused", [{"rule": "r"}]),
        ("verification", None),
        ("graph", {"operators": [], "nodes": [["n", 0, 0, [], "vanished", None]]}),
        ("pictures", [{"before": [["Conv", [0], [1]]], "after": [], "values": []}]),
    ],
)
def test_what_is_no_report_is_refused(key: str, wrong: object) -> None:
    data = report_of(everything()) | {key: wrong}
    assert not VALIDATOR.is_valid(data)


def test_pictures_and_graph_refer_to_what_is_there() -> None:
    data = report_of(everything())
    for entry in data["fused"]:
        if entry["picture"] is not None:
            picture = data["pictures"][entry["picture"]]
            assert len(entry["wires"]) == len(picture["values"])
            assert [node[0] for node in picture["before"]] == entry["operators"]
            assert len(picture["after"]) == len(entry["kept"]) + len(entry["into"])
    for place, (_, operator, depth, reads, fate, index) in enumerate(data["graph"]["nodes"]):
        assert operator < len(data["graph"]["operators"])
        assert all(data["graph"]["nodes"][source][2] < depth for source in reads)
        assert place not in reads
        if index is not None:
            assert index < len(data["declined" if fate == "declined" else "fused"])


def test_many_fusions_that_look_alike_are_drawn_once() -> None:
    names = [f"n{i}" for i in range(40)]
    lines = " ".join(
        f"[{a}] {a} = Conv({'x' if i == 0 else f'b{i - 1}'}, w) [m{i}] b{i} = Mul({a}, s)"
        for i, a in enumerate(names)
    )
    import numpy as np

    w, s = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1), np.float32([[[[2]], [[3]]]])
    made = model(f"(float[1,2,3,3] x) => (float[1,2,3,3] b39) {{ {lines} }}", w=w, s=s)
    data = report_of(made, rules=["conv-scale"])
    assert len(data["fused"]) == 40
    assert len(data["pictures"]) == 1


def test_a_graph_that_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from trtfuse.result import trace

    monkeypatch.setattr(trace, "MOST_LAID_OUT", 3)
    data = report_of(everything())
    assert data["graph"] is None
    VALIDATOR.validate(data)


def test_a_node_of_another_domain_is_not_counted() -> None:
    node = helper.make_node("Thing", ["x"], ["y"], domain="custom")
    x, y = (helper.make_tensor_value_info(n, 1, [2]) for n in "xy")
    proto = helper.make_model(
        helper.make_graph([node], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("custom", 1), helper.make_opsetid("", 17)],
        ir_version=8,
    )
    cost = report_of(proto)["cost"]
    assert cost["before"] == cost["after"] == {"operations": 0, "bytes": 0, "uncounted": 1}
