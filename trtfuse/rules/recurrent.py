"""Initial states of LSTM, GRU and RNN that are zero, which is what they are if left out."""

from __future__ import annotations

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import StoredTensor
from trtfuse.rewrite.rule import Change, Changes, graph_rule

#: The inputs that are initial states.
_STATES = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
#: Operators of zeros that give zeros, whatever their other inputs are.
_KEEPS_ZEROS = frozenset(
    (
        "Cast",
        "Expand",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )
)
#: So many of them in a row are followed.
_LONGEST = 8


@graph_rule("zero-state", entry="Cleanup")
def zero_state(graph: Graph) -> Changes:
    """lstm(x, initial_h=0, initial_c=0)  ==  lstm(x)

    Entry Cleanup: an initial state that is left out is zero. Exporters write one that is computed
    from the batch, of Shape, ConstantOfShape and Expand; sequence_lens stays.

    Takes: initial_h and initial_c of LSTM, GRU and RNN that are constants of zeros, or what
    ConstantOfShape makes, or Cast, Expand, Reshape, Slice, Squeeze, Tile, Transpose and Unsqueeze
    of these.
    """
    for node in [node for node in graph.nodes() if node.op in _STATES]:
        zero = [index for index in _STATES[node.op] if _is_zero(node.input(index))]
        if zero:
            graph.leave_out(node, zero)
            yield Change((node,), (node,))


def _is_zero(value: Value | None) -> bool:
    """Whether a value is certainly all zeros."""
    for _ in range(_LONGEST):
        tensor = constant(value)
        if tensor is not None:
            return not tensor.array().any()
        while value is not None and value.source is not None:
            value = value.source
        node = None if value is None else value.producer
        if node is None:
            return False
        if node.op == "ConstantOfShape":
            return _fills_with_zeros(node)
        if node.op not in _KEEPS_ZEROS:
            return False
        value = node.inputs[0]
    return False


def _fills_with_zeros(node: Node) -> bool:
    number = node.attribute("value")
    return number is None or not StoredTensor(number).array().any()
