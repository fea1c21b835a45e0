"""Files that commands write."""

from __future__ import annotations

from pathlib import Path

from trtfuse.errors import UsageError
from trtfuse.model.saving import written
from trtfuse.result.report import Report

REPORT_SUFFIXES = (".html", ".json", ".md")


def check_writable(*paths: Path) -> None:
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


def write_report(report: Report, path: Path) -> None:
    """Writes a report as the suffix of its file says."""
    writers = {".html": report.to_html, ".json": report.to_json, ".md": report.to_markdown}
    text = writers[path.suffix]()
    with written(path) as file:
        file.write(text.encode(errors="backslashreplace"))
