"""The driver: applies rules to a model until none applies any more.

It alone changes graphs. Nodes wait in a worklist; after a rewrite its new nodes and their
neighbours go back to it. A rewrite is committed only when the check, if there is one, has found
that it computes the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from trtfuse.analysis.constants import became_constant
from trtfuse.errors import TrtfuseError, UsageError, internal
from trtfuse.ir.graph import Graph, Node, Value
from trtfuse.ir.tensor import FLOATING, type_name
from trtfuse.model.collector import collector_paused
from trtfuse.model.model import Model
from trtfuse.rewrite.condition import (
    AGREES,
    BOUNDED_GROWTH,
    MALFORMED,
    NAMED_OUTPUT,
    OPSET,
    REPRESENTABLE,
)
from trtfuse.rewrite.debug import Watch, check_uses, is_watched
from trtfuse.rewrite.editor import GraphEditor, must_keep_name, substitute
from trtfuse.rewrite.guards import opset_too_old, read_elsewhere
from trtfuse.rewrite.match import Match
from trtfuse.rewrite.mistake import RuleError
from trtfuse.rewrite.near_misses import nearest_miss
from trtfuse.rewrite.refusal import Reason, Refusal
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import AnyRule, GraphRule, Rule, RulesByRoot


@dataclass(frozen=True, slots=True)
class Fused:
    """A rewrite that was made.

    Attributes:
        rule: its name; "unused" for a node that nothing needed.
        kind: "rewrite" or "group".
        nodes: the nodes that it replaced, in the order of the graph.
        into: the nodes that took their place; empty where they were erased.
        error: the largest relative error that the check found, None if it was not checked.
        checked: what the check did, None if it was not checked.
        kept: of the nodes, those that stay, since something goes on reading them.
    """

    rule: str
    kind: str
    nodes: tuple[Node, ...]
    into: tuple[Node, ...]
    error: float | None
    checked: Checked | None = None
    kept: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check says of a rewrite: why it is wrong, or None and the largest relative error.

    Attributes:
        why_not: why it is wrong.
        error: the largest relative error.
        drawn: how many sets of inputs both spellings were evaluated on.
        shared: whether that was on the weights of others of the same structure.
    """

    why_not: str | None
    error: float
    drawn: int = 0
    shared: bool = False


#: Compares what a match computes with what takes its place, before it does.
Check = Callable[[Rule, Match, Replacement, tuple[Value, ...]], Checked]

#: The most rewrites for each node of a graph: with more, a rule never ends.
_MOST_REWRITES = 50

#: After so many seconds it is told how far the work is, however few nodes that was.
_PATIENCE = 0.25

#: Told how many nodes are done, and of how many.
Progress = Callable[[int, int], None]


class Driver:
    """Applies rules to a model.

    Args:
        model: changed in place.
        rules: in the order in which they are tried at each node.
        check: run before each rewrite is committed; None to check nothing.
        progress: told from time to time how far the work is.
    """

    def __init__(
        self,
        model: Model,
        rules: Iterable[AnyRule],
        check: Check | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        given = tuple(rules)
        self.rules = tuple(rule for rule in given if isinstance(rule, Rule))
        self.graph_rules = tuple(rule for rule in given if isinstance(rule, GraphRule))
        self.check = check
        self.progress = progress
        self.fused: list[Fused] = []
        self._at_root = RulesByRoot(self.rules)
        self._by_read: dict[tuple[str, frozenset[str]], list[Rule]] = {}
        self._refused: dict[Node, dict[str, Reason]] = {}
        self._queue: deque[Node] = deque()
        self._queued: set[Node] = set()
        #: Nodes that have not been visited since all were put into the worklist. Whatever reads
        #: from one of them has not been, either.
        self._fresh: set[Node] = set()
        self._rank: dict[Node, int] = {}
        self._depth = max((rule.depth for rule in self.rules), default=0)
        self._waiting: dict[Value, list[Node]] = {}
        self._watched = is_watched(model)

    def run(self) -> None:
        """Rewrites until nothing applies, and removes what nothing needs.

        Raises:
            UsageError: a rule goes on and on, since it matches what it makes.
        """
        # Numbers that are not finite are refused where they end up in a constant.
        with collector_paused(), np.errstate(all="ignore"):
            self._sweep()
            graphs = self._enqueue_all()
            most = len(self.fused) + _MOST_REWRITES * (len(self._rank) + 1)
            while True:
                before = len(self.fused)
                self._drain()
                drained = len(self.fused)
                for rule in self.graph_rules:
                    # Bodies first: what becomes of them may be moved out of them.
                    for graph in reversed(graphs):
                        self._apply(rule, graph)
                if len(self.fused) > most:
                    self._raise_endless()
                if len(self.fused) == before:
                    break
                # What has become constant may fix shapes, and what is fixed, become constant.
                if self.model.infer_shapes_again() or len(self.fused) > drained:
                    graphs = self._enqueue_all()
                elif self._refused:
                    # What stood in the way may have changed its name.
                    for node in self._ranked(list(self._refused)):
                        self._enqueue(node)
                else:
                    break
            self._sweep()

    def _enqueue_all(self) -> list[Graph]:
        """Puts every node into the worklist, in an order that does not depend on the file's.

        Returns all graphs in such an order, each before the bodies inside it.
        """
        self._rank = {}
        # What a group became is done with: its nodes could not be rewritten for one call alone.
        functions = (graph for graph in self.model.functions if not graph.is_group)
        graphs = [self.model.graph, *functions]
        for graph in graphs:
            for node in graph.canonical():
                self._rank[node] = len(self._rank)
                self._enqueue(node)
                graphs.extend(node.bodies)
        self._fresh = set(self._queued)
        return graphs

    def _drain(self) -> None:
        tell_at = time.monotonic() + _PATIENCE
        done, most = 0, len(self.fused) + _MOST_REWRITES * (len(self._rank) + 1)
        while self._queue:
            node = self._queue.popleft()
            self._queued.discard(node)
            self._fresh.discard(node)
            if node.graph is not None:
                self._visit(node)
            done += 1
            if self.progress is not None and (done % 256 == 0 or time.monotonic() > tell_at):
                self.progress(done, done + len(self._queue))
                tell_at = time.monotonic() + _PATIENCE
            if len(self.fused) > most:
                self._raise_endless()

    def _raise_endless(self) -> NoReturn:
        last = self.fused[-1]
        raise UsageError(
            f"rule '{last.rule}' never ends: it matches what it makes, "
            f"last at {last.nodes[-1].label}"
        )

    def _apply(self, rule: GraphRule, graph: Graph) -> None:
        if graph.owner is not None and graph.owner.graph is None:
            # A body of what is gone.
            return
        try:
            for change in rule.apply(GraphEditor(graph)):
                if self._watched:
                    check_uses(self.model)
                self.fused.append(Fused(rule.name, rule.kind, *change, None))
                for node in change.nodes:
                    if node.graph is None:
                        self._prune(node)
        except Exception as error:  # noqa: BLE001
            because = self.model.malformed(error, f"rule '{rule.name}'")
            if graph.first is not None:
                self._refused.setdefault(graph.first, {})[rule.name] = Reason(MALFORMED, because)

    @property
    def refused(self) -> list[Refusal]:
        """What was not rewritten and why, in the order of the graph."""
        refusals = []
        by_operator: dict[str, list[Rule]] = {}
        for rule in self.rules:
            for operator in rule.explains:
                by_operator.setdefault(operator, []).append(rule)
        for graph in self.model.graphs():
            for node in graph.nodes():
                reasons = self._refused.get(node, {})
                refusals += [
                    Refusal(name, node, (reason,), (node,)) for name, reason in reasons.items()
                ]
                explaining = by_operator.get(node.op, ())
                unsaid = not any(rule.name in reasons for rule in explaining)
                if explaining and unsaid and node.outputs and node.outputs[0] is not None:
                    refusals.append(self._nearest_miss(explaining, node))
        return refusals

    def _nearest_miss(self, rules: list[Rule], node: Node) -> Refusal:
        try:
            return nearest_miss(rules, node)
        except Exception as error:  # noqa: BLE001
            because = self.model.malformed(error, f"explaining {node.label}")
            return Refusal(rules[0].name, node, (Reason(MALFORMED, because),), (node,))

    def _enqueue(self, node: Node) -> None:
        if self._at_root[node.op] and node.graph is not None and node not in self._queued:
            self._queued.add(node)
            self._queue.append(node)

    def _visit(self, node: Node) -> None:
        self._refused.pop(node, None)
        result = node.first_result
        if result is None:
            return
        refused: list[Reason] = []
        start = Match(refused)
        watch = Watch(self.model) if self._watched else None
        for rule in self._candidates(node):
            refused.clear()
            try:
                for match in rule.pattern.matches(result, start):
                    reason = self._vetoed(rule, match) or self._attempt(rule, match, watch)
                    if reason is None:
                        return
                    refused.append(reason)
            except RuleError as error:
                raise UsageError(f"rule '{rule.name}': {error}") from None
            except Exception as error:  # noqa: BLE001
                because = self.model.malformed(error, f"rule '{rule.name}' at {node.label}")
                refused[:] = [Reason(MALFORMED, because)]
            if watch is not None:
                watch.nothing_changed(rule.name)
            if refused:
                self._refused.setdefault(node, {})[rule.name] = refused[0]

    def _candidates(self, node: Node) -> list[Rule]:
        """The rules that may match at a node, by its operator and by those that it reads from."""
        read = frozenset(v.producer.op for v in node.inputs if v is not None and v.producer)
        key = node.op, read
        if key not in self._by_read:
            rules = self._at_root[node.op]
            self._by_read[key] = [rule for rule in rules if rule.pattern.may_read(read)]
        return self._by_read[key]

    def _vetoed(self, rule: Rule, match: Match) -> Reason | None:
        """The first thing that speaks against a match: the opset, other consumers, a guard."""
        too_old = opset_too_old(rule, match)
        if too_old is not None:
            return too_old
        for value, reason in read_elsewhere(rule, match):
            self._waiting.setdefault(value, []).append(match.root)
            return reason
        for guard in rule.guards:
            why_not = guard.check(match)
            if why_not is not None:
                return Reason(guard, why_not)
        return None

    def _attempt(self, rule: Rule, match: Match, watch: Watch | None) -> Reason | None:
        """Builds, checks and commits one rewrite; says why where it does not."""
        graph = match.root.home
        new = Replacement(graph)
        built = rule.build(match, new)
        results = built if isinstance(built, tuple) else (built,)
        _look_over(rule, match, results)
        old, first = match.root.outputs[0], results[0]
        erases_identity = match.root.op == "Identity" and not new.nodes
        if (
            erases_identity
            and old is not None
            and old.outputs
            and first is not None
            and must_keep_name(old, first)
        ):
            # Erasing it would put another in its place.
            because = f"`{first.name}` and `{old.name}` are both known outside"
            return Reason(NAMED_OUTPUT, because)
        for constant in new.constants:
            assert constant.tensor is not None
            if misrounding := constant.tensor.misrounding():
                return Reason(REPRESENTABLE, misrounding)
            if (
                graph.constants_are_nodes
                and graph.opset < 9
                and constant.tensor.type not in FLOATING
            ):
                # Nor can a body have initializers before IR 4.
                because = (
                    f"opset {graph.opset} has no Constant of {type_name(constant.tensor.type)}"
                )
                return Reason(OPSET, because)
        if too_large := self._outgrown(match, new):
            return Reason(BOUNDED_GROWTH, too_large)
        checked = None
        if self.check is not None and not new.as_computed:
            checked = self.check(rule, match, new, tuple(v for v in results if v is not None))
            if checked.why_not is not None:
                return Reason(AGREES, checked.why_not)
        if watch is not None:
            watch.nothing_changed(rule.name)
        try:
            self._commit(rule, match, new, results, checked)
            if watch is not None:
                watch.committed(rule.name, match, results)
        except (TrtfuseError, MemoryError):
            raise
        except Exception as error:
            # Half of the rewrite may be done, so this cannot be declined any more.
            raise internal(error, f"rule '{rule.name}' at {match.root.label}") from error
        return None

    def _outgrown(self, match: Match, new: Replacement) -> str | None:
        """Why the new constants are too large for what they are made from."""
        if not new.constants:
            return None
        sizes = [tensor.stored_bytes for v in new.constants if (tensor := v.tensor) is not None]
        name = new.constants[sizes.index(max(sizes))].name
        growth = self.model.growth
        return growth.why_not(name, sum(sizes), match.nodes, _still_read(new))

    def _commit(
        self,
        rule: Rule,
        match: Match,
        new: Replacement,
        results: tuple[Value | None, ...],
        checked: Checked | None,
    ) -> None:
        if new.constants:
            size = sum(v.tensor.stored_bytes for v in new.constants if v.tensor is not None)
            growth = self.model.growth
            growth.added += growth.more(size, match.nodes, _still_read(new))
        root, graph, nodes = match.root, new.graph, match.ordered
        named = any(value is not None and value.outputs for value in root.outputs)
        read = {value for node in new.nodes for value in node.inputs}
        for constant in new.constants:
            if named or constant in read or constant not in results:
                graph.add_initializer(constant)
        readers: list[Node] = []
        for old, result in zip(root.outputs, results, strict=False):
            if old is None or result is None:
                continue
            readers.extend(old.uses)
            if result.producer is not None and result.producer.graph is None:
                _stand_in(new.nodes, result, old)
            elif result in new.constants and result not in graph.initializers:
                graph.freeze(old, result)
                became_constant(old)
            elif (identity := substitute(old, result)) is not None:
                new.nodes.append(identity)
        for node in new.nodes:
            for value in node.outputs:
                if value is not None and value not in root.outputs:
                    value.name = self.model.fresh_name(value.name)
            node.replaces = match.nodes
            graph.insert(node, before=root)
        graph.remove(root)
        for node in new.nodes:
            self._rank[node] = len(self._rank)
        for node in (*new.nodes, *self._ranked(readers), *self._prune(root)):
            self._enqueue(node)
        for _ in range(self._depth - 2):
            # Each once: where paths part and join again there are ever more of them.
            visited = (reader for reader in readers if reader not in self._fresh)
            following = (n for reader in visited for v in reader.outputs if v for n in v.uses)
            readers = self._ranked(list(dict.fromkeys(following)))
            if not readers:
                break
            for node in readers:
                self._enqueue(node)
        error = None if checked is None else checked.error
        kept = tuple(node for node in nodes if node.graph is not None)
        into = tuple(new.nodes)
        self.fused.append(Fused(rule.name, rule.kind, nodes, into, error, checked, kept))

    def _ranked(self, nodes: list[Node]) -> list[Node]:
        """Nodes in an order that does not depend on the file's."""
        if len(nodes) < 2:
            return nodes
        return sorted(nodes, key=lambda node: self._rank.get(node, -1))

    def _prune(self, removed: Node) -> list[Node]:
        """Removes what only a removed node needed; returns the nodes that waited for that."""
        waited: list[Node] = []
        pending = [value for value in (*removed.inputs, *removed.captured()) if value is not None]
        while pending:
            value = pending.pop()
            if value.uses or value.outputs:
                waited.extend(self._waiting.pop(value, ()))
            elif value.source is not None:
                value.graph.release(value)
                pending.append(value.source)
            elif value.producer is not None:
                node = value.producer
                if node.graph is not None and _is_dead(node):
                    node.graph.remove(node)
                    pending.extend(v for v in (*node.inputs, *node.captured()) if v is not None)
            elif value in value.graph.initializers and not value.graph.is_kept(value):
                value.graph.remove_initializer(value)
        return waited

    def _sweep(self) -> None:
        """Removes what nothing needs, bodies before the graphs around them."""
        for graph in reversed(list(self.model.graphs())):
            if not graph.outputs:
                # All of it, where it returns nothing, and no runtime takes an empty graph.
                continue
            node = graph.last
            while node is not None:
                previous = node.previous
                if _is_dead(node):
                    graph.remove(node)
                    self.fused.append(Fused("unused", "rewrite", (node,), (), None))
                node = previous
            for value in list(graph.captures.values()):
                if not value.uses and not value.outputs:
                    graph.release(value)
            for value in (*graph.initializers, *graph.sparse):
                if not value.uses and not value.outputs and not graph.is_kept(value):
                    graph.remove_initializer(value)


def _look_over(rule: Rule, match: Match, results: tuple[object, ...]) -> None:
    """Raises where a builder returns something else than what takes the place of the outputs."""
    outputs = match.root.outputs
    for result in results:
        if not isinstance(result, Value) and result is not None:
            kind = type(result).__name__
            raise UsageError(f"rule '{rule.name}' returns a value of type {kind}, not a Value")
    if len(results) > len(outputs):
        raise UsageError(
            f"rule '{rule.name}' returns {len(results)} values for {match.root.label}, which "
            f"computes {len(outputs)}"
        )
    for index, forgotten in enumerate(outputs):
        left_out = index >= len(results) or results[index] is None
        if left_out and forgotten is not None and (forgotten.uses or forgotten.outputs):
            raise UsageError(f"rule '{rule.name}' returns nothing for `{forgotten.name}`")


def _stand_in(nodes: list[Node], result: Value, old: Value) -> None:
    """Lets one of the new nodes compute the old value in place of the provisional one."""
    for node in nodes:
        node.outputs = [old if value is result else value for value in node.outputs]
        node.inputs = [old if value is result else value for value in node.inputs]


def _still_read(new: Replacement) -> set[Value]:
    """What new nodes read that was there before."""
    return {v for node in new.nodes for v in node.inputs if v is not None}


def _is_dead(node: Node) -> bool:
    """Whether nothing needs a node. Those of other domains may do more than compute: they stay."""
    known = node.operator.whose in ("standard", "function") or node.operator.domain == "ai.onnx.ml"
    return known and not any(v is not None and (v.uses or v.outputs) for v in node.outputs)
