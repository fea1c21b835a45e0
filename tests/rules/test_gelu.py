from __future__ import annotations

import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from hypothesis import given
from hypothesis import strategies as st
from models import attributes, declined, fused, model
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper

Array = npt.NDArray[Any]

ROOT = math.sqrt(2 / math.pi)
OPSETS = (20, 21, 22, 23, defs.onnx_opset_version())
DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

#: GELU as exporters write it; each ends in `y`.
SPELLINGS = {
    "torch": "d = Div(x, sqrt2) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)",
    "decomposed": "h = Mul(x, half) d = Mul(x, inverse) e = Erf(d) s = Add(e, one) y = Mul(h, s)",
    "tensorflow": "d = Div(x, sqrt2) e = Erf(d) s = Add(one, e) c = Mul(half, s) y = Mul(x, c)",
    "paddle": "d = Div(x, sqrt2) e = Erf(d) s = Add(e, one) c = Mul(s, half) y = Mul(c, x)",
    "halved": "d = Mul(inverse, x) e = Erf(d) s = Add(e, one) m = Mul(s, x) y = Div(m, two)",
    "inside": "d = Div(x, sqrt2) e = Erf(d) g = Mul(e, half) s = Add(g, half) y = Mul(x, s)",
    "pow": """p = Pow(x, three) q = Mul(p, cube) a = Add(x, q) u = Mul(a, root) t = Tanh(u)
              s = Add(t, one) h = Mul(x, half) y = Mul(h, s)""",
    "cubed": """p = Mul(x, x) r = Mul(x, p) q = Mul(cube, r) a = Add(x, q) u = Mul(root, a)
                t = Tanh(u) s = Add(one, t) m = Mul(x, s) y = Mul(half, m)""",
    "fast": """k = Mul(x, root) q = Mul(x, cube) r = Mul(q, x) a = Add(r, one) u = Mul(k, a)
               t = Tanh(u) s = Add(t, one) h = Mul(x, half) y = Mul(h, s)""",
    "square": """p = Pow(x, two) q = Mul(p, cube) a = Add(one, q) k = Mul(root, x) u = Mul(k, a)
                 t = Tanh(u) s = Add(t, one) c = Mul(s, half) y = Mul(x, c)""",
}
NUMBERS = {
    "sqrt2": math.sqrt(2),
    "inverse": math.sqrt(0.5),
    "root": ROOT,
    "cube": 0.044715,
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
}


def used(text: str, **changed: Any) -> dict[str, Any]:
    """The constants that a spelling names, float32."""
    names = re.findall(r"\w+", text)
    return {name: np.float32(v) for name, v in (NUMBERS | changed).items() if name in names}


def exact(x: Array, approximate: str) -> Array:
    """GELU in float64, by its definition."""
    inner = (
        np.vectorize(math.erf)(x / math.sqrt(2))
        if approximate == "none"
        else np.tanh(ROOT * (x + 0.044715 * x**3))
    )
    return np.asarray(0.5 * x * (1 + inner))


def run(made: ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": x})
    return np.asarray(found)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_gelu(spelling: str) -> None:
    text = SPELLINGS[spelling]
    made = model(f"(float[2,3] x) => (float[2,3] y) {{ {text} }}", opset=20, **used(text))
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        assert [rule for rule, _ in fused(result)] == ["gelu"]
        (node,) = result.model.graph.node
        tanh = "Tanh" in text
        assert (node.op_type, node.input[:]) == ("Gelu", ["x"])
        assert attributes(node) == ({"approximate": b"tanh"} if tanh else {})
        assert result.report.declined == []
    x = np.linspace(-6, 6, 6, dtype=np.float32).reshape(2, 3)
    expected = exact(x.astype(np.float64), "tanh" if tanh else "none")
    np.testing.assert_allclose(run(made, x), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run(result.model, x), expected, rtol=1e-4, atol=1e-6)


class Spelled:
    """GELU being drawn: factors in any order, any association, constants on either side."""

    def __init__(self, draw: st.DrawFn, dtype: np.dtype[Any]) -> None:
        self.draw = draw
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def node(self, operator: str, *inputs: str) -> str:
        if operator in ("Add", "Mul") and self.chance():
            inputs = inputs[::-1]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=f"n{name}"))
        return name

    def constant(self, number: float) -> str:
        name = f"c{len(self.constants)}"
        shape = self.draw(st.sampled_from(((), (), (1,), (1, 1))))
        array = np.full(shape, number).astype(self.dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def product(self, number: float, *factors: str) -> str:
        """The product of values, times a number somewhere among them."""
        operands = [*self.draw(st.permutations(factors))]
        place = self.draw(st.integers(0, len(operands) - 1))
        divided = self.chance()
        operator, by = ("Div", 1 / number) if divided else ("Mul", number)
        operands[place] = self.node(operator, operands[place], self.constant(by))
        while len(operands) > 1:
            at = self.draw(st.integers(0, len(operands) - 2))
            operands[at : at + 2] = [self.node("Mul", *operands[at : at + 2])]
        return operands[0]

    def cube_plus(self) -> str:
        """sqrt(2 / pi) * (x + 0.044715 * x^3)"""
        form = self.draw(st.sampled_from(("cube", "pow", "square", "expanded")))
        if form == "expanded":
            cube = self.product(ROOT * 0.044715, "x", "x", "x")
            return self.node("Add", self.product(ROOT, "x"), cube)
        if form == "square":
            square = self.node("Pow", "x", self.constant(2.0)) if self.chance() else None
            factors = (square,) if square else ("x", "x")
            inner = self.node("Add", self.constant(1.0), self.product(0.044715, *factors))
            return self.product(ROOT, "x", inner)
        factors = (self.node("Pow", "x", self.constant(3.0)),) if form == "pow" else ("x",) * 3
        return self.product(ROOT, self.node("Add", "x", self.product(0.044715, *factors)))


@st.composite
def spelled(draw: st.DrawFn) -> tuple[ModelProto, str]:
    dtype = DTYPES[draw(st.sampled_from(tuple(DTYPES)))]
    approximate = draw(st.sampled_from(("none", "tanh")))
    made = Spelled(draw, dtype)
    if approximate == "none":
        inner = made.node("Erf", made.product(math.sqrt(0.5), "x"))
    else:
        inner = made.node("Tanh", made.cube_plus())
    if draw(st.integers(0, 3)) == 3:
        half = made.node("Add", made.product(0.5, inner), made.constant(0.5))
        last = made.node("Mul", "x", half)
    else:
        last = made.product(0.5, "x", made.node("Add", inner, made.constant(1.0)))
    assert made.nodes[-1].output == [last]
    made.nodes[-1].output[0] = "y"
    opset = draw(st.sampled_from(OPSETS))
    shape = draw(st.sampled_from(([2, 3], ["n", 3], ["n", "n", 2], [None, None])))
    element_type = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        made.nodes,
        "spelled",
        [helper.make_tensor_value_info("x", element_type, shape)],
        [helper.make_tensor_value_info("y", element_type, [None] * len(shape))],
        made.constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), approximate


@given(spelled())
def test_any_order_and_association_is_one_gelu(drawn: tuple[ModelProto, str]) -> None:
    made, approximate = drawn
    onnx.checker.check_model(made, full_check=True)
    for verify in ("none", "rewrite"):
        result = rewrite_and_explain(made, verify=verify)
        onnx.checker.check_model(result.model, full_check=True)
        assert [node.op_type for node in result.model.graph.node] == ["Gelu"], declined(result)
        (node,) = result.model.graph.node
        assert attributes(node).get("approximate", b"none").decode() == approximate
        again = rewrite_and_explain(result.model, verify="none")
        assert again.model.SerializeToString() == result.model.SerializeToString()


@given(spelled(), st.integers(0, 2**16))
def test_the_new_one_is_nearer_to_gelu_than_rounding(
    drawn: tuple[ModelProto, str], seed: int
) -> None:
    made, approximate = drawn
    if made.graph.input[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        return
    if made.opset_import[0].version > 22:
        return
    rank = len(made.graph.input[0].type.tensor_type.shape.dim)
    x = np.random.default_rng(seed).normal(0, 3, (2, 2, 2, 3)[-rank:]).astype(np.float32)
    if rank == 3:
        x = x[..., :2]
    expected = exact(x.astype(np.float64), approximate)
    for each in (made, rewrite_and_explain(made, verify="none").model):
        np.testing.assert_allclose(run(each, x), expected, rtol=2e-5, atol=1e-6)


TORCH = SPELLINGS["torch"]
POW = SPELLINGS["pow"]


def only_declined(
    text: str, header: str = "(float[2,3] x) => (float[2,3] y)", **changed: Any
) -> tuple[str, str, str]:
    """The node, the guard and the sentence of the one thing that is declined; nothing is fused."""
    opset = changed.pop("opset", 20)
    made = model(f"{header} {{ {text} }}", opset=opset, **used(text, **changed))
    for verify in ("rewrite", "none"):
        result = rewrite_and_explain(made, rules=["gelu"], verify=verify)
        assert result.report.fused == []
        ((rule, at, guard, because),) = declined(result)
        assert rule == "gelu"
    return at, guard, because


def test_other_numbers_are_another_function() -> None:
    assert only_declined(TORCH, sqrt2=1.4142)[1:] == (
        "numbers-of-gelu",
        "erf is taken of 0.707113588 x, not 0.707106781 x",
    )
    assert only_declined(TORCH, half=0.499)[1:] == (
        "numbers-of-gelu",
        "it is 0.499000013 x + 0.499000013 x erf(...), not 0.5 x + 0.5 x erf(...)",
    )
    assert only_declined(TORCH, one=1.001)[1:] == (
        "numbers-of-gelu",
        "it is 0.500500023 x + 0.5 x erf(...), not 0.5 x + 0.5 x erf(...)",
    )
    assert only_declined(POW, cube=0.0447)[1:] == (
        "numbers-of-gelu",
        "tanh is taken of 0.797884561 x + 0.0356654402 x^3, not 0.797884561 x + 0.0356774081 x^3",
    )


def test_a_constant_one_unit_in_the_last_place_off_is_read_and_one_two_off_is_not() -> None:
    root = np.float32(math.sqrt(2))
    next_to = np.nextafter(root, np.float32(0))
    two_off = np.nextafter(next_to, np.float32(0))
    text = f"(float[2,3] x) => (float[2,3] y) {{ {TORCH} }}"
    for number, fuses in ((root, True), (next_to, True), (two_off, False)):
        made = model(text, opset=20, **used(TORCH, sqrt2=number))
        result = rewrite_and_explain(made)
        assert bool(result.report.fused) == fuses
        assert [miss[2] for miss in declined(result)] == [] if fuses else ["numbers-of-gelu"]


def test_float64_wants_the_numbers_in_float64() -> None:
    header = "(double[2,3] x) => (double[2,3] y)"
    wide = {name: np.float64(number) for name, number in used(TORCH).items()}
    made = model(f"{header} {{ {TORCH} }}", opset=20, **wide)
    assert [miss[2] for miss in declined(rewrite_and_explain(made))] == ["numbers-of-gelu"]
    made = model(f"{header} {{ {TORCH} }}", opset=20, **wide | {"sqrt2": np.float64(math.sqrt(2))})
    assert [node.op_type for node in rewrite_and_explain(made).model.graph.node] == ["Gelu"]


def test_an_opset_without_gelu_says_so() -> None:
    assert only_declined(TORCH, opset=19)[1:] == (
        "opset",
        "the model imports opset 19, and the rule needs 20",
    )


def test_an_inner_value_that_is_needed_elsewhere_stays() -> None:
    header = "(float[2,3] x) => (float[2,3] y, float[2,3] z)"
    named = TORCH.replace("m = Mul", "[gate] m = Mul").replace("y = Mul", "[last] y = Mul")
    assert only_declined(f"{named} [other] z = Neg(s)", header) == (
        "last",
        "one-consumer",
        "`s` has 2 consumers: gate, other",
    )
    text = TORCH.replace("e = Erf(d)", "z = Erf(d)").replace("Add(e", "Add(z")
    assert only_declined(text, header)[1:] == ("one-consumer", "`z` is an output of the graph")


def test_what_goes_in_may_have_other_readers_and_be_a_product_itself() -> None:
    text = f"[scale] x = Mul(w, k) {TORCH} [other] z = Neg(x)"
    made = model(
        f"(float[2,3] w) => (float[2,3] y, float[2,3] z) {{ {text} }}",
        opset=20,
        k=0.7,
        **used(TORCH),
    )
    result = rewrite_and_explain(made, verify="none")
    assert [node.op_type for node in result.model.graph.node] == ["Mul", "Gelu", "Neg"]


def test_a_constant_that_broadcasts_is_declined() -> None:
    wide = np.full((1, 1, 1), 0.5, np.float32)
    header = "(float[2,3] x) => (float[1,2,3] y)"
    made = model(f"{header} {{ {TORCH} }}", opset=20, **used(TORCH) | {"half": wide})
    assert declined(rewrite_and_explain(made)) == [
        (
            "gelu",
            "node_of_y",
            "constants-keep-shape",
            "`half` has shape [1, 1, 1], of more dimensions than `x` (2)",
        )
    ]


def test_constants_per_channel_are_no_gelu() -> None:
    halves = np.array([0.5, 0.5, 0.5], np.float32)
    made = model(
        f"(float[2,3] x) => (float[2,3] y) {{ {TORCH} }}",
        opset=20,
        **used(TORCH) | {"half": halves},
    )
    result = rewrite_and_explain(made)
    assert (fused(result), declined(result)) == ([], [])


def test_a_type_that_is_not_known_is_declined() -> None:
    made = model("(float[2,3] w) => (float[2,3] y) { y = Neg(w) }", opset=20)
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    del made.graph.node[:]
    rest = model(f"(float[2,3] x) => (float[2,3] y) {{ {TORCH} }}", opset=20, **used(TORCH))
    made.graph.node.append(helper.make_node("Hidden", ["w"], ["x"], domain="com.example"))
    made.graph.node.extend(rest.graph.node)
    made.graph.initializer.extend(rest.graph.initializer)
    assert declined(rewrite_and_explain(made)) == [
        (
            "gelu",
            "node_of_y",
            "floating",
            "the type of `x` is not known: it comes from the custom operator "
            "`com.example::Hidden` (node `node_of_x`); declare the type of `x` in the value_info "
            "of the model",
        )
    ]


@pytest.mark.parametrize("length", [50, 5000])
def test_long_chains_of_products_take_no_time(length: int) -> None:
    calls = " ".join(f"v{i + 1} = Mul(v{i}, v{i // 2})" for i in range(length))
    made = model(f"(float[2] v0) => (float[2] y) {{ {calls} y = Tanh(v{length}) }}", opset=20)
    assert rewrite_and_explain(made, rules=["gelu"], verify="none").report.fused == []
