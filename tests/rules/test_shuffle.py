from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import constants, declined, fused, model, nodes
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trtfuse.layers.limits import RANK

SIZES = (1, 2, 3, 4, 6)


def assert_moved_alike(before: ModelProto, after: ModelProto, x: Any) -> None:
    (expected,) = ReferenceEvaluator(before).run(None, {"x": x})
    (found,) = ReferenceEvaluator(after).run(None, {"x": x})
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@st.composite
def groupings(draw: st.DrawFn, total: int) -> list[int]:
    """Sizes whose product is `total`."""
    sizes = []
    while total > 1 and draw(st.booleans()):
        size = draw(st.sampled_from([d for d in range(2, total + 1) if total % d == 0]))
        sizes.append(size)
        total //= size
    sizes.append(total)
    for _ in range(draw(st.integers(0, 1))):
        sizes.insert(draw(st.integers(0, len(sizes))), 1)
    return sizes


@st.composite
def movements(draw: st.DrawFn) -> tuple[ModelProto, list[Any]]:
    """A chain of movement operators, and inputs at two sizes of its dynamic dimension."""
    opset = draw(st.sampled_from((9, 11, 13, 18, 22)))
    rank = draw(st.integers(1, 4))
    # Dimension 0 of the input may be dynamic; "n" stands for it as it moves along.
    shape: list[Any] = draw(st.lists(st.sampled_from(SIZES), min_size=rank, max_size=rank))
    dynamic = draw(st.booleans())
    if dynamic:
        shape[0] = "n"
    first = list(shape)
    made: list[NodeProto] = []
    weights = []

    def constant(numbers: list[int]) -> str:
        name = f"c{len(weights)}"
        weights.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    for index in range(draw(st.integers(1, 6))):
        inputs, attributes = [f"v{index}"], {}
        kind = draw(st.sampled_from(("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")))
        ones = [axis for axis, size in enumerate(shape) if size == 1]
        place = shape.index("n") if "n" in shape else None
        if kind == "Transpose":
            perm = draw(st.permutations(range(len(shape))))
            shape = [shape[axis] for axis in perm]
            attributes["perm"] = perm
        elif kind == "Flatten":
            if dynamic:
                continue
            axis = draw(st.integers(0, len(shape)))
            shape = [math.prod(shape[:axis]), math.prod(shape[axis:])]
            attributes["axis"] = axis
        elif kind == "Squeeze":
            if not ones:
                continue
            # The reference implementation of before opset 13 wants them in order.
            axes = sorted(draw(st.lists(st.sampled_from(ones), unique=True, min_size=1)))
            shape = [size for axis, size in enumerate(shape) if axis not in axes]
            if opset >= 13:
                inputs.append(constant(axes))
            else:
                attributes["axes"] = axes
        elif kind == "Unsqueeze":
            axis = draw(st.integers(0, len(shape)))
            shape = [*shape[:axis], 1, *shape[axis:]]
            if opset >= 13:
                inputs.append(constant([axis]))
            else:
                attributes["axes"] = [axis]
        elif place is None:
            shape = draw(groupings(math.prod(shape)))
            target = list(shape)
            if draw(st.booleans()):
                target[draw(st.integers(0, len(target) - 1))] = -1
            inputs.append(constant(target))
        else:
            front = draw(groupings(math.prod(shape[:place])))
            back = draw(groupings(math.prod(shape[place + 1 :])))
            target = [*front, -1, *back]
            if len(front) == place and draw(st.booleans()):
                target[place] = 0
            shape = [*front, "n", *back]
            inputs.append(constant(target))
        made.append(
            helper.make_node(kind, inputs, [f"v{index + 1}"], name=f"m{index}", **attributes)
        )
    # Steps that were skipped leave gaps in the names.
    for index, node in enumerate(made):
        node.input[0] = f"w{index}" if index else "x"
        node.output[0] = f"w{index + 1}"
    if not made:
        made.append(helper.make_node("Transpose", ["x"], ["w1"], perm=list(range(rank))))
    made.append(helper.make_node("Neg", [made[-1].output[0]], ["y"], name="end"))
    graph = helper.make_graph(
        made,
        "moved",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, first)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, shape)],
        weights,
    )
    chain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    batches = (2, 5) if dynamic else (1,)
    sizes = [[batch if size == "n" else size for size in first] for batch in batches]
    return chain, [np.arange(math.prod(s), dtype=np.float64).reshape(s) for s in sizes]


@given(movements())
def test_a_chain_moves_every_element_where_it_was_moved(
    drawn: tuple[ModelProto, list[Any]],
) -> None:
    chain, feeds = drawn
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(chain, verify=verify)
        assert "check" not in [miss.guard for miss in result.report.declined]
        onnx.checker.check_model(result.model, full_check=True)
        for x in feeds:
            assert_moved_alike(chain, result.model, x)
        # How few are left depends on whether 2 x 3 is ever read as 3 x 2: then nothing merges.
        assert len(result.model.graph.node) <= len(chain.graph.node)
        again = rewrite_and_explain(result.model, verify="none")
        assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("chain", "left"),
    [
        ("a = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,3,1,2]>(a)", []),
        ("a = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,2,3,1]>(a)", ["Transpose"]),
        ("a = Reshape(x, to_2d) b = Reshape(a, back)", []),
        ("a = Reshape(x, to_2d) b = Reshape(a, split)", ["Reshape"]),
        ("a = Unsqueeze(x, one) b = Squeeze(a, one)", []),
        ("a = Flatten<axis=1>(x) b = Reshape(a, back)", []),
        ("a = Reshape(x, back) b = Identity(a)", []),
        ("a = Transpose<perm=[0,1,2,3]>(x) b = Identity(a)", []),
        (
            "a = Transpose<perm=[0,2,3,1]>(x) c = Reshape(a, pixels) "
            "d = Transpose<perm=[0,2,1]>(c) b = Reshape(d, back)",
            [],
        ),
    ],
)
def test_what_is_left_of_a_chain(chain: str, left: list[str]) -> None:
    made = model(
        f"(float[n,6,4,5] x) => (float[?,?,?,?] y) {{ {chain} y = Relu(b) }}",
        to_2d=np.array([0, -1]),
        back=np.array([0, 6, 4, 5]),
        split=np.array([0, 2, 3, 20]),
        pixels=np.array([0, 20, 6]),
        one=np.array([1]),
    )
    result = rewrite_and_explain(made)
    assert [node.op_type for node in result.model.graph.node] == [*left, "Relu"]


def test_a_reshape_that_remains_keeps_the_dynamic_dimension() -> None:
    made = model(
        """(float[batch,6,4] x) => (float[batch,24] y) {
            a = Reshape(x, first) [last] y = Flatten<axis=1>(a)
        }""",
        first=np.array([0, 3, 8]),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["last: Reshape(x, last.shape) -> y"]
    assert constants(result.model)["last.shape"].tolist() == [0, 24]


def test_a_target_computed_from_the_shape_is_resolved() -> None:
    made = model(
        """(float[batch,t,8] x) => (float[batch,t,8] y) {
            shape = Shape(x)
            b = Gather(shape, zero) t = Gather(shape, one)
            bu = Unsqueeze(b, axis) tu = Unsqueeze(t, axis)
            target = Concat<axis=0>(bu, tu, heads)
            [split] s = Reshape(x, target)
            [merge] m = Reshape(s, merged)
            [end] y = Relu(m)
        }""",
        zero=np.array(0),
        one=np.array(1),
        axis=np.array([0]),
        heads=np.array([2, 4]),
        merged=np.array([0, 0, 8]),
    )
    result = rewrite_and_explain(made)
    assert fused(result)[-1] == ("shuffle-shuffle", "split + merge")
    assert nodes(result.model) == ["end: Relu(x) -> y"]


def test_two_unknown_dimensions_of_one_reshape_are_left_alone() -> None:
    made = model(
        """(float[a,b] x, int64[2] target) => (float[?,?] y) {
            [r] r = Reshape(x, target) [f] f = Reshape(r, target) y = Relu(f)
        }"""
    )
    result = rewrite_and_explain(made)
    assert fused(result) == []
    because = "2 sizes of the target `target` are computed at run time"
    assert declined(result) == [
        ("reshape-target", name, "one-size-at-most-is-open", because) for name in ("r", "f")
    ]


def test_a_value_that_others_read_ends_the_chain() -> None:
    made = model(
        """(float[2,3] x) => (float[2,3] y, float[3,2] z) {
            [one] a = Transpose(x) [two] b = Transpose(a) y = Relu(b) z = Relu(a)
        }"""
    )
    result = rewrite_and_explain(made)
    assert [node.op_type for node in result.model.graph.node].count("Transpose") == 2


def test_a_squeeze_of_no_axes_is_not_followed() -> None:
    made = model(
        """(float[1,3] x) => (float[?,?] y) {
            t = Transpose(x) [squeeze] s = Squeeze(t, axes) y = Relu(s)
        }""",
        axes=np.array([], np.int64),
    )
    assert fused(rewrite_and_explain(made)) == []


def test_what_is_left_does_not_follow_where_another_size_may_be_0() -> None:
    made = model(
        """(float[n,m,3] x) => (float[?,?] y) {
            s = Shape(x) a = Gather(s, zero) b = Gather(s, one) c = Mul(b, three)
            t = Concat<axis=0>(a, c) [last] y = Reshape(x, t)
        }""",
        zero=np.array([0]),
        one=np.array([1]),
        three=np.array([3]),
    )
    for verify in ("none", "rewrite"):
        assert declined(rewrite_and_explain(made, rules=["reshape-target"], verify=verify)) == [
            (
                "reshape-target",
                "last",
                "open-size-follows",
                "`x` may have no elements, its size 0 being n",
            )
        ]


@pytest.mark.parametrize(
    ("x", "calls", "left"),
    [
        # 6 falls inside 4, and 2 inside 3.
        ("3,4", "r = Reshape(x, two_six) y0 = Reshape(r, twelve)", "Reshape"),
        ("3,4", "r = Reshape(x, two_six) y0 = Flatten<axis=0>(r)", "Reshape"),
        ("3,4", "r = Reshape(x, two_six) u = Unsqueeze(r, one) y0 = Reshape(u, twelve)", "Reshape"),
        ("3,4", "r = Reshape(x, two_six) s = Reshape(r, four_three) y0 = Reshape(s, back)", None),
        ("n,3,4", "r = Reshape(x, any_six) y0 = Reshape(r, any_four_three)", "Reshape"),
        ("n,3,4", "r = Reshape(x, any_six) s = Reshape(r, any_four_three) "
         "t = Transpose<perm=[0, 2, 1]>(s) y0 = Identity(t)", "Reshape Transpose"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_of_reshapes_that_do_not_nest_the_last_one_is_left(
    x: str, calls: str, left: str | None, verify: str
) -> None:
    made = model(
        f"(float[{x}] x) => (float[?] y) {{ {calls} f = Relu(y0) y = Reshape(f, flat) }}",
        two_six=np.array([2, 6]),
        twelve=np.array([12, 1]),
        four_three=np.array([4, 3]),
        any_six=np.array([0, 2, 6]),
        any_four_three=np.array([-1, 4, 3]),
        back=np.array([3, 4]),
        one=np.array([1]),
        flat=np.array([-1]),
    )
    result = rewrite_and_explain(made, verify=verify)
    expected = [*(left.split() if left else ()), "Relu", "Reshape"]
    assert [node.op_type for node in result.model.graph.node] == expected
    for batch in (1, 2) if "n" in x else (1,):
        shape = [batch if size == "n" else int(size) for size in x.split(",")]
        numbers = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        assert_moved_alike(made, result.model, numbers)
    again = rewrite_and_explain(result.model, verify=verify)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_of_a_reshape_to_computed_sizes_nothing_is_left_before_another() -> None:
    made = model(
        """(float[n,m,12] x, float[k,p] z) => (float[?,?] y) {
            s = Shape(x) n = Gather(s, zero) m = Gather(s, one) h = Div(m, two)
            g = Mul(h, two) j = Sub(m, g) e = Add(g, j)
            t = Concat<axis=0>(n, e, twelve)
            [first] r = Reshape(x, t) [last] f = Reshape(r, flat) y = Relu(f)
        }""",
        zero=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
        twelve=np.array([3, 4]),
        flat=np.array([-1, 6]),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["last: Reshape(x, last.shape) -> f", "-: Relu(f) -> y"]
    assert constants(result.model)["last.shape"].tolist() == [-1, 6]
    assert ("reshape-reshape", "first + last") in fused(result)


@pytest.mark.parametrize(
    ("target", "because"),
    [
        # Left to -1, it follows from the others.
        ([0, 6], None),
        ([-1, 0], "size 1 of `r` is not fixed, and `x` does not have it there"),
    ],
)
def test_a_size_copied_from_in_between_that_x_does_not_have_keeps_both(
    target: list[int], because: str | None
) -> None:
    made = model(
        """(float[n,4] x, int64[2] s) => (float[?,?] y) {
            [first] r = Reshape(x, s) [last] f = Reshape(r, target) y = Relu(f)
        }""",
        target=np.array(target),
    )
    missed = declined(rewrite_and_explain(made, rules=["reshape-reshape"], verify="none"))
    expected = [("reshape-reshape", "last", "no-size-from-in-between", because)]
    assert missed == (expected if because else [])


def test_a_copied_size_of_0_stays_one() -> None:
    made = model(
        """(float[0,6] x) => (float[?,?] y) {
            r = Reshape<allowzero=1>(x, first) f = Reshape<allowzero=1>(r, last) y = Relu(f)
        }""",
        first=np.array([4, 0]),
        last=np.array([5, 0]),
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert_moved_alike(made, result.model, np.zeros((0, 6), np.float32))


DEEP = """(float[512,3] x) => (float[512,3] y) {
    a = Reshape(x, s0) b = Transpose<perm=[2,1,0,3,4]>(a) c = Reshape(b, s2)
    d = Transpose<perm=[0,3,2,1,4]>(c) e = Reshape(d, s4)
    f = Transpose<perm=[0,3,2,1,4]>(e) [last] g = Reshape(f, s6) y = Relu(g)
}"""


@pytest.mark.parametrize("verify", ["none", "rewrite"])
def test_nothing_in_between_has_more_dimensions_than_tensorrt_takes(verify: str) -> None:
    made = model(
        DEEP,
        s0=np.array([2, 2, 2, 64, 3]),
        s2=np.array([8, 2, 2, 2, 24]),
        s4=np.array([64, 2, 2, 2, 3]),
        s6=np.array([512, 3]),
    )
    result = rewrite_and_explain(made, verify=verify)
    because = "the shorter chain has 10 dimensions in between, and TensorRT takes 8 at most"
    assert ("shuffle-shuffle", "last", "no-more-dimensions", because) in declined(result)
    targets = [c for name, c in constants(result.model).items() if c.dtype == np.int64]
    assert max(len(target) for target in targets) <= RANK.most
    assert len(result.model.graph.node) <= len(made.graph.node)
    x = np.arange(512 * 3, dtype=np.float32).reshape(512, 3)
    assert_moved_alike(made, result.model, x)


def test_a_chain_of_as_many_dimensions_already_is_merged() -> None:
    sizes = [2, 3, 2, 3, 2, 3, 2, 3, 2]
    made = model(
        """(float[2,3,2,3,2,3,2,3,2] x) => (float[2,3,2,3,2,3,2,3,2] y) {
            a = Transpose<perm=[1,0,2,3,4,5,6,7,8]>(x) b = Reshape(a, flat) c = Reshape(b, t)
            d = Transpose<perm=[1,0,2,3,4,5,6,7,8]>(c) y = Relu(d)
        }""",
        flat=np.array([-1]),
        t=np.array([3, 2, *sizes[2:]]),
    )
    assert nodes(rewrite_and_explain(made).model) == ["-: Relu(x) -> y"]


def test_sizes_of_1_are_put_between_unknown_ones_at_once() -> None:
    made = model(
        """(float[n,m] x) => (float[?,?,?,?] y) {
            a = Unsqueeze(x, axis) [last] b = Unsqueeze(a, axis) y = Relu(b)
        }""",
        axis=np.array([0]),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["last: Unsqueeze(x, last.axes) -> b", "-: Relu(b) -> y"]
    assert constants(result.model)["last.axes"].tolist() == [0, 1]
    made = model(
        """(float[1,n,1,m] x) => (float[?,?] y) {
            a = Squeeze<axes=[0]>(x) [last] b = Squeeze<axes=[1]>(a) y = Relu(b)
        }""",
        opset=11,
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["last: Squeeze(x) -> b", "-: Relu(b) -> y"]
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 1, 3)
    assert_moved_alike(made, result.model, x)


@pytest.mark.parametrize("rule", ["shuffle-shuffle"])
def test_what_runs_without_elements_goes_on_doing_so(rule: str) -> None:
    made = model(
        """(float[n,m,3] x) => (float[?,?] y) {
            a = Unsqueeze(x, two) [last] b = Flatten<axis=1>(a) y = Relu(b)
        }""",
        two=np.array([2]),
    )
    result = rewrite_and_explain(made, rules=[rule])
    because = "`x` may have no elements, and then its sizes would not follow"
    assert declined(result) == [(rule, "last", "as-good-without-elements", because)]


def test_a_product_of_sizes_is_taken_apart_again() -> None:
    made = model(
        """(float[n,6,4] x) => (float[n,6,4] y) {
            f = Reshape(x, rows) r = Relu(f)
            s = Shape(x) n = Gather(s, zero) t = Concat<axis=0>(n, rest)
            a = Reshape(r, t) b = Reshape(a, rows) e = Exp(b) [end] y = Reshape(e, t)
        }""",
        rows=np.array([-1, 4]),
        zero=np.array([0]),
        rest=np.array([6, 4]),
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        operators = [node.op_type for node in result.model.graph.node]
        assert operators == ["Reshape", "Relu", "Exp", "Reshape"]
        for batch in (1, 3, 0):
            x = np.arange(batch * 24, dtype=np.float32).reshape(batch, 6, 4)
            assert_moved_alike(made, result.model, x)


def test_a_target_computed_in_floats_is_resolved() -> None:
    made = model(
        """(float[n,3,24] x) => (float[n,12,2,3] y) {
            s = Shape(x) f = Cast<to=1>(s) b = Slice(f, zero, one, zero) k = Cast<to=7>(b)
            t = Concat<axis=0>(k, rest) [end] y = Reshape(x, t)
        }""",
        zero=np.array([0]),
        one=np.array([1]),
        rest=np.array([12, 2, -1]),
        opset=13,
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert nodes(result.model) == ["end: Reshape(x, end.shape) -> y"]
        x = np.arange(144, dtype=np.float32).reshape(2, 3, 24)
        assert_moved_alike(made, result.model, x)


def test_of_two_ways_to_move_the_one_is_taken_that_runs_without_elements() -> None:
    made = model(
        """(float[n,t,16] x) => (float[?,?,?,?] y) {
            a = Reshape(x, heads) b = Transpose<perm=[0,2,1,3]>(a)
            c = Transpose<perm=[0,1,3,2]>(b) y = Relu(c)
        }""",
        heads=np.array([0, 0, 2, 8]),
    )
    result = rewrite_and_explain(made)
    operators = [node.op_type for node in result.model.graph.node]
    assert operators == ["Reshape", "Transpose", "Relu"]
    (target,) = constants(result.model).values()
    assert target.tolist() == [0, 0, 2, 8]


@pytest.mark.parametrize(("height", "merges"), [(2**15, True), (2**16, False)])
def test_no_axis_in_between_is_longer_than_tensorrt_takes(height: int, merges: bool) -> None:
    made = model(
        f"""(float[{height},32768,4,9] x) => (float[?,?,?] y) {{
            a = Reshape(x, s0) b = Transpose<perm=[0,1,3,2,4]>(a) c = Reshape(b, s2)
            d = Transpose<perm=[0,1,2,4,3]>(c) [last] e = Reshape(d, s4) y = Relu(e)
        }}""",
        s0=np.array([height, 32768, 2, 2, 9]),
        s2=np.array([height, 32768, 4, 3, 3]),
        s4=np.array([height, 32768, 36]),
    )
    result = rewrite_and_explain(made, rules=["shuffle-shuffle"], verify="none")
    because = (
        "an axis in between would have 2,147,483,648 elements, and TensorRT takes 2,147,483,647"
    )
    missed = ("shuffle-shuffle", "last", "no-longer-axis", because)
    assert bool(fused(result)) == merges
    assert (missed in declined(result)) == (not merges)
