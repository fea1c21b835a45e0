"""The loader of Polygraphy, in pipelines made of Polygraphy's own loaders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from models import constants, fused, model, nodes
from onnx import ModelProto, TensorProto
from polygraphy.backend.onnx import (
    BytesFromOnnx,
    GsFromOnnx,
    ModifyOutputs,
    OnnxFromPath,
    SaveOnnx,
)
from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
from polygraphy.comparator import Comparator, DataLoader, SimpleCompareFunc
from polygraphy.logger import G_LOGGER

import trtfuse
from trtfuse.polygraphy import FuseOnnx
from trtfuse.rewrite.editor import GraphEditor
from trtfuse.rewrite.rule import Change, Changes, GraphRule

DIGITS = Path(__file__).parent.parent / "examples" / "digits" / "digits.onnx"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        yield


def small() -> ModelProto:
    return model(
        "(float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y)"
        "{ [conv] c = Conv(x, w) [scale] y = Mul(c, s) }",
        w=[[[[2]]]],
        s=[[[[3]]]],
    )


def test_the_comparator_finds_original_and_fused_the_same() -> None:
    load = OnnxFromPath(str(DIGITS))
    runners = [
        OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(load)), name="original"),
        OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(FuseOnnx(load))), name="fused"),
    ]
    data = DataLoader(seed=0, iterations=2, input_metadata=None)
    results = Comparator.run(runners, data_loader=data)
    assert [name for name, _ in results] == ["original", "fused"]
    outputs = results["fused"][0]
    assert list(outputs) == ["logits"]
    assert np.abs(outputs["logits"]).max() > 0
    found = Comparator.compare_accuracy(
        results, compare_func=SimpleCompareFunc(atol=1e-5, rtol=1e-5)
    )
    assert bool(found)


def test_the_comparator_would_find_a_difference() -> None:
    wrong = small()
    wrong.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32([[[[2.01]]]]), "w"))
    runners = [
        OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(FuseOnnx(each)))) for each in (small(), wrong)
    ]
    results = Comparator.run(runners, data_loader=DataLoader(iterations=1))
    compare = SimpleCompareFunc(atol=1e-5, rtol=1e-5)
    assert not bool(Comparator.compare_accuracy(results, compare_func=compare))


def test_it_is_a_loader_that_fuses_what_another_loads() -> None:
    found = FuseOnnx(OnnxFromPath(str(DIGITS)))()
    assert isinstance(found, ModelProto)
    assert nodes(found) == nodes(trtfuse.fuse(DIGITS).model)


def test_it_takes_models_and_graphs_and_paths() -> None:
    made = small()
    expected = nodes(trtfuse.fuse(made).model)
    assert expected == ["conv: Conv(x, w_fused) -> y"]
    before = made.SerializeToString()
    for given in (made, made.SerializeToString(), gs.import_onnx(made), lambda: made):
        assert nodes(FuseOnnx(given)()) == expected
    assert nodes(FuseOnnx(GsFromOnnx(made))()) == expected
    assert nodes(FuseOnnx(str(DIGITS))()) == nodes(trtfuse.fuse(DIGITS).model)
    assert made.SerializeToString() == before


def test_outputs_that_polygraphy_marks_are_kept_and_get_the_types_that_onnx_demands() -> None:
    made = ModifyOutputs(small(), outputs=["c", "y"])()
    assert not any(info.HasField("type") for info in made.graph.output)
    before = made.SerializeToString()
    marked = FuseOnnx(made)()
    # What is an output can no longer be folded into what comes after it.
    assert nodes(marked) == ["conv: Conv(x, w) -> c", "scale: Mul(c, s) -> y"]
    onnx.checker.check_model(marked, full_check=True)
    declared = small().graph.output[0].type
    assert [(info.name, info.type) for info in marked.graph.output] == [
        ("c", declared),
        ("y", declared),
    ]
    assert made.SerializeToString() == before


def test_outputs_of_unknown_sizes_and_of_unknown_type() -> None:
    made = model("(float[N, 2] x) => (int64[2, ?] y) { z = NonZero(x) y = Neg(z) }", opset=17)
    found = FuseOnnx(ModifyOutputs(made, outputs=["z"]))()
    (info,) = found.graph.output
    assert info.type.tensor_type.elem_type == TensorProto.INT64
    # No symbol that inference made up.
    sizes = [dim.WhichOneof("value") for dim in info.type.tensor_type.shape.dim]
    assert sizes == ["dim_value", None]
    made.opset_import.add(domain="my", version=1)
    made.graph.node.add(op_type="Unknown", domain="my", input=["y"], output=["u"])
    results: list[trtfuse.FusionResult] = []
    FuseOnnx(ModifyOutputs(made, outputs=["u"]), on_result=results.append)()
    assert "outputs declared without a type: 'u'" in results[0].report.notes


def test_it_can_be_called_again_and_tells_its_results() -> None:
    results: list[trtfuse.FusionResult] = []
    load = FuseOnnx(small(), on_result=results.append, verify="model")
    first, second = load(), load()
    assert first.SerializeToString() == second.SerializeToString()
    assert [fused(each) for each in results] == [[("conv-scale", "conv + scale")]] * 2
    assert [each.report.verification.level for each in results] == ["model", "model"]


def test_options_are_those_of_fuse() -> None:
    assert nodes(FuseOnnx(small(), skip=["conv-scale"])()) == nodes(small())
    with pytest.raises(trtfuse.UsageError, match="unknown rule 'conv-scal'"):
        FuseOnnx(small(), rules=["conv-scal"])()
    # A misspelled one is an error at once, not when the model is loaded.
    with pytest.raises(TypeError, match="'skips'"):
        FuseOnnx(small(), skips=["conv-scale"])


@pytest.mark.parametrize("path", ["inputs.json", "inputs"])
def test_inputs_that_polygraphy_saved_are_compared(tmp_path: Path, path: str) -> None:
    saved = str(tmp_path / path)
    runner = OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(OnnxFromPath(str(DIGITS)))))
    data = DataLoader(seed=0, iterations=3)
    Comparator.run([runner], data_loader=data, save_inputs_path=saved)
    results: list[trtfuse.FusionResult] = []
    FuseOnnx(DIGITS, on_result=results.append, inputs=saved)()
    found = results[0].report.verification
    assert (found.ok, found.samples, found.source) == (True, 3, saved)


def test_a_model_that_does_not_agree_is_an_error() -> None:
    def wrong(edit: GraphEditor) -> Changes:
        """-x  ==  x"""
        for node in list(edit.graph.nodes()):
            x = node.input(0)
            if node.op == "Neg" and x is not None:
                edit.read_instead(node.output, x)
                edit.remove(node)
                yield Change((node,), ())

    made = model("(float[2] x) => (float[2] y) { n = Neg(x) y = Exp(n) }")
    results: list[trtfuse.FusionResult] = []
    rules = [GraphRule("wrong", wrong)]
    load = FuseOnnx(made, on_result=results.append, rules=rules, verify="model")
    with pytest.raises(trtfuse.VerifyError, match="the fused model does not agree: output 'y'"):
        load()
    # What was found is told all the same.
    assert [each.ok for each in results] == [False]


def test_external_weights_are_loaded(tmp_path: Path) -> None:
    made = small()
    path = tmp_path / "m.onnx"
    onnx.save(made, path, save_as_external_data=True, location="m.data", size_threshold=0)
    load = FuseOnnx(str(path), rules=())
    found = load()
    assert {t.data_location for t in found.graph.initializer} == {TensorProto.DEFAULT}
    assert constants(found)["w"].item() == 2
    # So Polygraphy's own loader can write them anywhere.
    saved = tmp_path / "other.onnx"
    SaveOnnx(load, path=str(saved))()
    assert constants(onnx.load(saved))["s"].item() == 3


def test_without_polygraphy_there_is_one_line() -> None:
    program = """
import sys
sys.modules["polygraphy"] = None
import trtfuse
try:
    import trtfuse.polygraphy
except trtfuse.UsageError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (
        ran.stdout
        == "Polygraphy is not installed: pip install polygraphy, or trtfuse[polygraphy]\n"
    )
