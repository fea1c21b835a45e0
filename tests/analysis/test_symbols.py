"""Which symbols are one size, where ONNX's inference makes up a new one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import model, value
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

from trtfuse.analysis.products import Product, dimension
from trtfuse.ir.graph import Shape
from trtfuse.model.model import Model


def shape_of(calls: str, inputs: str = "float[n,3,8] x", **more: Any) -> Shape:
    """What is known of the value y of a model."""
    given = {"zero": np.array(0), "axis": np.array([0])} | more
    words = calls.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {word: each for word, each in given.items() if word in words}
    made = model(f"({inputs}) => (int64[?] z) {{ {calls} z = Shape(y) }}", **used)
    found = value(Model(made), "y").shape
    assert found is not None
    return found


TARGET = "s = Shape(x) b = Gather(s, zero) u = Unsqueeze(b, axis) t = Concat<axis=0>(u, rest) "


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ([24], ("n", 24)),
        ([-1], ("n", 24)),
        ([2, -1, 4], ("n", 2, 3, 4)),
        ([4, 6, 1], ("n", 4, 6, 1)),
    ],
)
def test_a_computed_target_has_the_symbols_of_what_it_is_computed_from(
    rest: list[int], expected: Shape
) -> None:
    assert shape_of(f"{TARGET} y = Reshape(x, t)", rest=np.array(rest)) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ([-1, 24], ("n", 24)),
        ([0, -1], ("n", 24)),
        ([-1, 8, 3], ("n", 8, 3)),
        ([1, -1, 3, 8], (1, "n", 3, 8)),
    ],
)
def test_what_is_left_is_a_number_or_one_symbol(target: list[int], expected: Shape) -> None:
    assert shape_of("y = Reshape(x, target)", target=np.array(target)) == expected


@pytest.mark.parametrize("target", [[-1], [-1, 8], [2, -1], [-1, 48]])
def test_what_is_left_may_be_no_symbol(target: list[int]) -> None:
    found = shape_of("y = Reshape(x, target)", target=np.array(target))
    left = found[target.index(-1)]
    assert not isinstance(left, int)
    assert left != "n"


@pytest.mark.parametrize(
    "back",
    [
        "y = Reshape(f, t)",
        "g = Relu(f) y = Reshape(g, t)",
        "p = MatMul(f, square) y = Reshape(p, t)",
        "u0 = Reshape(f, t) r2 = Shape(u0) h = Gather(r2, zero) v = Unsqueeze(h, axis) "
        "t2 = Concat<axis=0>(v, rest) f2 = Reshape(u0, flat) y = Reshape(f2, t2)",
    ],
)
def test_a_batch_that_goes_through_flattening_comes_back(back: str) -> None:
    calls = f"{TARGET} f = Reshape(x, flat) {back}"
    square = np.zeros((8, 8), np.float32)
    found = shape_of(calls, rest=np.array([3, 8]), flat=np.array([-1, 8]), square=square)
    assert found == ("n", 3, 8)


def test_the_size_of_what_is_flattened_divides_again() -> None:
    calls = "f = Reshape(x, flat) s = Shape(f) r = Gather(s, zero) q = Div(r, three) "
    calls += "u = Unsqueeze(q, axis) t = Concat<axis=0>(u, rest) y = Reshape(f, t)"
    more = {"flat": np.array([-1, 8]), "three": np.array(3), "rest": np.array([3, 8])}
    assert shape_of(calls, **more) == ("n", 3, 8)


def test_equal_products_have_one_symbol_and_others_have_others() -> None:
    calls = "f = Reshape(x, flat) g = Flatten<axis=2>(x) y = Add(f, g)"
    first = shape_of(calls, flat=np.array([-1, 8]))
    assert first[1] == 8
    assert isinstance(first[0], str)
    assert dimension(Product(3, ("n",))) == first[0]
    assert dimension(Product(2, ("n",))) != first[0]
    assert dimension(Product(1, ("n", "n"))) != dimension(Product(1, ("m", "n")))


def test_a_symbol_that_looks_like_a_product_is_no_part_of_one() -> None:
    assert dimension(Product(1, ("a*b", "c"))) is None
    assert dimension(Product(-2, ("n",))) is None
    assert shape_of("y = Flatten<axis=0>(x)", 'float["a*b",c] x')[0] == 1


def test_two_symbols_of_which_one_is_left() -> None:
    calls = "y = Reshape(x, target)"
    found = shape_of(calls, "float[n,m,4] x", target=np.array([0, -1, 2, 2]))
    assert found == ("n", "m", 2, 2)
    first, last = shape_of(calls, "float[n,m,4] x", target=np.array([-1, 4]))
    assert first not in ("n", "m")
    assert last == 4


def test_with_allowzero_a_zero_copies_nothing() -> None:
    calls = "y = Reshape<allowzero=1>(x, target)"
    found = shape_of(calls, "float[n,0,8] x", target=np.array([0, 4, 8]))
    assert found == (0, 4, 8)
    assert shape_of("y = Reshape(x, target)", target=np.array([0, 4, 6])) == ("n", 4, 6)


def test_nothing_is_left_of_no_elements() -> None:
    found = shape_of("y = Reshape(x, target)", "float[0,n] x", target=np.array([-1, 0]))
    assert found[1] == "n"
    assert found[0] in (0, None) or str(found[0]).startswith("unk")


def test_a_sum_of_a_symbol_and_a_one_has_the_symbol() -> None:
    inputs = "float[n,3,8] x, float[1,3,1] w"
    assert shape_of(f"{TARGET} r = Reshape(x, t) y = Add(r, w)", inputs,
                    rest=np.array([3, 8])) == ("n", 3, 8)  # fmt: skip


def test_a_sum_of_two_symbols_has_neither() -> None:
    found = shape_of("y = Add(x, w)", "float[n,3] x, float[m,3] w")
    assert found[0] not in ("n", "m")
    assert found[1] == 3


def test_values_further_down_are_told_the_symbol_as_well() -> None:
    calls = f"{TARGET} r = Reshape(x, t) q = Relu(r) y = Transpose(q)"
    assert shape_of(calls, rest=np.array([24])) == (24, "n")


def test_a_rank_that_inference_missed_takes_it_further() -> None:
    calls = """s = Shape(x) b = Gather(s, zero) m = Mul(b, two) u = Unsqueeze(m, axis)
        t = Concat<axis=0>(u, rest) r = Reshape(x, t) y = Transpose(r)"""
    found = shape_of(calls, rest=np.array([12]), two=np.array(2))
    assert found[0] == 12
    assert found[1] != "n"


def test_expand_has_the_symbols_of_its_target() -> None:
    calls = "s = Shape(x) y = Expand(w, s)"
    assert shape_of(calls, "float[n,3] x, float[1,3] w") == ("n", 3)


def test_symbols_are_told_in_the_bodies_as_well() -> None:
    made = model(
        """(float[n,6] x, bool c) => (float[?,?] y) {
            y = If(c) <then_branch = t () => (float[?,?] p) {
                    s = Shape<end=1>(x) three = Constant<value=int64[2] {2,3}>()
                    t = Concat<axis=0>(s, three) [inside] r = Reshape(x, t)
                    p = Flatten(r) },
                else_branch = e () => (float[?,?] q) { q = Neg(x) }> }"""
    )
    read = Model(made)
    (inside,) = [n for g in read.graph.walk() for n in g.nodes() if n.proto.name == "inside"]
    assert inside.output.shape == ("n", 2, 3)


def sizes_at_run_time(made: ModelProto, n: int, m: int) -> dict[str, tuple[int, ...]]:
    names = [output.name for output in made.graph.output]
    feeds = {"x": np.zeros((n, 4, m), np.float32), "w": np.zeros((m, n), np.float32)}
    found = ReferenceEvaluator(made).run(None, feeds)
    return {name: array.shape for name, array in zip(names, found, strict=True)}


def test_symbols_are_the_sizes_at_run_time() -> None:
    text = """(float[n,4,m] x, float[m,n] w) => (float[?] r1, float[?] r2, float[?] r3, float[?] r4,
            float[?] r5, float[?] r6, float[?] r7) <int64[1] four = {4}, int64[1] two = {2}> {
        s = Shape(x) n = Shape<end=1>(x) m = Shape<start=1>(w) k = Shape<end=1>(w)
        t1 = Concat<axis=0>(n, k, four) r1 = Reshape(x, t1)
        t2 = Concat<axis=0>(k, four, m) r2 = Reshape(x, t2)
        back = Constant<value=int64[1] {-1}>()
        t3 = Concat<axis=0>(back, m) r3 = Reshape(x, t3)
        t4 = Concat<axis=0>(two, k, back) r4 = Reshape(x, t4)
        nm = Mul(n, k) t5 = Concat<axis=0>(nm, four) r5 = Reshape(x, t5)
        r6 = Add(r5, r5)
        t7 = Concat<axis=0>(m, back, k) r7 = Reshape(r6, t7)
    }"""
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 21]> g {text}')
    for output in made.graph.output:
        output.type.tensor_type.ClearField("shape")
    read = Model(made)
    for n, m in ((2, 3), (5, 7), (4, 2)):
        real: dict[Any, int] = {"n": n, "m": m}
        for name, sizes in sizes_at_run_time(made, n, m).items():
            known = value(read, name).shape
            assert known is not None, name
            assert len(known) == len(sizes), name
            for symbol, size in zip(known, sizes, strict=True):
                if symbol is not None:
                    found = symbol if isinstance(symbol, int) else real.setdefault(symbol, size)
                    assert found == size, (name, known, sizes)
    assert value(read, "r1").shape == ("n", "m", 4)
    r7 = value(read, "r7").shape
    assert r7 is not None
    assert (r7[0], r7[2]) == ("n", "m")
