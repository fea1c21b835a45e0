"""`trtfuse explain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.completion import node_names
from trtfuse.cli.config import no_config
from trtfuse.cli.errors import tell
from trtfuse.cli.models import Source, is_folder, sources
from trtfuse.cli.output import failed, print_all
from trtfuse.cli.progress import shown_progress
from trtfuse.errors import UsageError
from trtfuse.groups.target import shared_memory
from trtfuse.model.model import Objective
from trtfuse.result.explanation import Explanation
from trtfuse.rewrite.rule import selected


@click.command()
@click.argument("path", metavar="IN.onnx", type=options.model)
@click.argument("node", metavar="[NODE]", required=False, shell_complete=node_names)
@options.rules("Consider only these rules.")
@options.skip
@options.objective
@options.shapes("Fix sizes of inputs first:")
@options.fold_limit
@options.target
@options.as_json
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@no_config
def explain(
    path: Path,
    node: str | None,
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    objective: Objective,
    shapes: dict[str, Any],
    fold_limit: int,
    target: str | None,
    as_json: bool,
    verbose: int,
) -> int:
    """Explain why a model, or one of its nodes, is not fused any further.

    IN.onnx is a file, - for stdin, or, without NODE, a folder: its .onnx files, except those that
    trtfuse wrote.
    """
    several = is_folder(path)
    if several and node is not None:
        raise UsageError(f"'{path}' is a folder; give the model that has the node '{node}'")
    models = sources([path])
    selected(names, skip or ())
    shared_memory(target)

    def explained(model: Source) -> Explanation:
        with shown_progress(quiet=False, name=model.name if several else "") as progress:
            explanation = trtfuse.explain(
                model.model,
                node,
                rules=names,
                skip=skip or (),
                objective=objective,
                shapes=shapes,
                fold_limit=fold_limit,
                target=target,
                progress=progress,
            )
        return replace(explanation, model=model.name)

    if not several:
        _print([explained(models[0]).to_dict()], as_json, verbose > 0, several)
        return 0
    found, code = [], 0
    for model in models:
        try:
            found.append(explained(model).to_dict())
        except Exception as error:  # noqa: BLE001 - what goes wrong in one does not stop the others
            tell(error, verbose)
            found.append(failed(model, error))
            code = 2
    _print(found, as_json, verbose > 0, several)
    return code


def _print(found: list[dict[str, Any]], as_json: bool, everything: bool, several: bool) -> None:
    from trtfuse.report.explanation import plain

    if as_json:
        print_all(found, several)
        return
    texts = (plain(data, everything=everything).rstrip() for data in found if "error" not in data)
    click.echo("\n\n\n".join(texts).encode(errors="backslashreplace").decode())
