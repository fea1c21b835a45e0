"""Compute capabilities, however they are spelled."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtfuse
from trtfuse.errors import UsageError
from trtfuse.groups.target import capability, shared_memory

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (8.9, "8.9"),
        ("8.9", "8.9"),
        ("sm_89", "8.9"),
        ("SM89", "8.9"),
        ("89", "8.9"),
        ("compute_120", "12.0"),
        (10.0, "10.0"),
        ("sm_90a", "9.0"),
        ("ada", "ada"),
    ],
)
def test_every_spelling_is_one_capability(given: str | float, read: str) -> None:
    assert capability(given) == read


def test_memory_goes_by_any_spelling() -> None:
    assert shared_memory(8.0) == shared_memory("sm_80") == 163 * 1024
    with pytest.raises(UsageError, match="unknown target 'sm_61'; the compute capabilities are 7"):
        shared_memory("sm_61")


@pytest.mark.parametrize("target", [8.9, "8.9", "sm_89"])
def test_fuse_and_explain_take_any_spelling(target: str | float) -> None:
    assert trtfuse.fuse(DIGITS, target=target).report.options["target"] == "8.9"
    assert trtfuse.explain(DIGITS, target=target).notes == []
