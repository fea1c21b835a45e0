"""Over whole drawn graphs: fused and original agree, and what the fusion promises holds.

The fusion goes unchecked, so that no check can hide a rule that is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from graphs import Drawn, graphs
from hypothesis import given, settings
from models import Array, declined
from onnx import ModelProto
from oracle import widened
from reference import Reference, expected, outputs

import trtfuse

#: How far two spellings may be apart, relative to what rounding does to the original.
TOLERANCE = 1e-10
#: The same where weights were rounded to float32, of which some numbers are read as others.
OF_FLOAT32 = 2.0**-16


def some(times: float) -> settings:
    """So many times as many examples as the profile has."""
    return settings(max_examples=int(times * settings().max_examples))


def wide(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }


def wrong(
    original: Sequence[tuple[Array, Array]], found: Sequence[Array], tolerance: float, floor: float
) -> str | None:
    """Where the found outputs are not the original ones."""
    if len(original) != len(found):
        return f"{len(found)} outputs, not {len(original)}"
    for index, ((old, size), new) in enumerate(zip(original, found, strict=True)):
        if old.shape != new.shape:
            return f"output {index} has shape {new.shape}, not {old.shape}"
        finite = np.isfinite(old) & np.isfinite(size)
        if not np.isfinite(new[finite]).all():
            return f"output {index} is not finite"
        if not finite.any():
            continue
        allowed = size[finite] + floor * size[finite].max() + 1e-300
        error = float((np.abs(new[finite] - old[finite]) / allowed).max())
        if error > tolerance:
            return f"output {index} is off by {error:.3g}"
    return None


def assert_same(drawn: Drawn, before: ModelProto, after: ModelProto, tolerance: float) -> None:
    """Both models compute the same in float64."""
    old, new = widened(before), widened(after)
    floor = 1e-12 if tolerance == TOLERANCE else 1e-3
    for feeds in drawn.feeds:
        given = wide(feeds)
        found = outputs(new, given, Reference)
        assert wrong(expected(old, given), found, tolerance, floor) is None


def assert_stable(model: ModelProto) -> None:
    """The result is valid, and a second run changes nothing."""
    onnx.checker.check_model(model, full_check=True)
    again = trtfuse.fuse(model, verify="none")
    assert [(each.rule, each.name) for each in again.report.fused] == []
    assert again.model.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


@some(2)
@given(graphs())
def test_guards_alone_keep_whole_graphs_exact(drawn: Drawn) -> None:
    before = widened(drawn.model)
    after = trtfuse.fuse(before, verify="none").model
    assert_same(drawn, before, after, TOLERANCE)
    assert_stable(after)


@some(2)
@given(graphs())
def test_graphs_of_float32_agree_to_its_rounding(drawn: Drawn) -> None:
    after = trtfuse.fuse(drawn.model, verify="none").model
    assert_same(drawn, drawn.model, after, OF_FLOAT32)
    assert_stable(after)


@some(1)
@given(graphs())
def test_the_check_refuses_nothing_in_whole_graphs(drawn: Drawn) -> None:
    checked = trtfuse.fuse(drawn.model, verify="rewrite")
    assert [each for each in declined(checked) if each[2] == "check"] == []
    assert checked.model == trtfuse.fuse(drawn.model, verify="none").model
