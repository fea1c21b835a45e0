"""GraphSurgeon's graphs in and out: nothing is lost on the way, and nothing of theirs changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from fusing import rewrite
from hypothesis import given, settings
from models import body, constants, fused, nodes
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper, parser
from onnx_graphsurgeon.ir.tensor import LazyValues
from strategies import Drawn, models

import trtfuse
from trtfuse.errors import ModelError, UsageError
from trtfuse.interop.graphsurgeon import from_graphsurgeon, to_graphsurgeon
from trtfuse.ir.tensor import Array

#: A convolution and a scale in the main graph, in a body, and in a function, with weights of each.
EVERYTHING = """
<ir_version: 9, producer_name: "exporter", producer_version: "1.5",
 opset_import: ["": 18, "my": 3, "other": 7]>
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
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made: ModelProto, **feeds: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options)
    return [np.asarray(each) for each in session.run(None, feeds)]


def state(graph: gs.Graph) -> list[Any]:
    """All there is to a graph, with weights that are not loaded as what they are."""
    found: list[Any] = [
        graph.name,
        graph.doc_string,
        graph.opset,
        graph.ir_version,
        [str(each) for each in graph.import_domains or ()],
        [id(tensor) for tensor in (*graph.inputs, *graph.outputs)],
    ]
    for node in graph.nodes:
        found += [id(node), node.op, node.name, node.domain, list(node.attrs)]
        for tensor in (*node.inputs, *node.outputs):
            found += [id(tensor), tensor.name, len(tensor.inputs), len(tensor.outputs)]
            found += state_of(tensor)
        for content in node.attrs.values():
            if isinstance(content, gs.Graph):
                found += state(content)
            elif isinstance(content, gs.Tensor):
                found += [id(content), content.name, *state_of(content)]
    for function in () if isinstance(graph, gs.Function) else graph.functions:
        found += state(function)
    return found


def state_of(tensor: gs.Tensor) -> list[Any]:
    if not isinstance(tensor, gs.Constant):
        return [str(tensor.dtype), str(tensor.shape)]
    held = tensor._values
    content = held.tensor.SerializeToString() if isinstance(held, LazyValues) else held.tobytes()
    return [id(held), content, tensor.data_location]


def everywhere(made: ModelProto) -> dict[str, Array]:
    """The initializers of the main graph and of its bodies by name."""
    bodies = [a.g for node in made.graph.node for a in node.attribute if a.HasField("g")]
    return {k: array for graph in (made.graph, *bodies) for k, array in constants(graph).items()}


def small(**arrays: Array) -> gs.Graph:
    """A graph that gives back its constants, each through an Identity."""
    graph = gs.Graph(name="small", opset=21, ir_version=10)
    for name, array in arrays.items():
        out = gs.Variable(f"{name}_out", array.dtype, array.shape)
        constant = gs.Constant(name, array)
        graph.nodes.append(gs.Node("Identity", inputs=[constant], outputs=[out]))
        graph.outputs.append(out)
    return graph


# In


def test_a_pipeline_of_import_edit_fuse_and_export_keeps_names_and_weights() -> None:
    made = everything()
    graph = gs.import_onnx(made)
    # The edit: another name, other weights, a node more.
    conv = next(node for node in graph.nodes if node.name == "conv1")
    conv.name = "stem"
    shift = gs.Constant("shift", np.full((1, 2, 1, 1), 0.5, np.float32))
    scale = next(node for node in graph.nodes if node.name == "scale1")
    scale.inputs[1].values = np.float32([2, 4]).reshape(1, 2, 1, 1)
    shifted = gs.Variable("shifted", np.float32, (1, 2, 4, 4))
    graph.nodes.append(gs.Node("Add", "added", inputs=[scale.outputs[0], shift], outputs=[shifted]))
    choice = next(node for node in graph.nodes if node.name == "choice")
    for branch in choice.attrs.values():
        branch.nodes[0].inputs[0] = shifted
    # With functions and bodies in one graph, GraphSurgeon 0.6.1 sorts functions forever.
    graph.cleanup().toposort(mode="nodes")

    result = rewrite(graph, verify="model")

    assert result.ok
    assert ("conv-scale", "stem + scale1") in fused(result)
    exported = gs.export_onnx(result.to_graphsurgeon())
    onnx.checker.check_model(exported, full_check=True)
    assert nodes(exported)[0].startswith("stem: Conv(x, w_fused")
    assert [node.name for node in exported.graph.node] == ["stem", "choice", "call"]
    folded = constants(exported)["w_fused"]
    np.testing.assert_array_equal(folded.reshape(2, 2), [[2, 4], [12, 16]])
    # In the branch the weights of its own are folded, and the others are still captured.
    (conv2,) = body(exported, "choice", "then_branch").node
    assert (conv2.name, conv2.input[0], list(conv2.output)) == ("conv2", "shifted", ["p"])
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4), np.float32)
    for c in (True, False):
        feeds = {"x": x, "c": np.array(c)}
        (before,), (after,) = run(gs.export_onnx(graph), **feeds), run(exported, **feeds)
        np.testing.assert_allclose(after, before, rtol=1e-5)


def test_all_that_stands_around_the_graph_is_kept() -> None:
    made = everything()
    made.graph.doc_string = "drawn by hand"
    model = rewrite(gs.import_onnx(made)).model
    assert (model.ir_version, model.producer_name, model.producer_version) == (9, "exporter", "1.5")
    imports = {each.domain: each.version for each in model.opset_import}
    assert imports == {"": 18, "my": 3, "other": 7}
    assert (model.graph.name, model.graph.doc_string) == ("everything", "drawn by hand")
    (function,) = model.functions
    assert (function.domain, function.name, list(function.attribute)) == ("my", "f", ["power"])
    (reference,) = [a for node in function.node for a in node.attribute if a.ref_attr_name]
    assert (reference.name, reference.ref_attr_name) == ("alpha", "power")
    assert reference.type == AttributeProto.FLOAT


def test_what_is_imported_fuses_as_the_model_itself() -> None:
    direct, through = rewrite(everything()), rewrite(gs.import_onnx(everything()))
    assert fused(through) == fused(direct)
    assert nodes(through.model) == nodes(direct.model)
    kept = everywhere(through.model)
    assert sorted(kept) == sorted(everywhere(direct.model))
    for name, array in everywhere(direct.model).items():
        np.testing.assert_array_equal(kept[name], array)


@pytest.mark.parametrize("level", ["none", "rewrite", "model"])
def test_the_graph_and_the_model_that_it_came_from_stay_as_they_are(level: Any) -> None:
    made = everything()
    graph = gs.import_onnx(made)
    loaded = graph.tensors()["s"]
    loaded.values  # noqa: B018 - loads them
    graph.tensors()["w"].name = "renamed"
    graph.nodes.append(gs.Node("Custom", domain="not.imported", inputs=[], outputs=[]))
    graph.nodes.pop()
    source, before = made.SerializeToString(deterministic=True), state(graph)
    rewrite(graph, verify=level)
    trtfuse.verify(graph, graph)
    assert state(graph) == before
    assert made.SerializeToString(deterministic=True) == source


def test_the_exporter_of_graphsurgeon_would_have_changed_it() -> None:
    # What the test above guards against is real.
    made = everything()
    graph = gs.import_onnx(made)
    graph.tensors()["w"].name = "renamed"
    source = made.SerializeToString(deterministic=True)
    gs.export_onnx(graph)
    assert made.SerializeToString(deterministic=True) != source


def test_numbers_in_a_graph_are_not_those_of_the_result() -> None:
    graph = small(k=np.float32([1, 2]))
    result = rewrite(graph, rules=())
    graph.nodes[0].inputs[0].values[:] = 9
    np.testing.assert_array_equal(constants(result.model)["k"], [1, 2])


def test_bodies_get_no_copy_of_what_they_capture() -> None:
    graph = gs.import_onnx(everything())
    ours, theirs = from_graphsurgeon(graph), gs.export_onnx(graph)
    branch = body(ours, "choice", "then_branch")
    assert sorted(constants(branch)) == ["v"]
    assert "b" not in {info.name for info in branch.value_info}
    # The constant `s` is the main graph's; GraphSurgeon writes it again.
    assert sorted(constants(body(theirs, "choice", "then_branch"))) == ["s", "v"]


def test_a_constant_that_only_bodies_read_is_kept() -> None:
    model = from_graphsurgeon(gs.import_onnx(everything()))
    assert sorted(constants(body(model, "choice", "else_branch"))) == ["t"]
    onnx.checker.check_model(model, full_check=True)


def test_weights_that_only_several_bodies_read_are_written_once() -> None:
    made = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17]>
        merged (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}, float[2] k = {3, 4}> {
            y = If(c) <
                then_branch = with () => (float[2] p) <float[2] own = {7, 8}> {
                    a = Mul(x, w)
                    b = Add(a, own)
                    p = If(c) <
                        then_branch = deep () => (float[2] s) { s = Add(b, own) },
                        else_branch = deeper () => (float[2] t) { t = Sub(b, w) }
                    >
                },
                else_branch = without () => (float[2] q) <float[2] other = {5, 6}> {
                    d = Mul(x, w)
                    e = Add(d, k)
                    q = Mul(e, other)
                }
            >
        }
        """
    )
    onnx.checker.check_model(made, full_check=True)
    graph = gs.import_onnx(made)
    ours = from_graphsurgeon(graph)
    onnx.checker.check_model(ours, full_check=True)
    branches = {a.name: a.g for node in ours.graph.node for a in node.attribute}
    assert list(constants(ours)) == ["w"]
    assert list(constants(branches["then_branch"])) == ["own"]
    assert sorted(constants(branches["else_branch"])) == ["k", "other"]
    x = np.float32([1, -1])
    for c in (True, False):
        (before,), (after,) = run(made, x=x, c=np.array(c)), run(ours, x=x, c=np.array(c))
        np.testing.assert_array_equal(after, before)
    # Another tensor of that name further in: the constant stays where it is read.
    body_of_then = graph.nodes[0].attrs["then_branch"]
    body_of_then.nodes[0].outputs[0].name = "w"
    assert "w" not in constants(from_graphsurgeon(graph))


def test_it_is_what_graphsurgeon_writes(backend_models: dict[str, ModelProto]) -> None:
    """Apart from what the tests above and below say of bodies, IR 3 and types."""
    compared = 0
    for name in sorted(backend_models)[::7]:
        made = backend_models[name]
        source = made.SerializeToString(deterministic=True)
        graph = gs.import_onnx(made)
        if any(
            info.type.HasField("optional_type") for info in (*made.graph.input, *made.graph.output)
        ):
            with pytest.raises(ModelError, match="has no dtype that ONNX knows"):
                from_graphsurgeon(graph)
            continue
        ours = from_graphsurgeon(graph)
        assert made.SerializeToString(deterministic=True) == source, name
        onnx.checker.check_model(ours)
        if made.ir_version >= 4 and not any(graph.subgraphs()):
            theirs = gs.export_onnx(gs.import_onnx(made))
            assert comparable(ours) == comparable(theirs), name
            compared += 1
    assert compared > 150


def comparable(made: ModelProto) -> bytes:
    del made.opset_import[1:]
    return made.SerializeToString(deterministic=True)


def test_an_operator_set_that_nothing_imports_is_added() -> None:
    graph = gs.Graph(opset=18)
    x, y = gs.Variable("x", np.float32, (2,)), gs.Variable("y", np.float32, (2,))
    graph.inputs, graph.outputs = [x], [y]
    graph.nodes = [gs.Node("Relu", inputs=[x], outputs=[y])]
    graph.nodes.append(gs.Node("Log", domain="my", inputs=[y], outputs=[gs.Variable("z")]))
    model = rewrite(graph, rules=()).model
    assert {each.domain: each.version for each in model.opset_import} == {"": 18, "my": 1}
    assert graph.import_domains is None
    # Not the newest that onnx knows: ONNX Runtime may not know it yet.
    assert model.ir_version == 10


def test_weights_keep_their_types() -> None:
    arrays = {
        "half": np.float16([1.5, -2]),
        "brain": np.array([1.5, -2], ml_dtypes.bfloat16),
        "eight": np.array([1.5, -2], ml_dtypes.float8_e4m3fn),
        "uz": np.array([1.5, -2], ml_dtypes.float8_e4m3fnuz),
        "four": np.array([1, -2, 3], ml_dtypes.int4),
        "text": np.array(["a", "b"], object),
        "big": np.array([1.5, -2], ">f4"),
        "scalar": np.array(7),
        "one": np.array([-2], ml_dtypes.int4),
        "many_words": np.array(["a"] * 400, object),
        "many_small": np.arange(-8, 8).repeat(101).astype(ml_dtypes.int4),
        "many_big": np.arange(400, dtype=">f4").reshape(20, 20),
        "many_strided": np.arange(1200, dtype=np.float32).reshape(30, 40).T[::2],
        "none": np.empty((0, 3), np.float32),
    }
    model = from_graphsurgeon(small(**arrays))
    onnx.checker.check_model(model)
    found = constants(model)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()
        if name not in ("text", "many_words", "big", "many_big"):
            assert found[name].dtype == array.dtype
    types = {info.name: info.type.tensor_type.elem_type for info in model.graph.output}
    assert types["uz_out"] == TensorProto.FLOAT8E4M3FNUZ
    again = from_graphsurgeon(to_graphsurgeon(model))
    assert [t.SerializeToString() for t in again.graph.initializer] == [
        t.SerializeToString() for t in model.graph.initializer
    ]


def test_a_constant_is_exported_in_the_type_that_it_is_meant_for() -> None:
    graph = small(k=np.float32([1, 1 + 2**-9, 3]), e=np.float32([0.5, 2]))
    graph.nodes[0].inputs[0]._export_dtype = TensorProto.BFLOAT16
    graph.nodes[1].inputs[0]._export_dtype = TensorProto.FLOAT8E4M3FN
    found = constants(from_graphsurgeon(graph))
    assert (found["k"].dtype, found["k"].tolist()) == (ml_dtypes.bfloat16, [1, 1, 3])
    assert (found["e"].dtype, found["e"].tolist()) == (ml_dtypes.float8_e4m3fn, [0.5, 2])


def test_two_constants_may_share_lazy_values() -> None:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y)'
        "<float[2] k = {1, 2}> { y = Mul(x, k) }"
    )
    graph = gs.import_onnx(made)
    k = graph.nodes[0].inputs[1]
    twin = k.copy()
    twin.name = "twin"
    graph.nodes[0].outputs[0].name = "t"
    y = gs.Variable("y", np.float32, (2,))
    graph.nodes.append(gs.Node("Add", inputs=[graph.nodes[0].outputs[0], twin], outputs=[y]))
    graph.outputs = [y]
    assert sorted(constants(from_graphsurgeon(graph))) == ["k", "twin"]


def test_an_empty_list_has_the_type_that_the_operator_says() -> None:
    x, y = gs.Variable("x", np.float32, (2, 3)), gs.Variable("y", np.float32, (1, 1))
    node = gs.Node("ReduceMean", attrs={"axes": [], "keepdims": 1}, inputs=[x], outputs=[y])
    graph = gs.Graph([node], [x], [y], opset=13)
    (written,) = from_graphsurgeon(graph).graph.node
    assert [(a.name, a.type) for a in written.attribute] == [
        ("axes", AttributeProto.INTS),
        ("keepdims", AttributeProto.INT),
    ]
    node.op = "Unknown"
    with pytest.raises(ModelError, match="attribute 'axes' of node 'Unknown' cannot be written"):
        from_graphsurgeon(graph)


def test_a_type_as_an_attribute_is_its_number() -> None:
    x, y = gs.Variable("x", np.float32, (2,)), gs.Variable("y", np.float16, (2,))
    node = gs.Node("Cast", attrs={"to": np.float16}, inputs=[x], outputs=[y])
    (written,) = from_graphsurgeon(gs.Graph([node], [x], [y], opset=13)).graph.node
    assert written.attribute[0].i == TensorProto.FLOAT16


def test_sizes_that_are_not_known_are_open() -> None:
    x = gs.Variable("x", np.float32, (gs.Tensor.DYNAMIC, "n", None, 3))
    y = gs.Variable("y", np.float32)
    model = from_graphsurgeon(
        gs.Graph([gs.Node("Relu", inputs=[x], outputs=[y])], [x], [y], opset=17)
    )
    dims = model.graph.input[0].type.tensor_type.shape.dim
    kinds = [dim.WhichOneof("value") for dim in dims]
    assert kinds == [None, "dim_param", None, "dim_value"]
    assert not model.graph.output[0].type.tensor_type.HasField("shape")


def test_types_other_than_tensors_are_kept() -> None:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (seq(float[2]) s) => (int64 n)'
        "{ t = Identity(s) n = SequenceLength(t) }"
    )
    inferred = onnx.shape_inference.infer_shapes(made)
    model = from_graphsurgeon(gs.import_onnx(inferred))
    sequence = model.graph.input[0].type.sequence_type
    assert sequence.elem_type.tensor_type.elem_type == TensorProto.FLOAT
    assert [info.name for info in model.graph.value_info] == ["t"]
    assert model.graph.value_info[0].type.HasField("sequence_type")


def test_sparse_weights_stay_sparse() -> None:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y){ y = Mul(x, k) }'
    )
    numbers = helper.make_tensor("k", TensorProto.FLOAT, [1], [5.0])
    places = helper.make_tensor("", TensorProto.INT64, [1], [2])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(numbers, places, [3]))
    source = made.SerializeToString()
    graph = gs.import_onnx(made)
    graph.nodes[0].inputs[1].name = "renamed"
    model = rewrite(graph).model
    (sparse,) = model.graph.sparse_initializer
    assert (sparse.values.name, list(model.graph.node[0].input)) == ("renamed", ["x", "renamed"])
    assert made.SerializeToString() == source


def test_ir_3_lists_its_initializers_again() -> None:
    made = parser.parse_model(
        '<ir_version: 3, opset_import: ["": 8]> g (float[2] x, float[2] k) => (float[2] y)'
        "<float[2] k = {1, 2}> { y = Mul(x, k) }"
    )
    onnx.checker.check_model(made)
    model = rewrite(gs.import_onnx(made)).model
    assert model.ir_version == 3
    assert [info.name for info in model.graph.input] == ["x", "k"]
    onnx.checker.check_model(model)


def test_constants_of_a_function_become_nodes() -> None:
    graph = gs.import_onnx(everything())
    (function,) = graph.functions
    function.nodes[1].inputs[1] = gs.Constant("three", np.float32([3]))
    (written,) = from_graphsurgeon(graph).functions
    assert [(node.op_type, list(node.output)) for node in written.node] == [
        ("Constant", ["three"]),
        ("Constant", ["k"]),
        ("Mul", ["m"]),
        ("LeakyRelu", ["r"]),
    ]
    assert function.nodes[0].op == "Constant"
    assert len(function.nodes) == 3


def test_what_is_no_model_is_refused() -> None:
    graph = gs.import_onnx(everything())
    with pytest.raises(UsageError, match="'f' is a function; fuse the graph that calls it"):
        rewrite(graph.functions[0])
    with pytest.raises(UsageError, match=r"a model is a path, .*, not builtins\.dict"):
        rewrite({})
    dates = small(day=np.array(["2026-11-25"], "datetime64[D]"))
    dates.outputs[0].dtype = np.float32
    with pytest.raises(ModelError, match=r"constant 'day' is of datetime64\[D\], not known to"):
        rewrite(dates)
    graph.inputs[0].dtype = None
    with pytest.raises(ModelError, match="input 'x' has no dtype that ONNX knows; set its dtype"):
        rewrite(graph)


def test_a_graph_out_of_order_is_sorted() -> None:
    graph = gs.import_onnx(everything())
    graph.nodes.reverse()
    notes = rewrite(graph).report.notes
    assert any("nodes sorted" in note for note in notes)
    assert rewrite(graph.toposort(mode="nodes")).report.notes == []


@settings(max_examples=20)
@given(models())
def test_any_graph_comes_through_as_the_model_itself(drawn: Drawn) -> None:
    # What a caller may override is a constant to GraphSurgeon.
    if drawn.model.ir_version >= 4:
        stored = {tensor.name for tensor in drawn.model.graph.initializer}
        for info in [info for info in drawn.model.graph.input if info.name in stored]:
            drawn.model.graph.input.remove(info)
    graph = gs.import_onnx(drawn.model)
    before = state(graph)
    direct, through = rewrite(drawn.model), rewrite(graph)
    assert state(graph) == before
    assert fused(through) == fused(direct)
    assert nodes(through.model) == nodes(direct.model)
    assert nodes(gs.export_onnx(through.to_graphsurgeon())) == nodes(direct.model)


# External weights


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights are in a file beside it: those of a convolution, and of types."""
    made = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y,'
        " int4[3] four_out, bfloat16[2] brain_out, float[0] none_out)"
        "{ [conv] c = Conv(x, w) [scale] y = Mul(c, s) four_out = Identity(four)"
        " brain_out = Identity(brain) none_out = Identity(none) }"
    )
    arrays = {
        "w": np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1),
        "s": np.float32([2, 3]).reshape(1, 2, 1, 1),
        "four": np.array([1, -2, 3], ml_dtypes.int4),
        "brain": np.array([1.5, -2], ml_dtypes.bfloat16),
        "none": np.empty(0, np.float32),
    }
    for name, array in arrays.items():
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    path = tmp_path / "m.onnx"
    onnx.save(made, path, save_as_external_data=True, location="m.data", size_threshold=0)
    return path


def lazy(path: Path) -> gs.Graph:
    return gs.import_onnx(onnx.load(path, load_external_data=False))


def test_external_weights_stay_references(external: Path) -> None:
    graph = lazy(external)
    before = state(graph)
    model = rewrite(graph, rules=()).model
    assert {t.data_location for t in model.graph.initializer} == {TensorProto.EXTERNAL}
    # A graph knows no folder, so a rule that needs the numbers cannot have them.
    with pytest.raises(ModelError, match="came without a folder; pass its path instead"):
        rewrite(graph)
    assert state(graph) == before


def test_external_weights_that_were_loaded_are_embedded(
    external: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = lazy(external)
    monkeypatch.chdir(external.parent)
    w = graph.nodes[0].inputs[1]
    w.values = w.values * 2
    assert w.data_location == TensorProto.EXTERNAL
    model = from_graphsurgeon(graph)
    written = next(t for t in model.graph.initializer if t.name == "w")
    assert written.data_location == TensorProto.DEFAULT
    np.testing.assert_array_equal(numpy_helper.to_array(written).ravel(), [0, 2, 4, 6])
    # Where GraphSurgeon's own exporter writes a tensor that nothing can read.
    theirs = next(t for t in gs.export_onnx(graph).graph.initializer if t.name == "w")
    assert (theirs.data_location, len(theirs.external_data)) == (TensorProto.EXTERNAL, 0)


def test_external_weights_are_mapped_into_the_graph(external: Path) -> None:
    data = external.parent / "m.data"
    before = data.read_bytes()
    result = rewrite(external, rules=())
    graph = result.to_graphsurgeon()
    tensors = graph.tensors()
    assert isinstance(tensors["w"].values.base, np.memmap)
    assert tensors["none"].values.shape == (0,)
    tensors["w"].values *= 2
    np.testing.assert_array_equal(tensors["w"].values.ravel(), [0, 2, 4, 6])
    assert data.read_bytes() == before
    exported = gs.export_onnx(graph)
    onnx.checker.check_model(exported, full_check=True)
    assert all(t.data_location != TensorProto.EXTERNAL for t in exported.graph.initializer)
    found = constants(exported)
    np.testing.assert_array_equal(found["w"].ravel(), [0, 2, 4, 6])
    assert found["four"].tolist() == [1, -2, 3]
    assert (found["brain"].dtype, found["brain"].tolist()) == (ml_dtypes.bfloat16, [1.5, -2])


def test_fusing_goes_on_with_mapped_weights(external: Path) -> None:
    graph = rewrite(external, rules=()).to_graphsurgeon()
    result = rewrite(graph)
    assert fused(result) == [("conv-scale", "conv + scale")]
    np.testing.assert_array_equal(constants(result.model)["w_fused"].ravel(), [0, 2, 6, 9])


def test_missing_external_weights_are_an_error(external: Path) -> None:
    model = onnx.load(external, load_external_data=False)
    with pytest.raises(ModelError, match="the model came without a folder"):
        to_graphsurgeon(model)
    (external.parent / "m.data").unlink()
    with pytest.raises(ModelError, match=r"external file 'm\.data', which is missing from"):
        to_graphsurgeon(model, external.parent)


# Out


def test_the_graph_shares_nothing_with_the_result() -> None:
    result = rewrite(everything())
    before = result.model.SerializeToString(deterministic=True)
    graph = result.to_graphsurgeon()
    for each in (graph, *graph.subgraphs(recursive=True), *graph.functions):
        for tensor in list(each.tensors().values()):
            tensor.name += "_renamed"
            if isinstance(tensor, gs.Constant):
                tensor.values[...] = 0
    gs.export_onnx(graph)
    assert result.model.SerializeToString(deterministic=True) == before


def test_what_comes_out_goes_in_again() -> None:
    result = rewrite(everything())
    again = rewrite(result.to_graphsurgeon())
    assert again.report.fused == []
    assert nodes(again.model) == nodes(result.model)
    assert [f.SerializeToString() for f in again.model.functions] == [
        f.SerializeToString() for f in result.model.functions
    ]


def test_an_attribute_that_graphsurgeon_drops_is_refused() -> None:
    made = everything()
    inner = body(made, "choice", "else_branch").node[0]
    inner.attribute.add(name="kind", type=AttributeProto.TYPE_PROTO).tp.tensor_type.elem_type = 1
    with pytest.raises(ModelError, match="would drop the attribute 'kind' of node 'add2'"):
        to_graphsurgeon(made)


def test_an_overload_is_refused() -> None:
    made = everything()
    made.functions[0].overload = made.graph.node[-1].overload = "second"
    with pytest.raises(ModelError, match="GraphSurgeon knows no overloads, and function 'f'"):
        to_graphsurgeon(made)


def test_without_graphsurgeon_there_is_one_line() -> None:
    program = """
import sys
sys.modules["onnx_graphsurgeon"] = None
import trtfuse
result = trtfuse.fuse(sys.argv[1], groups="off")
try:
    result.to_graphsurgeon()
except trtfuse.UsageError as error:
    print(error)
"""
    model = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
    ran = subprocess.run(
        [sys.executable, "-c", program, model], capture_output=True, text=True, check=True
    )
    assert ran.stdout == (
        "GraphSurgeon is not installed: pip install onnx-graphsurgeon, or trtfuse[graphsurgeon]\n"
    )
