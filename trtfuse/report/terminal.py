"""What the other modules of this room print with: lines that are neither broken nor cropped."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.text import Text

from trtfuse.report.wording import printable


def line(text: str, style: str = "") -> Text:
    """A line with names in it."""
    return Text(printable(text), style, no_wrap=True, overflow="ignore")


def show(console: Console, content: RenderableType) -> None:
    """Prints something without breaking or cropping its lines."""
    console.print(content, soft_wrap=True)


def plain(content: RenderableType) -> str:
    """The same as plain text."""
    file = io.StringIO()
    show(Console(file=file, width=100, color_system=None), content)
    return "\n".join(written.rstrip() for written in file.getvalue().splitlines())
