"""Shuffle and Shuffle (F6): chains of movement operators become as few as do the same."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Value
from trtfuse.ir.sizes import sizes, sizes_of
from trtfuse.layers.shuffle import Shuffle
from trtfuse.rewrite.pattern import Match, given, op, seen_as, var
from trtfuse.rewrite.rule import Replacement, guard, rule


def _can_be_shorter(chain: Shuffle) -> bool:
    steps = chain.steps()
    return steps is not None and len(steps) < len(chain.nodes)


@rule("shuffle-shuffle", seen_as(Shuffle, "chain", var("x"), where=_can_be_shorter), entry="F6")
def shuffle_shuffle(m: Match, new: Replacement) -> Value:
    """reshape(transpose(reshape(x)))  ==  reshape(transpose(x)), transpose(x), reshape(x) or x

    Entry F6 (Shuffle and Shuffle): a chain of Transpose, Reshape, Flatten, Squeeze and Unsqueeze is
    at most reshape, transpose, reshape. It becomes the fewest of them that move every element to
    the same place, for every size of the dynamic dimensions; a chain that moves nothing goes.

    Takes: chains of up to eight of Transpose, Reshape, Flatten, Squeeze and Unsqueeze, axes and
    shapes as attributes or as inputs, 0 and -1 in Reshape, dynamic dimensions; a chain whose inner
    values others read is taken up to there.
    """
    chain: Shuffle = m["chain"]
    steps = chain.steps()
    assert steps is not None
    return chain.rebuilt(new, steps)


def _is_computed(m: Match) -> bool:
    """The target is computed at run time, and it is known how many sizes it has."""
    allows_zero = m.root.attribute("allowzero", 0)
    return constant(m["target"]) is None and not allows_zero and _target(m) is not None


def _target(m: Match) -> list[int] | None:
    """The sizes where they are fixed, 0 where they are those of x, -1 where they may be any."""
    target, own = sizes(m["target"]), sizes_of(m["x"]) or ()
    if target is None:
        return None
    result = m.root.output.shape or ()
    found = []
    for axis, size in enumerate(target):
        fixed = result[axis] if axis < len(result) else None
        if isinstance(size, int):
            found.append(size)
        elif isinstance(fixed, int) and fixed > 0:
            found.append(fixed)
        else:
            found.append(0 if size is not None and own[axis : axis + 1] == (size,) else -1)
    return found


@guard
def one_size_at_most_is_open(m: Match) -> str | None:
    """All sizes of the target but one are fixed, or those of what is reshaped."""
    target = _target(m)
    assert target is not None
    if target.count(-1) <= 1:
        return None
    return f"{target.count(-1)} sizes of the target `{m['target'].name}` are computed at run time"


@guard
def open_size_follows(m: Match) -> str | None:
    """What -1 stands for follows from the other sizes, also where `x` has no elements."""
    target, listed, x = _target(m), sizes(m["target"]), m["x"]
    assert target is not None
    assert listed is not None
    if -1 not in target or -1 in listed:
        return None
    for axis, own in enumerate(x.shape or ()):
        if target[axis : axis + 1] == [0] and (own == 0 or not isinstance(own, int)):
            return f"`{x.name}` may have no elements, its size {axis} being {own or 'open'}"
    return None


@rule(
    "reshape-target",
    given(op.Reshape(var("x"), var("target")), _is_computed),
    one_size_at_most_is_open(),
    open_size_follows(),
    entry="Cleanup",
)
def reshape_target(m: Match, new: Replacement) -> Value:
    """reshape(x, concat(shape(x)[0], c, -1))  ==  reshape(x, (0, c, -1))

    Entry Cleanup (constant folding): a target that exporters compute becomes a constant where it
    says the same for every size: 0 copies a dimension, and -1 is what the others leave.

    Takes: targets made by Shape and all that fixed-shape follows, of the tensor itself or of
    another with the same symbols, also where several dimensions are one in between.
    """
    target = np.array(_target(m), np.int64)
    name = f"{m.root.label}.shape"
    return new.Reshape(m["x"], new.constant(target, TensorProto.INT64, name), like=m.root)
