"""onnx-ir's models in and out: nothing is lost on the way, and nothing of theirs changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import pytest
from fusing import rewrite
from hypothesis import given, settings
from models import body, constants, fused, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from strategies import Drawn, models

import trtfuse
from trtfuse.errors import ModelError
from trtfuse.interop.onnx_ir import from_onnx_ir, to_onnx_ir

#: A convolution and a scale in the main graph, in a body, and in a function, with weights of each.
EVERYTHING = """
<ir_version: 10, producer_name: "exporter", producer_version: "1.5", domain: "here",
 model_version: 4, doc_string: "made by hand",
 opset_import: ["": 18, "my": 3, "other": 7], metadata_props: ["key": "value"]>
everything (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 4, 4] y)
<float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, float[1, 2, 1, 1] t = {5, 7}> {
    [conv1] a = Conv(x, w)
    [scale1] b = Mul(a, s)
    [choice] d = If(c) <
        then_branch = then () => (float[1, 2, 4, 4] p)
            <float[2, 2, 1, 1] v = {4, 3, 2, 1}> {
            [conv2] o = Conv(b, v)
            [scale2] p = Mul(o, s)
        },
        else_branch = otherwise () => (float[1, 2, 4, 4] q) { [add2] q = Add(b, t) }
    >
    [call] y = my.f <power: float = 2.0> (d)
}
<domain: "my", opset_import: ["": 18]>
f <power> (u) => (r) {
    [two] k = Constant <value = float[1] {2}> ()
    [scaled] m = Mul(u, k)
    [clipped] r = LeakyRelu <alpha: float = @power> (m)
}
"""


def everything() -> ModelProto:
    made = parser.parse_model(EVERYTHING)
    for node in made.graph.node:
        node.metadata_props.add(key="from", value=node.name)
    onnx.checker.check_model(made, full_check=True)
    return made


def state(model: onnx_ir.Model) -> list[Any]:
    """What there is to a model, tensors as the objects that they are and under their names."""
    found: list[Any] = [str(model), dict(model.opset_imports), dict(model.metadata_props)]
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            assert tensor is not None
            found += [name, value.name, id(tensor), tensor.name]
            if not isinstance(tensor, onnx_ir.ExternalTensor):
                found.append(tensor.tobytes())
            else:
                # Whether it was loaded.
                found.append(tensor.raw)
    for node in model.graph.all_nodes():
        found += [
            id(node),
            node.name,
            node.op_type,
            [None if v is None else v.name for v in node.inputs],
        ]
    return found


def test_a_pipeline_of_import_edit_fuse_and_export_keeps_names_and_weights() -> None:
    model = onnx_ir.from_proto(everything())
    conv, scale = model.graph.node("conv1"), model.graph.node("scale1")
    conv.name = "stem"
    weights = onnx_ir.tensor(np.float32([2, 4]).reshape(1, 2, 1, 1))
    model.graph.initializers["s"].const_value = weights

    result = rewrite(model, verify="model")

    assert result.ok
    assert ("conv-scale", f"stem + {scale.name}") in fused(result)
    exported = onnx_ir.to_proto(result.to_onnx_ir())
    onnx.checker.check_model(exported, full_check=True)
    assert nodes(exported)[0].startswith("stem: Conv(x, w_fused) -> b")
    assert [node.name for node in exported.graph.node] == ["stem", "choice", "call"]
    folded = constants(exported)["w_fused"]
    np.testing.assert_array_equal(folded.reshape(2, 2), [[2, 4], [12, 16]])
    (conv2,) = body(exported, "choice", "then_branch").node
    assert (conv2.name, conv2.input[0], list(conv2.output)) == ("conv2", "b", ["p"])
    assert weights.name is None


def test_all_that_stands_around_the_graph_is_kept() -> None:
    made = everything()
    for model in (
        rewrite(onnx_ir.from_proto(made)).model,
        onnx_ir.to_proto(rewrite(made).to_onnx_ir()),
    ):
        for field in ("ir_version", "producer_name", "producer_version", "domain", "doc_string"):
            assert getattr(model, field) == getattr(made, field)
        assert model.model_version == 4
        assert {p.key: p.value for p in model.metadata_props} == {"key": "value"}
        imports = {each.domain: each.version for each in model.opset_import}
        assert imports == {"": 18, "my": 3, "other": 7}
        (function,) = model.functions
        assert (function.domain, function.name, list(function.attribute)) == ("my", "f", ["power"])
        choice = next(node for node in model.graph.node if node.name == "choice")
        assert [(p.key, p.value) for p in choice.metadata_props] == [("from", "choice")]


def test_what_is_imported_fuses_as_the_model_itself() -> None:
    direct = rewrite(everything())
    through = rewrite(onnx_ir.from_proto(everything()))
    assert fused(through) == fused(direct)
    assert nodes(through.model) == nodes(direct.model)
    assert sorted(constants(through.model)) == sorted(constants(direct.model))
    for name, array in constants(direct.model).items():
        np.testing.assert_array_equal(constants(through.model)[name], array)


@pytest.mark.parametrize("level", ["none", "rewrite", "model"])
def test_the_model_and_the_proto_that_it_came_from_stay_as_they_are(level: Any) -> None:
    made = everything()
    model = onnx_ir.from_proto(made)
    # A tensor that two initializers share, under the name of neither.
    shared = onnx_ir.tensor(np.float32([2, 4]).reshape(1, 2, 1, 1), name="shared")
    for name in ("s", "t"):
        model.graph.initializers[name].const_value = shared
    # And one that its initializer does not call by its name.
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    tensor.name = "not_w"
    source, before = made.SerializeToString(deterministic=True), state(model)
    rewrite(model, verify=level)
    trtfuse.verify(model, model)
    assert state(model) == before
    assert made.SerializeToString(deterministic=True) == source


def test_the_model_shares_nothing_with_the_result() -> None:
    result = rewrite(everything())
    before = result.model.SerializeToString(deterministic=True)
    model = result.to_onnx_ir()
    for graph in model.graphs():
        for value in list(graph.initializers.values()):
            value.name = f"{value.name}_renamed"
    onnx_ir.to_proto(model)
    assert result.model.SerializeToString(deterministic=True) == before


def test_what_comes_out_goes_in_again() -> None:
    result = rewrite(everything())
    again = rewrite(result.to_onnx_ir())
    assert again.report.fused == []
    assert nodes(again.model) == nodes(result.model)


def test_weights_keep_their_types() -> None:
    arrays = {
        "half": np.float16([1.5, -2]),
        "brain": np.array([1.5, -2], ml_dtypes.bfloat16),
        "eight": np.array([1.5, -2], ml_dtypes.float8_e4m3fn),
        "four": np.array([1, -2, 3], ml_dtypes.int4),
        "text": np.array(["a", "b"], object),
        "none": np.empty((0, 3), np.float32),
    }
    made = parser.parse_model('<ir_version: 10, opset_import: ["": 21]> g () => () {}')
    for name, array in arrays.items():
        tensor = numpy_helper.from_array(array, name)
        made.graph.initializer.append(tensor)
        made.graph.node.add(op_type="Identity", input=[name], output=[f"{name}_out"])
        made.graph.output.append(
            helper.make_tensor_value_info(f"{name}_out", tensor.data_type, array.shape)
        )
    model = rewrite(rewrite(made, rules=()).to_onnx_ir(), rules=()).model
    for name, array in arrays.items():
        found = constants(model)[name]
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


def test_weights_that_are_computed_when_asked_for_are_written() -> None:
    model = onnx_ir.from_proto(everything())
    made = onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(np.float32([2, 4]).reshape(1, 2, 1, 1)),
        dtype=onnx_ir.DataType.FLOAT,
        shape=onnx_ir.Shape([1, 2, 1, 1]),
        name="s",
    )
    model.graph.initializers["s"].const_value = made
    folded = constants(rewrite(model).model)["w_fused"]
    np.testing.assert_array_equal(folded.reshape(2, 2), [[2, 4], [12, 16]])


@settings(max_examples=20)
@given(models())
def test_any_model_comes_through_as_the_proto_itself(drawn: Drawn) -> None:
    model = onnx_ir.from_proto(drawn.model)
    before = state(model)
    direct, through = rewrite(drawn.model), rewrite(model)
    assert state(model) == before
    assert fused(through) == fused(direct)
    assert nodes(through.model) == nodes(direct.model)
    assert nodes(onnx_ir.to_proto(through.to_onnx_ir())) == nodes(direct.model)


# External weights


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights are in a file beside it, in the graph and in an attribute."""
    made = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[1, 2, 4, 4] x)'
        " => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] z)"
        "{ [conv] c = Conv(x, w) [scale] y = Mul(c, s)"
        " [held] k = Constant <value = float[1, 2, 1, 1] {7, 8}> () [add] z = Add(x, k) }"
    )
    for name, array in (
        ("w", np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)),
        ("s", np.float32([2, 3]).reshape(1, 2, 1, 1)),
    ):
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    held = made.graph.node[2].attribute[0].t
    held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held), "held"))
    path = tmp_path / "m.onnx"
    onnx.save(
        made,
        path,
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
        convert_attribute=True,
    )
    return path


def test_external_weights_are_read_from_their_folder_and_stay_there(external: Path) -> None:
    model = onnx_ir.load(external)
    before = state(model)
    result = rewrite(model, verify="model", rules=("conv-scale",))
    assert result.ok
    assert state(model) == before
    assert (result.source, result.folder) == (None, external.parent)
    assert fused(result) == [("conv-scale", "conv + scale")]
    np.testing.assert_array_equal(constants(result.model)["w_fused"].ravel(), [0, 2, 6, 9])
    kept = result.model.graph.node[1].attribute[0].t
    assert kept.data_location == TensorProto.EXTERNAL


def test_the_result_is_saved_with_external_weights(external: Path, tmp_path: Path) -> None:
    result = rewrite(onnx_ir.load(external), rules=())
    target = tmp_path / "other" / "out.onnx"
    target.parent.mkdir()
    result.save(target)
    np.testing.assert_array_equal(constants(onnx.load(target))["w"].ravel(), [0, 1, 2, 3])
    # Never over the files that it is read from.
    with pytest.raises(ModelError, match="the model reads its weights from there"):
        result.save(external.with_name("m"))
    with pytest.raises(trtfuse.UsageError, match="holds weights of the original"):
        result.save(external.with_name("m.data"))


def test_external_weights_are_found_from_the_model_that_comes_out(
    external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(external.parent)
    model = rewrite("m.onnx", rules=()).to_onnx_ir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tensor = model.graph.initializers["w"].const_value
    assert isinstance(tensor, onnx_ir.ExternalTensor)
    np.testing.assert_array_equal(tensor.numpy().ravel(), [0, 1, 2, 3])
    held = model.graph.node("held").attributes["value"].as_tensor()
    np.testing.assert_array_equal(held.numpy().ravel(), [7, 8])


def test_the_model_that_comes_out_is_saved_by_onnx_ir(external: Path, tmp_path: Path) -> None:
    model = rewrite(external, rules=()).to_onnx_ir()
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "saved.onnx"
    onnx_ir.save(model, target, external_data="saved.data", size_threshold_bytes=0)
    saved = onnx.load(target)
    np.testing.assert_array_equal(constants(saved)["w"].ravel(), [0, 1, 2, 3])
    held = numpy_helper.to_array(saved.graph.node[2].attribute[0].t)
    np.testing.assert_array_equal(held.ravel(), [7, 8])


def test_weights_in_two_folders_are_refused(external: Path) -> None:
    model = onnx_ir.load(external)
    tensor = model.graph.initializers["s"].const_value
    assert isinstance(tensor, onnx_ir.ExternalTensor)
    tensor.base_dir = "elsewhere"
    with pytest.raises(ModelError, match=r"'w' are in folder '.*' and weights 's' in 'elsewhere'"):
        rewrite(model)


def test_missing_and_overwritten_weights_are_an_error(external: Path) -> None:
    model = onnx_ir.load(external)
    (external.parent / "m.data").rename(external.parent / "moved.data")
    with pytest.raises(ModelError, match=r"external file 'm\.data', which is missing from"):
        rewrite(model)
    tensor = model.graph.initializers["w"].const_value
    assert isinstance(tensor, onnx_ir.ExternalTensor)
    tensor.invalidate()
    with pytest.raises(ModelError, match="the file of weights 'w' was overwritten; load the model"):
        rewrite(model)


# Errors


def test_a_model_that_onnx_ir_cannot_write_is_an_error() -> None:
    model = onnx_ir.from_proto(everything())
    model.graph.node("conv1").outputs[0].name = None
    with pytest.raises(ModelError, match="onnx-ir cannot write the model: "):
        rewrite(model)


def test_sparse_weights_are_refused_on_the_way_out() -> None:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) { y = Mul(x, k) }'
    )
    numbers = helper.make_tensor("k", TensorProto.FLOAT, [1], [5.0])
    places = helper.make_tensor("", TensorProto.INT64, [1], [2])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(numbers, places, [3]))
    with pytest.raises(ModelError, match="would drop the sparse initializer 'k'"):
        rewrite(made).to_onnx_ir()
    attribute = helper.make_attribute("sparse_value", made.graph.sparse_initializer[0])
    made.graph.node.insert(0, helper.make_node("Constant", [], ["k"]))
    made.graph.node[0].attribute.append(attribute)
    del made.graph.sparse_initializer[:]
    with pytest.raises(ModelError, match="onnx-ir cannot read the model: "):
        to_onnx_ir(made)


def test_every_model_of_onnx_goes_through(backend_models: dict[str, ModelProto]) -> None:
    for name in sorted(backend_models)[::29]:
        made = backend_models[name]
        source = made.SerializeToString(deterministic=True)
        model, folder = from_onnx_ir(to_onnx_ir(made))
        assert folder is None
        assert nodes(model) == nodes(made), name
        onnx.checker.check_model(model)
        assert made.SerializeToString(deterministic=True) == source, name


def test_without_onnx_ir_there_is_one_line() -> None:
    program = """
import sys
sys.modules["onnx_ir"] = None
import trtfuse
result = trtfuse.fuse(sys.argv[1], groups="off")
try:
    result.to_onnx_ir()
except trtfuse.UsageError as error:
    print(error)
"""
    model = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
    ran = subprocess.run(
        [sys.executable, "-c", program, model], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "onnx-ir is not installed: pip install onnx-ir, or trtfuse[onnx-ir]\n"
