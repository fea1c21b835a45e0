"""The command line: one function a command.

The result goes to stdout, progress to stderr and only to a terminal. Exit codes: 0 done, 1 the
check failed, 2 wrong usage or a file that cannot be used, said in one line on stderr.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, get_args

import click

import trtfuse
from trtfuse.errors import TrtfuseError, UsageError
from trtfuse.ir.model import FOLD_LIMIT
from trtfuse.ir.save import written
from trtfuse.pipeline import Progress, VerifyLevel, same_file
from trtfuse.report.data import Report

REPORT_SUFFIXES = (".html", ".json", ".md")


class _Shape(click.ParamType[tuple[str, tuple[int, ...]]]):
    """`x:1,3,224,224` is the shape [1, 3, 224, 224] of the input x."""

    name = "NAME:SIZES"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, colon, sizes = value.rpartition(":")
        try:
            shape = tuple(int(size) for size in sizes.split(",")) if sizes else ()
        except ValueError:
            shape = (-1,)
        if not colon or not name or any(size < 0 for size in shape):
            self.fail(f"'{value}' is no shape; write it like x:1,3,224,224", param, ctx)
        return name, shape


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names with commas between them."""
    return None if value is None else tuple(n.strip() for n in value.split(",") if n.strip())


_input_shapes = click.option(
    "--input-shapes",
    "input_shapes",
    type=_Shape(),
    multiple=True,
    help="Shape of an input for the check, like x:1,3,224,224; drawn if left out.",
)
_model = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(trtfuse.__version__, message="%(prog)s %(version)s")
def command() -> None:
    """Apply TensorRT's documented fusions to ONNX models, and check every one."""


@command.command()
@click.argument("source", metavar="IN.onnx", type=_model)
@click.option("-o", "--output", type=_model, help="Where to write; IN.fused.onnx if left out.")
@click.option(
    "--report",
    "reports",
    type=_model,
    multiple=True,
    help="Write the report to a .html, .json or .md file.",
)
@click.option(
    "--rules",
    "names",
    metavar="NAME,...",
    callback=_names,
    help="Apply these rules only, like conv-scale.",
)
@click.option("--skip", metavar="NAME,...", callback=_names, help="Leave these rules out.")
@click.option(
    "--verify",
    "level",
    type=click.Choice(get_args(VerifyLevel)),
    default="rewrite",
    show_default=True,
    help="Check nothing, each rewrite in float64, or the whole model on ONNX Runtime as well.",
)
@_input_shapes
@click.option(
    "--fold-limit",
    metavar="BYTES",
    type=click.IntRange(min=0),
    default=FOLD_LIMIT,
    show_default=True,
    help="By how much a constant may be larger than what it is folded from.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write no model.")
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def fuse(
    source: Path,
    output: Path | None,
    reports: tuple[Path, ...],
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    level: VerifyLevel,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...],
    fold_limit: int,
    dry_run: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Fuse a model, check it, and say what was fused and what was not."""
    asked = output is not None
    output = output or source.parent / f"{source.stem}.fused.onnx"
    for report in reports:
        if report.suffix not in REPORT_SUFFIXES:
            kinds = "use .html, .json or .md"
            raise UsageError(f"cannot tell the kind of report from '{report}'; {kinds}")
    _check_writable(*reports, *([output] if asked else []))
    for path in (output, *reports):
        if same_file(source, path):
            raise UsageError(f"input and output are both '{path}'; write to another file")
    for path in reports:
        if [output, *reports].count(path) > 1:
            raise UsageError("two outputs have the same path; give each its own")
    with _progress(quiet) as progress:
        result = trtfuse.fuse(
            source,
            rules=names,
            skip=skip or (),
            verify=level,
            input_shapes=dict(input_shapes),
            fold_limit=fold_limit,
            progress=progress,
        )
    if result.ok and not dry_run:
        result.save(output)
    for report in reports:
        _write_report(result.report, report)
    if not quiet:
        from rich.console import Console

        from trtfuse.report.text import printable, show, summary

        show(Console(highlight=False), summary(result.report, everything=verbose > 0))
        if result.ok and not dry_run:
            click.echo(f"wrote {printable(str(output))}")
    if not result.ok:
        click.echo(f"trtfuse: '{source}' and its fused model differ: nothing was written", err=True)
    return 0 if result.ok else 1


@command.command()
@click.argument("original", metavar="A.onnx", type=_model)
@click.argument("result", metavar="B.onnx", type=_model)
@_input_shapes
@click.option("-v", "--verbose", count=True, expose_value=False, help="-vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def verify(
    original: Path,
    result: Path,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...],
    quiet: bool,
) -> int:
    """Compare two models on ONNX Runtime; exit with 1 if they differ."""
    with _progress(quiet) as progress:
        found = trtfuse.verify(original, result, input_shapes=dict(input_shapes), progress=progress)
    if not quiet:
        from trtfuse.report.text import verdict

        click.echo(verdict(found))
    return 0 if found.ok else 1


@command.command()
@click.argument("source", metavar="IN.onnx", type=_model)
@click.argument("node", metavar="[NODE]", required=False)
@click.option("--rules", "names", metavar="NAME,...", callback=_names, help="Ask these rules only.")
@click.option("--skip", metavar="NAME,...", callback=_names, help="Leave these rules out.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
def explain(
    source: Path,
    node: str | None,
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    as_json: bool,
    verbose: int,
) -> int:
    """Say why a model, or one node of it, is not fused any further."""
    from trtfuse.report.why import plain

    with _progress(quiet=False) as progress:
        found = trtfuse.explain(source, node, rules=names, skip=skip or (), progress=progress)
    text = found.to_json() if as_json else plain(found, everything=verbose > 0)
    click.echo(text.encode(errors="backslashreplace").decode().rstrip("\n"))
    return 0


@command.command()
@click.argument("source", metavar="R.json", type=_model)
@click.option("-o", "--output", type=_model, help="Where to write; R.html if left out.")
@click.option("-v", "--verbose", count=True, expose_value=False, help="-vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def report(source: Path, output: Path | None, quiet: bool) -> int:
    """Make a page of a report that was written as JSON, by this version or an older one."""
    from trtfuse.report.page import page
    from trtfuse.report.stored import read_report

    output = output or source.with_suffix(".html")
    _check_writable(output)
    if same_file(source, output):
        raise UsageError(f"input and output are both '{output}'; write to another file")
    text = page(read_report(source))
    with written(output) as file:
        file.write(text.encode(errors="backslashreplace"))
    if not quiet:
        from trtfuse.report.text import printable

        click.echo(f"wrote {printable(str(output))}")
    return 0


@command.command()
@click.argument("name", required=False)
def rules(name: str | None) -> int:
    """List the rules, or say what one does."""
    from trtfuse.rewrite.rule import selected

    chosen = selected([name] if name else None)
    width = max(len(rule.name) for rule in chosen)
    for rule in chosen:
        if name:
            click.echo(f"{rule.name} ({rule.kind}, {rule.entry})\n\n{rule.doc}\n\nIt checks that:")
            for guard in rule.guards:
                click.echo(f"  {guard.name}: {guard.doc}")
        else:
            click.echo(f"{rule.name:<{width}} {rule.entry:<7} {rule.doc.splitlines()[0]}")
    return 0


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks = {stage: bars.add_task(stage, total=None) for stage in ("rewrite", "verify")}
        yield lambda stage, done, total: bars.update(tasks[stage], completed=done, total=total)


def _check_writable(*paths: Path) -> None:
    """Fails before the work rather than after it where a file cannot be written for certain."""
    for path in paths:
        try:
            if path.is_dir():
                raise UsageError(f"cannot write '{path}': it is a folder")
            if path.exists() and not path.is_file():
                raise UsageError(f"cannot write '{path}': it is no regular file")
            if not path.parent.is_dir():
                raise UsageError(f"cannot write '{path}': there is no folder '{path.parent}'")
        except OSError as error:
            raise UsageError(f"cannot write '{path}': {error.strerror}") from None


def _write_report(report: Report, path: Path) -> None:
    from trtfuse.report.markdown import markdown

    if path.suffix == ".html":
        text = report.to_html()
    else:
        text = report.to_json() if path.suffix == ".json" else markdown(report)
    with written(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def _one_line(error: Exception) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return "no command; `trtfuse --help` lists them"
    if isinstance(error, OSError):
        return f"cannot use '{error.filename}': {error.strerror}"
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split())
    message = " ".join(str(error).split())
    if isinstance(error, TrtfuseError):
        return message
    return f"internal error, {type(error).__name__}: {message}; -vv shows where"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(given, prog_name="trtfuse", standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except Exception as error:  # noqa: BLE001 - nobody is shown a traceback without asking
        if any(re.fullmatch("-v{2,}", each) for each in given):
            traceback.print_exc()
        click.echo(f"trtfuse: {_one_line(error)}", err=True)
        code = 2
    sys.exit(code or 0)
