"""Whether two runs agree: exactly, or as far as rounding lets them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from oracle import widened
from reference import expected

Array = npt.NDArray[Any]
Load = Callable[[ModelProto], Any]

#: How far numbers of a type may be off, relative to the number and to the largest of its tensor.
_CLOSE = {"float16": (2e-3, 5e-4), "bfloat16": (2e-2, 5e-3), "float32": (1e-5, 5e-7)}
_CLOSE_OTHERWISE = (1e-10, 1e-12)
#: From here on it is not far to the largest number of a type.
_END = {"float16": 2.0**10, "bfloat16": 2.0**120, "float32": 2.0**120}
#: By how much numbers are moved to see what becomes of the outputs.
_HAIR = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-21}
_HAIR_OTHERWISE = 2.0**-44
#: So many times a hair each number of the result may be off.
_HAIRS = 48
#: So often an original runs again, to see whether what it computes is drawn.
_AGAIN = 8
#: In float64, relative to what rounding does to the original.
_OF_FLOAT32 = 2.0**-15


class Difference(enum.Enum):
    """There is none that tells anything."""

    UNSTABLE = "the original computes another thing each time"


def agrees(
    outputs: Sequence[Any],
    again: Callable[[], Sequence[Any]],
    found: Sequence[Any],
    original: ModelProto | None,
    feeds: Mapping[str, Any],
    load: Load,
) -> Difference | str | None:
    """What is wrong with the outputs of the result; None where they agree.

    Args:
        outputs: what the original computed.
        again: runs it again.
        found: what the result computed.
        original: the original, to see what rounding does to it.
        feeds: the inputs.
        load: loads another model on ONNX Runtime; None if it cannot.
    """
    if _apart(outputs, again(), exactly=True):
        return Difference.UNSTABLE
    wrong = _apart(outputs, found)
    # What is drawn may be the same twice.
    if wrong and any(_apart(outputs, again(), exactly=True) for _ in range(_AGAIN)):
        return Difference.UNSTABLE
    if wrong is None or wrong.startswith(("shape", "type", "parts")) or original is None:
        return wrong
    if _is_as_defined(original, found, feeds):
        return None
    # Only rounding may tell them apart now.
    if _within(outputs, found, _spreads(original, outputs, feeds, load)):
        return None
    if _agrees_in_float64(original, outputs, found, feeds):
        return None
    return wrong


def _apart(one: Any, other: Any, exactly: bool = False) -> str | None:
    """What tells two outputs apart."""
    if isinstance(one, (list, tuple)):
        if not isinstance(other, (list, tuple)) or len(one) != len(other):
            return "parts: another number"
        pairs = zip(one, other, strict=True)
        return next((wrong for a, b in pairs if (wrong := _apart(a, b, exactly))), None)
    if not isinstance(one, np.ndarray):
        return None if (one is None and other is None) or one == other else "parts: other"
    if not isinstance(other, np.ndarray) or one.dtype != other.dtype:
        return f"type {getattr(other, 'dtype', None)} for {one.dtype}"
    if one.shape != other.shape:
        return f"shape: {list(other.shape)} for {list(one.shape)}"
    same = _same(one, other)
    if same.all():
        return None
    if exactly or one.dtype.kind in "biuOSU":
        return f"numbers of {one.dtype}: {np.count_nonzero(~same)} of {same.size}"
    relative, floor = _CLOSE.get(str(one.dtype), _CLOSE_OTHERWISE)
    a, b = _wide(one), _wide(other)
    finite = np.isfinite(a) & np.isfinite(b)
    # At the end of what a type holds, sums of other terms in between may be beyond it.
    same = same | (np.isinf(a) & np.isinf(b))
    same = same | (np.isfinite(a) & ~finite & (np.abs(a) > _END.get(str(one.dtype), np.inf)))
    if not (finite | same).all():
        return f"numbers that are not finite: {_first(one, other, ~(finite | same))}"
    largest = np.abs(a[finite]).max(initial=0.0)
    with np.errstate(all="ignore"):
        close = same | (np.abs(a - b) <= relative * np.abs(a) + floor * largest)
    return None if close.all() else f"numbers: {_first(one, other, ~close)}"


def _first(one: Array, other: Array, where: Array) -> str:
    at = tuple(int(i) for i in np.argwhere(where)[0])
    return f"{other[at]} for {one[at]} at {list(at)}, {np.count_nonzero(where)} of {where.size}"


def _same(one: Array, other: Array) -> Array:
    if one.dtype.kind in "OSUbiu":
        return np.asarray(one == other)
    with np.errstate(all="ignore"):
        a, b = _wide(one), _wide(other)
        return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


# What rounding does


def _spreads(
    original: ModelProto, outputs: Sequence[Any], feeds: Mapping[str, Any], load: Load
) -> list[Array | None]:
    """How far each output moves if inputs and weights move by a hair; infinite for integers."""
    spreads: list[Array | None] = [
        np.zeros(each.shape) if isinstance(each, np.ndarray) else None for each in outputs
    ]
    for moved in _moved_runs(original, feeds, load):
        for at, (one, other) in enumerate(zip(outputs, moved, strict=True)):
            spread = spreads[at]
            if spread is None or getattr(other, "shape", None) != one.shape:
                continue
            if one.dtype.kind in "biuOSU":
                far = np.where(_same(one, other), 0.0, np.inf)
            else:
                with np.errstate(all="ignore"):
                    far = np.abs(_wide(one) - _wide(other))
                far = np.where(np.isfinite(far), far, 0.0)
            spreads[at] = np.maximum(spread, far)
    return spreads


def _moved_runs(
    original: ModelProto, feeds: Mapping[str, Any], load: Load
) -> Iterator[Sequence[Any]]:
    for number in range(6):
        rng = np.random.default_rng(number)
        model = ModelProto()
        model.CopyFrom(original)
        if number % 2:
            for tensor in _tensors(model):
                _move(tensor, rng)
        loaded = load(model)
        if loaded is None:
            continue
        try:
            yield loaded.run(None, {name: _moved(array, rng) for name, array in feeds.items()})
        except Exception:  # noqa: BLE001 - what was moved was a size, or alike
            continue


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    stack = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while stack or nodes:
        if stack:
            graph = stack.pop()
            yield from graph.initializer
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == AttributeProto.GRAPH:
                stack.append(attribute.g)


def _move(tensor: TensorProto, rng: np.random.Generator) -> None:
    try:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(_moved(array, rng), tensor.name))
    except Exception:  # noqa: BLE001 - its bytes and dims disagree
        return


def _moved(array: Any, rng: np.random.Generator) -> Any:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fV":
        return array
    if str(array.dtype) not in (*_HAIR, "float64"):
        return array
    hair = _HAIR.get(str(array.dtype), _HAIR_OTHERWISE)
    with np.errstate(all="ignore"):
        moved = array.astype(np.float64) * (1 + hair * rng.uniform(-1, 1, array.shape))
        return moved.astype(array.dtype)


def _within(outputs: Sequence[Any], found: Sequence[Any], spreads: Sequence[Array | None]) -> bool:
    for one, other, spread in zip(outputs, found, spreads, strict=True):
        if _apart(one, other) is None:
            continue
        if spread is None:
            return False
        same = _same(one, other)
        if one.dtype.kind in "biuOSU":
            if not (same | np.isinf(spread)).all():
                return False
            continue
        relative, floor = _CLOSE.get(str(one.dtype), _CLOSE_OTHERWISE)
        a, b = _wide(one), _wide(other)
        largest = np.abs(a[np.isfinite(a)]).max(initial=0.0)
        with np.errstate(all="ignore"):
            allowed = _HAIRS * spread + 8 * relative * np.abs(a) + 8 * floor * largest
            if not (same | (np.abs(a - b) <= allowed)).all():
                return False
    return True


def _is_as_defined(original: ModelProto, found: Sequence[Any], feeds: Mapping[str, Any]) -> bool:
    """Whether the result is what ONNX's reference implementation computes.

    ONNX Runtime leaves numbers in float32 that a Cast rounds to float16 where it widens what
    follows.
    """
    try:
        return _apart(ReferenceEvaluator(original).run(None, dict(feeds)), found) is None
    except Exception:  # noqa: BLE001 - it does not run it
        return False


def _agrees_in_float64(
    original: ModelProto, outputs: Sequence[Any], found: Sequence[Any], feeds: Mapping[str, Any]
) -> bool:
    """Whether the result is as near to what is meant as the original, or as float32 allows."""
    given = {
        name: array.astype(np.float64)
        if isinstance(array, np.ndarray) and array.dtype.kind in "fV"
        else array
        for name, array in feeds.items()
    }
    try:
        meant = expected(widened(original), given)
    except Exception:  # noqa: BLE001 - the reference implementation does not run it
        return False
    for (mean, size), old, new in zip(meant, outputs, found, strict=True):
        if _apart(old, new) is None:
            continue
        if not isinstance(old, np.ndarray) or old.dtype.kind not in "fV":
            return False
        if mean.shape != new.shape or mean.dtype.kind != "f":
            return False
        before, now = _off_by(mean, size, old), _off_by(mean, size, new)
        step = {"float16": 2.0**-5, "bfloat16": 2.0**-2}.get(str(old.dtype), _OF_FLOAT32)
        if str(old.dtype) == "float64":
            step = 1e-9
        if not now <= max(step, 8 * before):
            return False
    return True


def _off_by(mean: Array, size: Array, found: Array) -> float:
    found = _wide(found)
    finite = np.isfinite(mean) & np.isfinite(size)
    # What is not a number is none in the result either.
    if not (finite | np.isinf(mean) | ~np.isfinite(found)).all():
        return np.inf
    if not finite.any():
        return 0.0
    largest = size[finite].max()
    if not np.isfinite(found[finite]).all():
        return np.inf
    with np.errstate(all="ignore"):
        return float(
            (np.abs(found - mean)[finite] / (size[finite] + 1e-3 * largest + 1e-300)).max()
        )
