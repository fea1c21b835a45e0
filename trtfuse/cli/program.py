"""The program `trtfuse`: its commands, what it says of errors, and its exit codes."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import trtfuse
from trtfuse.cli.build import build
from trtfuse.cli.compare import compare
from trtfuse.cli.explain import explain
from trtfuse.cli.fuse import fuse
from trtfuse.cli.report import report
from trtfuse.cli.rules import rules
from trtfuse.cli.verify import verify
from trtfuse.errors import EngineError, InternalError, TrtfuseError, internal, one_line


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(trtfuse.__version__, message="%(prog)s %(version)s")
def command() -> None:
    """Apply TensorRT's documented fusions to ONNX models, and check every one."""


for _each in (fuse, verify, explain, report, build, compare, rules):
    command.add_command(_each)


def _one_line(error: Exception) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return "no command; `trtfuse --help` lists them"
    if isinstance(error, OSError):
        return f"cannot use '{error.filename}': {error.strerror}"
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split())
    if isinstance(error, InternalError):
        return f"{one_line(error)} (-vv shows where)"
    if isinstance(error, TrtfuseError):
        return one_line(error)
    return f"{one_line(internal(error))} (-vv shows where)"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(given, prog_name="trtfuse", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001 - nobody is shown a traceback without asking
        if any(re.fullmatch("-v{2,}", argument) for argument in given):
            traceback.print_exc()
        if isinstance(error, EngineError) and any(re.fullmatch("-v+|--verbose", g) for g in given):
            for node in error.unsupported:
                click.echo(f"  {' '.join(str(node).split())}", err=True)
        click.echo(f"trtfuse: {_one_line(error)}", err=True)
        code = 2
    sys.exit(code or 0)
