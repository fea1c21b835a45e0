"""The program `trtfuse`: its commands, what it says of errors, and its exit codes."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import trtfuse
from trtfuse.cli.build import build
from trtfuse.cli.compare import compare
from trtfuse.cli.errors import tell
from trtfuse.cli.explain import explain
from trtfuse.cli.fuse import fuse
from trtfuse.cli.inspect import inspect
from trtfuse.cli.report import report
from trtfuse.cli.rules import rules
from trtfuse.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(trtfuse.__version__, message="%(prog)s %(version)s")
def command() -> None:
    """Apply TensorRT's documented fusions to ONNX models, and check every one."""


for _each in (fuse, verify, explain, inspect, report, build, compare, rules):
    command.add_command(_each)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(given, prog_name="trtfuse", standalone_mode=False, obj=given)
    except click.exceptions.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001 - nobody is shown a traceback without asking
        tell(error, _verbosity(given))
        code = 2
    sys.exit(code or 0)


def _verbosity(given: Sequence[str]) -> int:
    """How often -v was given, also where the command did not get so far as to read it."""
    if any(re.fullmatch("-v{2,}", argument) for argument in given):
        return 2
    return int(any(argument in ("-v", "--verbose") for argument in given))
