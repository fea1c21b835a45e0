"""Files that cannot be written: said in one line, with nothing half written."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from command_line import Run, refused


def test_a_folder_or_a_missing_folder_cannot_be_written_to(folder: Path, run: Run) -> None:
    (folder / "r.json").mkdir()
    said = refused(run, "fuse", "m.onnx", "--report", "r.json")
    assert said == "cannot write 'r.json': it is a folder"
    assert refused(run, "fuse", "m.onnx", "-o", "no/o.onnx") == (
        "cannot write 'no/o.onnx': there is no folder 'no'"
    )
    assert refused(run, "fuse", "m.onnx", "--report", "no/r.json") == (
        "cannot write 'no/r.json': there is no folder 'no'"
    )
    assert refused(run, "fuse", "m.onnx", "-o", "m.onnx/o.onnx") == (
        "cannot write 'm.onnx/o.onnx': there is no folder 'm.onnx'"
    )


def test_a_name_that_is_too_long_cannot_be_written_to(run: Run) -> None:
    name = "x" * 300
    said = refused(run, "fuse", "m.onnx", "-o", name)
    assert said.endswith(f" '{name}': File name too long")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission_cannot_be_written_to(folder: Path, run: Run) -> None:
    (folder / "sub").mkdir()
    (folder / "sub").chmod(0o500)
    assert refused(run, "fuse", "m.onnx", "-o", "sub/o.onnx") == (
        "cannot write 'sub/o.onnx': Permission denied"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_pipe_or_a_device_is_not_replaced_by_a_file(folder: Path, run: Run, option: str) -> None:
    os.mkfifo(folder / "pipe.json")
    said = refused(run, "fuse", "m.onnx", option, "pipe.json")
    assert said.startswith("cannot write 'pipe.json': ")
    assert stat.S_ISFIFO((folder / "pipe.json").stat().st_mode)


def test_the_model_is_not_written_over_itself(folder: Path, run: Run) -> None:
    (folder / "link.onnx").symlink_to("m.onnx")
    (folder / "hard.onnx").hardlink_to(folder / "m.onnx")
    (folder / "sub").mkdir()
    for source, output in (
        ("m.onnx", "m.onnx"),
        ("m.onnx", "./sub/../m.onnx"),
        ("m.onnx", "link.onnx"),
        ("link.onnx", "m.onnx"),
        ("m.onnx", "hard.onnx"),
    ):
        assert refused(run, "fuse", source, "-o", output) == (
            f"input and output are both '{Path(output)}'; write to another file"
        )


@pytest.mark.parametrize("suffix", [".json", ".md"])
def test_a_report_is_not_written_over_a_model(folder: Path, run: Run, suffix: str) -> None:
    (folder / "m.onnx").rename(folder / f"m{suffix}")
    assert f"'m{suffix}'" in refused(run, "fuse", f"m{suffix}", "--report", f"m{suffix}")
    said = refused(run, "fuse", f"m{suffix}", "-o", f"o{suffix}", "--report", f"o{suffix}")
    assert said == "two outputs have the same path; give each its own"


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_full_disk_leaves_no_file(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (folder / "o.json").write_bytes(b"old")
    arguments = ["--dry-run"] if option == "--report" else []
    assert refused(run, "fuse", "m.onnx", option, "o.json", *arguments) == (
        "cannot write 'o.json': No space left on device"
    )


def test_a_name_that_is_no_text_is_still_a_file(folder: Path, run: Run) -> None:
    name = os.fsdecode(b"\xff.onnx")
    try:
        (folder / "m.onnx").rename(folder / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    reports = ("--report", "r.json", "--report", "r.md")
    ran = run("fuse", name, *reports, "-o", "o.onnx", "--groups", "off")
    assert (ran.code, ran.err) == (0, "")
    assert len(json.loads((folder / "r.json").read_text(encoding="utf-8"))["fused"]) == 1
    assert (folder / "r.md").read_text(encoding="utf-8").startswith("# ")
