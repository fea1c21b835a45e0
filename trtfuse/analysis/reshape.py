"""What the target of a Reshape says: the one place that knows what 0 and -1 in it mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trtfuse.analysis.products import Size
from trtfuse.ir.graph import Node


class Target(NamedTuple):
    """What a Reshape is told to make.

    Attributes:
        sizes: those of the result, copied ones in their place; None for one that is not known, and
            for the one that is to be what the others leave.
        rest: the axis of that one, where the target has -1; None if there is none.
        runs: whether every size that is to be copied is there.
    """

    sizes: tuple[Size, ...]
    rest: int | None
    runs: bool

    @property
    def written(self) -> tuple[Size, ...]:
        """The sizes, with -1 for the one that is what the others leave."""
        return tuple(-1 if axis == self.rest else size for axis, size in enumerate(self.sizes))


def copies(reshape: Node) -> bool:
    """Whether 0 in the target copies the size of that axis, rather than being a size itself."""
    return bool(reshape.attribute("allowzero") != 1)


def target(reshape: Node, listed: Sequence[Size], own: Sequence[Size] | None) -> Target:
    """Reads the target of a Reshape.

    Args:
        reshape: the node.
        listed: the numbers of the target, None for those that are not known.
        own: the sizes of what is reshaped; None where not even their number is known.
    """
    copied = copies(reshape)
    sizes: list[Size] = []
    rest, runs = None, True
    for axis, size in enumerate(listed):
        if size == -1:
            rest = axis
            sizes.append(None)
        elif size != 0 or not copied:
            sizes.append(size)
        elif own is None or axis < len(own):
            sizes.append(None if own is None else own[axis])
        else:
            runs = False
            sizes.append(None)
    return Target(tuple(sizes), rest, runs)
