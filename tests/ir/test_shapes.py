"""Shapes and types as far as ONNX's inference knows them, and no farther than a caller lets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fusing import rewrite
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from trtfuse.ir.graph import Graph, Shape, Value
from trtfuse.ir.model import Model
from trtfuse.ir.shapes import type_and_shape, without_weights


def parsed(text: str, *, opset: int = 17, ir_version: int = 8) -> ModelProto:
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}, "custom": 1]>'
    return parser.parse_model(f"{header} g {text}")


def value(graph: Graph, name: str) -> Value:
    values = [*graph.inputs, *graph.initializers, *graph.captures.values()]
    values += [v for node in graph.nodes() for v in node.outputs if v is not None]
    (found,) = [v for v in dict.fromkeys(values) if v.name == name]
    return found


def shape(model: Model, name: str) -> Shape | None:
    return value(model.graph, name).shape


def test_shapes_are_sizes_symbols_and_unknown_dimensions() -> None:
    model = Model(
        parsed(
            """
            (float[N, 3, ?, 8] x, float[2, 3] z) => (float y, int64[?, ?] w) {
              t = Relu(x)
              u = Transpose<perm = [3, 0, 1, 2]>(t)
              y = ReduceMax<keepdims = 0>(u)
              w = NonZero(z)
            }
            """
        )
    )
    # Inference has a symbol of its own for the dimension without one.
    *known, unknown, last = shape(model, "t") or ()
    assert (known, last) == (["N", 3], 8)
    assert not isinstance(unknown, int)
    assert shape(model, "u") == (8, "N", 3, unknown)
    assert shape(model, "y") == ()
    assert value(model.graph, "y").rank == 0
    assert value(model.graph, "t").type == TensorProto.FLOAT
    assert value(model.graph, "w").type == TensorProto.INT64


def test_a_size_of_zero_is_a_size() -> None:
    model = Model(parsed("(float[0, 3] x) => (float[?, ?] y) { y = Neg(x) }"))
    assert shape(model, "y") == (0, 3)


def test_nothing_is_known_where_inference_cannot_tell() -> None:
    model = Model(
        parsed(
            """
            (float[2, 3] x, int64[k] sizes) => (float[?, ?] z) {
              t = Reshape(x, sizes)
              u = custom.Thing(x)
              v = Neg(u)
              z = Neg(x)
            }
            """
        )
    )
    for name in "tuv":
        assert shape(model, name) is None
        assert value(model.graph, name).rank is None
    assert value(model.graph, "t").type == TensorProto.FLOAT
    assert value(model.graph, "u").type is None


def test_a_reshape_by_a_small_constant_or_by_computed_sizes_is_known() -> None:
    model = Model(
        parsed(
            """
            (float[N, 3, 4] x) => (float[?, ?] y, float[?, ?] z)
            <int64[2] sizes = {0, 12}, int64[1] zero = {0}, int64[1] last = {-1}> {
              y = Reshape(x, sizes)
              all = Shape(x)
              first = Gather(all, zero)
              both = Concat<axis = 0>(first, last)
              z = Reshape(x, both)
            }
            """
        )
    )
    assert shape(model, "y") == ("N", 12)
    known = shape(model, "z")
    assert known is not None
    assert (len(known), known[0]) == (2, "N")


def test_large_weights_and_external_ones_are_left_out_of_the_copy() -> None:
    proto = parsed(
        "(float[N, 16] x) => (float[?, ?] y) { t = MatMul(x, w) u = Add(t, b) y = Add(u, e) }"
    )
    for name, dims in (("w", [16, 16]), ("b", [16])):
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(dims, np.float32), name))
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ones(16, np.float32), "b"))
    outside = proto.graph.initializer.add(name="e", dims=[16], data_type=TensorProto.FLOAT)
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="nowhere")
    model = Model(proto)
    lean = without_weights(model)
    assert [tensor.name for tensor in lean.graph.initializer] == ["b"]
    assert {each.name for each in lean.graph.input} == {"x", "w", "e"}
    assert lean.ByteSize() < 800
    assert shape(model, "y") == ("N", 16)


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_constants_of_every_ir_version_take_part(ir_version: int) -> None:
    listed = ", int64[2] sizes" if ir_version < 4 else ""
    model = Model(
        parsed(
            f"(float[2, 6] x{listed}) => (float[?, ?] y) <int64[2] sizes = {{3, 4}}> "
            "{ y = Reshape(x, sizes) }",
            opset=8,
            ir_version=ir_version,
        )
    )
    assert shape(model, "y") == (3, 4)


def test_bodies_know_the_shapes_of_what_they_compute_and_capture() -> None:
    model = Model(
        parsed(
            """
            (float[N, 2] x, bool c) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> {
              t = Neg(x)
              y = If(c) <
                then_branch = yes () => (float[N, 2] o) {
                  a = Transpose(w)
                  b = MatMul(t, a)
                  o = If(c) <
                    then_branch = deep () => (float[N, 2] p) { d = Exp(b) p = Abs(t) },
                    else_branch = deeper () => (float[N, 2] p) { p = Sin(t) }
                  >
                },
                else_branch = no () => (float[N, 2] o) { o = Exp(t) }
              >
            }
            """
        )
    )
    graphs = {graph.proto.name: graph for graph in model.graph.walk()}
    assert value(graphs["yes"], "b").shape == ("N", 3)
    assert value(graphs["yes"], "t").shape == ("N", 2)
    assert value(graphs["yes"], "w").shape == (3, 2)
    assert value(graphs["deep"], "t").shape == ("N", 2)
    assert value(graphs["deep"], "d").shape == ("N", 3)


def test_where_inference_chokes_nothing_is_known_whatever_the_model_declares() -> None:
    proto = parsed(
        """
        (float[2, 3] x) => (float[2, 4] y) <float[2, 3] t> {
          t = Neg(x)
          u = MatMul(t, x)
          y = Neg(u)
        }
        """
    )
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    model = Model(proto)
    assert shape(model, "t") == (2, 3)
    assert shape(model, "y") is None


def test_an_element_type_that_does_not_exist_does_not_stop_anything() -> None:
    proto = parsed(
        """
        (float[2] x, bool c) => (float[2] y) <float[2] zero = {0, 0}> {
          t = If(c) <
            then_branch = yes () => (float[2] o) { o = Neg(x) },
            else_branch = no () => (float[2] o) { o = Abs(x) }
          >
          y = Add(t, zero)
        }
        """
    )
    proto.graph.node[0].attribute[0].g.output[0].type.tensor_type.elem_type = 69
    assert shape(Model(proto), "y") == (2,)


def test_inference_runs_once_and_on_a_copy() -> None:
    proto = parsed("(float[2] x) => (float[2] y) { t = Neg(x) y = Abs(t) }")
    before = proto.SerializeToString()
    model = Model(proto)
    assert value(model.graph, "t").known == (None, None)
    assert shape(model, "t") == (2,)
    value(model.graph, "t").know(TensorProto.DOUBLE, (7,))
    model.infer_shapes()
    assert value(model.graph, "t").known == (TensorProto.DOUBLE, (7,))
    assert proto.SerializeToString() == before


def test_what_is_no_tensor_has_no_shape() -> None:
    model = Model(parsed("(seq(float[2]) x) => (seq(float[2]) y) { y = Identity(x) }"))
    assert (shape(model, "y"), value(model.graph, "y").type) == (None, None)


def test_a_type_proto_says_what_it_leaves_open() -> None:
    make = helper.make_tensor_type_proto
    assert type_and_shape(make(TensorProto.FLOAT, None)) == (TensorProto.FLOAT, None)
    assert type_and_shape(make(TensorProto.FLOAT, [])) == (TensorProto.FLOAT, ())
    assert type_and_shape(make(TensorProto.INT8, [2, "N", None])) == (
        TensorProto.INT8,
        (2, "N", None),
    )
    assert type_and_shape(make(TensorProto.UNDEFINED, [0])) == (None, (0,))
    assert type_and_shape(helper.make_sequence_type_proto(make(1, [2]))) == (None, None)


def test_a_negative_size_is_an_unknown_one() -> None:
    # Some exporters write -1; ONNX Runtime takes it for any size.
    assert type_and_shape(helper.make_tensor_type_proto(TensorProto.FLOAT, [-1, 3])) == (
        TensorProto.FLOAT,
        (None, 3),
    )


def run(proto: ModelProto, feeds: dict[str, Any]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


def test_sizes_that_a_caller_may_override_are_not_known() -> None:
    proto = parsed(
        """
        (float[6] x, int64[2] sizes) => (float[?, ?] y)
        <int64[2] sizes = {2, 3}, float[2, 3] zero = {0, 0, 0, 0, 0, 0}> {
          t = Reshape(x, sizes)
          u = Relu(t)
          y = Add(u, zero)
        }
        """
    )
    assert shape(Model(proto), "u") != (2, 3)
    fused = rewrite(proto, verify="none").model
    feeds = {"x": np.ones(1, np.float32).repeat(6), "sizes": np.array([2, 3])}
    np.testing.assert_array_equal(run(fused, feeds), run(proto, feeds))
    proto.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_value")
    fused = rewrite(proto, verify="none").model
    feeds = {"x": np.ones(3, np.float32), "sizes": np.array([1, 3])}
    expected = run(proto, feeds)
    assert expected.shape == (2, 3)
    np.testing.assert_array_equal(run(fused, feeds), expected)


def test_the_shape_of_an_initializer_that_a_caller_may_override_is_the_declared_one() -> None:
    proto = parsed(
        """
        (float[N] k) => (float[?] y) <float[3] k = {1, 2, 3}, float[3] zero = {0, 0, 0}> {
          y = Add(k, zero)
        }
        """
    )
    assert shape(Model(proto), "k") == ("N",)
    fused = rewrite(proto, verify="none").model
    feeds = {"k": np.ones(1, np.float32)}
    expected = run(proto, feeds)
    assert expected.shape == (3,)
    np.testing.assert_array_equal(run(fused, feeds), expected)


SLICED = """
    (float[N, M] x) => (float[?, ?] y, float[?, ?] z, float[?, ?] w)
    <int64[1] first = {0}, int64[1] last = {2}, int64[1] axis = {1}> {
      y = Slice(x, first, last, axis)
      z = Neg(y)
      w = Neg(x)
    }
"""


@pytest.mark.parametrize("opset", [10, 11])
def test_a_slice_of_an_open_dimension_has_a_size_of_its_own(opset: int) -> None:
    model = Model(parsed(SLICED, opset=opset))
    rows, columns = shape(model, "y") or ()
    assert rows == "N"
    assert columns != "M"
    assert shape(model, "z") == ("N", columns)
    assert shape(model, "w") == ("N", "M")


def test_what_inference_said_of_a_slice_is_not_believed_from_a_file_either() -> None:
    inferred = onnx.shape_inference.infer_shapes(parsed(SLICED, opset=10))
    model = Model(inferred)
    assert "M" not in (shape(model, "y") or ()) + (shape(model, "z") or ())


def test_a_slice_of_fixed_dimensions_has_fixed_ones_at_opset_10() -> None:
    model = Model(parsed(SLICED.replace("[N, M]", "[3, 4]"), opset=10))
    assert shape(model, "y") == (3, 2)
    assert value(model.graph, "y").type == TensorProto.FLOAT


def test_a_slice_in_a_body_and_in_a_function_has_a_size_of_its_own_at_opset_10() -> None:
    text = """
        <ir_version: 8, opset_import: ["": 10, "own": 1]>
        g (float[N, M] x, bool b) => (float[?, ?] y, float[?, ?] z)
        <int64[1] first = {0}, int64[1] last = {2}, int64[1] axis = {1}> {
          y = If(b) <
            then_branch = t () => (float[?, ?] s) {
              r = Slice(x, first, last, axis)
              s = Add(r, r)
            },
            else_branch = e () => (float[?, ?] t) { t = Neg(x) }
          >
          z = own.Cut(x, first, last, axis)
        }
        <domain: "own", opset_import: ["": 10]>
        Cut (x, first, last, axis) => (y) { y = Slice(x, first, last, axis) }
    """
    model = Model(parser.parse_model(text))
    assert "M" not in (shape(model, "z") or ())
    (body, _) = next(node for node in model.graph.nodes() if node.bodies).bodies
    for name in ("r", "s"):
        assert "M" not in (value(body, name).shape or ())


@pytest.mark.parametrize("opset", [10, 13])
def test_a_slice_of_an_open_dimension_stays(opset: int) -> None:
    result = rewrite(parsed(SLICED, opset=opset), verify="none").model
    assert "Slice" in [node.op_type for node in result.graph.node]


def test_symbols_that_inference_makes_up_are_not_kept_in_functions_either() -> None:
    text = """
        <ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[N] x) => (float[?, ?] y, float[?, ?] z) {
          a = NonZero(x)
          b = NonZero(x)
          c = NonZero(x)
          y, z = own.Both(a, b)
        }
        <domain: "own", opset_import: ["": 17]>
        Both (a, b) => (y, z) { y = Neg(a)  z = Neg(b) }
    """
    model = Model(parser.parse_model(text))
    (function,) = model.functions
    before = [value(function, name).shape for name in ("a", "b", "y", "z")]
    assert before[0] == before[2] != before[1] == before[3]
    # Inference counts the symbols that it makes up from the beginning of the graph.
    first, second, third, _ = model.graph.nodes()
    model.graph.move(second, first)
    model.graph.move(third, first)
    model.infer_shapes_again()
    after = [value(function, name).shape for name in ("a", "b", "y", "z")]
    assert after[0] == after[2] != after[1] == after[3]


def test_a_symbol_that_inference_made_up_goes_where_it_finds_nothing_any_more() -> None:
    model = Model(parsed("(float[N, 3] x) => (int64[?, ?] y) { y = NonZero(x)  z = Neg(y) }"))
    (_, made_up) = shape(model, "z") or ()
    assert isinstance(made_up, str)
    node = value(model.graph, "z").producer
    assert node is not None
    # As for an operator that inference does not know.
    node.proto.domain = "custom"
    node.stale = True
    model.infer_shapes_again()
    assert shape(model, "z") == (2, None)


@pytest.mark.parametrize(
    "calls",
    [
        # Inference does not see how many sizes these are.
        """(float[2,4,n,3] x) => (float[?,?,?,?,?] y) <
            int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] open = {-1}
        > {
            s = Shape(x) a = Gather(s, zero) b = Gather(s, one) c = Gather(s, two)
            t = Concat<axis=0>(one, a, b, c, open) v = Reshape(x, t)
            f = Shape(v) e = Gather(f, two) y = Slice(v, zero, e, two)
        }""",
        # It makes up a symbol for what it knew by name while the target was computed.
        """(float[k,2,1] x) => (float[?,?,?] y) <
            int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] open = {-1},
            int64[1] first = {-4}
        > {
            s = Shape(x) a = Gather(s, one) b = Gather(s, two)
            t = Concat<axis=0>(one, open, a, b) v = Reshape(x, t)
            r = ReduceSum<keepdims=0>(v, first)
            f = Shape(r) e = Gather(f, two) y = Slice(r, zero, e, two)
        }""",
    ],
)
def test_what_was_known_before_a_rewrite_is_known_after_it(calls: str) -> None:
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {calls}')
    result = rewrite(made)
    again = rewrite(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()
    assert "Slice" not in [node.op_type for node in result.model.graph.node]


def test_an_element_type_that_there_is_not_is_not_known() -> None:
    proto = parsed("(float[2] x) => (float[2] y) { y = Neg(x) }")
    proto.graph.value_info.add(name="z").type.tensor_type.elem_type = 108
    proto.graph.node.add(op_type="Other", domain="custom", input=["x"], output=["z"])
    proto.opset_import.add(domain="custom", version=1)
    assert value(Model(proto).graph, "z").type is None
    assert rewrite(proto).report.to_json()


@pytest.mark.parametrize("opset", [7, 10, 11, 12])
def test_axes_of_a_squeeze_stand_in_any_order(opset: int) -> None:
    text = "(float[1, N, 1] x) => (float[N] y) { y = Squeeze<axes=[2, 0]>(x) }"
    assert shape(Model(parsed(text, opset=opset)), "y") == ("N",)
    body = """(bool c, float[1, N, 1] x) => (float[N] y) {
        y = If(c) <
            then_branch = a () => (float[?] s) { s = Squeeze<axes=[2, 0]>(x) },
            else_branch = b () => (float[?] s) { s = Squeeze<axes=[0, 2]>(x) }
        >
    }"""
    assert shape(Model(parsed(body, opset=opset)), "y") == ("N",)


def test_what_becomes_fixed_in_a_function_is_known_where_it_is_called() -> None:
    made = parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 13, "own": 1]>
        g (float[3, 3] x) => (float[?, ?] z) { y = own.Last(x)  z = own.Same(y) }
        <domain: "own", opset_import: ["": 13]>
        Last (x) => (y) {
            s = Shape(x)
            one = Constant<value_ints = [1]>()
            two = Constant<value_ints = [2]>()
            rows = Slice(s, one, two)
            three = Constant<value_ints = [3]>()
            t = Concat<axis = 0>(three, rows, one)
            v = Reshape(x, t)
            w = Constant<value_int = -1>()
            y = Gather<axis = -1>(v, w)
        }
        <domain: "own", opset_import: ["": 13]>
        Same (x) => (y) { s = Constant<value_ints = [3, 3]>()  y = Expand(x, s) }
        """
    )
    result = rewrite(made, verify="none")
    operators = [n.op_type for function in result.model.functions for n in function.node]
    assert "Expand" not in operators
    assert rewrite(result.model, verify="none").model == result.model


def test_what_has_become_a_constant_in_a_body_has_the_shape_of_that() -> None:
    # Inference sees no constants of the graph around a body.
    made = parsed(
        """(bool c, float[2,3,N] x) => (float[?,?,?] y)
            <int64[1] zero = {0}, int64[1] two = {2}, int64 one = {1}, int64 last = {2}> {
            y = If(c) <
                then_branch = a () => (float[?,?,?] p) {
                    s = Shape(x)
                    g = Gather(s, one)
                    h = Unsqueeze(g, zero)
                    i = Gather(s, last)
                    first = Constant<value_ints = [0]>()
                    j = Unsqueeze(i, first)
                    t = Concat<axis = 0>(h, two, j)
                    p = Reshape(x, t)
                },
                else_branch = b () => (float[?,?,?] q) { q = Neg(x) }
            >
        }"""
    )
    result = rewrite(made, verify="none")
    (branch, _) = result.model.graph.node[0].attribute
    assert [node.op_type for node in branch.g.node] == ["Reshape"]
    assert rewrite(result.model, verify="none").model == result.model


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        ("y = Unsqueeze<axes = [-1]>(x)", 9),
        ("y = Unsqueeze<axes = [-1, 0]>(x)", 10),
        ("y = Unsqueeze<axes = [2, 0]>(x)", 9),
        ("y = Squeeze<axes = [-1]>(x)", 10),
        ("y = Squeeze<axes = [-1, 0]>(x)", 9),
        ("y = Squeeze<axes = [2, 0]>(x)", 9),
        ("y = Slice<axes = [-2], starts = [1], ends = [3]>(x)", 9),
        ("y = Slice<axes = [-1, 1], starts = [0, -2], ends = [1, 9]>(x)", 7),
    ],
)
def test_axes_of_either_sign_and_order_are_what_runtimes_take_before_opset_11(
    node: str, opset: int
) -> None:
    made = parsed(f"(float[1, 4, 1] x) => (float[?] y) {{ {node} }}", opset=opset)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    (computed,) = ort.InferenceSession(made.SerializeToString()).run(
        None, {"x": np.zeros((1, 4, 1), np.float32)}
    )
    assert shape(Model(made), "y") == computed.shape


def test_a_reshape_to_less_than_nothing_has_no_size() -> None:
    model = Model(
        parsed("(float[N] x) => (float y) <int64[1] s = {-3}> { z = Reshape(x, s) y = Neg(z) }")
    )
    assert shape(model, "z") in ((None,), None)
