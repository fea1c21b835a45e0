"""Over whole drawn graphs: fused and original agree, and what the fusion promises holds.

The fusion goes unchecked, so that no check can hide a rule that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from graphs import OPSETS, Drawn, graphs
from hypothesis import assume, given, settings
from models import Array, declined
from onnx import ModelProto
from oracle import widened
from reference import Reference, expected, outputs

import trtfuse
from trtfuse.model.model import Objective

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


def errors(
    original: Sequence[tuple[Array, Array]], found: Sequence[Array], floor: float
) -> list[float]:
    """How far each output is off, relative to what rounding does to the original.

    Numbers below a fraction `floor` of the largest are held against that.
    """
    assert [old.shape for old, _ in original] == [new.shape for new in found]
    return [off_by(old, size, new, floor) for (old, size), new in zip(original, found, strict=True)]


def off_by(old: Array, size: Array, new: Array, floor: float) -> float:
    finite = np.isfinite(old) & np.isfinite(size)
    if not finite.any():
        return 0.0
    if not np.isfinite(new[finite]).all():
        return math.inf
    allowed = size[finite] + floor * size[finite].max() + 1e-300
    return float((np.abs(new[finite] - old[finite]) / allowed).max())


def assert_same(drawn: Drawn, before: ModelProto, after: ModelProto, tolerance: float) -> None:
    """Both models compute the same in float64."""
    old, new = widened(before), widened(after)
    floor = 1e-12 if tolerance == TOLERANCE else 1e-3
    for feeds in drawn.feeds:
        given = wide(feeds)
        found = outputs(new, given, Reference)
        assert max(errors(expected(old, given), found, floor)) <= tolerance


def assert_stable(model: ModelProto, objective: Objective = "safe") -> None:
    """The result is valid, and a second run changes nothing."""
    onnx.checker.check_model(model, full_check=True)
    again = trtfuse.fuse(model, objective=objective, verify="none")
    rewrites = [each for each in again.report.fused if each.kind == "rewrite"]
    assert [(each.rule, each.name) for each in rewrites] == []
    assert again.model.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )


@some(2)
@given(graphs())
def test_guards_alone_keep_whole_graphs_exact(drawn: Drawn) -> None:
    before = widened(drawn.model)
    after = trtfuse.fuse(before, objective="graph", verify="none").model
    assert_same(drawn, before, after, TOLERANCE)
    assert_stable(after, "graph")


@some(2)
@given(graphs())
def test_graphs_of_float32_agree_to_its_rounding(drawn: Drawn) -> None:
    after = trtfuse.fuse(drawn.model, verify="none").model
    assert_same(drawn, drawn.model, after, OF_FLOAT32)
    assert_stable(after)


@some(1)
@given(graphs())
def test_the_check_refuses_nothing_in_whole_graphs(drawn: Drawn) -> None:
    checked = trtfuse.fuse(drawn.model, objective="graph", verify="rewrite")
    assert [each for each in declined(checked) if each[2] == "check"] == []
    assert checked.model == trtfuse.fuse(drawn.model, objective="graph", verify="none").model


def on_onnx_runtime(model: ModelProto, drawn: Drawn) -> list[list[Array]]:
    """The outputs in each run, with none of ONNX Runtime's own optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    names = [each.name for each in session.get_inputs()]
    return [session.run(None, {name: feeds[name] for name in names}) for feeds in drawn.feeds]


def runs(model: ModelProto, drawn: Drawn) -> bool:
    try:
        on_onnx_runtime(model, drawn)
    except Exception:  # noqa: BLE001 - ONNX Runtime raises types of its own
        return False
    return True


@some(1)
@given(graphs(opsets=[opset for opset in OPSETS if opset <= 23], same_names=False))
def test_what_onnx_runtime_runs_it_runs_fused_to_the_same_end(drawn: Drawn) -> None:
    assume(runs(drawn.model, drawn))
    after = trtfuse.fuse(drawn.model, verify="none").model
    found = on_onnx_runtime(drawn.model, drawn), on_onnx_runtime(after, drawn)
    for feeds, old, new in zip(drawn.feeds, *found, strict=True):
        meant = expected(widened(drawn.model), wide(feeds))
        # Its Sigmoid, Tanh and Erf are approximations, off by more than one rounding.
        for before, now in zip(errors(meant, old, 1e-3), errors(meant, new, 1e-3), strict=True):
            assert now <= max(OF_FLOAT32, 8 * before)
