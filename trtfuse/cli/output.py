"""What commands write: models, reports and JSON, to files and to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from google.protobuf.message import EncodeError
from onnx import ModelProto

from trtfuse.cli.errors import sentence
from trtfuse.cli.models import DASH, WRITTEN, Source, is_folder
from trtfuse.errors import UsageError
from trtfuse.model.saving import is_external, same_file, written
from trtfuse.report.wording import printable
from trtfuse.result.report import Report

REPORT_SUFFIXES = (".html", ".json", ".md")
#: Where the name of a model goes in the path of its report.
NAME = "{name}"


def model_outputs(sources: Sequence[Source], output: Path | None, several: bool) -> list[Path]:
    """Where each model goes: beside it, to the file or the folder given, or to stdout.

    Args:
        sources: what is read.
        output: as given, `-` for stdout.
        several: whether the output has to be a folder.

    Raises:
        UsageError: there is no such place.
    """
    if output == DASH:
        if several:
            raise UsageError("only one model can be written to stdout; give a folder with -o DIR")
        check_no_terminal("a model")
        return [DASH]
    if output is not None and not several and not is_folder(output):
        return [output]
    if any(source.stdin for source in sources):
        raise UsageError(
            "a model from stdin has no name; say where to write it, with -o FILE or, for stdout, "
            "-o -"
        )
    if output is None:
        return [source.path.parent / f"{source.path.stem}{WRITTEN}" for source in sources]
    if output.suffix == ".onnx" and not output.is_dir():
        raise UsageError(f"several models need a folder, and '{output}' is none; give -o DIR")
    return [output / source.path.name for source in sources]


def report_paths(sources: Sequence[Source], given: Sequence[Path], several: bool) -> list[Path]:
    """Where the reports go, those of the first model first.

    Raises:
        UsageError: a path does not say the kind of report, or is one for several models.
    """
    for path in given:
        if path.suffix not in REPORT_SUFFIXES:
            kinds = "use .html, .json or .md"
            raise UsageError(f"cannot tell the kind of report from '{path}'; {kinds}")
        if several and NAME not in str(path):
            raise UsageError(
                f"each model needs a report of its own; put {NAME} where its name goes, as in "
                f"'{path.with_name(f'{NAME}{path.suffix}')}'"
            )
    return [
        Path(str(path).replace(NAME, source.path.stem if not source.stdin else source.name))
        for source in sources
        for path in given
    ]


def check_stdout(output: Path | None, as_json: bool) -> None:
    """Fails where two things would go to stdout."""
    if as_json and output == DASH:
        raise UsageError("--json and -o - both write to stdout; give one of them")


def check_no_terminal(what: str) -> None:
    """Fails where stdout is a terminal, on which bytes do harm."""
    if sys.stdout.isatty():
        raise UsageError(f"stdout is a terminal, and {what} is binary; pipe it on, or give -o FILE")


def check_apart(sources: Sequence[Source], outputs: Sequence[Path]) -> None:
    """Fails where an output would take the place of a model that is read, or of another output."""
    files = [path for path in outputs if path != DASH]
    read = [source.path for source in sources if not source.stdin]
    for path in files:
        if any(same_file(source, path) for source in read):
            raise UsageError(f"input and output are both '{path}'; write to another file")
    if len(set(files)) < len(files):
        raise UsageError("two outputs have the same path; give each its own")


def check_writable(*paths: Path) -> None:
    """Fails before the work rather than after it where a file cannot be written for certain."""
    for path in paths:
        if path == DASH:
            continue
        try:
            if path.is_dir():
                raise UsageError(f"cannot write '{path}': it is a folder")
            if path.exists() and not path.is_file():
                raise UsageError(f"cannot write '{path}': it is not a regular file")
            if not path.parent.is_dir():
                raise UsageError(f"cannot write '{path}': there is no folder '{path.parent}'")
        except OSError as error:
            raise UsageError(f"cannot write '{path}': {error.strerror}") from None


def model_bytes(model: ModelProto) -> bytes:
    """A model in one piece, as stdout takes it.

    Raises:
        UsageError: it has external data, or is too large.
    """
    if is_external(model):
        raise UsageError(
            "the model has its weights in a file of their own, which cannot go to stdout; give "
            "-o FILE"
        )
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError):
        raise UsageError("the model is larger than 2 GiB; give -o FILE") from None


def to_stdout(content: bytes) -> None:
    """Writes bytes to stdout, and nothing around them.

    Raises:
        UsageError: whoever reads them is gone.
    """
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UsageError(f"cannot write to stdout: {error.strerror}") from None


def write_report(report: Report, path: Path) -> None:
    """Writes a report as the suffix of its file says."""
    writers = {".html": report.to_html, ".json": report.to_json, ".md": report.to_markdown}
    text = writers[path.suffix]()
    with written(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def print_json(content: object) -> None:
    """Prints one JSON document."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text.encode(errors="backslashreplace").decode())


def print_all(documents: Sequence[dict[str, Any]], several: bool) -> None:
    """Prints the JSON of one model, or an object with those of several."""
    print_json({"models": list(documents)} if several else documents[0])


def failed(source: Source, error: Exception) -> dict[str, Any]:
    """What stands in JSON for a model that could not be used."""
    return {"model": source.name, "error": sentence(error)}


def say_written(path: Path, err: bool = False) -> None:
    """Says that a file is there now."""
    click.echo(f"wrote {printable(str(path))}", err=err)
