"""Why a rule does not apply at a node: everything that speaks against it.

Where the structure is there, that is every guard that vetoes; where it is not, how far it goes and
what is there instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from trtfuse.ir.graph import Node
from trtfuse.rewrite.condition import STRUCTURE, Condition
from trtfuse.rewrite.guards import opset_too_old, read_elsewhere
from trtfuse.rewrite.match import Match, NearMatch
from trtfuse.rewrite.refusal import Reason, Refusal
from trtfuse.rewrite.rule import Rule

#: A root that matches in many ways is explained by the first of them.
_MOST_WAYS = 4


def nearest_miss(rules: Iterable[Rule], node: Node) -> Refusal:
    """The rule that comes nearest to matching at a node, and what is in its way.

    Rules that fail for the same reason share one sentence, under the name of the first.
    """
    near = [(rule, rule.pattern.nearest(node.first_result)) for rule in rules]
    furthest = max(match.layers for _, match in near)
    near = [(rule, match) for rule, match in near if match.layers == furthest]
    rule, match = near[0]
    because = match.because[0]
    if match.lacks:
        lack = match.lacks[0]
        lacks = [match.lacks[0] for _, match in near if match.lacks]
        wanted = dict.fromkeys(other.wanted for other in lacks if other.there == lack.there)
        if lack.wanted:
            because = f"{lack.there} by {', or by '.join(wanted)}" if lack.computed else lack.there
    return _refusal(rule, node, match, [Reason(_whole_structure(rule), because)])


def near_misses(rule: Rule, node: Node) -> list[Refusal]:
    """How a rule fails at a node of a graph that it does not apply to any more.

    Every guard is asked, not only those before the first veto. One that cannot answer, since it
    counts on an earlier one, is left out.

    Args:
        rule: one whose pattern can begin at the operator of the node.
        node: where it would begin.

    Returns:
        One refusal for each way in which the structure matches; else what views refused; else how
        far the structure goes. Empty if nothing speaks against the rule but what the driver tries.
    """
    result = node.first_result
    if result is None:
        return []
    refused: list[Reason] = []
    misses: dict[tuple[Reason, ...], Refusal] = {}
    matched = False
    for match in itertools.islice(rule.pattern.matches(result, Match(refused)), _MOST_WAYS):
        matched = True
        reasons = tuple(_every_reason(rule, match))
        if reasons:
            size = rule.pattern.layers()
            miss = Refusal(rule.name, node, reasons, match.nodes, size)
            misses.setdefault(reasons, miss)
    if matched and not refused:
        return list(misses.values())
    near = rule.pattern.nearest(result)
    if refused:
        miss = _refusal(rule, node, near, dict.fromkeys(refused))
        misses.setdefault(miss.reasons, miss)
    elif near.layers and near.because:
        whole = _whole_structure(rule)
        miss = _refusal(rule, node, near, [Reason(whole, because) for because in near.because])
        misses[miss.reasons] = miss
    return list(misses.values())


def _whole_structure(rule: Rule) -> Condition:
    """The condition that the operators of a rule are there, and what they are."""
    wanted = "" if rule.equation is None else f"it looks for {rule.equation.before}"
    return Condition(STRUCTURE.name, "The operators of the rule are all there.", wanted)


def refused_at(rule: Rule, node: Node, reason: Reason) -> Refusal:
    """A refusal for a reason that is known only once the rewrite is built and checked."""
    return _refusal(rule, node, rule.pattern.nearest(node.first_result), [reason])


def _refusal(rule: Rule, node: Node, near: NearMatch, reasons: Iterable[Reason]) -> Refusal:
    nodes = near.nodes or (node,)
    conditional = near.condition is not None
    layers = max(near.layers, 1)
    return Refusal(rule.name, node, tuple(reasons), nodes, layers, near.missing, conditional)


def _every_reason(rule: Rule, match: Match) -> Iterator[Reason]:
    """Everything that speaks against a match, in the order in which the driver asks."""
    too_old = opset_too_old(rule, match)
    if too_old is not None:
        yield too_old
    yield from (reason for _, reason in read_elsewhere(rule, match))
    # A guard may count on the opset, and on what an earlier guard makes sure of.
    vetoed = too_old is not None
    for guard in rule.guards:
        try:
            why_not = guard.check(match)
        except Exception:
            if not vetoed:
                raise
            continue
        if why_not is not None:
            vetoed = True
            yield Reason(guard, why_not)
