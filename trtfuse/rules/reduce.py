"""Reduce: after a shuffle (F5), as pooling (F9), the norms and logarithms of sums (F10 to F14)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.sizes import Sizes, sizes_of
from trtfuse.analysis.wording import rank_not_known, shown
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Tensor
from trtfuse.layers.epilogue import (
    feeds_product,
    is_fed_by_convolution,
    is_pointwise_kernel,
    reads_space,
)
from trtfuse.layers.guards import serves_the_engine
from trtfuse.layers.limits import WINDOWS
from trtfuse.layers.reduce import Reduce, Reduction
from trtfuse.layers.ways import (
    FLOAT16_NORM,
    GUARDED_LOG_SUM_EXP,
    LONG_REDUCTION,
    MEAN_BESIDE_REDUCTION,
    MEAN_IN_A_POINTWISE_KERNEL,
    MEAN_IN_ITS_COPY,
    MEAN_WITHOUT_CONVOLUTION,
    QUANTIZED_REDUCTION,
    REDUCTION_IN_STAGES,
    REDUCTION_LOSES_ITS_LAYOUT,
    SMALL_MEAN,
    TRANSPOSED_REDUCTION,
    TRANSPOSED_VOLUME,
    Way,
)
from trtfuse.rewrite.condition import STATIC_SHAPES
from trtfuse.rewrite.entries import CLEANUP, F5, F9, F10, F11, F12, F13, F14
from trtfuse.rewrite.guards import floating, why_not_floating
from trtfuse.rewrite.pattern import Match, Pattern, any_of, const, given, op, rest, seen_as, var
from trtfuse.rewrite.replacement import Replacement
from trtfuse.rewrite.rule import Equation, guard, rule


def reduced_by(operator: str, name: str, of: Pattern) -> Pattern:
    """A reduction by one operator over constant axes."""
    return seen_as(Reduce, name, of, where=_is(operator))


def _is(operator: str) -> Callable[[Reduce], bool]:
    return lambda reduce: reduce.node.op == operator


def _is_two(tensor: Tensor) -> bool:
    return tensor.size == 1 and bool(np.all(tensor.exact() == 2))


def _keeps_rank(m: Match) -> bool:
    """The exponent has no more dimensions than what it is the exponent of."""
    return "two" not in m or len(m.tensor("two").shape) <= (m["x"].rank or 0)


def _over_space(m: Match) -> bool:
    """The reduced axes are those of a plane or a volume, all but the first two of four or five."""
    return _goes_over_space(m["mean"])


def _goes_over_space(reduce: Reduce) -> bool:
    rank = reduce.x.rank
    return rank in (4, 5) and reduce.over(rank) == tuple(range(2, rank))


@guard(helps="take the mean with keepdims=1 and reshape behind it")
def keeps_dimensions(m: Match, reduce: str) -> str | None:
    """The reduced axes stay, with size 1, as in a pooling."""
    seen: Reduce = m[reduce]
    return None if seen.keepdims else f"{seen.node.label} drops the axes that it reduces"


#: The dimensions of an image.
_PLANAR = 4

#: AveragePool takes bfloat16 from this opset on.
_BFLOAT16_POOLS = 22


@guard(helps="keep the mean in float32 or float16")
def pooled_type(m: Match, name: str) -> str | None:
    """There is an AveragePool of this type."""
    value: Value = m[name]
    opset = m.root.opset
    if value.type == TensorProto.BFLOAT16 and opset < _BFLOAT16_POOLS:
        return (
            f"`{value.name}` is bfloat16, which AveragePool takes from opset {_BFLOAT16_POOLS} on, "
            f"and the model imports opset {opset}"
        )
    if value.type == TensorProto.DOUBLE:
        return f"`{value.name}` is float64, and ONNX Runtime has no AveragePool of that"
    return why_not_floating(value)


@guard(helps=STATIC_SHAPES)
def static_plane(m: Match, name: str) -> str | None:
    """The sizes of the spatial axes are fixed and not 0, and there are channels."""
    value: Value = m[name]
    channels, plane = (value.shape or ())[1:2], (value.shape or ())[2:]
    if channels == (0,):
        return f"`{value.name}` has no channels, and ONNX Runtime pools nothing of them"
    if plane and all(isinstance(size, int) and size > 0 for size in plane):
        return None
    return f"the spatial size {shown(plane)} of `{value.name}` is not fixed"


@guard(helps="nothing: TensorRT takes the mean as it is, and no pooling that large")
def buildable_window(m: Match, name: str) -> str | None:
    """TensorRT builds a pooling with a window as large as the plane."""
    plane = m[name].shape[2:]
    size, limit = math.prod(plane), WINDOWS.get(len(plane))
    most = 0 if limit is None else limit.most
    if size <= most:
        return None
    return f"the plane {list(plane)} has {size:,} elements, and a pooling takes at most {most:,}"


def _mean_is_free(m: Match) -> Way | None:
    """What TensorRT does that makes a mean cheaper than a pooling where it stands."""
    x: Value = m["x"]
    shape = x.shape or ()
    # Of a batch or channel count that is open, no more than 1 is certain.
    size = math.prod(dimension for dimension in shape if isinstance(dimension, int))
    if not is_fed_by_convolution(x) or len(shape) > _PLANAR:
        return MEAN_WITHOUT_CONVOLUTION
    if any(reads_space(node) for node in x.uses if node is not m.root):
        return MEAN_BESIDE_REDUCTION
    if is_pointwise_kernel(x):
        gates = [node for node in x.uses if node.op == "Mul"]
        if not gates or not all(_stays_in_layout(gate, m.root.output) for gate in gates):
            return MEAN_IN_A_POINTWISE_KERNEL
    return MEAN_IN_ITS_COPY if size <= SMALL_MEAN else None


def _stays_in_layout(gate: Node, mean: Value) -> bool:
    """Whether a plane times what is made of its mean goes on in the layout of a convolution."""
    product = gate.output
    sums = [node for node in product.uses if node.op == "Add"]
    added = [value for node in sums for value in node.inputs if value is not product]
    if added:
        return all(value is not None and is_fed_by_convolution(value) for value in added)
    return feeds_product(mean) or feeds_product(product)


def _whole_plane(m: Match, new: Replacement) -> Value:
    return new.AveragePool(m["x"], kernel_shape=list(m["x"].shape[2:]), like=m.root)


def _permutation(m: Match) -> tuple[int, ...]:
    """The permutation of the transposition; reversed where it has none."""
    perm = m["y"].producer.attribute("perm")
    return tuple(perm) if perm else tuple(reversed(range(m["x"].rank)))


def _rank_is_known(m: Match) -> bool:
    perm = m["y"].producer.attribute("perm")
    return bool(perm) or (perm is None and m["x"].rank is not None)


def _is_large(x: Value) -> bool:
    """Whether it comes from a convolution, and a reduction of it copies it to another layout."""
    sizes = [size for size in x.shape or () if isinstance(size, int)]
    small = len(sizes) == x.rank and math.prod(sizes) <= SMALL_MEAN
    return is_fed_by_convolution(x) and not small


def _are_last(axes: tuple[int, ...], rank: int) -> bool:
    return axes == tuple(range(rank - len(axes), rank))


def _gains_by_the_transposition(m: Match) -> Way | None:
    """What TensorRT does of the transposition that makes it cheaper to reduce after it."""
    reduce: Reduce = m["reduce"]
    x: Value = m["x"]
    rank = len(_permutation(m))
    after = reduce.over(rank)
    if _are_last(after, rank) and not _are_last(_axes_before(m), rank):
        return REDUCTION_LOSES_ITS_LAYOUT
    if x.producer is not None and x.producer.op == "DequantizeLinear":
        return QUANTIZED_REDUCTION
    if rank > _PLANAR and reduce.keepdims:
        return TRANSPOSED_VOLUME
    return TRANSPOSED_REDUCTION if _is_large(x) else None


def _axes_before(m: Match) -> tuple[int, ...]:
    """The axes of x that the reduction goes over."""
    permutation = _permutation(m)
    return tuple(sorted(permutation[axis] for axis in m["reduce"].over(len(permutation))))


@rule(
    "shuffle-reduce",
    given(seen_as(Reduce, "reduce", op.Transpose(var("x"), out="y")), _rank_is_known),
    serves_the_engine(_gains_by_the_transposition),
    equation=Equation("reduce(transpose(x), axes)", "transpose(reduce(x, permuted axes))"),
    takes="a Transpose before any of the ten Reduce operators, over one axis, several or all, "
    "with keepdims or without. Where the transposition brings them to the end, and behind a "
    'convolution, both stay a group, spelled-shuffle-reduce, unless the objective is "graph".',
    entry=F5,
    since=1,
)
def shuffle_reduce(m: Match, new: Replacement) -> Value:
    """The reduction goes over the axes that the permutation brought to its own. A transposition of
    the smaller result remains where the order of its axes demands it.
    """
    reduce: Reduce = m["reduce"]
    permutation = _permutation(m)
    after = reduce.over(len(permutation))
    before = _axes_before(m)
    result = reduce.rebuilt(new, reduce.node.op, m["x"], before)
    if reduce.keepdims:
        # Where an axis of size 1 comes from does not matter.
        kept = [(i, source) for i, source in enumerate(permutation) if i not in after]
        in_place = after == before and all(i == source for i, source in kept)
        return result if in_place else new.Transpose(result, perm=list(permutation))
    kept_sources = [source for i, source in enumerate(permutation) if i not in after]
    if kept_sources == sorted(kept_sources):
        return result
    return new.Transpose(result, perm=[sorted(kept_sources).index(s) for s in kept_sources])


#: The reduction that two in a row are equal to, by the second and the first.
_MERGED = {
    **{
        (operator, operator): operator
        for operator in (
            "ReduceSum",
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSumExp",
        )
    },
    ("ReduceSum", "ReduceL1"): "ReduceL1",
    ("ReduceSum", "ReduceSumSquare"): "ReduceSumSquare",
}
#: Those whose order does not matter for integers either: sums and products wrap around.
_OF_INTEGERS = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")


def _merged_operator(m: Match) -> str | None:
    return _MERGED.get((m["outer"].node.op, m["inner"].node.op))


def _merges(m: Match) -> bool:
    return _merged_operator(m) is not None


def _known_rank(m: Match) -> int | None:
    """The rank of x, or any that is large enough where the axes count from the front."""
    rank: int | None = m["x"].rank
    reductions: tuple[Reduce, ...] = (m["inner"], m["outer"])
    last = [max(r.axes) for r in reductions if r.axes and min(r.axes) >= 0]
    return sum(last) + 2 if rank is None and len(last) == 2 else rank


def _merged_axes(m: Match) -> tuple[set[int], set[int]]:
    """The axes of x that the first and the second reduction go over."""
    inner: Reduce = m["inner"]
    outer: Reduce = m["outer"]
    rank = _known_rank(m)
    assert rank is not None
    first = inner.over(rank)
    left = [axis for axis in range(rank) if inner.keepdims or axis not in first]
    return set(first), {left[axis] for axis in outer.over(len(left))}


@guard(helps=STATIC_SHAPES)
def axes_of_the_same_tensor(m: Match) -> str | None:
    """The axes of both reductions can be expressed as axes of what the first one reduces."""
    return None if _known_rank(m) is not None else rank_not_known(m["x"])


@guard(helps="give both reductions the same keepdims")
def same_dimensions_kept(m: Match) -> str | None:
    """All reduced axes are kept, or all are dropped."""
    inner: Reduce = m["inner"]
    outer: Reduce = m["outer"]
    first, second = _merged_axes(m)
    if inner.keepdims == outer.keepdims or (inner.keepdims and first <= second):
        return None
    keeps, drops = (inner, outer) if inner.keepdims else (outer, inner)
    return f"{keeps.node.label} keeps axes that it reduces, and {drops.node.label} drops its own"


@guard(helps="nothing: the order of the reductions matters here")
def regroups(m: Match) -> str | None:
    """In this type, the result does not depend on which reduction comes first."""
    return None if m["outer"].node.op in _OF_INTEGERS else why_not_floating(m["x"])


def _is_better_in_two(m: Match) -> Way | None:
    """What TensorRT does where the axes of both reductions are not the last ones, or long."""
    rank = m["x"].rank
    first, second = _merged_axes(m)
    if rank is None or not _are_last(tuple(sorted(first | second)), rank):
        return REDUCTION_LOSES_ITS_LAYOUT
    shape = m["x"].shape or ()
    # Of an open size nothing more is certain than one.
    reduced = math.prod(
        size for axis, size in enumerate(shape) if axis in first | second and isinstance(size, int)
    )
    if reduced >= LONG_REDUCTION:
        return REDUCTION_IN_STAGES
    return TRANSPOSED_REDUCTION if rank - 1 not in first and _is_large(m["x"]) else None


@rule(
    "reduce-reduce",
    given(seen_as(Reduce, "outer", seen_as(Reduce, "inner", var("x"), out="y")), _merges),
    regroups(),
    axes_of_the_same_tensor(),
    same_dimensions_kept(),
    serves_the_engine(_is_better_in_two),
    equation=Equation("reduce(reduce(x, a), b)", "reduce(x, a and b)"),
    takes="axes as attribute or input, of either sign, all of them where none are listed, with "
    "keepdims the same in both or where no axis is kept.",
    entry=CLEANUP.part("Reduce of Reduce"),
    since=1,
)
def reduce_reduce(m: Match, new: Replacement) -> Value:
    """Two sums in a row are one, and so are two means, maxima, minima, products, L1 norms, L2 norms
    or log-sum-exps, a sum of L1 norms, and a sum of sums of squares.
    """
    outer: Reduce = m["outer"]
    operator = _merged_operator(m)
    assert operator is not None
    first, second = _merged_axes(m)
    return outer.rebuilt(new, operator, m["x"], tuple(sorted(first | second)))


def _drops(reduce: Reduction) -> bool:
    return not reduce.keepdims


def _keeps(reduce: Reduction) -> bool:
    return reduce.keepdims


def _shapes(m: Match) -> tuple[Sizes | None, Sizes | None]:
    """What shape the reduction has with its axes kept, and with its axes dropped."""
    reduce: Reduction = m["reduce"]
    own = sizes_of(reduce.x)
    if own is None:
        return None, None
    over = reduce.over(len(own))
    kept = tuple(1 if axis in over else size for axis, size in enumerate(own))
    return kept, tuple(size for axis, size in enumerate(own) if axis not in over)


@guard(helps=f"nothing, if other axes are meant; else {STATIC_SHAPES}")
def axes_are_the_reduced(m: Match) -> str | None:
    """The axes added or dropped afterwards are exactly those that the reduction goes over."""
    reduce: Reduction = m["reduce"]
    root: Node = m.root
    listed = constant(root.input(1))
    axes = root.attribute("axes") if listed is None else listed.integers()
    rank = reduce.x.rank
    if root.op in ("Squeeze", "Unsqueeze") and axes is not None and rank != 0:
        if rank is None:
            same = reduce.axes is not None and sorted(axes) == sorted(reduce.axes)
        else:
            same = tuple(sorted(axis % rank for axis in axes)) == reduce.over(rank)
        over = "all axes" if reduce.axes is None else f"axes {list(reduce.axes)}"
        return None if same else f"{reduce.node.label} goes over {over}, {root.label} {list(axes)}"
    kept, dropped = _shapes(m)
    wanted = dropped if reduce.keepdims else kept
    if wanted is not None and sizes_of(root.output) == wanted:
        return None
    return (
        f"{root.label} is not known to {'drop' if reduce.keepdims else 'restore'} exactly its axes"
    )


@guard(helps="take the mean with keepdims=1: mean-pool then looks at what stands near it")
def is_no_pooling(m: Match) -> str | None:
    """It does not become a mean that mean-pool would take, which is slower where no layer is near.

    Whether a mean over the whole plane is better as a pooling is decided where it stands.
    """
    reduce: Reduction = m["reduce"]
    plane = (reduce.x.shape or ())[2:]
    pooled = (
        reduce.node.op == "ReduceMean"
        and _goes_over_space(reduce)
        and all(isinstance(size, int) for size in plane)
    )
    return f"{reduce.node.label} is a mean over the whole plane {list(plane)}" if pooled else None


def _after(where: Callable[[Reduction], bool], *operators: str) -> Pattern:
    """What changes the dimensions that a reduction has left."""
    reduced = seen_as(Reduction, "reduce", var("x"), where=where)
    return any_of(*(op[operator](reduced, rest("listed")) for operator in operators))


@rule(
    "reduce-unsqueeze",
    _after(_drops, "Unsqueeze", "Reshape"),
    axes_are_the_reduced(),
    is_no_pooling(),
    equation=Equation("unsqueeze(reduce(x, a), a)", "reduce(x, a) with keepdims"),
    takes="the ten Reduce operators, ArgMax and ArgMin, with axes as attribute or input and of "
    "either sign; Unsqueeze, or a Reshape that does the same.",
    entry=CLEANUP.part("Reduce and Unsqueeze"),
    since=1,
)
def reduce_unsqueeze(m: Match, new: Replacement) -> Value:
    """A reduction keeps its axes by itself."""
    reduce: Reduction = m["reduce"]
    return reduce.with_dimensions(new, keepdims=True)


@rule(
    "reduce-squeeze",
    _after(_keeps, "Squeeze", "Reshape", "Flatten"),
    axes_are_the_reduced(),
    equation=Equation("squeeze(reduce(x, a) with keepdims, a)", "reduce(x, a)"),
    takes="the ten Reduce operators, ArgMax and ArgMin, with axes as attribute or input and of "
    "either sign; Squeeze, or a Reshape or Flatten that does the same.",
    entry=CLEANUP.part("Reduce and Squeeze"),
    since=1,
)
def reduce_squeeze(m: Match, new: Replacement) -> Value:
    """A reduction drops its axes by itself."""
    reduce: Reduction = m["reduce"]
    return reduce.with_dimensions(new, keepdims=False)


@rule(
    "mean-pool",
    given(reduced_by("ReduceMean", "mean", var("x")), _over_space),
    keeps_dimensions("mean"),
    static_plane("x"),
    buildable_window("x"),
    pooled_type("x"),
    serves_the_engine(_mean_is_free),
    equation=Equation("mean(x over all spatial axes)", "average_pool(x, kernel = the whole plane)"),
    takes="ReduceMean with axes as attribute or input, negative or not, of four or five "
    "dimensions.",
    entry=F9,
)
def mean_pool(m: Match, new: Replacement) -> Value:
    """An average over exactly the spatial axes that keeps its dimensions is an AveragePool, which
    TensorRT runs in the layout of the convolution before it.
    """
    return _whole_plane(m, new)


@rule(
    "global-mean-pool",
    op.GlobalAveragePool(var("x")),
    static_plane("x"),
    buildable_window("x"),
    pooled_type("x"),
    serves_the_engine(_mean_is_free),
    equation=Equation("global_average_pool(x)", "average_pool(x, kernel = the whole plane)"),
    takes="GlobalAveragePool of any number of dimensions.",
    entry=F9,
    since=1,
)
def global_mean_pool(m: Match, new: Replacement) -> Value:
    """GlobalAveragePool costs TensorRT for RTX a copy of the whole tensor to another layout; the
    AveragePool does not.
    """
    return _whole_plane(m, new)


@rule(
    "l1-norm",
    reduced_by("ReduceSum", "sum", op.Abs(var("x"))),
    floating("x"),
    equation=Equation("sum(|x|)", "l1(x)"),
    takes="Abs and ReduceSum, over any axes, with keepdims or without.",
    entry=F10,
    since=1,
)
def l1_norm(m: Match, new: Replacement) -> Value:
    """Abs and ReduceSum are ReduceL1."""
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceL1", m["x"])


@rule(
    "sum-of-squares",
    given(
        reduced_by(
            "ReduceSum",
            "sum",
            op.Mul(var("x"), var("x")) | op.Pow(var("x"), const("two", where=_is_two)),
        ),
        _keeps_rank,
    ),
    floating("x"),
    equation=Equation("sum(x * x)", "sum_square(x)"),
    takes="Mul of a value by itself, or Pow by 2, and ReduceSum, over any axes, with keepdims "
    "or without.",
    entry=F11,
    since=1,
)
def sum_of_squares(m: Match, new: Replacement) -> Value:
    """Mul(x, x) or Pow(x, 2) and ReduceSum are ReduceSumSquare."""
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceSumSquare", m["x"])


#: The dimensions of a sequence: batch, steps and channels.
_SEQUENTIAL = 3


def _widens(m: Match) -> Way | None:
    """What TensorRT does of a norm in float16, unless it is over the channels of a sequence."""
    reduce: Reduce = m["sum"]
    rank = m["x"].rank
    if m["x"].type != TensorProto.FLOAT16:
        return None
    alike = rank is not None and rank <= _SEQUENTIAL and reduce.over(rank) == (rank - 1,)
    return None if alike else FLOAT16_NORM


@rule(
    "l2-norm",
    op.Sqrt(reduced_by("ReduceSumSquare", "sum", var("x"))),
    serves_the_engine(_widens),
    equation=Equation("sqrt(sum_square(x))", "l2(x)"),
    takes="ReduceSumSquare and Sqrt; with sum-of-squares also what is spelled out. In float16 "
    "they stay a group, spelled-l2-norm, unless they are over the last axis of three dimensions "
    'at most, or the objective is "graph".',
    entry=F12,
    since=1,
)
def l2_norm(m: Match, new: Replacement) -> Value:
    """A sum of squares and Sqrt are ReduceL2. In float16 the square may overflow where the norm
    does not: that is an improvement.
    """
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceL2", m["x"])


@rule(
    "log-sum",
    op.Log(reduced_by("ReduceSum", "sum", var("x"))),
    serves_the_engine(_widens),
    equation=Equation("log(sum(x))", "log_sum(x)"),
    takes="ReduceSum and Log. In float16 they stay a group, spelled-log-sum, unless they are "
    'over the last axis of three dimensions at most, or the objective is "graph".',
    entry=F13,
    since=1,
)
def log_sum(m: Match, new: Replacement) -> Value:
    """ReduceSum and Log are ReduceLogSum."""
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceLogSum", m["x"])


def _guarded(_: Match) -> Way:
    return GUARDED_LOG_SUM_EXP


@rule(
    "log-sum-exp",
    reduced_by("ReduceLogSum", "sum", op.Exp(var("x"))),
    serves_the_engine(_guarded),
    equation=Equation("log_sum(exp(x))", "log_sum_exp(x)"),
    takes="Exp, ReduceSum and Log, in two steps: log-sum takes the last two. TensorRT for RTX "
    "runs the spelled-out form in fewer kernels, so it stays a group, spelled-log-sum-exp, "
    'unless the objective is "graph".',
    entry=F14,
    since=1,
)
def log_sum_exp(m: Match, new: Replacement) -> Value:
    """Exp, ReduceSum and Log are ReduceLogSumExp, which does not overflow where Exp does."""
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceLogSumExp", m["x"])


def _maximum_is_added_back(m: Match) -> bool:
    """What is added is what was subtracted: the maximum over the same axes, which stay."""
    reduce: Reduce = m["sum"]
    maximum: Reduce = m["max"]
    rank = m["x"].rank
    same = reduce.axes == maximum.axes if rank is None else reduce.over(rank) == maximum.over(rank)
    return same and reduce.keepdims and maximum.keepdims and m["added"] is maximum.node.output


_below_maximum = op.Sub(var("x"), reduced_by("ReduceMax", "max", var("x")), out="below")


@rule(
    "log-sum-exp-max",
    given(
        op.Add(
            reduced_by("ReduceLogSumExp", "sum", _below_maximum)
            | reduced_by("ReduceLogSum", "sum", op.Exp(_below_maximum))
            | op.Log(reduced_by("ReduceSum", "sum", op.Exp(_below_maximum))),
            var("added"),
            commutes=True,
        ),
        _maximum_is_added_back,
    ),
    floating("x"),
    equation=Equation("log_sum_exp(x - max(x)) + max(x)", "log_sum_exp(x)"),
    takes="ReduceMax, Sub, Exp, ReduceSum, Log and Add, or ReduceLogSum or ReduceLogSumExp for "
    "those in the middle, the addition in either order.",
    entry=F14,
    shared=("below", "added"),
)
def log_sum_exp_max(m: Match, new: Replacement) -> Value:
    """PyTorch and TensorFlow spell it so that Exp does not overflow: the operator sees to that by
    itself.
    """
    reduce: Reduce = m["sum"]
    return reduce.rebuilt(new, "ReduceLogSumExp", m["x"])
