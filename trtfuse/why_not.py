"""Why nodes of a model were not fused, and what became of those that were."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.errors import UsageError, nothing_else_raised
from trtfuse.groups.partition import Group
from trtfuse.interop.reading import ModelLike
from trtfuse.ir.graph import Node
from trtfuse.model.fixed import ShapesLike, read_shapes
from trtfuse.model.model import Objective
from trtfuse.progress import Progress
from trtfuse.result.explanation import Explanation, Step
from trtfuse.result.not_fused import NotFused
from trtfuse.rewrite.condition import MALFORMED
from trtfuse.rewrite.driver import Fused
from trtfuse.rewrite.near_misses import near_misses, refused_at
from trtfuse.rewrite.refusal import Reason, Refusal
from trtfuse.rewrite.rule import AnyRule, Rule, RulesByRoot, selected
from trtfuse.run import Options, Run, running

#: A part of a structure is worth a line, where no node is asked for, only if so many times as many
#: operators are there as are missing. Every convolution is half of a convolution and a scale.
_MOSTLY = 3
#: Of rules that miss a node by their structure, so many are named, the closest first.
_MOST_STRUCTURES = 6


@nothing_else_raised
def explain(
    model: ModelLike,
    node: str | None = None,
    *,
    rules: Iterable[str | AnyRule] | None = None,
    skip: Iterable[str] = (),
    objective: Objective = "safe",
    shapes: ShapesLike | None = None,
    fold_limit: int = FOLD_LIMIT,
    seed: int = 0,
    target: str | float | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explains why a model, or one of its nodes, is not fused any further.

    The model is fused in memory as by `fuse`, with each rewrite checked; then every rule is tried
    on what is left. Where a rule's structure is there, all guards are evaluated, not only up to the
    first that vetoes. Then come the groups that did not form or grow, each with the first reason.

    Args:
        model: as in `fuse`; never modified.
        node: the name of one node, as in the report; None for all.
        rules: rules, or their names; None for the whole catalogue.
        skip: names of rules not to apply.
        objective: as in `fuse`.
        shapes: as in `fuse`.
        fold_limit: as in `fuse`.
        seed: of the numbers that checks draw.
        target: as in `fuse`.
        progress: as in `fuse`.

    Raises:
        UsageError: an unknown rule, or an unknown node; the message suggests the nearest.
        ModelError: the model cannot be read or is not valid.
    """
    options = Options(
        selected(rules, skip),
        objective=objective,
        shapes=read_shapes(shapes),
        fold_limit=fold_limit,
        seed=seed,
        target=target,
        progress=progress,
    )
    with running():
        run = Run(model, options)
        if node is not None and all(original.label != node for original in run.original):
            raise UsageError(_unknown(node, run.original))
        run.fuse()
        return _Explainer(run).explanation(node)


def _unknown(name: str, nodes: list[Node]) -> str:
    """Says that there is no node of a name, and which is like it, or computes a value of it."""
    for node in nodes:
        if any(value is not None and value.name == name for value in node.outputs):
            return f"'{name}' is a value, not a node; it is computed by '{node.label}'"
    labels = list(dict.fromkeys(node.label for node in nodes))
    near = difflib.get_close_matches(name, labels, n=3, cutoff=0.4)
    near = near or [label for label in labels if name.lower() in label.lower()][:3]
    quoted = [f"'{label}'" for label in near]
    hint = f"; did you mean {' or '.join(quoted)}?" if near else ""
    return f"the model has no node '{name}'{hint or '; names are those of the report'}"


class _Explainer:
    """Holds the rules against what a run left over."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.model = run.model
        self.rules = {rule.name: rule for rule in run.options.rules}
        nodes = (node for graph in self.model.graphs() for node in graph.nodes())
        self.position = {node: index for index, node in enumerate(nodes)}
        self.place = {name: index for index, name in enumerate(self.rules)}
        self.by_root = RulesByRoot(run.driver.rules)
        self.said: dict[Node, dict[str, Reason]] = {}
        for refusal in run.refused:
            self.said.setdefault(refusal.at, {})[refusal.rule] = refusal.reasons[0]

    def explanation(self, name: str | None) -> Explanation:
        notes = list(self.model.notes)
        if name is None:
            misses = self._told([*self._of_all(), *self._left_apart(), *self.run.ungrouped])
            return Explanation(self.run.name, None, None, [], misses, len(self.position), notes)
        start = [node for node in self.run.original if node.label == name]
        steps, left = _history(self.run.driver.fused, start)
        groups = [group for group in self.run.groups if not set(left).isdisjoint(group.nodes)]
        steps += map(_joined, groups)
        ungrouped = [miss for miss in self.run.ungrouped if miss.at in left]
        misses = self._told([*self._of(left), *self._left_apart(left), *ungrouped])
        return Explanation(self.run.name, name, start[0].op, steps, misses, len(start), notes)

    def _left_apart(self, among: list[Node] | None = None) -> list[Refusal]:
        """What rules that look at a whole graph have left, everywhere or among a few nodes."""
        refusals = []
        for rule in self.run.driver.graph_rules:
            for graph in self.model.graphs() if rule.apart is not None else ():
                try:
                    listed = list(rule.apart(graph)) if rule.apart is not None else []
                except Exception as error:  # noqa: BLE001
                    self.model.malformed(error, f"explaining rule '{rule.name}'")
                    continue
                refusals += [
                    Refusal(rule.name, nodes[0], (reason,), nodes, len(nodes))
                    for nodes, reason in listed
                    if among is None or not set(among).isdisjoint(nodes)
                ]
        return refusals

    def _of_all(self) -> list[Refusal]:
        """What guards refused; and, for nodes that no such miss speaks of, what nearly matched."""
        refused: list[Refusal] = []
        nearly: list[Refusal] = []
        for node in self.position:
            for miss in self._at(node):
                told = not miss.structural or miss.rule in self.said.get(node, {})
                (refused if told else nearly).append(miss)
        covered = {node for miss in refused for node in miss.nodes}
        best: dict[Node, Refusal] = {}
        for miss in nearly:
            mostly = miss.layers > 1 and miss.layers >= _MOSTLY * miss.missing
            worth = mostly and not miss.conditional and not self.rules[miss.rule].entry.cleans_up
            if worth and not covered.intersection(miss.nodes):
                known = best.get(miss.at)
                if known is None or miss.distance < known.distance:
                    best[miss.at] = miss
        return self._ranked([*refused, *best.values()])

    def _of(self, nodes: list[Node]) -> list[Refusal]:
        """What was not done with a few nodes, wherever it would have begun."""
        wanted = set(nodes)
        roots = dict.fromkeys(nodes)
        last = list(nodes)
        for _ in range(max((rule.depth for rule in self.run.driver.rules), default=0)):
            last = [reader for n in last for v in n.outputs if v for reader in v.uses]
            last = [node for node in dict.fromkeys(last) if node not in roots]
            roots.update(dict.fromkeys(last))
        misses = [m for root in roots for m in self._at(root) if wanted.intersection(m.nodes)]
        refused = [miss for miss in misses if not miss.structural]
        nearly = [
            miss
            for miss in sorted(misses, key=lambda miss: miss.distance)
            if miss.structural and (miss.layers > 1 or not self.rules[miss.rule].entry.cleans_up)
        ]
        return self._ranked([*refused, *nearly[:_MOST_STRUCTURES]])

    def _at(self, node: Node) -> list[Refusal]:
        misses = []
        said = self.said.get(node, {})
        for rule in self.by_root[node.op]:
            try:
                misses += _of_rule(rule, node, said.get(rule.name))
            except Exception as error:  # noqa: BLE001
                because = self.model.malformed(error, f"rule '{rule.name}' at {node.label}")
                misses.append(Refusal(rule.name, node, (Reason(MALFORMED, because),), (node,)))
        return misses

    def _ranked(self, misses: list[Refusal]) -> list[Refusal]:
        """The closest first, each with its nodes in the order of the graph."""

        def order(miss: Refusal) -> tuple[object, ...]:
            return *miss.distance, self.place[miss.rule], self._position(miss.at)

        return [
            replace(miss, nodes=tuple(sorted(miss.nodes, key=self._position)))
            for miss in sorted(misses, key=order)
        ]

    def _position(self, node: Node) -> int:
        return self.position.get(node, -1)

    def _told(self, misses: list[Refusal]) -> list[NotFused]:
        """The same with names for nodes, and with the entries of their rules."""
        return [NotFused.of_refusal(miss, self.rules[miss.rule].entry) for miss in misses]


def _of_rule(rule: Rule, node: Node, said: Reason | None) -> list[Refusal]:
    """How a rule fails at a node, with what the driver said of it."""
    misses = near_misses(rule, node)
    if said is not None and not any(said in miss.reasons for miss in misses):
        # It is known only once the rewrite is built and checked, or the nearest of a few.
        misses = [refused_at(rule, node, said)]
    return misses


def _joined(group: Group) -> Step:
    sentence = f"one kernel by {group.rule}: {group.name}"
    return Step(group.rule, [node.label for node in group.nodes], [group.name], sentence)


def _history(fused: list[Fused], start: list[Node]) -> tuple[list[Step], list[Node]]:
    """What happened to nodes, and the nodes that they ended in."""
    current, steps = dict.fromkeys(start), list[Step]()
    for fusion in fused:
        took = [node for node in fusion.nodes if node in current]
        if not took:
            continue
        steps.append(_step(fusion, bool(steps)))
        for node in fusion.nodes:
            if node in current and node not in fusion.into:
                del current[node]
        current.update(dict.fromkeys(fusion.into))
    return steps, [node for node in current if node.graph is not None]


def _step(fusion: Fused, again: bool) -> Step:
    nodes, into = ([node.label for node in side] for side in (fusion.nodes, fusion.into))
    if fusion.rule == "unused":
        sentence = "removed: its output is unused"
    elif into:
        sentence = f"{'absorbed' if again else 'fused'} by {fusion.rule} into {', '.join(into)}"
    else:
        sentence = f"erased by {fusion.rule}"
    return Step(fusion.rule, nodes, into, sentence)
