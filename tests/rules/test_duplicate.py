from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fusing import rewrite_and_explain
from models import constants, fused, model
from onnx import ModelProto, parser

import trtfuse

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)
MATRIX = RNG.standard_normal((4, 4)).astype(np.float32)
CONV = "Conv<pads=[1,1,1,1]>"


def operators(made: trtfuse.FusionResult) -> list[str]:
    return [node.op_type for node in made.model.graph.node]


def test_equal_nodes_are_one() -> None:
    made = model("(float[n,4] x) => (float[n,4] y) { a = Exp(x) b = Exp(x) [y] y = Mul(a, b) }")
    result = rewrite_and_explain(made)
    assert fused(result)[0][0] == "duplicate-node"
    assert operators(rewrite_and_explain(made, groups="off")) == ["Exp", "Mul"]


def test_a_dequantizer_for_each_reader_stays() -> None:
    quantized = RNG.integers(-99, 99, (4, 4, 3, 3)).astype(np.int8)
    made = model(
        f"""(int8[n,4,8,8] x) => (int8[n,4,8,8] y) {{
            [d1] x1 = DequantizeLinear(x, s1, z1) [d2] x2 = DequantizeLinear(x, s2, z2)
            [w1] v1 = DequantizeLinear<axis=0>(q1, ws1, wz1)
            [w2] v2 = DequantizeLinear<axis=0>(q2, ws2, wz2)
            [c1] c1 = {CONV}(x1, v1) [r1] r1 = Relu(c1) [q1] a = QuantizeLinear(r1, s1, z1)
            [d3] b = DequantizeLinear(a, s1, z1) [c2] c2 = {CONV}(b, v2)
            [add] sum = Add(c2, x2) [q2] y = QuantizeLinear(sum, s2, z2)
        }}""",
        opset=17,
        q1=quantized,
        q2=quantized,
        **{name: np.float32(0.1) for name in ("s1", "s2")},
        **{name: np.int8(0) for name in ("z1", "z2")},
        **{name: np.full(4, 0.1, np.float32) for name in ("ws1", "ws2")},
        **{name: np.zeros(4, np.int8) for name in ("wz1", "wz2")},
    )
    result = rewrite_and_explain(made, groups="flat")
    assert fused(result) == [
        ("quantized", "d1 + w1 + c1 + r1 + q1"),
        ("conv-sum", "c2 + add"),
    ]
    assert constants(result.model).keys() == constants(made).keys()
    assert rewrite_and_explain(made, groups="off").model == made


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DynamicQuantizeLinear"])
def test_a_quantizer_for_each_reader_stays(operator: str) -> None:
    inputs, outputs = ("x, s, z", "") if operator == "QuantizeLinear" else ("x", ", s{i}, z{i}")
    calls = " ".join(f"q{i}{outputs.format(i=i)} = {operator}({inputs})" for i in (1, 2))
    made = model(
        f"(float[n] x) => (float[n] y) {{ {calls} a = DequantizeLinear(q1, s, z) "
        "b = DequantizeLinear(q2, s, z) y = Add(a, b) }",
        s=np.float32(0.1),
        z=np.uint8(0),
    )
    assert fused(rewrite_and_explain(made, groups="off")) == []


READERS = [
    # What each of two equal layers is read by, and whether they stay apart.
    ("p = Relu(a)", "q = Sigmoid(b)", True),
    ("p = Relu(a)", "q = Relu(b)", False),
    ("p = Relu(a)", "q = Add(b, x)", True),
    ("p = Add(a, x)", "q = Add(b, x)", False),
    ("p = Add(x, a)", "q = Add(b, x)", True),
    ("p = Mul(a, k)", "q = Mul(b, x)", True),
    ("p = Relu(a)", f"q = {CONV}(b, w)", False),
    ("p = Softmax(a)", "q = Sigmoid(b)", False),
    ("p = Softmax(a)", "q = Softmax<axis=1>(b)", False),
    ("p = Relu(a) more = Exp(a)", "q = Sigmoid(b) less = Exp(b)", False),
]


@pytest.mark.parametrize(("one", "other", "apart"), READERS)
def test_equal_convolutions_that_take_different_readers_stay_apart(
    one: str, other: str, apart: bool
) -> None:
    made = model(
        f"(float[n,4,8,8] x) => (float[?,?,?,?] y) {{ a = {CONV}(x, w) b = {CONV}(x, w) {one} "
        f"{other} y = Concat<axis=0>(p, q{', more, less' if 'more' in one else ''}) }}",
        w=WEIGHTS,
        k=RNG.standard_normal((1, 4, 8, 8)).astype(np.float32),
    )
    result = rewrite_and_explain(made, groups="off")
    left = (made if apart else result.model).graph.node
    assert operators(result).count("Conv") == [n.op_type for n in left].count("Conv")
    assert ("duplicate-node" in [rule for rule, _ in fused(result)]) != apart
    again = rewrite_and_explain(result.model, groups="off")
    assert again.model.SerializeToString() == result.model.SerializeToString()


def test_equal_products_stay_apart_where_one_takes_its_reader() -> None:
    made = model(
        "(float[n,4] x) => (float[n,4] y, float[n,4] z) "
        "{ a = MatMul(x, w) z = MatMul(x, w) p = Relu(a) y = Softmax(p) }",
        w=MATRIX,
    )
    assert fused(rewrite_and_explain(made, groups="off")) == []
    made = model(
        "(float[4,4] x) => (float[4,4] y) { a = MatMul(x, w) b = MatMul(x, w) y = MatMul(a, b) }",
        w=MATRIX,
    )
    assert operators(rewrite_and_explain(made, groups="off")) == ["MatMul", "MatMul"]


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ("QuantizeLinear(x, a, z)", {}),
        ("DequantizeLinear(q, a, z)", {"q": np.zeros(3, np.uint8)}),
    ],
)
def test_a_scale_stays_apart_from_a_number_that_happens_to_be_the_same(
    call: str, given: dict[str, npt.ArrayLike]
) -> None:
    kind = "uint8" if call.startswith("Q") else "float"
    made = model(
        f"(float[3] x) => ({kind}[3] y, float[3] v) {{ y = {call} v = Mul(x, b) }}",
        a=np.float32(2),
        b=np.float32(2),
        z=np.uint8(0),
        **given,
    )
    assert fused(rewrite_and_explain(made)) == []


def test_a_batch_normalization_that_trains_keeps_numbers_of_its_own() -> None:
    # ONNX Runtime updates the variance in place: a scale that shared it would change with it.
    numbers = np.arange(1, 5, dtype=np.float32)
    made = model(
        """(float[2,4,3] x) => (float[2,4,3] y, float[4] mean) {
            y, mean, variance = BatchNormalization<training_mode=1>(x, s, b, m, v)
        }""",
        **dict.fromkeys("sbmv", numbers),
    )
    result = rewrite_and_explain(made, verify="model")
    assert (fused(result), result.ok) == ([], True)
    assert [tensor.name for tensor in result.model.graph.initializer] == list("sbmv")


# What explain says of those that stay


def apart(made: ModelProto, rule: str = "duplicate-node") -> list[tuple[list[str], str, str]]:
    """What stays though it is equal: the nodes, the guard, and why."""
    return [
        (miss.nodes, objection.guard, objection.because)
        for miss in trtfuse.explain(made, rules=[rule]).misses
        for objection in miss.objections
        if miss.rule == rule
    ]


@pytest.mark.parametrize(
    ("calls", "guard", "because"),
    [
        ("a = RandomNormalLike(x) b = RandomNormalLike(x)", "same-each-time",
         "it computes what {} does, but RandomNormalLike draws new numbers each time"),
        ("a = If(c) <then_branch = g () => (float[4] p) { p = Neg(x) }, "
         "else_branch = h () => (float[4] q) { q = Abs(x) }> "
         "b = If(c) <then_branch = g () => (float[4] p) { p = Neg(x) }, "
         "else_branch = h () => (float[4] q) { q = Abs(x) }>",
         "no-subgraph", "it computes what {} does, but the subgraphs of If are not compared"),
        ("a = own.Op(x) b = own.Op(x)", "same-each-time",
         "it computes what {} does, but what the operator `own::Op` does besides computing is not "
         "known"),
        ("i = QuantizeLinear(x, s) j = QuantizeLinear(x, s) a = DequantizeLinear(i, s) "
         "b = DequantizeLinear(j, s)", "quantizer-for-each",
         "it computes what {} does, but each reader keeps a QuantizeLinear of its own, in its own "
         "kernel"),
    ],
)  # fmt: skip
def test_explain_says_why_equal_nodes_stay(calls: str, guard: str, because: str) -> None:
    made = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 21, "own": 1]>
        g (float[4] x, bool c) => (float[4] y) <float s = {{0.5}}> {{ {calls} y = Add(a, b) }}"""
    )
    ((nodes, *said),) = apart(made)
    assert said == [guard, because.format(nodes[1])]
    assert set(nodes) in ({"node_of_a", "node_of_b"}, {"node_of_i", "node_of_j"})


def test_explain_says_that_two_equal_nodes_are_outputs() -> None:
    made = model("(float[4] x) => (float[4] y, float[4] z) { y = Exp(x) z = Exp(x) }")
    assert apart(made) == [
        (
            ["node_of_z", "node_of_y"],
            "one-output",
            "it computes what node_of_y does, but both are outputs of the graph",
        )
    ]
    (miss,) = (m for m in trtfuse.explain(made, "node_of_y").misses if m.rule == "duplicate-node")
    assert miss.entry.startswith("Cleanup")
    assert miss.objections[0].helps == "name only one of them as an output"


def test_explain_says_that_two_equal_layers_have_readers_of_their_own() -> None:
    made = model(
        f"""(float[n,4,8,8] x) => (float[n,4,8,8] y) {{
            [c1] a = {CONV}(x, w) [c2] b = {CONV}(x, w) p = Relu(a) q = Sigmoid(b) y = Add(p, q)
        }}""",
        w=WEIGHTS,
    )
    ((nodes, guard, because),) = apart(made)
    assert (sorted(nodes), guard) == (["c1", "c2"], "kernel-for-each")
    assert because.endswith("but what reads one of them would no longer go into its kernel")


def test_of_nodes_that_differ_explain_says_nothing() -> None:
    made = model(
        """(float[4] x, bool c) => (float[4] y) {
            p = RandomNormalLike<mean=1.0>(x) q = RandomNormalLike<mean=2.0>(x)
            a = If(c) <then_branch = g () => (float[4] r) { r = Neg(x) },
                else_branch = h () => (float[4] s) { s = Abs(x) }>
            b = If(c) <then_branch = g () => (float[4] r) { r = Exp(p) },
                else_branch = h () => (float[4] s) { s = Abs(x) }>
            y = Sum(p, q, a, b)
        }"""
    )
    assert apart(made) == []


def test_explain_says_why_equal_weights_stay() -> None:
    large = RNG.standard_normal((16, 32)).astype(np.float32)
    made = model(
        "(float[n,16] x, float[16,32] v) => (float[n,32] y) "
        "{ [one] a = MatMul(x, w) [two] b = MatMul(x, v) y = Add(a, b) }",
        w=large,
        v=large,
    )
    assert apart(made, "duplicate-constant") == [
        (
            ["two", "one"],
            "named-constant",
            "`v` holds the same as `w`, but `v` is an input too, and a caller may override it",
        )
    ]
    small = model(
        "(float[4] x, float[4] v) => (float[4] y) { a = Add(x, w) b = Mul(x, v) y = Add(a, b) }",
        w=np.ones(4, np.float32),
        v=np.ones(4, np.float32),
    )
    assert apart(small, "duplicate-constant") == []


def test_explain_says_that_weights_of_quantized_layers_stay_apart() -> None:
    weights = RNG.integers(-99, 99, (16, 4, 4, 8)).astype(np.int8)
    made = model(
        """(float[16,4,4,8] x) => (float[16,4,4,8] y) {
            [d1] a = DequantizeLinear(q1, s) [d2] b = DequantizeLinear(q2, s) p = Add(x, a)
            y = Mul(p, b)
        }""",
        q1=weights,
        q2=weights,
        s=np.float32(0.5),
    )
    assert apart(made, "duplicate-constant") == [
        (
            ["d2", "d1"],
            "shared-by-layers",
            "`q2` holds the same as `q1`, but `q2` is read by DequantizeLinear d2",
        )
    ]
