"""The sizes that an engine is built for: fixed, or smallest, best and largest."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from onnx import ModelProto

from trtfuse.analysis.wording import shown, written
from trtfuse.engine.parse import dims, inputs
from trtfuse.errors import UsageError
from trtfuse.model.fixed import fixed_shapes

StaticShape = tuple[int, ...]
#: The smallest shape, the one to be fastest at, and the largest.
Profile = tuple[StaticShape, StaticShape, StaticShape]
#: What `build` takes for the shape of an input: one, or three as in a profile.
ShapeLike = Sequence[int] | Sequence[Sequence[int]]


def profiles(shapes: Mapping[str, ShapeLike] | None) -> dict[str, Profile]:
    """The shapes of inputs by name, each as smallest, best and largest.

    Raises:
        UsageError: something is no shape, or the three are not in order.
    """
    return {name: _profile(name, given) for name, given in (shapes or {}).items()}


def by_input(
    shapes: Mapping[str, int | ShapeLike] | None, model: ModelProto
) -> dict[str, ShapeLike]:
    """Shapes of inputs in place of sizes of symbols: `{"batch": 1}`, or `(1, 4, 8)` as a profile.

    Raises:
        UsageError: a symbol is in no input, or an input has other open sizes, which are not given.
    """
    declared = {value.name: tuple(dims(value) or ()) for value in inputs(model)}
    symbols = {size for sizes in declared.values() for size in sizes if isinstance(size, str)}
    found: dict[str, ShapeLike] = {}
    profiled: dict[str, Sequence[int]] = {}
    for name, given in (shapes or {}).items():
        if name in declared or (isinstance(given, Sequence) and name not in symbols):
            found[name] = cast("ShapeLike", given)
            continue
        profiled[name] = _three(name, given)
        # One that is in no input is told of by its name.
        fixed_shapes(declared, {name: profiled[name][1]})
    for name, shape in found.items():
        _check_apart(name, shape, declared.get(name, ()), profiled)
    for name, sizes in declared.items():
        if name in found or profiled.keys().isdisjoint(sizes):
            continue
        left = [size for size in sizes if isinstance(size, str) and size not in profiled]
        if left:
            raise UsageError(
                f"input '{name}' is {shown(sizes)}, and '{left[0]}' is open as well; give all of "
                "its sizes"
            )
        found[name] = tuple(
            tuple(profiled[size][part] if isinstance(size, str) else size for size in sizes)
            for part in range(3)
        )
    return found


def _three(name: str, given: Any) -> tuple[int, int, int]:
    """The smallest, the best and the largest size of a dimension."""
    try:
        sizes = list(given) if isinstance(given, Iterable) else [given] * 3
        low, best, high = (operator.index(size) for size in sizes)
    except (TypeError, ValueError):
        low, best, high = 1, 0, 0
    if not 0 <= low <= best <= high:
        raise UsageError(
            f"the size of dimension '{name}' is {given!r}; give one size, or three: smallest, "
            "best, largest"
        )
    return low, best, high


def _check_apart(
    name: str,
    shape: ShapeLike,
    declared: Sequence[int | str],
    profiled: Mapping[str, Sequence[int]],
) -> None:
    """Refuses a dimension that is given one size by itself and another in an input."""
    three = _profile(name, shape)
    for axis, dim in enumerate(declared[: len(three[0])]):
        sizes = [part[axis] for part in three]
        if isinstance(dim, str) and dim in profiled and list(profiled[dim]) != sizes:
            raise UsageError(f"'{dim}' is given other sizes than input '{name}' has there")


def _profile(name: str, given: ShapeLike) -> Profile:
    try:
        parts = list(given)
        nested = [not isinstance(part, (int, np.integer)) for part in parts]
        if not any(nested):
            only = _shape(cast("Sequence[int]", parts))
            return only, only, only
        if not all(nested) or len(parts) != 3:
            raise TypeError
        low, best, high = (_shape(cast("Sequence[int]", part)) for part in parts)
    except TypeError:
        raise UsageError(
            f"the shape of input '{name}' is {given!r}; give one shape, or three: smallest, best, "
            "largest"
        ) from None
    if not len(low) == len(best) == len(high):
        raise UsageError(
            f"the shapes of input '{name}' have different numbers of sizes: "
            f"{written((low, best, high))}"
        )
    if any(not a <= b <= c for a, b, c in zip(low, best, high, strict=True)):
        raise UsageError(
            f"the shapes of input '{name}' are out of order: {written((low, best, high))}; each "
            "size has to grow, or stay, from the smallest to the largest"
        )
    return low, best, high


def _shape(sizes: Sequence[int]) -> StaticShape:
    numbers = tuple(map(operator.index, sizes))
    if any(number < 0 for number in numbers):
        raise TypeError
    return numbers


def check_names(given: Iterable[str], model: ModelProto, where: str) -> None:
    """Refuses shapes for inputs that the model does not have.

    Args:
        given: the names of the inputs that shapes are given for.
        model: the model.
        where: what to call it in the message.

    Raises:
        UsageError: it has no input of one of the names.
    """
    names = [value.name for value in inputs(model)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            has = ", ".join(f"'{existing}'" for existing in names) or "none"
            hint = f"did you mean '{near[0]}'?" if near else f"its inputs are: {has}"
            raise UsageError(f"{where} has no input '{name}' to have a shape; {hint}")
