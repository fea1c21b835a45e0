"""Use-def chains, linked order and captures. The oracle is a networkx graph made of the proto."""

from __future__ import annotations

import networkx as nx
import numpy as np
import onnx
import onnx.reference
import onnxruntime as ort
import pytest
from fusing import rewrite
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, parser

import trtfuse
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.operators import Operator
from trtfuse.ir.tensor import Array, FoldedTensor
from trtfuse.model.model import Model

Path = tuple[int, ...]
Vertex = tuple[Path, int | str]
Chains = "nx.MultiDiGraph[Vertex]"

#: The vertex for the outputs of a graph; nodes have their index and values their name.
OUTPUTS = -1


def parsed(text: str, *, ir_version: int = 8, opset: int = 17, valid: bool = True) -> Model:
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
    proto = parser.parse_model(f"{header} g {text}")
    if valid:
        onnx.checker.check_model(proto)
    return Model(proto)


def unchecked(text: str) -> Model:
    """For bodies that hand out a captured value, which the graph can and ONNX's checker cannot."""
    return parsed(text, valid=False)


def bodies_of(node: NodeProto) -> list[GraphProto]:
    return [
        body
        for attribute in node.attribute
        for body in (
            [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
        )
    ]


class Rebuilt:
    """The chains of a proto, from its names alone. Reading a name before it is made is an error."""

    def __init__(
        self, proto: GraphProto, path: Path = (), outer: Rebuilt | None = None, owner: int = 0
    ) -> None:
        self.path, self.outer, self.owner = path, outer, owner
        self.chains: nx.MultiDiGraph[Vertex] = nx.MultiDiGraph() if outer is None else outer.chains
        self.known = {each.name for each in proto.input}
        self.known |= {each.name for each in proto.initializer}
        self.known |= {each.values.name for each in proto.sparse_initializer}
        for index, node in enumerate(proto.node):
            for name in filter(None, node.input):
                self.chains.add_edge(self.read(name), (path, index))
            for number, body in enumerate(bodies_of(node)):
                Rebuilt(body, (*path, index, number), self, index)
            for name in filter(None, node.output):
                assert name not in self.known, f"{name} is computed twice"
                self.known.add(name)
                self.chains.add_edge((path, index), (path, name))
        for each in proto.output:
            self.chains.add_edge(self.read(each.name), (path, OUTPUTS))

    def read(self, name: str) -> Vertex:
        if name not in self.known:
            assert self.outer is not None, f"{name} is read before it is computed"
            source = self.outer.read(name)
            self.chains.add_edge(source, (self.path, name))
            self.chains.add_edge(source, (self.outer.path, self.owner))
            self.known.add(name)
        return self.path, name


def kept(graph: Graph, path: Path = ()) -> nx.MultiDiGraph[Vertex]:
    """The chains as the graph keeps them: in uses, outputs, producer, source."""
    chains: nx.MultiDiGraph[Vertex] = nx.MultiDiGraph()
    nodes = list(graph.nodes())
    where = {node: index for index, node in enumerate(nodes)}
    values = [*graph.inputs, *graph.initializers, *graph.sparse, *graph.captures.values()]
    values += [value for node in nodes for value in node.outputs if value is not None]
    values = list(dict.fromkeys(values))
    assert len({value.name for value in values}) == len(values)
    for value in values:
        vertex = (path, value.name)
        assert value.graph is graph
        for node, count in value.uses.items():
            assert count > 0
            chains.add_edges_from([(vertex, (path, where[node]))] * count)
        chains.add_edges_from([(vertex, (path, OUTPUTS))] * value.outputs)
        if value.producer is not None:
            chains.add_edge((path, where[value.producer]), vertex)
        if value.source is not None:
            assert graph.captures[value.source] is value
            chains.add_edge((path[:-2], value.source.name), vertex)
    assert set(graph.outputs) <= set(values)
    for node in nodes:
        assert node.graph is graph
        for number, body in enumerate(node.bodies):
            assert body.owner is node
            assert body.outer is graph
            inner = kept(body, (*path, where[node], number))
            chains.add_edges_from(inner.edges())
    return chains


def assert_chains(model: Model) -> ModelProto:
    """What the graph keeps is what its proto says; returns the proto."""
    proto = model.to_proto()
    expected, found = Rebuilt(proto.graph).chains, kept(model.graph)
    assert sorted(map(repr, found.edges())) == sorted(map(repr, expected.edges()))
    assert nx.utils.graphs_equal(found, expected)
    return proto


def value(graph: Graph, name: str) -> Value:
    values = [*graph.inputs, *graph.initializers, *graph.sparse, *graph.captures.values()]
    values += [v for node in graph.nodes() for v in node.outputs if v is not None]
    (found,) = [v for v in dict.fromkeys(values) if v.name == name]
    return found


def node(graph: Graph, output: str) -> Node:
    found = value(graph, output).producer
    assert found is not None
    return found


def counts(of: Value) -> dict[str, int]:
    return {node.label: number for node, number in of.uses.items()}


# Chains against the oracle

TWO_LEVELS = """
(float[2] x, bool c, int64 n) => (float[2] y, float[2] x, float[2] y) <float[2] k = {1, 2}> {
  a = Mul(x, x)
  b = If(c) <
    then_branch = outer_then () => (float[2] o) {
      p = Add(a, a)
      o = If(c) <
        then_branch = inner_then () => (float[2] q) { q = Add(a, p) },
        else_branch = inner_else () => (float[2] q) { r = Sub(k, a)  q = Add(r, k) }
      >
    },
    else_branch = outer_else () => (float[2] o) { o = Neg(x) }
  >
  y, s = Loop(n, c, b) <
    body = each (int64 i, bool go, float[2] b) => (bool going, float[2] d, float[2] a) {
      going = Identity(go)
      d = Add(b, x)
    }
  >
}
"""

SCAN = """
(float[2] x, float[3, 2] xs) => (float[2] y, float[3, 2] ys) <float[2] k = {1, 2}> {
  t = Neg(k)
  y, ys = Scan <
    num_scan_inputs = 1,
    body = each (float[2] s, float[2] x1) => (float[2] s1, float[2] z) {
      u = Add(s, t)
      s1 = Add(u, k)
      z = Mul(s1, x1)
    }
  > (x, xs)
}
"""


@pytest.mark.parametrize("text", [TWO_LEVELS, SCAN], ids=["if-loop", "scan"])
def test_chains_with_captures_at_two_levels_equal_a_rebuild(text: str) -> None:
    assert_chains(unchecked(text))


def test_the_owner_of_a_body_reads_a_captured_value_once_for_each_body() -> None:
    graph = unchecked(TWO_LEVELS).graph
    a = value(graph, "a")
    assert counts(a) == {"node_of_b": 1, "node_of_y": 1}
    branch = node(graph, "b").bodies[0]
    assert counts(value(branch, "a")) == {"node_of_p": 2, "node_of_o": 2}
    assert value(branch, "a").source is a


def test_a_body_input_of_the_name_of_an_outer_value_is_no_capture() -> None:
    graph = unchecked(TWO_LEVELS).graph
    body = node(graph, "y").bodies[0]
    assert {outer.name for outer in body.captures} == {"x", "a"}
    assert value(body, "b").is_input
    assert counts(value(graph, "b")) == {"node_of_y": 1}


def test_a_body_may_list_a_captured_value_as_its_output() -> None:
    body = node(unchecked(TWO_LEVELS).graph, "y").bodies[0]
    assert body.outputs[2] is value(body, "a")
    assert (value(body, "a").outputs, value(body, "a").uses) == (1, {})


def test_every_listing_as_an_output_counts() -> None:
    graph = unchecked(TWO_LEVELS).graph
    assert [each.name for each in graph.outputs] == ["y", "x", "y"]
    assert (value(graph, "y").outputs, value(graph, "x").outputs) == (2, 1)


def test_chains_of_the_onnx_operator_tests_equal_a_rebuild(
    backend_models: dict[str, ModelProto],
) -> None:
    assert len(backend_models) > 1900
    for proto in backend_models.values():
        assert_chains(Model(proto))


def test_chains_equal_a_rebuild_after_the_driver_ran_on_the_onnx_operator_tests(
    backend_models: dict[str, ModelProto],
) -> None:
    fusions = 0
    for proto in backend_models.values():
        result = rewrite(proto, verify="none")
        if result.report.fused:
            fusions += len(result.report.fused)
            assert_chains(Model(result.model))
    assert fusions > 300


# Random graphs: of small integers, so that both models compute the same numbers exactly.

TENSOR = "float[1, 2, 2, 2]"
CONSTANTS = """
  float[2, 2, 1, 1] w = {1, -1, 0, 1}, float[2] bias = {1, -2}, float[1, 2, 1, 1] s = {2, -1},
  float t = {3}, float[1] one = {1}, float[1, 1, 1, 1] zero = {0}
"""
STATEMENTS = (
    "Conv({a}, w)",
    "Conv({a}, w, bias)",
    "Mul({a}, s)",
    "Mul(s, {a})",
    "Add({a}, t)",
    "Sub(t, {a})",
    "Mul({a}, one)",
    "Add(zero, {a})",
    "Relu({a})",
    "Max({a}, {b})",
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A graph with If and Loop bodies up to two levels deep, as text."""
    made = 0

    def name() -> str:
        nonlocal made
        made += 1
        return f"v{made}"

    def block(visible: tuple[str, ...], depth: int) -> tuple[list[str], tuple[str, ...]]:
        lines: list[str] = []
        own: tuple[str, ...] = ()
        for _ in range(draw(st.integers(1, 4))):
            known = visible + own
            a, b = draw(st.sampled_from(known)), draw(st.sampled_from(known))
            kinds = (*STATEMENTS, "If", "Loop") if depth < 2 else STATEMENTS
            kind = draw(st.sampled_from(kinds))
            if kind == "If":
                branches = ", ".join(
                    f"{which} = {body(known, depth, '', '')}"
                    for which in ("then_branch", "else_branch")
                )
                text = f"If(c) <{branches}>"
            elif kind == "Loop":
                go, carried, going = name(), name(), name()
                inputs = f"int64 {name()}, bool {go}, {TENSOR} {carried}"
                text = f"Loop(n, c, {a}) <body = " + body(
                    (*known, carried), depth, inputs, f"{going} = Identity({go})"
                )
                text += ">"
            else:
                text = kind.format(a=a, b=b)
            own += (name(),)
            lines.append(f"{own[-1]} = {text}")
        return lines, own

    def body(visible: tuple[str, ...], depth: int, inputs: str, first: str) -> str:
        lines, own = block(visible, depth + 1)
        outputs = f"{TENSOR} {draw(st.sampled_from(own))}"
        if first:
            outputs = f"bool {first.split()[0]}, {outputs}"
        return f"{name()} ({inputs}) => ({outputs}) {{ {' '.join([first, *lines])} }}"

    lines, own = block(("x",), 0)
    more, last = block(("x", *own), 0)
    outputs = draw(st.lists(st.sampled_from(own + last), min_size=1, max_size=3))
    listed = ", ".join(f"{TENSOR} {each}" for each in outputs)
    return "\n".join(
        [f"({TENSOR} x, bool c, int64 n) => ({listed})", f"<{CONSTANTS}> {{", *lines, *more, "}"]
    )


def run(proto: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


@given(texts(), st.booleans())
def test_random_graphs_keep_their_chains_and_compute_the_same(text: str, taken: bool) -> None:
    original = parsed(text).proto
    assert_chains(Model(original))
    result = rewrite(original, verify="none")
    proto = assert_chains(Model(result.model))
    assert proto.SerializeToString() == result.model.SerializeToString()
    onnx.checker.check_model(proto, full_check=True)
    assert [each.name for each in proto.graph.output] == [
        each.name for each in original.graph.output
    ]
    feeds = {
        "x": np.arange(-3, 5, dtype=np.float32).reshape(1, 2, 2, 2),
        "c": np.array(taken),
        "n": np.array(2),
    }
    expected = run(original, feeds)
    assume(all(np.abs(each).max() < 2**20 for each in expected))
    for old, new in zip(expected, run(proto, feeds), strict=True):
        np.testing.assert_array_equal(new, old)


@given(texts())
def test_a_second_run_changes_nothing(text: str) -> None:
    once = rewrite(parsed(text).proto, verify="none")
    twice = rewrite(once.model, verify="none")
    assert twice.report.fused == []
    assert twice.model.SerializeToString() == once.model.SerializeToString()


# The linked order

CHAIN = "(float[2] x) => (float[2] d) { a = Neg(x) b = Abs(a) c = Exp(b) d = Relu(c) }"


def made(graph: Graph, operator: str, *inputs: Value) -> Node:
    new = Node(NodeProto(op_type=operator), Operator("", operator), list(inputs), [])
    new.stale = True
    new.outputs.append(Value(graph.model.fresh_name("new"), graph, new))
    return new


@pytest.mark.parametrize(
    ("before", "order"),
    [
        ("a", ["Sin", "Neg", "Abs", "Exp", "Relu"]),
        ("c", ["Neg", "Abs", "Sin", "Exp", "Relu"]),
        (None, ["Neg", "Abs", "Exp", "Relu", "Sin"]),
    ],
)
def test_a_node_is_inserted_in_front_of_another_or_at_the_end(
    before: str | None, order: list[str]
) -> None:
    model = parsed(CHAIN)
    graph = model.graph
    new = made(graph, "Sin", value(graph, "x"))
    graph.insert(new, None if before is None else node(graph, before))
    assert [each.op for each in graph.nodes()] == order
    assert (graph.first.op, graph.last.op) == (order[0], order[-1])  # type: ignore[union-attr]
    assert counts(value(graph, "x")) == {"node_of_a": 1, "node_of_new": 1}
    assert_chains(model)


def pass_on(graph: Graph, node: Node) -> None:
    """Lets whatever reads what a node computes read what it computes it from."""
    read = node.inputs[0]
    assert read is not None
    graph.replace_uses(node.output, read)
    graph._replace_output(node.output, read)


@pytest.mark.parametrize("removed", ["a", "b", "d"])
def test_a_removed_node_leaves_the_others_in_order(removed: str) -> None:
    graph = parsed(CHAIN).graph
    gone = node(graph, removed)
    kept_nodes = [each.op for each in graph.nodes() if each is not gone]
    read = gone.inputs[0]
    assert read is not None
    pass_on(graph, gone)
    graph.remove(gone)
    assert [each.op for each in graph.nodes()] == kept_nodes
    assert gone.graph is None
    assert gone not in read.uses


def test_all_nodes_can_be_removed_while_walking_over_them() -> None:
    graph = parsed(CHAIN).graph
    for each in graph.nodes():
        pass_on(graph, each)
        graph.remove(each)
    assert (graph.first, graph.last, list(graph.nodes())) == (None, None, [])
    assert value(graph, "x").uses == {}


def test_removing_the_owner_of_a_body_ends_its_captures() -> None:
    graph = unchecked(TWO_LEVELS).graph
    graph._replace_output(value(graph, "y"), value(graph, "x"))
    graph.remove(node(graph, "y"))
    assert counts(value(graph, "a")) == {"node_of_b": 1}
    assert counts(value(graph, "x")) == {"node_of_a": 2, "node_of_b": 1}


def test_walking_meets_every_graph_once_the_outer_before_the_inner() -> None:
    names = [graph.proto.name for graph in unchecked(TWO_LEVELS).graph.walk()]
    assert sorted(names) == [
        "each",
        "g",
        "inner_else",
        "inner_then",
        "outer_else",
        "outer_then",
    ]
    assert names.index("g") < names.index("outer_then") < names.index("inner_then")


# Replacing, renaming, capturing

CAPTURED = """
(float[2] x, bool c) => (float[2] y, float[2] old, float[2] z) {
  old = Neg(x)
  new = Abs(x)
  y = If(c) <
    then_branch = yes () => (float[2] o) {
      p = Add(old, old)
      o = If(c) <
        then_branch = deep () => (float[2] q) { q = Sub(old, new) },
        else_branch = deeper () => (float[2] q) { q = Exp(old) }
      >
    },
    else_branch = no () => (float[2] old) { e = Exp(x) }
  >
  z = Mul(old, old)
}
"""


def test_replacing_uses_reaches_nodes_and_bodies_and_leaves_outputs_alone() -> None:
    model = unchecked(CAPTURED)
    graph = model.graph
    old, new = value(graph, "old"), value(graph, "new")
    assert counts(old) == {"node_of_y": 2, "node_of_z": 2}
    graph.replace_uses(old, new)
    assert (old.uses, old.outputs) == ({}, 1)
    # The first branch captured both: one capture of the two is left.
    assert counts(new) == {"node_of_y": 2, "node_of_z": 2}
    proto = assert_chains(model)
    assert list(proto.graph.node[3].input) == ["new", "new"]
    yes, no = bodies_of(proto.graph.node[2])
    assert list(yes.node[0].input) == ["new", "new"]
    deep, deeper = bodies_of(yes.node[1])
    assert list(deep.node[0].input) == ["new", "new"]
    assert list(deeper.node[0].input) == ["new"]
    assert [each.name for each in no.output] == ["new"]


def test_recapturing_says_whether_the_body_captured_the_new_value_already() -> None:
    graph = unchecked(CAPTURED).graph
    yes, no = node(graph, "y").bodies
    old, new = value(graph, "old"), value(graph, "new")
    inner = yes.captures[old]
    assert yes.recapture(old, new) is True
    assert (inner.uses, inner.outputs) == ({}, 0)
    assert list(yes.captures.values()).count(yes.captures[new]) == 1
    listed = no.captures[old]
    assert no.recapture(old, new) is False
    assert no.captures[new] is listed
    assert listed.source is new
    assert no.outputs == [listed]


def test_recapturing_merges_a_listed_output_into_its_twin() -> None:
    model = unchecked(
        """
        (float[2] x, bool c) => (float[2] y) {
          old = Neg(x)
          new = Abs(x)
          y, z = If(c) <
            then_branch = yes () => (float[2] old, float[2] o) { o = Exp(new) },
            else_branch = no () => (float[2] o, float[2] p) { o = Exp(x) p = Exp(x) }
          >
        }
        """
    )
    graph = model.graph
    yes = node(graph, "y").bodies[0]
    graph.replace_uses(value(graph, "old"), value(graph, "new"))
    assert [each.name for each in yes.outputs] == ["new", "o"]
    assert value(yes, "new").outputs == 1
    assert counts(value(graph, "new")) == {"node_of_y": 1}
    graph.remove(node(graph, "old"))
    assert_chains(model)


def test_a_value_takes_over_a_name_and_every_listing_among_the_outputs() -> None:
    model = parsed(
        "(float[2] x) => (float[2] y, float[2] z, float[2] y) { z = Neg(x) t = Abs(x) y = Exp(t) }"
    )
    graph = model.graph
    t, y = value(graph, "t"), value(graph, "y")
    graph.replace_uses(y, t)
    gone = node(graph, "y")
    graph.take_name(t, y)
    graph.remove(gone)
    assert (t.name, t.outputs, y.outputs) == ("y", 2, 0)
    proto = assert_chains(model)
    assert [each.name for each in proto.graph.output] == ["y", "z", "y"]
    assert [list(each.output) for each in proto.graph.node] == [["z"], ["y"]]


def test_a_renamed_value_is_renamed_in_the_bodies_that_capture_it() -> None:
    model = unchecked(CAPTURED)
    value(model.graph, "old").name = "renamed"
    proto = model.to_proto()
    yes, no = bodies_of(proto.graph.node[2])
    assert list(yes.node[0].input) == ["renamed", "renamed"]
    deep, _ = bodies_of(yes.node[1])
    assert list(deep.node[0].input) == ["renamed", "new"]
    assert [each.name for each in no.output] == ["renamed"]
    assert [each.name for each in proto.graph.output] == ["y", "renamed", "z"]


#: `y` comes to stand before the If when the Add is erased, and the bodies have a `y` of their own.
COLLISION = """
(float[1, 1, 2, 2] x, bool c) => (float[1, 1, 2, 2] y, float[1, 1, 2, 2] z)
<float[1, 1, 1, 1] w = {2}, float[1] zero = {0}> {
  t = Conv(x, w)
  z = If(c) <
    then_branch = yes () => (float[1, 1, 2, 2] o) BODY,
    else_branch = no () => (float[1, 1, 2, 2] o) { o = Relu(x) }
  >
  y = Add(t, zero)
}
"""


@pytest.mark.parametrize(
    "body",
    [
        "{ y = Exp(x) o = Mul(y, t) }",
        "{ y = Exp(x) o = Relu(y) }",
        """<int64[4] y> {
               y = Shape(t) n = Cast<to = 1>(y) k = ReduceMax<keepdims = 0>(n) o = Add(t, k)
           }""",
        "<float[1] y = {5}> { o = Add(t, y) }",
        "<float[1] y = {5}> { o = Add(x, y) }",
        """{ o = If(c) <
               then_branch = deep () => (float[1, 1, 2, 2] p) { y = Exp(t) p = Mul(y, t) },
               else_branch = deeper () => (float[1, 1, 2, 2] p) { y = Exp(x) p = Mul(y, x) }
           > }""",
        """{ y = Exp(t) o = If(c) <
               then_branch = deep () => (float[1, 1, 2, 2] p) { p = Mul(y, t) },
               else_branch = deeper () => (float[1, 1, 2, 2] p) { p = Mul(y, x) }
           > }""",
    ],
    ids=["capturing", "not capturing", "other type", "constant", "other constant", "deep", "both"],
)
@pytest.mark.parametrize("taken", [True, False])
def test_a_name_that_a_body_defines_itself_stays_apart_from_a_renamed_outer_value(
    body: str, taken: bool
) -> None:
    original = parsed(COLLISION.replace("BODY", body)).proto
    result = rewrite(original, rules=["identity-scale"], verify="none")
    assert [each.rule for each in result.report.fused] == ["identity-scale"]
    onnx.checker.check_model(result.model, full_check=True)
    assert_chains(Model(result.model))
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    feeds = {"x": x, "c": np.array(taken)}
    # Before it is fused, ONNX Runtime does not take all of these.
    expected = onnx.reference.ReferenceEvaluator(original).run(None, feeds)
    for old, new in zip(expected, run(result.model, feeds), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-6)


def test_a_dead_if_is_removed_with_what_its_bodies_were_waiting_for() -> None:
    model = parsed(
        """
        (float[1, 1, 2, 2] x, bool c) => (float[1, 1, 2, 2] y)
        <float[1, 1, 1, 1] w = {2}, float[1] s = {3}, float[1] one = {1}> {
          y = Relu(x)
          o = If(c) <
            then_branch = yes () => (float[1, 1, 2, 2] p) { t = Conv(x, w) p = Mul(t, s) },
            else_branch = no () => (float[1, 1, 2, 2] p) { p = Exp(x) }
          >
          unread = Mul(o, one)
        }
        """
    )
    result = rewrite(model.proto)
    assert [each.op_type for each in result.model.graph.node] == ["Relu"]
    assert list(result.model.graph.initializer) == []
    assert_chains(Model(result.model))


@pytest.mark.parametrize(
    "body",
    [
        "{ t = Conv(x, w) o = BatchNormalization(t, k, m, m, k) }",
        "{ t = Mul(x, k) u = Mul(k, t) v = Mul(u, one) o = Relu(x) }",
    ],
    ids=["fused", "dead"],
)
def test_a_captured_value_that_is_read_twice_is_released_once(body: str) -> None:
    model = parsed(
        """
        (float[1, 1, 2, 2] x, bool c) => (float[1, 1, 2, 2] y)
        <float[1, 1, 1, 1] w = {2}, float[1] k = {4}, float[1] m = {3}, float[1] one = {1}> {
          y = If(c) <
            then_branch = yes () => (float[1, 1, 2, 2] o) BODY,
            else_branch = no () => (float[1, 1, 2, 2] o) { o = Exp(x) }
          >
        }
        """.replace("BODY", body)
    )
    result = rewrite(model.proto)
    assert [each.name for each in result.model.graph.initializer] == []
    assert len(bodies_of(result.model.graph.node[0])[0].node) == 1
    assert_chains(Model(result.model))


def test_releasing_a_capture_ends_one_use_by_the_owner() -> None:
    model = parsed(
        """
        (float[2] x, bool c) => (float[2] y) {
          t = Neg(x)
          y = If(c) <
            then_branch = yes () => (float[2] o) { e = Exp(t) o = Abs(x) },
            else_branch = no () => (float[2] o) { e = Exp(t) o = Abs(x) }
          >
        }
        """
    )
    graph = model.graph
    t = value(graph, "t")
    assert counts(t) == {"node_of_y": 2}
    for left, body in zip(({"node_of_y": 1}, {}), node(graph, "y").bodies, strict=True):
        body.remove(node(body, "e"))
        body.release(body.captures[t])
        assert t not in body.captures
        assert counts(t) == left
    assert_chains(model)


# Initializers


def constant(graph: Graph, name: str) -> Value:
    new = Value(name, graph)
    new.tensor = FoldedTensor(np.array([1, 2], np.float32), TensorProto.FLOAT)
    return new


def test_a_new_initializer_takes_a_name_that_no_value_of_the_model_has_had() -> None:
    model = unchecked(TWO_LEVELS)
    names = []
    for stem in ("k", "q", "fresh", "k"):
        new = constant(model.graph, stem)
        model.graph.add_initializer(new)
        names.append(new.name)
    # q is a name in a body only, and still taken.
    assert names == ["k_1", "q_2", "fresh", "k_3"]
    written = [tensor.name for tensor in model.to_proto().graph.initializer]
    assert written == ["k", "k_1", "q_2", "fresh", "k_3"]


@pytest.mark.parametrize("ir_version", [3, 4])
def test_ir_3_lists_new_initializers_as_inputs_and_unlists_removed_ones(ir_version: int) -> None:
    model = parsed(
        "(float[2] x, float[2] k) => (float[2] y) <float[2] k = {1, 2}> { y = Add(x, k) }",
        ir_version=ir_version,
        opset=9,
    )
    graph = model.graph
    new = constant(graph, "k")
    graph.add_initializer(new)
    graph.replace_uses(value(graph, "k"), new)
    graph.remove_initializer(value(graph, "k"))
    proto = assert_chains(model)
    assert [tensor.name for tensor in proto.graph.initializer] == ["k_1"]
    assert [each.name for each in proto.graph.input] == (["x", "k_1"] if ir_version == 3 else ["x"])
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_ir_3_writes_the_new_constants_of_a_body_as_nodes(
    verify: trtfuse.run.VerifyLevel,
) -> None:
    model = parsed(
        """
        (float[1, 2, 2, 2] x, bool c, float[2, 2, 1, 1] w, float[1, 2, 1, 1] s, float[1] zero)
        => (float[1, 2, 2, 2] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, float[1] zero = {0}> {
          y = If(c) <
            then_branch = yes () => (float[1, 2, 2, 2] o) {
              a = Conv(x, w)
              b = Mul(a, s)
              r = Relu(b)
              o = Add(r, zero)
            },
            else_branch = no () => (float[1, 2, 2, 2] o) { o = Relu(x) }
          >
        }
        """,
        ir_version=3,
        opset=9,
    )
    result = rewrite(model.proto, verify=verify)
    body = bodies_of(result.model.graph.node[0])[0]
    assert [(each.op_type, *each.output) for each in body.node] == [
        ("Constant", "w_fused"),
        ("Conv", "b"),
        ("Relu", "o"),
    ]
    assert [each.name for each in result.model.graph.input] == ["x", "c"]
    onnx.checker.check_model(result.model, full_check=True)
    again = rewrite(result.model, verify=verify)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_a_sparse_initializer_is_removed_like_another() -> None:
    model = parsed("(float[4] x) => (float[4] y) { y = Relu(x) }")
    proto = model.proto
    proto.graph.sparse_initializer.append(sparse("unread"))
    result = rewrite(proto)
    assert list(result.model.graph.sparse_initializer) == []


def sparse(name: str) -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("", TensorProto.INT64, [2], [0, 3])
    return helper.make_sparse_tensor(values, indices, [4])


@pytest.mark.parametrize(("ir_version", "overridable"), [(3, False), (4, True), (10, True)])
def test_an_initializer_among_the_inputs_is_overridable_from_ir_4_on(
    ir_version: int, overridable: bool
) -> None:
    model = parsed(
        "(float[2] x, float[2] k) => (float[2] y) <float[2] k = {1, 2}> { y = Add(x, k) }",
        ir_version=ir_version,
        opset=9,
    )
    assert value(model.graph, "k").overridable is overridable
    assert value(model.graph, "x").overridable is False


# Nodes


def test_a_label_is_the_name_or_else_what_tensorrt_would_call_it() -> None:
    graph = parsed("(float[2] x) => (float[2] y) { [named] a = Neg(x) y = Abs(a) }").graph
    assert [each.label for each in graph.nodes()] == ["named", "node_of_y"]
    graph = parsed("(float[2, 3] x) => (float[1, 3] y) { , y = Split<axis = 0>(x) }").graph
    assert [each.label for each in graph.nodes()] == ["node_of_y"]


def test_operators_are_told_apart_by_domain_and_local_functions_are_no_operators() -> None:
    proto = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3, "com.microsoft": 1, "custom": 1]>
        g (float[2] x) => (float[2] y) {
          a = Relu(x)
          b = ai.onnx.ml.Scaler(a)
          d = com.microsoft.Gelu(b)
          y = custom.Relu(d)
        }
        <domain: "custom", opset_import: ["": 17]> Relu (p) => (q) { q = Neg(p) }
        """
    )
    proto.graph.node[0].domain = "ai.onnx"
    nodes = list(Model(proto).graph.nodes())
    assert [each.op for each in nodes] == [
        "Relu",
        "ai.onnx.ml::Scaler",
        "com.microsoft::Gelu",
        "function custom::Relu",
    ]
    assert [each.operator for each in nodes] == [
        Operator("", "Relu", "standard"),
        Operator("ai.onnx.ml", "Scaler", "custom"),
        Operator("com.microsoft", "Gelu", "custom"),
        Operator("custom", "Relu", "function"),
    ]


def test_what_onnx_does_not_have_yet_is_no_operator_of_its_own() -> None:
    text = "(float[2] x) => (float[2] y) { a = Gelu(x) y = EfficientNMS_TRT(a) }"
    first, second = parsed(text, opset=17, valid=False).graph.nodes()
    assert first.operator == Operator("", "Gelu", "unknown")
    assert (first.op, second.op) == ("ai.onnx::Gelu", "ai.onnx::EfficientNMS_TRT")
    first, _ = parsed(text, opset=20, valid=False).graph.nodes()
    assert first.operator == Operator("", "Gelu", "standard")


def test_an_operator_is_one_object_for_all_its_nodes() -> None:
    text = "(float[2] x) => (float[2] y) { a = Relu(x) y = Relu(a) }"
    first, second = parsed(text).graph.nodes()
    assert first.operator is second.operator
    assert first.op is second.op


def test_a_node_knows_its_graph_also_when_it_has_been_removed() -> None:
    graph = parsed("(float[2] x) => (float[2] y) { dead = Neg(x) y = Abs(x) }").graph
    removed = node(graph, "dead")
    graph.remove(removed)
    assert (removed.graph, removed.home, removed.opset) == (None, graph, 17)
    nowhere = Node(NodeProto(op_type="Neg"), Operator("", "Neg"), [], [])
    with pytest.raises(LookupError, match="Neg is in no graph"):
        nowhere.attribute("axis")


def test_an_attribute_that_a_call_decides_is_no_default() -> None:
    operator = Operator("", "Softmax", refers=("axis",))
    assert (str(operator), operator.base) == ("Softmax<@axis>", "Softmax")
    node = Node(NodeProto(op_type="Softmax"), operator, [], [])
    assert node.attribute("axis") is None


def test_attributes_and_inputs_left_out_are_told_from_given_ones() -> None:
    graph = parsed(
        """
        (float[1, 1, 2, 2] x, float[2] s) => (float[?, ?, ?, ?] y) {
          y = Resize<mode = "nearest", cubic_coeff_a = 0.5>(x, , s)
        }
        """
    ).graph
    resize = node(graph, "y")
    assert resize.attribute("mode") == "nearest"
    assert resize.attribute("cubic_coeff_a") == 0.5
    assert resize.attribute("axes") is None
    assert resize.attribute("antialias", 0) == 0
    assert resize.operand(2) is value(graph, "s")
    with pytest.raises(LookupError, match="node_of_y has no input 1"):
        resize.operand(1)
    assert [resize.input(index) for index in range(5)] == [
        value(graph, "x"),
        None,
        value(graph, "s"),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("opset", "call", "name", "meant"),
    [
        (12, "Softmax(x)", "axis", 1),
        (13, "Softmax(x)", "axis", -1),
        (13, "Softmax<axis=0>(x)", "axis", 0),
        (17, "HardSigmoid(x)", "alpha", float(np.float32(0.2))),
        (17, "MaxPool<kernel_shape=[1]>(x)", "auto_pad", "NOTSET"),
        # What ONNX leaves open, and what it has from a later opset on only.
        (17, "Transpose(x)", "perm", None),
        (17, "ReduceMean(x)", "noop_with_empty_axes", None),
        (18, "ReduceMean(x)", "noop_with_empty_axes", 0),
        (17, "com.microsoft.Gelu(x)", "alpha", None),
    ],
)
def test_an_attribute_that_is_left_out_is_what_onnx_takes_it_for(
    opset: int, call: str, name: str, meant: object
) -> None:
    text = f"(float[1,2,3] x) => (float[1,2,?] y) {{ y = {call} }}"
    (node,) = parsed(text, opset=opset, valid=False).graph.nodes()
    assert node.opset == opset
    assert node.attribute(name) == meant
    assert node.attribute(name, "otherwise") == ("otherwise" if meant is None else meant)
    written = {each.name for each in node.proto.attribute}
    assert node.given(name) == (meant if name in written else None)
