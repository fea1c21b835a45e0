"""Fixtures of the command line: a working folder with a model in it, and runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from command_line import CONV, Ran, Run

import trtfuse
from trtfuse.cli import main
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model m.onnx in it."""
    monkeypatch.chdir(tmp_path)
    onnx.save(CONV, tmp_path / "m.onnx")
    return tmp_path


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in the working folder."""

    def ran(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, *capfd.readouterr())

    return ran


@pytest.fixture
def wrong_rule() -> Iterator[str]:
    """A rule that is wrong beyond a million, which no check of one rewrite draws."""

    @trtfuse.rule("clip-is-identity", op.Clip(var("x"), var("low"), var("high")))
    def clip_is_identity(m: Match, _: Replacement) -> Value:
        """min(max(x, low), high)  ==  x"""
        x: Value = m["x"]
        return x

    yield clip_is_identity.name
    del CATALOGUE[clip_is_identity.name]
