"""The check of a whole model: original and result on ONNX Runtime, its own optimizations off.

What the two may differ by is measured on the original. It runs again with its inputs, its weights
and all that its nodes compute moved to neighbouring numbers of their type, which is the least that
a change of spelling does to them; how far its outputs move, times a margin, is the tolerance.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from trtfuse.analysis.constants import constant
from trtfuse.check.difference import FLOATING_TYPES, Tally, unit
from trtfuse.check.inputs import SIZES, Search, Shapes, drawn, runtime_inputs
from trtfuse.check.samples import Samples
from trtfuse.check.uninformative import Spread, uninformative
from trtfuse.check.verification import Verification
from trtfuse.errors import VerifyError, one_line
from trtfuse.ir.tensor import FLOATING, Array, StoredTensor, numpy_type
from trtfuse.model.fixed import declared_shapes, unlike_inputs
from trtfuse.model.model import Model

#: The sets of random inputs: the size of an open first dimension, and the kind of numbers.
_DRAWN = ((1, "normal"), (2, "wide"), (1, "zero"), (2, "normal"))
#: How often the original runs with its numbers moved.
_MOVES = 2
#: So many runs, and so many seconds, are spent on looking for sizes that a model runs at.
_MOST_RUNS = 120
_PATIENCE = 30.0
#: The least height and width of an image that `running_shapes` tries first.
_SMALL_IMAGE = 64
#: Weights of more elements than this are not moved; their inputs are.
_LARGE = 1 << 22
#: Operators that have weights.
_LAYERS = frozenset(
    (
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "GRU",
        "Gemm",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "PRelu",
        "RNN",
    )
)


@dataclass(frozen=True)
class _Inputs:
    """A set of inputs that the original runs on.

    Attributes:
        name: what to call it.
        feeds: an array for each input.
        expected: what the original makes of them.
        varied: whether they are random numbers, not zeros and not the user's own.
    """

    name: str
    feeds: dict[str, Array]
    expected: list[Any]
    varied: bool = False


def verify_models(
    original: Model,
    result: Model,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    samples: Samples | None = None,
) -> Verification:
    """Runs two models on the same inputs and compares every output in value, shape and type.

    Args:
        original: what the other is compared to; the tolerance is measured on it.
        result: a model with the same inputs and outputs.
        seed: of what is drawn.
        progress: told how many sessions and runs are done, and of how many.
        samples: the inputs; random if omitted.

    Raises:
        VerifyError: the models have different inputs or outputs, or one cannot be run.
        UsageError: a file of `samples` changed meanwhile.
    """
    _compare_interfaces(original, result)
    rng = np.random.default_rng(seed)
    total = 2 + _MOVES + (len(_DRAWN) if samples is None else len(samples))
    steps = itertools.count(1)

    def step() -> None:
        if progress is not None:
            progress(next(steps), total)

    first = _session(original, "the original")
    step()
    second = _session(result, "the result")
    step()
    moved = []
    for _ in range(_MOVES):
        session = _moved_session(original, rng)
        moved += [] if session is None else [session]
        step()
    search = Search(original, {})
    given = _random(search, first, rng) if samples is None else _own(samples, first)
    names = [output.name for output in first.get_outputs()]
    tally = Tally(names, "random" if samples is None else samples.source)
    spreads = [Spread() for _ in names]
    for inputs in given:
        actual = _run(second, inputs.feeds, "the result")
        runs = (_moved_run(session, inputs.feeds, rng) for session in moved)
        tally.add(inputs.name, inputs.expected, actual, [run for run in runs if run is not None])
        if inputs.varied:
            for spread, array in zip(spreads, inputs.expected, strict=True):
                spread.add(array)
        step()
    verification = tally.finish()
    if samples is None:
        agreed = [entry.ok for entry in verification.compared]
        verification.notes += uninformative(original, spreads, agreed)
    return verification


def _random(search: Search, session: Any, rng: np.random.Generator) -> Iterator[_Inputs]:
    known: dict[int, Shapes] = {}
    for batch, kind in _DRAWN:
        # What it ran at before need not be looked for again.
        before = [known[batch]] if batch in known else []
        candidates = itertools.chain(before, search.shapes(batch))
        feeds, expected = _first_of(search, candidates, session, kind, rng)
        known[batch] = _shapes(feeds)
        yield _Inputs(f"{kind} inputs, batch {batch}", feeds, expected, kind != "zero")


def _own(samples: Samples, session: Any) -> Iterator[_Inputs]:
    for sample in samples:
        which = f"the original on {sample.name}"
        yield _Inputs(sample.name, sample.feeds, _run(session, sample.feeds, which))


def running_shapes(model: Model, given: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Shapes for the inputs, with a batch of 1: the first that ONNX Runtime runs the model at.

    Images are tried at 64 and more before smaller ones. What is left of a smaller one at the end of
    a network may be less than a kernel, and runtimes then differ. Where the model runs at none,
    those that were tried first are returned.

    Args:
        model: what to find shapes for.
        given: shapes that are not to be drawn, by input.

    Raises:
        UsageError: `given` does not fit the model.
        VerifyError: an input is not a tensor, or its rank is not known.
    """

    def tiny(sizes: Shapes) -> bool:
        return any(
            size < _SMALL_IMAGE and not isinstance(dim, int)
            for name, dims in declared.items()
            if dims is not None and len(dims) >= 4
            for dim, size in zip(dims[2:], sizes[name][2:], strict=True)
        )

    declared = declared_shapes(model)
    search = Search(model, given)
    candidates = sorted(itertools.islice(search.shapes(1), 2 * len(SIZES)), key=tiny)
    try:
        session = _session(model, "the model")
        feeds, _ = _first_of(search, candidates, session, "normal", np.random.default_rng(0))
    except VerifyError:
        return candidates[0]
    return _shapes(feeds)


def _shapes(feeds: Mapping[str, Array]) -> Shapes:
    return {name: tuple(array.shape) for name, array in feeds.items()}


def _compare_interfaces(original: Model, result: Model) -> None:
    for what, before, after in (
        (
            "inputs",
            [v.name for v in runtime_inputs(original)],
            [v.name for v in runtime_inputs(result)],
        ),
        (
            "outputs",
            [v.name for v in original.graph.outputs],
            [v.name for v in result.graph.outputs],
        ),
    ):
        if before != after:
            raise VerifyError(f"the models have different {what}: {before} and {after}")
    unlike = unlike_inputs(original, result)
    if unlike is not None:
        raise VerifyError(unlike)


def _session(model: Model, which: str, moved_by: np.random.Generator | None = None) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if model.folder is not None:
        folder_key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder_key, str(model.folder.resolve()))
    proto = model.to_proto() if moved_by is None else _moved(model, moved_by)
    try:
        return ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common type of its own
        raise VerifyError(f"ONNX Runtime does not take {which}: {_shortened(error)}") from None


def _run(session: Any, feeds: Mapping[str, Array], which: str) -> list[Any]:
    try:
        outputs: list[Any] = session.run(None, dict(feeds))
    except Exception as error:  # noqa: BLE001 - as above
        raise VerifyError(f"ONNX Runtime cannot run {which}: {_shortened(error)}") from None
    return outputs


def _moved_session(model: Model, rng: np.random.Generator) -> Any:
    """None if numbers that shapes are made of are among the moved ones, and it does not load."""
    try:
        return _session(model, "the original", moved_by=rng)
    except VerifyError:
        return None


def _moved_run(
    session: Any, feeds: Mapping[str, Array], rng: np.random.Generator
) -> list[Any] | None:
    """None likewise, where it does not run."""
    try:
        return _run(session, _nudged(feeds, rng), "the original")
    except VerifyError:
        return None


def _first_of(
    search: Search,
    candidates: Iterable[Shapes],
    session: Any,
    kind: str,
    rng: np.random.Generator,
) -> tuple[dict[str, Array], list[Any]]:
    """The first inputs of some shapes that a model runs on, and what it makes of them."""
    trouble: VerifyError | None = None
    tried: Shapes = {}
    runs, deadline = 0, time.monotonic() + _PATIENCE
    for tried in candidates:
        if runs and (runs >= _MOST_RUNS or time.monotonic() > deadline):
            break
        for feeds in drawn(search.model, tried, kind, rng, search.given):
            runs += 1
            try:
                return feeds, _run(session, feeds, "the original")
            except VerifyError as error:
                trouble = trouble or error
    raise VerifyError(
        f"{trouble} (at {tried} and others; give sizes that it runs at with --shapes)"
    )


def _shortened(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) < 300 else text[:300] + " ..."


def _moved(model: Model, rng: np.random.Generator) -> ModelProto:
    """The model with its weights, and what its nodes compute, moved to neighbouring numbers."""
    proto = model.to_proto()
    names = _weights(model)
    stored = [tensor for tensor in proto.graph.initializer if tensor.name in names]
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.output[0] in names:
            stored.extend(a.t for a in node.attribute if a.name == "value")
    for tensor in stored:
        weights = StoredTensor(tensor, model.folder)
        if 0 < weights.size <= _LARGE:
            tensor.CopyFrom(
                numpy_helper.from_array(_to_a_neighbour(weights.array(), rng), tensor.name)
            )
    _round_at_random(model, proto, rng)
    return proto


def _round_at_random(model: Model, proto: ModelProto, rng: np.random.Generator) -> None:
    """Multiplies what each node computes by 1, or by a neighbour of 1."""
    nodes: list[NodeProto] = []
    for node, written in zip(model.graph.nodes(), list(proto.graph.node), strict=True):
        nodes.append(written)
        for index, value in enumerate(node.outputs):
            # What has less than two dimensions tends to decide on shapes, like scales of a Resize.
            if value is None or value.type not in FLOATING or (value.rank or 0) < 2:
                continue
            if constant(value) is not None:
                continue
            factor = _to_a_neighbour(np.ones((), numpy_type(value.type)), rng)
            exact, by = f"{value.name}~exact", f"{value.name}~by"
            written.output[index] = exact
            proto.graph.initializer.append(numpy_helper.from_array(factor, by))
            if any(reader.op == "Log" for reader in value.uses):
                # A factor does not move the smallest numbers, of which a logarithm makes much.
                name, moved = f"{value.name}~unit", f"{value.name}~moved"
                unit = np.asarray(_smallest(factor.dtype) * np.sign(factor - 1), factor.dtype)
                proto.graph.initializer.append(numpy_helper.from_array(unit, name))
                nodes.append(helper.make_node("Mul", [exact, by], [moved]))
                nodes.append(helper.make_node("Add", [moved, name], [value.name]))
                continue
            nodes.append(helper.make_node("Mul", [exact, by], [value.name]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _weights(model: Model) -> set[str]:
    """The names of the floating constants that layers multiply by, or that those are made from.

    Others stay as they are: the scales of a Resize or the limits of a Range decide on shapes.
    """
    names: set[str] = set()
    for node in model.graph.nodes():
        pending = [v for v in node.inputs if constant(v) is not None] if node.op in _LAYERS else []
        while pending:
            value = pending.pop()
            tensor = constant(value)
            if value is not None and tensor is not None and tensor.type in FLOATING:
                names.add(value.name)
                pending.extend(value.producer.inputs if value.producer else ())
    return names


def _nudged(feeds: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    return {
        name: _to_a_neighbour(array, rng) if array.dtype in FLOATING_TYPES else array
        for name, array in feeds.items()
    }


def _smallest(dtype: np.dtype[Any]) -> float:
    """The smallest positive number of a type, with one digit."""
    return float(ml_dtypes.finfo(dtype).smallest_subnormal)  # type: ignore[no-untyped-call]


def _to_a_neighbour(array: Array, rng: np.random.Generator) -> Array:
    """Each number moved to a neighbour, up or down."""
    step = unit(array) * rng.choice((-1.0, 1.0), array.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        # An operation on arrays of no dimension gives a scalar, which ONNX Runtime does not take.
        return np.asarray((array.astype(np.float64) * (1 + step)).astype(array.dtype))
