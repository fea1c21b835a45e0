"""`trtfuse verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.models import pair
from trtfuse.cli.output import print_json
from trtfuse.cli.progress import shown_progress


@click.command()
@click.argument("original", metavar="A.onnx", type=options.model)
@click.argument("result", metavar="B.onnx", type=options.model)
@options.shapes("Sizes of inputs to run at, random if omitted:")
@options.old_shapes
@options.inputs
@options.as_json
@click.option("-v", "--verbose", count=True, help="Show every output; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@no_config
def verify(
    original: Path,
    result: Path,
    shapes: dict[str, Any],
    input_shapes: dict[str, Any],
    inputs: tuple[Path, ...],
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Compare two models on ONNX Runtime; exit with 1 if they differ.

    One of them may be -, which is stdin.
    """
    a, b = pair(original, result)
    with shown_progress(quiet) as progress:
        verification = trtfuse.verify(
            a.model,
            b.model,
            shapes=shapes or input_shapes,
            inputs=inputs or None,
            progress=progress,
        )
    if as_json:
        print_json(asdict(verification))
    elif not quiet:
        from trtfuse.report.entries import verdict

        click.echo("\n  ".join(verdict(asdict(verification), everything=verbose > 0)))
    return 0 if verification.ok else 1
