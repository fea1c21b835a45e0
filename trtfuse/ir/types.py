"""Which element types hold every number of which others."""

from __future__ import annotations

from functools import lru_cache

import ml_dtypes
import numpy as np
from onnx import TensorProto

from trtfuse.ir.tensor import FLOATING, numpy_type

#: Integers of whole bytes, and bool, which is 0 and 1 to all of them.
INTEGERS = frozenset(
    (
        TensorProto.BOOL,
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
    )
)

#: The types that a Cast takes from one to the other in the same way on every runtime. What float8
#: and the types of less than a byte do with other numbers is up to attributes and runtimes.
PLAIN = FLOATING | INTEGERS


@lru_cache
def holds(wide: int, narrow: int) -> bool:
    """Whether a type has every number of another, so that a Cast to it loses nothing.

    Args:
        wide: a `TensorProto.DataType`; of types that are not `PLAIN` none holds those of others.
        narrow: the other type.
    """
    if wide == narrow:
        return True
    if wide not in PLAIN or narrow not in PLAIN or wide == TensorProto.BOOL:
        return False
    if narrow in INTEGERS:
        low, high = integer_range(narrow)
        if wide in INTEGERS:
            lowest, highest = integer_range(wide)
            return lowest <= low and high <= highest
        # Up to two to the power of its digits, a floating type has all integers.
        return bool(max(-low, high) <= 2 ** (_float(wide).nmant + 1))
    if wide in INTEGERS:
        return False
    a, b = _float(wide), _float(narrow)
    return bool(a.nmant >= b.nmant and a.maxexp >= b.maxexp and _finest(a) <= _finest(b))


def integer_range(element_type: int) -> tuple[int, int]:
    """The least and the largest number of an integer type, or of bool."""
    if element_type == TensorProto.BOOL:
        return 0, 1
    info = np.iinfo(numpy_type(element_type))
    return int(info.min), int(info.max)


def _float(element_type: int) -> ml_dtypes.finfo:
    return ml_dtypes.finfo(numpy_type(element_type))  # type: ignore[no-untyped-call]


def _finest(info: ml_dtypes.finfo) -> float:
    """The smallest positive number."""
    return float(info.smallest_subnormal)
