"""`trtfuse explain`."""

from __future__ import annotations

from pathlib import Path

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.progress import shown_progress
from trtfuse.model.model import Objective


@click.command()
@click.argument("source", metavar="IN.onnx", type=options.path)
@click.argument("node", metavar="[NODE]", required=False)
@click.option(
    "--rules", "names", metavar="NAME,...", callback=options.names, help="Ask these rules only."
)
@click.option("--skip", metavar="NAME,...", callback=options.names, help="Leave these rules out.")
@options.objective
@options.fold_limit
@options.target
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
def explain(
    source: Path,
    node: str | None,
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    objective: Objective,
    fold_limit: int,
    target: str | None,
    as_json: bool,
    verbose: int,
) -> int:
    """Say why a model, or one node of it, is not fused any further."""
    from trtfuse.report.explanation import plain

    with shown_progress(quiet=False) as progress:
        explanation = trtfuse.explain(
            source,
            node,
            rules=names,
            skip=skip or (),
            objective=objective,
            fold_limit=fold_limit,
            target=target,
            progress=progress,
        )
    text = (
        explanation.to_json() if as_json else plain(explanation.to_dict(), everything=verbose > 0)
    )
    click.echo(text.encode(errors="backslashreplace").decode().rstrip("\n"))
    return 0
