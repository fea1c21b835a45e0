"""The check of a whole model: original and result on ONNX Runtime, its own optimizations off.

What the two may differ by is measured on the original. It runs again with its inputs, its weights
and all that its nodes compute moved to neighbouring numbers of their type, which is the least that
a change of spelling does to them; how far its outputs move, times a margin, is the tolerance.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from trtfuse.analysis.constants import constant
from trtfuse.analysis.shapes import type_and_shape
from trtfuse.check.inputs import SIZES, Search, Shapes, drawn, runtime_inputs
from trtfuse.errors import VerifyError, one_line
from trtfuse.ir.tensor import FLOATING, Array, StoredTensor, numpy_type
from trtfuse.model.model import Model

#: How many times the measured rounding of the original the result may differ by.
MARGIN = 8
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
_FLOATING = frozenset(numpy_type(element_type) for element_type in FLOATING)


@dataclass
class Verification:
    """What a check found.

    Attributes:
        level: "none", "rewrite" or "model".
        ok: whether everything agreed within the tolerance.
        max_error: the largest error; for "rewrite" relative to what rounding does to the original,
            for "model" relative to the largest number of the output.
        tolerance: what `max_error` was held against, in the same unit.
        checked: how many rewrites, or outputs in how many runs, were compared.
        notes: what is worth knowing besides, a sentence each; says what is wrong if not `ok`.
    """

    level: str
    ok: bool = True
    max_error: float = 0.0
    tolerance: float = 0.0
    checked: int = 0
    notes: list[str] = field(default_factory=list)

    def fail(self, why: str) -> None:
        """Records that something does not agree."""
        self.ok = False
        self.notes.append(why)


def verify_models(
    original: Model,
    result: Model,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Runs two models on the same inputs and compares every output in value, shape and type.

    Args:
        original: what the other is compared to; the tolerance is measured on it.
        result: a model with the same inputs and outputs.
        input_shapes: shapes of inputs by name, where they are not to be drawn.
        seed: of what is drawn.
        progress: told how many runs are done, and of how many.

    Raises:
        VerifyError: the models have different inputs or outputs, or one cannot be run.
        UsageError: `input_shapes` does not fit the model.
    """
    _compare_interfaces(original, result)
    rng = np.random.default_rng(seed)
    verification = Verification("model")
    first, second = _session(original, "the original"), _session(result, "the result")
    moved = [s for _ in range(_MOVES) if (s := _moved_session(original, rng)) is not None]
    search = Search(original, input_shapes or {})
    kinds = ((1, "normal"), (2, "wide"), (1, "zero"))
    for index, (batch, kind) in enumerate(kinds):
        feeds, expected = _first_of(search, search.shapes(batch), first, kind, rng)
        actual = _run(second, feeds, "the result")
        others = [o for session in moved if (o := _moved_run(session, feeds, rng)) is not None]
        names = [output.name for output in first.get_outputs()]
        for position, name in enumerate(names):
            _compare(
                verification,
                f"output '{name}' ({kind} inputs, batch {batch})",
                expected[position],
                actual[position],
                [other[position] for other in others],
            )
        if progress is not None:
            progress(index + 1, len(kinds))
    return verification


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
        VerifyError: an input is no tensor, or its rank is not known.
    """

    def tiny(sizes: Shapes) -> bool:
        return any(
            size < _SMALL_IMAGE and not isinstance(dim, int)
            for name, dims in declared.items()
            if dims is not None and len(dims) >= 4
            for dim, size in zip(dims[2:], sizes[name][2:], strict=True)
        )

    inputs = model.graph.inputs
    declared = {v.name: type_and_shape(inputs[v].type)[1] for v in runtime_inputs(model)}
    search = Search(model, given)
    candidates = sorted(itertools.islice(search.shapes(1), 2 * len(SIZES)), key=tiny)
    try:
        session = _session(model, "the model")
        feeds, _ = _first_of(search, candidates, session, "normal", np.random.default_rng(0))
    except VerifyError:
        return candidates[0]
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
    raise VerifyError(f"{trouble} (at {tried} and others; give input shapes that it runs at)")


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
        name: _to_a_neighbour(array, rng) if array.dtype in _FLOATING else array
        for name, array in feeds.items()
    }


def _unit(array: Array) -> float:
    """The distance from 1 to the next number of an array's type."""
    return float(ml_dtypes.finfo(array.dtype).eps)  # type: ignore[no-untyped-call]


def _smallest(dtype: np.dtype[Any]) -> float:
    """The smallest positive number of a type, with one digit."""
    return float(ml_dtypes.finfo(dtype).smallest_subnormal)  # type: ignore[no-untyped-call]


def _to_a_neighbour(array: Array, rng: np.random.Generator) -> Array:
    """Each number moved to a neighbour, up or down."""
    step = _unit(array) * rng.choice((-1.0, 1.0), array.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        # An operation on arrays of no dimension gives a scalar, which ONNX Runtime does not take.
        return np.asarray((array.astype(np.float64) * (1 + step)).astype(array.dtype))


@np.errstate(all="ignore")
def _compare(
    verification: Verification, where: str, expected: Any, actual: Any, moved: list[Any]
) -> None:
    """Compares one output of two models, and records what there is to say.

    Args:
        verification: what it is recorded in.
        where: which output, for messages.
        expected: what the original computes.
        actual: what the other computes.
        moved: what the original computes once its numbers are moved to their neighbours. How far
            that is from `expected` sets the tolerance.
    """
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            verification.fail(f"{where} has {len(actual)} parts, not {len(expected)}")
            return
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            parts = [sequence[index] for sequence in moved if len(sequence) == len(expected)]
            _compare(verification, f"part {index} of {where}", one, other, parts)
        return
    verification.checked += 1
    if not isinstance(expected, np.ndarray):
        if not isinstance(actual, type(expected)) or str(expected) != str(actual):
            verification.fail(f"{where} differs")
        return
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        verification.fail(
            f"{where} is {actual.dtype}{list(actual.shape)}, "
            f"not {expected.dtype}{list(expected.shape)}"
        )
        return
    if expected.dtype not in _FLOATING:
        unsteady = np.zeros(expected.shape, bool)
        for other in moved:
            unsteady |= other != expected if other.shape == expected.shape else True
        wrong = int(np.count_nonzero((actual != expected) & ~unsteady))
        if wrong:
            verification.fail(f"{where} differs in {wrong} of {expected.size} elements")
        return
    old, new = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(old)
    lost = int(np.count_nonzero(~np.isfinite(new) & finite))
    if lost:
        verification.fail(f"{where} has {lost} elements that were finite and are no more")
        return
    unlike = np.isinf(old) & ~np.isfinite(new) & (old != new)
    if unlike.any():
        verification.fail(
            f"{where} has {int(unlike.sum())} elements that are infinite or none otherwise"
        )
        return
    gained = int(np.count_nonzero(np.isfinite(new) & ~finite))
    if gained:
        verification.notes.append(f"{where} has {gained} elements that were not finite and now are")
    if not finite.any():
        return
    largest = float(np.abs(old[finite]).max())
    unit = _unit(expected)
    moves = [
        float(np.abs(other.astype(np.float64) - old)[finite & np.isfinite(other)].max(initial=0.0))
        for other in moved
        if other.shape == expected.shape
    ]
    scale = largest or 1.0
    tolerance = MARGIN * max(unit, max(moves, default=0.0) / scale)
    # JSON has no infinity, which the difference of the largest numbers is.
    error = min(float(np.abs(new - old)[finite].max()) / scale, sys.float_info.max)
    # The report shows the comparison that came nearest to failing.
    if (
        error * (verification.tolerance or 1.0) >= verification.max_error * tolerance
        or not verification.tolerance
    ):
        verification.max_error, verification.tolerance = error, tolerance
    if error > tolerance:
        verification.fail(
            f"{where} differs by {error:.2g} of its largest number (tolerance {tolerance:.2g})"
        )
