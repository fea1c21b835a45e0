"""Parts: what is joined, or sliced, in two steps is joined or sliced in one."""

from __future__ import annotations

from collections.abc import Iterator

from trtfuse.ir.graph import Node, Value
from trtfuse.layers.cut import Cut, Limits
from trtfuse.layers.epilogue import is_fed_by_convolution
from trtfuse.layers.guards import serves_the_engine
from trtfuse.layers.ways import PARTS_AT_THE_END, Way
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import CLEANUP
from trtfuse.rewrite.pattern import Match, Pattern, any_of, const, given, op, rest, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule

#: A Concat of more is left as it is: in a long chain of them each would list all before it.
_MOST_JOINED = 256
#: A Split into more parts is not followed.
_MOST_PARTS = 8


def _axis(node: Node) -> int:
    """The axis of a Concat or Split, from 0 up where the rank is known."""
    axis = int(node.attribute("axis", 0))
    rank = node.output.rank
    return axis % rank if rank else axis


def _is_joined_further(m: Match) -> bool:
    """All that reads the Concat is a Concat along the same axis."""
    inner: Node = m.root
    if inner.output.shared or not inner.output.uses or len(inner.inputs) > _MOST_JOINED:
        return False
    (reader,) = inner.output.uses
    return reader.op == "Concat" and _axis(reader) == _axis(inner)


def _joins_joined(m: Match) -> bool:
    parts = m["parts"]
    return any("inner" in part for part in parts) and len(list(_joined(m))) <= _MOST_JOINED


def _joined(m: Match) -> Iterator[Value]:
    for part in m["parts"]:
        yield from part["inner"] if "inner" in part else (part["part"],)


@rule(
    "concat-concat",
    given(
        op.Concat(
            rest(
                "parts",
                given(op.Concat(rest("inner")), _is_joined_further) | var("part"),
            )
        ),
        _joins_joined,
    ),
    equation=Equation("concat(concat(a, b), c)", "concat(a, b, c)"),
    takes="Concat of Concats along the same axis, each read by that one alone; up to 256 parts.",
    entry=CLEANUP.part("Concat of Concat"),
)
def concat_concat(m: Match, new: Replacement) -> Value:
    """What is joined along one axis in two steps is joined in one."""
    return new.again(m.root, *_joined(m))


def _place(m: Match) -> int:
    return m.tensor("index").integers()[0]


@rule(
    "sequence-at",
    given(
        op.SequenceAt(op.SequenceConstruct(rest("parts"), out="sequence"), const("index")),
        lambda m: -len(m["parts"]) <= _place(m) < len(m["parts"]),
    ),
    equation=Equation("at(sequence(a, b, c), 1)", "b"),
    takes="SequenceAt of SequenceConstruct with a constant place in it, also counted from its "
    "end; the sequence may have other readers.",
    entry=CLEANUP,
    shared=("sequence",),
    since=11,
)
def sequence_at(m: Match, _: Replacement) -> Value:
    """What is taken out of a sequence is what was put there. TensorRT takes neither operator."""
    part: Value = m["parts"][_place(m)]
    return part


def _split(count: int) -> Pattern:
    """All parts of a Split, joined in their order."""
    split = op.Split(var("x"), rest("sizes"), out="first")
    return given(op.Concat(*(split[index] for index in range(count))), _is_whole)


def _is_whole(m: Match) -> bool:
    split: Node = m["first"].producer
    return len(split.outputs) == len(m.root.inputs) and _axis(split) == _axis(m.root)


def _is_copied_whole(m: Match) -> Way | None:
    """What TensorRT does of a convolution that becomes an output of the model."""
    ends = m.root.output.outputs and is_fed_by_convolution(m["x"])
    return PARTS_AT_THE_END if ends else None


@rule(
    "split-concat",
    any_of(*(_split(count) for count in range(2, _MOST_PARTS + 1))),
    serves_the_engine(_is_copied_whole),
    equation=Equation("concat(split(x))", "x"),
    takes="Split into up to eight parts and Concat along the same axis; those of a convolution "
    'that are an output of the model stay, unless the objective is "graph".',
    entry=CLEANUP.part("Concat of Split"),
)
def split_concat(m: Match, _: Replacement) -> Value:
    """All parts of a Split, joined again as they were, are what was split."""
    x: Value = m["x"]
    return x


def _together(m: Match) -> dict[int, Limits | None]:
    """The limits of both Slices together, by axis; None where no single Slice has them."""
    outer: Cut = m["outer"]
    inner: Cut = m["inner"]
    by_axis: dict[int, Limits | None] = {**inner.limits, **outer.limits}
    shape = inner.x.shape or ()
    for axis in inner.limits.keys() & outer.limits.keys():
        size = shape[axis] if axis < len(shape) else None
        by_axis[axis] = inner.limits[axis].then(outer.limits[axis], size)
    return by_axis


@guard(helps=f"{STATIC_SHAPES}, and slice forwards")
def one_slice_does_both(m: Match) -> str | None:
    """One Slice takes what both take, whatever the size of the axis is."""
    outer: Cut = m["outer"]
    inner: Cut = m["inner"]
    for axis, limits in sorted(_together(m).items()):
        if limits is None:
            first, second = inner.limits[axis], outer.limits[axis]
            return (
                f"size {axis} of `{inner.x.name}` is open, and no single Slice takes "
                f"[{':'.join(map(str, first))}] and then [{':'.join(map(str, second))}] there"
            )
    for axis in sorted(inner.limits.keys() & outer.limits.keys()):
        if min(inner.limits[axis].step, outer.limits[axis].step) < 0:
            # ONNX Runtime takes the largest end of a backward Slice for the beginning.
            return f"size {axis} of `{inner.x.name}` is sliced backwards, where runtimes differ"
    return None


@rule(
    "slice-slice",
    seen_as(Cut, "outer", seen_as(Cut, "inner", var("x"))),
    one_slice_does_both(),
    equation=Equation("x[a:b][:, c:d]", "x[a:b, c:d]"),
    takes="Slice with constant starts, ends, axes and steps, as attributes or inputs.",
    entry=CLEANUP.part("Slice of Slice"),
)
def slice_slice(m: Match, new: Replacement) -> Value:
    """A Slice takes several axes at once. Two along the same axis are one where its size is fixed,
    or where both count from its beginning.
    """
    outer: Cut = m["outer"]
    by_axis = {axis: limits for axis, limits in _together(m).items() if limits is not None}
    return outer.rebuilt(new, m["x"], by_axis)
