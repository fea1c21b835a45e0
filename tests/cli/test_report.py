"""`trtfuse report`: pages of reports that were written before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Run, refused


def test_a_report_may_be_a_page(folder: Path, run: Run) -> None:
    assert run("fuse", "m.onnx", "--report", "r.html", "--report", "r.json", "-q").code == 0
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "3 nodes became 2 by 1 fusion" in page
    # The same page comes of the JSON.
    ran = run("report", "r.json", "-o", "again.html")
    assert (ran.code, ran.out, ran.err) == (0, "wrote again.html\n", "")
    assert (folder / "again.html").read_text(encoding="utf-8") == page


def test_a_report_of_an_older_version_still_has_a_page(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "-q")
    data = json.loads((folder / "r.json").read_text(encoding="utf-8"))
    plain = ("schema", "model", "before", "after", "fused", "declined", "verification")
    old = {key: data[key] for key in plain}
    kept = ("rule", "kind", "name", "nodes", "operators", "into", "error")
    old["fused"] = [{key: entry[key] for key in kept} for entry in old["fused"]]
    (folder / "old.json").write_text(json.dumps(old), encoding="utf-8")
    assert run("report", "old.json", "-q").out == ""
    assert "3 nodes became 2" in (folder / "old.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "'r.json' is not JSON; `trtfuse fuse --report R.json` writes it"),
        ("[]", "'r.json' is not a trtfuse report; `--report R.json` writes one"),
        ('{"schema": 1}', "'r.json' is not a trtfuse report; `--report R.json` writes one"),
        (
            '{"schema": "trtfuse.report/9"}',
            "'r.json' is of the schema trtfuse.report/9; this version reads trtfuse.report/1",
        ),
        (
            '{"schema": "trtfuse.report/1", "model": "m"}',
            "'r.json' is not a complete report: it has no 'before'",
        ),
        (
            '{"schema": "trtfuse.report/1", "model": "m", "before": {"nodes": 1}}',
            "'r.json' is not a complete report: an entry of 'before' has no 'operators'",
        ),
    ],
)
def test_what_is_no_report_has_no_page(folder: Path, run: Run, content: str, said: str) -> None:
    (folder / "r.json").write_text(content, encoding="utf-8")
    assert refused(run, "report", "r.json") == said


def test_a_page_is_not_written_over_its_report(folder: Path, run: Run) -> None:
    run("fuse", "m.onnx", "--report", "r.json", "-q")
    assert refused(run, "report", "r.json", "-o", "r.json").startswith("input and output are both")
    assert refused(run, "report", "none.json").startswith("cannot read 'none.json'")
