"""Reductions and logarithms that stay spelled out, which serves TensorRT better: F5, F12 to C6."""

from __future__ import annotations

from trtfuse.groups.partition import ONE_CONSUMER, Partition
from trtfuse.rewrite.entries import C6, F5, F12, F13, F14
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.rule import Equation, group_rule
from trtfuse.rules.activation import log_softmax
from trtfuse.rules.reduce import l2_norm, log_sum, log_sum_exp, reduced_by, shuffle_reduce

SHUFFLE_REDUCE = group_rule(
    "spelled-shuffle-reduce",
    ONE_CONSUMER,
    equation=Equation("reduce(transpose(x), axes)", "one reduction"),
    doc="""The two stay where shuffle-reduce would cost the engine: the transposition brings the
    reduced axes to the end, or the tensor is large and comes from a convolution, whose layout
    TensorRT for RTX reads as it is.
    """,
    takes="Transpose and any of the ten Reduce operators.",
    entry=F5,
    module=__name__,
)
L2_NORM = group_rule(
    "spelled-l2-norm",
    ONE_CONSUMER,
    equation=Equation("sqrt(sum_square(x))", "one reduction"),
    doc="""The two stay where l2-norm would cost the engine: TensorRT for RTX computes ReduceL2 of
    float16 in float32.
    """,
    takes="ReduceSumSquare, which sum-of-squares makes of Mul and ReduceSum, and Sqrt.",
    entry=F12,
    module=__name__,
)
LOG_SUM = group_rule(
    "spelled-log-sum",
    ONE_CONSUMER,
    equation=Equation("log(sum(x))", "one reduction"),
    doc="""The two stay where log-sum would cost the engine: TensorRT for RTX computes ReduceLogSum
    of float16 in float32.
    """,
    takes="ReduceSum and Log.",
    entry=F13,
    module=__name__,
)
LOG_SUM_EXP = group_rule(
    "spelled-log-sum-exp",
    ONE_CONSUMER,
    equation=Equation("log(sum(exp(x)))", "one reduction"),
    doc="""The operators stay where log-sum-exp would cost the engine: TensorRT for RTX computes
    ReduceLogSumExp in its guarded form, in more kernels than the operators that it stands for.
    """,
    takes="Exp, and ReduceSum and Log or the ReduceLogSum that log-sum makes of them.",
    entry=F14,
    module=__name__,
)
LOG_SOFTMAX = group_rule(
    "spelled-log-softmax",
    ONE_CONSUMER,
    equation=Equation("log(softmax(x))", "one kernel"),
    doc="""The two stay where log-softmax would cost the engine: over several axes, as before opset
    13, and as an output of the model.
    """,
    takes="Softmax and Log.",
    entry=C6,
    module=__name__,
)


_SPELLED = (
    (SHUFFLE_REDUCE, shuffle_reduce.pattern),
    (LOG_SUM_EXP, log_sum_exp.pattern),
    (LOG_SUM_EXP, op.Log(reduced_by("ReduceSum", "sum", op.Exp(var("x"))))),
    (LOG_SUM, log_sum.pattern),
    (L2_NORM, l2_norm.pattern),
    (LOG_SOFTMAX, log_softmax.pattern),
)


def find(partition: Partition) -> None:
    """Forms the groups of what the rules of these entries leave for the engine's sake."""
    spelled = [(group, pattern) for group, pattern in _SPELLED if partition.allows(group)]
    for node in partition.order:
        for group, pattern in spelled:
            if node.op not in pattern.roots() or not partition.free(node):
                continue
            match = next(pattern.matches(node.output, Match([])), None)
            if match is None or not all(map(partition.free, match.nodes)):
                continue
            if why_not := partition.open_value(match.nodes, node):
                partition.decline(group, node, ONE_CONSUMER, why_not)
            else:
                partition.form(group, match.nodes)
