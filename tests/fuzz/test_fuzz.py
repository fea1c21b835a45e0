"""Some hundred mutants, and that the fuzzer sees what it is there for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import trtfuse

from . import judge as judging
from .corpus import Corpus, Seed, corpus
from .judge import Verdict, judge
from .making import Made, make
from .mutation import MUTATIONS
from .processes import outcomes

MUTANTS = 200


@pytest.fixture(scope="module")
def small() -> Corpus:
    return corpus(drawn=12, cases=False)


def judged(model: ModelProto, folder: Path, **options: Any) -> Verdict:
    content = model.SerializeToString()
    kept = {"groups": "off", "verify": "none", "given": "bytes"} | options
    made = Made(0, Seed("test/model", model), (), content, {}, **kept)
    return judge(made, folder, lambda name: None)


def scaled() -> ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Mul", ["a", "s"], ["b"]),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        "scaled",
        [helper.make_tensor_value_info("x", 1, ["n", 2])],
        [helper.make_tensor_value_info("y", 1, ["n", 2])],
        [
            numpy_helper.from_array(np.float32([[1, 2], [3, 4]]), "w"),
            numpy_helper.from_array(np.float32([2, 3]), "s"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_mutant_is_made_from_its_number_alone(small: Corpus) -> None:
    for number in range(30):
        one, other = make(number, small), make(number, small)
        assert (one.content, one.files, one.mutations) == (
            other.content,
            other.files,
            other.mutations,
        )
    assert len({make(number, small).content for number in range(30)}) > 25


def test_a_mutation_that_is_left_out_leaves_the_others_as_they_are(small: Corpus) -> None:
    whole = next(m for n in range(99) if len((m := make(n, small)).mutations) == 2)
    assert make(whole.number, small, ()).mutations == ()
    assert make(whole.number, small, (0,)).mutations == whole.mutations[:1]


def test_every_mutation_changes_something(small: Corpus) -> None:
    made = Counter(
        mutation.split(":")[0]
        for number in range(3500)
        for mutation in make(number, small).mutations
    )
    assert set(made) == set(MUTATIONS)


def test_a_model_that_is_fused_right_is_right(tmp_path: Path) -> None:
    for groups in ("off", "flat", "functions"):
        assert judged(scaled(), tmp_path, groups=groups) == Verdict("right")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["weight", "shape", "output", "node"])
def test_a_wrong_result_is_a_bug(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse = trtfuse.fuse

    def wrong(*args: Any, **named: Any) -> trtfuse.FusionResult:
        result = fuse(*args, **named)
        graph = result.model.graph
        match change:
            case "weight":
                (tensor,) = (each for each in graph.initializer if len(each.dims) == 2)
                array = numpy_helper.to_array(tensor) * np.float32(1.0001)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            case "shape":
                graph.node[-1].op_type = "GlobalAveragePool"
            case "output":
                graph.output[0].name = "a"
            case "node":
                graph.node[-1].op_type = "Tanh"
        return result

    monkeypatch.setattr(judging.trtfuse, "fuse", wrong)
    assert judged(scaled(), tmp_path).kind == "bug"


def test_what_escapes_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def escape(*args: Any, **named: Any) -> trtfuse.FusionResult:
        raise KeyError("x")

    monkeypatch.setattr(judging.trtfuse, "fuse", escape)
    verdict = judged(scaled(), tmp_path)
    assert verdict.kind == "bug"
    assert verdict.reason.startswith("KeyError in")


def test_rounding_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = trtfuse.fuse

    def rounded(*args: Any, **named: Any) -> trtfuse.FusionResult:
        result = fuse(*args, **named)
        for tensor in result.model.graph.initializer:
            array = np.nextafter(numpy_helper.to_array(tensor), np.float32(9))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return result

    monkeypatch.setattr(judging, "_check_result", lambda *args: None)
    monkeypatch.setattr(judging.trtfuse, "fuse", rounded)
    assert judged(scaled(), tmp_path).kind == "right"


def test_mutants_are_fused_right_or_refused_in_one_line(small: Corpus) -> None:
    kinds: dict[str, list[str]] = {}
    for outcome in outcomes([(number, None) for number in range(MUTANTS)], small, 1):
        kinds.setdefault(outcome.kind, []).append(f"{outcome.number}: {outcome.reason}")
    assert kinds.get("fuzzer-error", []) == []
    assert kinds.get("bug", []) == []
    assert len(kinds["right"]) > MUTANTS / 4
