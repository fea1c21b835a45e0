"""What is drawn for a whole model: sizes, and numbers that it can take."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, parser

import trtfuse
from trtfuse.check.draw import all_readers, extents_of, index_limit
from trtfuse.check.inputs import SIZES, drawn, numbers, runtime_inputs, shapes
from trtfuse.ir.tensor import Array
from trtfuse.model.model import Model


def with_text(text: str, ir_version: int = 8) -> Model:
    header = f'ir_version: {ir_version}, opset_import: ["": 17]'
    return Model(parser.parse_model(f"<{header}> g {text}"))


def all_shapes(
    model: Model, batch: int = 1, given: Mapping[str, tuple[int, ...]] | None = None
) -> list[dict[str, tuple[int, ...]]]:
    return list(shapes(model, batch, given or {}))


def given_to_x(text: str, kind: str = "normal", sizes: int = 1000) -> Array:
    """What the input x of [N] is given."""
    model = with_text(text)
    rng = np.random.default_rng(0)
    return next(drawn(model, {v.name: (sizes,) for v in runtime_inputs(model)}, kind, rng))["x"]


# Which inputs


def test_the_inputs_are_drawn_in_their_order() -> None:
    model = with_text("(float[2] b, float[2] a) => (float[2] y) { y = Add(a, b) }")
    assert [value.name for value in runtime_inputs(model)] == ["b", "a"]


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_an_initializer_that_is_an_input_is_not_drawn(ir_version: int) -> None:
    model = with_text(
        "(float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }",
        ir_version,
    )
    assert [value.name for value in runtime_inputs(model)] == ["x"]
    assert all_shapes(model) == [{"x": (2,)}]


# Sizes


def test_open_dimensions_are_tried_in_the_stated_order_behind_the_batch() -> None:
    model = with_text("(float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Relu(x) }")
    tried = all_shapes(model, batch=2)
    assert tried[: len(SIZES)] == [{"x": (2, 3, size, size)} for size in SIZES]
    assert SIZES[:4] == (32, 64, 16, 24)


def test_what_is_fixed_is_tried_once() -> None:
    model = with_text("(float[5, 3] x) => (float[5, 3] y) { y = Relu(x) }")
    assert all_shapes(model, batch=2) == [{"x": (5, 3)}]


def test_a_batch_that_alone_is_open_is_tried_first() -> None:
    model = with_text("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    # Other batches follow, should it not run at this one.
    assert all_shapes(model, batch=2)[:2] == [{"x": (2, 3)}, {"x": (32, 3)}]


def test_a_symbol_has_the_same_size_everywhere() -> None:
    model = with_text(
        "(float[N, S] x, float[S, N] y, float[S] z) => (float[N, N] o) { o = MatMul(x, y) }"
    )
    for found in all_shapes(model, batch=2)[: len(SIZES)]:
        size = found["z"][0]
        assert found == {"x": (2, size), "y": (size, 2), "z": (size,)}


def test_dimensions_without_a_name_are_open_each_for_itself() -> None:
    model = with_text(
        "(float[?, ?] x, float[?] y) => (float[?, ?] z, float[?] w) { z = Relu(x) w = Relu(y) }"
    )
    assert all_shapes(model, batch=2)[0] == {"x": (2, 32), "y": (2,)}


def test_dimensions_that_broadcast_have_the_same_size() -> None:
    model = with_text("(float[?, ?] x, float[?] y) => (float[?, ?] z) { z = Add(x, y) }")
    assert all_shapes(model, batch=2)[0] == {"x": (2, 32), "y": (32,)}


def test_a_scalar_and_an_empty_input_keep_their_shape() -> None:
    model = with_text("(float x, float[N, 0] y) => (float[N, 0] z) { z = Mul(x, y) }")
    assert all_shapes(model, batch=2)[0] == {"x": (), "y": (2, 0)}


def test_a_dimension_of_minus_one_is_open() -> None:
    # Some exporters write it for one that is not known, and the ONNX checker lets it pass.
    model = with_text("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }").proto
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert all_shapes(Model(model), batch=2)[0] == {"x": (2, 3)}
    assert trtfuse.verify(model, model).ok


# Given shapes


def test_a_given_shape_is_taken_and_lends_its_symbols() -> None:
    model = with_text("(float[N, S] x, float[S, N] y) => (float[N, N] z) { z = MatMul(x, y) }")
    assert all_shapes(model, 2, {"x": (7, 9)}) == [{"x": (7, 9), "y": (9, 7)}]


def test_a_given_shape_may_leave_a_dimension_without_a_name_to_its_own() -> None:
    model = with_text("(float[?, S] x, float[?, S] y) => (float[?, S] z) { z = Add(x, y) }")
    assert all_shapes(model, 2, {"x": (7, 9)})[0] == {"x": (7, 9), "y": (7, 9)}


def test_a_shape_for_no_input_is_refused() -> None:
    model = with_text("(float[N] b, float[N] a) => (float[N] y) { y = Add(a, b) }")
    with pytest.raises(trtfuse.UsageError) as refused:
        all_shapes(model, given={"z": (1,)})
    assert str(refused.value) == "the model has no input 'z'; it has a, b"


def test_a_shape_for_a_constant_is_refused() -> None:
    model = with_text("(float[N] x) => (float[N] y) <float[1] w = {1}> { y = Add(x, w) }")
    with pytest.raises(trtfuse.UsageError) as refused:
        all_shapes(model, given={"w": (1,)})
    assert str(refused.value) == "the model has no input 'w'; it has x"


@pytest.mark.parametrize("given", [(2, 3), (2, 4, 5, 6), (2, 4, 5, 7, 8)])
def test_a_shape_that_does_not_fit_is_refused(given: tuple[int, ...]) -> None:
    model = with_text("(float[N, 3, ?, 7] x) => (float[N, 3, ?, 7] y) { y = Relu(x) }")
    with pytest.raises(trtfuse.UsageError) as refused:
        all_shapes(model, given={"x": given})
    assert str(refused.value) == (
        f"input 'x' has shape [N, 3, ?, 7], which {list(given)} does not fit"
    )


def test_a_negative_size_is_refused() -> None:
    model = with_text("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    with pytest.raises(trtfuse.UsageError) as refused:
        all_shapes(model, given={"x": (-1, 3)})
    assert str(refused.value) == "input 'x' has shape [N, 3], which [-1, 3] does not fit"


def test_a_size_of_nothing_is_taken() -> None:
    model = with_text("(float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }")
    assert all_shapes(model, given={"x": (0, 3)}) == [{"x": (0, 3)}]


def test_an_input_that_is_no_tensor_cannot_be_drawn() -> None:
    model = with_text("(seq(float[N]) x) => (float[M] y) { y = ConcatFromSequence<axis = 0>(x) }")
    with pytest.raises(trtfuse.VerifyError) as refused:
        all_shapes(model)
    assert (
        str(refused.value) == "input 'x' is a sequence, not a tensor: no values can be drawn for it"
    )


# Indices


TABLE = "<float[7, 3] table = {" + ", ".join(str(i) for i in range(21)) + "}>"
#: Another one, with its 4 rows along the second axis.
SHORT = "<float[2, 4] short = {0, 1, 2, 3, 4, 5, 6, 7}>"


def limits(text: str) -> dict[str, int]:
    inputs = runtime_inputs(with_text(text))
    found = {value.name: index_limit(value, extents_of({}), all_readers) for value in inputs}
    return {name: limit for name, limit in found.items() if limit is not None}


def test_an_index_stays_within_its_table() -> None:
    text = f"(int64[N] x) => (float[N, 3] y) {TABLE} {{ y = Gather(table, x) }}"
    assert limits(text) == {"x": 7}
    assert sorted(set(given_to_x(text).tolist())) == list(range(7))
    assert set(given_to_x(text, "zero").tolist()) == {0}


def test_an_index_stays_within_the_axis_it_counts() -> None:
    for axis in (1, -1):
        text = f"(int64[N] x) => (float[2, N] y) {SHORT} {{ y = Gather<axis = {axis}>(short, x) }}"
        assert limits(text) == {"x": 4}


def test_an_index_of_elements_stays_within_its_table() -> None:
    text = (
        f"(int64[2, N] x) => (float[2, N] y) {SHORT} {{ y = GatherElements<axis = 1>(short, x) }}"
    )
    assert limits(text) == {"x": 4}


def test_an_index_of_two_tables_stays_within_the_smaller() -> None:
    tables = TABLE[:-1] + ", " + SHORT[1:]
    for order in ("y = Gather(table, x) z = Gather<axis = 1>(short, x)",
                  "z = Gather<axis = 1>(short, x) y = Gather(table, x)"):  # fmt: skip
        assert limits(f"(int64[N] x) => (float[N, 3] y, float[2, N] z) {tables} {{ {order} }}") == {
            "x": 4
        }


def test_an_index_is_followed_through_what_hands_it_on() -> None:
    text = (
        f"(int32[N] x) => (float[1, N, 3] y) {TABLE} {{ a = Cast<to = 7>(x)  b = Identity(a)"
        "  zero = Constant<value = int64[1] {0}>()  c = Unsqueeze(b, zero)"
        "  d = Transpose<perm = [1, 0]>(c)  e = Transpose<perm = [1, 0]>(d)"
        "  y = Gather(table, e) }"
    )
    assert limits(text) == {"x": 7}


def test_what_is_reckoned_with_on_its_way_is_no_index_any_more() -> None:
    text = f"(int64[N] x) => (float[N, 3] y) {TABLE} {{ s = Add(x, x)  y = Gather(table, s) }}"
    assert limits(text) == {}
    assert set(given_to_x(text).tolist()) == {0, 1}


def test_the_table_of_a_gather_is_no_index() -> None:
    text = "(int64[5] x, int64[N] i) => (int64[N] y) { y = Gather(x, i) }"
    assert limits(text) == {"i": 5}


def test_a_table_of_open_length_sets_no_limit() -> None:
    assert limits("(float[M] t, int64[N] i) => (float[N] y) { y = Gather(t, i) }") == {}


def test_a_table_that_is_computed_sets_its_limit() -> None:
    text = "(float[6] t, int64[N] i) => (float[N] y) { r = Relu(t)  y = Gather(r, i) }"
    assert limits(text) == {"i": 6}


def test_a_model_with_an_index_into_nothing_cannot_be_run() -> None:
    model = with_text("(float[0] t, int64[N] i) => (float[N] y) { y = Gather(t, i) }").proto
    with pytest.raises(trtfuse.VerifyError, match="ONNX Runtime cannot run the original"):
        trtfuse.verify(model, model)


# Numbers


def test_normal_numbers_are_normal() -> None:
    found = numbers((1000,), "normal", np.random.default_rng(0))
    assert found.dtype == np.float64
    assert abs(found.mean()) < 0.1
    assert abs(found.std() - 1) < 0.1


def test_wide_numbers_reach_from_tiny_to_large_and_hold_zeros() -> None:
    found = numbers((10_000,), "wide", np.random.default_rng(0))
    sizes = np.abs(found[found != 0])
    assert 0.15 < (found == 0).mean() < 0.25
    assert sizes.min() < 1e-4
    assert sizes.max() > 1e2
    assert 0.4 < (found[found != 0] < 0).mean() < 0.6


def test_zero_is_zero() -> None:
    found = numbers((3, 2), "zero", np.random.default_rng(0))
    assert found.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("kind", ["normal", "wide", "zero"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (4, 5)])
def test_numbers_have_the_shape_asked_for(kind: str, shape: tuple[int, ...]) -> None:
    found = numbers(shape, kind, np.random.default_rng(0))
    assert np.shape(found) == shape


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float", np.float32),
        ("float16", np.float16),
        ("bfloat16", ml_dtypes.bfloat16),
        ("double", np.float64),
    ],
)
def test_floating_inputs_have_their_type(name: str, dtype: type) -> None:
    found = given_to_x(f"({name}[N] x) => ({name}[N] y) {{ y = Relu(x) }}")
    assert found.dtype == dtype
    assert (found.astype(np.float64) < 0).any()


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
)
def test_integer_inputs_have_their_type_and_are_0_or_1(dtype: type) -> None:
    name = np.dtype(dtype).name
    text = f"({name}[N] x) => ({name}[N] y) {{ y = Identity(x) }}"
    found = given_to_x(text)
    assert found.dtype == dtype
    assert set(found.tolist()) == {0, 1}
    assert set(given_to_x(text, "zero").tolist()) == {0}


def test_a_boolean_input_is_true_and_false() -> None:
    text = "(bool[N] x) => (bool[N] y) { y = Not(x) }"
    found = given_to_x(text)
    assert found.dtype == np.bool_
    assert set(found.tolist()) == {True, False}
    assert set(given_to_x(text, "zero").tolist()) == {False}


def test_a_string_input_is_a_string() -> None:
    found = given_to_x("(string[N] x) => (string[N] y) { y = Identity(x) }", sizes=3)
    assert found.dtype == object
    assert found.tolist() == ["a", "a", "a"]


@pytest.mark.parametrize(
    "element_type", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.INT4]
)
def test_a_type_that_cannot_be_drawn_is_named(element_type: int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", element_type, [2])],
        [helper.make_tensor_value_info("y", element_type, [2])],
    )
    model = Model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    with pytest.raises(trtfuse.VerifyError) as refused:
        next(drawn(model, {"x": (2,)}, "normal", np.random.default_rng(0)))
    assert str(refused.value) == "input 'x' is of a type that cannot be drawn"


def test_the_same_seed_draws_the_same() -> None:
    text = "(float[N] x, int64[N] i) => (float[N] y) { y = Relu(x) }"
    model = with_text(text)
    sizes: dict[str, tuple[int, ...]] = {"x": (8,), "i": (8,)}
    once, again, other = (
        next(drawn(model, sizes, "wide", np.random.default_rng(seed))) for seed in (1, 1, 2)
    )
    for name in sizes:
        np.testing.assert_array_equal(once[name], again[name])
    assert (once["x"] != other["x"]).any()
