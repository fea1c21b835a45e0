"""Why nodes of a model were not fused, and what became of those that were."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from trtfuse.check.rewrite import RewriteCheck
from trtfuse.errors import UsageError, nothing_else_raised
from trtfuse.groups.find import Found, find_groups
from trtfuse.groups.partition import Group
from trtfuse.ir.graph import Node
from trtfuse.ir.model import ModelLike, Objective, collector_paused, read_model
from trtfuse.pipeline import Progress, named, staged
from trtfuse.report.advice import helps, holds
from trtfuse.rewrite.condition import MALFORMED, STRUCTURE
from trtfuse.rewrite.driver import Declined, Driver, Fused
from trtfuse.rewrite.explain import Miss, near_misses
from trtfuse.rewrite.pattern import Veto
from trtfuse.rewrite.reach import reach
from trtfuse.rewrite.rule import CATALOGUE, AnyRule, Apart, GraphRule, Rule, RulesByRoot, selected

#: A part of a structure is worth a line, where no node is asked for, only if so many times as many
#: operators are there as are missing. Every convolution is half of a convolution and a scale.
_MOSTLY = 3
#: Of rules that miss a node by their structure, so many are named, the closest first.
_MOST_STRUCTURES = 6


@dataclass(frozen=True)
class Objection:
    """One thing that speaks against a rewrite.

    Attributes:
        guard: the guard, or "structure" where the rule's operators are not all there.
        because: the end of the sentence "not fused because ...".
        holds: what the guard makes sure of.
        helps: what would have to change.
    """

    guard: str
    because: str
    holds: str
    helps: str


@dataclass(frozen=True)
class NotFused:
    """A rule that did not apply somewhere.

    Attributes:
        rule: its name.
        at: the node that it would have begun at.
        nodes, operators: what it would have taken, as far as it is there, in the graph's order.
        matched: how many operators, or layers, of the rule's pattern are there.
        of: how many the pattern has.
        objections: everything that speaks against it, in the order in which it is asked.
        entry: the entry of the fusion list, such as "F8 (Convolution and Scale)".
        document: where NVIDIA documents it; empty for cleanup and rules of users.
    """

    rule: str
    at: str
    nodes: list[str]
    operators: list[str]
    matched: int
    of: int
    objections: list[Objection]
    entry: str
    document: str


@dataclass(frozen=True)
class Step:
    """One thing that happened to a node.

    Attributes:
        rule: the rule; "unused" where nothing needed it.
        nodes: what was fused.
        into: what took its place.
        sentence: the same in words: "absorbed by conv-scale into conv1".
    """

    rule: str
    nodes: list[str]
    into: list[str]
    sentence: str


@dataclass(frozen=True)
class Explanation:
    """Why nodes were not fused, and what became of a node that was.

    Attributes:
        model: its path, or the name of its graph.
        node: the node that was asked for, or None for all.
        operator: its operator.
        steps: what happened to it, in order; empty where it stands as it was.
        misses: what was not done, the closest first.
        asked: how many nodes were looked at.
        notes: what was wrong with the model when it was read, one sentence each.
    """

    model: str
    node: str | None
    operator: str | None
    steps: list[Step] = field(default_factory=list)
    misses: list[NotFused] = field(default_factory=list)
    asked: int = 0
    notes: list[str] = field(default_factory=list)

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The explanation as lists and dictionaries."""
        return asdict(self)

    @nothing_else_raised
    def to_json(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The explanation as plain text."""
        from trtfuse.report.why import plain

        return plain(self)


@nothing_else_raised
def explain(
    model: ModelLike,
    node: str | None = None,
    *,
    rules: Iterable[str | AnyRule] | None = None,
    skip: Iterable[str] = (),
    objective: Objective = "safe",
    seed: int = 0,
    target: str | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Says what `fuse` does not do to a model, or to one node of it, and why.

    The model is fused in memory, each rewrite checked; then every rule is held against what is left
    over. Where its structure is there, every guard is asked, not only up to the first that vetoes.
    Then come the groups that did not form or grow, each with the first thing in its way.

    Args:
        model: a path, the bytes of a model, or a `ModelProto`; never modified.
        node: the name of one node, as the report has it; None for all.
        rules: names of rules, or rules; None for all of the catalogue.
        skip: names of rules to leave out.
        objective: as in `fuse`.
        seed: of the numbers that checks draw.
        target: as in `fuse`.
        progress: as in `fuse`.

    Raises:
        UsageError: an unknown rule, or an unknown node; the message suggests the nearest.
        ModelError: the model cannot be read or is not valid.
    """
    chosen = selected(rules, skip)
    with collector_paused():
        read = read_model(model)
        read.objective = objective
        original = [each for graph in read.graphs() for each in graph.nodes()]
        start = [each for each in original if each.label == node]
        driver = Driver(read, chosen, RewriteCheck(seed), staged(progress, "rewrite"))
        if node is not None and not start:
            _raise_unknown(node, original)
        driver.run()
        groups = find_groups(read, chosen, target)
        return _Explainer(driver, groups).explanation(named(model, read), node, start)


def _raise_unknown(name: str, nodes: list[Node]) -> None:
    """Says that there is no node of a name, and which is like it, or computes a value of it."""
    for each in nodes:
        if any(value is not None and value.name == name for value in each.outputs):
            raise UsageError(f"'{name}' is no node but a value; it is computed by '{each.label}'")
    labels = list(dict.fromkeys(each.label for each in nodes))
    near = difflib.get_close_matches(name, labels, n=3, cutoff=0.4)
    near = near or [label for label in labels if name.lower() in label.lower()][:3]
    quoted = [f"'{each}'" for each in near]
    hint = f"; did you mean {' or '.join(quoted)}?" if near else ""
    raise UsageError(f"the model has no node '{name}'{hint or '; names are those of the report'}")


class _Explainer:
    """Holds the rules against what a driver left over."""

    def __init__(self, driver: Driver, groups: Found) -> None:
        self.driver = driver
        self.groups = groups
        self.position = {
            each: index
            for index, each in enumerate(n for g in driver.model.graphs() for n in g.nodes())
        }
        self.by_root = RulesByRoot(driver.rules)
        self.said: dict[Node, dict[str, Veto]] = {}
        for each in driver.declined:
            veto = Veto(each.guard, each.because)
            self.said.setdefault(each.at, {})[each.rule] = veto

    def explanation(self, model: str, name: str | None, start: list[Node]) -> Explanation:
        notes = list(self.driver.model.notes)
        if name is None:
            ungrouped = map(_not_grouped, self.groups.declined)
            misses = [*self._of_all(), *self._left_apart(), *ungrouped]
            return Explanation(model, None, None, [], misses, len(self.position), notes)
        steps, left = _history(self.driver.fused, start)
        steps += [
            Step(group.rule, [n.label for n in group.nodes], [group.name], _joined(group))
            for group in self.groups.groups
            if not set(left).isdisjoint(group.nodes)
        ]
        declined = [_not_grouped(each) for each in self.groups.declined if each.at in left]
        misses = [*self._of(left), *self._left_apart(left), *declined]
        return Explanation(model, name, start[0].op, steps, misses, len(start), notes)

    def _left_apart(self, among: list[Node] | None = None) -> list[NotFused]:
        """What rules that look at a whole graph have left, everywhere or among a few nodes."""
        model = self.driver.model
        told = []
        for rule in self.driver.graph_rules:
            for graph in model.graphs() if rule.apart is not None else ():
                try:
                    listed = list(rule.apart(graph)) if rule.apart is not None else []
                except Exception as error:  # noqa: BLE001
                    model.malformed(error, f"explaining rule '{rule.name}'")
                    continue
                told += [
                    _not_merged(rule, each)
                    for each in listed
                    if among is None or not set(among).isdisjoint(each.nodes)
                ]
        return told

    def _of_all(self) -> list[NotFused]:
        """What guards refused; and, for nodes that no such miss speaks of, what nearly matched."""
        refused: list[Miss] = []
        nearly: list[Miss] = []
        for node in self.position:
            for miss in self._at(node):
                told = not miss.structural or miss.rule.name in self.said.get(node, {})
                (refused if told else nearly).append(miss)
        covered = {node for miss in refused for node in miss.nodes}
        best: dict[Node, Miss] = {}
        for miss in nearly:
            mostly = miss.layers > 1 and miss.layers >= _MOSTLY * miss.missing
            worth = mostly and not miss.condition and not miss.rule.entry.cleans_up
            if worth and not covered.intersection(miss.nodes):
                known = best.get(miss.at)
                if known is None or miss.distance < known.distance:
                    best[miss.at] = miss
        return self._ranked([*refused, *best.values()])

    def _of(self, nodes: list[Node]) -> list[NotFused]:
        """What was not done with a few nodes, wherever it would have begun."""
        wanted = set(nodes)
        roots = dict.fromkeys(nodes)
        last = list(nodes)
        for _ in range(max((rule.pattern.depth() for rule in self.driver.rules), default=0)):
            last = [reader for n in last for v in n.outputs if v for reader in v.uses]
            last = [each for each in dict.fromkeys(last) if each not in roots]
            roots.update(dict.fromkeys(last))
        found = [m for root in roots for m in self._at(root) if wanted.intersection(m.nodes)]
        refused = [miss for miss in found if not miss.structural]
        nearly = [
            miss
            for miss in sorted(found, key=lambda miss: miss.distance)
            if miss.structural and (miss.layers > 1 or not miss.rule.entry.cleans_up)
        ]
        return self._ranked([*refused, *nearly[:_MOST_STRUCTURES]])

    def _at(self, node: Node) -> list[Miss]:
        found = []
        said = self.said.get(node, {})
        for rule in self.by_root[node.op]:
            try:
                found += self._of_rule(rule, node, said.get(rule.name))
            except Exception as error:  # noqa: BLE001
                because = self.driver.model.malformed(error, f"rule '{rule.name}' at {node.label}")
                found.append(Miss(rule, node, (node,), 1, 0, (Veto(MALFORMED.name, because),)))
        return found

    def _of_rule(self, rule: Rule, node: Node, veto: Veto | None) -> list[Miss]:
        misses = near_misses(rule, node)
        if veto is not None and not any(veto in miss.vetoes for miss in misses):
            # It is known only once the rewrite is built and checked, or the nearest of a few.
            far = reach(rule.pattern, node.first_result)
            nodes, matched = far.nodes or (node,), max(1, far.layers)
            misses = [Miss(rule, node, nodes, matched, far.missing, (veto,))]
        return misses

    def _ranked(self, misses: list[Miss]) -> list[NotFused]:
        place = {rule.name: index for index, rule in enumerate(self.driver.rules)}
        ordered = sorted(
            misses,
            key=lambda m: (*m.distance, place[m.rule.name], self.position.get(m.at, -1)),
        )
        return [self._told(miss) for miss in ordered]

    def _told(self, miss: Miss) -> NotFused:
        nodes = sorted(miss.nodes, key=lambda node: self.position.get(node, -1))
        entry, document = documented(miss.rule)
        return NotFused(
            miss.rule.name,
            miss.at.label,
            [node.label for node in nodes],
            [node.op for node in nodes],
            miss.layers,
            miss.layers + miss.missing,
            [_objection(miss.rule, *veto) for veto in miss.vetoes],
            entry,
            document,
        )


def _joined(group: Group) -> str:
    return f"one kernel by {group.rule}: {group.name}"


def _not_merged(rule: GraphRule, left: Apart) -> NotFused:
    """What a rule that looks at a whole graph has left as it was."""
    entry, document = documented(rule)
    guard, nodes = left.condition.name, left.nodes
    objection = _objection(rule, guard, left.because)
    labels, operators = [node.label for node in nodes], [node.op for node in nodes]
    count = len(nodes)
    return NotFused(
        rule.name, nodes[0].label, labels, operators, count, count, [objection], entry, document
    )


def _not_grouped(declined: Declined) -> NotFused:
    """A group that did not form, or not grow, at a node."""
    rule, node = CATALOGUE[declined.rule], declined.at
    entry, document = documented(rule)
    objection = _objection(rule, declined.guard, declined.because)
    return NotFused(
        declined.rule, node.label, [node.label], [node.op], 1, 1, [objection], entry, document
    )


def _objection(rule: AnyRule, guard: str, because: str) -> Objection:
    if guard != STRUCTURE.name:
        return Objection(guard, because, holds(guard, rule), helps(guard, rule))
    what = "" if rule.equation is None else f"it looks for {rule.equation.before}"
    return Objection(guard, because, "The operators of the rule are all there.", what)


def documented(rule: AnyRule) -> tuple[str, str]:
    """The entry of the fusion list that a rule implements, with its title; and the document."""
    return str(rule.entry), rule.entry.document


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
    nodes, into = ([node.label for node in each] for each in (fusion.nodes, fusion.into))
    if fusion.rule == "unused":
        sentence = "removed: nothing reads it"
    elif into:
        sentence = f"{'absorbed' if again else 'fused'} by {fusion.rule} into {', '.join(into)}"
    else:
        sentence = f"erased by {fusion.rule}"
    return Step(fusion.rule, nodes, into, sentence)


def alike(misses: Iterable[NotFused]) -> Iterator[tuple[tuple[str, ...], list[NotFused]]]:
    """Misses of the same rule by the same guards together, as (rule, guards ...)."""
    groups: dict[tuple[str, ...], list[NotFused]] = {}
    for miss in misses:
        key = (miss.rule, *(objection.guard for objection in miss.objections))
        groups.setdefault(key, []).append(miss)
    yield from groups.items()
