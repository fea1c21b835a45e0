"""Groups as calls of model-local functions, and as marks on nodes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
import pytest
from models import attributes, model
from onnx import ModelProto, defs, helper
from onnx.reference import ReferenceEvaluator

import trtfuse

W = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
TWO = """(float[1,4,8,8] x) => (float[?,?,?,?] y) {
    [conv1] a = Conv<pads=[1,1,1,1], auto_pad="NOTSET">(x, w)
    [relu1] b = Relu(a)
    [conv2] c = Conv<pads=[0,0,2,2], auto_pad="NOTSET">(b, v)
    [relu2] y = Relu(c)
}"""


def two(**options: Any) -> ModelProto:
    """Two convolutions of one structure, each with its Relu."""
    return model(TWO, w=W, v=-W, **options)


def functions(made: ModelProto, **options: Any) -> ModelProto:
    """The model with groups as functions, checked in full, unchanged by a second run."""
    fused = trtfuse.fuse(made, groups="functions", **options).model
    onnx.checker.check_model(fused, full_check=True)
    again = trtfuse.fuse(fused, groups="functions", **options)
    assert again.report.fused == []
    assert again.model.SerializeToString() == fused.SerializeToString()
    return fused


def computed(made: ModelProto, *feeds: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What ONNX Runtime makes of a model."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options)
    names = [each.name for each in session.get_inputs()]
    return list(session.run(None, dict(zip(names, feeds, strict=True))))


def test_one_function_for_one_structure_with_every_attribute_on_each_call() -> None:
    fused = functions(two())
    (function,) = fused.functions
    first, second = fused.graph.node
    assert (first.name, second.name) == ("conv1 + relu1", "conv2 + relu2")
    assert {first.op_type, second.op_type} == {function.name}
    assert list(function.attribute) == ["Conv_pads", "Conv_auto_pad"]
    assert attributes(first) == {"Conv_pads": [1, 1, 1, 1], "Conv_auto_pad": b"NOTSET"}
    assert attributes(second) == {"Conv_pads": [0, 0, 2, 2], "Conv_auto_pad": b"NOTSET"}
    assert [list(each.input) for each in fused.graph.node] == [["x", "w"], ["b", "v"]]
    assert [a.ref_attr_name for a in function.node[0].attribute] == list(function.attribute)


def test_what_the_parser_reads_from_the_node_stands_in_the_function() -> None:
    text = TWO.replace("pads=[0,0,2,2]", "strides=[2,2]").replace("pads=[1,1,1,1]", "strides=[1,1]")
    fused = functions(model(text, w=W, v=-W))
    convolutions = [function.node[0] for function in fused.functions]
    strides = [list(a.ints) for node in convolutions for a in node.attribute if a.name == "strides"]
    assert strides == [[1, 1], [2, 2]]
    assert [function.name for function in fused.functions] == [
        "conv_relu",
        "conv_relu_2",
    ]


def test_functions_import_what_the_model_does() -> None:
    fused = functions(two(opset=17))
    for imports in (fused.opset_import, fused.functions[0].opset_import):
        assert {each.domain: each.version for each in imports} == {"": 17, "trtfuse": 1}


def test_names_are_those_of_no_operator_and_no_value() -> None:
    fused = functions(two())
    operators = {schema.name for schema in defs.get_all_schemas_with_history()}
    assert {function.name for function in fused.functions}.isdisjoint(operators)
    outside = {name for node in fused.graph.node for name in (*node.input, *node.output)}
    for function in fused.functions:
        inside = {name for node in function.node for name in (*node.input, *node.output)}
        assert inside.isdisjoint(outside)


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    made = two()
    taken = onnx.FunctionProto(name="conv_relu", domain="mine", input=["x"], output=["y"])
    taken.node.append(helper.make_node("Identity", ["x"], ["y"]))
    taken.opset_import.extend(made.opset_import)
    made.functions.append(taken)
    made.opset_import.append(helper.make_opsetid("mine", 1))
    made.graph.node[1].op_type = "conv_relu"
    made.graph.node[1].domain = "mine"
    made.graph.node[0].name = "conv2 + relu2"
    fused = functions(made)
    assert [function.name for function in fused.functions][-1] == "conv_relu_2"
    assert fused.graph.node[-1].name == "conv2 + relu2_2"


def test_runs_alike_everywhere_and_inlines_back() -> None:
    made = two()
    fused = functions(made)
    x = np.random.default_rng(1).standard_normal((1, 4, 8, 8)).astype(np.float32)
    (expected,) = computed(made, x)
    np.testing.assert_array_equal(computed(fused, x)[0], expected)
    (reference,) = ReferenceEvaluator(fused).run(None, {"x": x})
    np.testing.assert_allclose(reference, expected, rtol=1e-4, atol=1e-4)
    inlined = onnx.inliner.inline_local_functions(fused)
    assert [node.op_type for node in inlined.graph.node] == ["Conv", "Relu", "Conv", "Relu"]
    np.testing.assert_array_equal(computed(inlined, x)[0], expected)


def test_the_ir_version_rises_to_that_of_functions() -> None:
    fused = functions(two(opset=9, ir_version=4))
    assert fused.ir_version == 8
    assert [each.name for each in fused.graph.input] == ["x"]
    flat = trtfuse.fuse(two(opset=9, ir_version=4), groups="flat").model
    assert flat.ir_version == 4
    assert trtfuse.verify(two(opset=9, ir_version=4), fused).ok


def test_what_lists_its_initializers_as_inputs_stays_flat() -> None:
    result = trtfuse.fuse(two(opset=9, ir_version=3), groups="functions")
    assert result.model == two(opset=9, ir_version=3)
    assert all(fusion.into == fusion.nodes for fusion in result.report.fused)
    assert {fusion.kind for fusion in result.report.fused} == {"group"}


@pytest.mark.parametrize(
    "activation",
    [
        "Celu<alpha=0.5>",
        "Elu<alpha=0.5>",
        "HardSigmoid<alpha=0.3>",
        "LeakyRelu<alpha=0.2>",
        "Selu<alpha=1.5>",
        "Softmax<axis=1>",
        "Swish<alpha=1.5>",
        "ThresholdedRelu<alpha=0.3>",
    ],
)
def test_the_reference_evaluator_runs_every_function(activation: str) -> None:
    # A pointwise chain, or the attention around a Softmax.
    text = f"""(float[2,4] q, float[4,2] k) => (float[?,?] y) {{
        m = MatMul(q, k)
        p = {activation}(m)
        {"y = MatMul(p, q)" if "Softmax" in activation else "y = Tanh(p)"}
    }}"""
    original = model(text, opset=24, ir_version=10)
    fused = trtfuse.fuse(original, groups="functions", verify="none").model
    assert len(fused.functions) == 1
    rng = np.random.default_rng(0)
    feeds = {"q": rng.standard_normal((2, 4)), "k": rng.standard_normal((4, 2))}
    given = {name: array.astype(np.float32) for name, array in feeds.items()}
    (expected,) = ReferenceEvaluator(original).run(None, given)
    np.testing.assert_array_equal(ReferenceEvaluator(fused).run(None, given)[0], expected)


def test_names_of_any_kind() -> None:
    made = two()
    made.graph.node[0].name = "a + b"
    made.graph.node[1].name = "größe"
    made.graph.node[2].name = ""
    made.graph.node[3].name = "größe"
    fused = functions(made)
    assert [node.name for node in fused.graph.node] == ["a + b + größe", "node_of_c + größe"]


def test_bodies_have_groups_too() -> None:
    branch = (
        "() => (float[?,?,?,?] {0}) {{ [conv_{0}] c{0} = Conv(x, w) [relu_{0}] {0} = Relu(c{0}) }}"
    )
    then, other = branch.format("t"), branch.format("e").replace("(x, w)", "(x, v)")
    text = f"""(bool cond, float[1,4,8,8] x) => (float[?,?,?,?] y) {{
        [choice] y = If (cond) <then_branch = th {then}, else_branch = el {other}>
    }}"""
    made = model(text, w=W, v=-W)
    fused = functions(made)
    assert len(fused.functions) == 1
    (choice,) = fused.graph.node
    names = [[node.name for node in a.g.node] for a in choice.attribute]
    assert sorted(names) == [["conv_e + relu_e"], ["conv_t + relu_t"]]
    x = np.ones((1, 4, 8, 8), np.float32)
    for which in (True, False):
        expected = computed(made, np.array(which), x)
        np.testing.assert_array_equal(computed(fused, np.array(which), x), expected)


def test_functions_of_a_user_have_groups_too() -> None:
    made = two()
    own = onnx.FunctionProto(name="Block", domain="mine", input=["p", "q"], output=["s"])
    own.node.append(helper.make_node("Conv", ["p", "q"], ["r"], name="inner_conv"))
    own.node.append(helper.make_node("Relu", ["r"], ["s"], name="inner_relu"))
    own.opset_import.extend(made.opset_import)
    made.functions.append(own)
    made.opset_import.append(helper.make_opsetid("mine", 1))
    own_again = made.functions[0]
    own_again.opset_import.append(helper.make_opsetid("mine", 1))
    del made.graph.node[2:]
    made.graph.node.append(helper.make_node("Block", ["b", "v"], ["y"], domain="mine", name="call"))
    fused = functions(made)
    block = next(function for function in fused.functions if function.name == "Block")
    assert [node.name for node in block.node] == ["inner_conv + inner_relu"]
    x = np.ones((1, 4, 8, 8), np.float32)
    np.testing.assert_array_equal(computed(fused, x), computed(made, x))


def test_functions_that_import_other_operator_sets_are_left_alone() -> None:
    made = two(opset=17)
    own = onnx.FunctionProto(name="Block", domain="mine", input=["p", "q"], output=["s"])
    own.node.append(helper.make_node("Conv", ["p", "q"], ["r"], name="inner_conv"))
    own.node.append(helper.make_node("Relu", ["r"], ["s"], name="inner_relu"))
    own.opset_import.append(helper.make_opsetid("", 15))
    made.functions.append(own)
    made.opset_import.append(helper.make_opsetid("mine", 1))
    del made.graph.node[2:]
    made.graph.node.append(helper.make_node("Block", ["b", "v"], ["y"], domain="mine", name="call"))
    result = trtfuse.fuse(made)
    assert [fusion.name for fusion in result.report.fused] == ["conv1 + relu1"]
    assert result.model.functions[0] == made.functions[0]


def test_functions_named_like_ours_are_left_alone() -> None:
    made = two()
    own = onnx.FunctionProto(name="conv_relu", domain="trtfuse", input=["p"], output=["s"])
    own.node.append(helper.make_node("Relu", ["p"], ["r"], name="one"))
    own.node.append(helper.make_node("Relu", ["r"], ["s"], name="two"))
    own.opset_import.extend(made.opset_import)
    made.functions.append(own)
    made.opset_import.append(helper.make_opsetid("trtfuse", 1))
    made.graph.node[3].op_type, made.graph.node[3].domain = "conv_relu", "trtfuse"
    fused = functions(made)
    assert fused.functions[0] == made.functions[0]
    assert [node.op_type for node in fused.graph.node] == [
        "conv_relu_2",
        "Conv",
        "conv_relu",
    ]


def test_the_default_domain_may_be_spelled_out() -> None:
    made = two(opset=17)
    made.opset_import[0].domain = "ai.onnx"
    assert trtfuse.verify(made, functions(made)).ok


def test_a_fused_model_can_be_checked_as_a_whole() -> None:
    assert trtfuse.fuse(functions(two()), groups="functions", verify="model").ok


def test_the_report_says_what_became_of_groups() -> None:
    report = trtfuse.fuse(two(), groups="functions").report
    assert [(f.kind, f.nodes, f.into) for f in report.fused] == [
        ("group", ["conv1", "relu1"], ["conv1 + relu1"]),
        ("group", ["conv2", "relu2"], ["conv2 + relu2"]),
    ]
    assert (report.before.nodes, report.after.nodes) == (4, 4)
    assert report.after.operators == {"Conv": 2, "Relu": 2}
    flat = trtfuse.fuse(two()).report
    assert [fusion.into for fusion in flat.fused] == [["conv1", "relu1"], ["conv2", "relu2"]]
    assert flat.after == report.after


def test_a_flat_graph_says_which_group_a_node_is_in() -> None:
    made = two(ir_version=10)
    flat = trtfuse.fuse(made, groups="flat").model
    marks = [{entry.key: entry.value for entry in node.metadata_props} for node in flat.graph.node]
    assert (
        marks == [{"trtfuse.group": "conv1 + relu1"}] * 2 + [{"trtfuse.group": "conv2 + relu2"}] * 2
    )
    assert trtfuse.fuse(flat, groups="flat").model == flat
    gone = trtfuse.fuse(flat, groups="flat", skip=["conv-relu"]).model
    assert gone == made
    assert not any(node.metadata_props for node in made.graph.node)


def test_before_nodes_have_metadata_a_flat_graph_is_left_as_it_is() -> None:
    assert trtfuse.fuse(two(ir_version=8), groups="flat").model == two(ir_version=8)


def test_what_a_layer_says_of_itself_goes_to_the_call() -> None:
    made = two(ir_version=10)
    made.graph.node[0].doc_string = "the first"
    made.graph.node[0].metadata_props.add(key="origin", value="here")
    call = functions(made).graph.node[0]
    assert call.doc_string == "the first"
    assert [(entry.key, entry.value) for entry in call.metadata_props] == [("origin", "here")]


def test_unknown_ways_are_refused() -> None:
    with pytest.raises(trtfuse.UsageError, match="'all'; there are flat, functions, off"):
        trtfuse.fuse(two(), groups="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call", ["Elu<alpha=0.5>", "LeakyRelu<alpha=0.5>", "Swish<alpha=0.5>", "HardSigmoid<alpha=0.5>"]
)
def test_an_attribute_that_the_reference_evaluator_cannot_refer_to_stands_in_the_function(
    call: str,
) -> None:
    made = model(f"(float[2] x) => (float[2] y) {{ a = {call}(x) y = Exp(a) }}", opset=24)
    result = trtfuse.fuse(made, groups="functions").model
    (function,) = result.functions
    assert list(function.attribute) == []
    feeds = {"x": np.float32([-1, 2])}
    (expected,) = ReferenceEvaluator(made).run(None, feeds)
    (found,) = ReferenceEvaluator(result).run(None, feeds)
    np.testing.assert_array_equal(found, expected)


def test_before_opset_7_there_are_no_groups() -> None:
    made = model("(float[2] x) => (float[2] y) { a = Neg(x) y = Exp(a) }", opset=6)
    assert trtfuse.fuse(made).report.fused == []


def test_quantized_groups_parse_in_every_form() -> None:
    made = model(
        """(float[3, 4] x) => (float[3, 4] y) {
            q0 = QuantizeLinear(x, s, z)
            d1 = DequantizeLinear(q0, s, z) e1 = DequantizeLinear(w1, s, z)
            c1 = MatMul(d1, e1) q1 = QuantizeLinear(c1, s, z)
            d2 = DequantizeLinear(q1, s, z) e2 = DequantizeLinear(w2, s, z)
            c2 = MatMul(d2, e2) q2 = QuantizeLinear(c2, s, z) y = DequantizeLinear(q2, s, z)
        }""",
        s=np.float32(0.05),
        z=np.int8(0),
        w1=np.arange(16, dtype=np.int8).reshape(4, 4),
        w2=np.arange(16, 32, dtype=np.int8).reshape(4, 4),
    )
    results = [trtfuse.fuse(made, groups=form) for form in ("functions", "flat", "off")]
    called = results[0].model
    assert len(called.functions) == 2
    inside = [node for function in called.functions for node in function.node]
    quantizers = [node.name for node in inside if node.op_type != "MatMul"]
    assert len(quantizers) == len(set(quantizers)) == 6
    pytest.importorskip("tensorrt_rtx")
    assert len({trtfuse.build(result).kernels for result in results}) == 1


def per_channel() -> ModelProto:
    """Two quantized convolutions with a scale for each channel, and a residual sum."""
    rng = np.random.default_rng(0)
    return model(
        """(float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y) {
            q0 = QuantizeLinear(x, s, z) d0 = DequantizeLinear(q0, s, z)
            e0 = DequantizeLinear<axis = 0>(w, ws, wz)
            c0 = Conv<pads = [1, 1, 1, 1]>(d0, e0) r0 = Relu(c0)
            q1 = QuantizeLinear(r0, s, z) d1 = DequantizeLinear(q1, s, z)
            e1 = DequantizeLinear<axis = 0>(v, ws, wz)
            c1 = Conv<pads = [1, 1, 1, 1]>(d1, e1) a = Add(c1, d0) r1 = Relu(a)
            q2 = QuantizeLinear(r1, s, z) y = DequantizeLinear(q2, s, z)
        }""",
        s=np.float32(0.05),
        z=np.int8(0),
        ws=np.full(8, 0.01, np.float32),
        wz=np.zeros(8, np.int8),
        **{name: rng.integers(-127, 127, (8, 8, 3, 3)).astype(np.int8) for name in "wv"},
    )


def blocks_of_int4() -> ModelProto:
    """Two products by weights of 4 bits, with a scale for each block of 16."""
    return model(
        """(float16[4, 32] x) => (float16[4, 16] y) {
            e0 = DequantizeLinear<axis = 0, block_size = 16>(w, s) a = MatMul(x, e0)
            e1 = DequantizeLinear<axis = 0, block_size = 16>(v, s) b = MatMul(x, e1)
            y = Add(a, b)
        }""",
        ir_version=10,
        s=np.full((2, 16), 0.01, np.float16),
        w=np.zeros((32, 16), ml_dtypes.int4),
        v=np.ones((32, 16), ml_dtypes.int4),
    )


@pytest.mark.parametrize("made", [per_channel(), blocks_of_int4()], ids=["channels", "blocks"])
def test_quantized_models_build_to_the_same_in_every_form(made: ModelProto) -> None:
    pytest.importorskip("tensorrt_rtx")
    engines = [trtfuse.build(made)] + [
        trtfuse.build(trtfuse.fuse(made, groups=form)) for form in ("functions", "flat", "off")
    ]
    assert len({(engine.kernels, engine.traffic) for engine in engines}) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("c = Conv(x, w) y = Relu(c)", "conv_relu"),
        ("c = Conv(x, w) s = Sigmoid(c) y = Mul(c, s)", "conv_silu"),
        ("c = Conv(x, w) s = HardSigmoid(c) y = Mul(c, s)", "conv_hard_swish"),
        ("c = Conv(x, w) s = Softplus(c) t = Tanh(s) y = Mul(c, t)", "conv_mish"),
        ("c = Conv(x, w) y = LeakyRelu(c)", "conv_leaky_relu"),
        ("c = Conv(x, w) i = Neg(x) s = Add(c, i) y = Relu(s)", "conv_add_relu"),
        ("c = Conv(x, w) i = Neg(x) y = Max(c, i)", "conv_max"),
        ("c = Conv<group = 4>(x, d) r = Relu(c) y = Conv(r, w)", "depthwise_pointwise"),
        ("m = MatMul(x, v) a = Add(m, o) y = Relu(a)", "fc_relu"),
        ("m = MatMul(x, v) s = Sigmoid(m) y = Mul(m, s)", "fc_silu"),
        ("m = MatMul(x, v) y = Add(m, o)", "fc_add"),
        ("m = MatMul(x, v) a = Relu(m) n = MatMul(a, v) b = Tanh(n) y = MatMul(b, v)", "mlp_3"),
        ("m = Neg(x) y = Exp(m)", "pointwise_neg_exp"),
        ("a = Neg(x) b = Exp(a) c = Neg(b) e = Exp(c) y = Tanh(e)", "pointwise_5"),
    ],
)
def test_functions_say_what_is_in_them(text: str, name: str) -> None:
    made = model(
        f"(float[1,4,4,4] x) => (float[?,?,?,?] y) {{ {text} }}",
        w=W[:, :, :1, :1],
        d=W[:, :1, :1, :1],
        v=W[0, :, 0, 0].reshape(1, 4).repeat(4, 0).copy(),
        o=np.ones(4, np.float32),
    )
    (function,) = functions(made, skip=["no-op"]).functions
    assert function.name == name
