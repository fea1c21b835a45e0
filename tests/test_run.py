"""`fuse` and `verify` as Python functions: what they take, what they promise, what they refuse."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

import trtfuse
from trtfuse.errors import ModelError, TrtfuseError, UsageError, VerifyError
from trtfuse.ir.graph import Value
from trtfuse.rewrite.pattern import Match, const, op, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import CATALOGUE


def parsed(text: str, opset: str = '"": 17', ir_version: int = 8) -> ModelProto:
    header = f"<ir_version: {ir_version}, opset_import: [{opset}]>"
    proto = parser.parse_model(f"{header} g {text}")
    onnx.checker.check_model(proto, full_check=True)
    return proto


def convolutions() -> ModelProto:
    return parsed(
        """
        (float[N, 2, 8, 8] x) => (float[N, 2, 8, 8] y, float[N, 2, 8, 8] z)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, float[2] k = {1, 2},
         float[1] zero = {0}> {
          [conv1] a = Conv(x, w)
          [mul1] b = Mul(a, s)
          [bn1] c = BatchNormalization(b, k, k, k, k)
          [relu1] d = Relu(c)
          [conv2] e = Conv(d, w)
          [add2] y = Add(e, zero)
          [sub2] z = Sub(e, s)
        }
        """
    )


def products() -> ModelProto:
    """Unnamed products with a bias of their own, so that new nodes need new names."""
    return parsed(
        """
        (float[2, 3, 4] x) => (float[2, 3, 4] y)
        <float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7},
         float[4] b = {1, 2, 3, 4}, float[4] s = {2, 3, 4, 5}> {
          a = MatMul(x, w)
          c = Add(a, b)
          d = Mul(c, s)
          r = Relu(d)
          e = MatMul(r, w)
          f = Add(e, b)
          y = Mul(f, s)
        }
        """
    )


def bodies() -> ModelProto:
    return parsed(
        """
        (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, float[1] one = {1}> {
          t = Mul(x, one)
          y = If(c) <
            then_branch = yes () => (float[1, 2, 4, 4] o) {
              a = Conv(t, w)
              b = Mul(a, s)
              o = Relu(b)
            },
            else_branch = no () => (float[1, 2, 4, 4] o) {
              a = Mul(t, s)
              b = Conv(a, w)
              o = Mul(b, one)
            }
          >
        }
        """
    )


def old() -> ModelProto:
    return parsed(
        """
        (float[1, 2, 4, 4] x, float[2, 2, 1, 1] w, float[1, 2, 1, 1] s) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
          a = Conv(x, w)
          y = Mul(a, s)
        }
        """,
        opset='"": 8',
        ir_version=3,
    )


def dead_readers() -> ModelProto:
    """Nothing needs `unread`, so `a` has one consumer in the end."""
    return parsed(
        """
        (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}> {
          [conv] a = Conv(x, w)
          [dead] unread = Relu(a)
          [mul] y = Mul(a, s)
        }
        """
    )


MADE: list[Callable[[], ModelProto]] = [convolutions, products, bodies, old, dead_readers]
made = pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)


def run(proto: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def inputs(proto: ModelProto) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    stored = {tensor.name for tensor in proto.graph.initializer}
    for each in proto.graph.input:
        dims = [dim.dim_value or 2 for dim in each.type.tensor_type.shape.dim]
        if each.name not in stored:
            feeds[each.name] = (
                np.array(True) if not dims else rng.standard_normal(dims).astype(np.float32)
            )
    return feeds


# What it takes, and what it promises


@made
def test_the_result_is_valid_computes_the_same_and_has_names_of_its_own(
    make: Callable[[], ModelProto],
) -> None:
    proto = make()
    result = trtfuse.fuse(proto, verify="none")
    assert result.report.fused
    onnx.checker.check_model(result.model, full_check=True)
    names = [name for node in result.model.graph.node for name in node.output if name]
    assert len(names) == len(set(names))
    for attribute in ("input", "output"):
        if make is not old:
            assert getattr(result.model.graph, attribute) == getattr(proto.graph, attribute)
    feeds = inputs(proto)
    for before, after in zip(run(proto, feeds), run(result.model, feeds), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


@made
def test_a_second_run_changes_nothing(make: Callable[[], ModelProto]) -> None:
    once = trtfuse.fuse(make())
    twice = trtfuse.fuse(once.model)
    # The groups are the same, where their nodes stay.
    assert all(fusion.kind == "group" for fusion in twice.report.fused)
    assert twice.model.SerializeToString() == once.model.SerializeToString()
    assert (twice.report.before, twice.report.after) == (once.report.after, once.report.after)


@made
@pytest.mark.parametrize("verify", ["none", "rewrite", "model"])
def test_the_same_model_gives_the_same_bytes(
    make: Callable[[], ModelProto], verify: trtfuse.run.VerifyLevel
) -> None:
    first, second = trtfuse.fuse(make(), verify=verify), trtfuse.fuse(make(), verify=verify)
    assert first.ok
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert first.model.SerializeToString() == trtfuse.fuse(make()).model.SerializeToString()
    assert first.report.fused == second.report.fused
    assert first.report.declined == second.report.declined
    assert first.report.verification == second.report.verification


def test_a_dead_reader_does_not_stand_in_the_way() -> None:
    report = trtfuse.fuse(dead_readers()).report
    assert {fusion.name for fusion in report.fused} == {"conv + mul", "dead"}
    assert report.declined == []


@made
def test_a_path_a_string_bytes_and_a_proto_are_all_the_same(
    make: Callable[[], ModelProto], tmp_path: Path
) -> None:
    proto, path = make(), tmp_path / "m.onnx"
    onnx.save(proto, path)
    results = [trtfuse.fuse(each) for each in (proto, path.read_bytes(), path, str(path))]
    assert len({result.model.SerializeToString() for result in results}) == 1
    assert [result.report.model for result in results] == ["g", "g", str(path), str(path)]
    assert [result.source for result in results] == [None, None, path, path]


@made
def test_the_input_is_never_modified(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    proto, path = make(), tmp_path / "m.onnx"
    before = proto.SerializeToString()
    path.write_bytes(before)
    for level in ("none", "rewrite", "model"):
        result = trtfuse.fuse(proto, verify=level)
        assert result.model is not proto
        trtfuse.fuse(path, verify=level)
        result.model.graph.node[0].name = "changed"
        for tensor in result.model.graph.initializer:
            tensor.name = "changed"
    assert proto.SerializeToString() == before
    assert path.read_bytes() == before


def test_the_result_is_saved_where_one_says(tmp_path: Path) -> None:
    result = trtfuse.fuse(convolutions())
    result.save(tmp_path / "a.onnx")
    result.save(str(tmp_path / "b.onnx"))
    assert onnx.load(tmp_path / "a.onnx") == onnx.load(tmp_path / "b.onnx") == result.model
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_result_can_be_saved_after_its_original_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convolutions(), path)
    (tmp_path / "there.onnx").write_bytes(b"old")
    result = trtfuse.fuse(path)
    path.unlink()
    result.save(tmp_path / "there.onnx")
    assert onnx.load(tmp_path / "there.onnx") == result.model


def test_what_stands_around_the_graph_is_kept() -> None:
    proto = convolutions()
    proto.producer_name, proto.doc_string, proto.graph.doc_string = "p", "model", "graph"
    proto.metadata_props.add(key="k", value="v")
    proto.graph.metadata_props.add(key="g", value="v")
    proto.graph.node[0].doc_string = "convolution"
    proto.graph.node[0].metadata_props.add(key="n", value="v")
    fused = trtfuse.fuse(proto, groups="flat").model
    assert (fused.producer_name, fused.doc_string, fused.graph.doc_string) == (
        "p",
        "model",
        "graph",
    )
    assert fused.metadata_props == proto.metadata_props
    assert fused.graph.metadata_props == proto.graph.metadata_props
    assert fused.opset_import == proto.opset_import
    assert fused.ir_version == proto.ir_version
    (conv,) = [node for node in fused.graph.node if node.name == "conv1"]
    assert conv.doc_string == "convolution"
    assert conv.metadata_props == proto.graph.node[0].metadata_props


def test_a_model_of_nothing_is_a_model() -> None:
    proto = parsed("(float[2] x) => (float[2] x) {}")
    result = trtfuse.fuse(proto, verify="model")
    assert result.ok
    assert result.model == proto
    assert (result.report.before.nodes, result.report.fused, result.report.declined) == (0, [], [])


def test_the_collector_is_left_as_it_was() -> None:
    gc.disable()
    try:
        trtfuse.fuse(convolutions())
        assert not gc.isenabled()
    finally:
        gc.enable()
    trtfuse.fuse(convolutions())
    assert gc.isenabled()


# Rules


def fused_by(**arguments: Any) -> set[str]:
    made = trtfuse.fuse(convolutions(), groups="off", objective="graph", **arguments)
    return {fusion.rule for fusion in made.report.fused}


def test_rules_are_chosen_and_skipped_by_name() -> None:
    assert fused_by() == {"conv-scale", "identity-scale"}
    assert fused_by(rules=None, skip=["conv-scale"]) == {"identity-scale"}
    assert fused_by(rules=["conv-scale"]) == {"conv-scale"}
    assert fused_by(rules=("fc-scale", "identity-scale")) == {"identity-scale"}
    assert fused_by(rules=["conv-scale"], skip=("conv-scale",)) == set()
    assert fused_by(rules=[]) == set()
    assert fused_by(rules=iter(["conv-scale"]), skip=iter(())) == {"conv-scale"}


def test_a_rule_may_be_given_itself() -> None:
    (conv_scale,) = [rule for rule in trtfuse.rules() if rule.name == "conv-scale"]
    assert fused_by(rules=[conv_scale]) == {"conv-scale"}
    assert fused_by(rules=[conv_scale, "identity-scale"]) == {"conv-scale", "identity-scale"}


@pytest.mark.parametrize("argument", ["rules", "skip"])
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("conv_scale", "did you mean 'conv-scale'?"),
        ("scale-fcc", "did you mean 'scale-fc'?"),
        ("zzz", "`trtfuse rules` lists them"),
    ],
)
def test_an_unknown_rule_is_refused_with_the_nearest(argument: str, name: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        trtfuse.fuse(convolutions(), **{argument: [name]})  # type: ignore[arg-type]
    assert str(error.value) == f"unknown rule '{name}'; {hint}"


def test_usage_is_checked_before_the_model_is_read() -> None:
    with pytest.raises(UsageError, match="unknown rule 'zzz'"):
        trtfuse.fuse("no.onnx", rules=["zzz"])


@pytest.fixture
def where_is_first() -> Iterator[None]:
    """A rule that drops an input of what it replaces."""

    @trtfuse.rule(
        "where-true",
        op.Where(const("yes", where=lambda t: bool(t.array().all())), var("x"), var("y")),
    )
    def where_true(m: Match, _: Replacement) -> Value:
        """Where(true, x, y)  ==  x"""
        x: Value = m["x"]
        return x

    yield
    del CATALOGUE[where_true.name]


@pytest.mark.usefixtures("where_is_first")
def test_what_only_a_dropped_input_needed_goes_with_its_bodies() -> None:
    proto = parsed(
        """
        (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 4, 4] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] s = {2, 3}, bool[1] yes = {1}> {
          t = Exp(x)
          o = If(c) <
            then_branch = then () => (float[1, 2, 4, 4] p) { a = Conv(t, w) p = Mul(a, s) },
            else_branch = other () => (float[1, 2, 4, 4] p) { p = Relu(t) }
          >
          u = Where(yes, t, o)
          y = Neg(u)
        }
        """
    )
    result = trtfuse.fuse(proto, groups="off")
    assert [node.op_type for node in result.model.graph.node] == ["Exp", "Neg"]
    assert list(result.model.graph.initializer) == []


# Verification


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        trtfuse.fuse(convolutions(), verify="all")  # type: ignore[arg-type]
    assert str(error.value) == "unknown level 'all'; there are none, rewrite, model"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"nothing": (1, 2)}, "the model has no input 'nothing'; it has x"),
        ({"x": (1, 2, 8)}, "input 'x' has shape [N, 2, 8, 8], which [1, 2, 8] does not fit"),
        (
            {"x": [1, 3, 8, 8]},
            "input 'x' has shape [N, 2, 8, 8], which [1, 3, 8, 8] does not fit",
        ),
    ],
)
def test_a_shape_that_fits_no_input_is_refused(shapes: dict[str, Any], said: str) -> None:
    for check in (
        lambda: trtfuse.fuse(convolutions(), verify="model", input_shapes=shapes),
        lambda: trtfuse.verify(convolutions(), convolutions(), input_shapes=shapes),
    ):
        with pytest.raises(UsageError) as error:
            check()
        assert str(error.value) == said


@pytest.mark.parametrize("shape", [(-1, 2, 8, 8), (1.5, 2, 8, 8), "1288", ("N", 2, 8, 8)])
def test_a_shape_that_is_none_is_refused(shape: Any) -> None:
    with pytest.raises(UsageError, match=r"'x' is given .*; an input takes a shape like"):
        trtfuse.fuse(convolutions(), shapes={"x": shape})


def test_the_whole_model_is_compared_at_the_shape_that_is_given() -> None:
    proto = parsed(
        """
        (float[N, M] x) => (float[1, 7, 11] y)
        <int64[3] to = {1, 7, 11}, float[11] s = {2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2}> {
          t = Reshape(x, to)
          y = Mul(t, s)
        }
        """
    )
    with pytest.raises(VerifyError, match="give sizes that it runs at with --shapes"):
        trtfuse.fuse(proto, verify="model")
    result = trtfuse.fuse(proto, verify="model", input_shapes={"x": [11, 7]})
    assert result.ok
    assert result.report.verification.checked == 4


SAMPLE = {"x": np.ones((3, 2, 8, 8), np.float32)}


@pytest.mark.parametrize("level", [None, "model"])
def test_data_of_the_user_are_what_the_whole_model_is_compared_on(level: Any) -> None:
    found = trtfuse.fuse(
        convolutions(), verify=level, inputs=[SAMPLE, SAMPLE["x"]]
    ).report.verification
    assert (found.level, found.ok, found.notes) == ("model", True, [])
    assert (found.outputs, found.samples, found.source, found.checked) == (2, 2, "arrays", 4)
    assert {entry.inputs for entry in found.compared} <= {"sample 1", "sample 2"}


def test_each_sample_is_compared() -> None:
    # The two differ where x is negative.
    first, second = (
        parsed(f"(float[2] x) => (float[2] y) {{ y = {op}(x) }}") for op in ("Relu", "Identity")
    )
    given = [np.array([1, i - 2], np.float32) for i in range(4)]
    found = trtfuse.verify(first, second, inputs=given)
    assert not found.ok
    assert [note.partition(" differs by ")[0] for note in found.notes] == [
        "output 'y' (sample 1)",
        "output 'y' (sample 2)",
    ]
    assert found.compared[0].absolute == 2
    assert trtfuse.verify(first, second, inputs=given[2:]).ok


def test_data_that_the_original_does_not_run_on_are_named() -> None:
    proto = parsed("(float[n] x) => (float[3, m] y) <int64[2] to = {3, -1}> { y = Reshape(x, to) }")
    with pytest.raises(VerifyError) as error:
        trtfuse.verify(proto, proto, inputs=np.ones(4, np.float32))
    assert str(error.value).startswith("ONNX Runtime cannot run the original on sample 1: ")


@pytest.mark.parametrize("level", ["none", "rewrite"])
def test_data_are_refused_where_they_are_not_compared(level: Any) -> None:
    with pytest.raises(UsageError) as error:
        trtfuse.fuse("no.onnx", verify=level, inputs=SAMPLE)
    assert str(error.value) == (
        "inputs are compared by the check of the whole model: leave verify out or make it "
        f"'model', not '{level}'"
    )


def test_data_that_do_not_fit_are_refused_before_the_work() -> None:
    told: list[str] = []
    for check in (
        lambda: trtfuse.fuse(
            convolutions(), inputs={"z": SAMPLE["x"]}, progress=lambda *each: told.append(each[0])
        ),
        lambda: trtfuse.verify(convolutions(), convolutions(), inputs={"z": SAMPLE["x"]}),
    ):
        with pytest.raises(UsageError) as error:
            check()
        assert str(error.value) == "'sample 1' has an array 'z'; the model's inputs are x"
    assert set(told) == {"read"}


def test_the_progress_of_a_check_on_data_is_by_sample() -> None:
    told: list[tuple[str, int, int]] = []
    trtfuse.verify(
        convolutions(),
        convolutions(),
        inputs=[SAMPLE] * 3,
        progress=lambda *each: told.append(each),
    )
    checked = [steps for steps in told if steps[0] == "verify"]
    assert checked[-1][1] == checked[-1][2] >= 3
    assert [done for _, done, _ in checked] == sorted(done for _, done, _ in checked)


def test_a_size_below_zero_is_a_size_that_is_not_known() -> None:
    proto = products()
    for each in (*proto.graph.input, *proto.graph.output):
        each.type.tensor_type.shape.dim[0].dim_value = -1
    result = trtfuse.fuse(proto, rules=["fc-scale"], verify="model")
    assert result.ok
    assert [fusion.rule for fusion in result.report.fused] == ["fc-scale", "fc-scale"]


def test_the_seed_decides_what_is_drawn() -> None:
    first, again, other = (trtfuse.verify(bodies(), bodies(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.ok
    assert other.ok


def test_verify_finds_a_weight_that_differs() -> None:
    other = convolutions()
    weights = numpy_helper.to_array(other.graph.initializer[0]) * np.float32(1.001)
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    assert trtfuse.verify(convolutions(), convolutions()).ok
    found = trtfuse.verify(convolutions(), other)
    assert not found.ok
    assert found.level == "model"
    assert found.max_error > found.tolerance > 0
    assert found.notes[0].startswith("output 'y' (normal inputs, batch 1) differs by ")


def test_models_of_different_interfaces_are_not_compared() -> None:
    with pytest.raises(VerifyError) as error:
        trtfuse.verify(convolutions(), products())
    assert str(error.value) == "the models have different outputs: ['y', 'z'] and ['y']"


def test_a_model_that_onnx_runtime_does_not_take_is_fused_without_it() -> None:
    proto = parsed(
        "(float[2] x) => (float[2] y) { y = custom.Thing(x) }", opset='"": 17, "custom": 1'
    )
    with pytest.raises(VerifyError, match=r"^ONNX Runtime does not take the original: "):
        trtfuse.fuse(proto, verify="model")
    assert trtfuse.fuse(proto).ok


def test_every_error_is_one_of_ours_and_one_line(tmp_path: Path) -> None:
    assert issubclass(UsageError, TrtfuseError)
    assert issubclass(ModelError, TrtfuseError)
    assert issubclass(VerifyError, TrtfuseError)
    for wrong in (
        lambda: trtfuse.fuse(tmp_path),
        lambda: trtfuse.fuse(b"nonsense"),
        lambda: trtfuse.fuse(ModelProto()),
        lambda: trtfuse.fuse(convolutions(), skip=["no"]),
        lambda: trtfuse.verify(tmp_path / "no", tmp_path),
    ):
        with pytest.raises(TrtfuseError) as error:
            wrong()
        assert "\n" not in str(error.value)


# Progress


def test_progress_is_told_by_stage() -> None:
    names = [f"v{index}" for index in range(2001)]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]
    values = [helper.make_tensor_value_info(name, 1, [2]) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told: list[tuple[str, int, int]] = []
    trtfuse.fuse(proto, verify="model", progress=lambda *each: told.append(each))
    stages = [stage for stage, _ in itertools.groupby(stage for stage, _, _ in told)]
    assert stages == ["read", "rewrite", "load", "group", "write", "verify"]
    # Each says that it begins, before anything else.
    assert {next(each[1] for each in told if each[0] == stage) for stage in stages} == {0}
    assert all(0 <= done <= total for _, done, total in told)
    rewriting = [(done, total) for stage, done, total in told if stage == "rewrite" and done]
    assert len(rewriting) >= 7
    assert [done for done, _ in rewriting] == sorted(done for done, _ in rewriting)
    assert [each for each in told if each[0] == "verify"] == [
        ("verify", 0, 1),
        *(("verify", done, 8) for done in range(1, 9)),
    ]
    told.clear()
    trtfuse.verify(bodies(), bodies(), progress=lambda *each: told.append(each))
    assert told == [
        ("read", 0, 2),
        ("read", 1, 2),
        ("verify", 0, 1),
        *(("verify", done, 8) for done in range(1, 9)),
    ]


def test_what_the_progress_raises_comes_out_wherever_it_is_raised() -> None:
    class Enough(Exception):  # noqa: N818
        pass

    told: list[str] = []
    trtfuse.fuse(convolutions(), verify="model", progress=lambda stage, *_: told.append(stage))
    assert len(set(told)) == 6
    for count in range(1, len(told)):
        calls = itertools.count(1)

        def stop(*_: object, calls: Iterator[int] = calls, count: int = count) -> None:
            if next(calls) == count:
                raise Enough

        with pytest.raises(Enough):
            trtfuse.fuse(convolutions(), verify="model", progress=stop)


def test_the_public_names_are_these() -> None:
    assert sorted(trtfuse.__all__) == [
        "Agreement",
        "Comparison",
        "Engine",
        "EngineError",
        "Explanation",
        "FusionResult",
        "Inspection",
        "InternalError",
        "Layer",
        "ModelError",
        "Report",
        "Rule",
        "TrtfuseError",
        "UsageError",
        "Verification",
        "VerifyError",
        "agreement",
        "build",
        "compare",
        "explain",
        "fuse",
        "inspect",
        "read_layers",
        "rule",
        "rules",
        "to_networkx",
        "verify",
    ]
    assert all(hasattr(trtfuse, name) for name in trtfuse.__all__)
    assert set(trtfuse.__all__) <= set(dir(trtfuse))


def test_the_logger_tells_of_rewrites_and_groups(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="trtfuse"):
        trtfuse.fuse(convolutions())
    told = [record.getMessage() for record in caplog.records]
    assert "Fused add2 by identity-scale" in told
    assert "Not fused by conv-scale at sub2: `y` is an output of the graph" in told
    assert "Fused mul1 + bn1 + relu1 as scale-and-activation" in told
