"""Inputs that a model may run on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bfloat16)": ml_dtypes.bfloat16,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
} | {
    f"tensor({kind}{bits})": np.dtype(f"{kind}{bits}")
    for kind in ("int", "uint")
    for bits in (8, 16, 32, 64)
}

_MOST_ELEMENTS = 200_000


def feeds(
    inputs: Sequence[Any],
    given: Sequence[Mapping[str, Any]],
    rng: np.random.Generator,
    scalars: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Inputs to try, those that the seed ran on first.

    Args:
        inputs: what ONNX Runtime says of the inputs.
        given: what the seed ran on.
        rng: draws what is not given.
        scalars: those that are declared as scalars, which ONNX Runtime does not tell from inputs
            of any rank.
    """
    for known in given:
        fitting = {}
        for each in inputs:
            value = known.get(each.name)
            of_no_rank = each.name in scalars and isinstance(value, np.ndarray) and value.ndim
            fitting[each.name] = _fitting(each, None if of_no_rank else value, rng)
        yield fitting
    for sizes in ((2, 3), (1, 1), (3, 4), (4, 2)):
        symbols: dict[Any, int] = {}
        yield {each.name: _drawn(each, _shape(each, symbols, sizes), rng) for each in inputs}


def _shape(each: Any, symbols: dict[Any, int], sizes: tuple[int, int]) -> tuple[int, ...]:
    shape = []
    try:
        declared = each.shape or ()
    except UnicodeDecodeError:
        raise CannotFeed(f"{each.name}: a symbol that is not UTF-8") from None
    for at, dim in enumerate(declared):
        if isinstance(dim, int) and dim >= 0:
            shape.append(dim)
        elif dim in symbols and dim is not None:
            shape.append(symbols[dim])
        else:
            shape.append(sizes[min(at, 1)])
            symbols[dim] = shape[-1]
    return tuple(shape)


def _fitting(each: Any, known: Any, rng: np.random.Generator) -> Any:
    """What was given, if it is of the type and shape of the input, else a draw of its shape."""
    if known is not None and not isinstance(known, np.ndarray):
        return known
    kind = _TYPES.get(each.type)
    if known is not None and kind is not None:
        same_rank = len(each.shape or ()) == known.ndim or not each.shape
        fits = same_rank and all(
            not isinstance(dim, int) or dim == size
            for dim, size in zip(each.shape or (), known.shape, strict=False)
        )
        if known.dtype.kind in "OSU":
            if fits and kind is np.str_:
                return known
        elif fits and kind is not np.str_:
            with np.errstate(all="ignore"):
                return known.astype(kind)
        shape = _shape(each, {}, (2, 3))
        # An open dimension keeps the size that it had.
        if same_rank:
            shape = tuple(
                dim if isinstance(dim, int) else size
                for dim, size in zip(each.shape or (), known.shape, strict=False)
            )
        return _drawn(each, shape, rng)
    return _drawn(each, _shape(each, {}, (2, 3)), rng)


def _drawn(each: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    kind = _TYPES.get(each.type)
    # numpy takes no array of nothing that would be too large otherwise.
    largest = np.prod([max(1, size) for size in shape], dtype=float)
    if kind is None or largest > _MOST_ELEMENTS:
        raise CannotFeed(f"{each.name}: {each.type}{list(shape)}")
    if kind is np.bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if kind is np.str_:
        return rng.choice(np.array(["a", "b", "", "text"]), shape).astype(object)
    if np.dtype(kind).kind in "iu":
        low = -1 if np.dtype(kind).kind == "i" and rng.random() < 0.3 else 0
        return np.asarray(rng.integers(low, 4, shape)).astype(kind)
    numbers = np.where(rng.random(shape) < 0.1, 0.0, rng.standard_normal(shape) * 2)
    return np.asarray(numbers).astype(kind)


class CannotFeed(Exception):  # noqa: N818 - the model is to blame, or nobody
    """An input that nothing is drawn for."""
