"""What tensors of sizes hold: the arithmetic that exporters put in front of a Reshape or Slice.

They take the shape of a tensor apart with Shape, Gather and Slice, and put new ones together with
Concat, even if most sizes are fixed. The graph alone tells which of the numbers are fixed, and
which are the size of a dimension or a product of such sizes. Some exporters compute sizes in
floating point; they are followed as long as the numbers are exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from onnx import TensorProto, numpy_helper

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import (
    Dim,
    Size,
    at_least,
    equal,
    is_never_negative,
    is_whole,
    number_of,
    product,
    quotient,
    total,
)
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Array, numpy_type

Sizes = tuple[Size, ...]

#: An end of at least this much is the end of whatever is sliced. Going backwards to it, ONNX
#: Runtime takes everything up to the beginning, and the specification nothing.
LARGEST_END = 2**31 - 1

#: Operators whose results `sizes` follows, besides Split.
FOLLOWED = (
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Floor",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Round",
    "Shape",
    "Size",
    "Slice",
    "Squeeze",
    "Sub",
    "Tile",
    "Unsqueeze",
    "Where",
)

#: The types of sizes.
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
#: How many bits of an integer a floating-point type holds, by type.
_PRECISION: dict[int, int] = {
    TensorProto.FLOAT16: 11,
    TensorProto.FLOAT: 24,
    TensorProto.DOUBLE: 53,
}
#: The largest power of 2 that each type holds: as a factor of a size, and as its divisor.
_LARGEST_POWERS: dict[int, tuple[int, int]] = {
    TensorProto.FLOAT16: (15, 14),
    TensorProto.FLOAT: (63, 63),
    TensorProto.DOUBLE: (63, 63),
}
#: float32 holds a dimension of up to 65,536 times a number of this many bits exactly.
_BITS_OF_NUMBER = 8
#: No shape has more sizes, and no exporter takes more values to compute one.
_MOST_SIZES = 64
_MOST_VALUES = 96

#: The values visited so far, and what each of them holds.
_Seen = dict[Value, Sizes | None]


def sizes(value: Value | None) -> Sizes | None:
    """What a scalar or vector of sizes holds; None if not even their number is known.

    Booleans are 0 or 1. Of floating-point numbers, at least one is known if any are returned.
    """
    return _sizes(value, {})


def _sizes(value: Value | None, seen: _Seen) -> Sizes | None:
    """The same as `sizes`; keeps in `seen` what was visited, so that no value is visited twice."""
    if value is None or value.type not in _LIMITED or value.rank not in (0, 1):
        return None
    if value in seen:
        return seen[value]
    tensor = constant(value)
    if tensor is not None:
        fits = tensor.size <= _MOST_SIZES
        return _held(_numbers(tensor.array()), value) if fits else None
    entries = None
    if value.producer is not None and len(seen) < _MOST_VALUES:
        seen[value] = None
        entries = _computed(value.producer, value, seen)
    if entries is None and value.type in INTEGERS:
        (count,) = value.shape or (1,)
        entries = (None,) * count if isinstance(count, int) and count <= _MOST_SIZES else None
    seen[value] = None if entries is None else _held(entries, value)
    return seen[value]


def _numbers(array: Array) -> Sizes:
    """The numbers of an array, in one row; None for one that is infinite or NaN."""
    listed = array.reshape(-1).tolist()
    return tuple(_whole(Fraction(number)) if math.isfinite(number) else None for number in listed)


def _whole(number: Fraction) -> Size:
    return int(number) if number.denominator == 1 else number


def _held(entries: Sizes, value: Value) -> Sizes | None:
    """Computed entries as the type of a value holds them: None for one that it would change.

    None instead of all if there are too many, or if they are no integers and not one is known.
    """
    assert value.type is not None
    if len(entries) > _MOST_SIZES:
        return None
    holds = _LIMITED[value.type]
    held = tuple(size if size is not None and holds(size, value.type) else None for size in entries)
    return held if value.type in INTEGERS or any(size is not None for size in held) else None


def _holds_integer(size: Size, element_type: int) -> bool:
    number = number_of(size)
    limits = np.iinfo(numpy_type(element_type))
    return isinstance(number, int) and bool(limits.min <= number <= limits.max)


def _holds_truth(size: Size, _: int) -> bool:
    return size in (0, 1)


def _holds_exactly(size: Size, element_type: int) -> bool:
    """Whether a floating-point type holds a size exactly, whatever the dimension is."""
    number = Fraction(number_of(size) or 0)
    bits, (largest, smallest) = _PRECISION[element_type], _LARGEST_POWERS[element_type]
    numerator, power = abs(number.numerator), number.denominator.bit_length() - 1
    if number.denominator != 1 << power or power > smallest or numerator >> largest > 1:
        return False
    odd = numerator // (numerator & -numerator or 1)
    if isinstance(size, (int, Fraction)):
        return odd.bit_length() <= bits
    # A dimension may well be larger than what float16 holds, and a product of two than float32.
    single = product(size, quotient(1, number)) if number else None
    return (
        bits > _PRECISION[TensorProto.FLOAT16]
        and odd.bit_length() <= _BITS_OF_NUMBER
        and (isinstance(single, (str, Dim)) or element_type == TensorProto.DOUBLE)
    )


#: Whether a type holds a size, for all types that sizes are followed through.
_LIMITED: dict[int, Callable[[Size, int], bool]] = {
    TensorProto.BOOL: _holds_truth,
    **dict.fromkeys(INTEGERS, _holds_integer),
    **dict.fromkeys(_PRECISION, _holds_exactly),
}


def _computed(node: Node, value: Value, seen: _Seen) -> Sizes | None:
    """What a node makes of the sizes that it reads: the entries of `value`, one of its outputs."""
    match node.op:
        case "Shape":
            return _shape(node)
        case "Size":
            counted = sizes_of(node.inputs[0])
            return None if counted is None else (product(*counted),)
        case "Identity" | "Squeeze" | "Unsqueeze" | "Reshape":
            # The same numbers: only the shape of the result tells a vector from a scalar.
            return _sizes(node.inputs[0], seen)
        case "Concat":
            return _joined(node, seen)
        case "Split":
            return _part(node, value, seen)
        case "Gather" | "Slice":
            return _picked(node, _sizes(node.inputs[0], seen))
        case "ConstantOfShape" | "Expand" | "Tile":
            return _repeated(node, seen)
        case "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSum":
            return _reduced(node, seen)
    if node.op not in _CALCULATED:
        return None
    rows = []
    for operand in node.inputs:
        row = _sizes(operand, seen)
        if not row:
            return None
        rows.append(row)
    count = max(map(len, rows), default=0)
    if not {len(row) for row in rows} <= {1, count}:
        return None
    columns = zip(*(row * (count // len(row)) for row in rows), strict=True)
    return tuple(_CALCULATED[node.op](node, *column) for column in columns)


def sizes_of(value: Value | None) -> Sizes | None:
    """The sizes of the dimensions of a value; None where its rank is not known."""
    if value is None or value.shape is None:
        return None
    return tuple(
        Dim(value, i) if size is None else product(size) for i, size in enumerate(value.shape)
    )


def _shape(node: Node) -> Sizes | None:
    own = sizes_of(node.inputs[0])
    return None if own is None else own[node.attribute("start") : node.attribute("end")]


def _joined(node: Node, seen: _Seen) -> Sizes | None:
    listed: Sizes = ()
    for operand in node.inputs:
        part = _sizes(operand, seen)
        if part is None or len(listed) > _MOST_SIZES:
            return None
        listed += part
    return listed


def _part(node: Node, value: Value, seen: _Seen) -> Sizes | None:
    """What a Split gives one of its outputs."""
    data = _sizes(node.inputs[0], seen)
    first = 0
    for output in node.outputs:
        (count,) = (output.shape if output is not None else None) or (None,)
        if data is None or not isinstance(count, int):
            return None
        if output is value:
            return data[first : first + count]
        first += count
    return None


def _picked(node: Node, data: Sizes | None) -> Sizes | None:
    """What a Gather or Slice with constant operands takes from a vector."""
    operands = [constant(value) for value in node.inputs[1:] if value is not None]
    if data is None or None in operands or node.inputs[0] is None or node.inputs[0].rank != 1:
        return None
    if node.op == "Gather":
        assert operands[0] is not None
        index = operands[0].array()
        if index.ndim > 1 or (
            index.size and not -len(data) <= index.min() <= index.max() < len(data)
        ):
            return None
        return tuple(data[int(i)] for i in index.reshape(-1))
    if len(node.inputs) > 1:
        limits = [None if operand is None else operand.array().reshape(-1) for operand in operands]
    else:
        limits = [np.array(node.attribute(name, ())) for name in ("starts", "ends")]
    if any(limit is None or limit.size != 1 for limit in limits):
        # It slices along no axis.
        return None
    first, last, *_ = (int(limit[0]) for limit in limits if limit is not None)
    step = constant(node.input(4))
    along = 1 if step is None else int(step.array().reshape(-1)[0])
    if along < 0 and last >= LARGEST_END:
        return None
    # Going backwards from before the beginning, ONNX takes the first entry, Python none.
    return data[max(first, -len(data)) : last : along] if along else None


def _repeated(node: Node, seen: _Seen) -> Sizes | None:
    """What a ConstantOfShape, Expand or Tile makes of one number, or of a vector."""
    if node.op == "ConstantOfShape":
        counts, tensor = _sizes(node.inputs[0], seen), node.attribute("value")
        one: Sizes | None = _numbers(numpy_helper.to_array(tensor)) if tensor else (0,)
    else:
        counts, one = _sizes(node.input(1), seen), _sizes(node.inputs[0], seen)
    count = product(*counts) if counts is not None and len(counts) <= 1 else None
    if not one or not isinstance(count, int) or not 0 <= count <= _MOST_SIZES:
        return None
    if node.op == "Expand" and len(one) > 1:
        return one if count in (1, len(one)) else None
    return one * count


def _reduced(node: Node, seen: _Seen) -> Sizes | None:
    """What a vector is reduced to."""
    listed, axes = _sizes(node.inputs[0], seen), constant(node.input(1))
    if not listed or None in listed or (node.input(1) is not None and axes is None):
        return None
    if node.attribute("noop_with_empty_axes"):
        return None
    if node.op == "ReduceProd":
        return (product(*listed),)
    if node.op == "ReduceSum":
        return (functools.reduce(total, listed),)
    return (_extreme(node, *listed),)


def _divided(node: Node, a: Size, b: Size) -> Size:
    exact = quotient(a, b)
    if node.output.type in _PRECISION or is_whole(exact):
        return exact
    # Some runtimes round a negative quotient towards 0, others down.
    fixed = isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0
    return a // b if fixed else None  # type: ignore[operator]


def _remainder(node: Node, a: Size, b: Size) -> Size:
    if node.output.type not in INTEGERS:
        return None
    if is_whole(quotient(a, b)):
        return 0
    return a % b if isinstance(a, int) and isinstance(b, int) and a >= 0 and b > 0 else None


def _rounded(node: Node, size: Size) -> Size:
    if is_whole(size):
        return size
    return _ROUNDING[node.op](size) if isinstance(size, Fraction) else None


def _cast(node: Node, size: Size) -> Size:
    if node.output.type == TensorProto.BOOL:
        return int(size != 0) if isinstance(size, (int, Fraction)) else None
    return _rounded(node, size) if node.output.type in INTEGERS else size


def _absolute(_: Node, size: Size) -> Size:
    return size if is_never_negative(size) else product(size, -1)


def _is_equal(_: Node, a: Size, b: Size) -> Size:
    same = equal(a, b)
    return None if same is None else int(same)


def _chosen(_: Node, condition: Size, a: Size, b: Size) -> Size:
    if equal(a, b):
        return a
    return None if condition is None else a if condition else b


def _extreme(node: Node, *listed: Size) -> Size:
    """The largest or the smallest of some sizes."""
    largest = node.op in ("Max", "ReduceMax")
    chosen = listed[0]
    for size in listed[1:]:
        chosen = _larger(chosen, size, largest)
    return chosen


def _larger(a: Size, b: Size, larger: bool) -> Size:
    for x, y in ((a, b), (b, a)):
        if at_least(x, y):
            return x if larger else y
    return None


_ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "Cast": math.trunc,
    "Ceil": math.ceil,
    "Floor": math.floor,
    # Halves go to the even neighbour, in ONNX as in Python.
    "Round": round,
}

#: What an operator makes of one number of each operand.
_CALCULATED: dict[str, Callable[..., Size]] = {
    "Abs": _absolute,
    "Add": lambda _, a, b: total(a, b),
    "Cast": _cast,
    "Ceil": _rounded,
    "Div": _divided,
    "Equal": _is_equal,
    "Floor": _rounded,
    "Max": _extreme,
    "Min": _extreme,
    "Mod": _remainder,
    "Mul": lambda _, a, b: product(a, b),
    "Neg": lambda _, size: product(size, -1),
    "Round": _rounded,
    "Sub": lambda _, a, b: total(a, product(b, -1)),
    "Where": _chosen,
}
