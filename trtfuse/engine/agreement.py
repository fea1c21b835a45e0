"""What the builder did with the nodes that were fused, and what it fused besides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from trtfuse.engine.names import CALLED, with_own_names
from trtfuse.errors import nothing_else_raised
from trtfuse.ir.graph import GROUP_DOMAIN
from trtfuse.result.comparison import Agreement, BuilderFusion, FusionOutcome, Outcome
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.layer import Layer
from trtfuse.result.report import Fusion, Report
from trtfuse.rewrite.rule import cleans_up

#: What the builder adds to the call of a function.
_FUNCTION = re.compile(r" \([^()]*\)$")


@nothing_else_raised
def agreement(result: FusionResult, layers: Iterable[Layer]) -> Agreement:
    """Looks up in an engine what became of the fusions of a model.

    The builder tells for each kernel which nodes are in it, by name, and forgets some on the way,
    so this is evidence and no proof.

    Args:
        result: what `fuse` returned.
        layers: of an engine that was built from its model, here or elsewhere (`read_layers`). Of
            several optimization profiles, the first counts.
    """
    report = result.report
    named = with_own_names(layers, result.model)
    running = [layer for layer in named if layer.runs and layer.profile == 0]
    kernels = _Kernels(running, _repeated(result))
    fusions = [
        FusionOutcome(fusion.rule, fusion.kind, fusion.name, into, *kernels.outcome(sought))
        for fusion, into, sought in _became(report)
        if into
    ]
    return Agreement(fusions, kernels.beyond(_groups(report)))


def _became(report: Report) -> list[tuple[Fusion, list[str], list[str]]]:
    """Each fusion with the nodes that are left of it in the end, and those to look for.

    They are the same but for a group that a call stands for: its nodes keep their names.
    """
    became: list[tuple[Fusion, list[str], list[str]]] = []
    # From the last to the first: what a name of that moment is called in the end.
    final: dict[str, list[str]] = {}
    for fusion in reversed(report.fused):
        if fusion.kind == "group":
            became.append((fusion, fusion.into, [*fusion.nodes, *fusion.into]))
            continue
        into = list(dict.fromkeys(n for name in fusion.into for n in final.get(name, [name])))
        if not cleans_up(fusion.rule):
            became.append((fusion, into, into))
        for name in fusion.into:
            if name not in fusion.nodes:
                final.pop(name, None)
        for name in fusion.nodes:
            if name not in fusion.into:
                final[name] = into
    return became[::-1]


def _groups(report: Report) -> dict[str, str]:
    """The nodes of groups, and the calls that stand for them, with the names of the groups."""
    made = [fusion for fusion in report.fused if fusion.kind == "group"]
    return {name: fusion.name for fusion in made for name in (*fusion.nodes, *fusion.into)}


def _repeated(result: FusionResult) -> set[str]:
    """Names that more than one node has, in the graph with its groups or in one function."""
    model = result.model
    called = [f for f in result.report.fused if f.kind == "group" and f.into != f.nodes]
    groups = [name for fusion in called for name in fusion.nodes]
    listed = [[node.name for node in model.graph.node] + groups]
    listed += [[n.name for n in f.node] for f in model.functions if f.domain != GROUP_DOMAIN]
    return {
        name for names in listed for name, count in Counter(names).items() if name and count > 1
    }


def _names(node: str) -> tuple[str, ...]:
    """The name of a node in a kernel, and those of the calls around it, innermost first."""
    inner, *calls = node.split(CALLED)
    return (inner, *(_FUNCTION.sub("", call) for call in calls))


class _Kernels:
    """The kernels of an engine, by the nodes in them."""

    def __init__(self, layers: list[Layer], ambiguous: set[str]) -> None:
        self.layers = layers
        self.ambiguous = ambiguous
        #: By name, for each chain of calls around it, the numbers of the kernels.
        self.index: dict[str, dict[tuple[str, ...], set[int]]] = {}
        for number, layer in enumerate(layers):
            for node in layer.nodes:
                names = _names(node)
                for depth, name in enumerate(names):
                    self._add(name, names[depth + 1 :], number)
                if len(names) > 1:
                    # A name with the separator in it, rather than a call.
                    self._add(node, (), number)

    def _add(self, name: str, calls: tuple[str, ...], number: int) -> None:
        self.index.setdefault(name, {}).setdefault(calls, set()).add(number)

    def outcome(self, sought: list[str]) -> tuple[Outcome, list[str]]:
        """What became of nodes that are one fusion, and in which kernels they are."""
        entries = [self.index.get(name, {}) for name in sought if name not in self.ambiguous]
        numbers = sorted(
            {n for by_calls in entries for kernels in by_calls.values() for n in kernels}
        )
        names = [self.layers[number].name for number in numbers]
        if not numbers:
            return "unknown", []
        # A node of a function has its kernels in each call of it.
        for calls in {calls for by_calls in entries for calls in by_calls}:
            if len({n for by_calls in entries for n in by_calls.get(calls, ())}) > 1:
                return "several kernels", names
        for number in numbers:
            if not all({node, *_names(node)} & set(sought) for node in self.layers[number].nodes):
                return "merged further", names
        return "one kernel", names

    def beyond(self, groups: Mapping[str, str]) -> list[BuilderFusion]:
        """The kernels that run more than one node, where a group counts as one.

        Args:
            groups: the names of groups, by the names of their nodes and calls.
        """
        fusions = []
        for layer in self.layers:
            nodes = dict.fromkeys(
                next((groups[name] for name in (node, *_names(node)) if name in groups), node)
                for node in layer.nodes
            )
            if len(nodes) > 1:
                fusions.append(BuilderFusion(layer.name, layer.type, list(nodes)))
        return fusions
