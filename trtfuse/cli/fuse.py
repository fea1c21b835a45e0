"""`trtfuse fuse`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.output import REPORT_SUFFIXES, check_writable, write_report
from trtfuse.cli.progress import shown_build, shown_progress
from trtfuse.errors import TrtfuseError, UsageError
from trtfuse.model.model import Objective
from trtfuse.model.saving import same_file
from trtfuse.run import VerifyLevel


@click.command()
@click.argument("source", metavar="IN.onnx", type=options.path)
@click.option(
    "-o", "--output", type=options.path, help="Where to write; IN.fused.onnx if left out."
)
@click.option(
    "--report",
    "reports",
    type=options.path,
    multiple=True,
    help="Write the report to a .html, .json or .md file.",
)
@click.option(
    "--rules",
    "names",
    metavar="NAME,...",
    callback=options.names,
    help="Apply these rules only, like conv-scale.",
)
@click.option("--skip", metavar="NAME,...", callback=options.names, help="Leave these rules out.")
@click.option("--flat", is_flag=True, help="Keep the nodes of groups; name them in the report.")
@click.option("--no-groups", is_flag=True, help="Look for no groups.")
@options.objective
@options.target
@click.option(
    "--verify",
    "level",
    type=click.Choice(get_args(VerifyLevel)),
    default="rewrite",
    show_default=True,
    help="Check nothing, each rewrite in float64, or the whole model on ONNX Runtime as well.",
)
@options.input_shapes
@options.fold_limit
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write no model.")
@click.option(
    "--build",
    "builds",
    is_flag=True,
    help="Build original and result with TensorRT, and compare what it makes of them.",
)
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def fuse(
    source: Path,
    output: Path | None,
    reports: tuple[Path, ...],
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    flat: bool,
    no_groups: bool,
    objective: Objective,
    target: str | None,
    level: VerifyLevel,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...],
    fold_limit: int,
    dry_run: bool,
    builds: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Fuse a model, check it, and say what was fused and what was not."""
    if flat and no_groups:
        raise UsageError("--flat and --no-groups exclude each other; give one")
    asked = output is not None
    output = output or source.parent / f"{source.stem}.fused.onnx"
    for report in reports:
        if report.suffix not in REPORT_SUFFIXES:
            kinds = "use .html, .json or .md"
            raise UsageError(f"cannot tell the kind of report from '{report}'; {kinds}")
    check_writable(*reports, *([output] if asked else []))
    for path in (output, *reports):
        if same_file(source, path):
            raise UsageError(f"input and output are both '{path}'; write to another file")
    for path in reports:
        if [output, *reports].count(path) > 1:
            raise UsageError("two outputs have the same path; give each its own")
    if builds:
        from trtfuse.engine.backend import find_backend

        find_backend()
    with shown_progress(quiet) as progress:
        result = trtfuse.fuse(
            source,
            rules=names,
            skip=skip or (),
            groups="off" if no_groups else "flat" if flat else "functions",
            objective=objective,
            target=target,
            verify=level,
            input_shapes=dict(input_shapes),
            fold_limit=fold_limit,
            progress=progress,
        )
    trouble: TrtfuseError | None = None
    if result.ok and builds:
        try:
            with shown_build(quiet) as progress:
                result.report.engine = trtfuse.compare(
                    source, result, shapes=dict(input_shapes), progress=progress
                )
        except TrtfuseError as error:
            # The fused model is as good as before: it is written first.
            trouble = error
    if result.ok and not dry_run:
        result.save(output)
    for report in reports:
        write_report(result.report, report)
    if not quiet:
        from rich.console import Console

        from trtfuse.report.terminal import show
        from trtfuse.report.text import summary
        from trtfuse.report.wording import printable

        data = result.report.to_dict(details=False)
        show(Console(highlight=False), summary(data, everything=verbose > 0))
        if result.ok and not dry_run:
            click.echo(f"wrote {printable(str(output))}")
    if trouble is not None:
        raise trouble
    if not result.ok:
        click.echo(f"trtfuse: '{source}' and its fused model differ: nothing was written", err=True)
    return 0 if result.ok else 1
