"""Which values are constants. What they are is held against onnx's reference implementation."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from fusing import rewrite
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Graph, Value
from trtfuse.ir.model import Model
from trtfuse.ir.tensor import FoldedTensor, StoredTensor, rounded


def model(text: str, *, opset: int = 17, ir_version: int = 8) -> Model:
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
    return Model(parser.parse_model(f"{header} g {text}"))


def value(graph: Graph, name: str) -> Value:
    values = [*graph.inputs, *graph.initializers, *graph.sparse, *graph.captures.values()]
    values += [v for node in graph.nodes() for v in node.outputs if v is not None]
    (found,) = [v for v in dict.fromkeys(values) if v.name == name]
    return found


def folded(made: Model, name: str = "y") -> npt.NDArray[Any] | None:
    tensor = constant(value(made.graph, name))
    if tensor is None:
        return None
    array = tensor.array()
    assert tensor.shape == array.shape
    return array


def assert_folded(made: Model) -> None:
    """The output `y` is a constant, and the one that the reference implementation computes."""
    (result,) = ReferenceEvaluator(made.proto).run(None, {})
    expected = np.asarray(result)
    found = folded(made)
    assert found is not None
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


# Operators

MATRIX = "float[2, 3] m = {1, 2, 3, 4, 5, 6}"
ONES = "float[1, 2, 1, 3] n = {1, 2, 3, 4, 5, 6}"


@pytest.mark.parametrize(
    "text",
    [
        "<float[2] w = {1, 2}> { y = Identity(w) }",
        f"<{MATRIX}> {{ y = Transpose(m) }}",
        f"<{ONES}> {{ y = Transpose(n) }}",
        f"<{ONES}> {{ y = Transpose<perm = [2, 0, 3, 1]>(n) }}",
        "<float s = {3}> { y = Transpose(s) }",
        f"<{MATRIX}, int64[2] to = {{3, 2}}> {{ y = Reshape(m, to) }}",
        f"<{MATRIX}, int64[3] to = {{0, 1, -1}}> {{ y = Reshape(m, to) }}",
        f"<{MATRIX}, int64[1] to = {{-1}}> {{ y = Reshape(m, to) }}",
        "<float[0, 3] z = {}, int64[2] to = {3, 0}> { y = Reshape<allowzero = 1>(z, to) }",
        "<float[1] s = {3}, int64[0] to = {}> { y = Reshape(s, to) }",
        f"<{ONES}> {{ y = Flatten(n) }}",
        f"<{ONES}> {{ y = Flatten<axis = 0>(n) }}",
        f"<{ONES}> {{ y = Flatten<axis = 2>(n) }}",
        f"<{ONES}> {{ y = Flatten<axis = 4>(n) }}",
        f"<{ONES}> {{ y = Flatten<axis = -1>(n) }}",
        "<float s = {3}> { y = Flatten<axis = 0>(s) }",
        f"<{ONES}> {{ y = Squeeze(n) }}",
        f"<{ONES}, int64[1] axes = {{2}}> {{ y = Squeeze(n, axes) }}",
        f"<{ONES}, int64[2] axes = {{-2, 0}}> {{ y = Squeeze(n, axes) }}",
        f"<{MATRIX}, int64[1] axes = {{0}}> {{ y = Unsqueeze(m, axes) }}",
        f"<{MATRIX}, int64[2] axes = {{-1, 1}}> {{ y = Unsqueeze(m, axes) }}",
        f"<{MATRIX}, int64 axis = {{1}}> {{ y = Unsqueeze(m, axis) }}",
        f"<{MATRIX}, int64[3] axes = {{4, 0, 2}}> {{ y = Unsqueeze(m, axes) }}",
        f"<{MATRIX}> {{ a = Transpose(m) b = Flatten(a) c = Identity(b) y = Transpose(c) }}",
    ],
)
def test_an_operator_on_constants_is_a_constant(text: str) -> None:
    assert_folded(model(f"() => (float[?] y) {text}"))


@pytest.mark.parametrize(
    ("sizes", "axis", "flat"),
    [("0, 3", 1, (0, 3)), ("2, 0, 3", 2, (0, 3)), ("2, 0, 3", 1, (2, 0)), ("0, 3", -1, (0, 3))],
)
def test_flatten_keeps_the_sizes_of_nothing(sizes: str, axis: int, flat: tuple[int, int]) -> None:
    made = model(
        f"() => (float[?] y) <float[{sizes}] z = {{}}> {{ y = Flatten<axis = {axis}>(z) }}"
    )
    found = folded(made)
    assert found is not None
    assert found.shape == flat


@pytest.mark.parametrize(
    "text",
    [
        f"<{ONES}> {{ y = Squeeze(n) }}",
        f"<{ONES}> {{ y = Squeeze<axes = [0, 2]>(n) }}",
        f"<{ONES}> {{ y = Squeeze<axes = [-2]>(n) }}",
        f"<{MATRIX}> {{ y = Unsqueeze<axes = [0]>(m) }}",
        f"<{MATRIX}> {{ y = Unsqueeze<axes = [0, 3]>(m) }}",
    ],
)
@pytest.mark.parametrize("opset", [11, 12])
def test_axes_are_an_attribute_before_opset_13(text: str, opset: int) -> None:
    assert_folded(model(f"() => (float[?] y) {text}", opset=opset))


def test_axes_that_are_computed_make_no_constant() -> None:
    made = model(
        f"""(int64[1] axes) => (float[?] y, float[?] z, float[?] r) <{ONES}> {{
            y = Squeeze(n, axes) z = Unsqueeze(n, axes) r = Reshape(n, axes)
        }}"""
    )
    assert [folded(made, name) for name in "yzr"] == [None, None, None]


def test_empty_axes_of_squeeze_are_read_differently_and_so_make_no_constant() -> None:
    # The reference implementation squeezes nothing, and ONNX Runtime everything.
    made = model(f"() => (float[?] y) <{ONES}, int64[0] axes = {{}}> {{ y = Squeeze(n, axes) }}")
    assert folded(made) is None


def test_an_axes_input_that_is_left_out_means_all() -> None:
    made = model(f"() => (float[?] y) <{ONES}> {{ y = Squeeze(n, ) }}")
    made.proto.graph.node[0].input[:] = ["n", ""]
    found = folded(Model(made.proto))
    assert found is not None
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    "text",
    [
        f"<{MATRIX}, int64[2] to = {{4, 2}}> {{ y = Reshape(m, to) }}",
        f"<{MATRIX}, int64[2] to = {{4, -1}}> {{ y = Reshape(m, to) }}",
        f"<{MATRIX}, int64[3] to = {{2, 3, 0}}> {{ y = Reshape(m, to) }}",
        f"<{MATRIX}, int64[1] axes = {{0}}> {{ y = Squeeze(m, axes) }}",
        f"<{MATRIX}, int64[1] axes = {{7}}> {{ y = Squeeze(m, axes) }}",
        f"<{MATRIX}, int64[1] axes = {{7}}> {{ y = Unsqueeze(m, axes) }}",
        f"<{MATRIX}> {{ y = Transpose<perm = [0]>(m) }}",
        "<float[0, 3] z = {}, int64[2] to = {0, -1}> { y = Reshape(z, to) }",
    ],
)
def test_an_operator_that_would_fail_at_run_time_makes_no_constant(text: str) -> None:
    assert folded(model(f"() => (float[?] y) {text}")) is None


def test_a_model_that_would_fail_at_run_time_goes_through() -> None:
    made = model(
        f"""(float[2, 3] x) => (float[2, 3] z) <{MATRIX}, int64[2] to = {{4, 2}}> {{
            y = Reshape(m, to) z = Mul(x, y)
        }}"""
    )
    assert rewrite(made.proto).report.fused == []


def test_a_reshape_by_attribute_of_opset_1_makes_no_constant() -> None:
    made = model(f"() => (float[?] y) <{MATRIX}> {{ y = Reshape<shape = [6]>(m) }}", opset=1)
    assert folded(made) is None


@pytest.mark.parametrize(
    ("attribute", "content"),
    [
        ("value_float", 1.5),
        ("value_floats", [1.5, -0.0]),
        ("value_int", 2**40),
        ("value_ints", [-1, 2]),
        ("value", numpy_helper.from_array(np.array([[1.5, 2]], np.float16))),
        ("value", numpy_helper.from_array(np.array(3, np.int8))),
    ],
)
def test_a_constant_node_is_a_constant(attribute: str, content: object) -> None:
    assert_folded(with_constant(attribute, content))


def with_constant(attribute: str, content: Any) -> Model:
    made = model("() => (float[?] y) { y = Constant<value_int = 0>() }")
    attributes = {attribute: content}
    made.proto.graph.node[0].CopyFrom(helper.make_node("Constant", [], ["y"], **attributes))
    return Model(made.proto)


def test_strings_and_sparse_constants_are_left_alone() -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [2])
    sparse = helper.make_sparse_tensor(values, indices, [4])
    for attribute, content in (
        ("value_string", "a"),
        ("value_strings", ["a", "b"]),
        ("sparse_value", sparse),
    ):
        assert folded(with_constant(attribute, content)) is None


@pytest.mark.parametrize(
    "text",
    [
        "<float[2] w = {1, 2}> { y = Neg(w) }",
        "<float[2] w = {1, 2}> { y = Add(w, w) }",
        "<float[2] w = {1, 2}> { y = Dropout(w) }",
        "<float[2] w = {1, 2}> { y = RandomNormalLike(w) }",
        "<int64[1] w = {2}> { y = ConstantOfShape(w) }",
        "{ y = RandomUniform<shape = [2]>() }",
        "<float[2] w = {1, 2}> { y = other.Identity(w) }",
    ],
)
def test_other_operators_make_no_constants(text: str) -> None:
    assert folded(model(f"() => (float[?] y) {text}")) is None


def test_a_local_function_of_the_name_of_an_operator_is_not_that_operator() -> None:
    proto = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "mine": 1]>
        g () => (float[2] y) <float[2] w = {1, 2}> { y = mine.Identity(w) }
        <domain: "mine", opset_import: ["": 17]> Identity (p) => (q) { q = Neg(p) }
        """
    )
    assert folded(Model(proto)) is None


# Cast


@pytest.mark.parametrize("source", ["float", "double", "float16", "bfloat16"])
@pytest.mark.parametrize("target", ["float", "double", "float16", "bfloat16"])
def test_a_cast_between_floating_types_rounds_once(source: str, target: str) -> None:
    to = TensorProto.DataType.Value(target.upper())
    made = model(f"() => ({target}[6] y) <{source}[1] w = {{1}}> {{ y = Cast<to = {to}>(w) }}")
    numbers = np.array([1, -2.5, 0.1, 1e30, 65520, 3e-8])
    weights = rounded(numbers, TensorProto.DataType.Value(source.upper()))
    made.proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    found = folded(Model(made.proto))
    assert found is not None
    expected = rounded(weights.astype(np.float64), to)
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))
    assert found.dtype == helper.tensor_dtype_to_np_dtype(to)


@pytest.mark.parametrize("source", ["int8", "uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("target", ["float", "double", "float16", "bfloat16"])
def test_a_cast_from_integers_to_a_floating_type_is_a_constant(source: str, target: str) -> None:
    to = TensorProto.DataType.Value(target.upper())
    made = model(
        f"() => ({target}[3] y) <{source}[3] w = {{0, 1, 1}}> {{ y = Cast<to = {to}>(w) }}"
    )
    found = folded(made)
    assert found is not None
    np.testing.assert_array_equal(found.astype(np.float64), [0, 1, 1])


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float", "int32"),
        ("float", "bool"),
        ("float", "string"),
        ("float", "float8e4m3fn"),
        ("int64", "int8"),
        ("string", "float"),
    ],
)
def test_a_cast_that_runtimes_may_disagree_about_is_no_constant(source: str, target: str) -> None:
    to = TensorProto.DataType.Value(target.upper())
    content = '"1"' if source == "string" else "1"
    made = model(
        f"() => (float[1] y) <{source}[1] w = {{{content}}}> {{ y = Cast<to = {to}>(w) }}", opset=19
    )
    assert folded(made) is None


@pytest.mark.parametrize("source", ["int8", "string"])
def test_a_cast_to_the_same_type_is_the_constant_itself(source: str) -> None:
    to = TensorProto.DataType.Value(source.upper())
    content = '"1"' if source == "string" else "1"
    made = model(
        f"() => ({source}[1] y) <{source}[1] w = {{{content}}}> {{ y = Cast<to = {to}>(w) }}"
    )
    assert constant(value(made.graph, "y")) is value(made.graph, "w").tensor


# Who may change it


@pytest.mark.parametrize(("ir_version", "is_constant"), [(3, True), (4, False), (8, False)])
def test_an_initializer_among_the_inputs_is_a_constant_before_ir_4_only(
    ir_version: int, is_constant: bool
) -> None:
    made = model(
        """(float[2] w, float[2] v) => (float[2] y, float[2] v) <float[2] w = {1, 2}> {
            y = Identity(w)
        }""",
        ir_version=ir_version,
    )
    assert (folded(made) is not None) is is_constant
    assert folded(made, "v") is None


def test_an_initializer_is_kept_as_it_is_stored() -> None:
    made = model("() => (float[2] y) <float[2] w = {1, 2}> { y = Identity(w) }")
    tensor = constant(value(made.graph, "y"))
    assert isinstance(tensor, StoredTensor)
    assert tensor.proto is made.proto.graph.initializer[0]


def test_asking_changes_nothing_and_is_done_once() -> None:
    made = model(f"() => (float[?] y) <{MATRIX}> {{ y = Transpose(m) }}")
    before = made.to_proto().SerializeToString()
    first = constant(value(made.graph, "y"))
    assert isinstance(first, FoldedTensor)
    assert constant(value(made.graph, "y")) is first
    assert made.to_proto().SerializeToString() == before


def test_nothing_is_no_constant() -> None:
    assert constant(None) is None


@pytest.mark.parametrize("operators", [["Identity"], ["Transpose"], ["Identity", "Flatten"]])
def test_a_chain_of_ten_thousand_is_followed_without_recursion(operators: list[str]) -> None:
    names = [f"v{index}" for index in range(10_001)]
    nodes = [
        helper.make_node(operators[index % len(operators)], [before], [after])
        for index, (before, after) in enumerate(itertools.pairwise(names))
    ]
    made = chain(nodes, names[0], names[-1])
    start = time.process_time()
    found = folded(Model(made), names[-1])
    assert time.process_time() - start < 5
    assert found is not None
    np.testing.assert_array_equal(found, [[1, 2]])


def test_a_chain_of_ten_thousand_from_an_input_is_no_constant() -> None:
    names = [f"v{index}" for index in range(10_001)]
    nodes = [
        helper.make_node("Identity", [before], [after])
        for before, after in itertools.pairwise(names)
    ]
    made = chain(nodes, names[0], names[-1])
    made.graph.initializer[0].name = "other"
    made.graph.input.append(helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [1, 2]))
    assert folded(Model(made), names[-1]) is None


def chain(nodes: list[onnx.NodeProto], first: str, last: str) -> ModelProto:
    output = helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 2])
    weights = numpy_helper.from_array(np.array([[1, 2]], np.float32), first)
    return helper.make_model(helper.make_graph(nodes, "g", [], [output], [weights]))


# Bodies

LOOP = """
(int64 n, bool c) => (float[2] y) <float[2] w = {1, 2}> {
  t = Identity(w)
  y = Loop(n, c, w) <
    body = each (int64 i, bool go, float[2] carried) => (bool going, float[2] next) {
      going = Identity(go)
      same = Identity(carried)
      captured = Identity(t)
      next = If(going) <
        then_branch = deep () => (float[2] p) {
          twice = Identity(captured)
          not = Identity(same)
          p = Add(twice, not)
        },
        else_branch = other () => (float[2] p) { p = Identity(t) }
      >
    }
  >
}
"""


def test_what_a_loop_carries_is_no_constant_and_what_it_captures_is() -> None:
    made = model(LOOP)
    _, each, *branches = made.graph.walk()
    deep, other = sorted(branches, key=lambda graph: graph.proto.name)
    for name in ("carried", "same", "i", "go"):
        assert constant(value(each, name)) is None
    weights = value(made.graph, "w").tensor
    assert constant(value(each, "captured")) is weights
    assert constant(value(each, "t")) is weights
    assert constant(value(deep, "twice")) is weights
    assert constant(value(other, "p")) is weights
    assert constant(value(deep, "not")) is None
    assert constant(value(deep, "same")) is None
    assert constant(value(made.graph, "y")) is None


def test_an_initializer_of_a_body_that_is_its_input_as_well_is_no_constant() -> None:
    made = model(LOOP)
    body = made.proto.graph.node[1].attribute[0].g
    body.initializer.append(numpy_helper.from_array(np.array([1, 2], np.float32), "carried"))
    _, each, *_ = Model(made.proto).graph.walk()
    assert constant(value(each, "carried")) is None
