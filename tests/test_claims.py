"""onnx's backend tests with wrong shapes declared for what they compute: none may be believed.

A sample by default; all of them with TRTFUSE_ALL_CLAIMS=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import onnx
import pytest
from backend_cases import cases, model_of
from claims import KINDS, with_open_inputs, with_wrong_claims
from onnx import ModelProto
from onnx.backend.test.case.test_case import TestCase as Case
from test_onnx_backend import INVALID, RUNTIMES, Data, Runtime, data_of, differences, with_constants

import trtfuse
from trtfuse.pipeline import VerifyLevel

EVERY = os.environ.get("TRTFUSE_ALL_CLAIMS") == "1"
CHUNKS = 24
#: In the sample, one case in so many, and one kind of claims.
_SAMPLE = 24
LEVELS: tuple[VerifyLevel, ...] = ("none", "rewrite")


def models_of(case: Case) -> Iterator[tuple[ModelProto, list[Data]]]:
    """A case, its inputs fixed and open, and with all inputs but the first turned to constants."""
    model = model_of(case)
    data = data_of(case, model)
    yield model, data
    yield with_open_inputs(model), data
    if case.kind == "node":
        inputs, outputs = data[0]
        made = with_constants(model, inputs)
        if made is not None:
            given = inputs[: len(made.graph.input)] if made.ir_version >= 4 else inputs[:1]
            yield with_open_inputs(made), [(given, outputs)]


def wrong(case: Case, right: ModelProto, data: list[Data], kinds: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with what comes of a model with wrong claims, where it runs with them."""
    invalid = case.name.startswith(INVALID)
    for run in RUNTIMES[1:] if invalid else RUNTIMES:
        try:
            before = [(inputs, run(right, inputs)) for inputs, _ in data]
        except Exception:  # noqa: BLE001 - neither has a type for what it does not take
            continue
        if differences(case, run, right, before) is not None:
            # It draws numbers.
            return
        for kind in kinds:
            model = with_wrong_claims(right, kind)
            if model is None:
                continue
            for level in LEVELS:
                what = None
                try:
                    result = trtfuse.fuse(model, verify=level, groups="off").model
                    what = differences(case, run, result, before)
                except Exception as error:  # noqa: BLE001 - one that crashes is one that fails
                    what = f"{type(error).__name__}: {error}"[:300]
                if what is not None and runs(model, run, data):
                    yield f"{case.name} {kind} {level}: {what}"
                elif what is None and not invalid and not passes(result) and passes(model):
                    yield f"{case.name} {kind} {level}: fails ONNX's full check"
        return


def runs(model: ModelProto, run: Runtime, data: list[Data]) -> bool:
    try:
        for inputs, _ in data:
            run(model, inputs)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def passes(model: ModelProto) -> bool:
    """Whether a model passes ONNX's full check."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


@pytest.mark.parametrize("chunk", range(CHUNKS if EVERY else 1))
def test_no_claim_changes_what_is_computed(chunk: int) -> None:
    chosen = cases()[chunk::CHUNKS] if EVERY else cases()[::_SAMPLE]
    found: list[str] = []
    for number, case in enumerate(chosen):
        kinds = KINDS if EVERY else KINDS[number % len(KINDS) :][:1]
        for right, data in models_of(case):
            found += wrong(case, right, data, kinds)
    assert found == []
