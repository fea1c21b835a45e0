"""How far the work is, for who waits for it."""

from __future__ import annotations

import functools
from collections.abc import Callable

#: Called with a stage, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


#: Called with how much of a stage is done, and of how much.
Steps = Callable[[int, int], None]


def staged(progress: Progress | None, stage: str) -> Steps | None:
    """What a stage tells how far it is."""
    return None if progress is None else functools.partial(progress, stage)
