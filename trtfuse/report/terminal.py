"""What the other modules of this room print with: lines that are neither broken nor cropped."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from trtfuse.report.wording import printable


def line(text: str, style: str = "") -> Text:
    """A line with names in it."""
    return Text(printable(text), style, no_wrap=True, overflow="ignore")


#: A line of a summary is at most so long.
_WIDEST = 100


def shortened(text: str, most: int = _WIDEST) -> str:
    """The beginning of a line that would go on forever, for where all of it can be asked for."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def listed(texts: Sequence[str], everything: bool, most: int, indent: str = "  ") -> Iterator[Text]:
    """Lines, the first few unless all are asked for, and then how many more there are.

    Args:
        texts: a line each.
        everything: whether all are asked for.
        most: how many are shown else.
        indent: what each line begins with.
    """
    shown = texts if everything else texts[:most]
    yield from (line(f"{indent}{text}") for text in shown)
    if len(texts) > len(shown):
        yield line(f"{indent}and {len(texts) - len(shown)} more", "dim")


def show(console: Console, content: RenderableType) -> None:
    """Prints something without breaking or cropping its lines."""
    console.print(content, soft_wrap=True)


def plain(content: RenderableType) -> str:
    """The same as plain text."""
    file = io.StringIO()
    show(Console(file=file, width=100, color_system=None), content)
    return "\n".join(written.rstrip() for written in file.getvalue().splitlines())
