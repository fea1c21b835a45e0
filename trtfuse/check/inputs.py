"""Draws inputs for a whole model: sizes that it runs at, and numbers that it can take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import TensorProto

from trtfuse.errors import UsageError, VerifyError
from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Shape, Value
from trtfuse.ir.model import Model
from trtfuse.ir.shapes import type_and_shape
from trtfuse.ir.tensor import FLOATING, Array, numpy_type

#: What a model without fixed sizes is tried at, in this order; the first that it runs at is taken.
#: Networks that halve their input a few times want multiples of 32, others a length below 64.
SIZES = (32, 64, 16, 24, 8, 12, 4, 6, 128, 160, 224, 256, 320, 384, 416, 512, 640, 1, 2, 3, 5)

#: Operators that hand on integers as they are, so that an index stays one.
_PASSING = frozenset(
    (
        "Cast",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)

Shapes = dict[str, tuple[int, ...]]


def runtime_inputs(model: Model) -> list[Value]:
    """The inputs that a caller has to give: those that no initializer backs."""
    return [value for value in model.graph.inputs if value.tensor is None]


def shapes(model: Model, batch: int, given: Mapping[str, tuple[int, ...]]) -> Iterator[Shapes]:
    """Shapes for the inputs, one set after the other, to try until the model runs.

    Args:
        model: its symbols are given the same size everywhere.
        batch: the size of a first dimension that is not fixed.
        given: shapes that are not to be drawn, by input.

    Raises:
        UsageError: a given shape is of no input, or does not fit the one the model declares.
        VerifyError: an input is no tensor, or its rank is not known.
    """
    inputs = runtime_inputs(model)
    known = {value.name for value in inputs}
    for name in given:
        if name not in known:
            raise UsageError(f"the model has no input '{name}'; it has {', '.join(sorted(known))}")
    declared = {value.name: type_and_shape(model.graph.inputs[value].type)[1] for value in inputs}
    tried: list[Shapes] = []
    for size in SIZES:
        sizes: dict[str, int] = {}
        found = {
            name: _fitting(name, shape, declared[name], sizes) for name, shape in given.items()
        }
        for name, dims in declared.items():
            if name in found:
                continue
            if dims is None:
                raise VerifyError(f"the shape of input '{name}' is not known; give it yourself")
            found[name] = tuple(
                dim
                if isinstance(dim, int)
                else sizes.setdefault(dim or f"{name}.{axis}", batch if axis == 0 else size)
                for axis, dim in enumerate(dims)
            )
        if found not in tried:
            tried.append(found)
            yield found


def _fitting(
    name: str,
    given: tuple[int, ...],
    declared: Shape | None,
    sizes: dict[str, int],
) -> tuple[int, ...]:
    if declared is not None:
        fits = len(given) == len(declared) and all(
            size >= 0 and (not isinstance(dim, int) or dim == size)
            for size, dim in zip(given, declared, strict=True)
        )
        if not fits:
            shown = ["?" if dim is None else dim for dim in declared]
            raise UsageError(f"input '{name}' has shape {shown}, which {list(given)} does not fit")
        symbols = zip(declared, given, strict=True)
        sizes.update({dim: size for dim, size in symbols if isinstance(dim, str)})
    return given


def index_limits(model: Model) -> dict[str, int]:
    """For each integer input that indexes a table, directly or handed on, the size of the table."""
    limits: dict[str, int] = {}
    for start in runtime_inputs(model):
        pending, seen = [start], {start}
        while pending:
            value = pending.pop()
            for node in value.uses:
                if node.op in ("Gather", "GatherElements") and node.input(1) is value:
                    data = node.inputs[0]
                    table = constant(data)
                    shape = table.shape if table is not None else data.shape if data else None
                    if shape:
                        rows = shape[node.attribute("axis", 0)]
                        if isinstance(rows, int):
                            limits[start.name] = min(rows, limits.get(start.name, rows))
                elif node.op in _PASSING:
                    handed = [v for v in node.outputs if v is not None and v not in seen]
                    seen.update(handed)
                    pending.extend(handed)
    return limits


def draw(
    model: Model, sizes: Shapes, kind: str, limits: Mapping[str, int], rng: np.random.Generator
) -> dict[str, Array]:
    """Numbers for the inputs.

    Args:
        model: what they are for.
        sizes: their shapes.
        kind: "normal"; "wide", from tiny to large, with zeros among them; or "zero".
        limits: what integers stay below, 2 where an input is not listed.
        rng: where they come from.

    Raises:
        VerifyError: an input is of a type that cannot be drawn.
    """
    feeds: dict[str, Array] = {}
    for value in runtime_inputs(model):
        element_type, _ = type_and_shape(model.graph.inputs[value].type)
        shape = sizes[value.name]
        if element_type in FLOATING:
            feeds[value.name] = numbers(shape, kind, rng).astype(numpy_type(element_type))
        elif element_type == TensorProto.STRING:
            feeds[value.name] = np.full(shape, "a", object)
        elif element_type is not None and numpy_type(element_type).kind in "iub":
            limit = limits.get(value.name, 2) if kind != "zero" else 1
            feeds[value.name] = rng.integers(0, max(1, limit), shape).astype(
                numpy_type(element_type)
            )
        else:
            raise VerifyError(f"input '{value.name}' is of a type that cannot be drawn")
    return feeds


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
