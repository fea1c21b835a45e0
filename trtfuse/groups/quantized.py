"""Layers between DequantizeLinear and QuantizeLinear: C10."""

from __future__ import annotations

from trtfuse.groups.activation import Activations
from trtfuse.groups.partition import ONE_CONSUMER, Partition, only_reader
from trtfuse.ir.graph import Node
from trtfuse.rewrite.entries import C10
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.rule import Equation, group_rule

QUANTIZED = group_rule(
    "quantized",
    ONE_CONSUMER,
    equation=Equation("quantize(f(op(dequantize(q))))", "one kernel"),
    doc="""One kernel runs the DequantizeLinear of each computed operand and of the weights, the
    operator, an activation or none, and the QuantizeLinear.
    """,
    takes="Conv, ConvTranspose, Gemm, MatMul and Add, each DequantizeLinear being read by "
    "nothing else.",
    entry=C10,
    module=__name__,
)

_OPERATORS = frozenset(("Add", "Conv", "ConvTranspose", "Gemm", "MatMul"))


def find(partition: Partition, activations: Activations) -> None:
    """Forms the groups of quantized layers."""
    if not partition.allows(QUANTIZED):
        return
    for node in partition.order:
        if node.op in _OPERATORS and partition.free(node):
            _around(partition, activations, node)


def _around(partition: Partition, activations: Activations, node: Node) -> None:
    operands = [value for value in node.inputs[:2] if value is not None]
    before: list[Node] = []
    for value in dict.fromkeys([*operands, *(v for v in node.inputs[2:] if v is not None)]):
        source = value.producer
        if source is None or source.op != "DequantizeLinear" or not partition.free(source):
            if value in operands:
                return
            continue
        before.append(source)
    nodes = [node]
    activation = activations.of(node.output)
    if activation is not None:
        nodes += activation.nodes
    after = only_reader(nodes[-1].output)
    if after is None or after.op != "QuantizeLinear" or not partition.free(after):
        return
    for source in before:
        if why_not := consumers(source.output, (node,)):
            partition.decline(QUANTIZED, node, ONE_CONSUMER, why_not)
            return
    partition.form(QUANTIZED, (*before, *nodes, after))
