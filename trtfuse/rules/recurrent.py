"""Initial states of LSTM, GRU and RNN that are zero, which is what they are if left out."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import StoredTensor
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.editor import GraphEditor
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.rule import Change, Changes, Equation, LeftApart, graph_rule

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


IS_ZERO = Condition(
    "state-is-zero",
    "The initial state is certainly zero.",
    "leave the initial state out where it is zero",
)


def _not_zero(graph: Graph) -> Iterator[LeftApart]:
    for node in graph.nodes():
        for index in _STATES.get(node.op, ()):
            state = node.input(index)
            if state is not None and (why_not := _why_not_zero(state)):
                because = f"the initial state `{state.name}` {why_not}"
                yield (node,), Reason(IS_ZERO, because)


@graph_rule(
    "zero-state",
    IS_ZERO,
    equation=Equation("lstm(x, initial_h=0, initial_c=0)", "lstm(x)"),
    takes="initial_h and initial_c of LSTM, GRU and RNN that are constants of zeros, or what "
    "ConstantOfShape makes, or Cast, Expand, Reshape, Slice, Squeeze, Tile, Transpose and "
    "Unsqueeze of these.",
    entry=CLEANUP,
    apart=_not_zero,
)
def zero_state(edit: GraphEditor) -> Changes:
    """An initial state that is left out is zero. Exporters write one that is computed from the
    batch, of Shape, ConstantOfShape and Expand; sequence_lens stays.
    """
    for node in [node for node in edit.graph.nodes() if node.op in _STATES]:
        states = [(index, node.input(index)) for index in _STATES[node.op]]
        zero = [i for i, state in states if state is not None and _why_not_zero(state) is None]
        if zero:
            edit.leave_out(node, zero)
            yield Change((node,), (node,))


def _why_not_zero(state: Value) -> str | None:
    """Why a value may be something else than zeros, as the end of a sentence; None if it is not."""
    value = state
    for _ in range(_LONGEST):
        tensor = constant(value)
        if tensor is not None:
            return "has numbers other than zero" if tensor.array().any() else None
        while value.source is not None:
            value = value.source
        node = value.producer
        if node is None:
            return "is given at run time" if value is state else f"is made of `{value.name}`"
        if node.op == "ConstantOfShape":
            return None if _fills_with_zeros(node) else "is filled with another number than zero"
        first = node.input(0)
        if node.op not in _KEEPS_ZEROS or first is None:
            return f"is computed by {node.op} {node.label}"
        value = first
    return f"is not followed further than `{value.name}`"


def _fills_with_zeros(node: Node) -> bool:
    number = node.attribute("value")
    return number is None or not StoredTensor(number).array().any()
