"""An If whose condition is a constant: the branch that it takes, in its place."""

from __future__ import annotations

from trtfuse.analysis.constants import constant
from trtfuse.rewrite.editor import GraphEditor
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.rule import Change, Changes, Equation, graph_rule


@graph_rule(
    "constant-if",
    equation=Equation("if(true, f, g)", "f"),
    takes="If.",
    entry=CLEANUP.part("an If with a constant condition"),
)
def constant_if(edit: GraphEditor) -> Changes:
    """The nodes of the branch that is taken stand in the place of the If; the other branch goes."""
    graph = edit.graph
    if not any(node.op == "If" for node in graph.nodes()):
        return
    names = {node.proto.name for node in graph.nodes() if node.proto.name}
    for node in list(graph.canonical()):
        condition = constant(node.inputs[0]) if node.op == "If" else None
        if condition is None or condition.size != 1:
            continue
        taken = "then_branch" if bool(condition.array().reshape(())) else "else_branch"
        # Attributes stand in any order, and the bodies in the order of the attributes.
        branches = [a.name for a in node.proto.attribute if a.name.endswith("_branch")]
        body = node.bodies[branches.index(taken)]
        if body.sparse:
            continue
        first = len(edit.added)
        edit.inline(node, body, names)
        yield Change((node,), tuple(edit.added[first:]))
