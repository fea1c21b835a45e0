"""`trtfuse compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.models import pair
from trtfuse.cli.progress import shown_build


@click.command()
@click.argument("first", metavar="A", type=options.model)
@click.argument("second", metavar="B", type=options.model)
@options.shapes("Fix sizes of inputs, the first that run if omitted:")
@options.old_shapes
@click.option(
    "--target",
    "targets",
    metavar="N.N,...",
    callback=options.names,
    help="Compute capabilities to build for, like 8.6,8.9 (TensorRT for RTX).",
)
@options.backend
@options.fail_if_worse
@options.as_json
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@no_config
def compare(
    first: Path,
    second: Path,
    shapes: dict[str, Any],
    input_shapes: dict[str, Any],
    targets: tuple[str, ...] | None,
    backend: str | None,
    fail_if_worse: bool,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Build two models with TensorRT and compare the engines.

    In place of a model, A or B may be a verbose log (.log, .txt) or layer information (.json) of
    an engine that was built elsewhere, as trtexec writes them. One of them may be -, which is a
    model on stdin.
    """
    a, b = pair(first, second)
    with shown_build(quiet) as progress:
        comparison = trtfuse.compare(
            a.model,
            b.model,
            shapes=shapes or input_shapes,
            targets=targets or (),
            backend=backend,
            progress=progress,
        )
    code = 1 if fail_if_worse and comparison.verdict.worse else 0
    if as_json:
        click.echo(comparison.to_json(), nl=False)
        return code
    from rich.console import Console

    from trtfuse.report.comparison import summary
    from trtfuse.report.terminal import show

    show(Console(highlight=False), summary(comparison.to_dict(), everything=verbose > 0))
    return code
