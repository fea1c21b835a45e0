"""Draws inputs for a whole model: sizes that it runs at, and numbers that it can take."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from trtfuse.analysis.shapes import type_and_shape, without_claims, without_weights
from trtfuse.check.asked import asked_sizes, multiples, with_shapes
from trtfuse.check.draw import all_readers, choices, extents_of
from trtfuse.errors import VerifyError
from trtfuse.ir.graph import Dimension, Shape, Value
from trtfuse.ir.tensor import FLOATING, Array, numpy_type
from trtfuse.model.fixed import declared_shapes, fixed_shapes
from trtfuse.model.model import Model

#: What a model is tried at whose sizes are open, in this order; the first it runs at is taken.
#: Networks that halve their input a few times want multiples of 32, others a length below 64.
SIZES = (32, 64, 16, 24, 8, 12, 4, 6, 128, 160, 224, 256, 320, 384, 416, 512, 640, 1, 2, 3, 5)

#: What the rank of an input is taken to be where it is not declared, one after the other.
RANKS = (4, 3, 2, 1, 0, 5)
#: Open sizes are chosen so that the inputs have at most so many elements together, or four times
#: what they have by their fixed sizes.
MOST_DRAWN = 1 << 22
#: No open size is chosen that makes more elements than this, unless the fixed sizes alone do: then
#: it is 2 at most, for the batch. Sizes that are all fixed are taken as they are.
MOST_ELEMENTS = 1 << 26
#: For so many seconds sizes are sorted out by inference before they are run.
_PATIENCE = 5.0

Shapes = dict[str, tuple[int, ...]]


def runtime_inputs(model: Model) -> list[Value]:
    """The inputs that a caller has to give: those that no initializer backs."""
    return [value for value in model.graph.inputs if value.tensor is None]


def shapes(model: Model, batch: int, given: Mapping[str, tuple[int, ...]]) -> Iterator[Shapes]:
    """Shapes for the inputs, one set after the other: see `Search`."""
    return Search(model, given).shapes(batch)


class Search:
    """Looks for shapes that a model runs at.

    Sizes that the graph asks for are taken as they are. The others are first the same everywhere,
    then vary one by one. Shapes that inference finds fault with come last.

    Args:
        model: its symbols are given the same size everywhere.
        given: shapes that are not to be drawn, by input.

    Raises:
        UsageError: a given shape is of no input, or does not fit the one the model declares.
        VerifyError: an input is not a tensor.
    """

    def __init__(self, model: Model, given: Mapping[str, tuple[int, ...]]) -> None:
        self.model = model
        self.given = given
        inputs = {value.name: model.graph.inputs[value].type for value in runtime_inputs(model)}
        for name, declared in inputs.items():
            if not declared.HasField("tensor_type"):
                kind = str(declared.WhichOneof("value") or "").removesuffix("_type")
                what = f"is a {kind}, not a tensor" if kind else "has no type"
                raise VerifyError(f"input '{name}' {what}: no values can be drawn for it")
        self._declared = fixed_shapes(declared_shapes(model), given)
        self._asked_by_rank: dict[int, tuple[Mapping[str, Dimension], Mapping[str, int]]] = {}
        self._deadline: float | None = None

    def shapes(self, batch: int) -> Iterator[Shapes]:
        """Shapes for the inputs, one set after the other, to try until the model runs.

        Args:
            batch: the size of a first dimension that is not fixed, as long as it may be.
        """
        declared = list(self._declared.values())
        ranks = RANKS if None in declared else (0,)
        is_fixed = all(isinstance(size, int) for shape in declared for size in shape or (None,))
        least = sum(
            math.prod(size for size in shape or () if isinstance(size, int)) for shape in declared
        )
        most = max(MOST_DRAWN, min(4 * least, max(MOST_ELEMENTS, 2 * least)))
        # One of each rank before a second of any.
        rounds = itertools.zip_longest(*(self._of_rank(rank, batch) for rank in ranks))
        seen: set[tuple[tuple[int, ...], ...]] = set()
        unlikely: list[Shapes] = []
        for candidate in itertools.chain.from_iterable(rounds):
            if candidate is None or (key := tuple(candidate.values())) in seen:
                continue
            seen.add(key)
            # What is fixed is not ours to choose.
            if not is_fixed and sum(map(math.prod, key)) > most:
                continue
            if is_fixed or self._is_likely(candidate):
                yield candidate
            else:
                unlikely.append(candidate)
        yield from unlikely

    def _of_rank(self, rank: int, batch: int) -> Iterator[Shapes]:
        """Shapes in which inputs of unknown rank have this one."""
        named: dict[str, Shape] = {
            name: tuple(
                f"{name}.{axis}" if dim is None else dim
                for axis, dim in enumerate((None,) * rank if shape is None else shape)
            )
            for name, shape in self._declared.items()
        }
        axes: dict[Dimension, int] = {}
        for shape in named.values():
            for axis, dim in enumerate(shape):
                axes.setdefault(dim, axis)
        first = {dim for dim, axis in axes.items() if axis == 0}
        asked, steps = self._asked(rank, tuple(named.items()))
        goes_by: dict[Dimension, Dimension] = {
            dim: asked.get(dim, dim) if isinstance(dim, str) else dim for dim in axes
        }
        free = list(dict.fromkeys(dim for dim in goes_by.values() if isinstance(dim, str)))
        batches = {goes_by[dim] for dim in first} - {goes_by[dim] for dim in axes.keys() - first}

        def at(sizes: Mapping[str, int], known: Mapping[Dimension, Dimension]) -> Shapes:
            return {
                name: tuple(
                    int(end) if isinstance(end := known.get(dim, dim), int) else sizes[str(end)]
                    for dim in shape
                )
                for name, shape in named.items()
            }

        def even(size: int, symbol: str) -> int:
            step = steps.get(symbol, 1)
            return batch if symbol in batches and step == 1 else -(-size // step) * step

        for size in SIZES:
            yield at({symbol: even(size, symbol) for symbol in free}, goes_by)
        for size in SIZES:
            yield at(dict.fromkeys(free, size), goes_by)
        for symbol in free:
            for base, size in itertools.product((32, 4), SIZES):
                yield at({other: even(base, other) for other in free} | {symbol: size}, goes_by)
        # Where an operator broadcasts, it may take sizes other than the one it asks for.
        open_ = dict.fromkeys(dim for dim in goes_by if isinstance(dim, str))
        for size in SIZES:
            yield at({dim: batch if dim in first else size for dim in open_}, {})

    def _asked(
        self, rank: int, named: tuple[tuple[str, Shape], ...]
    ) -> tuple[Mapping[str, Dimension], Mapping[str, int]]:
        """What symbols go by, and the numbers that they have to be multiples of.

        Args:
            rank: that of the inputs of unknown rank.
            named: the shapes of inputs by name, with a symbol for every open dimension.
        """
        if not any(isinstance(dim, str) for _, shape in named for dim in shape):
            return {}, {}
        if rank not in self._asked_by_rank:
            declared = dict(named)
            asked = asked_sizes(self.model, declared)
            filled: dict[str, Shape] = {
                name: tuple(asked.get(d, d) if isinstance(d, str) else d for d in shape)
                for name, shape in named
            }
            self._asked_by_rank[rank] = asked, multiples(self.model, filled)
        return self._asked_by_rank[rank]

    @functools.cached_property
    def _lean(self) -> ModelProto:
        lean = without_weights(self.model)
        without_claims(lean)
        return lean

    def _is_likely(self, candidate: Shapes) -> bool:
        """Whether inference finds nothing wrong with some shapes, nor anything too large."""
        now = time.monotonic()
        self._deadline = self._deadline or now + _PATIENCE
        if now > self._deadline:
            return True
        try:
            inferred = onnx.shape_inference.infer_shapes(
                with_shapes(self._lean, candidate), strict_mode=True, data_prop=True
            )
        except (RuntimeError, ValueError, onnx.shape_inference.InferenceError):
            return False
        sizes = (type_and_shape(info.type)[1] for info in inferred.graph.value_info)
        return all(
            math.prod(size for size in shape if isinstance(size, int)) <= MOST_ELEMENTS
            for shape in sizes
            if shape is not None
        )


def drawn(
    model: Model,
    sizes: Shapes,
    kind: str,
    rng: np.random.Generator,
    given: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[dict[str, Array]]:
    """Numbers for the inputs, one set after the other, to try until the model runs.

    Integers that say what a node does fit what they are read with (`trtfuse.check.draw`), others
    are 0 or 1. An operand of an open size may get another one than was asked for.

    Args:
        model: what they are for.
        sizes: their shapes.
        kind: "normal"; "wide", from tiny to large, with zeros among them; or "zero".
        rng: where they come from.
        given: the inputs whose shapes may not be others.

    Raises:
        VerifyError: an input is of a type that cannot be drawn, or there is no memory for it.
    """
    inputs = runtime_inputs(model)
    extents = extents_of({value: sizes[value.name] for value in inputs})
    offered: dict[str, list[Array]] = {}
    for value in inputs:
        name, shape = value.name, sizes[value.name]
        element_type, _ = type_and_shape(model.graph.inputs[value].type)
        if element_type == TensorProto.STRING:
            offered[name] = [np.full(shape, "a", object)]
            continue
        floating = element_type in FLOATING
        if element_type is None or not (floating or numpy_type(element_type).kind in "iub"):
            raise VerifyError(f"input '{name}' is of a type that cannot be drawn")
        exact, zero = name in (given or ()), kind == "zero"
        try:
            offered[name] = choices(
                value, shape, extents, all_readers, rng, below=2, zero=zero, exact=exact
            ) or [numbers(shape, kind, rng).astype(numpy_type(element_type))]
        except MemoryError:
            what = f"input '{name}' of shape {list(shape)}"
            raise VerifyError(f"there is no memory for {what}") from None
    for attempt in range(max(map(len, offered.values()), default=1)):
        yield {name: listed[min(attempt, len(listed) - 1)] for name, listed in offered.items()}


def numbers(shape: tuple[int, ...], kind: str, rng: np.random.Generator) -> Array:
    """Float64: normal ones; "wide", tiny to large with zeros among them; "positive"; or "zero"."""
    if kind == "zero":
        return np.zeros(shape)
    normal = rng.standard_normal(shape)
    if kind == "normal":
        return normal
    if kind == "positive":
        return np.abs(normal) + 0.1
    return np.where(rng.random(shape) < 0.2, 0.0, normal * 10.0 ** rng.integers(-3, 3, shape))
