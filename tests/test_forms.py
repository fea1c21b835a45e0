"""onnx's backend tests in forms that files have: nodes backwards, wrong shapes declared.

Each with groups as functions, flat and off, and at two levels of the check. A sample by default;
all of them with TRTFUSE_ALL_MODELS=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import onnx
import pytest
from backend_cases import cases, model_of
from claims import KINDS, with_nodes_backwards, with_open_inputs, with_wrong_claims
from onnx import ModelProto
from onnx.backend.test.case.test_case import TestCase as Case
from test_onnx_backend import (
    INVALID,
    RUNTIMES,
    Data,
    Runtime,
    data_of,
    differences,
    with_constants,
    wrong_in_float64,
)

import trtfuse
from trtfuse.run import GroupsAs, VerifyLevel

EVERY = os.environ.get("TRTFUSE_ALL_MODELS") == "1"
CHUNKS = 24
FORMS = ("as it is", "backwards", *KINDS)
LEVELS: tuple[VerifyLevel, ...] = ("none", "rewrite")
GROUPS: tuple[GroupsAs, ...] = ("flat", "functions", "off")
#: In the sample, one case in so many, and one form of it.
_SAMPLE = 24


def models_of(case: Case) -> Iterator[tuple[ModelProto, list[Data]]]:
    """A case, its inputs fixed and open, and with all inputs but the first turned to constants."""
    model = model_of(case)
    data = data_of(case, model)
    yield model, data
    opened = with_open_inputs(model)
    if opened != model:
        yield opened, data
    if case.kind == "node":
        inputs, outputs = data[0]
        made = with_constants(model, inputs)
        if made is not None:
            given = inputs[: len(made.graph.input)] if made.ir_version >= 4 else inputs[:1]
            yield with_open_inputs(made), [(given, outputs)]


def formed(model: ModelProto, form: str) -> ModelProto | None:
    """The model in a form; None if that is no other."""
    match form:
        case "as it is":
            return model
        case "backwards":
            return with_nodes_backwards(model)
    return with_wrong_claims(model, form)


def results_of(model: ModelProto, seen: list[ModelProto]) -> Iterator[tuple[str, ModelProto]]:
    """What comes of a model at each level and with each form of groups, as far as they differ.

    Args:
        model: a model.
        seen: what came of other forms of it, without a check; to be added to.
    """
    unchecked = None
    for level in LEVELS:
        for groups in GROUPS:
            result = trtfuse.fuse(model, verify=level, groups=groups)
            yield f"{level} {groups}", result.model
            if not result.report.fused:
                # Nothing is there that a check could decline.
                return
            if groups == GROUPS[0]:
                if level == "none" and result.model in seen:
                    # The same was done to another form.
                    return
                if result.model == unchecked:
                    # The check declined nothing, so that what follows it is the same.
                    return
                unchecked = result.model
                seen.append(result.model)
            if all(each.kind == "rewrite" for each in result.report.fused):
                break


def wrong(case: Case, right: ModelProto, data: list[Data], forms: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with what comes of a model in other forms, where it runs in them."""
    invalid = case.name.startswith(INVALID)
    for run in RUNTIMES[1:] if invalid else RUNTIMES:
        try:
            before = [(inputs, run(right, inputs)) for inputs, _ in data]
        except Exception:  # noqa: BLE001 - neither has a type for what it does not take
            continue
        if differences(case, run, right, before) is not None:
            # It draws numbers.
            return
        judged: dict[bytes, str | None] = {}
        seen: list[ModelProto] = []
        for form in forms:
            model = formed(right, form)
            if model is None:
                continue
            how, what = "", None
            try:
                for how, result in results_of(model, seen):
                    content = _without_metadata(result)
                    if content not in judged:
                        judged[content] = difference(case, run, right, result, before)
                    what = judged[content]
                    if what is not None:
                        break
                    if not invalid and not passes(result) and passes(model):
                        yield f"{case.name} {form} {how}: fails ONNX's full check"
            except Exception as error:  # noqa: BLE001 - one that crashes is one that fails
                what = f"{type(error).__name__}: {error}"[:300]
            # The reference implementation runs nothing in another order.
            if what is not None and (form == "backwards" or runs(model, run, data)):
                yield f"{case.name} {form} {how}: {what}"
        return


def difference(
    case: Case, run: Runtime, right: ModelProto, result: ModelProto, before: list[Data]
) -> str | None:
    """What is wrong with a result, also if it does not run."""
    try:
        what = differences(case, run, result, before)
    except Exception as error:  # noqa: BLE001 - neither runtime has a type for it
        return f"{type(error).__name__}: {error}"[:300]
    types = {info.type.tensor_type.elem_type for info in right.graph.output}
    if what is not None and onnx.TensorProto.BFLOAT16 in types:
        return wrong_in_float64(case, right, [inputs for inputs, _ in before])
    return what


def _without_metadata(model: ModelProto) -> bytes:
    """What a runtime reads of a model; that nodes are of a group is nothing to it."""
    made = ModelProto()
    made.CopyFrom(model)
    for node in made.graph.node:
        del node.metadata_props[:]
    return made.SerializeToString(deterministic=True)


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
def test_no_form_changes_what_is_computed(chunk: int) -> None:
    chosen = cases()[chunk::CHUNKS] if EVERY else cases()[::_SAMPLE]
    found: list[str] = []
    for number, case in enumerate(chosen):
        forms = FORMS if EVERY else FORMS[number % len(FORMS) :][:1]
        for right, data in models_of(case):
            found += wrong(case, right, data, forms)
    assert found == []
