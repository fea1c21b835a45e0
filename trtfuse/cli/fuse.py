"""`trtfuse fuse`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import click
from click.core import ParameterSource

import trtfuse
from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.errors import tell
from trtfuse.cli.models import DASH, Source, is_folder, sources
from trtfuse.cli.output import (
    check_apart,
    check_stdout,
    check_writable,
    failed,
    model_bytes,
    model_outputs,
    print_all,
    print_json,
    report_paths,
    say_written,
    to_stdout,
    write_report,
)
from trtfuse.cli.progress import shown_build, shown_progress
from trtfuse.errors import TrtfuseError, UsageError
from trtfuse.groups.target import shared_memory
from trtfuse.model.model import Objective
from trtfuse.report.wording import counted, printable
from trtfuse.result.fusion_result import FusionResult
from trtfuse.result.report import Fusion, Report
from trtfuse.rewrite.rule import selected
from trtfuse.run import GroupsAs, VerifyLevel


@click.command()
@click.argument("paths", metavar="IN.onnx...", nargs=-1, required=True, type=options.model)
@click.option(
    "-o",
    "--output",
    type=options.path,
    metavar="PATH",
    help="A file, a folder, or - for stdout; IN.fused.onnx beside each model if omitted.",
)
@click.option(
    "--report",
    "reports",
    type=options.path,
    multiple=True,
    metavar="PATH",
    help="Write the report to a .html, .json or .md file; for several models, put {name} in the "
    "path where the model's name goes.",
)
@options.rules("Apply only these rules, like conv-scale.")
@options.skip
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
@options.objective
@options.target
@click.option(
    "--verify",
    "level",
    type=click.Choice(get_args(VerifyLevel)),
    show_default="rewrite; model with --inputs",
    help="Check nothing, each rewrite in float64, or the whole model on ONNX Runtime as well.",
)
@options.shapes("Fix sizes of inputs in the result:")
@click.option(
    "--input-shapes",
    "check_shapes",
    type=options.ShapesType(),
    multiple=True,
    callback=options.by_name,
    hidden=True,
)
@options.inputs
@options.fold_limit
@click.option("--dry-run", is_flag=True, help="Show what would be done without writing a model.")
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing, and exit with 1 if a model would change; for CI and pre-commit.",
)
@click.option(
    "--build",
    "builds",
    is_flag=True,
    help="Build the original and the result with TensorRT and compare the engines.",
)
@options.fail_if_worse
@options.as_json
@click.option("-v", "--verbose", count=True, help="List everything; -vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@no_config
def fuse(
    paths: tuple[Path, ...],
    output: Path | None,
    reports: tuple[Path, ...],
    names: tuple[str, ...] | None,
    skip: tuple[str, ...] | None,
    groups: GroupsAs,
    old_groups: Literal["flat", "off"] | None,
    objective: Objective,
    target: str | None,
    level: VerifyLevel | None,
    shapes: dict[str, Any],
    check_shapes: dict[str, Any],
    inputs: tuple[Path, ...],
    fold_limit: int,
    dry_run: bool,
    check: bool,
    builds: bool,
    fail_if_worse: bool,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> int:
    """Fuse models, check them, and report what was fused and what was not.

    IN.onnx is a file, a folder (its .onnx files, except those that trtfuse wrote), or - for stdin.
    """
    if old_groups is not None:
        old = "--flat" if old_groups == "flat" else "--no-groups"
        click.echo(f"trtfuse: {old} is now --groups {old_groups}", err=True)
        groups = old_groups
    if check_shapes:
        click.echo(
            "trtfuse: --input-shapes sets sizes for the check alone; --shapes fixes them in the "
            "result as well",
            err=True,
        )
    several = len(paths) > 1 or is_folder(paths[0])
    check_stdout(output, as_json)
    if check:
        _nothing_to_write(
            output="-o", reports="--report", builds="--build", fail_if_worse="--fail-if-worse"
        )
        output, reports, builds, fail_if_worse, dry_run = None, (), False, False, True
    tasks = _tasks(paths, output, reports, several, dry_run)
    # What is wrong for all of them is said once.
    selected(names, skip or ())
    shared_memory(target)
    if fail_if_worse and not builds and _is_typed("fail_if_worse"):
        raise UsageError("--fail-if-worse needs --build, which tells whether it is worse")
    if builds:
        from trtfuse.engine.backend import find_backend

        find_backend()
    work = _Work(
        {
            "rules": names,
            "skip": skip or (),
            "groups": groups,
            "objective": objective,
            "target": target,
            "verify": level,
            "shapes": shapes,
            "input_shapes": check_shapes or None,
            "inputs": inputs or None,
            "fold_limit": fold_limit,
        },
        builds=builds,
        checks=check,
        fails=fail_if_worse,
        verbose=verbose,
        quiet=quiet,
        silent=quiet or as_json,
        several=several,
        folder=output if several and not dry_run else None,
    )
    if not several:
        done = work.done(tasks[0])
        if as_json and done.report is not None:
            print_json(work.content(tasks[0], done))
        if done.trouble is not None:
            raise done.trouble
        return done.code
    each = [work.attempted(task) for task in tasks]
    if as_json:
        found = [work.content(task, done) for task, done in zip(tasks, each, strict=True)]
        print_all(found, several)
    elif not quiet:
        (_say_changed if check else _table)(tasks, each)
    return max(done.code for done in each)


@dataclass(frozen=True)
class _Task:
    """One model, and where what comes of it goes; no output in a dry run."""

    source: Source
    output: Path | None
    reports: tuple[Path, ...]


@dataclass(frozen=True)
class _Done:
    """What came of a task: its exit code, its report, and what went wrong after that."""

    code: int
    report: Report | None
    trouble: Exception | None = None


@dataclass(frozen=True)
class _Work:
    """What is done to each model.

    Attributes:
        how: what `trtfuse.fuse` is given.
        builds: whether to build the original and the result.
        checks: whether it is only asked whether they would change.
        fails: whether a worse engine is a failure.
        verbose, quiet: as given.
        silent: whether stdout is not for what is said of each.
        several: whether there are several models, which a table then tells of.
        folder: where they are written, if not beside those that they were made of.
    """

    how: dict[str, Any]
    builds: bool
    checks: bool
    fails: bool
    verbose: int
    quiet: bool
    silent: bool
    several: bool = False
    folder: Path | None = None

    def attempted(self, task: _Task) -> _Done:
        """A task of several: what goes wrong in one does not stop the others."""
        try:
            done = self.done(task)
        except Exception as error:  # noqa: BLE001 - told like all others
            done = _Done(2, None, error)
        if done.trouble is not None:
            tell(done.trouble, self.verbose)
        return done

    def done(self, task: _Task) -> _Done:
        """Fuses a model, writes what comes of it, and says so."""
        source, trouble = task.source, None
        name = source.name if self.several else ""
        with shown_progress(self.quiet, name) as progress:
            result = trtfuse.fuse(source.model, **self.how, progress=progress)
        if source.stdin:
            result.report.model = source.name
        result.report.command = shlex.join(["trtfuse", *click.get_current_context().obj])
        if result.ok and self.builds:
            trouble = self._built(source, result)
        worse = self.fails and _is_worse(result.report)
        outputs = list(task.reports)
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
        if result.ok and not worse and task.output is not None:
            with shown_progress(self.quiet, name) as progress:
                if progress is not None:
                    progress("save", 0, 1)
                self._write(result, task.output)
            outputs[:0] = [] if task.output == DASH else [task.output]
        for path in task.reports:
            write_report(result.report, path)
        if not self.silent:
            # The output of `-o -` is the model alone.
            self._say(result, outputs, err=task.output == DASH)
        if not result.ok:
            click.echo(
                f"trtfuse: '{source.name}' and its fused model differ: nothing was written",
                err=True,
            )
        if worse:
            click.echo(
                f"trtfuse: the engine of '{source.name}' is worse: nothing was written", err=True
            )
        changes = self.checks and _would_change(result.report)
        code = 2 if trouble else 1 if changes or worse or not result.ok else 0
        return _Done(code, result.report, trouble)

    def _built(self, source: Source, result: FusionResult) -> TrtfuseError | None:
        """What stops TensorRT; the fused model is as good as before, and is written first."""
        from trtfuse.engine.cause import with_cause

        # Whether the model agrees as a whole is asked once.
        level = "none" if self.how["verify"] == "none" else "rewrite"

        def without(rule: str) -> FusionResult:
            skip = (*self.how["skip"], rule)
            how = {**self.how, "skip": skip, "verify": level, "inputs": None}
            return trtfuse.fuse(source.model, **how)

        try:
            with shown_build(self.quiet) as progress:
                shapes = self.how["shapes"] or self.how["input_shapes"]
                compared = trtfuse.compare(source.model, result, shapes=shapes, progress=progress)
                result.report.engine = with_cause(compared, result.report, without, progress)
        except TrtfuseError as error:
            return error
        return None

    def _write(self, result: FusionResult, output: Path) -> None:
        if output == DASH:
            to_stdout(model_bytes(result.model))
            return
        result.save(output)

    def _say(self, result: FusionResult, outputs: Sequence[Path], err: bool) -> None:
        if self.checks:
            click.echo(_change(result.report))
        if self.verbose or not (self.several or self.checks):
            from rich.console import Console

            from trtfuse.report.terminal import show
            from trtfuse.report.text import summary

            data = result.report.to_dict(details=False)
            show(
                Console(highlight=False, stderr=err),
                summary(data, everything=self.verbose > 0, hint=True),
            )
        for path in outputs:
            say_written(path, err)

    def content(self, task: _Task, done: _Done) -> dict[str, Any]:
        """What JSON has of a model."""
        if done.report is None:
            assert done.trouble is not None
            return failed(task.source, done.trouble)
        if self.checks:
            changes = [fusion.to_dict() for fusion in _changes(done.report)]
            return {
                "model": done.report.model,
                "would_change": _would_change(done.report),
                "fused": changes,
                "also": done.report.also,
            }
        return done.report.to_dict()


def _is_worse(report: Report) -> bool:
    return report.engine is not None and report.engine.verdict.worse


def _changes(report: Report) -> list[Fusion]:
    """What would be done to a model: a group whose nodes stay as they are is no change of it."""
    return [
        fusion for fusion in report.fused if fusion.kind != "group" or fusion.into != fusion.nodes
    ]


def _would_change(report: Report) -> bool:
    return bool(_changes(report) or report.also)


def _change(report: Report) -> str:
    """A line: whether a model would change, and by what."""
    from trtfuse.report.entries import made

    name, changes = printable(report.model), _changes(report)
    if not _would_change(report):
        return f"{name} would not change"
    fused = [made({"fused": [fusion.to_dict() for fusion in changes]})] if changes else []
    return f"{name} would change: {'; '.join([*fused, *report.also])}"


def _say_changed(_: Sequence[_Task], each: Sequence[_Done]) -> None:
    """Tells how many of several models would change."""
    changed = sum(done.report is not None and _would_change(done.report) for done in each)
    failed = sum(done.report is None for done in each)
    end = f", and {failed} cannot be used" if failed else ""
    click.echo(f"\n{changed} of {counted(len(each), 'model')} would change{end}")


def _is_typed(parameter: str) -> bool:
    """Whether an option was typed, rather than taken from pyproject.toml."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.COMMANDLINE


def _nothing_to_write(**options: str) -> None:
    """Refuses options of what `--check` does not do, unless pyproject.toml has them."""
    for parameter, option in options.items():
        if _is_typed(parameter):
            raise UsageError(f"--check writes and builds nothing; leave {option} out")


def _table(tasks: Sequence[_Task], each: Sequence[_Done]) -> None:
    """Tells of all models in one table."""
    from rich.console import Console

    from trtfuse.report.several import table
    from trtfuse.report.terminal import show

    rows = [
        (task.source.name, None if done.report is None else done.report.to_dict(details=False))
        for task, done in zip(tasks, each, strict=True)
    ]
    click.echo()
    show(Console(highlight=False), table(rows))


def _tasks(
    paths: Sequence[Path],
    output: Path | None,
    reports: Sequence[Path],
    several: bool,
    dry_run: bool,
) -> list[_Task]:
    """What is to be done, if none of it is bound to fail."""
    models = sources(paths)
    outputs = [] if dry_run else model_outputs(models, output, several)
    written = report_paths(models, reports, several)
    folder = output if several and not dry_run else None
    if folder is not None and not folder.is_dir():
        # It is made when there is something to write.
        check_writable(folder, *(path for path in written if path.parent != folder))
    else:
        check_writable(*(outputs if output is not None else ()), *written)
    check_apart(models, [*outputs, *written])
    each = len(reports)
    return [
        _Task(
            model,
            None if dry_run else outputs[index],
            tuple(written[index * each : (index + 1) * each]),
        )
        for index, model in enumerate(models)
    ]
