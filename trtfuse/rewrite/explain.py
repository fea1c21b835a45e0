"""Why a rule did not even match: how far its structure goes, and what is there instead."""

from __future__ import annotations

from collections.abc import Iterable

from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.pattern import Given, Pattern, SeenAs, Veto
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
    return rule, Veto("structure", because)


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
