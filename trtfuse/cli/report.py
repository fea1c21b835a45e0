"""`trtfuse report`."""

from __future__ import annotations

from pathlib import Path

import click

from trtfuse.cli import options
from trtfuse.cli.config import no_config
from trtfuse.cli.models import DASH, stdin
from trtfuse.cli.output import check_stdout, check_writable, print_json, say_written, to_stdout
from trtfuse.errors import UsageError
from trtfuse.model.saving import same_file, written


@click.command()
@click.argument("source", metavar="R.json", type=options.model)
@click.option(
    "-o",
    "--output",
    type=options.path,
    metavar="PATH",
    help="Where to write, - for stdout; R.html if omitted.",
)
@options.as_json
@click.option("-v", "--verbose", count=True, expose_value=False, help="-vv shows tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@no_config
def report(source: Path, output: Path | None, as_json: bool, quiet: bool) -> int:
    """Turn a JSON report, from this or an older version, into a page.

    R.json may be -, which is stdin.
    """
    from trtfuse.report.page import page
    from trtfuse.report.stored import parsed_report, read_report

    if source == DASH and output is None:
        raise UsageError("a report from stdin has no name; say where to write its page, with -o")
    check_stdout(output, as_json)
    output = output or source.with_suffix(".html")
    check_writable(output)
    if output != DASH and same_file(source, output):
        raise UsageError(f"input and output are both '{output}'; write to another file")
    data = parsed_report(stdin(), "what is on stdin") if source == DASH else read_report(source)
    text = page(data).encode(errors="backslashreplace")
    if output == DASH:
        to_stdout(text)
        return 0
    with written(output) as file:
        file.write(text)
    if as_json:
        print_json({"model": data["model"], "path": str(output)})
    elif not quiet:
        say_written(output)
    return 0
