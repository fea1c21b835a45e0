"""Concat of Concat, Concat of Split, Slice of Slice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper

LARGEST = np.iinfo(np.int64).max


def assert_same(before: ModelProto, after: ModelProto, **feeds: Any) -> None:
    # ONNX's own evaluator slices as Python does, also where ONNX says otherwise.
    expected, found = (
        onnxruntime.InferenceSession(
            each.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, feeds)
        for each in (before, after)
    )
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_what_is_joined_in_steps_is_joined_at_once() -> None:
    made = model(
        """(float[n,m,8] a, float[n,k,8] b) => (float[?,?,?] y) {
            [one] t = Concat<axis=1>(a, b) [two] u = Concat<axis=-2>(t, a, t) y = Relu(u)
        }"""
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert nodes(result.model) == ["two: Concat(a, b, a, a, b) -> u", "-: Relu(u) -> y"]
        assert fused(result) == [("concat-concat", "one + two")]
        a, b = (np.arange(s, dtype=np.float32).reshape(2, -1, 8) for s in (48, 0))
        assert_same(made, result.model, a=a, b=b)


@pytest.mark.parametrize(
    "calls",
    [
        # Along another axis.
        "t = Concat<axis=0>(a, b) u = Concat<axis=1>(t, t) y = Relu(u) z = Relu(a)",
        # Read elsewhere.
        "t = Concat<axis=1>(a, b) u = Concat<axis=1>(t, a) y = Relu(u) z = Relu(t)",
        "z = Concat<axis=1>(a, b) u = Concat<axis=1>(z, a) y = Relu(u)",
        "t = Concat<axis=1>(a, b) u = Sum(t, t) y = Relu(u) z = Relu(a)",
    ],
)
def test_what_is_joined_otherwise_stays(calls: str) -> None:
    made = model(f"(float[2,3] a, float[2,3] b) => (float[?,?] y, float[?,?] z) {{ {calls} }}")
    assert fused(rewrite_and_explain(made, rules=["concat-concat"])) == []


def test_long_chains_of_joins_take_their_time_once() -> None:
    steps = "".join(f"t{i + 1} = Concat<axis=0>(t{i}, x) " for i in range(600))
    made = model(f"(float[1] x) => (float[?] y) {{ t0 = Relu(x) {steps} y = Relu(t600) }}")
    result = rewrite_and_explain(made, verify="none")
    joins = [node for node in result.model.graph.node if node.op_type == "Concat"]
    assert max(len(node.input) for node in joins) == 256
    assert len(joins) == 3


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_all_parts_joined_again_are_what_was_split(count: int, verify: str) -> None:
    parts = ", ".join(f"p{i}" for i in range(count))
    made = model(
        f"""(float[n,m,24] x) => (float[n,m,24] y) {{
            [split] {parts} = Split<axis=-1, num_outputs={count}>(x)
            [join] j = Concat<axis=2>({parts}) y = Relu(j)
        }}"""
    )
    result = rewrite_and_explain(made, verify=verify)
    assert nodes(result.model) == ["-: Relu(x) -> y"]
    assert fused(result) == [("split-concat", "split + join")]


@pytest.mark.parametrize(
    "calls",
    [
        "p, q = Split<axis=1>(x, sizes) j = Concat<axis=1>(q, p) z = Relu(x)",
        "p, q = Split<axis=1>(x, sizes) j = Concat<axis=0>(p, q) z = Relu(x)",
        "p, q, r = Split<axis=1, num_outputs=3>(x) j = Concat<axis=1>(p, q) z = Relu(r)",
        "p, q = Split<axis=1>(x, sizes) j = Concat<axis=1>(p, p) z = Relu(x)",
    ],
)
def test_other_parts_or_another_order_stay(calls: str) -> None:
    made = model(
        f"(float[2,6] x) => (float[?,?] y, float[?,?] z) {{ {calls} y = Relu(j) }}",
        sizes=np.array([3, 3]),
    )
    result = rewrite_and_explain(made, rules=["split-concat"])
    assert fused(result) == []
    assert declined(result) == []


def test_a_part_that_is_read_elsewhere_keeps_its_split() -> None:
    made = model(
        """(float[2,6] x) => (float[?,?] y, float[?,?] z) {
            p, q = Split<axis=1, num_outputs=2>(x) [join] j = Concat<axis=1>(p, q)
            y = Relu(j) [reader] z = Relu(p)
        }"""
    )
    because = "`p` has 2 consumers: join, reader"
    assert declined(rewrite_and_explain(made, rules=["split-concat"])) == [
        ("split-concat", "join", "one-consumer", because)
    ]


@st.composite
def slices(draw: st.DrawFn) -> tuple[ModelProto, list[Any], bool]:
    """Two Slices in a row, inputs of several sizes, and whether they are sure to become one."""
    opset = draw(st.sampled_from((7, 10, 13, 21)))
    rank = draw(st.integers(1, 3))
    shape = [draw(st.sampled_from((5, 8, "n", "m"))) for _ in range(rank)]
    limit = st.sampled_from((-9, -2, -1, 0, 1, 2, 3, 6, 2**31 - 1, LARGEST))
    step = st.sampled_from((1, 1, 2, 3) if opset < 10 else (1, 1, 2, 3, -1, -2))
    weights, made, lists = [], [], []
    for index in range(2):
        axes = draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
        starts, ends = ([draw(limit) for _ in axes] for _ in range(2))
        steps = [1 if opset < 10 else draw(step) for _ in axes]
        lists.append(dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True)))
        named = [axis - rank if opset >= 10 and draw(st.booleans()) else axis for axis in axes]
        inputs, attributes = [f"v{index}"], {}
        given = {"starts": starts, "ends": ends, "axes": named, "steps": steps}
        if opset < 10:
            del given["steps"]
            attributes = given
        else:
            kind = np.int32 if max(map(abs, (*starts, *ends))) < 2**31 else np.int64
            for name, numbers in given.items():
                inputs.append(f"{name}{index}")
                weights.append(numpy_helper.from_array(np.array(numbers, kind), inputs[-1]))
        made.append(helper.make_node("Slice", inputs, [f"v{index + 1}"], f"s{index}", **attributes))
    made.append(helper.make_node("Neg", ["v2"], ["y"], "end"))
    graph = helper.make_graph(
        made,
        "sliced",
        [helper.make_tensor_value_info("v0", TensorProto.DOUBLE, shape)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None] * rank)],
        weights,
    )
    chain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    both = lists[0].keys() & lists[1].keys()
    backwards = any(min(each[axis][2] for each in lists) < 0 for axis in both)
    sure = not backwards and all(isinstance(shape[axis], int) for axis in both)
    sizes = [[{"n": n, "m": m}.get(s, s) for s in shape] for n, m in ((6, 4), (1, 9), (0, 2))]
    return chain, [np.arange(math.prod(s), dtype=np.float64).reshape(s) for s in sizes], sure


@given(slices())
def test_slices_in_a_row_are_one_where_they_can(drawn: tuple[ModelProto, list[Any], bool]) -> None:
    chain, feeds, sure = drawn
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(chain, verify=verify, rules=["slice-slice"])
        assert "check" not in [miss.guard for miss in result.report.declined]
        onnx.checker.check_model(result.model, full_check=True)
        count = [node.op_type for node in result.model.graph.node].count("Slice")
        assert count == 1 or not sure
        if count == 2:
            assert [miss.guard for miss in result.report.declined] == ["one-slice-does-both"]
        for x in feeds:
            assert_same(chain, result.model, v0=x)
        again = rewrite_and_explain(result.model, verify="none", rules=["slice-slice"])
        assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ((1, 9, 1), (2, 3, 1), (3, 4, 1)),
        ((1, LARGEST, 2), (2, LARGEST, 3), (5, LARGEST, 6)),
        ((1, -1, 1), (2, LARGEST, 1), (3, -1, 1)),
        ((4, 2, 1), (1, 5, 1), (5, 2, 1)),
        ((-3, LARGEST, 1), (1, 2, 1), None),
        ((1, -1, 1), (0, 4, 1), None),
        ((1, 9, 1), (0, -1, 1), None),
        ((9, 0, -1), (0, 3, 1), None),
    ],
)
def test_slices_of_an_open_axis(first: Any, second: Any, one: Any) -> None:
    limits = {
        f"{name}{index}": np.array([number])
        for index, slice_ in enumerate((first, second))
        for name, number in zip(("start", "end", "step"), slice_, strict=True)
    }
    made = model(
        """(float[n] x) => (float[?] y) {
            t = Slice(x, start0, end0, axis, step0)
            [last] u = Slice(t, start1, end1, axis, step1) y = Relu(u)
        }""",
        axis=np.array([0]),
        **limits,
    )
    result = rewrite_and_explain(made, rules=["slice-slice"])
    if one is None:
        shown = [":".join(map(str, each)) for each in (first, second)]
        because = (
            f"size 0 of `x` is open, and no single Slice takes [{shown[0]}] and then "
            f"[{shown[1]}] there"
        )
        assert declined(result) == [("slice-slice", "last", "one-slice-does-both", because)]
        return
    found = constants(result.model)
    names = ("last.starts", "last.ends", *(("last.steps",) if one[2] != 1 else ()))
    assert [int(found[name][0]) for name in names] == list(one)[: len(names)]
    for size in (0, 1, 4, 5, 12):
        assert_same(made, result.model, x=np.arange(size, dtype=np.float32))


@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_a_slice_backwards_from_before_the_beginning_takes_the_first(verify: str) -> None:
    made = model(
        """(float[5] x) => (float[?] y) {
            [one] t = Slice(x, before, end, axis, back) [two] u = Slice(t, start, first, axis)
            y = Relu(u)
        }""",
        before=np.array([-100]),
        end=np.array([-1000]),
        axis=np.array([0]),
        back=np.array([-1]),
        start=np.array([0]),
        first=np.array([1]),
    )
    result = rewrite_and_explain(made, rules=["slice-slice"], verify=verify)
    assert fused(result) == []
    session = onnxruntime.InferenceSession(result.model.SerializeToString())
    (y,) = session.run(None, {"x": np.arange(7, 12, dtype=np.float32)})
    assert y.tolist() == [7]


def test_steps_in_a_row_are_no_larger_than_an_integer() -> None:
    made = model(
        """(float[n] x) => (float[?] y) {
            t = Slice(x, start, end, axis, step) [u] u = Slice(t, start, end, axis, step)
            y = Relu(u)
        }""",
        start=np.array([0]),
        end=np.array([9]),
        axis=np.array([0]),
        step=np.array([2**40]),
    )
    result = rewrite_and_explain(made, rules=["slice-slice"])
    assert constants(result.model)["u.steps"].tolist() == [LARGEST]


def test_a_slice_with_computed_limits_says_so() -> None:
    made = model(
        """(float[8] x, int64[1] s) => (float[?] y) {
            [first] t = Slice(x, s, end) [last] u = Slice(t, start, end) y = Relu(u)
        }""",
        start=np.array([1]),
        end=np.array([5]),
    )
    assert declined(rewrite_and_explain(made, rules=["slice-slice"])) == [
        ("slice-slice", "last", "slice", "its limits `s` are an input of the graph, not a constant")
    ]


def test_a_slice_of_unknown_rank_or_without_sense_is_none() -> None:
    text = """(float[2,3] x) => (float[?,?] y) {
        t = Slice(x, start, end, twice) u = Slice(t, start, end, twice) y = Relu(u)
    }"""
    made = model(text, start=np.array([0]), end=np.array([2]), twice=np.array([1]))
    made.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.array([1, 1]), "twice"))
    assert fused(rewrite_and_explain(made, rules=["slice-slice"], verify="none")) == []


@pytest.mark.parametrize("verify", ["none", "rewrite"])
@pytest.mark.parametrize(("index", "part"), [(0, "a"), (1, "b"), (-1, "b"), (-2, "a")])
def test_what_is_taken_out_of_a_sequence_is_what_was_put_there(
    index: int, part: str, verify: Any
) -> None:
    made = model(
        """(float[2] a, float[3] b) => (float[?] y, seq(float[?]) all) {
            all = SequenceConstruct(a, b) c = SequenceAt(all, i) [end] y = Relu(c)
        }""",
        i=np.array(index),
    )
    result = rewrite_and_explain(made, verify=verify)
    assert f"end: Relu({part}) -> y" in nodes(result.model)
    assert "sequence-at" in [rule for rule, _ in fused(result)]
    assert [node.op_type for node in result.model.graph.node] == ["SequenceConstruct", "Relu"]


@pytest.mark.parametrize("index", [2, -3])
def test_a_place_that_a_sequence_does_not_have_is_left_to_fail(index: int) -> None:
    made = model(
        """(float[2] a, float[2] b) => (float[?] y) {
            all = SequenceConstruct(a, b) y = SequenceAt(all, i)
        }""",
        i=np.array(index),
    )
    assert rewrite_and_explain(made).model == made
