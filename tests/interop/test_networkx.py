"""Models as graphs of networkx."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import onnx
import pytest
from models import model
from onnx import parser

import trtfuse

#: An operator set of its own, an unnamed node, a value read twice, and one computed second.
SPLIT = """
<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
split (float[N, 4] x) => (float[N, 2] y, float[N, 2] z) <int64[2] sizes = {2, 2}> {
    [part] a, b = Split <axis = 1> (x, sizes)
    c = Mul(b, b)
    [thing] d = com.microsoft.Thing(a)
    [sum] y = Add(c, d)
    [other] z = Sub(c, d)
}
"""
BRANCHES = """
<ir_version: 10, opset_import: ["": 18, "my": 1]>
branches (float[2] x, bool c) => (float[2] y) <float[2] k = {1, 2}> {
    [start] s = my.f(x)
    [choice] y = If(c) <
        then_branch = then () => (float[2] p) { [add] p = Add(s, k) },
        else_branch = otherwise () => (float[2] q) {
            [inner] q = If(c) <
                then_branch = deep () => (float[2] r) { [neg] r = Neg(s) },
                else_branch = deeper () => (float[2] t) { [abs] t = Abs(s) }
            >
        }
    >
}
<domain: "my", opset_import: ["": 18]>
f (u) => (v) { [relu] v = Relu(u) }
"""


def edges(graph: Any) -> list[tuple[str, str, str, int, int]]:
    return [
        (start, end, data["value"], data["output"], data["input"])
        for start, end, data in graph.edges(data=True)
    ]


def test_operators_inputs_and_outputs_are_nodes() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(SPLIT))
    assert isinstance(graph, nx.MultiDiGraph)
    assert graph.graph == {"name": "split"}
    assert dict(graph.nodes(data=True)) == {
        "part": {"kind": "operator", "label": "part", "op": "Split"},
        "node_of_c": {"kind": "operator", "label": "node_of_c", "op": "Mul"},
        "thing": {"kind": "operator", "label": "thing", "op": "com.microsoft::Thing"},
        "sum": {"kind": "operator", "label": "sum", "op": "Add"},
        "other": {"kind": "operator", "label": "other", "op": "Sub"},
        "x": {"kind": "input", "label": "x", "type": "float32[N, 4]"},
        "y": {"kind": "output", "label": "y", "type": "float32[...]"},
        "z": {"kind": "output", "label": "z", "type": "float32[...]"},
    }


def test_values_are_edges_once_for_every_time_they_are_read() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(SPLIT))
    assert sorted(edges(graph)) == [
        ("node_of_c", "other", "c", 0, 0),
        ("node_of_c", "sum", "c", 0, 0),
        ("other", "z", "z", 0, 0),
        ("part", "node_of_c", "b", 1, 0),
        ("part", "node_of_c", "b", 1, 1),
        ("part", "thing", "a", 0, 0),
        ("sum", "y", "y", 0, 0),
        ("thing", "other", "d", 0, 1),
        ("thing", "sum", "d", 0, 1),
        ("x", "part", "x", 0, 0),
    ]
    types = {data["value"]: data["type"] for _, _, data in graph.edges(data=True)}
    assert types["b"] == "float32[N, 2]"
    # Nobody knows what an operator of another domain computes, whatever the model declares.
    assert types["d"] == ""


def test_weights_are_nodes_where_they_are_asked_for() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(SPLIT), weights=True)
    assert graph.nodes["sizes"] == {"kind": "weights", "label": "sizes", "type": "int64[2]"}
    assert ("sizes", "part", "sizes", 0, 1) in edges(graph)


def test_the_graph_answers_questions() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(SPLIT))
    assert nx.ancestors(graph, "z") == {"x", "part", "node_of_c", "thing", "other"}
    assert nx.is_directed_acyclic_graph(graph)
    assert nx.shortest_path(graph, "x", "y") in (
        ["x", "part", "thing", "sum", "y"],
        ["x", "part", "node_of_c", "sum", "y"],
    )


def test_bodies_are_graphs_of_their_own_and_what_they_capture_is_an_edge() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(BRANCHES))
    assert sorted(edges(graph)) == [
        ("c", "choice", "c", 0, -1),
        ("c", "choice", "c", 0, 0),
        ("choice", "y", "y", 0, 0),
        ("start", "choice", "s", 0, -1),
        ("x", "start", "x", 0, 0),
    ]
    then, otherwise = graph.nodes["choice"]["bodies"]
    assert (then.graph["name"], otherwise.graph["name"]) == ("then", "otherwise")
    assert sorted(then) == ["add", "k", "p", "s"]
    assert then.nodes["s"]["kind"] == "input"
    deep, deeper = otherwise.nodes["inner"]["bodies"]
    assert sorted(edges(deep)) == [("neg", "r", "r", 0, 0), ("s", "neg", "s", 0, 0)]
    assert sorted(deeper) == ["abs", "s", "t"]


def test_functions_are_graphs_of_their_own() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(BRANCHES))
    assert graph.nodes["start"]["op"] == "function my::f"
    ((name, function),) = graph.graph["functions"].items()
    assert name == "my::f"
    assert sorted(edges(function)) == [("relu", "v", "v", 0, 0), ("u", "relu", "u", 0, 0)]


def test_names_that_collide_are_told_apart() -> None:
    made = model("(float[2] x) => (float[2] y) { [x] a = Relu(x) [x] b = Neg(a) [y] y = Abs(b) }")
    graph = trtfuse.to_networkx(made)
    assert list(graph) == ["x", "x (2)", "y", "x (3)", "y (2)"]
    assert [data["label"] for _, data in graph.nodes(data=True)] == ["x", "x", "y", "x", "y"]
    assert edges(graph)[0] == ("x", "x (2)", "a", 0, 0)
    assert nx.shortest_path(graph, "x (3)", "y (2)") == ["x (3)", "x", "x (2)", "y", "y (2)"]


def test_an_input_may_be_an_output() -> None:
    graph = trtfuse.to_networkx(model("(float[2] x) => (float[2] x) { a = Relu(x) }"))
    assert ("x", "x (2)", "x", 0, 0) in edges(graph)


def test_an_initializer_that_may_be_overridden_is_an_input() -> None:
    made = model("(float[2] x, float[2] k) => (float[2] y) { y = Mul(x, k) }", k=[1, 2])
    assert trtfuse.to_networkx(made).nodes["k"]["kind"] == "input"
    # Before IR 4 that is how every initializer is listed.
    old = model("(float[2] x) => (float[2] y) { y = Mul(x, k) }", ir_version=3, opset=8, k=[1, 2])
    assert "k" not in trtfuse.to_networkx(old)
    assert trtfuse.to_networkx(old, weights=True).nodes["k"]["kind"] == "weights"


def test_it_can_be_written_to_a_file() -> None:
    graph = trtfuse.to_networkx(parser.parse_model(SPLIT))
    file = io.BytesIO()
    nx.write_graphml(graph, file)
    file.seek(0)
    read = nx.read_graphml(file, force_multigraph=True)
    assert sorted(edges(read)) == sorted(edges(graph))
    assert nx.parse_gml("\n".join(nx.generate_gml(graph))).graph["name"] == "split"


def test_it_agrees_with_the_model(light_model: onnx.ModelProto) -> None:
    graph = trtfuse.to_networkx(light_model, weights=True)
    kinds = Counter(data["kind"] for _, data in graph.nodes(data=True))
    proto = light_model.graph
    assert kinds["operator"] == len(proto.node)
    assert kinds["output"] == len(proto.output)
    reads = sum(bool(name) for node in proto.node for name in node.input)
    assert graph.number_of_edges() == reads + len(proto.output)
    assert nx.is_directed_acyclic_graph(graph)


@pytest.fixture(params=["squeezenet", "shufflenet"])
def light_model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return onnx.load(folder / f"light_{request.param}.onnx")


def test_the_model_stays_as_it_is() -> None:
    made = parser.parse_model(BRANCHES)
    before = made.SerializeToString(deterministic=True)
    trtfuse.to_networkx(made, weights=True)
    assert made.SerializeToString(deterministic=True) == before


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(trtfuse.ModelError, match=r"cannot read 'missing\.onnx'"):
        trtfuse.to_networkx("missing.onnx")
    with pytest.raises(trtfuse.UsageError, match="a model is a path"):
        trtfuse.to_networkx(None)  # type: ignore[arg-type]
