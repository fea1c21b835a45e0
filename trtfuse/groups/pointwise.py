"""Operators that work element by element, one after the other: F3, C7."""

from __future__ import annotations

from trtfuse.groups.activation import OPERATORS as ACTIVATIONS
from trtfuse.groups.partition import ONE_CONSUMER, Partition, computed, joined, same_shape
from trtfuse.ir.graph import Node
from trtfuse.ir.tensor import FLOATING
from trtfuse.layers.scale import Scale
from trtfuse.rewrite.condition import STATIC_SHAPES, Condition
from trtfuse.rewrite.entries import C7, F3
from trtfuse.rewrite.rule import Equation, group_rule

SAME_SHAPE = Condition(
    "same-shape",
    "What is computed inside has the shape of what the group computes.",
    STATIC_SHAPES,
)

SCALE_ACTIVATION = group_rule(
    "scale-and-activation",
    ONE_CONSUMER,
    SAME_SHAPE,
    equation=Equation("f(x * a + b)", "one kernel `scale + f`"),
    doc="An activation joins the Scale before it, where no one operator says both.",
    takes="Mul, Div, Add, Sub, Pow by constants, Neg, BatchNormalization, and chains of these, "
    "and an activation in one node.",
    entry=F3,
    module=__name__,
)
POINTWISE = group_rule(
    "pointwise",
    ONE_CONSUMER,
    SAME_SHAPE,
    equation=Equation("h(f(x), g(y))", "one kernel `f + g + h`"),
    doc="Two or more pointwise operators that feed one another are one kernel.",
    takes="activations; Abs, Ceil, Cos, Erf, Exp, Floor, Log, Neg, Reciprocal, Round, Sign, "
    "Sin, Sqrt; Add, Div, Max, Mean, Min, Mul, Pow, Sub, Sum; and BatchNormalization in "
    "inference mode, of floating-point numbers.",
    entry=C7,
    module=__name__,
)

_OPERATORS = ACTIVATIONS | {
    "Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Round", "Sign",
    "Sin", "Sqrt",
    "Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum",
    "BatchNormalization",
}  # fmt: skip

#: A name lists so many nodes; of more, it says how many they are.
_MOST_NAMED = 16


def find(partition: Partition) -> None:
    """Forms groups of pointwise operators that are in none yet."""
    root_of: dict[Node, Node] = {}
    members: dict[Node, list[Node]] = {}
    for node in reversed(partition.order):
        if not partition.free(node) or not _is_pointwise(node):
            continue
        y = node.output
        # It belongs to what reads it, if that is all of one group, of the same shape.
        roots = {root_of.get(reader) for reader in y.uses}
        root = roots.pop() if len(roots) == 1 and not y.outputs else None
        if root is not None and (why_not := same_shape(y, root.output)):
            partition.decline(POINTWISE, node, SAME_SHAPE, why_not)
            root = None
        root_of[node] = root or node
        members.setdefault(root or node, []).append(node)
    for root, nodes in members.items():
        if len(nodes) < 2:
            continue
        rule = SCALE_ACTIVATION if _scales_then_activates(nodes) else POINTWISE
        if not partition.allows(rule):
            continue
        many = len(nodes) > _MOST_NAMED
        name = f"{nodes[-1].label} .. {root.label} ({len(nodes)} nodes)" if many else None
        partition.form(rule, nodes, name or joined(reversed(nodes)))


def _is_pointwise(node: Node) -> bool:
    if node.op not in _OPERATORS or not computed(node.output):
        return False
    if node.op == "BatchNormalization" and not isinstance(Scale.of(node), Scale):
        return False
    return node.output.type in FLOATING


def _scales_then_activates(nodes: list[Node]) -> bool:
    """Whether a group, last node first, is a chain of Scales and an activation."""
    last, *scales = nodes
    return last.op in ACTIVATIONS and all(isinstance(Scale.of(scale), Scale) for scale in scales)
