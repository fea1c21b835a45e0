"""Groups of random graphs: convex, disjoint, the same for every order, and all compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import onnx
import onnxruntime as ort
from graphs import Drawn as DrawnGraph
from graphs import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from node_order import contents, shuffled
from onnx import ModelProto, TensorProto, helper, numpy_helper
from strategies import Drawn, models

import trtfuse
from trtfuse.groups.find import find_groups
from trtfuse.model.model import Model

SIDE = 4
Draw = Callable[[st.SearchStrategy[Any]], Any]
UNARY = ("Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Softmax", "Identity", "Transpose")
BINARY = ("Add", "Mul", "Sub", "Max", "MatMul")


@st.composite
def squares(draw: Draw) -> ModelProto:
    """Graphs of square matrices, or of images: any node may read any value before it."""
    images = draw(st.booleans())
    shape = [1, SIDE, SIDE, SIDE] if images else [SIDE, SIDE]
    weights = [SIDE, SIDE, 1, 1] if images else shape
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values, nodes, constants = ["x"], [], []
    for index in range(draw(st.integers(1, 12))):
        # Mostly chains; what is read twice, or late, makes branches.
        first = values[-1] if draw(st.integers(0, 2)) else draw(st.sampled_from(values))
        kind = draw(st.sampled_from(("layer", "layer", "unary", "unary", "binary", "constant")))
        name, inputs = f"n{index}", [first]
        if kind in ("layer", "constant"):
            sizes = weights if kind == "layer" else draw(st.sampled_from((shape, shape[-1:], [])))
            numbers = rng.uniform(-0.5, 0.5, sizes).astype(np.float32)
            constants.append(numpy_helper.from_array(np.asarray(numbers), f"c{index}"))
            inputs.append(f"c{index}")
            layers = ("Conv",) if images else ("Gemm", "MatMul")
            operator = draw(st.sampled_from(layers if kind == "layer" else ("Add", "Mul", "Sub")))
        elif kind == "unary":
            operator = draw(st.sampled_from(UNARY))
        else:
            operator = draw(st.sampled_from(BINARY))
            inputs.append(draw(st.sampled_from(values)))
        values.append(f"v{index}")
        turned = {"perm": [0, 1, 3, 2] if images else [1, 0]} if operator == "Transpose" else {}
        nodes.append(helper.make_node(operator, inputs, [f"v{index}"], name=name, **turned))
    used = {name for node in nodes for name in node.input}
    ends = [v for v in values[1:] if v not in used or draw(st.integers(0, 7)) == 7]
    outputs = [helper.make_tensor_value_info(v, TensorProto.FLOAT, shape) for v in ends]
    graph = helper.make_graph(
        nodes,
        "drawn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        outputs,
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def computed(made: ModelProto) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(made.SerializeToString(), options)
    shape = session.get_inputs()[0].shape
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return list(session.run(None, {"x": x}))


@given(squares())
@settings(max_examples=150)
def test_groups_are_disjoint_and_convex_and_have_one_way_out(made: ModelProto) -> None:
    model = Model(made)
    found = find_groups(model, trtfuse.rules()).groups
    members = [node for group in found for node in group.nodes]
    assert len(members) == len(set(members))
    edges = [
        (value.producer, node)
        for node in model.graph.nodes()
        for value in node.inputs
        if value is not None and value.producer is not None
    ]
    whole = nx.DiGraph(edges)
    whole.add_nodes_from(model.graph.nodes())
    for group in found:
        inside = set(group.nodes)
        assert len(inside) > 1
        assert nx.is_weakly_connected(whole.subgraph(inside))
        after = set().union(*(nx.descendants(whole, node) for node in inside)) - inside
        before = set().union(*(nx.ancestors(whole, node) for node in inside)) - inside
        assert not after & before
        for node in inside - {group.last}:
            assert not node.output.outputs
            assert set(node.output.uses) <= inside
    owner = {node: group for group in found for node in group.nodes}
    merged = nx.DiGraph((owner.get(a, a), owner.get(b, b)) for a, b in edges)
    merged.remove_edges_from(list(nx.selfloop_edges(merged)))
    assert nx.is_directed_acyclic_graph(merged)


@given(squares())
@settings(max_examples=60)
def test_functions_and_flat_compute_what_the_original_does(made: ModelProto) -> None:
    expected = computed(made)
    for groups in ("functions", "flat"):
        fused = trtfuse.fuse(made, groups=groups, verify="none").model  # type: ignore[arg-type]
        onnx.checker.check_model(fused, full_check=True)
        for one, other in zip(computed(fused), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
        again = trtfuse.fuse(fused, groups=groups, verify="none").model  # type: ignore[arg-type]
        assert again.SerializeToString() == fused.SerializeToString()


@given(squares(), st.integers(0, 2**16))
@settings(max_examples=60)
def test_the_order_of_the_file_does_not_matter(made: ModelProto, seed: int) -> None:
    first = trtfuse.fuse(made, verify="none")
    second = trtfuse.fuse(shuffled(made, seed), verify="none")
    assert contents(second.model) == contents(first.model)
    assert second.report.fused == first.report.fused


@given(models())
def test_layers_of_every_kind_become_valid_functions(drawn: Drawn) -> None:
    fused = trtfuse.fuse(drawn.model, verify="none").model
    onnx.checker.check_model(fused)
    again = trtfuse.fuse(fused, verify="none")
    assert [each.name for each in again.report.fused if each.kind == "rewrite"] == []
    assert again.model.SerializeToString() == fused.SerializeToString()


@given(graphs())
@settings(max_examples=40)
def test_whole_graphs_agree_and_a_second_run_changes_nothing(drawn: DrawnGraph) -> None:
    fused = trtfuse.fuse(drawn.model, verify="none").model
    onnx.checker.check_model(fused)
    again = trtfuse.fuse(fused, verify="none")
    assert [each.name for each in again.report.fused if each.kind == "rewrite"] == []
    assert again.model.SerializeToString() == fused.SerializeToString()
    try:
        found = trtfuse.verify(drawn.model, fused)
    except trtfuse.VerifyError:
        # ONNX Runtime does not run the original.
        return
    assert found.ok, found.notes
