"""Which nodes TensorRT runs as one kernel each: the groups of a model, by precedence.

What comes first takes the nodes: quantized layers, attention, normalizations,
reductions and logarithms spelled out, convolutions, matrix products, GELU spelled out, then what is
left of pointwise operators.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from trtfuse.groups import (
    attention,
    convolution,
    mlp,
    normalization,
    pointwise,
    quantized,
    spelled,
)
from trtfuse.groups.activation import Activations
from trtfuse.groups.names import Names
from trtfuse.groups.partition import Group, Partition
from trtfuse.groups.target import DEFAULT_KIB, capability, shared_memory
from trtfuse.ir.graph import GROUP_DOMAIN, Graph
from trtfuse.ir.operators import plain_domain
from trtfuse.model.collector import collector_paused
from trtfuse.model.model import Model
from trtfuse.progress import Steps
from trtfuse.rewrite.refusal import Refusal
from trtfuse.rewrite.rule import AnyRule, GroupRule

#: Before this opset, Add and Mul broadcast by an attribute.
_SINCE = 7

#: So many kinds of groups are looked for.
_KINDS = 8

_log = logging.getLogger("trtfuse")


@dataclass(frozen=True)
class Grouping:
    """The groups of a model.

    Attributes:
        groups: graph by graph, in the order of their last nodes.
        refused: what was not grouped and why.
    """

    groups: list[Group]
    refused: list[Refusal]


def find_groups(
    model: Model,
    rules: Iterable[AnyRule],
    target: str | float | None = None,
    progress: Steps | None = None,
) -> Grouping:
    """The groups of a model, of the bodies in it, and of its functions.

    Functions that import other operator sets than the model are left alone, since TensorRT's parser
    knows one list of them only; and so are those that groups became.

    Args:
        model: not changed.
        rules: those of them that are of groups are applied.
        target: the compute capability that decides how much shared memory there is, as "8.6".
        progress: told how many kinds of groups were looked for, and of how many.

    Raises:
        UsageError: the target is unknown.
    """
    limit = shared_memory(target)
    called = f"{DEFAULT_KIB} KiB (no target given)"
    if target is not None:
        called = f"compute capability {capability(target)}"
    chosen = frozenset(rule.name for rule in rules if isinstance(rule, GroupRule))
    grouping = Grouping([], [])
    if not chosen:
        return grouping
    with collector_paused():
        for graph in _graphs(model):
            partition = Partition(graph, chosen, limit, called)
            if not _divided(model, partition, progress):
                continue
            grouping.groups.extend(partition.groups)
            grouping.refused.extend(
                sorted(partition.refused, key=lambda miss: partition.rank[miss.at])
            )
    grouping = Grouping(_named(model, grouping.groups), grouping.refused)
    for group in grouping.groups:
        _log.info("Fused %s as %s", group.name, group.rule)
    for miss in grouping.refused:
        _log.info("Not fused as %s at %s: %s", miss.rule, miss.at.label, miss.because)
    return grouping


def _graphs(model: Model) -> list[Graph]:
    """The graphs to look for groups in, each before the bodies inside it."""
    if model.graph.opset < _SINCE:
        return []
    imports = _versions(model.graph)
    functions = (function for function in model.functions if not function.is_group)
    graphs = [model.graph, *(function for function in functions if _versions(function) == imports)]
    for graph in graphs:
        if any(node.bodies for node in graph.nodes()):
            graphs.extend(body for node in graph.canonical() for body in node.bodies)
    return graphs


def _versions(graph: Graph) -> dict[str, int]:
    """The versions of the operator sets that a graph imports, by domain; without that of groups."""
    imports = ((opset.domain, opset.version) for opset in graph.opset_imports)
    named = ((plain_domain(domain), version) for domain, version in imports)
    return {domain: version for domain, version in named if domain != GROUP_DOMAIN}


def _named(model: Model, groups: list[Group]) -> list[Group]:
    """The groups with names that no other node has."""
    if not groups:
        return groups
    names = Names(node.proto.name for graph in model.graphs() for node in graph.nodes())
    return [replace(group, name=names.take(group.name)) for group in groups]


def _divided(model: Model, partition: Partition, progress: Steps | None) -> bool:
    """Looks for groups of every kind; whether that got to the end."""
    kinds = _divide(partition)
    while True:
        try:
            done = next(kinds, None)
        except Exception as error:  # noqa: BLE001
            _log.info("No groups: %s", model.malformed(error, "finding groups"))
            return False
        if done is None:
            return True
        # Not within the above: what it raises is its own.
        if progress is not None:
            progress(done, _KINDS)


def _divide(partition: Partition) -> Iterator[int]:
    """Looks for one kind of groups after the other; how many it has looked for."""
    activations = Activations(partition)
    quantized.find(partition, activations)
    yield 1
    attention.find(partition)
    yield 2
    normalization.find_normalizations(partition)
    yield 3
    spelled.find(partition)
    yield 4
    convolution.find(partition, activations)
    yield 5
    mlp.find(partition, activations)
    yield 6
    normalization.find_gelus(partition, activations)
    yield 7
    pointwise.find(partition)
    yield 8
