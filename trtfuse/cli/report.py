"""`trtfuse report`."""

from __future__ import annotations

from pathlib import Path

import click

from trtfuse.cli import options
from trtfuse.cli.output import check_writable
from trtfuse.errors import UsageError
from trtfuse.model.saving import same_file, written


@click.command()
@click.argument("source", metavar="R.json", type=options.path)
@click.option("-o", "--output", type=options.path, help="Where to write; R.html if left out.")
@click.option("-v", "--verbose", count=True, expose_value=False, help="-vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def report(source: Path, output: Path | None, quiet: bool) -> int:
    """Make a page of a report that was written as JSON, by this version or an older one."""
    from trtfuse.report.page import page
    from trtfuse.report.stored import read_report

    output = output or source.with_suffix(".html")
    check_writable(output)
    if same_file(source, output):
        raise UsageError(f"input and output are both '{output}'; write to another file")
    text = page(read_report(source))
    with written(output) as file:
        file.write(text.encode(errors="backslashreplace"))
    if not quiet:
        from trtfuse.report.wording import printable

        click.echo(f"wrote {printable(str(output))}")
    return 0
