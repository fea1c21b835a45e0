"""Why a rule does not apply at a node: everything that speaks against it.

Where the structure is there, that is every guard that vetoes; where it is not, how far it goes and
what is there instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.condition import ONE_CONSUMER, OPSET, STRUCTURE
from trtfuse.rewrite.guards import consumers
from trtfuse.rewrite.pattern import Given, Match, Pattern, SeenAs, Veto
from trtfuse.rewrite.reach import layers, reach
from trtfuse.rewrite.rule import Rule


def nearest_miss(rules: Iterable[Rule], node: Node) -> tuple[Rule, Veto]:
    """The rule that comes nearest to matching at a node, and what is in its way.

    Rules that fail alike are put in one sentence, under the first of them.
    """
    misses = []
    for rule in rules:
        depth, found, expected = _mismatch(rule.pattern, node.output, 0)
        misses.append((depth, rule, found, expected))
    deepest = max(depth for depth, *_ in misses)
    rule, found = next((rule, found) for depth, rule, found, _ in misses if depth == deepest)
    wanted = [e for depth, _, f, e in misses if depth == deepest and f == found and e]
    because = f"{found}, not by {', or by '.join(dict.fromkeys(wanted))}" if wanted else found
    return rule, Veto(STRUCTURE.name, because)


def _mismatch(pattern: Pattern, value: Value, depth: int) -> tuple[int, str, str]:
    """How deep a pattern matches at a value, what is there, and what was expected instead."""
    if isinstance(pattern, Given):
        return _mismatch(pattern.pattern, value, depth)
    if not isinstance(pattern, SeenAs):
        return depth, "the structure is another one", ""
    expected = pattern.describe()
    node = value.producer
    if node is None:
        what = "an input of the graph" if value.is_input else "given from outside"
        return depth, f"`{value.name}` is {what}, not computed", ""
    found = f"`{value.name}` is computed by {node.op} {node.label}"
    seen = pattern.view.of(node) if node.op in pattern.view.operators else None
    if isinstance(seen, str):
        return depth, seen if depth == 0 else f"{found}, and {seen}", ""
    if seen is None:
        return depth, found, expected
    return _mismatch(pattern.of, seen.x, depth + 1)


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that did not apply somewhere.

    Attributes:
        rule: the rule.
        at: the node that it would have begun at.
        nodes: the nodes that it would have taken, as far as they are there; the root first.
        layers: how many operators, or layers, of its pattern are there.
        missing: how many are not.
        vetoes: everything that speaks against it; the first is the one that the report names.
        condition: whether all is there, and only a condition on the structure does not hold.
    """

    rule: Rule
    at: Node
    nodes: tuple[Node, ...]
    layers: int
    missing: int
    vetoes: tuple[Veto, ...]
    condition: bool = False

    @property
    def structural(self) -> bool:
        """Whether the structure is another one, so that no guard was asked."""
        return self.vetoes[0].guard == STRUCTURE.name

    @property
    def distance(self) -> tuple[bool, float, int]:
        """What to order by: the smaller, the closer did the rule come."""
        return self.structural, -self.layers / (self.layers + self.missing), len(self.vetoes)


#: A root that matches in many ways is explained by the first of them.
_MOST_WAYS = 4


def near_misses(rule: Rule, node: Node) -> list[Miss]:
    """How a rule fails at a node of a graph that it does not apply to any more.

    Every guard is asked, not only those before the first veto. One that cannot answer, since it
    counts on an earlier one, is left out.

    Args:
        rule: one whose pattern can begin at the operator of the node.
        node: where it would begin.

    Returns:
        One miss for each way in which the structure matches; else what views refused; else how far
        the structure goes. Empty if nothing speaks against the rule but what the driver tries.
    """
    result = node.first_result
    if result is None:
        return []
    refused: list[Veto] = []
    found: dict[tuple[Veto, ...], Miss] = {}
    ways = itertools.islice(rule.pattern.matches(result, Match(refused)), _MOST_WAYS)
    matched = False
    for match in ways:
        matched = True
        vetoes = tuple(_every_veto(rule, match))
        if vetoes:
            size = layers(rule.pattern)
            found.setdefault(vetoes, Miss(rule, node, match.nodes, size, 0, vetoes))
    far = reach(rule.pattern, result)
    if refused:
        vetoes = tuple(dict.fromkeys(refused))
        miss = Miss(rule, node, far.nodes or (node,), max(far.layers, 1), far.missing, vetoes)
        found.setdefault(vetoes, miss)
    if not matched and not refused and far.layers:
        vetoes = tuple(Veto(STRUCTURE.name, because) for because in far.because)
        if vetoes:
            missing = far.missing
            found[vetoes] = Miss(rule, node, far.nodes, far.layers, missing, vetoes, far.condition)
    return list(found.values())


def _every_veto(rule: Rule, match: Match) -> Iterator[Veto]:
    """Everything that speaks against a match, in the order in which the driver asks."""
    graph = match.root.graph
    assert graph is not None
    if rule.since > graph.opset:
        because = f"the model imports opset {graph.opset}, and the rule needs {rule.since}"
        yield Veto(OPSET.name, because)
    shared = {match[name] for name in rule.shared}
    for value in (v for node in match.nodes[1:] for v in node.outputs if v is not None):
        others = None if value in shared else consumers(value, match.nodes)
        if others is not None:
            yield Veto(ONE_CONSUMER.name, others)
    vetoed = False
    for guard in rule.guards:
        try:
            why_not = guard.check(match)
        except Exception:
            if not vetoed:
                raise
            # It counts on what an earlier guard makes sure of.
            continue
        if why_not is not None:
            vetoed = True
            yield Veto(guard.name, why_not)
