"""`trtfuse inspect`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.errors import tell
from trtfuse.cli.models import Source, is_folder, sources
from trtfuse.cli.output import failed, print_all
from trtfuse.cli.progress import shown_progress
from trtfuse.result.inspection import Inspection


@click.command()
@click.argument("paths", metavar="IN.onnx...", nargs=-1, required=True, type=options.model)
@options.shapes("Fix sizes of inputs first:")
@options.as_json
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@no_config
def inspect(paths: tuple[Path, ...], shapes: dict[str, Any], as_json: bool, verbose: int) -> int:
    """Show what models contain, and what TensorRT does not support in them.

    IN.onnx is a file, a folder (its .onnx files, except those that trtfuse wrote), or - for stdin.
    Where TensorRT is installed its parser is asked, without a build; else what TensorRT is known
    not to have is looked up.
    """
    several = len(paths) > 1 or is_folder(paths[0])
    models = sources(paths)
    if not several:
        found = _inspected(models[0], shapes, several)
        print_all([found.to_dict()], several) if as_json else _show(found, verbose > 0)
        return 0
    documents, code = [], 0
    for model in models:
        try:
            found = _inspected(model, shapes, several)
        except Exception as error:  # noqa: BLE001 - what goes wrong in one does not stop the others
            tell(error, verbose)
            documents.append(failed(model, error))
            code = 2
            continue
        if not as_json:
            if documents:
                click.echo("\n")
            _show(found, verbose > 0)
        documents.append(found.to_dict())
    if as_json:
        print_all(documents, several)
    return code


def _inspected(model: Source, shapes: dict[str, Any], several: bool) -> Inspection:
    with shown_progress(quiet=False, name=model.name if several else "") as progress:
        return replace(
            trtfuse.inspect(model.model, shapes=shapes, progress=progress), model=model.name
        )


def _show(found: Inspection, everything: bool) -> None:
    from rich.console import Console

    from trtfuse.report.inspection import summary
    from trtfuse.report.terminal import show

    show(Console(highlight=False), summary(found.to_dict(), everything=everything))
