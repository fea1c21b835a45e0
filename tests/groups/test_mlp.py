"""Matrix products in a row: F2, F15, F16."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from grouped import groups, misses, report
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.errors import UsageError
from trtfuse.groups.target import SHARED_MEMORY


def graph(
    text: str, outputs: str = "float[?,?] y", x: str = "2,8", **constants: object
) -> ModelProto:
    """A graph of `x`, with an 8 by 8 matrix `w` and a bias `b`."""
    given = {"w": np.ones((8, 8), np.float32), "b": np.ones(8, np.float32), **constants}
    return model(f"(float[{x}] x) => ({outputs}) {{ {text} }}", **given)  # type: ignore[arg-type]


def chain(layers: int, width: int = 8) -> ModelProto:
    """Gemm and Relu, so many times."""
    lines = [
        f"[ip{i}] p{i} = Gemm({f'r{i - 1}' if i > 1 else 'x'}, w, b) [relu{i}] r{i} = Relu(p{i})"
        for i in range(1, layers + 1)
    ]
    text = " ".join(lines)
    shape = f"2,{width}"
    return model(
        f"(float[{shape}] x) => (float[?,?] r{layers}) {{ {text} }}",
        w=np.ones((width, width), np.float32),
        b=np.ones(width, np.float32),
    )


MNIST = "[ip1] p = Gemm(x, w, b) [relu1] r = Relu(p) [ip2] q = Gemm(r, w, b) [prob] y = Softmax(q)"


def test_the_example_of_the_document(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trtfuse"):
        assert groups(graph(MNIST)) == [("mlp", "2-layer MLP (ip1 .. ip2)")]
    assert [record.message for record in caplog.records] == [
        "Fusing ip1 with relu1: ip1 + relu1",
        "Fusing ip1 + relu1 with ip2: 2-layer MLP (ip1 .. ip2)",
        "Fused 2-layer MLP (ip1 .. ip2) as mlp",
    ]


def test_a_product_and_a_relu_that_do_not_grow() -> None:
    made = graph("[ip1] p = Gemm(x, w, b) [relu1] y = Relu(p)")
    assert groups(made) == [("fc-relu", "ip1 + relu1")]
    made = graph("[m] p = MatMul(x, w) [a] q = Add(p, b) [relu1] y = Relu(q)")
    assert groups(made) == [("fc-relu", "m + a + relu1")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[m] p = MatMul(x, w) [t] y = Tanh(p)", "m + t"),
        ("[m] p = MatMul(x, w) [a] y = Add(p, b)", "m + a"),
        ("[m] p = MatMul(w, t) [a] y = Add(p, b)", "m + a"),
        ("[g] p = Gemm(x, w, b) [t] y = Sigmoid(p)", "g + t"),
        ("[g] p = Gemm(x, w, b) [s] y = Sub(p, b)", "g + s"),
        ("[g] p = Gemm(x, w, b) [r] q = Relu(p) [s] y = Add(q, b)", "g + r + s"),
    ],
)
def test_how_an_mlp_starts(text: str, name: str) -> None:
    made = graph(text.replace("(w, t)", "(w, x)"), x="8,8")
    assert groups(made) == [("mlp-start", name)]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("[p1] p = MatMul(x, w) [p2] y = MatMul(p, w)", "p2"),
        ("[p1] p = Gemm(x, w) [p2] y = Gemm(p, w)", "p2"),
        ("[p1] p = Gemm(x, w) [p2] q = MatMul(p, w) [a] y = Add(q, b)", "a"),
        ("[p1] p = Gemm(x, w) [t] q = Tanh(p) [p2] r = MatMul(q, w) [e] y = Elu(r)", "e"),
        ("[p1] p = MatMul(x, w) [s] s = Sigmoid(p) [m] q = Mul(p, s) [p2] y = Gemm(q, w)", "p2"),
    ],
)
def test_an_mlp_grows(text: str, last: str) -> None:
    assert groups(graph(text)) == [("mlp", f"2-layer MLP (p1 .. {last})")]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (31, ["31-layer MLP (ip1 .. relu31)"]),
        (32, ["31-layer MLP (ip1 .. relu31)", "ip32 + relu32"]),
        (62, ["31-layer MLP (ip1 .. relu31)", "31-layer MLP (ip32 .. relu62)"]),
        (
            100,
            [
                "31-layer MLP (ip1 .. relu31)",
                "31-layer MLP (ip32 .. relu62)",
                "31-layer MLP (ip63 .. relu93)",
                "7-layer MLP (ip94 .. relu100)",
            ],
        ),
    ],
)
def test_at_most_31_layers(layers: int, found: list[str]) -> None:
    made = chain(layers)
    assert [name for _, name in groups(made)] == found
    because = (
        "31-layer MLP (ip1 .. relu31) has 31 layers, the most that there are in one, and ip32 "
        "follows"
    )
    full = [("mlp", "relu31", "most-layers", because)] if layers > 31 else []
    assert misses(made)[:1] == full


def test_a_branch_stops_the_growth() -> None:
    made = graph(
        "[ip1] p = Gemm(x, w, b) [relu1] r = Relu(p) [ip2] y = Gemm(r, w) [skip] v = Abs(r)",
        "float[?,?] y, float[?,?] v",
    )
    assert groups(made) == [("fc-relu", "ip1 + relu1")]
    because = "`r` has 2 consumers: ip2, skip"
    assert misses(made) == [("mlp", "relu1", "only-read-inside", because)]


def test_an_activation_with_two_readers_stops_the_growth() -> None:
    made = graph(
        "[ip1] p = Gemm(x, w, b) [relu1] r = Relu(p) [ip2] y = Gemm(r, w) [ip3] v = Gemm(r, w)",
        "float[?,?] y, float[?,?] v",
    )
    assert groups(made) == [("fc-relu", "ip1 + relu1")]
    because = "`r` has 2 consumers: ip2, ip3"
    assert misses(made) == [("mlp", "relu1", "only-read-inside", because)]


def test_an_output_of_the_graph_stops_the_growth() -> None:
    made = graph("[ip1] p = Gemm(x, w, b) [ip2] y = Gemm(p, w)", "float[?,?] y, float[?,?] p")
    assert groups(made) == []
    because = "`p` is an output of the graph"
    assert misses(made) == [("mlp-start", "ip1", "only-read-inside", because)]


def test_weights_that_do_not_fit_stop_the_growth() -> None:
    # 160 x 160 float32 take 102,400 bytes: more than 99 KiB (101,376), less than 163.
    made = chain(2, width=160)
    assert [rule for rule, _ in groups(made)] == ["fc-relu", "fc-relu"]
    because = (
        "its weights `w` take 102400 bytes, and a block of 99 KiB (no target given) has "
        "101376 bytes of shared memory"
    )
    assert misses(made) == [
        ("mlp-start", "ip1", "fits-on-chip", because),
        ("mlp-start", "ip2", "fits-on-chip", because),
    ]
    assert [rule for rule, _ in groups(made, target="8.0")] == ["mlp"]
    assert [rule for rule, _ in groups(made, target="8.9")] == ["fc-relu", "fc-relu"]
    assert "of compute capability 7.5 has 65536 bytes" in misses(made, target="7.5")[0][3]


def test_a_product_that_fits_is_followed_by_one_that_does_not() -> None:
    made = graph(
        "[ip1] p = Gemm(x, w) [t] q = Tanh(p) [ip2] y = Gemm(q, large)",
        large=np.ones((8, 8000), np.float32),
    )
    assert groups(made) == [("mlp-start", "ip1 + t")]
    assert misses(made)[0][:3] == ("mlp", "t", "fits-on-chip")
    assert misses(made)[0][3].startswith("ip2 follows: its weights `large` take 256000 bytes")


def test_half_precision_takes_half_the_memory() -> None:
    text = "(float16[2,200] x) => (float16[?,?] y) { [a] p = Gemm(x, w) [b] y = Gemm(p, w) }"
    made = model(text, w=np.ones((200, 200), np.float16))
    assert groups(made) == [("mlp", "2-layer MLP (a .. b)")]


def test_every_target_has_its_limit() -> None:
    for target, kib in SHARED_MEMORY.items():
        side = int((kib * 1024 // 4) ** 0.5)
        assert [rule for rule, _ in groups(chain(2, width=side), target=target)] == ["mlp"]
        assert "mlp" not in [rule for rule, _ in groups(chain(2, width=side + 1), target=target)]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown target '6\.1'; the compute capabilities are 7"):
        trtfuse.fuse(chain(2), target="6.1")


def test_leading_axes_count_as_flattened_and_the_report_says_so() -> None:
    made = graph("[p1] p = MatMul(x, w) [p2] y = MatMul(p, w)", "float[?,?,?] y", "2,3,8")
    (only,) = report(made).fused
    assert (only.rule, only.name) == ("mlp", "2-layer MLP (p1 .. p2)")
    assert only.note == "the leading axes of `x` count as flattened to one"
    assert only.note in str(report(made))


@pytest.mark.parametrize(
    ("text", "at", "guard", "because"),
    [
        (
            "[p1] p = MatMul(x, k) [t] y = Tanh(p)",
            "p1",
            "two-dimensions",
            "its weights `k` have shape [2, 8, 8], no matrix",
        ),
        (
            "[p1] p = MatMul(w, x) [t] y = Tanh(p)",
            "p1",
            "two-dimensions",
            "`x` has shape [3, 8, 8], no matrix",
        ),
        (
            "[a] a = Abs(x) [p1] p = MatMul(x, a) [t] y = Tanh(p)",
            "p1",
            "constant-weights",
            "both operands are computed, `a` by Abs a",
        ),
    ],
)
def test_what_is_no_product_of_an_mlp(text: str, at: str, guard: str, because: str) -> None:
    k = np.ones((2, 8, 8), np.float32)
    shape = "2,8,8" if "k" in text else "3,8,8"
    made = graph(text, "float[?,?,?] y", shape, k=k)
    assert "mlp-start" not in [rule for rule, _ in groups(made)]
    assert misses(made)[0] == ("mlp-start", at, guard, because)


def test_a_constant_that_broadcasts_stops_the_growth() -> None:
    made = graph(
        "[p1] p = Gemm(x, w) [t] q = Tanh(p) [a] y = Add(q, k)",
        "float[?,?] y",
        "1,8",
        k=np.ones((5, 8), np.float32),
    )
    assert groups(made) == [("mlp-start", "p1 + t")]
    because = "`k` has shape [5, 8], which may broadcast `q` of shape [1, 8]"
    assert misses(made)[0] == ("mlp", "t", "sum-keeps-shape", because)


def test_a_gemm_with_a_computed_addend_is_none() -> None:
    made = graph("[n] c = Abs(x) [p1] p = Gemm(x, w, c) [t] y = Tanh(p)", x="8,8")
    assert groups(made) == []
    because = "the bias `c` is computed at run time by Abs n, not a constant"
    assert misses(made) == [("mlp-start", "p1", "constant-weights", because)]


def test_without_the_rule_of_growth_products_stay_apart() -> None:
    assert [rule for rule, _ in groups(chain(2), skip=["mlp"])] == ["fc-relu", "fc-relu"]
    assert groups(chain(2), skip=["mlp", "fc-relu"])[0] == ("mlp-start", "ip1 + relu1")


def test_a_long_chain_takes_no_recursion() -> None:
    assert len(groups(chain(2000))) == 65
