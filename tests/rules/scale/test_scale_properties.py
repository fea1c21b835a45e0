"""Over drawn models: equivalent, idempotent, rounded once, and no guard missing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from fusing import rewrite_and_explain
from hypothesis import Phase, assume, find, given, settings
from hypothesis import strategies as st
from models import SCALES, Array, constants, declined
from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from oracle import assert_equivalent, evaluate, widened
from strategies import DTYPES, Drawn, models

import trtfuse
from trtfuse.interop.reading import read_model
from trtfuse.rewrite.debug import Watch
from trtfuse.rewrite.driver import Driver
from trtfuse.rewrite.pattern import Match
from trtfuse.rewrite.refusal import Reason
from trtfuse.rewrite.rule import selected

fuse = functools.partial(rewrite_and_explain, rules=SCALES)

GUARDS = {guard.name for rule in selected(SCALES) for guard in rule.guards}
GUARDS |= {"one-consumer", "representable", "structure", "conv", "product"}
# No valid product of integers is drawn.
GUARDS -= {"floating-weights"}
# Nor a GELU spelled out.
GUARDS -= {"is-not-of-gelu"}

Names = tuple[str, ...] | None
#: The rules of the Scale have each model to themselves, then they share it with all the others.
AMONG = pytest.mark.parametrize("names", [SCALES, None], ids=["scales", "catalogue"])


def runs(model: ModelProto, feeds: dict[str, Array]) -> bool:
    """Whether the model takes these shapes: a constant may leave no choice."""
    try:
        evaluate(model, feeds)
    except ValueError:
        return False
    return True


def assert_same(drawn: Drawn, before: ModelProto, after: ModelProto) -> None:
    onnx.checker.check_model(after, full_check=True)
    for shape in drawn.shapes:
        feeds = drawn.feeds(shape)
        if shape == drawn.shapes[0] or runs(before, feeds):
            assert_equivalent(before, after, feeds)


@AMONG
@given(drawn=models())
def test_guards_alone_keep_every_rewrite_exact(names: Names, drawn: Drawn) -> None:
    before = widened(drawn.model)
    assert_same(drawn, before, rewrite_and_explain(before, rules=names, verify="none").model)


@AMONG
@given(drawn=models())
def test_the_check_finds_nothing_that_a_guard_let_through(names: Names, drawn: Drawn) -> None:
    before = widened(drawn.model)
    checked = rewrite_and_explain(before, rules=names, verify="rewrite")
    refused = [because for *_, guard, because in declined(checked) if guard == "check"]
    # Of a product that runs at few sizes only, like [1, n, m] by [1, 1, 4], it may find none.
    assume(not any(because.startswith("it could not be evaluated") for because in refused))
    assert refused == []
    assert_same(drawn, before, checked.model)
    assert checked.model == rewrite_and_explain(before, rules=names, verify="none").model


@AMONG
@given(drawn=models())
def test_a_second_run_changes_nothing(names: Names, drawn: Drawn) -> None:
    once = rewrite_and_explain(drawn.model, rules=names, verify="none").model
    again = rewrite_and_explain(once, rules=names, verify="none")
    assert again.report.fused == []
    assert again.model.SerializeToString(deterministic=True) == once.SerializeToString(
        deterministic=True
    )


@AMONG
@given(data=st.data())
def test_the_order_of_the_rules_does_not_matter(names: Names, data: st.DataObject) -> None:
    drawn = data.draw(models())
    before = widened(drawn.model)
    model = read_model(before)
    Driver(model, data.draw(st.permutations(selected(names)))).run()
    assert_same(drawn, before, model.to_proto())


class Recorder(Driver):
    """Keeps every veto, also of what another rule has rewritten since."""

    def __init__(self, model: ModelProto) -> None:
        super().__init__(read_model(model), selected(SCALES))
        self.stopped_by: set[str] = set()
        self.run()

    def _attempt(self, rule: trtfuse.Rule, match: Match, watch: Watch | None) -> Reason | None:
        veto = super()._attempt(rule, match, watch)
        if veto is not None:
            self.stopped_by.add(veto.guard)
        return veto


@given(models())
def test_folded_weights_are_the_exact_ones_rounded_once(drawn: Drawn) -> None:
    exact = Recorder(widened(drawn.model)).model.to_proto()
    recorder = Recorder(drawn.model)
    # What a narrow type cannot hold, another rule may fold into something else.
    assume("representable" not in recorder.stopped_by)
    result = recorder.model.to_proto()
    assert [n.op_type for n in result.graph.node] == [n.op_type for n in exact.graph.node]
    wide = constants(exact)
    given = constants(drawn.model)
    assert constants(result).keys() == wide.keys()
    for name, array in constants(result).items():
        if name in given:
            assert array.tobytes() == given[name].tobytes()
        else:
            assert (array.astype(np.float64) == rounded(wide[name], array.dtype)).all()


@given(models())
def test_the_original_is_left_as_it_was(drawn: Drawn) -> None:
    before = drawn.model.SerializeToString(deterministic=True)
    fuse(drawn.model, verify="none")
    assert drawn.model.SerializeToString(deterministic=True) == before


def rounded(exact: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers rounded to a type, to nearest and ties to even, by rational arithmetic."""
    info = ml_dtypes.finfo(dtype)
    flat = [_rounded(float(number), info.nmant, info.minexp) for number in exact.reshape(-1)]
    return np.array(flat, np.float64).reshape(exact.shape)


def _rounded(number: float, mantissa: int, smallest: int) -> float:
    if number == 0:
        return number
    exponent = max(int(np.frexp(number)[1]) - 1, smallest)
    step = Fraction(2) ** (exponent - mantissa)
    return float(round(Fraction(number) / step) * step)


# What is drawn, and what it is measured with


def drawn_so_that(
    condition: Callable[[trtfuse.FusionResult], bool], dtypes: Sequence[str] = tuple(DTYPES)
) -> None:
    """Finds a model whose fusion is like that, or fails."""
    find(
        models(dtypes),
        lambda drawn: condition(fuse(drawn.model, verify="none")),
        settings=settings(max_examples=2000, phases=[Phase.generate], database=None),
    )


@pytest.mark.parametrize("rule", SCALES)
def test_models_are_drawn_that_each_rule_fuses(rule: str) -> None:
    drawn_so_that(lambda result: any(each.rule == rule for each in result.report.fused))


@pytest.mark.parametrize("guard", sorted(GUARDS))
def test_models_are_drawn_that_each_guard_stops(guard: str) -> None:
    # Of the types, float16 is the one that is easily left.
    dtypes = ("float16",) if guard == "representable" else tuple(DTYPES)
    drawn_so_that(lambda result: any(each[2] == guard for each in declined(result)), dtypes)


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_of(attribute.g)


@given(models())
def test_the_oracle_agrees_with_onnx_runtime(drawn: Drawn) -> None:
    # Its kernels for float32 are complete; the newest opsets are not, and IR 3 is too old for it.
    assume(drawn.model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT)
    assume(drawn.model.opset_import[0].version <= 22)
    feeds = drawn.feeds(drawn.shapes[0]) | {"x": drawn.feeds(drawn.shapes[0])["x"].astype("f4")}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    # It takes no two nodes of one name.
    nameless = ModelProto.FromString(drawn.model.SerializeToString())
    for node in nodes_of(nameless.graph):
        node.name = ""
    session = onnxruntime.InferenceSession(
        nameless.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    taken = {each.name for each in session.get_inputs()}
    found = session.run(None, {name: feeds[name] for name in feeds if name in taken})
    for expected, array in zip(evaluate(drawn.model, feeds).values(), found, strict=True):
        assert array.shape == expected.value.shape
        error = np.abs(array.astype(np.float64) - expected.value)
        assert (error <= 1e-5 * expected.size + 1e-30).all()
