"""Logarithms that stay spelled out, since TensorRT runs them so in fewer kernels: F14, C6."""

from __future__ import annotations

from trtfuse.groups.partition import ONE_CONSUMER, Partition
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.rule import group_rule
from trtfuse.rules.activation import log_softmax
from trtfuse.rules.reduce import log_sum_exp

LOG_SUM_EXP = group_rule(
    "spelled-log-sum-exp",
    "F14",
    __name__,
    """log_sum(exp(x))  ==  one reduction

    Entry F14 (LogSumExp), where log-sum-exp would cost the engine: TensorRT for RTX computes
    ReduceLogSumExp in its guarded form, in more kernels than the operators that it stands for.

    Takes: Exp and ReduceLogSum, which log-sum makes of ReduceSum and Log.
    """,
    ONE_CONSUMER,
)
LOG_SOFTMAX = group_rule(
    "spelled-log-softmax",
    "C6",
    __name__,
    """log(softmax(x))  ==  one kernel

    Entry C6 (Softmax then Log), where log-softmax would cost the engine: over several axes,
    as before opset 13.

    Takes: Softmax and Log.
    """,
    ONE_CONSUMER,
)


def find_logarithms(partition: Partition) -> None:
    """Forms the groups of what log-sum-exp and log-softmax leave for the engine's sake."""
    spelled = [
        (group, rule)
        for group, rule in ((LOG_SUM_EXP, log_sum_exp), (LOG_SOFTMAX, log_softmax))
        if partition.allows(group)
    ]
    for node in partition.order:
        for group, rule in spelled:
            if node.op not in rule.pattern.roots() or not partition.free(node):
                continue
            match = next(rule.pattern.matches(node.output, Match([])), None)
            if match is None or not all(map(partition.free, match.nodes)):
                continue
            if why_not := partition.open_value(match.nodes, node):
                partition.decline(group, node, ONE_CONSUMER, why_not)
            else:
                partition.form(group, match.nodes)
