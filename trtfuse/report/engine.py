"""An engine on a terminal: its sizes, warnings and layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from trtfuse.engine.backend import PACKAGES
from trtfuse.engine.engine import Engine
from trtfuse.engine.shapes import written
from trtfuse.errors import EngineError
from trtfuse.report.text import counted, printable

#: What may follow a number of bytes, the largest first.
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def engine_summary(engine: Engine, model: str, *, everything: bool = False) -> RenderableType:
    """An engine for a rich console.

    Args:
        engine: what was built.
        model: the name of the model.
        everything: whether to list warnings and layers, too.
    """
    title = f"{PACKAGES[engine.backend][0]} {engine.version}"
    head = f"{model}: built with {title} in {engine.seconds:.2f} s"
    rows = list(_rows(engine))
    width = max(len(name) for name, _ in rows)
    parts: list[RenderableType] = [_line(head, "bold"), Text()]
    parts += [_line(f"{name:<{width}}  {text}") for name, text in rows]
    if everything:
        if engine.warnings:
            parts += [Text(), _line("TensorRT warns", "bold")]
            parts += [_line(f"  {warning}") for warning in engine.warnings]
        parts += [Text(), *_layers(engine), Text()]
    elif engine.warnings:
        parts += [Text(), _line(f"{counted(len(engine.warnings), 'warning')}; -v shows them")]
    return Group(*parts)


def amount(size: int) -> str:
    """A number of bytes as people read it: 217 MB, 1.5 kB, 80 bytes."""
    for unit, name in _UNITS:
        # 999,999 bytes are 1 MB, not 1e+03 kB.
        if size >= 0.9995 * unit:
            number = size / unit
            return f"{number:.0f} {name}" if number >= 999.5 else f"{number:.3g} {name}"
    return counted(size, "byte")


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ignore")


def _rows(engine: Engine) -> Iterator[tuple[str, str]]:
    if engine.targets:
        yield "built for", "compute capability " + ", ".join(engine.targets)
    for name, profile in engine.profiles.items():
        yield f"shape of {name}", written(profile)
    # Sizes are open, or a version of TensorRT lists its layers in another way.
    with contextlib.suppress(EngineError):
        yield "kernels", str(engine.kernels)
        yield "traffic", amount(engine.traffic)
    sizes = engine.sizes
    for name, size in (
        ("engine", sizes.engine),
        ("weights", sizes.weights),
        ("activations", sizes.activation),
        ("scratch", sizes.scratch),
        ("host memory", sizes.host_persistent),
    ):
        if size is not None:
            yield name, amount(size)


def _layers(engine: Engine) -> Iterator[Text]:
    yield _line("layers", "bold")
    try:
        layers = engine.layers
    except EngineError as error:
        yield _line(f"  {error}")
        return
    for layer in layers:
        nodes = f": {', '.join(layer.nodes)}" if layer.nodes else ""
        yield _line(f"  {layer.name} ({layer.type}){nodes}")
