from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from models import declined, fused, model, nodes

import trtfuse

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
        ("Expand(x, sizes)", {"sizes": np.array([1, 3])}),
        ("Tile(x, ones)", {"ones": np.array([1, 1])}),
        ("Split<axis=0, num_outputs=1>(x)", {}),
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
    assert nodes(trtfuse.fuse(made).model) == ["end: Relu(x) -> y"]


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
    result = trtfuse.fuse(made)
    assert fused(result) == []


@pytest.mark.parametrize(
    ("call", "guard", "because"),
    [
        ("a, mask = Dropout(x, , f)", "only-first-output", "its mask `mask` is used"),
        ("a, unused = Dropout(x, , t)", "inference", "it is told to train"),
        ("a, unused = Dropout(x, , given)", "inference",
         "whether it trains, `given`, is decided at run time"),
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
    assert declined(trtfuse.fuse(made)) == [("dropout", "d", guard, because)]


def test_an_identity_between_two_outer_names_stays() -> None:
    made = model("(float[2] x) => (float[2] y) { [i] y = Identity(x) }")
    result = trtfuse.fuse(made)
    assert result.model == made


def test_an_identity_before_an_output_gives_its_name_to_what_computes_it() -> None:
    made = model("(float[2] x) => (float[2] y) { [r] a = Relu(x) [i] y = Identity(a) }")
    assert nodes(trtfuse.fuse(made).model) == ["r: Relu(x) -> y"]


def test_two_outputs_of_one_value_need_an_identity() -> None:
    made = model("(float[2] x) => (float[2] a, float[2] y) { [r] a = Relu(x) [i] y = Identity(a) }")
    assert trtfuse.fuse(made).model == made


@pytest.mark.parametrize("operator", ["Add", "Div", "Mul", "Pow", "Sub"])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("shape", ["n,1", "1", "1,3", "2,1,1"])
def test_an_operand_need_not_be_expanded(operator: str, swapped: bool, shape: str) -> None:
    operands = "e, x" if swapped else "x, e"
    made = model(
        f"(float[n,3] x, float[{shape}] y) => (float[{'?,' * shape.count(',1,')}?,?] z) "
        f"{{ s = Shape(x) e = Expand(y, s) [end] z = {operator}({operands}) }}"
    )
    result = trtfuse.fuse(made)
    assert fused(result) == [("expanded-operand", "node_of_s + node_of_e + end")]
    assert nodes(result.model) == [f"end: {operator}({operands.replace('e', 'y')}) -> z"]


@pytest.mark.parametrize("operator", ["Add", "Div", "Mul", "Pow", "Sub"])
@pytest.mark.parametrize("operands", ["x, e", "e, x"])
@pytest.mark.parametrize("part", ["start=1", "end=2"])
def test_an_operand_that_is_expanded_to_part_of_a_shape_stays(
    part: str, operands: str, operator: str
) -> None:
    made = model(
        "(float[2,2,2] x, float[1] y) => (float[?,?,?] z) "
        f"{{ s = Shape<{part}>(x) e = Expand(y, s) z = {operator}({operands}) }}"
    )
    assert fused(trtfuse.fuse(made, rules=["expanded-operand"])) == []


def test_an_expanded_operand_with_other_readers_stays() -> None:
    made = model(
        "(float[n,3] x, float[1] y) => (float[?,?] z, float[?,?] q) "
        "{ s = Shape(x) [e] e = Expand(y, s) [z] z = Add(x, e) [q] q = Relu(e) }"
    )
    assert declined(trtfuse.fuse(made)) == [
        ("expanded-operand", "z", "one-consumer", "`e` has 2 consumers: z, q")
    ]
