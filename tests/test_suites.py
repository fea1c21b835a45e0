"""Models of the kinds that the suites of other optimizers try: none wrong, none refused.

Each in one of its forms by default; in all of them with TRTFUSE_ALL_MODELS=1.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from fuzz.comparing import agrees
from fuzz.feeds import feeds
from fuzz.judge import session
from fuzz.structure import replace_nodes
from onnx import ModelProto
from suites import SUITES, suite_model

import trtfuse
from trtfuse.run import GroupsAs, VerifyLevel

EVERY = os.environ.get("TRTFUSE_ALL_MODELS") == "1"
LEVELS: tuple[VerifyLevel, ...] = ("none", "rewrite")
GROUPS: tuple[GroupsAs, ...] = ("off", "flat", "functions")

#: Inputs of a model, and what it computes of them, twice.
Run = tuple[dict[str, Any], list[Any], list[Any]]


@functools.cache
def runs_of(name: str) -> list[Run]:
    """Two runs of the model of a name, on ONNX Runtime."""
    loaded = session(suite_model(name).SerializeToString())
    runs: list[Run] = []
    for given in feeds(loaded.get_inputs(), (), np.random.default_rng(0)):
        try:
            runs.append((given, loaded.run(None, given), loaded.run(None, given)))
        except Exception:  # noqa: BLE001 - sizes that do not go together
            continue
        if len(runs) == 2:
            break
    assert runs, "it runs on nothing"
    return runs


def wrong(name: str, result: ModelProto) -> str | None:
    """What is wrong with what came of the model of a name, on ONNX Runtime."""
    after = session(result.SerializeToString())
    for given, outputs, again in runs_of(name):
        difference = agrees(
            outputs,
            functools.partial(list, again),
            after.run(None, given),
            suite_model(name),
            given,
            lambda moved: session(moved.SerializeToString()),
        )
        if difference is not None:
            return str(difference)
    return None


# As other tools write the same models


def unnamed(model: ModelProto) -> None:
    """Without a name of the graph, and with no shapes of outputs."""
    model.graph.name = ""
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")


def shapeless(model: ModelProto) -> None:
    """With no shapes of inputs and outputs, as GraphSurgeon writes a graph that has none."""
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")


def unsorted(model: ModelProto) -> None:
    """Nodes in no order, as graph editors leave them."""
    nodes = list(model.graph.node)
    Random(0).shuffle(nodes)
    replace_nodes(model.graph, nodes)


def of_ir_3(model: ModelProto) -> None:
    """IR 3, whose initializers need not be inputs for ONNX Runtime."""
    model.ir_version = 3


def imported_twice(model: ModelProto) -> None:
    """Both spellings of the default domain, and a domain that nothing is of."""
    version = model.opset_import[0].version
    model.opset_import.add(domain="ai.onnx", version=version)
    model.opset_import.add(domain="com.example", version=1)


def claimed(model: ModelProto) -> None:
    """With value_info that says of every computed value that it has the batch of 7."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for info in inferred.graph.value_info:
        for dim in info.type.tensor_type.shape.dim[:1]:
            dim.dim_value = 7
    model.graph.value_info.extend(inferred.graph.value_info)


FORMS: dict[str, Callable[[ModelProto], None]] = {
    form.__name__: form for form in (unnamed, shapeless, unsorted, of_ir_3, imported_twice, claimed)
}


def spelled_as(name: str, form: str) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(suite_model(name))
    FORMS[form](model)
    return model


def test_there_are_enough() -> None:
    assert len(SUITES) >= 250


@pytest.mark.parametrize("name", SUITES)
def test_every_level_and_form_of_groups_is_right(name: str) -> None:
    model = suite_model(name)
    onnx.checker.check_model(model, full_check=True)
    judged: list[ModelProto] = []
    for level, groups in itertools.product(LEVELS, GROUPS):
        result = trtfuse.fuse(model, verify=level, groups=groups)
        assert result.ok
        if result.model not in judged:
            onnx.checker.check_model(result.model, full_check=True)
            assert wrong(name, result.model) is None, (level, groups)
            judged.append(result.model)


def _with_forms() -> list[tuple[str, str]]:
    if EVERY:
        return list(itertools.product(SUITES, FORMS))
    return list(zip(SUITES, itertools.cycle(FORMS), strict=False))


@pytest.mark.parametrize(("name", "form"), _with_forms())
def test_what_onnx_runtime_loads_is_taken_in_every_form(name: str, form: str) -> None:
    model = spelled_as(name, form)
    try:
        session(model.SerializeToString())
    except Exception:  # noqa: BLE001 - ONNX Runtime raises types of its own
        pytest.skip("ONNX Runtime does not load it")
    result = trtfuse.fuse(model, verify="none", groups="flat")
    assert wrong(name, result.model) is None
