"""The command line: one function a command.

The result goes to stdout, progress to stderr and only to a terminal. Exit codes: 0 done, 1 the
check failed, 2 wrong usage or a file that cannot be used, said in one line on stderr.
"""

from __future__ import annotations

import re
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, get_args

import click

import trtfuse
from trtfuse.analysis.growth import FOLD_LIMIT
from trtfuse.errors import EngineError, InternalError, TrtfuseError, UsageError, internal, one_line
from trtfuse.model.model import Objective
from trtfuse.model.saving import same_file, written
from trtfuse.progress import Progress
from trtfuse.result.report import Report
from trtfuse.run import GroupsAs, VerifyLevel

if TYPE_CHECKING:
    from trtfuse.rewrite.rule import AnyRule

REPORT_SUFFIXES = (".html", ".json", ".md")


class _Shape(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """`x:1,3,224,224`, or `x:1x3x224x224`, is the shape [1, 3, 224, 224] of the input x."""

    name = "NAME:SIZES"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, colon, sizes = value.rpartition(":")
        try:
            shape = tuple(int(size) for size in re.split("[,x]", sizes)) if sizes else ()
        except ValueError:
            shape = (-1,)
        if not colon or not name or any(size < 0 for size in shape):
            self.fail(f"'{value}' is no shape; write it like x:1,3,224,224", param, ctx)
        return name, shape


class _EngineShape(click.ParamType):  # type: ignore[type-arg]
    """`x:1x3x224x224`, or `x:1x3x8x8..4x3x8x8..8x3x8x8`: smallest, best and largest."""

    name = "NAME:SIZES[..SIZES..SIZES]"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, list[tuple[int, ...]]]:
        name, colon, sizes = value.rpartition(":")
        try:
            shapes = [
                tuple(int(size) for size in re.split("[x,]", part)) if part else ()
                for part in sizes.split("..")
            ]
        except ValueError:
            shapes = []
        negative = any(size < 0 for shape in shapes for size in shape)
        if not colon or not name or negative or len(shapes) not in (1, 3):
            self.fail(
                f"'{value}' is no shape; write it like x:1x3x224x224, or smallest, best and "
                "largest like x:1x3x8x8..4x3x8x8..8x3x8x8",
                param,
                ctx,
            )
        return name, shapes if len(shapes) == 3 else shapes * 3


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
_objective = click.option(
    "--objective",
    type=click.Choice(get_args(Objective)),
    default="safe",
    show_default=True,
    help="Make every documented rewrite but those known to cost the engine, or all of them.",
)
_target = click.option(
    "--target",
    metavar="CAPABILITY",
    help="Compute capability of the GPU, like 8.9, which limits the weights in an MLP.",
)
_fold_limit = click.option(
    "--fold-limit",
    metavar="BYTES",
    type=click.IntRange(min=0),
    default=FOLD_LIMIT,
    show_default=True,
    help="By how much a constant may be larger than what the model stores of those that it is made "
    "from; all together may add 256 times as much, or as much as the model's own take.",
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
    "--groups",
    type=click.Choice(get_args(GroupsAs)),
    default="flat",
    show_default=True,
    help="Nodes expected to run as one kernel: report them (flat), wrap each group in a function "
    "call (functions), or disable grouping (off).",
)
@click.option("--flat", "old_groups", flag_value="flat", hidden=True)
@click.option("--no-groups", "old_groups", flag_value="off", hidden=True)
@_objective
@_target
@click.option(
    "--verify",
    "level",
    type=click.Choice(get_args(VerifyLevel)),
    default="rewrite",
    show_default=True,
    help="Check nothing, each rewrite in float64, or the whole model on ONNX Runtime as well.",
)
@_input_shapes
@_fold_limit
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
    groups: GroupsAs,
    old_groups: Literal["flat", "off"] | None,
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
    if old_groups is not None:
        old = "--flat" if old_groups == "flat" else "--no-groups"
        click.echo(f"trtfuse: {old} is now --groups {old_groups}", err=True)
        groups = old_groups
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
    if builds:
        from trtfuse.engine.backend import find_backend

        find_backend()
    with _progress(quiet) as progress:
        result = trtfuse.fuse(
            source,
            rules=names,
            skip=skip or (),
            groups=groups,
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
            with _build_progress(quiet) as progress:
                result.report.engine = trtfuse.compare(
                    source, result, shapes=dict(input_shapes), progress=progress
                )
        except TrtfuseError as error:
            # The fused model is as good as before: it is written first.
            trouble = error
    if result.ok and not dry_run:
        result.save(output)
    for report in reports:
        _write_report(result.report, report)
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
        verification = trtfuse.verify(
            original, result, input_shapes=dict(input_shapes), progress=progress
        )
    if not quiet:
        from trtfuse.report.entries import verdict

        click.echo("\n  ".join(verdict(asdict(verification))))
    return 0 if verification.ok else 1


@command.command()
@click.argument("source", metavar="IN.onnx", type=_model)
@click.argument("node", metavar="[NODE]", required=False)
@click.option("--rules", "names", metavar="NAME,...", callback=_names, help="Ask these rules only.")
@click.option("--skip", metavar="NAME,...", callback=_names, help="Leave these rules out.")
@_objective
@_fold_limit
@_target
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

    with _progress(quiet=False) as progress:
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
        from trtfuse.report.wording import printable

        click.echo(f"wrote {printable(str(output))}")
    return 0


@command.command()
@click.argument("source", metavar="IN.onnx", type=_model)
@click.option("-o", "--output", type=_model, help="Where to write; IN.engine if left out.")
@click.option(
    "--shapes",
    "shapes",
    type=_EngineShape(),
    multiple=True,
    help="Shape of an input with open sizes, like x:1x3x224x224, or the smallest, the best and the "
    "largest, like x:1x3x8x8..4x3x8x8..8x3x8x8. Of an input that is itself a shape, its values.",
)
@click.option(
    "--target",
    "targets",
    metavar="N.N,...",
    callback=_names,
    help="Compute capabilities to build for, like 8.6,8.9 (TensorRT for RTX; Ampere and later if "
    "left out).",
)
@click.option(
    "--workspace",
    metavar="MiB",
    type=click.IntRange(min=0),
    help="The most scratch memory that a layer may use; TensorRT's own limit if left out.",
)
@click.option(
    "--level",
    type=click.IntRange(0, 5),
    help="How hard the builder looks for a faster engine; 3 if left out.",
)
@click.option(
    "--timing-cache",
    metavar="FILE",
    type=_model,
    help="Keep measurements from build to build in this file (full TensorRT).",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="tensorrt or tensorrt_rtx; the first that is installed if left out.",
)
@click.option(
    "--in-process",
    is_flag=True,
    help="Run TensorRT in this process, for debuggers and profilers; a crash then ends it.",
)
@click.option("-v", "--verbose", count=True, help="List warnings and layers; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def build(
    source: Path,
    output: Path | None,
    shapes: tuple[tuple[str, list[tuple[int, ...]]], ...],
    targets: tuple[str, ...] | None,
    workspace: int | None,
    level: int | None,
    timing_cache: Path | None,
    backend: str | None,
    in_process: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Build an engine with TensorRT and say how large it is."""
    output = output or source.parent / f"{source.stem}.engine"
    _check_writable(output)
    if same_file(source, output):
        raise UsageError(f"input and output are both '{source}'; write to another file")
    with _build_progress(quiet) as progress:
        engine = trtfuse.build(
            source,
            shapes=dict(shapes),
            targets=targets or (),
            workspace=None if workspace is None else workspace << 20,
            level=level,
            timing_cache=timing_cache,
            backend=backend,
            in_process=in_process,
            progress=progress,
        )
    engine.save(output)
    if not quiet:
        from rich.console import Console

        from trtfuse.report.engine import engine_summary
        from trtfuse.report.terminal import show
        from trtfuse.report.wording import printable

        summary = engine_summary(engine.to_dict(), str(source), everything=verbose > 0)
        show(Console(highlight=False), summary)
        click.echo(f"wrote {printable(str(output))}")
    return 0


@command.command()
@click.argument("first", metavar="A", type=_model)
@click.argument("second", metavar="B", type=_model)
@click.option(
    "--shapes",
    "--input-shapes",
    "shapes",
    type=_Shape(),
    multiple=True,
    help="Shape of an input whose sizes vary, like x:1x3x224x224; the first that runs if left out.",
)
@click.option(
    "--target",
    "targets",
    metavar="N.N,...",
    callback=_names,
    help="Compute capabilities to build for, like 8.6,8.9 (TensorRT for RTX).",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="tensorrt or tensorrt_rtx; the first that is installed if left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def compare(
    first: Path,
    second: Path,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    targets: tuple[str, ...] | None,
    backend: str | None,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Build two models with TensorRT, and compare what it makes of them.

    In place of a model, A or B may be a verbose log (.log, .txt) or layer information (.json) of
    an engine that was built elsewhere, as trtexec writes them.
    """
    with _build_progress(quiet) as progress:
        comparison = trtfuse.compare(
            first,
            second,
            shapes=dict(shapes),
            targets=targets or (),
            backend=backend,
            progress=progress,
        )
    if as_json:
        click.echo(comparison.to_json(), nl=False)
        return 0
    from rich.console import Console

    from trtfuse.report.comparison import summary
    from trtfuse.report.terminal import show

    show(Console(highlight=False), summary(comparison.to_dict(), everything=verbose > 0))
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
            click.echo("\n\n".join(_told(rule)))
        else:
            what = rule.equation or " ".join(rule.doc.split())
            line = f"{rule.name:<{width}} {rule.kind:<7} {rule.entry.label:<7} {what}"
            click.echo(line.rstrip())
    return 0


def _told(rule: AnyRule) -> Iterator[str]:
    """The paragraphs that say what a rule does."""
    listed = f", {rule.entry.label}" if rule.entry.label else ""
    yield f"{rule.name} ({rule.kind}{listed})"
    if rule.equation is not None:
        yield str(rule.equation)
    if rule.doc:
        yield rule.doc
    if rule.takes:
        yield textwrap.fill(f"Takes: {rule.takes}", 100, break_on_hyphens=False)
    if rule.guards:
        guards = (f"  {guard.name}: {' '.join(guard.doc.split())}" for guard in rule.guards)
        yield "\n".join(("It checks that:", *guards))


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


@contextmanager
def _build_progress(quiet: bool) -> Iterator[Progress | None]:
    """A progress bar for each phase of a build that is not done, on stderr if that is a terminal.

    It is drawn when there is progress and not in between: what is printed then is TensorRT's.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True, auto_refresh=False) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if done < total:
                if phase not in tasks:
                    tasks[phase] = bars.add_task(phase)
                bars.update(tasks[phase], completed=done, total=total)
            elif phase in tasks:
                bars.remove_task(tasks.pop(phase))
            bars.refresh()

        yield show


def _check_writable(*paths: Path) -> None:
    """Fails before the work rather than after it where a file cannot be written for certain."""
    for path in paths:
        try:
            if path.is_dir():
                raise UsageError(f"cannot write '{path}': it is a folder")
            if path.exists() and not path.is_file():
                raise UsageError(f"cannot write '{path}': it is not a regular file")
            if not path.parent.is_dir():
                raise UsageError(f"cannot write '{path}': there is no folder '{path.parent}'")
        except OSError as error:
            raise UsageError(f"cannot write '{path}': {error.strerror}") from None


def _write_report(report: Report, path: Path) -> None:
    writers = {".html": report.to_html, ".json": report.to_json, ".md": report.to_markdown}
    text = writers[path.suffix]()
    with written(path) as file:
        file.write(text.encode(errors="backslashreplace"))


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
