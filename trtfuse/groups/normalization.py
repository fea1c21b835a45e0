"""Normalizations and GELU that stay spelled out: C9, C5."""

from __future__ import annotations

from trtfuse.analysis.constants import constant
from trtfuse.groups.activation import Activations
from trtfuse.groups.partition import ONE_CONSUMER, Partition, only_reader, other_operand
from trtfuse.ir.graph import Node, Value
from trtfuse.layers.scale import Factor, Scale
from trtfuse.rewrite.condition import LAST_AXES, Condition
from trtfuse.rewrite.entries import C5, C9
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.rule import Equation, group_rule
from trtfuse.rules.normalization import layer_norm, over_the_last_axes, rms_norm

SAME_AXES = Condition(
    "same-axes",
    "Mean and variance are taken over the same axes, which are the last ones.",
    LAST_AXES,
)

NORMALIZATION = group_rule(
    "spelled-normalization",
    ONE_CONSUMER,
    SAME_AXES,
    equation=Equation(
        "(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * g + b", "one kernel"
    ),
    doc="""The operators stay where the opset has none that says it, or layer-norm and rms-norm
    decline. A gain and a shift by constants join.
    """,
    takes="the spellings of layer normalization and RMS normalization that layer-norm and "
    "rms-norm take, of any size.",
    entry=C9,
    module=__name__,
)
GELU = group_rule(
    "spelled-gelu",
    ONE_CONSUMER,
    equation=Equation("0.5 * x * (1 + erf(x / sqrt(2)))", "one kernel"),
    doc="""The operators stay where the opset has no Gelu and no layer before them takes them in.
    The Add of a constant before them joins.
    """,
    takes="the spellings that gelu takes, also with numbers that are only near those of GELU.",
    entry=C5,
    module=__name__,
)


def find_normalizations(partition: Partition) -> None:
    """Forms the groups of layer normalizations and RMS normalizations."""
    if not partition.allows(NORMALIZATION):
        return
    axes = over_the_last_axes()
    for node in partition.order:
        for rule in (layer_norm, rms_norm):
            if node.op not in rule.pattern.roots() or not partition.free(node):
                continue
            match = next(rule.pattern.matches(node.output, Match([])), None)
            if match is None or not all(map(partition.free, match.nodes)):
                continue
            if why_not := axes.check(match):
                partition.decline(NORMALIZATION, node, SAME_AXES, why_not)
                continue
            nodes = [*match.nodes, *_gain_and_shift(partition, node.output)]
            last = max(nodes, key=partition.rank.__getitem__)
            if why_not := partition.open_value(nodes, last):
                partition.decline(NORMALIZATION, node, ONE_CONSUMER, why_not)
                continue
            partition.form(NORMALIZATION, nodes)


def _gain_and_shift(partition: Partition, y: Value) -> list[Node]:
    """The Mul and the Add by constants that follow, each if it is there."""
    nodes: list[Node] = []
    for operator in ("Mul", "Add"):
        reader = only_reader(y)
        if reader is None or reader.op != operator or not partition.free(reader):
            continue
        if _keeps_shape(reader, y):
            nodes.append(reader)
            y = reader.output
    return nodes


def _keeps_shape(node: Node, x: Value) -> bool:
    other = other_operand(node, x)
    tensor = constant(other)
    if other is None or tensor is None:
        return False
    return Factor(other.name, tensor.shape, tensor.exact).broadcasts(x) is None


def find_gelus(partition: Partition, activations: Activations) -> None:
    """Forms the groups of GELU that are in no group of a layer."""
    if not partition.allows(GELU):
        return
    for gelu in activations.gelus:
        if not all(map(partition.free, gelu.nodes)):
            continue
        nodes = list(gelu.nodes)
        before = gelu.x.producer
        if before is not None and before.op == "Add" and partition.free(before):
            seen = Scale.of(before)
            shifts = isinstance(seen, Scale) and _keeps_shape(before, seen.x)
            if shifts and partition.open_value([before, *nodes], nodes[-1]) is None:
                nodes.insert(0, before)
        partition.form(GELU, nodes)
