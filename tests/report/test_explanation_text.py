"""An explanation as text: short, in whole, and with nothing that controls a terminal."""

from __future__ import annotations

import numpy as np
from models import model
from onnx import ModelProto

import trtfuse
from trtfuse.report.explanation import KINDS, PLACES, STEPS, plain

W = np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)
S = np.float32([2, 3]).reshape(1, 2, 1, 1)


def repeated(times: int) -> ModelProto:
    """So many convolutions that others read too, each with a scale behind it."""
    lines = " ".join(
        f"[c{i}] y{i} = Conv(x, w) [m{i}] z{i} = Mul(y{i}, s) [a{i}] b{i} = Add(z{i}, y{i})"
        for i in range(times)
    )
    outputs = ", ".join(f"float[1,2,4,4] b{i}" for i in range(times))
    return model(f"(float[1,2,4,4] x) => ({outputs}) {{ {lines} }}", w=W, s=S)


def test_an_explanation_reads_like_this() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,4,4] z, float[1,2,4,4] y) {
        [conv] y = Conv(x, w)
        [mul] z = Mul(y, wide)
    }"""
    made = model(text, w=W, wide=np.ones((1, 1, 1, 4), np.float32) * 2)
    assert str(trtfuse.explain(made)) == (
        "written: 2 nodes left, 1 near miss, the closest first\n"
        "\n"
        "conv-scale [F8 (Convolution and Scale)]\n"
        "  at mul: Conv conv, Mul mul (all there)\n"
        "    one-consumer: `y` is an output of the graph\n"
        "    one-value-per-channel: `wide` has shape [1, 1, 1, 4], not one value per channel (2)\n"
        "  what helps (one-consumer): nothing, if the other reader needs the value; else remove "
        "the reader or the output\n"
        "  what helps (one-value-per-channel): `[C]` added to NCHW aligns with W: export it as "
        "`[1, C, 1, 1]`"
    )


def test_everything_is_listed_where_it_is_asked_for() -> None:
    found = trtfuse.explain(repeated(9), rules=["conv-scale"])
    assert len(found.misses) == 9
    short, whole = str(found), plain(found.to_dict(), everything=True)
    assert short.count("\n  at ") == PLACES
    assert f"  and {9 - PLACES} more" in short
    assert whole.count("\n  at ") == 9
    assert "more" not in whole.partition("what helps")[0]


def test_so_many_kinds_are_listed() -> None:
    from trtfuse.rewrite.pattern import op, var
    from trtfuse.rewrite.rule import AnyRule, Guard, Rule

    never = Guard("never", lambda m: "it is never done", "Never.")
    rules: list[str | AnyRule] = [
        Rule(f"rule{i}", op.Relu(var("x")), (never,), lambda m, new: m["x"]) for i in range(20)
    ]
    made = model("(float[2] x) => (float[2] y) { [relu] y = Relu(x) }")
    text = str(trtfuse.explain(made, rules=rules))
    assert text.count("never: it is never done") == KINDS
    assert text.endswith(f"{20 - KINDS} more, of {20 - KINDS} kinds; -v shows all")


def test_so_many_steps_are_listed() -> None:
    lines = " ".join(f"[m{i}] v{i + 1} = Mul(v{i}, s)" for i in range(STEPS + 5))
    text = f"(float[1,2,4,4] x) => (float[1,2,4,4] z) {{ [conv] v0 = Conv(x, w) {lines}"
    made = model(f"{text} [relu] z = Relu(v{STEPS + 5}) }}", w=W, s=S)
    found = trtfuse.explain(made, "conv", rules=["conv-scale"])
    assert len(found.steps) == STEPS + 5
    assert "and 5 more steps; -v shows all" in str(found)
    assert "more steps" not in plain(found.to_dict(), everything=True)
    assert str(found).endswith("No rule comes near it any more.")


def test_many_nodes_are_said_by_the_first_and_the_last() -> None:
    text = """(float[2,3,4] x) => (float[2,3,4] z) {
        [mean] m = ReduceMean<axes=[-1]>(x) [sub] d = Sub(x, m) [square] q = Mul(d, d)
        [variance] v = ReduceMean<axes=[-1]>(q) [add] e = Add(v, eps) [root] r = Sqrt(e)
        [div] z = Div(d, r)
    }"""
    made = model(text, opset=13, eps=np.float32(1e-5))
    text = str(trtfuse.explain(made, rules=["layer-norm"]))
    assert "at div: 7 nodes from ReduceMean mean to Div div (all there)" in text
    assert "opset: the model imports opset 13, and the rule needs 17" in text


def test_what_would_control_a_terminal_is_written_out() -> None:
    made = model("(float[2] x) => (float[2] y) { [relu] y = Relu(x) }")
    made.graph.node[0].name = "re\x1b[31mlu\n"
    text = str(trtfuse.explain(made, "re\x1b[31mlu\n"))
    assert "\x1b" not in text
    assert "re\\x1b[31mlu\\n" in text
