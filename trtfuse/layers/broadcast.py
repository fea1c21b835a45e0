"""Where the sizes come from that operands broadcast to."""

from __future__ import annotations

from collections.abc import Sequence

from trtfuse.analysis.products import Dim, Size, equal
from trtfuse.analysis.sizes import Sizes, sizes, sizes_of
from trtfuse.ir.graph import Value


def larger_than(target: Sizes, operands: Sequence[Value]) -> str | None:
    """Why a shape may be larger than the one operands broadcast to; None if it certainly is not.

    A shape that is no larger makes no difference to an operator that broadcasts the operands, and
    neither does broadcasting one of them to that shape first.

    Args:
        target: the shape, as sizes.
        operands: values that broadcast to one shape.
    """
    listed = [sizes_of(operand) for operand in operands]
    known = [shape for shape in listed if shape is not None]
    rank = max(map(len, known), default=0)
    names = " and ".join(f"`{operand.name}`" for operand in operands)
    verb = "broadcasts" if len(operands) == 1 else "broadcast"
    for back, size in enumerate(reversed(target), start=1):
        if size == 1 and back <= rank:
            continue
        if not any(len(shape) >= back and equal(shape[-back], size) for shape in known):
            axis = len(target) - back
            return f"size {_shown(size)} of axis {axis} may be larger than what {names} {verb} to"
    return None


def expands_beyond(target: Value, operands: Sequence[Value]) -> str | None:
    """Why an Expand to a shape may make more than what operands broadcast to; None if it does not.

    Args:
        target: what the Expand reads as its shape.
        operands: as in `larger_than`.
    """
    shape = target.producer
    if shape is not None and shape.op == "Shape" and shape.inputs[0] in operands:
        whole = not shape.attribute("start") and shape.attribute("end") is None
        if whole:
            return None
    wanted = sizes(target)
    if wanted is None:
        return f"`{target.name}` is a shape that is not known before run time"
    return larger_than(wanted, operands)


def _shown(size: Size) -> str:
    if isinstance(size, Dim):
        return f"{size.axis} of `{size.of.name}`"
    return "?" if size is None else f"{size}"
