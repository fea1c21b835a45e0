"""An inspection on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.analysis.wording import shown
from trtfuse.report.entries import Content
from trtfuse.report.terminal import line, listed, plain
from trtfuse.report.wording import amount, counted

#: So many operators, and nodes that TensorRT cannot take, are listed unless all are asked for.
SHOWN = 12


def summary(data: Content, *, everything: bool = False) -> RenderableType:
    """An inspection for a rich console.

    Args:
        data: what `Inspection.to_dict` has.
        everything: whether to list every operator and node.
    """
    parts: list[RenderableType] = [line(f"{data['model']}: {_head(data)}", "bold")]
    parts += [line(f"  {note}") for note in data["notes"]]
    rows = list(_rows(data))
    width = max(len(name) for name, _ in rows)
    parts += [Text(), *(line(f"{name:<{width}}  {text}".rstrip()) for name, text in rows)]
    for title in ("inputs", "outputs"):
        parts += [Text(), line(title, "bold"), *_ports(data[title])]
    parts += [Text(), line("operators", "bold"), *_operators(data["operators"], everything)]
    parts += [Text(), *_refused(data, everything)]
    return Group(*parts)


def text(data: Content) -> str:
    """The inspection as plain text."""
    return plain(summary(data))


def _head(data: Content) -> str:
    weights = data["weights"]
    return f"{counted(data['nodes'], 'node')}, {counted(weights['parameters'], 'parameter')}"


def _rows(data: Content) -> Iterator[tuple[str, str]]:
    weights = data["weights"]
    if data["file"] is not None:
        yield "file", amount(data["file"])
    types = ", ".join(f"{name} {amount(size)}" for name, size in weights["types"].items())
    stored = f"{amount(weights['bytes'])} in {counted(weights['tensors'], 'tensor')}"
    yield "weights", f"{stored} ({types})" if types else stored
    if weights["external"]:
        yield "external data", amount(weights["external"])
    names = (f"{domain or 'ai.onnx'} {version}" for domain, version in data["opsets"].items())
    yield "opset", ", ".join(names)
    yield "IR version", str(data["ir_version"])
    yield "producer", data["producer"] or "not stated"
    if data["functions"]:
        yield "functions", str(data["functions"])


def _ports(ports: list[Content]) -> Iterator[Text]:
    if not ports:
        yield line("  none")
        return
    width = max(len(port["name"]) for port in ports)
    for port in ports:
        shape = port["shape"]
        sizes = "any shape" if shape is None else shown("?" if s is None else s for s in shape)
        yield line(f"  {port['name']:<{width}}  {port['type']}  {sizes}")


def _operators(operators: dict[str, int], everything: bool) -> Iterator[Text]:
    width = max(map(len, operators), default=0)
    rows = [f"{operator:<{width}}  {count:,}" for operator, count in operators.items()]
    yield from listed(rows, everything, SHOWN)


def _refused(data: Content, everything: bool) -> Iterator[Text]:
    asked = data["asked"]
    if data["ok"]:
        yield line(f"TensorRT: no objection from {asked}")
        return
    yield line(f"TensorRT cannot take this model, according to {asked}", "bold")
    if data["reason"] is not None:
        yield line(f"  {data['reason']}")
    nodes = [
        f"{node['operator']} '{node['name']}'"
        f"{' (' + node['origin'] + ')' if node['origin'] else ''}: {node['because']}; "
        f"{node['advice']}"
        for node in data["unsupported"]
    ]
    yield from listed(nodes, everything, SHOWN)
