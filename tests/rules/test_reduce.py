from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import attributes, constants, declined, fused, model, nodes
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import trtfuse


def as_graph(made: ModelProto, **given: Any) -> trtfuse.FusionResult:
    """Every rewrite, whatever TensorRT makes of it: their algebra is what is tested."""
    return rewrite_and_explain(made, objective="graph", **given)


ALL_REDUCES = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
]


def assert_same(before: ModelProto, after: ModelProto, **feeds: Any) -> None:
    expected = ReferenceEvaluator(before).run(None, feeds)
    found = ReferenceEvaluator(after).run(None, feeds)
    for old, new in zip(expected, found, strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        tolerance = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2}.get(str(old.dtype), 0)
        np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance)


@st.composite
def transposed_reductions(draw: st.DrawFn) -> tuple[ModelProto, dict[str, Any]]:
    """A Transpose and a Reduce behind it."""
    opset = draw(st.sampled_from((1, 11, 13, 17, 18, onnx.defs.onnx_opset_version())))
    operator = draw(st.sampled_from(ALL_REDUCES))
    exact = operator in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare")
    types = [TensorProto.DOUBLE, TensorProto.FLOAT, *((TensorProto.INT64,) if exact else ())]
    element = draw(st.sampled_from(types))
    rank = draw(st.integers(1, 5))
    shape = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    dynamic = draw(st.lists(st.booleans(), min_size=rank, max_size=rank))
    perm = draw(st.none() | st.permutations(range(rank)))
    axes = draw(st.none() | st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    if axes is not None:
        negative = opset >= 11
        axes = [axis - rank if negative and draw(st.booleans()) else axis for axis in axes]
    keepdims = draw(st.integers(0, 1))
    left = rank if keepdims else rank - len(axes or range(rank))
    inputs, attributes, weights = ["t"], {"keepdims": keepdims}, []
    if axes is not None and opset >= (13 if operator == "ReduceSum" else 18):
        inputs.append("axes")
        weights.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
    elif axes is not None:
        attributes["axes"] = axes
    graph = helper.make_graph(
        [
            helper.make_node(
                "Transpose", ["x"], ["t"], name="t", **({"perm": perm} if perm else {})
            ),
            helper.make_node(operator, inputs, ["y"], name="r", **attributes),
        ],
        "transposed",
        [
            helper.make_tensor_value_info(
                "x",
                element,
                [
                    f"d{i}" if free else size
                    for i, (size, free) in enumerate(zip(shape, dynamic, strict=True))
                ],
            )
        ],
        [helper.make_tensor_value_info("y", element, [f"o{i}" for i in range(left)])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    numbers = draw(st.integers(0, 2**32 - 1))
    x = np.random.default_rng(numbers).standard_normal(shape) ** 2 + 0.1
    return made, {"x": x.astype(helper.tensor_dtype_to_np_dtype(element))}


@given(transposed_reductions())
def test_a_reduction_of_a_transposition_stays_what_it_is(
    drawn: tuple[ModelProto, dict[str, Any]],
) -> None:
    made, feeds = drawn
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify, objective="graph")
        assert "check" not in [miss.guard for miss in result.report.declined]
        onnx.checker.check_model(result.model, full_check=True)
        assert_same(made, result.model, **feeds)
        operators = [node.op_type for node in result.model.graph.node]
        assert operators.count("Transpose") <= 1
        assert operators.index("Transpose") > 0 if "Transpose" in operators else True
        again = rewrite_and_explain(result.model, verify="none")
        assert again.model.SerializeToString() == result.model.SerializeToString()


def test_a_transposition_before_a_reduction_goes_where_the_kept_order_allows() -> None:
    made = model(
        """(float[2,3,4,5] x) => (float[2,5] y) {
            [t] t = Transpose<perm=[0,2,3,1]>(x)
            [r] y = ReduceMean<axes=[1,3], keepdims=0>(t)
        }""",
        opset=17,
    )
    result = rewrite_and_explain(made)
    assert fused(result) == [("shuffle-reduce", "t + r")]
    assert nodes(result.model) == ["r: ReduceMean(x) -> y"]
    assert list(result.model.graph.node[0].attribute[0].ints) == [1, 2]


def test_the_smaller_result_is_transposed_where_its_order_demands_it() -> None:
    made = model(
        """(float[2,3,4] x) => (float[4,2] y) {
            [t] t = Transpose<perm=[2,0,1]>(x)
            [r] y = ReduceSum<keepdims=0>(t, axes)
        }""",
        axes=np.array([2]),
    )
    result = rewrite_and_explain(made, objective="graph")
    assert [node.op_type for node in result.model.graph.node] == ["ReduceSum", "Transpose"]
    assert constants(result.model)["r.axes"].tolist() == [1]
    assert list(result.model.graph.node[1].attribute[0].ints) == [1, 0]


@pytest.mark.parametrize("element", ["double", "float", "float16"])
@pytest.mark.parametrize("opset", [7, 11, 13, 17, 18, onnx.defs.onnx_opset_version()])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("body", "operator", "rules"),
    [
        ("a = Abs(x) y = {sum}(a)", "ReduceL1", ["l1-norm"]),
        ("a = Mul(x, x) y = {sum}(a)", "ReduceSumSquare", ["sum-of-squares"]),
        ("a = Pow(x, two) y = {sum}(a)", "ReduceSumSquare", ["sum-of-squares"]),
        ("a = Mul(x, x) b = {sum}(a) y = Sqrt(b)", "ReduceL2", ["sum-of-squares", "l2-norm"]),
        ("b = {sum}(x) y = Log(b)", "ReduceLogSum", ["log-sum"]),
        ("a = Exp(x) b = {sum}(a) y = Log(b)", "ReduceLogSumExp", ["log-sum", "log-sum-exp"]),
    ],
)
def test_norms_and_logarithms_of_sums_become_one_reduction(
    body: str, operator: str, rules: list[str], keepdims: int, opset: int, element: str
) -> None:
    inputs = opset >= 13
    attributes = f"keepdims={keepdims}" + ("" if inputs else ", axes=[1,3]")
    spelled = body.replace("{sum}(", f"ReduceSum<{attributes}>(")
    if inputs:
        spelled = spelled.replace(f"<{attributes}>(a)", f"<{attributes}>(a, axes)")
        spelled = spelled.replace(f"<{attributes}>(x)", f"<{attributes}>(x, axes)")
    dtype = np.dtype("float32" if element == "float" else element)
    shape = f"{element}[n,1,5,1]" if keepdims else f"{element}[n,5]"
    given = {"axes": np.array([1, -1])} if inputs else {}
    if "two" in spelled:
        given["two"] = np.array(2, dtype)
    made = model(f"({element}[n,3,5,4] x) => ({shape} y) {{ {spelled} }}", opset=opset, **given)
    result = as_graph(made)
    assert [each.rule for each in result.report.fused] == rules
    assert [node.op_type for node in result.model.graph.node] == [operator]
    onnx.checker.check_model(result.model, full_check=True)
    x = np.abs(np.random.default_rng(0).standard_normal((2, 3, 5, 4))) + 0.1
    assert_same(made, result.model, x=x.astype(dtype))
    again = as_graph(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_a_sum_of_squares_that_is_read_elsewhere_is_no_norm() -> None:
    made = model(
        """(float[2,3] x) => (float[2,1] y, float[2,1] z) {
            [sq] s = ReduceSumSquare<axes=[1]>(x)
            [root] y = Sqrt(s)
            [neg] z = Neg(s)
        }""",
        opset=17,
    )
    assert declined(rewrite_and_explain(made)) == [
        ("l2-norm", "root", "one-consumer", "`s` has 2 consumers: root, neg")
    ]


def test_integers_are_squared_and_summed_as_they_are() -> None:
    made = model(
        "(int32[2,3] x) => (int32[2,1] y) { [m] a = Mul(x, x) [s] y = ReduceSum(a, i) }",
        i=np.array([1]),
    )
    assert declined(rewrite_and_explain(made)) == [
        (
            "sum-of-squares",
            "s",
            "floating",
            "`x` is int32, and only floating-point numbers may be regrouped",
        )
    ]


@pytest.mark.parametrize("opset", [7, 11, 18, onnx.defs.onnx_opset_version()])
@pytest.mark.parametrize("sizes", ["7,5", "7,5,2"])
def test_a_mean_over_the_whole_plane_is_a_pooling(sizes: str, opset: int) -> None:
    rank = 2 + len(sizes.split(","))
    listed = list(range(2, rank))
    ones = ",".join("1" for _ in listed)
    if opset < 18:
        call, given = f"ReduceMean<axes={listed}>(x)", {}
    else:
        call, given = "ReduceMean(x, axes)", {"axes": np.array(listed)}
    made = model(
        f"(float[n,3,{sizes}] x) => (float[n,3,{ones}] y) {{ [m] y = {call} }}",
        opset=opset,
        **given,
    )
    result = as_graph(made)
    assert nodes(result.model) == ["m: AveragePool(x) -> y"]
    shape = (2, 3, *(int(size) for size in sizes.split(",")))
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert_same(made, result.model, x=x)


@pytest.mark.parametrize("opset", [7, 11, onnx.defs.onnx_opset_version()])
def test_a_global_average_pool_is_a_pooling_over_the_whole_plane(opset: int) -> None:
    made = model(
        "(float[n,3,7,5] x) => (float[n,3,1,1] y) { [g] y = GlobalAveragePool(x) }", opset=opset
    )
    result = as_graph(made)
    onnx.checker.check_model(result.model, full_check=True)
    (node,) = result.model.graph.node
    assert node.op_type == "AveragePool"
    assert list(node.attribute[0].ints) == [7, 5]


@pytest.mark.parametrize(
    ("shape", "out", "call", "guard", "because"),
    [
        ("n,3,h,5", "n,3,1,1", "ReduceMean<axes=[2,3]>(x)", "static-plane",
         "the spatial size [h, 5] of `x` is not fixed"),
        ("n,3,7,5", "n,3", "ReduceMean<axes=[2,3], keepdims=0>(x)", "keeps-dimensions",
         "m drops the axes that it reduces"),
        ("n,3,?,5", "n,3,1,1", "GlobalAveragePool(x)", "static-plane",
         "the spatial size [?, 5] of `x` is not fixed"),
    ],
)  # fmt: skip
def test_a_mean_is_no_pooling(shape: str, out: str, call: str, guard: str, because: str) -> None:
    made = model(f"(float[{shape}] x) => (float[{out}] y) {{ [m] y = {call} }}", opset=17)
    rule = "global-mean-pool" if "Global" in call else "mean-pool"
    assert declined(rewrite_and_explain(made)) == [(rule, "m", guard, because)]


@pytest.mark.parametrize("axes", [[1], [2], [1, 2, 3], [0, 2, 3]])
def test_a_mean_over_other_axes_is_nothing_to_speak_of(axes: list[int]) -> None:
    out = ",".join("1" if i in axes else size for i, size in enumerate(("2", "3", "7", "5")))
    made = model(
        f"(float[2,3,7,5] x) => (float[{out}] y) {{ [m] y = ReduceMean<axes={axes}>(x) }}", opset=17
    )
    result = rewrite_and_explain(made)
    assert (fused(result), declined(result)) == ([], [])


@pytest.mark.parametrize(
    ("element", "opset", "because"),
    [
        ("double", 17, "`x` is float64, and ONNX Runtime has no AveragePool of that"),
        ("bfloat16", 17, "`x` is bfloat16, which AveragePool takes from opset 22 on, "
         "and the model imports opset 17"),
        ("int32", 17, "`x` is int32, and only floating-point numbers may be regrouped"),
    ],
)  # fmt: skip
def test_a_mean_of_what_no_pooling_takes_stays(element: str, opset: int, because: str) -> None:
    made = model(
        f"""({element}[n,3,7,5] x) => ({element}[n,3,1,1] y) {{
            [m] y = ReduceMean<axes=[2,3]>(x)
        }}""",
        opset=opset,
    )
    assert declined(rewrite_and_explain(made)) == [("mean-pool", "m", "pooled-type", because)]


def test_a_global_pooling_of_what_no_pooling_takes_stays() -> None:
    made = model("(double[n,3,7,5] x) => (double[n,3,1,1] y) { [m] y = GlobalAveragePool(x) }")
    because = "`x` is float64, and ONNX Runtime has no AveragePool of that"
    assert declined(rewrite_and_explain(made)) == [
        ("global-mean-pool", "m", "pooled-type", because)
    ]


def test_a_mean_of_bfloat16_is_a_pooling_where_there_is_one() -> None:
    made = model(
        "(bfloat16[n,3,7,5] x) => (bfloat16[n,3,1,1] y) { [m] y = ReduceMean(x, axes) }",
        opset=22,
        axes=np.array([2, 3]),
    )
    assert nodes(as_graph(made).model) == ["m: AveragePool(x) -> y"]


@pytest.mark.parametrize("operator", ALL_REDUCES)
@pytest.mark.parametrize("axes", ["", ", none"])
def test_empty_axes_that_mean_nothing_are_no_reduction(operator: str, axes: str) -> None:
    made = model(
        f"""(float[2,3] x) => (float[3,2] y, float[3,2] z) {{
            t = Transpose(x) y = {operator}<noop_with_empty_axes=1>(t{axes})
            a = Abs(t) s = {operator}<noop_with_empty_axes=1>(a{axes}) z = Sqrt(s)
        }}""",
        **({"none": np.array([], np.int64)} if axes else {}),
    )
    result = rewrite_and_explain(made, skip=["no-op"])
    assert (fused(result), declined(result)) == ([], [])


@pytest.mark.parametrize("axes", ["", ", none"])
def test_empty_axes_are_all_unless_they_mean_nothing(axes: str) -> None:
    made = model(
        f"(double[2,3] x) => (double y) {{ a = Abs(x) [s] y = ReduceSum<keepdims=0>(a{axes}) }}",
        **({"none": np.array([], np.int64)} if axes else {}),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["s: ReduceL1(x) -> y"]
    assert_same(made, result.model, x=np.array([[1.0, -2, 3], [-4, 5, -6]]))


def test_axes_that_are_computed_or_name_one_twice_are_no_reduction() -> None:
    made = model(
        """(float[2,3] x, int64[1] axes) => (float[?,?] y, float[2,1] z) {
            [a1] a = Abs(x) [run] y = ReduceSum(a, axes)
            [a2] b = Abs(x) [twice] c = ReduceSum(b, two) [log] z = Log(c)
        }""",
        two=np.array([1, -1]),
    )
    result = rewrite_and_explain(made, rules=["l1-norm", "log-sum"])
    assert declined(result) == [("log-sum", "log", "reduce", "its axes [1, -1] repeat an axis")]


def test_axes_that_stay_as_they_are_stay_one_initializer() -> None:
    made = model(
        """(float[2,3] x) => (float[2,1] y, float[2,1] z) {
            a = Abs(x) [one] y = ReduceSum(a, axes) [other] z = ReduceMax(x, axes)
        }""",
        axes=np.array([1]),
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == ["one: ReduceL1(x, axes) -> y", "other: ReduceMax(x, axes) -> z"]


def test_a_square_with_more_dimensions_than_its_base_stays() -> None:
    made = model(
        """(float x) => (float[1] y) {
            [pow] a = Pow(x, two) [sum] y = ReduceSum<axes=[0]>(a)
        }""",
        opset=11,
        two=np.full(1, 2, np.float32),
    )
    assert fused(rewrite_and_explain(made, rules=["sum-of-squares"])) == []


@pytest.mark.parametrize("opset", [7, 17, 18])
def test_a_maximum_that_is_taken_out_of_a_log_sum_exp_and_added_back_is_left_to_it(
    opset: int,
) -> None:
    text = """(double[n,3,4] x) => (double[n,3,1] y, double[n,3,4] z) {
        m = ReduceMax(x, axes) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, axes) l = Log(s)
        [last] y = Add(m, l) z = Neg(d)
    }"""
    if opset < 18:
        text = text.replace("ReduceMax(x, axes)", "ReduceMax<axes=[2]>(x)")
    if opset < 13:
        text = text.replace("ReduceSum(e, axes)", "ReduceSum<axes=[2]>(e)")
    made = model(text, opset=opset, **({"axes": np.array([-1])} if opset >= 13 else {}))
    result = as_graph(made)
    assert [rule for rule, _ in fused(result)] == ["log-sum", "log-sum-exp-max"]
    operators = [node.op_type for node in result.model.graph.node]
    assert sorted(operators) == ["Neg", "ReduceLogSumExp", "ReduceMax", "Sub"]
    assert_same(made, result.model, x=np.random.default_rng(0).standard_normal((2, 3, 4)))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("m = ReduceMax(x, last) n = ReduceMax(x, first) d = Sub(x, m) "
         "l = ReduceLogSumExp(d, last) y = Add(l, n)", "3,3"),
        ("m = ReduceMax(x, first) d = Sub(x, m) l = ReduceLogSumExp(d, last) y = Add(l, m)", "3,3"),
        ("m = ReduceMax(x, last) d = Sub(x, m) l = ReduceLogSumExp<keepdims=0>(d, last) "
         "y = Add(l, m)", "3,3"),
        ("m = ReduceMin(x, last) d = Sub(x, m) l = ReduceLogSumExp(d, last) y = Add(l, m)", "3,1"),
    ],
)  # fmt: skip
def test_what_is_added_to_a_log_sum_exp_is_not_always_its_maximum(text: str, shape: str) -> None:
    axes = {"first": np.array([0]), "last": np.array([1])}
    made = model(
        f"(float[3,3] x) => (float[{shape}] y) {{ {text} }}",
        **{name: array for name, array in axes.items() if name in text},
    )
    result = rewrite_and_explain(made, verify="none")
    assert fused(result) == []


def test_integers_have_no_log_sum_exp_to_leave_a_maximum_to() -> None:
    made = model(
        """(int32[2,3] x) => (int32[2,1] y) {
            m = ReduceMax<axes=[1]>(x) d = Sub(x, m) l = ReduceLogSumExp<axes=[1]>(d)
            [last] y = Add(l, m)
        }""",
        opset=17,
    )
    because = "`x` is int32, and only floating-point numbers may be regrouped"
    assert declined(rewrite_and_explain(made)) == [("log-sum-exp-max", "last", "floating", because)]


def test_a_square_that_is_read_elsewhere_is_no_part_of_a_sum() -> None:
    made = model(
        """(float[2,3] x) => (float[2,1] y, float[2,3] z) {
            [square] a = Mul(x, x) [sum] s = ReduceSum<keepdims=1>(a, axes)
            [root] y = Sqrt(s) [neg] z = Neg(a)
        }""",
        axes=np.array([1]),
    )
    assert declined(rewrite_and_explain(made)) == [
        ("sum-of-squares", "sum", "one-consumer", "`a` has 2 consumers: sum, neg")
    ]


def test_a_sum_of_squares_is_one_though_its_root_is_not_all_that_is_read() -> None:
    made = model(
        """(float[2,3] x) => (float[2,1] y, float[2,1] z) {
            [square] a = Mul(x, x) [sum] s = ReduceSum(a, axes) [root] y = Sqrt(s) [neg] z = Neg(s)
        }""",
        axes=np.array([1]),
    )
    result = rewrite_and_explain(made)
    assert [node.op_type for node in result.model.graph.node] == ["ReduceSumSquare", "Sqrt", "Neg"]
    assert declined(result) == [
        ("l2-norm", "root", "one-consumer", "`s` has 2 consumers: root, neg")
    ]


@pytest.mark.parametrize(
    ("body", "rule", "guard"),
    [
        ("a = Abs(x) [last] y = ReduceSum(a, axes)", "l1-norm", "floating"),
        ("a = ReduceMean(x, axes) [last] y = ReduceMean(a, axes)", "reduce-reduce", "regroups"),
        ("a = ReduceL1(x, axes) [last] y = ReduceL1(a, axes)", "reduce-reduce", "regroups"),
    ],
)
def test_integers_stay(body: str, rule: str, guard: str) -> None:
    made = model(f"(int32[2,3] x) => (int32[2,1] y) {{ {body} }}", axes=np.array([1]))
    because = "`x` is int32, and only floating-point numbers may be regrouped"
    assert declined(rewrite_and_explain(made)) == [(rule, "last", guard, because)]


MERGING = [
    *(
        (name, name, name)
        for name in ALL_REDUCES
        if name not in ("ReduceSumSquare", "ReduceLogSum")
    ),
    ("ReduceL1", "ReduceSum", "ReduceL1"),
    ("ReduceSumSquare", "ReduceSum", "ReduceSumSquare"),
]


@st.composite
def reductions_in_a_row(draw: st.DrawFn) -> tuple[ModelProto, dict[str, Any], bool]:
    """Two or three reductions in a row, and whether all keep the reduced axes or all drop them."""
    opset = draw(st.sampled_from((1, 11, 13, 17, 18, onnx.defs.onnx_opset_version())))
    inner, outer, _ = draw(st.sampled_from(MERGING))
    whole = outer in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd") and inner == outer
    types = [TensorProto.DOUBLE, TensorProto.FLOAT, *((TensorProto.INT64,) if whole else ())]
    element = draw(st.sampled_from(types))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    rank = len(shape)
    kept, made, weights, previous = [], [], [], "x"
    for index, operator in enumerate((inner, outer, outer)[: draw(st.integers(2, 3))]):
        if rank == 0 and operator == "ReduceLogSumExp":
            # The reference implementation takes no scalar.
            break
        axes = draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1)) if rank else []
        if rank and draw(st.integers(0, 4)) == 0:
            axes = []
        lowered = [a - rank if opset >= 11 and draw(st.booleans()) else a for a in axes]
        keepdims = draw(st.integers(0, 1)) if not kept or draw(st.booleans()) else kept[-1]
        kept.append(keepdims)
        inputs, attributes = [previous], {"keepdims": keepdims}
        if lowered and opset >= (13 if operator == "ReduceSum" else 18):
            inputs.append(f"axes{index}")
            weights.append(numpy_helper.from_array(np.array(lowered, np.int64), inputs[-1]))
        elif lowered:
            attributes["axes"] = lowered
        previous = f"v{index}"
        made.append(helper.make_node(operator, inputs, [previous], name=previous, **attributes))
        rank = rank if keepdims else rank - len(axes or range(rank))
    made[-1].output[0] = "y"
    dynamic = [f"d{i}" if draw(st.booleans()) else size for i, size in enumerate(shape)]
    graph = helper.make_graph(
        made,
        "reductions",
        [helper.make_tensor_value_info("x", element, dynamic)],
        [helper.make_tensor_value_info("y", element, [f"o{i}" for i in range(rank)])],
        weights,
    )
    whole_model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = numbers.uniform(-3, 3, shape).astype(helper.tensor_dtype_to_np_dtype(element))
    return whole_model, {"x": x}, len(set(kept)) == 1


@given(reductions_in_a_row())
def test_reductions_in_a_row_are_one_where_they_keep_the_same(
    drawn: tuple[ModelProto, dict[str, Any], bool],
) -> None:
    made, feeds, alike = drawn
    # Whatever the builder makes of it: this is about the algebra.
    asked: dict[str, Any] = {"rules": ["reduce-reduce"], "objective": "graph"}
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify, **asked)
        assert {miss.guard for miss in result.report.declined} <= {"same-dimensions-kept"}
        assert len(result.model.graph.node) == 1 or not alike
        onnx.checker.check_model(result.model, full_check=True)
        assert_same(made, result.model, **feeds)
        again = rewrite_and_explain(result.model, verify="none", **asked)
        assert again.model.SerializeToString() == result.model.SerializeToString()


def test_two_means_in_a_row_are_one() -> None:
    made = model(
        """(float[n,3,4,5] x) => (float[n,4] y) {
            [first] a = ReduceMean<axes=[1], keepdims=0>(x)
            [second] y = ReduceMean<axes=[-1], keepdims=0>(a)
        }""",
        opset=17,
    )
    result = as_graph(made)
    assert fused(result) == [("reduce-reduce", "first + second")]
    assert nodes(result.model) == ["second: ReduceMean(x) -> y"]
    assert list(result.model.graph.node[0].attribute[0].ints) == [1, 3]


def test_means_over_height_and_width_in_turn_are_a_pooling() -> None:
    made = model(
        """(float[n,3,4,5] x) => (float[n,3,1,1] y) {
            a = ReduceMean<axes=[3]>(x) y = ReduceMean<axes=[2]>(a)
        }""",
        opset=17,
    )
    result = as_graph(made)
    assert [node.op_type for node in result.model.graph.node] == ["AveragePool"]


@pytest.mark.parametrize("inner", ALL_REDUCES)
@pytest.mark.parametrize("outer", ALL_REDUCES)
def test_reductions_that_do_not_merge_stay(inner: str, outer: str) -> None:
    made = model(
        f"(float[2,3,4] x) => (float[2,1,1] y) {{ a = {inner}(x, two) [r] y = {outer}(a, one) }}",
        one=np.array([1]),
        two=np.array([2]),
    )
    result = rewrite_and_explain(made, rules=["reduce-reduce"], verify="none")
    into = {(first, second): merged for first, second, merged in MERGING}.get((inner, outer))
    assert [node.op_type for node in result.model.graph.node] == (
        [into] if into else [inner, outer]
    )


@pytest.mark.parametrize(
    ("first", "second", "out", "because"),
    [
        ("<axes=[1], keepdims=1>", "<axes=[2], keepdims=0>", "2,1",
         "one keeps axes that it reduces, and two drops its own"),
        ("<axes=[1], keepdims=0>", "<axes=[1], keepdims=1>", "2,1",
         "two keeps axes that it reduces, and one drops its own"),
    ],
)  # fmt: skip
def test_reductions_that_keep_different_axes_stay(
    first: str, second: str, out: str, because: str
) -> None:
    made = model(
        f"""(float[2,3,4] x) => (float[{out}] y) {{
            [one] a = ReduceMax{first}(x) [two] y = ReduceMax{second}(a)
        }}""",
        opset=17,
    )
    assert declined(rewrite_and_explain(made)) == [
        ("reduce-reduce", "two", "same-dimensions-kept", because)
    ]


def unranked(first: list[int], second: list[int], keepdims: int) -> ModelProto:
    return model(
        f"""(float[n] given, int64[r] shape) => (float[m] y) {{
            x = Reshape(given, shape) [one] a = ReduceMax<keepdims={keepdims}>(x, first)
            [two] b = ReduceMax<keepdims={keepdims}>(a, second) y = Reshape(b, flat)
        }}""",
        first=np.array(first),
        second=np.array(second),
        flat=np.array([-1]),
    )


@pytest.mark.parametrize(("keepdims", "axes"), [(0, [0, 2]), (1, [0, 1])])
def test_axes_from_the_front_are_merged_whatever_the_rank(keepdims: int, axes: list[int]) -> None:
    made = unranked([0], [1], keepdims)
    result = as_graph(made, rules=["reduce-reduce"])
    assert fused(result) == [("reduce-reduce", "one + two")]
    assert constants(result.model)["two.axes"].tolist() == axes
    x = np.random.default_rng(0).standard_normal(120).astype(np.float32)
    assert_same(made, result.model, given=x, shape=np.array([2, 3, 4, 5]))


def test_axes_from_the_end_of_something_of_unknown_rank_stay() -> None:
    result = rewrite_and_explain(unranked([0], [-1], 0), rules=["reduce-reduce"])
    assert declined(result) == [
        ("reduce-reduce", "two", "axes-of-the-same-tensor", "the rank of `x` is not known")
    ]


def test_a_transpose_with_an_empty_perm_of_unknown_rank_stays() -> None:
    made = model(
        """(float[2,3] x, int64[n] shape) => (float[1,1] y) {
            r = Reshape(x, shape) t = Transpose(r) y = ReduceSum(t)
        }"""
    )
    made.graph.node[1].attribute.append(
        helper.make_attribute("perm", [], attr_type=onnx.AttributeProto.INTS)
    )
    assert fused(rewrite_and_explain(made)) == []


@pytest.mark.parametrize(
    ("rule", "body", "of"),
    [
        ("mean-pool", "y = REDUCE(x, axes)", "ReduceMean"),
        ("l1-norm", "a = Abs(x) y = REDUCE(a, axes)", "ReduceSum"),
        ("sum-of-squares", "a = Mul(x, x) y = REDUCE(a, axes)", "ReduceSum"),
        ("sum-of-squares", "a = Pow(x, two) y = REDUCE(a, axes)", "ReduceSum"),
        ("l2-norm", "a = REDUCE(x, axes) y = Sqrt(a)", "ReduceSumSquare"),
        ("log-sum", "a = REDUCE(x, axes) y = Log(a)", "ReduceSum"),
        ("log-sum-exp", "a = Exp(x) y = REDUCE(a, axes)", "ReduceLogSum"),
        (
            "log-sum-exp-max",
            "m = ReduceMax(x, axes) a = Sub(x, m) b = REDUCE(a, axes) y = Add(b, m)",
            "ReduceLogSumExp",
        ),
        (
            "log-sum-exp-max",
            "m = REDUCE(x, axes) a = Sub(x, m) b = ReduceLogSumExp(a, axes) y = Add(b, m)",
            "ReduceMax",
        ),
    ],
)
def test_a_rule_of_one_reduction_leaves_the_others_alone(rule: str, body: str, of: str) -> None:
    for operator in ALL_REDUCES:
        made = model(
            f"(float[2,3,4,4] x) => (float[2,3,1,1] y) {{ {body.replace('REDUCE', operator)} }}",
            axes=np.array([2, 3]),
            **({"two": 2.0} if "two" in body else {}),
        )
        found = [each for each, _ in fused(as_graph(made, rules=[rule], verify="none"))]
        assert found == ([rule] if operator == of else [])


@pytest.mark.parametrize(
    ("two", "rank"), [(np.float32(3), 2), (np.float32([2, 2, 2]), 2), (np.float32([[[2]]]), 3)]
)
def test_another_power_is_no_square(two: Any, rank: int) -> None:
    made = model(
        f"""(float[2,3] x) => (float[{"?," * (rank - 1)}?] y) {{
            p = Pow(x, two) y = ReduceSum(p, axes)
        }}""",
        two=two,
        axes=np.array([-1]),
    )
    assert fused(rewrite_and_explain(made, rules=["sum-of-squares"], verify="none")) == []


ALL_REDUCTIONS = [*ALL_REDUCES, "ArgMax", "ArgMin"]


def reduction(operator: str, opset: int, axis: int, keepdims: int) -> tuple[str, bool]:
    """The call of a reduction of x over one axis, and whether it takes the axis as an input."""
    if operator.startswith("Arg"):
        return f"{operator}<axis={axis}, keepdims={keepdims}>(x)", False
    if opset >= (13 if operator == "ReduceSum" else 18):
        return f"{operator}<keepdims={keepdims}>(x, axis)", True
    return f"{operator}<axes=[{axis}], keepdims={keepdims}>(x)", False


def steps(operator: str, opset: int, axis: int, keepdims: int, second: int) -> ModelProto:
    """A reduction of x, then a Squeeze or an Unsqueeze of an axis."""
    call, taken = reduction(operator, opset, axis, keepdims)
    other = "Squeeze" if keepdims else "Unsqueeze"
    after = f"{other}(r, second)" if opset >= 13 else f"{other}<axes=[{second}]>(r)"
    kind = "int64" if operator.startswith("Arg") else "double"
    shape = "?,?" if keepdims else "?,?,?"
    text = f"(double[n,3,4] x) => ({kind}[{shape}] y) {{ [r] r = {call} [u] u = {after} "
    given = {"axis": np.array([axis])} if taken else {}
    if opset >= 13:
        given["second"] = np.array([second])
    return model(f"{text} y = Identity(u) }}", opset=opset, **given)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("operator", "opset", "axis", "second"),
    [
        *((operator, 18, 1, 1) for operator in ALL_REDUCTIONS),
        *((operator, 7, 2, 2) for operator in ALL_REDUCTIONS),
        *(
            ("ReduceSum", opset, axis, second)
            for opset in (11, 13, 17, onnx.defs.onnx_opset_version())
            for axis, second in ((1, 1), (-1, 2), (0, -3))
        ),
        ("ArgMax", 13, -1, 2),
        ("ArgMin", 11, 0, -3),
    ],
)
def test_a_reduction_keeps_or_drops_its_axes_itself(
    operator: str, opset: int, keepdims: int, axis: int, second: int
) -> None:
    made = steps(operator, opset, axis, keepdims, second)
    rule = "reduce-squeeze" if keepdims else "reduce-unsqueeze"
    result = rewrite_and_explain(made)
    assert (rule, "r + u") in fused(result)
    (node,) = result.model.graph.node
    assert attributes(node)["keepdims"] == 1 - keepdims
    x = np.abs(np.random.default_rng(0).standard_normal((2, 3, 4)))
    assert_same(made, result.model, x=x)
    again = rewrite_and_explain(result.model)
    assert again.model.SerializeToString() == result.model.SerializeToString()


@pytest.mark.parametrize(
    ("keepdims", "call", "shape"),
    [
        (0, "Reshape(r, kept)", "n,1,4"),
        (1, "Reshape(r, dropped)", "n,4"),
        (1, "Flatten<axis=1>(r)", "n,4"),
    ],
)
def test_a_reshape_that_keeps_or_drops_the_axes_counts(
    keepdims: int, call: str, shape: str
) -> None:
    made = model(
        f"""(float[n,3,4] x) => (float[{shape}] y) {{
            [r] r = ReduceMax<keepdims={keepdims}>(x, axis) [u] u = {call} y = Relu(u)
        }}""",
        axis=np.array([1]),
        **({"kept": np.array([0, 1, 4])} if "kept" in call else {}),
        **({"dropped": np.array([0, 4])} if "dropped" in call else {}),
    )
    result = rewrite_and_explain(made)
    assert [node.op_type for node in result.model.graph.node] == ["ReduceMax", "Relu"]
    for batch in (1, 2):
        assert_same(made, result.model, x=np.ones((batch, 3, 4), np.float32))


@pytest.mark.parametrize(
    ("shape", "calls", "rule", "because"),
    [
        ("n,3,4", "r = ReduceMax<keepdims=0>(x, one) [u] u = Unsqueeze(r, two)",
         "reduce-unsqueeze", "node_of_r goes over axes [1], u [2]"),
        ("n,3,4", "r = ReduceMax<keepdims=0>(x, one) [u] u = Unsqueeze(r, both)",
         "reduce-unsqueeze", "node_of_r goes over axes [1], u [1, 2]"),
        ("n,3,1", "r = ReduceMax<keepdims=1>(x, one) [u] u = Squeeze(r, two)",
         "reduce-squeeze", "node_of_r goes over axes [1], u [2]"),
        ("n,3,4", "r = ReduceMax<keepdims=0>(x, one) [u] u = Reshape(r, moved)",
         "reduce-unsqueeze", "u is not known to restore exactly its axes"),
        ("n,3,1", "r = ReduceMax<keepdims=1>(x, one) [u] u = Squeeze(r)",
         "reduce-squeeze", "u is not known to drop exactly its axes"),
        ("3", "r = ReduceMax<keepdims=0>(x) [u] u = Unsqueeze(r, first)",
         "reduce-unsqueeze", "node_of_r goes over all axes, u [0, 1]"),
    ],
)  # fmt: skip
def test_other_axes_are_added_or_dropped_as_before(
    shape: str, calls: str, rule: str, because: str
) -> None:
    given = {
        "one": np.array([1]),
        "two": np.array([2]),
        "both": np.array([1, 2]),
        "first": np.array([0, 1]),
        "moved": np.array([0, 4, 1]),
    }
    words = calls.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {name: each for name, each in given.items() if name in words}
    rank = "?,?,?,?" if "both" in words else "?,?,?"
    if rule == "reduce-squeeze" or "first" in words:
        rank = "?,?"
    made = model(f"(float[{shape}] x) => (float[{rank}] y) {{ {calls} y = Relu(u) }}", **used)
    missed = declined(rewrite_and_explain(made, rules=[rule]))
    assert missed == [(rule, "u", "axes-are-the-reduced", because)]


def test_a_mean_over_the_whole_plane_is_not_made_a_pooling_on_the_way() -> None:
    made = model(
        """(float[n,3,5,6] x) => (float[n,3,1,1] y) {
            [mean] r = ReduceMean<keepdims=0>(x, plane) [u] u = Unsqueeze(r, plane) y = Relu(u)
        }""",
        plane=np.array([2, 3]),
    )
    because = "mean is a mean over the whole plane [5, 6]"
    assert ("reduce-unsqueeze", "u", "is-no-pooling", because) in declined(
        rewrite_and_explain(made)
    )


def test_a_scalar_has_no_axes_to_keep() -> None:
    made = model(
        """(float x) => (float[1] y) {
            r = ReduceMax<keepdims=0>(x) u = Unsqueeze(r, a) y = Relu(u)
        }""",
        a=np.array([0]),
    )
    assert fused(rewrite_and_explain(made, rules=["reduce-unsqueeze"])) == []
