"""Sizes of inputs that a caller fixes, by input or by symbol: what `shapes` and `--shapes` give."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeGuard

from onnx import ValueInfoProto

from trtfuse.analysis.shapes import type_and_shape
from trtfuse.analysis.wording import shown
from trtfuse.errors import UsageError
from trtfuse.ir.graph import Dimension, Shape
from trtfuse.model.model import Model

#: `{"x": (1, 3, 640, 640)}` is the shape of an input, `{"batch": 1}` the size of a symbol.
ShapesLike: TypeAlias = "Mapping[str, int | Sequence[int]]"
#: The same, read; None for a size that stays as it is.
Fixed = Mapping[str, "int | tuple[int | None, ...]"]


def read_shapes(shapes: ShapesLike | None) -> Fixed:
    """Sizes as plain numbers.

    Raises:
        UsageError: something is no size, or no shape.
    """
    return {name: _read(name, given) for name, given in (shapes or {}).items()}


def _read(name: str, given: int | Sequence[int]) -> int | tuple[int, ...]:
    try:
        if isinstance(given, str):
            raise TypeError
        sizes = tuple(map(operator.index, given if isinstance(given, Iterable) else (given,)))
        if any(size < 0 for size in sizes):
            raise TypeError
    except TypeError:
        raise UsageError(
            f"'{name}' is given {given!r}; an input takes a shape like (1, 3, 640, 640), a symbol "
            "a size like 1"
        ) from None
    return sizes if isinstance(given, Iterable) else sizes[0]


def fixed_shapes(declared: Mapping[str, Shape | None], fixed: Fixed) -> dict[str, Shape | None]:
    """The shapes of inputs once some sizes are fixed; a symbol has the same size everywhere.

    Args:
        declared: the shapes of the inputs; None where not even the rank is known.
        fixed: what is given.

    Raises:
        UsageError: a name is neither an input nor a symbol, a shape does not fit what the model
            declares, or a symbol would have two sizes.
    """
    symbols: dict[str, int] = {}
    known = {dim for shape in declared.values() for dim in shape or () if _is_symbol(dim)}
    for name, given in fixed.items():
        if isinstance(given, int):
            if name not in known:
                raise UsageError(_no_symbol(name, given, declared, known))
            _settle(symbols, name, given)
            continue
        if name not in declared:
            raise UsageError(_no_input(name, declared))
        shape = declared[name]
        if shape is None:
            continue
        if len(shape) != len(given) or any(
            size is not None and (size < 0 or (isinstance(dim, int) and dim != size))
            for dim, size in zip(shape, given, strict=True)
        ):
            raise UsageError(
                f"input '{name}' has shape {shown(shape)}, which {list(given)} does not fit"
            )
        for dim, size in zip(shape, given, strict=True):
            if _is_symbol(dim) and size is not None:
                _settle(symbols, dim, size)
    shapes: dict[str, Shape | None] = {}
    for name, shape in declared.items():
        own = fixed.get(name)
        if isinstance(own, tuple):
            sized = shape or (None,) * len(own)
            shape = tuple(d if s is None else s for d, s in zip(sized, own, strict=True))
        shapes[name] = shape and tuple(_sized(dim, symbols) for dim in shape)
    return shapes


def sizes_of_symbols(
    declared: Mapping[str, Shape | None], shapes: Mapping[str, Shape | None]
) -> dict[str, int]:
    """The sizes that the symbols of declared shapes have in fixed ones."""
    return {
        dim: size
        for name, shape in declared.items()
        for dim, size in zip(shape or (), shapes[name] or (), strict=False)
        if _is_symbol(dim) and isinstance(size, int)
    }


def fix_shapes(model: Model, fixed: Fixed) -> bool:
    """Fixes sizes of the inputs of a model. `Model.fixed` then says which symbols have which.

    Returns:
        Whether any size was open.

    Raises:
        UsageError: as `fixed_shapes`.
    """
    declared = declared_shapes(model)
    shapes = fixed_shapes(declared, fixed)
    changed = False
    for value, info in model.graph.inputs.items():
        if value.name not in declared:
            continue
        name, shape = value.name, shapes[value.name]
        if shape == declared[name] or shape is None:
            continue
        if not info.type.HasField("tensor_type"):
            raise UsageError(f"input '{name}' is not a tensor: it has no shape to fix")
        copy = ValueInfoProto()
        copy.CopyFrom(info)
        state_shape(copy, shape)
        model.graph.inputs[value] = copy
        changed = True
    model.fixed |= sizes_of_symbols(declared, shapes)
    return changed


def unlike_inputs(one: Model, other: Model) -> str | None:
    """A sentence on the first input that has one size in a model and another in the other."""
    shapes = declared_shapes(other)
    for name, first in declared_shapes(one).items():
        second = shapes.get(name)
        if first is None or second is None:
            continue
        sizes = zip(first, second, strict=False)
        apart = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes)
        if apart or len(first) != len(second):
            return f"input '{name}' is {shown(first)} in one model and {shown(second)} in the other"
    return None


def agree_on_sizes(one: Model, other: Model) -> None:
    """Fixes the sizes that one of two models leaves open and the other does not, in both.

    Raises:
        UsageError: for a symbol of one, the other has several sizes.
    """
    for model, by in ((one, declared_shapes(other)), (other, declared_shapes(one))):
        fixed: dict[str, tuple[int | None, ...]] = {}
        for name, shape in declared_shapes(model).items():
            sizes = by.get(name)
            if sizes is None or (shape is not None and len(shape) != len(sizes)):
                continue
            fixed[name] = tuple(
                size if isinstance(size, int) and not isinstance(dim, int) else None
                for dim, size in zip(shape or (None,) * len(sizes), sizes, strict=True)
            )
        try:
            fix_shapes(model, fixed)
        except UsageError as error:
            raise UsageError(f"the models do not have the same inputs: {error}") from None


def declared_shapes(model: Model) -> dict[str, Shape | None]:
    """The shapes of the inputs that a caller has to give; None where not even a rank is known."""
    inputs = model.graph.inputs.items()
    return {v.name: type_and_shape(info.type)[1] for v, info in inputs if v.tensor is None}


def is_static(shape: Shape | None) -> bool:
    """Whether a shape leaves no size open."""
    return shape is not None and all(isinstance(size, int) for size in shape)


def state_shape(info: ValueInfoProto, shape: Shape) -> None:
    """Declares the shape of a tensor."""
    tensor = info.type.tensor_type
    tensor.ClearField("shape")
    tensor.shape.SetInParent()
    for dim in shape:
        if isinstance(dim, int):
            tensor.shape.dim.add(dim_value=dim)
        else:
            tensor.shape.dim.add(dim_param=dim or "")


def _is_symbol(dim: Dimension) -> TypeGuard[str]:
    """Whether a dimension has a name; some exporters call every open one `?`."""
    return isinstance(dim, str) and dim != "?"


def _sized(dim: Dimension, symbols: Mapping[str, int]) -> Dimension:
    return symbols.get(dim, dim) if isinstance(dim, str) else dim


def _settle(symbols: dict[str, int], symbol: str, size: int) -> None:
    if symbols.setdefault(symbol, size) != size:
        raise UsageError(
            f"'{symbol}' is given two sizes, {symbols[symbol]} and {size}; a symbol has one"
        )


def _no_input(name: str, declared: Mapping[str, Shape | None]) -> str:
    near = difflib.get_close_matches(name, declared, 1)
    if near:
        return f"the model has no input '{name}'; did you mean '{near[0]}'?"
    return f"the model has no input '{name}'; it has {', '.join(sorted(declared)) or 'none'}"


def _no_symbol(
    name: str, given: int, declared: Mapping[str, Shape | None], known: Iterable[str]
) -> str:
    if name in declared:
        return f"'{name}' is an input and takes a shape, like {name}:1x3x224x224, not {given}"
    if not known:
        return f"no input has a dimension '{name}': none has a name"
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known))}"
    return f"no input has a dimension '{name}'; {hint}"
