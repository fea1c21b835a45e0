"""The sizes that an engine is built for: fixed, or smallest, best and largest."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from onnx import ModelProto

from trtfuse.engine.backend import Backend
from trtfuse.engine.parse import dims, inputs
from trtfuse.errors import EngineError, UsageError

Shape = tuple[int, ...]
#: The smallest shape, the one to be fastest at, and the largest.
Profile = tuple[Shape, Shape, Shape]
#: What `build` takes for the shape of an input: one, or three as in a profile.
ShapeLike = Sequence[int] | Sequence[Sequence[int]]


def profiles(shapes: Mapping[str, ShapeLike] | None) -> dict[str, Profile]:
    """The shapes of inputs by name, each as smallest, best and largest.

    Raises:
        UsageError: something is no shape, or the three are not in order.
    """
    return {name: _profile(name, given) for name, given in (shapes or {}).items()}


def _profile(name: str, given: ShapeLike) -> Profile:
    try:
        parts = list(given)
        nested = [not isinstance(each, (int, np.integer)) for each in parts]
        if not any(nested):
            only = _shape(cast("Sequence[int]", parts))
            return only, only, only
        if not all(nested) or len(parts) != 3:
            raise TypeError
        low, best, high = (_shape(cast("Sequence[int]", each)) for each in parts)
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


def _shape(sizes: Sequence[int]) -> Shape:
    numbers = tuple(map(operator.index, sizes))
    if any(number < 0 for number in numbers):
        raise TypeError
    return numbers


def written(shape: Profile | Iterable[int | str]) -> str:
    """A shape as the command line takes it: `1x3x8x8`, or three with `..` between them."""
    parts = tuple(shape)
    if any(isinstance(part, tuple) for part in parts):
        three = [written(cast("Shape", part)) for part in parts]
        return three[0] if len(set(three)) == 1 else "..".join(three)
    return "x".join(str(size) for size in parts)


def check_names(given: Iterable[str], model: ModelProto, where: str) -> None:
    """Fails if a shape is for no input of the model.

    Raises:
        UsageError: that is so.
    """
    names = [value.name for value in inputs(model)]
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            has = ", ".join(f"'{each}'" for each in names) or "none"
            hint = f"did you mean '{near[0]}'?" if near else f"its inputs are: {has}"
            raise UsageError(f"{where} has no input '{name}' to have a shape; {hint}")


def set_shapes(
    backend: Backend,
    builder: Any,
    network: Any,
    config: Any,
    model: ModelProto,
    given: Mapping[str, Profile],
    where: str,
) -> None:
    """Fixes the inputs of a network that have one shape, and makes a profile of the others.

    An input that is itself a shape (one that Reshape reads, say) has values in place of sizes.

    Raises:
        EngineError: the shape of an input varies, and none is given.
        UsageError: a given shape does not fit its input.
    """
    declared = {value.name: dims(value) or [] for value in inputs(model)}
    missing = []
    profile: Any = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        name, sizes = tensor.name, declared.get(tensor.name, [])
        three = given.get(name)
        varies = any(isinstance(size, str) for size in sizes)
        if three is None:
            if tensor.is_shape_tensor:
                missing.append(f"'{name}' (the values of a shape)")
            elif varies:
                missing.append(f"'{name}' [{', '.join(map(str, sizes))}]")
            continue
        if tensor.is_shape_tensor:
            count = int(np.prod(tuple(tensor.shape), dtype=np.int64))
            if any(len(each) != count for each in three):
                raise UsageError(
                    f"input '{name}' of {where} is itself a shape of {count} values; "
                    f"'{written(three)}' has {len(three[0])}"
                )
        else:
            _check_fit(name, three, sizes, where)
            if three[0] == three[2]:
                if varies:
                    tensor.shape = three[0]
                continue
        profile = profile or builder.create_optimization_profile()
        (profile.set_shape_input if tensor.is_shape_tensor else profile.set_shape)(name, *three)
    if missing:
        name = missing[0].split("'")[1]
        which = f"inputs {', '.join(missing)}" if len(missing) > 1 else f"input {missing[0]}"
        raise EngineError(
            f"{where} leaves sizes open: {which}; say what to build for with --shapes "
            f"{name}:SIZES or shapes={{'{name}': ...}}, one shape or smallest, best and largest"
        )
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise UsageError(f"{backend.title} does not take the shapes of {where} as a profile")


def _check_fit(name: str, three: Profile, sizes: list[int | str], where: str) -> None:
    has = f"input '{name}' of {where} is [{', '.join(map(str, sizes))}]"
    if len(three[0]) != len(sizes):
        raise UsageError(f"{has}, with {len(sizes)} sizes; {len(three[0])} were given")
    for axis, size in enumerate(sizes):
        if isinstance(size, int) and any(each[axis] != size for each in three):
            raise UsageError(f"{has}, with {size} at axis {axis}; {written(three)} does not fit")
