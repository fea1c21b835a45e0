from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import declined, fused, model, nodes
from onnx import ModelProto, numpy_helper
from onnx.reference import ReferenceEvaluator

TRUE, FALSE = np.array(True), np.array(False)


@pytest.mark.parametrize(
    ("call", "constants"),
    [
        ("Cast<to=1>(x)", {}),
        ("Concat<axis=0>(x)", {}),
        ("Sum(x)", {}),
        ("Max(x)", {}),
        ("Min(x)", {}),
        ("Mean(x)", {}),
        ("Pad(x, zeros)", {"zeros": np.zeros(4, np.int64)}),
        ("Slice(x, zero, two, zero)", {"zero": np.array([0]), "two": np.array([2])}),
        ("Slice(x, zero, far, zero, one)",
         {"zero": np.array([0]), "far": np.array([2**40]), "one": np.array([1])}),
        ("Slice(x, zeros, ends, axes)",
         {"zeros": np.array([0, 0]), "ends": np.array([2**31 - 1, 3]), "axes": np.array([0, -1])}),
        ("Expand(x, sizes)", {"sizes": np.array([1, 3])}),
        ("Tile(x, ones)", {"ones": np.array([1, 1])}),
        ("Split<axis=0, num_outputs=1>(x)", {}),
        ("ReduceSum<noop_with_empty_axes=1>(x)", {}),
        ("ReduceMax<noop_with_empty_axes=1>(x, none)", {"none": np.zeros(0, np.int64)}),
        ("ReduceMean<noop_with_empty_axes=1, keepdims=0>(x, none)",
         {"none": np.zeros(0, np.int64)}),
        ("Identity(x)", {}),
        ("Dropout(x)", {}),
        ("Dropout(x, , training)", {"training": FALSE}),
    ],
)  # fmt: skip
def test_a_node_that_does_nothing_goes(call: str, constants: dict[str, npt.ArrayLike]) -> None:
    made = model(
        f"(float[2,3] x) => (float[2,3] y) {{ [nothing] a = {call} [end] y = Relu(a) }}",
        **constants,
    )
    assert nodes(rewrite_and_explain(made).model) == ["end: Relu(x) -> y"]


@pytest.mark.parametrize(
    ("call", "constants"),
    [
        ("Cast<to=11>(x)", {}),
        ("Concat<axis=0>(x, x)", {}),
        ("Pad(x, ones)", {"ones": np.array([0, 0, 0, 1])}),
        ("Slice(x, last, before, zero, back)",
         {"last": np.array([5]), "before": np.array([-9]), "zero": np.array([0]),
          "back": np.array([-1])}),
        ("Expand(x, sizes)", {"sizes": np.array([5, 1, 1])}),
        ("Tile(x, twice)", {"twice": np.array([1, 2])}),
        ("ReduceSum(x)", {}),
        ("ReduceSumSquare<noop_with_empty_axes=1>(x)", {}),
        ("ReduceMin<noop_with_empty_axes=1>(x, last)", {"last": np.array([1])}),
    ],
)  # fmt: skip
def test_a_node_that_does_something_stays(call: str, constants: dict[str, npt.ArrayLike]) -> None:
    made = model(
        f"(float[2,3] x) => (y) {{ [something] a = {call} [end] y = Abs(a) }}".replace(
            "(y)",
            "(double[?,?] y)"
            if "11" in call
            else "(float[?,?,?] y)"
            if "sizes" in call
            else "(float[?,?] y)",
        ),
        **constants,
    )
    result = rewrite_and_explain(made)
    assert fused(result) == []


@pytest.mark.parametrize(
    ("call", "guard", "because"),
    [
        ("a, mask = Dropout(x, , f)", "only-first-output", "its mask `mask` is used"),
        ("a, unused = Dropout(x, , t)", "inference", "it is in training mode"),
        ("a, unused = Dropout(x, , given)", "inference",
         "its training mode `given` is decided at run time"),
    ],
)  # fmt: skip
def test_a_dropout_stays(call: str, guard: str, because: str) -> None:
    reads = "m = Not(mask)" if "mask" in call else "m = Not(given)"
    made = model(
        f"(float[2,3] x, bool given) => (float[2,3] y, bool[?] m) "
        f"{{ [d] {call} y = Relu(a) {reads} }}".replace(
            "bool[?] m", "bool[2,3] m" if "mask" in call else "bool m"
        ),
        t=TRUE,
        f=FALSE,
    )
    assert declined(rewrite_and_explain(made)) == [("dropout", "d", guard, because)]


def test_an_identity_between_two_outer_names_stays() -> None:
    made = model("(float[2] x) => (float[2] y) { [i] y = Identity(x) }")
    result = rewrite_and_explain(made)
    assert result.model == made


def test_an_identity_before_an_output_gives_its_name_to_what_computes_it() -> None:
    made = model("(float[2] x) => (float[2] y) { [r] a = Relu(x) [i] y = Identity(a) }")
    assert nodes(rewrite_and_explain(made).model) == ["r: Relu(x) -> y"]


def test_two_outputs_of_one_value_need_an_identity() -> None:
    made = model("(float[2] x) => (float[2] a, float[2] y) { [r] a = Relu(x) [i] y = Identity(a) }")
    assert rewrite_and_explain(made).model == made


def ends(*, opset: int = 13, **limits: npt.ArrayLike) -> ModelProto:
    """A Slice of a tensor of open sizes."""
    names = ", ".join(limits)
    attributes = {name: np.asarray(each).tolist() for name, each in limits.items()}
    call = f"Slice(x, {names})" if opset >= 10 else f"Slice<{named(attributes)}>(x)"
    return model(
        f"(float[n,t,4] x) => (float[?,?,?] y) {{ [s] a = {call} y = Relu(a) }}",
        opset=opset,
        **(limits if opset >= 10 else {}),
    )


def named(attributes: dict[str, list[int]]) -> str:
    return ", ".join(f"{name}={numbers}" for name, numbers in attributes.items())


@pytest.mark.parametrize("opset", [9, 10, 13, 22])
@pytest.mark.parametrize("end", [2**31 - 1, 2**31, 2**63 - 1])
@pytest.mark.parametrize("axes", [[0], [1], [-2], [0, 1]])
def test_a_slice_of_an_open_axis_from_its_beginning_to_its_end_goes(
    axes: list[int], end: int, opset: int
) -> None:
    made = ends(
        opset=opset,
        starts=np.zeros(len(axes), np.int64),
        ends=np.full(len(axes), end),
        axes=np.array(axes),
    )
    for verify in ("none", "rewrite"):
        assert fused(rewrite_and_explain(made, verify=verify))[0] == ("no-op", "s")


def test_a_slice_to_twice_the_size_of_an_axis_goes() -> None:
    made = model(
        """(float[n,4] x) => (float[?,?] y) {
            sizes = Shape<start=0, end=1>(x) end = Mul(sizes, two)
            [s] a = Slice(x, zero, end, zero) y = Relu(a)
        }""",
        opset=18,
        zero=np.array([0]),
        two=np.array([2]),
    )
    assert nodes(rewrite_and_explain(made, groups="off").model) == ["-: Relu(x) -> y"]


@pytest.mark.parametrize(
    ("starts", "ends", "axes"),
    [([0], [9], [5]), ([0], [9], [-3]), ([0, 0], [9], [0]), ([0], [9, 9], [0]), ([0], [9], [0, 1])],
)
def test_a_slice_that_is_none_is_no_mistake_of_ours(
    starts: list[int], ends: list[int], axes: list[int]
) -> None:
    made = model(
        "(float[n,4] x) => (float[?,?] y) { a = Slice(x, starts, ends, axes) y = Relu(a) }",
        starts=np.array([0]),
        ends=np.array([9]),
        axes=np.array([0]),
    )
    limits = {"starts": starts, "ends": ends, "axes": axes}
    for tensor in made.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.array(limits[tensor.name]), tensor.name))
    result = rewrite_and_explain(made, verify="none", groups="off")
    assert [node.op_type for node in result.model.graph.node] == ["Slice", "Relu"]


def test_a_slice_to_the_size_of_an_axis_goes() -> None:
    made = model(
        """(float[n,?,4] x) => (float[?,?,?] y) {
            sizes = Shape(x) end = Slice(sizes, zero, two)
            [s] a = Slice(x, zeros, end) y = Relu(a)
        }""",
        opset=13,
        zero=np.array([0]),
        two=np.array([2]),
        zeros=np.array([0, 0]),
    )
    assert nodes(rewrite_and_explain(made, groups="off").model) == ["-: Relu(x) -> y"]


@pytest.mark.parametrize(
    "limits",
    [
        {"starts": [1], "ends": [2**62], "axes": [0]},
        {"starts": [-1], "ends": [2**62], "axes": [0]},
        {"starts": [0], "ends": [2**31 - 2], "axes": [0]},
        {"starts": [0], "ends": [-1], "axes": [1]},
        {"starts": [0], "ends": [3], "axes": [2]},
        {"starts": [0, 0], "ends": [2**62, 5], "axes": [0, 1]},
    ],
)
@pytest.mark.parametrize("opset", [9, 13])
def test_a_slice_of_part_of_an_axis_stays(limits: dict[str, list[int]], opset: int) -> None:
    made = ends(opset=opset, **{name: np.array(numbers) for name, numbers in limits.items()})
    assert fused(rewrite_and_explain(made, groups="off", rules=["no-op"])) == []


@pytest.mark.parametrize("step", [2, -1])
def test_a_slice_with_another_step_stays(step: int) -> None:
    made = model(
        "(float[n] x) => (float[?] y) { a = Slice(x, s, e, z, step) y = Relu(a) }",
        s=np.array([0 if step > 0 else -1]),
        e=np.array([2**62 if step > 0 else -(2**62)]),
        z=np.array([0]),
        step=np.array([step]),
    )
    assert fused(rewrite_and_explain(made, rules=["no-op"])) == []


@pytest.mark.parametrize("sizes", [[1], [1, 1], [1, 3], []])
def test_an_expand_to_ones_goes_whatever_the_sizes_are(sizes: list[int]) -> None:
    made = model(
        "(float[n,3] x) => (float[?,?] y) { [e] a = Expand(x, to) y = Relu(a) }",
        to=np.array(sizes, np.int64),
    )
    assert fused(rewrite_and_explain(made, groups="off")) == [("no-op", "e")]


#: Operators that broadcast: of which numbers, and what they give.
BROADCASTING = {
    "Add": ("float", "float"),
    "And": ("bool", "bool"),
    "BitwiseAnd": ("int32", "int32"),
    "BitwiseOr": ("uint8", "uint8"),
    "BitwiseXor": ("int64", "int64"),
    "Div": ("float", "float"),
    "Equal": ("float", "bool"),
    "Greater": ("int32", "bool"),
    "GreaterOrEqual": ("float", "bool"),
    "Less": ("float", "bool"),
    "LessOrEqual": ("float", "bool"),
    "Max": ("float", "float"),
    "Mean": ("float", "float"),
    "Min": ("float", "float"),
    "Mod": ("int64", "int64"),
    "Mul": ("float", "float"),
    "Or": ("bool", "bool"),
    "Pow": ("float", "float"),
    "Sub": ("float", "float"),
    "Sum": ("float", "float"),
    "Xor": ("bool", "bool"),
}


@pytest.mark.parametrize("operator", BROADCASTING)
@pytest.mark.parametrize("swapped", [False, True])
def test_an_operand_need_not_be_expanded(operator: str, swapped: bool) -> None:
    operands = "e, x" if swapped else "x, e"
    takes, gives = BROADCASTING[operator]
    for shape, target in (
        ("n,1", "s = Shape(x)"),
        ("2,1,1", "s = Shape(x)"),
        ("1", "s = Constant<value_ints=[1,3]>()"),
        ("n,3", "s = Constant<value_ints=[1]>()"),
        ("1,1", "o = Shape(x) n = Gather(o, zero) s = Concat<axis=0>(n, one)"),
    ):
        rank = shape.count(",1,")
        made = model(
            f"({takes}[n,3] x, {takes}[{shape}] y) => ({gives}[{'?,' * rank}?,?] z) "
            f"{{ {target} [e] e = Expand(y, s) [end] z = {operator}({operands}) }}",
            zero=np.array([0]),
            one=np.array([1]),
        )
        for verify in ("none", "rewrite"):
            result = rewrite_and_explain(made, verify=verify, groups="off")
            assert nodes(result.model) == [f"end: {operator}({operands.replace('e', 'y')}) -> z"]
            assert rewrite_and_explain(result.model, groups="off").report.fused == []


@pytest.mark.parametrize("operands", ["e, a, b", "c, e, b", "c, a, e"])
def test_no_operand_of_a_where_need_be_expanded(operands: str) -> None:
    kind = "bool" if operands.startswith("e") else "float"
    made = model(
        f"(bool[n,3] c, float[n,3] a, float[n,3] b, {kind}[3] y) => (float[?,?] z) "
        f"{{ s = Shape(a) [e] e = Expand(y, s) [end] z = Where({operands}) }}"
    )
    result = rewrite_and_explain(made)
    assert fused(result) == [("expanded-operand", "e + end")]
    assert nodes(result.model) == [f"end: Where({operands.replace('e', 'y')}) -> z"]


@pytest.mark.parametrize(
    ("x", "y", "target", "because"),
    [
        ("3", "1", "[2,3]", "size 2 of axis 0 may be larger than what `y` and `x` broadcast to"),
        (
            "n,3",
            "1,3",
            "[4,3]",
            "size 4 of axis 0 may be larger than what `y` and `x` broadcast to",
        ),
        (
            "n,3",
            "m,1",
            "[1,1,1]",
            "size 1 of axis 0 may be larger than what `y` and `x` broadcast to",
        ),
        (
            "1,3",
            "1,1",
            "[5,1]",
            "size 5 of axis 0 may be larger than what `y` and `x` broadcast to",
        ),
    ],
)
@pytest.mark.parametrize("operator", ["Add", "Max", "Less"])
def test_an_expand_that_may_be_what_makes_the_result_as_large_stays(
    operator: str, x: str, y: str, target: str, because: str
) -> None:
    gives = "bool" if operator == "Less" else "float"
    rank = max(x.count(","), y.count(","), target.count(",")) + 1
    made = model(
        f"(float[{x}] x, float[{y}] y) => ({gives}[{','.join('?' * rank)}] z) "
        f"{{ s = Constant<value_ints={target}>() e = Expand(y, s) [end] z = {operator}(x, e) }}"
    )
    assert declined(rewrite_and_explain(made)) == [
        ("expanded-operand", "end", "operands-are-as-large", because)
    ]


def test_an_expand_to_a_shape_given_at_run_time_stays() -> None:
    made = model(
        "(float[n,3] x, float[1] y, int64[k] s) => (float[?,?] z) "
        "{ e = Expand(y, s) [end] z = Add(x, e) }"
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "expanded-operand",
            "end",
            "operands-are-as-large",
            "`s` is a shape that is not known before run time",
        )
    ]


@pytest.mark.parametrize("part", ["start=1", "end=1"])
def test_an_operand_that_is_expanded_to_part_of_a_shape_stays(part: str) -> None:
    made = model(
        "(float[n,m] x, float[1] y) => (float[?,?] z) "
        f"{{ s = Shape<{part}>(x) e = Expand(y, s) z = Add(x, e) }}"
    )
    # The last size is one that x has at the end; the first is not.
    taken = [("expanded-operand", "node_of_e + node_of_z")] if part == "start=1" else []
    assert fused(rewrite_and_explain(made, rules=["expanded-operand"])) == taken


def test_an_expanded_operand_goes_from_each_of_its_readers() -> None:
    made = model(
        "(float[n,3] x, float[1] y) => (float[?,?] z, float[?,?] q, float[?,?] r) "
        "{ s = Shape(x) [e] e = Expand(y, s) [z] z = Add(x, e) [q] q = Div(e, x) [r] r = Exp(e) }"
    )
    assert sorted(fused(rewrite_and_explain(made, groups="off"))) == [
        ("expanded-operand", "e + q"),
        ("expanded-operand", "e + z"),
    ]


def test_an_operator_of_one_expanded_value_twice_keeps_it() -> None:
    made = model(
        "(float[3] x) => (float[2,3] z) "
        "{ s = Constant<value_ints=[2,3]>() e = Expand(x, s) z = Add(e, e) }"
    )
    assert fused(rewrite_and_explain(made, rules=["expanded-operand"])) == []


@given(st.data())
def test_an_expand_goes_only_where_the_result_has_the_same_shape(data: st.DataObject) -> None:
    sizes = st.lists(st.sampled_from((0, 1, 1, 2, 3)), max_size=3)
    shape, other, target = (data.draw(sizes) for _ in range(3))
    try:
        expanded = np.broadcast_shapes(shape, target)
        result = np.broadcast_shapes(expanded, other)
    except ValueError:
        return
    opened = data.draw(st.booleans())
    shown = [",".join("?" if opened else str(n) for n in each) for each in (other, shape)]
    # The brackets of a scalar are left out.
    x, y = (f"float[{each}]" if each else "float" for each in shown)
    z = f"float[{','.join('?' * len(result))}]" if result else "float"
    made = model(
        f"({x} x, {y} y) => ({z} z) {{ e = Expand(y, to) r = Add(x, e) z = Neg(r) }}",
        to=np.array(target, np.int64),
    )
    for verify in ("none", "rewrite"):
        after = rewrite_and_explain(made, verify=verify, groups="off").model
        feeds = {"x": np.ones(other, np.float32), "y": np.full(shape, 2, np.float32)}
        (before,), (now,) = (ReferenceEvaluator(m).run(None, feeds) for m in (made, after))
        assert before.shape == now.shape == result
        np.testing.assert_array_equal(before, now)
    if not opened:
        alone = np.broadcast_shapes(shape, other)
        assert ("Expand" in [n.op_type for n in after.graph.node]) == (alone != result)
