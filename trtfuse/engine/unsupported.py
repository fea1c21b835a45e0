"""The nodes of a model that TensorRT cannot take: what they are called and where they come from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from onnx import AttributeProto, ModelProto, NodeProto

from trtfuse.errors import Unsupported
from trtfuse.ir.operators import DEFAULT

#: How many nodes of a kind the message names; `EngineError.unsupported` has them all.
_NAMED = 5


def listed(nodes: Iterable[Unsupported]) -> str:
    """Nodes in one line: those with the same trouble together, at most five of them by name."""
    groups: defaultdict[tuple[str, str], list[Unsupported]] = defaultdict(list)
    for node in nodes:
        groups[node.because, node.advice].append(node)
    parts = []
    for (because, advice), members in groups.items():
        named, operator = [], ""
        for node in members[:_NAMED]:
            named.append(
                f"{node.operator} {node.named}" if node.operator != operator else node.named
            )
            operator = node.operator
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        parts.append(f"{', '.join(named)}{more}: {because}; {advice}")
    return " | ".join(parts)


def nodes_of(model: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    """Every node of a model, those in bodies and functions too, each with where it is."""
    pending: list[tuple[Iterable[NodeProto], str]] = [(model.graph.node, "")]
    pending += [(f.node, f"in function {called(f.domain, f.name)}") for f in model.functions]
    while pending:
        nodes, place = pending.pop()
        for node in nodes:
            yield node, place
            for attribute in node.attribute:
                graphs = (
                    [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
                )
                inside = f"in {attribute.name} of {node.op_type} '{label(node)}'"
                pending += [(graph.node, inside) for graph in graphs]


def label(node: NodeProto) -> str:
    """The name of a node, or its first output."""
    return node.name or next((name for name in node.output if name), "")


def called(domain: str, name: str) -> str:
    """An operator with its domain, the default one left out."""
    return name if domain in DEFAULT else f"{domain}.{name}"


def exported_from(node: NodeProto) -> str:
    """The line of the program that a node was exported from, as PyTorch's exporter notes it."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.stack_trace":
            lines = re.findall(r'File "([^"]*)", line (\d+)', entry.value)
            if lines:
                return f"from {lines[-1][0]}:{lines[-1][1]}"
    for entry in node.metadata_props:
        if entry.key == "namespace" and entry.value:
            return f"from {entry.value}"
    return ""
