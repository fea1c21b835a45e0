"""The branch of an If with a constant condition, in the place of the If."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from fusing import rewrite_and_explain
from models import model
from onnx import GraphProto, TensorProto, helper


def branch(operator: str) -> GraphProto:
    """A branch of two nodes, which are called alike in every branch."""
    nodes = [
        helper.make_node(operator, ["q"], ["inner"], "first"),
        helper.make_node("Sin", ["inner"], ["result"], "second"),
    ]
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [2])
    return helper.make_graph(nodes, "branch", [], [result])


def test_names_that_branches_share_do_not_repeat_in_one_graph() -> None:
    made = model(
        "(float[2] x) => (float[2] y) { [first] q = Exp(x) [y] y = Mul(q, q) }",
        yes=np.array(True),
        no=np.array(False),
    )
    made.graph.node[1].input[:] = ["b1", "b2"]
    for count, condition in enumerate(("yes", "no"), 1):
        node = helper.make_node(
            *("If", [condition], [f"b{count}"], f"if{count}"),
            then_branch=branch("Cos"),
            else_branch=branch("Neg"),
        )
        made.graph.node.insert(count, node)
    result = rewrite_and_explain(made, groups="off", verify="model")
    assert result.ok
    assert [each.rule for each in result.report.fused].count("constant-if") == 2
    names = [node.name for node in result.model.graph.node]
    assert len(names) == len(set(names)) == 6
    session = ort.InferenceSession(result.model.SerializeToString())
    x = np.array([0.5, -1], np.float32)
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, np.sin(np.cos(np.exp(x))) * np.sin(-np.exp(x)), rtol=1e-5)
