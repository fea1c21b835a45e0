"""Reductions and logarithms that stay spelled out, which serves TensorRT better: F5, F12 to C6."""

from __future__ import annotations

from trtfuse.groups.partition import ONE_CONSUMER, Partition
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.rule import group_rule
from trtfuse.rules.activation import log_softmax
from trtfuse.rules.reduce import l2_norm, log_sum, log_sum_exp, reduced_by, shuffle_reduce

SHUFFLE_REDUCE = group_rule(
    "spelled-shuffle-reduce",
    "F5",
    __name__,
    """reduce(transpose(x), axes)  ==  one reduction

    Entry F5 (Shuffle and Reduce), where shuffle-reduce would cost the engine: the transposition
    brings the reduced axes to the end, or the tensor is large and comes from a convolution, whose
    layout TensorRT for RTX reads as it is.

    Takes: Transpose and any of the ten Reduce operators.
    """,
    ONE_CONSUMER,
)
L2_NORM = group_rule(
    "spelled-l2-norm",
    "F12",
    __name__,
    """sqrt(sum_square(x))  ==  one reduction

    Entry F12 (L2Norm), where l2-norm would cost the engine: TensorRT for RTX computes ReduceL2 of
    float16 in float32.

    Takes: ReduceSumSquare, which sum-of-squares makes of Mul and ReduceSum, and Sqrt.
    """,
    ONE_CONSUMER,
)
LOG_SUM = group_rule(
    "spelled-log-sum",
    "F13",
    __name__,
    """log(sum(x))  ==  one reduction

    Entry F13 (LogSum), where log-sum would cost the engine: TensorRT for RTX computes ReduceLogSum
    of float16 in float32.

    Takes: ReduceSum and Log.
    """,
    ONE_CONSUMER,
)
LOG_SUM_EXP = group_rule(
    "spelled-log-sum-exp",
    "F14",
    __name__,
    """log(sum(exp(x)))  ==  one reduction

    Entry F14 (LogSumExp), where log-sum-exp would cost the engine: TensorRT for RTX computes
    ReduceLogSumExp in its guarded form, in more kernels than the operators that it stands for.

    Takes: Exp, and ReduceSum and Log or the ReduceLogSum that log-sum makes of them.
    """,
    ONE_CONSUMER,
)
LOG_SOFTMAX = group_rule(
    "spelled-log-softmax",
    "C6",
    __name__,
    """log(softmax(x))  ==  one kernel

    Entry C6 (Softmax then Log), where log-softmax would cost the engine: over several axes,
    as before opset 13, and as an output of the model.

    Takes: Softmax and Log.
    """,
    ONE_CONSUMER,
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
