"""What is said of an error: one line on stderr, and a traceback only where it is asked for."""

from __future__ import annotations

import traceback

import click

from trtfuse.errors import EngineError, InternalError, TrtfuseError, internal, one_line


def tell(error: Exception, verbose: int) -> None:
    """Says an error on stderr.

    Args:
        error: whatever was raised.
        verbose: how often -v was given: once lists the nodes that TensorRT cannot take, twice shows
            the traceback.
    """
    if verbose > 1:
        traceback.print_exception(error)
    if verbose and isinstance(error, EngineError):
        for node in error.unsupported:
            click.echo(f"  {one_line_of(node)}", err=True)
    click.echo(f"trtfuse: {sentence(error)}", err=True)


def sentence(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return "no command; `trtfuse --help` lists them"
    if isinstance(error, OSError):
        return f"cannot use '{error.filename or 'stdout'}': {error.strerror}"
    if isinstance(error, click.ClickException):
        return one_line_of(error.format_message())
    if isinstance(error, InternalError):
        return f"{one_line(error)} (-vv shows where)"
    if isinstance(error, TrtfuseError):
        return one_line(error)
    return f"{one_line(internal(error))} (-vv shows where)"


def one_line_of(text: object) -> str:
    """A text without its line breaks."""
    return " ".join(str(text).split())
