"""An engine on a terminal: its sizes, warnings and layers."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.analysis.wording import written
from trtfuse.report.entries import Content
from trtfuse.report.terminal import line
from trtfuse.report.wording import amount, counted


def engine_summary(engine: Content, model: str, *, everything: bool = False) -> RenderableType:
    """An engine for a rich console.

    Args:
        engine: what `Engine.to_dict` has of what was built.
        model: the name of the model.
        everything: whether to list warnings and layers, too.
    """
    head = f"{model}: built with {engine['builder']} in {engine['seconds']:.2f} s"
    rows = list(_rows(engine))
    width = max(len(name) for name, _ in rows)
    parts: list[RenderableType] = [line(head, "bold"), Text()]
    parts += [line(f"{name:<{width}}  {text}") for name, text in rows]
    warnings = engine["warnings"]
    if everything:
        if warnings:
            parts += [Text(), line("TensorRT warns", "bold")]
            parts += [line(f"  {warning}") for warning in warnings]
        parts += [Text(), *_layers(engine), Text()]
    elif warnings:
        parts += [Text(), line(f"{counted(len(warnings), 'warning')}; -v shows them")]
    return Group(*parts)


def _rows(engine: Content) -> Iterator[tuple[str, str]]:
    if engine["targets"]:
        yield "built for", "compute capability " + ", ".join(engine["targets"])
    for name, shapes in engine["profiles"].items():
        yield f"shape of {name}", written(shapes)
    if engine["kernels"] is not None:
        yield "kernels", str(engine["kernels"])
    if engine["traffic"] is not None:
        yield "traffic", amount(engine["traffic"])
    for name, key in (
        ("engine", "engine"),
        ("weights", "weights"),
        ("activations", "activation"),
        ("scratch", "scratch"),
        ("host memory", "host_persistent"),
    ):
        size = engine["sizes"][key]
        if size is not None:
            yield name, amount(size)


def _layers(engine: Content) -> Iterator[Text]:
    yield line("layers", "bold")
    if isinstance(engine["layers"], str):
        yield line(f"  {engine['layers']}")
        return
    for layer in engine["layers"]:
        nodes = f": {', '.join(layer['nodes'])}" if layer["nodes"] else ""
        yield line(f"  {layer['name']} ({layer['type']}){nodes}")
