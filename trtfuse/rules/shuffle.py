"""Shuffle and Shuffle (F6): chains of movement operators become as few as do the same."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.reshape import copies
from trtfuse.analysis.sizes import sizes, sizes_of
from trtfuse.analysis.wording import rank_not_known
from trtfuse.ir.graph import Value
from trtfuse.layers.limits import RANK, SIZE
from trtfuse.layers.shuffle import Shuffle, squeezes_nothing_or_all
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import CLEANUP, F6
from trtfuse.rewrite.pattern import Match, any_of, given, op, rest, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


def _can_be_shorter(chain: Shuffle) -> bool:
    steps = chain.steps()
    return steps is not None and len(steps) < len(chain.nodes)


@guard(helps="nothing: TensorRT takes the chain as it is, and no tensor of more dimensions")
def no_more_dimensions(m: Match) -> str | None:
    """Nothing in between has more dimensions than TensorRT takes, unless the chain had as many."""
    chain: Shuffle = m["chain"]
    highest = max((len(step.after) for step in chain.steps() or ()), default=0)
    # What the chain has in between takes inference to tell.
    if highest <= RANK.most or highest <= chain.highest_rank:
        return None
    return (
        f"the shorter chain has {highest} dimensions in between, "
        f"and TensorRT takes {RANK.most} at most"
    )


@guard(helps="nothing: TensorRT takes the chain as it is, and no axis that long")
def no_longer_axis(m: Match) -> str | None:
    """No axis in between has more elements than TensorRT takes in one."""
    chain: Shuffle = m["chain"]
    between = (size for step in (chain.steps() or ())[:-1] for size in step.sizes)
    longest = max((size for size in between if isinstance(size, int)), default=0)
    if longest <= SIZE.most:
        return None
    return f"an axis in between would have {longest:,} elements, and TensorRT takes {SIZE.most:,}"


@guard(helps=STATIC_SHAPES)
def as_good_without_elements(m: Match) -> str | None:
    """It adds no -1 beside a size that may be 0: what the -1 stands for would not follow then."""
    chain: Shuffle = m["chain"]
    asked = [constant(node.input(1)) for node in chain.nodes if node.op == "Reshape"]
    had = any(tensor is not None and {0, -1} <= set(tensor.integers()) for tensor in asked)
    if had or not any(step.needs_elements for step in chain.steps() or ()):
        return None
    return f"`{chain.x.name}` may have no elements, and then its sizes would not follow"


@rule(
    "shuffle-shuffle",
    seen_as(Shuffle, "chain", var("x"), where=_can_be_shorter),
    no_more_dimensions(),
    no_longer_axis(),
    as_good_without_elements(),
    equation=Equation(
        "reshape(transpose(reshape(x)))", "reshape(transpose(x)), transpose(x), reshape(x) or x"
    ),
    takes="chains of up to eight of Transpose, Reshape, Flatten, Squeeze and Unsqueeze, axes "
    "and shapes as attributes or as inputs, 0 and -1 in Reshape, dynamic dimensions; a chain "
    "whose inner values others read is taken up to there.",
    entry=F6,
)
def shuffle_shuffle(m: Match, new: Replacement) -> Value:
    """A chain of Transpose, Reshape, Flatten, Squeeze and Unsqueeze is at most reshape, transpose,
    reshape. It becomes the fewest of them that move every element to the same place, for every size
    of the dynamic dimensions; a chain that moves nothing goes.
    """
    chain: Shuffle = m["chain"]
    steps = chain.steps()
    assert steps is not None
    return chain.rebuilt(new, steps)


def _says_its_target(m: Match) -> bool:
    return m.root.op != "Reshape" or constant(m.root.input(1)) is not None


def _directly(m: Match) -> list[int] | str:
    """The target of a Reshape from `x` to the shape of the result, or why there is none."""
    x, y, root = m["x"], m["y"], m.root
    own, between = sizes_of(x) or (), sizes_of(y) or ()
    listed = constant(root.input(1)) if root.op == "Reshape" else None
    if listed is not None:
        wanted = listed.integers()
    else:
        between = sizes_of(root.output) or ()
        wanted = [size if isinstance(size, int) else 0 for size in between]
        if root.output.rank is None:
            return rank_not_known(root.output)
        if squeezes_nothing_or_all(root):
            return f"the axes of {root.label} are empty, which some runtimes read as all"
    target = []
    for axis, size in enumerate(wanted):
        copied = between[axis] if axis < len(between) else None
        if size or not copies(root):
            target.append(size)
        elif isinstance(copied, int) and copied:
            target.append(copied)
        elif copied is not None and own[axis : axis + 1] == (copied,):
            target.append(0)
        elif -1 not in target and all(other > 0 for other in (*target, *wanted[axis + 1 :])):
            target.append(-1)
        else:
            of = y if listed is not None else root.output
            return f"size {axis} of `{of.name}` is not fixed, and `{x.name}` does not have it there"
    return target


@guard(helps=STATIC_SHAPES)
def no_size_from_in_between(m: Match) -> str | None:
    """The last shape follows from `x` and from fixed sizes, whatever the first one is."""
    reason = _directly(m)
    return reason if isinstance(reason, str) else None


_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_first = any_of(*(op[operator](var("x"), rest("first"), out="y") for operator in _RESHAPES))


@rule(
    "reshape-reshape",
    given(
        any_of(*(op[operator](_first, rest("last")) for operator in _RESHAPES)), _says_its_target
    ),
    no_size_from_in_between(),
    equation=Equation("reshape(reshape(x, a), b)", "reshape(x, b)"),
    takes="Reshape, Flatten, Squeeze and Unsqueeze in any order; in the target of the last one "
    "-1, and 0 where it copies a size that is fixed or that the tensor has in the same place.",
    entry=F6,
)
def reshape_reshape(m: Match, new: Replacement) -> Value:
    """Of two in a row the last one says the shape, also where the sizes of the first one split none
    of its own, as in 3x4 to 2x6 to 12x1, and where they are computed at run time.
    """
    target = _directly(m)
    assert isinstance(target, list)
    name = f"{m.root.label}.shape"
    shape = new.constant(np.array(target, np.int64), TensorProto.INT64, name)
    kept = {} if copies(m.root) or 0 not in target else {"allowzero": 1}
    return new.Reshape(m["x"], shape, like=m.root, **kept)


def _is_computed(m: Match) -> bool:
    """The target is computed at run time, and it is known how many sizes it has."""
    return constant(m["target"]) is None and copies(m.root) and _target(m) is not None


def _target(m: Match) -> list[int] | None:
    """The entries of a target; None if it is not known how many there are.

    An entry is a size that is fixed, 0 where the size is that of `x`, or -1 where it may be any.
    """
    target, own = sizes(m["target"]), sizes_of(m["x"]) or ()
    if target is None:
        return None
    result = m.root.output.shape or ()
    entries = []
    for axis, size in enumerate(target):
        fixed = result[axis] if axis < len(result) else None
        if isinstance(size, int):
            entries.append(size)
        elif isinstance(fixed, int) and fixed > 0:
            entries.append(fixed)
        else:
            entries.append(0 if size is not None and own[axis : axis + 1] == (size,) else -1)
    return entries


@guard(helps=STATIC_SHAPES)
def one_size_at_most_is_open(m: Match) -> str | None:
    """All sizes of the target but one are fixed, or those of what is reshaped."""
    target = _target(m)
    assert target is not None
    if target.count(-1) <= 1:
        return None
    return f"{target.count(-1)} sizes of the target `{m['target'].name}` are computed at run time"


@guard(helps=STATIC_SHAPES)
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
    equation=Equation("reshape(x, concat(shape(x)[0], c, -1))", "reshape(x, (0, c, -1))"),
    takes="targets made by Shape and all that fixed-shape follows, of the tensor itself or of "
    "another with the same symbols, also where several dimensions are one in between.",
    entry=CLEANUP.part("constant folding"),
)
def reshape_target(m: Match, new: Replacement) -> Value:
    """A target that exporters compute becomes a constant where it says the same for every size: 0
    copies a dimension, and -1 is what the others leave.
    """
    target = np.array(_target(m), np.int64)
    name = f"{m.root.label}.shape"
    return new.Reshape(m["x"], new.constant(target, TensorProto.INT64, name), like=m.root)
