"""What a report says of files: sizes before and after, and the hash of what was written."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import model

import trtfuse
from trtfuse.check.model import Verification
from trtfuse.report.entries import file_sizes, in_words
from trtfuse.result.model_file import DataFile, OriginalFile, OutputFile
from trtfuse.result.report import Census, Fusion, Report

MATMUL = model(
    "(float[2,32] x) => (float[2,32] y) { [product] t = MatMul(x, w) [scale] y = Mul(t, s) }",
    w=np.ones((32, 32), np.float32),
    s=np.full(32, 2, np.float32),
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_was_written_is_known_by_its_hash(tmp_path: Path) -> None:
    onnx.save(MATMUL, tmp_path / "m.onnx")
    result = trtfuse.fuse(tmp_path / "m.onnx")
    size = (tmp_path / "m.onnx").stat().st_size
    assert result.report.original == OriginalFile(str(tmp_path / "m.onnx"), size)
    assert result.report.output is None
    result.save(tmp_path / "f.onnx")
    written = tmp_path / "f.onnx"
    assert result.report.output == OutputFile(
        str(written), written.stat().st_size, digest(written), None
    )
    assert f"SHA-256 {digest(written)}" in result.report.to_markdown()


def test_weights_beside_the_model_count(tmp_path: Path) -> None:
    path, weights = tmp_path / "m.onnx", tmp_path / "w"
    # It changes what it is given.
    onnx.save(
        copy.deepcopy(MATMUL), path, save_as_external_data=True, location="w", size_threshold=64
    )
    result = trtfuse.fuse(path, rules=["identity"])
    assert result.report.original is not None
    assert result.report.original.bytes == path.stat().st_size + weights.stat().st_size
    result.save(tmp_path / "f.onnx")
    beside = tmp_path / "f.onnx.data"
    output = result.report.output
    assert output is not None
    assert output.data == DataFile(str(beside), beside.stat().st_size, digest(beside))
    assert output.bytes == (tmp_path / "f.onnx").stat().st_size + beside.stat().st_size


def test_of_a_model_that_was_never_a_file_nothing_is_said() -> None:
    report = trtfuse.fuse(MATMUL).report
    assert (report.original, report.output) == (None, None)
    assert OriginalFile.of(Path("gone.onnx"), ()) is None


MB = 10**6


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (80_000, 38 * MB, "The file grows from 80 kB to 38 MB."),
        (38 * MB, 80_000, "The file shrinks from 38 MB to 80 kB."),
        (80_000, 1_080_000, ""),
        (100 * MB, 109 * MB, ""),
        (100 * MB, 111 * MB, "The file grows from 100 MB to 111 MB."),
    ],
)
def test_a_file_that_changes_by_much_is_told_of(before: int, after: int, said: str) -> None:
    census = Census(1, {"Relu": 1})
    report = Report("m.onnx", census, census, [], [], Verification("none"))
    report.original, report.output = (
        OriginalFile("m.onnx", before),
        OutputFile("f.onnx", after, "0" * 64, None),
    )
    assert file_sizes(report.to_dict()) == said
    assert str(report).splitlines()[1].strip() == said
    if after > before and said:
        report.fused = [Fusion("fold-constants", "rewrite", "a", ["a"], ["Exp"], [], None)]
        assert file_sizes(report.to_dict()) == (
            f"{said[:-1]}; constants were folded, and --fold-limit says how far."
        )


def test_options_are_told_by_the_shorter_list() -> None:
    told = trtfuse.fuse(MATMUL, skip=["fc-scale"], verify="none", seed=3).report.options
    assert (told["skip"], told["verify"], told["seed"]) == (["fc-scale"], "none", 3)
    assert "rules" not in told
    told = trtfuse.fuse(MATMUL, rules=["fc-scale"]).report.options
    assert told["rules"] == ["fc-scale"]
    assert "skip" not in told


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["a", "b"], "a, b"),
        ({"x": [1, None], "k": [2], "batch": 4}, "x:1x?, k:2, batch=4"),
        ("safe", "safe"),
        (65536, "65536"),
    ],
)
def test_options_in_words(value: object, words: str) -> None:
    assert in_words(value) == words
