"""Convolutions with what their kernel does besides: F1, F4, C1, C2, C8."""

from __future__ import annotations

from trtfuse.groups.activation import Activations
from trtfuse.groups.partition import (
    ONE_CONSUMER,
    Group,
    Partition,
    computed,
    only_reader,
    other_operand,
    same_shape,
)
from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.condition import STATIC_SHAPES, Condition
from trtfuse.rewrite.entries import C1, C2, C8, F1, F4
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.rule import Equation, GroupRule, group_rule

NO_BROADCAST = Condition(
    "no-broadcast",
    "Both operands certainly have the same shape, but for a batch of 1 in one of them.",
    STATIC_SHAPES,
)
BOTH_COMPUTED = Condition(
    "other-operand",
    "The other operand is another value, and computed.",
    "nothing, if the sum is of a value with itself or a constant",
)
FIRST_CHOICE = Condition(
    "first-choice",
    "Where both operands come from convolutions, the group is that of the one nearer to the inputs "
    "of the graph, such as a shortcut, as the builder has it; of two as near, the first operand.",
    "nothing: one of the two layers takes the sum in",
)
CONV_RELU = group_rule(
    "conv-relu",
    ONE_CONSUMER,
    equation=Equation("relu(conv(x))", "one kernel `conv + relu`"),
    doc="A Relu joins the convolution before it.",
    takes="Conv or ConvTranspose of any rank, group, dilation and padding, and Relu.",
    entry=F1,
    module=__name__,
)
CONV_SUM = group_rule(
    "conv-sum",
    ONE_CONSUMER,
    BOTH_COMPUTED,
    NO_BROADCAST,
    FIRST_CHOICE,
    equation=Equation("conv(x) + y", "one kernel `conv + add`"),
    doc="""The sum of a convolution and of something else joins the convolution. A Relu that follows
    joins too: `conv + add + relu`.
    """,
    takes="Add, or Sum of two, of a Conv or ConvTranspose and of another computed value.",
    entry=F4,
    module=__name__,
)
CONV_ACTIVATION = group_rule(
    "conv-activation",
    ONE_CONSUMER,
    equation=Equation("f(conv(x))", "one kernel `conv + f`"),
    doc="An activation joins the convolution before it.",
    takes="Conv or ConvTranspose and Clip, LeakyRelu, PRelu, Elu, Selu, Celu, Sigmoid, Tanh, "
    "HardSigmoid, ThresholdedRelu, Softplus, Softsign, Gelu, HardSwish, Mish, Swish; Min or Max "
    "by one number; and x * Sigmoid(x), x * HardSigmoid(x), x * Tanh(Softplus(x)) and GELU "
    "spelled out.",
    entry=C1,
    module=__name__,
)
CONV_MIN_MAX = group_rule(
    "conv-min-max",
    ONE_CONSUMER,
    BOTH_COMPUTED,
    NO_BROADCAST,
    FIRST_CHOICE,
    equation=Equation("min(conv(x), y)", "one kernel `conv + min`"),
    doc="The minimum or maximum of a convolution and of something else joins the convolution.",
    takes="Min or Max of a Conv or ConvTranspose and of another computed value.",
    entry=C2,
    module=__name__,
)
SEPARABLE = group_rule(
    "depthwise-pointwise",
    ONE_CONSUMER,
    equation=Equation("pointwise(f(depthwise(x)))", "one kernel `depthwise + f + pointwise`"),
    doc="""A depthwise convolution and the pointwise one behind it join, each with what it is
    grouped with.
    """,
    takes="a Conv with as many groups as input channels, an activation or none, and a Conv of "
    "one group with a kernel of 1, steps of 1 and no padding, with what follows it in a group "
    "of F1, F4, C1 or C2.",
    entry=C8,
    module=__name__,
)

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_SUMS = ("Add", "Sum")


def find(partition: Partition, activations: Activations) -> None:
    """Forms the groups that begin with a convolution."""
    depths = _depths(partition)
    convolutions = [n for n in partition.order if n.op in _CONVOLUTIONS and partition.free(n)]
    for node in convolutions:
        _extend(partition, activations, depths, node)
    for node in convolutions:
        _join_depthwise(partition, node)


def _depths(partition: Partition) -> dict[Node, int]:
    """How many nodes are on the longest way from an input to each node."""
    depths: dict[Node, int] = {}
    for node in partition.order:
        sources = (v.producer for v in (*node.inputs, *node.captured()) if v is not None)
        depths[node] = 1 + max((depths.get(source, 0) for source in sources if source), default=0)
    return depths


def _extend(
    partition: Partition, activations: Activations, depths: dict[Node, int], conv: Node
) -> None:
    """Groups a convolution with a sum, minimum or maximum, or with an activation."""
    y = conv.output
    reader = only_reader(y)
    if reader is not None and partition.free(reader):
        for rule, operators in ((CONV_SUM, _SUMS), (CONV_MIN_MAX, ("Min", "Max"))):
            other = other_operand(reader, y) if reader.op in operators else None
            if other is None and reader.op in operators and len(reader.inputs) == 2:
                because = f"{reader.label} reads `{y.name}` as both operands"
                partition.decline(rule, conv, BOTH_COMPUTED, because)
            if other is None or not computed(other) or not partition.allows(rule):
                continue
            if why_not := same_shape(y, other, batch=True):
                partition.decline(rule, conv, NO_BROADCAST, why_not)
                continue
            rival = _rival(partition, depths, conv, reader, other)
            if rival is not None:
                _yield_to(partition, rule, conv, reader, rival)
                continue
            nodes = [conv, reader]
            relu = activations.of(reader.output) if rule is CONV_SUM else None
            if relu is not None and relu.is_relu:
                nodes += relu.nodes
            partition.form(rule, nodes)
            return
    elif reader is not None:
        taken = partition.group_of.get(reader)
        for rule in (CONV_SUM, CONV_MIN_MAX):
            if taken is not None and taken.rule == rule.name:
                _yield_to(partition, rule, conv, reader, taken.nodes[0])
    activation = activations.of(y)
    if activation is not None:
        rule = CONV_RELU if activation.is_relu else CONV_ACTIVATION
        if partition.allows(rule):
            partition.form(rule, (conv, *activation.nodes))
            return
    _explain(partition, activations, conv)


def _yield_to(partition: Partition, rule: GroupRule, conv: Node, reader: Node, rival: Node) -> None:
    """Notes that another convolution takes a sum, or gets to take it when its turn comes."""
    because = f"{reader.label} goes with {rival.label}"
    partition.decline(rule, conv, FIRST_CHOICE, because)


def _rival(
    partition: Partition, depths: dict[Node, int], conv: Node, reader: Node, other: Value
) -> Node | None:
    """The convolution that a sum of two of them goes with, if it is the other one."""
    rival = other.producer
    if rival is None or rival.op not in _CONVOLUTIONS or not partition.free(rival):
        return None
    if only_reader(other) is not reader:
        return None
    mine, its = depths[conv], depths[rival]
    goes_with_it = its < mine or (its == mine and reader.inputs[0] is other)
    return rival if goes_with_it else None


def _explain(partition: Partition, activations: Activations, conv: Node) -> None:
    """Says why a convolution stays without what reads it, where others read it too."""
    y = conv.output
    rule: GroupRule = CONV_SUM
    reader = activations.among_readers(y)
    if reader is not None:
        rule = CONV_RELU if reader.op == "Relu" else CONV_ACTIVATION
    else:
        sums = (n for n in y.uses if n.op in _SUMS and computed(other_operand(n, y)))
        reader = next(sums, None)
    why_not = None if reader is None else consumers(y, (reader,))
    if why_not is not None:
        partition.decline(rule, conv, ONE_CONSUMER, why_not)


def _join_depthwise(partition: Partition, pointwise: Node) -> None:
    """Joins a depthwise convolution, with its activation, and the pointwise one that reads it."""
    if not partition.allows(SEPARABLE) or not _is_pointwise(pointwise):
        return
    x = pointwise.operand(0)
    first: tuple[Node, ...] = ()
    before = x.producer
    if before is None:
        return
    group = partition.group_of.get(before)
    if group is not None and group.rule in (CONV_RELU.name, CONV_ACTIVATION.name):
        first = group.nodes
    elif partition.free(before):
        first = (before,)
    if not first or not _is_depthwise(first[0]):
        return
    if why_not := consumers(x, (pointwise,)):
        partition.decline(SEPARABLE, first[0], ONE_CONSUMER, why_not)
        return
    own: Group | None = partition.group_of.get(pointwise)
    partition.form(SEPARABLE, (*first, *((pointwise,) if own is None else own.nodes)))


def _is_depthwise(node: Node) -> bool:
    weights = node.input(1)
    if node.op != "Conv" or weights is None or weights.shape is None:
        return False
    group = node.attribute("group")
    return bool(group > 1 and weights.shape[1] == 1 and weights.shape[0] == group)


def _is_pointwise(node: Node) -> bool:
    weights = node.input(1)
    if node.op != "Conv" or weights is None or weights.shape is None:
        return False
    steps, pads = node.attribute("strides", [1]), node.attribute("pads", [0])
    ones = all(size == 1 for size in weights.shape[2:])
    return bool(
        ones and node.attribute("group") == 1 and all(step == 1 for step in steps) and not any(pads)
    )
