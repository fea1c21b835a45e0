"""Model-local functions: graphs that rules run in, written as they were read."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
import pytest
from fusing import rewrite
from models import nodes
from onnx import AttributeProto, FunctionProto, ModelProto, TensorProto, helper, parser

from trtfuse.ir.graph import Graph, Value
from trtfuse.ir.model import Model
from trtfuse.ir.tensor import Array


def parsed(text: str, *, full: bool = True, check: bool = True) -> ModelProto:
    """A model of opset 21 with functions in the domain `my`."""
    made = parser.parse_model(f'<ir_version: 10, opset_import: ["": 21, "my": 1]> main {text}')
    if check:
        onnx.checker.check_model(made, full_check=full)
    return made


def function(made: ModelProto, name: str = "f") -> FunctionProto:
    (only,) = [each for each in made.functions if each.name == name]
    return only


def graph(model: Model, name: str = "f") -> Graph:
    (only,) = [g for g in model.functions if g.function is not None and g.function.name == name]
    return only


def value(inside: Graph, name: str) -> Value:
    computed = [v for node in inside.nodes() for v in node.outputs if v is not None]
    (only,) = [v for v in (*inside.inputs, *computed) if v.name == name]
    return only


def operators(proto: FunctionProto) -> list[str]:
    return [node.op_type for node in proto.node]


def lines(proto: FunctionProto) -> list[str]:
    made = helper.make_graph(proto.node, "g", [], [])
    return nodes(made)


def run(made: ModelProto, **feeds: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options)
    return [np.asarray(each) for each in session.run(None, feeds)]


def assert_same(before: ModelProto, after: ModelProto, **feeds: Array) -> None:
    """Both are valid and compute the same, as they are and inlined."""
    onnx.checker.check_model(after, full_check=True)
    inlined = onnx.inliner.inline_local_functions(after)
    onnx.checker.check_model(inlined, full_check=True)
    for old, new, flat in zip(
        run(before, **feeds), run(after, **feeds), run(inlined, **feeds), strict=True
    ):
        np.testing.assert_allclose(new, old, rtol=1e-6)
        np.testing.assert_array_equal(flat, new)


X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)

PLAIN = """(float[2,3] x) => (float[2,3] y) { y = my.f(x) }
    <domain: "my", opset_import: ["": 21]> f (a) => (b) { c = Relu(a) b = Relu(c) }"""
REFERRING = """(float[2,3] x) => (float[2,3] y) { y = my.f<perm=[1,0]>(x) }
    <domain: "my", opset_import: ["": 21]> f <perm> (a) => (b) {
        c = Transpose<perm: ints = @perm>(a) b = Transpose<perm: ints = @perm>(c) }"""
DEFAULT = """(float[2,3] x) => (float[2,3] y) { y = my.f(x) }
    <domain: "my", opset_import: ["": 21]> f <alpha: float = 0.5> (a) => (b) {
        b = LeakyRelu<alpha: float = @alpha>(a) }"""
NESTED = """(float[2,3] x) => (float[2,3] y) { y = my.f(x) }
    <domain: "my", opset_import: ["": 21, "my": 1]> f (a) => (b) { c = my.g(a) b = my.g(c) }
    <domain: "my", opset_import: ["": 13]> g (a) => (b) { b = Neg(a) }"""
BODY = """(float[2,3] x, bool c) => (float[2,3] y) { y = my.f(x, c) }
    <domain: "my", opset_import: ["": 21]> f (a, c) => (b) {
        d = Neg(a)
        b = If(c) <
            then_branch = t () => (float[2,3] p) { p = Relu(d) },
            else_branch = e () => (float[2,3] q) { q = Abs(a) }> }"""


@pytest.mark.parametrize("text", [PLAIN, REFERRING, DEFAULT, NESTED, BODY])
def test_functions_are_written_as_they_were_read(text: str) -> None:
    made = parsed(text, full=False)
    made.functions[0].doc_string = "what it does"
    made.functions[0].metadata_props.add(key="pkg", value="layer")
    made.functions[0].value_info.add(name="b")
    model = Model(made)
    model.infer_shapes()
    assert model.to_proto().SerializeToString() == made.SerializeToString()


def test_overloads_are_functions_of_their_own() -> None:
    made = parsed(
        """(float[2,3] x) => (float[2,3] y) { t = my.f(x) y = my.f:other(t) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) { c = Neg(a) b = Neg(c) }
        <domain: "my", opset_import: ["": 21], overload: "other"> f (a) => (b) { b = Abs(a) }"""
    )
    assert [node.op for node in Model(made).graph.nodes()] == [
        "function my::f", "function my::f:other"
    ]  # fmt: skip
    assert Model(made).to_proto().SerializeToString() == made.SerializeToString()


def test_a_body_that_the_caller_gives_is_none_of_the_function() -> None:
    made = parsed(PLAIN)
    node = made.functions[0].node.add(op_type="If", input=["a"], output=["z"])
    for name in ("then_branch", "else_branch"):
        node.attribute.add(name=name, type=AttributeProto.GRAPH, ref_attr_name="branch")
    model = Model(made)
    assert [node.bodies for node in graph(model).nodes()] == [(), (), ()]
    assert model.to_proto().SerializeToString() == made.SerializeToString()


def test_a_function_of_the_default_domain_is_a_function_however_that_is_spelled() -> None:
    made = parsed(PLAIN)
    made.graph.node[0].domain, made.graph.node[0].op_type = "", "Relu"
    made.functions[0].domain, made.functions[0].name = "ai.onnx", "Relu"
    assert [node.op for node in Model(made).graph.nodes()] == ["function ::Relu"]


# Rules


def test_rules_run_inside_functions() -> None:
    made = parsed(
        """(float[2,3] x) => (float[3,2] y) { y = my.f(x) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) {
            [one] c = Transpose(a) [two] d = Transpose(c) [three] b = Transpose(d) }"""
    )
    result = rewrite(made)
    assert operators(function(result.model)) == ["Transpose"]
    assert list(function(result.model).output) == ["b"]
    assert_same(made, result.model, x=X)
    assert rewrite(result.model).model.SerializeToString() == result.model.SerializeToString()


def test_a_function_and_the_bodies_in_it_have_the_opset_of_the_function() -> None:
    made = parsed(BODY.replace('["": 21]', '["ai.onnx": 14]'), check=False)
    model = Model(made)
    assert model.graph.opset == 21
    assert [each.opset for each in graph(model).walk()] == [14, 14, 14]


def test_what_an_attribute_of_the_function_decides_is_left_alone() -> None:
    made = parsed(REFERRING, full=False)
    assert [node.op for node in graph(Model(made)).nodes()] == ["Transpose<@perm>"] * 2
    result = rewrite(made)
    assert result.model.SerializeToString() == made.SerializeToString()


def test_random_numbers_that_the_caller_scales_stay_apart() -> None:
    made = parsed(
        """(float[2,3] x) => (float[2,3] y) { y = my.f<s = 1.5>(x) }
        <domain: "my", opset_import: ["": 21]> f <s> (a) => (b) {
            c = RandomNormalLike<scale: float = @s>(a)
            d = RandomNormalLike<scale: float = @s>(a)
            b = Sub(c, d) }""",
        full=False,
    )
    assert operators(function(rewrite(made).model)) == ["RandomNormalLike"] * 2 + ["Sub"]


def test_a_new_constant_in_a_function_is_a_node() -> None:
    made = parsed(
        """(float[2,3] x) => (float[6,1] y) { y = my.f(x) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) {
            flat = Constant<value = int64[1] {6}>() pair = Constant<value = int64[2] {6,1}>()
            c = Reshape(a, flat) [last] b = Reshape(c, pair) }"""
    )
    result = rewrite(made)
    assert lines(function(result.model)) == [
        "-: Constant() -> last.shape", "last: Reshape(a, last.shape) -> b"
    ]  # fmt: skip
    assert_same(made, result.model, x=X)
    again = rewrite(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_a_constant_of_a_function_that_is_folded_once_is_merged_with_its_twin_at_once() -> None:
    made = parsed(
        """(float[2,3] x) => (float[2,3] y) { y = my.f(x) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) {
            half = Constant<value = float {0.5}>()
            two = Constant<value = float {2}>()
            computed = Reciprocal(two)
            d = Min(a, computed)
            b = Max(d, half) }"""
    )
    rules = ["fold-constants", "duplicate-constant"]
    result = rewrite(made, rules=rules)
    assert operators(function(result.model)) == ["Constant", "Min", "Max"]
    assert_same(made, result.model, x=X)
    again = rewrite(result.model, rules=rules)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_equal_constants_of_a_function_are_one_that_stands_in_front() -> None:
    made = parsed(
        """(float[2,3] x) => (float[2,3] y, float[2,3] z) { y, z = my.f(x) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b, c) {
            one = Constant<value = float {2}>() c = Max(a, one)
            other = Constant<value_float = 2.0>() b = Min(a, other) }"""
    )
    result = rewrite(made)
    assert operators(function(result.model)) == ["Constant", "Max", "Min"]
    assert_same(made, result.model, x=X)


def test_names_inside_and_outside_may_be_the_same() -> None:
    made = parsed(
        """(float[2,3] a) => (float[2,3] b, float[3,2] d) {
            c = Transpose(a) e = Transpose(c) b = my.f(e) d = Transpose(b) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) {
            c = Transpose(a) e = Transpose(c) d = Relu(e) b = Relu(d) }"""
    )
    result = rewrite(made)
    assert nodes(result.model) == ["-: f(a) -> b", "-: Transpose(b) -> d"]
    assert operators(function(result.model))[-1:] == ["Relu"]
    assert_same(made, result.model, a=X)


def test_a_call_whose_results_nothing_reads_goes_and_the_function_stays() -> None:
    made = parsed(PLAIN.replace("y = my.f(x)", "t = my.f(x) y = Neg(x)"))
    result = rewrite(made)
    assert nodes(result.model) == ["-: Neg(x) -> y"]
    assert [each.name for each in result.model.functions] == ["f"]


def test_a_branch_inside_a_function_is_inlined_into_it() -> None:
    made = parsed(BODY.replace("d = Neg(a)", "d = Neg(a) no = Constant<value = bool {0}>()")
                  .replace("If(c)", "If(no)"))  # fmt: skip
    result = rewrite(made)
    assert lines(function(result.model)) == ["-: Abs(a) -> b"]
    assert_same(made, result.model, x=X, c=np.array(True))


# Shapes


def test_inputs_of_a_function_have_the_shapes_of_its_call() -> None:
    model = Model(parsed(NESTED))
    for name in ("f", "g"):
        (a,) = graph(model, name).inputs
        assert (a.type, a.shape) == (TensorProto.FLOAT, (2, 3))
    assert value(graph(model), "c").shape == (2, 3)


def test_where_calls_disagree_nothing_is_known_of_the_size() -> None:
    model = Model(
        parsed(
            """(float[n,3] x, float[n,4] z, double[2] w) => (float[n,3] y, float[n,4] t, double v) {
                y = my.f(x) t = my.f(z) r = my.g(x) v = my.g(w) }
            <domain: "my", opset_import: ["": 21]> f (a) => (b) { b = Neg(a) }
            <domain: "my", opset_import: ["": 21]> g (a) => (b) { b = ReduceSum<keepdims=0>(a) }""",
            full=False,
        )
    )
    (a,), (other,) = graph(model).inputs, graph(model, "g").inputs
    assert (a.type, a.shape) == (TensorProto.FLOAT, ("n", None))
    assert value(graph(model), "b").rank == 2
    assert (other.type, other.shape) == (None, None)


def test_a_size_on_which_calls_disagree_is_not_folded() -> None:
    text = """(float[2,3] x, float[2,4] z) => (int64[1] y, int64[1] t) { y = my.f(x) t = my.f(z) }
        <domain: "my", opset_import: ["": 21]> f (a) => (b) {
            s = Shape<start = START, end = END>(a) b = Neg(s) }"""
    first = parsed(text.replace("START", "0").replace("END", "1"))
    last = parsed(text.replace("START", "1").replace("END", "2"))
    assert operators(function(rewrite(first).model)) == ["Constant", "Neg"]
    assert operators(function(rewrite(last).model)) == ["Shape", "Neg"]


def test_a_call_in_a_body_counts_as_one() -> None:
    model = Model(
        parsed(
            """(float[2,3] x, bool c) => (float[2,3] y) {
                y = If(c) <then_branch = t () => (float[2,3] p) { p = my.f(x) },
                           else_branch = e () => (float[2,3] q) { q = Neg(x) }> }
            <domain: "my", opset_import: ["": 21]> f (a) => (b) { b = Abs(a) }"""
        )
    )
    (a,) = graph(model).inputs
    assert a.shape == (2, 3)


def test_of_a_function_that_nothing_calls_no_shape_is_known() -> None:
    model = Model(parsed(PLAIN.replace("my.f(x)", "Neg(x)")))
    (a,) = graph(model).inputs
    assert (a.type, a.shape) == (None, None)


def test_an_input_that_one_call_leaves_out_has_no_shape() -> None:
    model = Model(
        parsed(
            """(float[2,3] x, float[2,3] z) => (float[2,3] y, float[2,3] t) {
                y = my.f(x, z) t = my.f(x) }
            <domain: "my", opset_import: ["": 21]> f (a, b) => (c) { c = Clip(a, b) }""",
            full=False,
        )
    )
    assert [each.shape for each in graph(model).inputs] == [(2, 3), None]


def test_symbols_made_up_around_a_call_do_not_outlive_their_round() -> None:
    made = parsed(
        """(float[n,8] x) => (float[?,?] y) <
            int64[2] fours = {-1, 4}, int64[2] twos = {-1, 2}
        > {
            w = Reshape(x, fours) v = Reshape(w, twos) c = Relu(v)
            u = Reshape(x, fours) d = Sigmoid(u)
            y = my.f(c, d)
        }
        <domain: "my", opset_import: ["": 21]> f (c, d) => (r) {
            zero = Constant<value_int=0>() open = Constant<value_ints=[-1]>()
            h = Tanh(c) s = Shape(h) n = Gather(s, zero) m = Reshape(n, open)
            t = Concat<axis=0>(m, open) g = Reshape(d, t) r = Relu(g)
        }"""
    )
    result = rewrite(made, verify="none")
    assert "shuffle-shuffle" in [each.rule for each in result.report.fused]
    # The first round calls the rows of c what the second calls those of d.
    assert_same(made, result.model, x=np.float32([range(8), range(8)]))
