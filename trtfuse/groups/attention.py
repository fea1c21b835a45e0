"""Attention spelled out: C11."""

from __future__ import annotations

from trtfuse.analysis.constants import constant
from trtfuse.analysis.wording import rank_not_known
from trtfuse.groups.partition import ONE_CONSUMER, Partition, computed, other_operand
from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.entries import C11
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.rule import Equation, group_rule

LAST_AXIS = Condition(
    "softmax-of-the-last-axis",
    "The Softmax is taken over the last axis.",
    "take the Softmax over the last axis",
)

ATTENTION = group_rule(
    "attention",
    ONE_CONSUMER,
    LAST_AXIS,
    equation=Equation("softmax(q k^T * scale + mask) v", "one kernel"),
    doc="""A scale of q or k by one number, and the transposition of k, join where nothing else
    reads them.
    """,
    takes="MatMul of computed operands; Mul and Div by one number, Add of a mask, Where, Clip, "
    "Cast and Tanh; Softmax; and MatMul.",
    entry=C11,
    module=__name__,
)

#: What may stand between the first product and the Softmax.
_SCORES = frozenset(("Add", "Cast", "Clip", "Div", "Mul", "Sub", "Tanh", "Where"))
#: So many of them at most.
_MOST_STEPS = 8


def find(partition: Partition) -> None:
    """Forms the groups of attention."""
    if not partition.allows(ATTENTION):
        return
    for node in partition.order:
        if node.op == "Softmax" and partition.free(node):
            _around(partition, node)


def _around(partition: Partition, softmax: Node) -> None:
    """Forms the group of a Softmax between two products, if that is what it is."""
    scores = _scores(partition, softmax)
    if scores is None:
        return
    after = _weighted(partition, softmax)
    if after is None:
        return
    nodes = [*scores, softmax, *after]
    last = after[-1]
    if why_not := _not_last_axis(softmax):
        partition.decline(ATTENTION, last, LAST_AXIS, why_not)
        return
    if why_not := partition.open_value(nodes, last):
        partition.decline(ATTENTION, last, ONE_CONSUMER, why_not)
        return
    product = scores[0]
    for operand in product.inputs:
        nodes += _prepared(partition, operand, product)
    partition.form(ATTENTION, nodes)


def _not_last_axis(softmax: Node) -> str | None:
    x, axis = softmax.operand(0), softmax.attribute("axis")
    if axis == -1 or (x.rank is not None and axis == x.rank - 1):
        return None
    if x.rank is None:
        return f"{softmax.label} is taken over axis {axis}, and {rank_not_known(x)}"
    return f"{softmax.label} is taken over axis {axis} of {x.rank}"


def _scores(partition: Partition, softmax: Node) -> list[Node] | None:
    """The first product and what leads from it to the Softmax."""
    nodes: list[Node] = []
    value = softmax.inputs[0]
    for _ in range(_MOST_STEPS):
        node = None if value is None else value.producer
        if node is None or not partition.free(node):
            return None
        nodes.append(node)
        if node.op == "MatMul":
            return nodes[::-1] if all(map(computed, node.inputs)) else None
        if node.op not in _SCORES:
            return None
        value = _toward_product(node)
    return None


def _toward_product(node: Node) -> Value | None:
    """The operand of a step that comes from the product; a mask may be either operand."""
    operands = [v for v in node.inputs if v is not None and computed(v) and v.producer is not None]
    if node.op not in ("Add", "Mul", "Sub", "Where"):
        return operands[0] if operands and operands[0] is node.inputs[0] else None
    if node.op == "Where":
        operands = [value for value in operands if value is not node.inputs[0]]
    steps = [v for v in operands if v.producer and (v.producer.op in (*_SCORES, "MatMul"))]
    products = [v for v in steps if _comes_from_product(v)]
    return products[0] if len(products) == 1 else None


def _comes_from_product(value: Value) -> bool:
    """Whether a product is a few steps up, along first computed operands."""
    current: Value | None = value
    for _ in range(_MOST_STEPS):
        node = None if current is None else current.producer
        if node is None:
            return False
        if node.op == "MatMul":
            return True
        if node.op not in _SCORES:
            return False
        inputs = node.inputs[1:] if node.op == "Where" else node.inputs
        current = next((v for v in inputs if v and computed(v) and v.producer is not None), None)
    return False


def _weighted(partition: Partition, softmax: Node) -> list[Node] | None:
    """What leads from the Softmax to the second product, and that."""
    nodes: list[Node] = []
    value = softmax.output
    for _ in range(3):
        if value.outputs or len(value.uses) != 1:
            products = [n for n in value.uses if n.op == "MatMul" and n.inputs[0] is value]
            if products:
                why_not = consumers(value, (products[0],)) or ""
                partition.decline(ATTENTION, softmax, ONE_CONSUMER, why_not)
            return None
        (reader,) = value.uses
        if not partition.free(reader) or reader.inputs[:1] != [value]:
            return None
        nodes.append(reader)
        if reader.op == "MatMul":
            return nodes if computed(reader.inputs[1]) and reader.inputs[1] is not value else None
        if reader.op not in ("Cast", "Where"):
            return None
        value = reader.output
    return None


def _prepared(partition: Partition, operand: Value | None, product: Node) -> list[Node]:
    """A scale by one number, and a transposition, of an operand that only the product reads."""
    nodes: list[Node] = []
    reader = product
    while operand is not None and len(nodes) < 2:
        node = operand.producer
        if node is None or not partition.free(node) or consumers(operand, (reader,)) is not None:
            break
        if node.op == "Transpose" and operand is product.inputs[1]:
            following = node.inputs[0]
        elif node.op in ("Mul", "Div"):
            first, second = node.inputs
            following = first if computed(first) else second
            factor = None if following is None else constant(other_operand(node, following))
            if factor is None or factor.size != 1 or (node.op == "Div" and following is second):
                break
        else:
            break
        nodes.append(node)
        operand, reader = following, node
    return nodes
