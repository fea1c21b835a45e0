"""How far the work is, on stderr, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trtfuse.progress import Progress
from trtfuse.report.wording import printable

#: The stages in plain English; whatever else there may be is shown as it is called.
_TITLES = {
    "read": "Reading",
    "rewrite": "Rewriting",
    "load": "Checking that runtimes load it",
    "group": "Finding groups",
    "write": "Putting the model together",
    "verify": "Comparing both models",
    "ask": "Asking TensorRT",
    "save": "Saving",
}


@contextmanager
def shown_progress(quiet: bool, name: str = "") -> Iterator[Progress | None]:
    """What is being done, and how far it is, on stderr if that is a terminal.

    The display goes on turning where a stage takes its time without a word.

    Args:
        quiet: whether to show nothing.
        name: the model, where there are several.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[share]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        # One line, with the time since the start.
        task = bars.add_task("", total=None, share="")

        def show(stage: str, done: int, total: int) -> None:
            title = _TITLES.get(stage, stage)
            many = total > 1
            # None in an update would leave the total of the stage before.
            bars.tasks[0].total = total if many else None
            bars.update(
                task,
                description=escape(f"{printable(name)}: {title}" if name else title),
                completed=done,
                share=f"{done / total:.0%}" if many else "",
            )

        yield show


@contextmanager
def shown_build(quiet: bool) -> Iterator[Progress | None]:
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
