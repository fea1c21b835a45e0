"""Which rule made an engine worse: real builds, and figures that are made up."""

from __future__ import annotations

import numpy as np
import pytest
from models import model, siamese
from onnx import ModelProto

import trtfuse
from trtfuse.engine import cause
from trtfuse.engine.cause import MOST_RULES, with_cause
from trtfuse.errors import EngineError
from trtfuse.result.comparison import Comparison


def fused(*skip: str) -> trtfuse.FusionResult:
    return trtfuse.fuse(siamese(), objective="graph", skip=skip)


def test_weights_that_were_shared_are_found_to_be_the_cause() -> None:
    pytest.importorskip("tensorrt_rtx", reason="it builds engines")
    result = fused()
    compared = trtfuse.compare(siamese(), result)
    assert compared.verdict.outcome == "worse"
    found = with_cause(compared, result.report, fused).verdict
    assert found.cause is not None
    assert (found.cause.rule, found.cause.tried) == ("conv-scale", ["conv-scale"])
    assert found.sentence.startswith("Worse: an engine that is ")
    assert found.sentence.endswith(": try --skip conv-scale.")
    # What is not worse is not looked into.
    kept = trtfuse.compare(siamese(), siamese())
    assert with_cause(kept, result.report, fused) is kept


def repvgg(blocks: int = 3, channels: int = 32) -> ModelProto:
    """Blocks of a 3x3 and a 1x1 convolution and, from the second on, the input itself, added up."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def normalized(name: str, x: str) -> str:
        statistics = [f"{name}_{part}" for part in ("gain", "bias", "mean", "variance")]
        weights.update((s, (rng.random(channels) + 0.5).astype(np.float32)) for s in statistics)
        return f"[{name}] {name} = BatchNormalization({x}, {', '.join(statistics)})"

    nodes, x = [], "x"
    for n in range(blocks):
        inputs = channels if n else 3
        for size, pads in ((3, "[1, 1, 1, 1]"), (1, "[0, 0, 0, 0]")):
            shape = (channels, inputs, size, size)
            weights[f"w{size}_{n}"] = rng.standard_normal(shape).astype(np.float32)
            nodes.append(f"[c{size}_{n}] c{size}_{n} = Conv<pads = {pads}>({x}, w{size}_{n})")
            nodes.append(normalized(f"n{size}_{n}", f"c{size}_{n}"))
        nodes.append(f"[s{n}] s{n} = Add(n3_{n}, n1_{n})")
        if n:
            nodes.append(normalized(f"i{n}", x))
            nodes.append(f"[t{n}] t{n} = Add(s{n}, i{n})")
        nodes.append(f"[r{n}] r{n} = Relu({'t' if n else 's'}{n})")
        x = f"r{n}"
    signature = f"(float[1,3,14,14] x) => (float[1,{channels},14,14] y)"
    return model(f"{signature} {{ {' '.join(nodes)} [last] y = Sigmoid({x}) }}", **weights)


def test_a_kernel_more_in_a_repvgg_is_found_to_be_of_conv_scale() -> None:
    pytest.importorskip("tensorrt_rtx", reason="it builds engines")
    original = repvgg()
    result = trtfuse.fuse(original)
    compared = trtfuse.compare(original, result)
    found = with_cause(
        compared, result.report, lambda rule: trtfuse.fuse(original, skip=(rule,))
    ).verdict
    assert found.worse
    assert found.sentence.startswith("Worse: 9 kernels instead of 8, ")
    assert found.sentence.endswith(": try --skip conv-scale.")


class Figures:
    """Stands in for the builder: the kernels of an engine that was made without a rule."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **kernels: int) -> None:
        self.kernels = kernels
        self.asked: list[str] = []
        monkeypatch.setattr(cause, "_figures", self._figures)
        monkeypatch.setattr(cause, "_rewrites", lambda _: list(kernels))

    def _figures(self, rule: str, *_: object) -> dict[str, int]:
        self.asked.append(rule)
        if self.kernels[rule] < 0:
            raise EngineError("it does not build")
        return {"kernels": self.kernels[rule], "traffic": 100}

    def found(self) -> Comparison:
        from trtfuse.result.comparison import Built

        a = Built("a", 9, 100, None, None, None, None, ())
        b = Built("b", 10, 20_000, None, None, None, None, ())
        report = trtfuse.fuse(model("(float[2] x) => (float[2] y) { y = Relu(x) }")).report
        # A rule is handed on as if it were the result without it.
        return with_cause(Comparison(a, b, [], []), report, lambda rule: rule)  # type: ignore[arg-type, return-value]


def test_the_first_rule_without_which_nothing_is_worse_ends_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = Figures(monkeypatch, one=12, two=9, three=9)
    found = figures.found().verdict.cause
    assert found is not None
    assert (found.rule, found.tried, figures.asked) == ("two", ["one", "two"], ["one", "two"])
    assert found.without == {"kernels": 9, "traffic": 100}


def test_else_the_rule_that_leaves_least_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Figures(monkeypatch, one=10, two=11).found().verdict.cause
    assert found is not None
    # Traffic is as before without it; the kernels are not.
    assert (found.rule, found.tried) == ("one", ["one", "two"])


def test_a_rule_without_which_it_does_not_build_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Figures(monkeypatch, one=-1, two=9).found().verdict.cause
    assert found is not None
    assert (found.rule, found.tried) == ("two", ["two"])


def test_so_many_rules_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Figures(monkeypatch, **{f"r{n}": 10 for n in range(MOST_RULES + 2)})
    figures.found()
    assert len(figures.asked) == MOST_RULES


def test_so_long_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Figures(monkeypatch, one=10, two=10, three=10)
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(cause.time, "monotonic", lambda: float(next(clock)))
    found = figures.found().verdict.cause
    # Each takes 25 seconds, and a third would not end within 60.
    assert found is not None
    assert found.tried == ["one"]


def test_fusions_are_suspected_before_cleanups_and_the_most_frequent_first() -> None:
    made = model(
        """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
            a = Identity(x) b = Identity(a) c = Identity(b)
            d = Clip(c, zero, two) e = Clip(d, one, two) f = Conv(e, w) g = Mul(f, s)
            h = Conv(g, w) i = Mul(h, s) y = Tanh(i)
        }""",
        w=np.ones((2, 2, 1, 1), np.float32),
        s=np.full((2, 1, 1), 3, np.float32),
        **{name: np.float32(number) for number, name in enumerate(("zero", "one", "two"))},
    )
    rules = cause._rewrites(trtfuse.fuse(made).report)
    assert rules == ["conv-scale", "clip-clip", "identity", "duplicate-constant"]
