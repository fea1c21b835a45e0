from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import constants, declined, fused, model, nodes
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]


def run(made: ModelProto, **feeds: Array) -> list[Array]:
    return [np.asarray(found) for found in ReferenceEvaluator(made).run(None, feeds)]


def assert_settled(made: ModelProto, verify: Any = "none") -> None:
    """A second run changes nothing."""
    again = rewrite_and_explain(made, verify=verify, groups="off")
    assert again.model.SerializeToString() == made.SerializeToString()


def test_two_nots_do_nothing() -> None:
    made = model(
        """(bool[n] x) => (bool[?] y, bool[?] z) {
            [a] a = Not(x) [b] b = Not(a) [c] c = Not(b) y = And(c, x) z = Or(a, b)
        }"""
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert ("not-not", "a + b") in fused(result)
        assert [node.op_type for node in result.model.graph.node] == ["Not", "And", "Or"]
        assert_settled(result.model)


OPPOSITE = {
    "Greater": "LessOrEqual",
    "GreaterOrEqual": "Less",
    "Less": "GreaterOrEqual",
    "LessOrEqual": "Greater",
}


@pytest.mark.parametrize("operator", OPPOSITE)
@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint64"])
def test_the_opposite_of_a_comparison_of_integers_is_a_comparison(operator: str, kind: str) -> None:
    made = model(
        f"({kind}[n] a, {kind}[1] b) => (bool[?] y) {{ c = {operator}(a, b) [not] y = Not(c) }}"
    )
    result = rewrite_and_explain(made)
    assert nodes(result.model) == [f"not: {OPPOSITE[operator]}(a, b) -> y"]
    info = np.iinfo(kind)
    a = np.array([info.min, 0, 3, 4, 5, info.max], kind)
    for b in a:
        feeds = {"a": a, "b": b.reshape(1)}
        np.testing.assert_array_equal(run(made, **feeds), run(result.model, **feeds))
    assert_settled(result.model)


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_the_opposite_of_a_comparison_of_floating_point_numbers_is_none(kind: str) -> None:
    made = model(f"({kind}[n] a, {kind}[1] b) => (bool[?] y) {{ c = Less(a, b) [n] y = Not(c) }}")
    name = {"float": "float32", "double": "float64"}.get(kind, kind)
    because = f"`a` is {name}, and of a NaN a comparison and its opposite are both false"
    assert declined(rewrite_and_explain(made)) == [("not-comparison", "n", "integers", because)]


def test_a_comparison_with_other_readers_or_before_opset_12_stays() -> None:
    made = model(
        "(int64[n] a) => (bool[?] y, bool[?] z) { [c] c = Less(a, a) [n] y = Not(c) z = Or(c, y) }"
    )
    assert declined(rewrite_and_explain(made)) == [
        ("not-comparison", "n", "one-consumer", "`c` has 2 consumers: n, node_of_z")
    ]
    made = model("(int64[n] a) => (bool[?] y) { c = Less(a, a) [n] y = Not(c) }", opset=11)
    assert declined(rewrite_and_explain(made)) == [
        ("not-comparison", "n", "opset", "the model imports opset 11, and the rule needs 12")
    ]


@pytest.mark.parametrize("opset", [9, 16, 25])
def test_a_where_of_a_not_changes_its_branches(opset: int) -> None:
    made = model(
        """(bool[n,1] c, float[n,3] a, float[3] b) => (float[n,3] y, bool[?,?] z) {
            d = Not(c) [w] y = Where(d, a, b) z = And(d, c)
        }""",
        opset=opset,
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert "w: Where(c, b, a) -> y" in nodes(result.model)
        assert "where-not" in [rule for rule, _ in fused(result)]
    a = np.array([[np.nan, np.inf, -0.0], [1, 2, 3]], np.float32)
    feeds = {"c": np.array([[True], [False]]), "a": a, "b": -a[0]}
    for before, after in zip(run(made, **feeds), run(result.model, **feeds), strict=True):
        np.testing.assert_array_equal(before, after)
    assert_settled(result.model)


@pytest.mark.parametrize(
    ("condition", "chosen"),
    [(True, "a"), ([[True, True, True]], "a"), (False, "b"), ([False], "b"), ([], None)],
)
def test_a_where_that_takes_one_goes(condition: Any, chosen: str | None) -> None:
    size = 0 if condition == [] else 3
    made = model(
        f"""(float[n,{size}] a, float[n,{size}] b) => (float[?,?] y) {{
            [w] w = Where(c, a, b) [r] y = Relu(w)
        }}""",
        c=np.array(condition, bool),
    )
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify, groups="off")
        if chosen is None:
            assert "Where" in [node.op_type for node in result.model.graph.node]
        else:
            assert fused(result) == [("where-of-one", "w")]
            assert nodes(result.model) == [f"r: Relu({chosen}) -> y"]


def test_a_where_of_the_same_twice_goes() -> None:
    made = model("(bool[n,1] c, float[n,3] a) => (float[?,?] y) { w = Where(c, a, a) y = Relu(w) }")
    assert nodes(rewrite_and_explain(made).model) == ["-: Relu(a) -> y"]


@pytest.mark.parametrize(
    ("text", "because"),
    [
        (
            "(float[n,1] a, float[n,3] b) => (float[?,?] y) { [w] y = Where(true, a, b) }",
            "`b` broadcasts: size 3 of axis 1 may be larger than what `a` broadcasts to",
        ),
        (
            "(float[n,3] a, float[m,3] b) => (float[?,?] y) { [w] y = Where(true, a, b) }",
            "`b` broadcasts: size m of axis 0 may be larger than what `a` broadcasts to",
        ),
        (
            "(float[3] a, bool[1,3] b) => (float[?,?] y) { [w] y = Where(b, a, a) }",
            "`b` broadcasts: size 1 of axis 0 may be larger than what `a` broadcasts to",
        ),
    ],
)
def test_a_where_whose_other_operands_broadcast_stays(text: str, because: str) -> None:
    given = {"true": np.array(True)} if "true" in text else {}
    made = model(text, **given)
    assert declined(rewrite_and_explain(made)) == [
        ("where-of-one", "w", "choice-has-the-shape", because)
    ]


def test_a_where_that_takes_of_both_stays() -> None:
    made = model(
        "(float[2] a, float[2] b) => (float[2] y) { [w] w = Where(c, a, b) y = Relu(w) }",
        c=np.array([True, False]),
    )
    assert fused(rewrite_and_explain(made)) == []


@given(st.data())
def test_wheres_and_nots_of_any_shapes_choose_the_same(data: st.DataObject) -> None:
    sizes = st.lists(st.sampled_from((0, 1, 1, 2)), max_size=2)
    shapes = {name: data.draw(sizes) for name in "cab"}
    try:
        np.broadcast_shapes(*map(tuple, shapes.values()))
    except ValueError:
        return
    opened = data.draw(st.booleans())
    shown = {
        name: f"[{','.join('?' if opened else str(n) for n in each)}]" if each else ""
        for name, each in shapes.items()
    }
    fixed = data.draw(st.sampled_from((None, True, False)))
    nots = data.draw(st.integers(0, 3))
    branches = data.draw(st.sampled_from(("a, b", "b, a", "a, a")))
    rank = max(len(shapes[name]) for name in f"c{branches}" if name in shapes)
    calls = "".join(f"n{i + 1} = Not(n{i}) " for i in range(nots))
    given = {} if fixed is None else {"k": np.full(shapes["c"], fixed)}
    start = "n0 = Identity(c)" if fixed is None else "n0 = Identity(k)"
    made = model(
        f"(bool{shown['c']} c, float{shown['a']} a, float{shown['b']} b) => (float[*] y) "
        f"{{ {start} {calls} w = Where(n{nots}, {branches}) y = Neg(w) }}".replace(
            "float[*]", f"float[{','.join('?' * rank)}]" if rank else "float"
        ),
        **given,
    )
    feeds = {
        "c": np.arange(np.prod(shapes["c"], dtype=int)).reshape(shapes["c"]) % 2 == 0,
        "a": np.full(shapes["a"], np.nan, np.float32),
        "b": np.full(shapes["b"], 2, np.float32),
    }
    for verify in ("none", "rewrite"):
        after = rewrite_and_explain(made, verify=verify, groups="off").model
        (before,), (now,) = run(made, **feeds), run(after, **feeds)
        assert before.shape == now.shape
        np.testing.assert_array_equal(before, now)
        assert_settled(after, verify)
    assert [n.op_type for n in after.graph.node].count("Not") <= 1


EXPAND = """(float[1,1,4] x, float[n,3,4] q, float[n] r) => (float[n,3,4] y) {
    sizes = Shape(q) first = Gather<axis=0>(sizes, zero) n = Unsqueeze(first, axis)
    to = Concat<axis=0>(n, three, minus) count = Shape(to)
    ones = ConstantOfShape<value=int64[1]{1}>(count) all = Mul(ones, minus)
    asks = Equal(to, all) [w] target = Where(asks, ones, to) e = Expand(x, target) END
}"""
SIZES = {
    "zero": np.array(0),
    "axis": np.array([0]),
    "three": np.array([3]),
    "minus": np.array([-1]),
}


def test_what_pytorch_asks_of_sizes_is_known() -> None:
    result = rewrite_and_explain(model(EXPAND.replace("END", "y = Add(e, q)"), **SIZES))
    assert nodes(result.model) == ["-: Add(x, q) -> y"]
    result = rewrite_and_explain(model(EXPAND.replace("END", "y = Neg(e)"), **SIZES))
    assert ("fixed-shape", "node_of_asks") in fused(result)
    np.testing.assert_array_equal(constants(result.model)["asks"], [False, False, True])
    feeds = {
        "x": np.ones((1, 1, 4), np.float32),
        "q": np.ones((2, 3, 4), np.float32),
        "r": np.ones(2, np.float32),
    }
    assert run(result.model, **feeds)[0].shape == (2, 3, 4)
    assert_settled(result.model)


def test_sizes_that_are_all_given_are_the_target_themselves() -> None:
    text = EXPAND.replace("END", "y = Neg(e)").replace("three, minus", "three, four")
    result = rewrite_and_explain(model(text, **SIZES, four=np.array([4])))
    assert ("where-of-one", "w") in fused(result)
    assert "Where" not in [node.op_type for node in result.model.graph.node]


@pytest.mark.parametrize("number", [0, 3, 1])
def test_a_comparison_that_an_open_size_decides_stays(number: int) -> None:
    made = model(
        "(float[n,3] x) => (bool[2] y) { s = Shape(x) e = Equal(s, k) y = Not(e) }",
        k=np.array([number]),
    )
    assert fused(rewrite_and_explain(made)) == []


@pytest.mark.parametrize("verify", ["none", "rewrite"])
@pytest.mark.parametrize(("operator", "decided"), [("And", True), ("Or", False), ("Xor", False)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_mask_that_hides_nothing_goes(
    operator: str, decided: bool, swapped: bool, verify: Any
) -> None:
    operands = "c, x" if swapped else "x, c"
    for shape in ((), (1, 1), (3,)):
        made = model(
            f"(bool[n,3] x) => (bool[?,?] y) {{ [a] a = {operator}({operands}) [n] y = Not(a) }}",
            c=np.full(shape, decided),
        )
        result = rewrite_and_explain(made, verify=verify)
        assert nodes(result.model) == ["n: Not(x) -> y"]
        assert_settled(result.model, verify)


@pytest.mark.parametrize(
    ("operator", "decided"),
    [("And", [True, False, True]), ("Or", [True] * 3), ("Xor", [True] * 3), ("And", [False] * 3)],
)
def test_a_mask_that_hides_something_stays(operator: str, decided: list[bool]) -> None:
    made = model(f"(bool[n,3] x) => (bool[?,?] y) {{ y = {operator}(x, c) }}", c=np.array(decided))
    assert fused(rewrite_and_explain(made)) == []


@pytest.mark.parametrize(
    ("size", "shape", "first"),
    [("n", (4,), 4), ("3", (2, 3), 2), ("3", (1, 3), 1), ("1", (0,), 0)],
)
def test_a_mask_that_broadcasts_stays(size: str, shape: tuple[int, ...], first: int) -> None:
    output = ",".join("?" * len(shape))
    made = model(
        f"(bool[{size}] x) => (bool[{output}] y) {{ [a] a = And(x, c) y = Not(a) }}",
        c=np.ones(shape, bool),
    )
    because = f"`c` broadcasts: size {first} of axis 0 may be larger than what `x` broadcasts to"
    assert declined(rewrite_and_explain(made)) == [
        ("and-true", "a", "decided-is-no-larger", because)
    ]
