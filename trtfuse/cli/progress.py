"""How far the work is, on stderr, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trtfuse.progress import Progress


@contextmanager
def shown_progress(quiet: bool) -> Iterator[Progress | None]:
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
