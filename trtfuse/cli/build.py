"""`trtfuse build`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.models import DASH, source
from trtfuse.cli.output import (
    check_apart,
    check_no_terminal,
    check_stdout,
    check_writable,
    print_json,
    say_written,
    to_stdout,
)
from trtfuse.cli.progress import shown_build
from trtfuse.errors import UsageError


@click.command()
@click.argument("path", metavar="IN.onnx", type=options.model)
@click.option(
    "-o",
    "--output",
    type=options.path,
    metavar="PATH",
    help="Where to write, - for stdout; IN.engine if omitted.",
)
@options.shapes("Sizes to build for:", ranges=True)
@click.option(
    "--target",
    "targets",
    metavar="N.N,...",
    callback=options.names,
    help="Compute capabilities to build for, like 8.6,8.9 (TensorRT for RTX; Ampere and later if "
    "omitted).",
)
@click.option(
    "--workspace",
    type=options.Size(1 << 20, "MiB"),
    help="The most scratch memory that a layer may use, like 2GiB; a plain number is in MiB. "
    "TensorRT's own limit if omitted.",
)
@click.option(
    "--level",
    type=click.IntRange(0, 5),
    help="How hard the builder looks for a faster engine; 3 if omitted.",
)
@click.option(
    "--timing-cache",
    metavar="FILE",
    type=options.path,
    help="Keep measurements from build to build in this file (full TensorRT).",
)
@options.backend
@click.option(
    "--in-process",
    is_flag=True,
    help="Run TensorRT in this process, for debuggers and profilers; a crash then ends it.",
)
@options.as_json
@click.option("-v", "--verbose", count=True, help="List warnings and layers; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@no_config
def build(
    path: Path,
    output: Path | None,
    shapes: dict[str, Any],
    targets: tuple[str, ...] | None,
    workspace: int | None,
    level: int | None,
    timing_cache: Path | None,
    backend: str | None,
    in_process: bool,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Build an engine with TensorRT and show its kernels and sizes.

    IN.onnx may be -, which is stdin.
    """
    if output is None and path == DASH:
        raise UsageError("a model from stdin has no name; say where to write the engine, with -o")
    check_stdout(output, as_json)
    output = output or path.parent / f"{path.stem}.engine"
    if output == DASH:
        check_no_terminal("an engine")
    check_writable(output)
    given = source(path)
    check_apart([given], [output])
    with shown_build(quiet) as progress:
        engine = trtfuse.build(
            given.model,
            shapes=shapes,
            targets=targets or (),
            workspace=workspace,
            level=level,
            timing_cache=timing_cache,
            backend=backend,
            in_process=in_process,
            progress=progress,
        )
    to_stdout(engine.plan) if output == DASH else engine.save(output)
    if as_json:
        print_json({"model": given.name, "path": str(output), **engine.to_dict()})
    elif not quiet:
        from rich.console import Console

        from trtfuse.report.engine import engine_summary
        from trtfuse.report.terminal import show

        summary = engine_summary(engine.to_dict(), given.name, everything=verbose > 0)
        show(Console(highlight=False, stderr=output == DASH), summary)
        if output != DASH:
            say_written(output)
    return 0
