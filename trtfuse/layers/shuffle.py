"""A chain of movement operators seen as one TensorRT Shuffle: reshape, transpose, reshape.

Transpose, Reshape, Flatten, Squeeze and Unsqueeze only move elements. What a chain of them does is
worked out on factors of dimensions: a Transpose permutes groups of factors, the others group the
same sequence of factors anew, splitting one where a boundary falls inside it. What remains is the
order of the factors before and after, whatever the way from one to the other. A symbolic dimension
is a factor that cannot be split, and one that is a product of such, or of one and a number, can be;
at most one dimension of a shape may be unknown, and is what the others leave.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from onnx import TensorProto

from trtfuse.analysis.constants import constant
from trtfuse.analysis.products import Dim, Product, Size, dimension, is_whole, product, quotient
from trtfuse.analysis.reshape import target
from trtfuse.ir.graph import Node, Shape, Value
from trtfuse.rewrite.condition import Condition
from trtfuse.rewrite.replacement import Replacement

#: From this opset on the axes of Squeeze and Unsqueeze are an input.
AXES_AS_INPUT = 13
#: Longer chains are taken in pieces.
_LONGEST = 8

SHUFFLE = Condition(
    "shuffle",
    "The nodes are a Shuffle: they move elements and compute nothing.",
)


class SizeFactor:
    """A factor of a dimension: its size, and what it was split into."""

    __slots__ = ("parts", "size")

    def __init__(self, size: Size) -> None:
        self.size = size
        self.parts: tuple[SizeFactor, ...] = ()

    def split(self, first: Size, second: Size) -> None:
        """Splits it into two factors whose product it is."""
        self.parts = (SizeFactor(first), SizeFactor(second))

    def leaves(self) -> Iterator[SizeFactor]:
        """What it is made of in the end."""
        pending = [self]
        while pending:
            factor = pending.pop()
            if factor.parts:
                pending.extend(reversed(factor.parts))
            else:
                yield factor


#: The factors of each dimension; those of size 1 are left out.
Groups = list[list[SizeFactor]]


class UngroupableError(Exception):
    """The factors cannot be brought into the shape, as far as the shape is known."""


def _leaves(groups: Groups) -> Groups:
    return [[leaf for factor in group for leaf in factor.leaves()] for group in groups]


def _take(factors: list[SizeFactor], size: Size, *, last: bool) -> list[SizeFactor]:
    """Takes the factors of one dimension off one end of a sequence."""
    taken: list[SizeFactor] = []
    missing = size
    while missing != 1:
        if not factors:
            raise UngroupableError
        factor = factors.pop(-1 if last else 0)
        rest = quotient(missing, factor.size)
        if not is_whole(rest):
            # A boundary falls inside the factor: the near part of it is ours.
            far = quotient(factor.size, missing)
            if not is_whole(far):
                raise UngroupableError
            factor.split(*((far, missing) if last else (missing, far)))
            near, behind = factor.parts[::-1] if last else factor.parts
            factors.insert(len(factors) if last else 0, behind)
            factor, rest = near, 1
        taken.append(factor)
        missing = rest
    return taken[::-1] if last else taken


def _grouped(factors: Sequence[SizeFactor], shape: Sequence[Size]) -> Groups:
    """The factors grouped into the dimensions of a shape, of which one may be unknown."""
    remaining = list(factors)
    unknown = [axis for axis, size in enumerate(shape) if size is None]
    if len(unknown) > 1:
        raise UngroupableError
    middle = unknown[0] if unknown else len(shape)
    front = [_take(remaining, size, last=False) for size in shape[:middle]]
    back = [_take(remaining, size, last=True) for size in reversed(shape[middle + 1 :])]
    if unknown:
        return [*front, remaining, *reversed(back)]
    if remaining:
        raise UngroupableError
    return front


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A chain of movement operators.

    Attributes:
        nodes: the chain, the last node first.
        x: what is moved.
        source: the factors of the dimensions of x.
        target: the factors of the dimensions of the result.
    """

    operators: ClassVar[tuple[str, ...]] = (
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
    )
    condition: ClassVar[Condition] = SHUFFLE
    title: ClassVar[str] = "a Shuffle"
    longest: ClassVar[int] = _LONGEST

    nodes: tuple[Node, ...]
    x: Value
    source: Groups
    target: Groups

    @classmethod
    def of(cls, node: Node) -> Self | None:
        """The longest chain that ends here and that nobody else reads from in between."""
        nodes = [node]
        while len(nodes) < _LONGEST:
            x = nodes[-1].operand(0)
            above = x.producer
            if above is None or above.op not in cls.operators or x.shared:
                break
            nodes.append(above)
        x = nodes[-1].operand(0)
        while nodes:
            seen = cls._traced(tuple(nodes), x)
            if seen is not None:
                return seen
            # What cannot be followed may lie at the beginning.
            x = nodes.pop().output
        return None

    @classmethod
    def _traced(cls, nodes: tuple[Node, ...], x: Value) -> Self | None:
        permutations = [node.attribute("perm") for node in nodes if node.op == "Transpose"]
        if len(permutations) == len(nodes) and permutations[0]:
            # What only permutes does so whatever the sizes; inference would take its time.
            shape: Shape | None = (None,) * len(permutations[0])
        else:
            shape = x.shape
        if shape is None or 0 in shape:
            return None
        source: Groups = [
            [] if size == 1 else [SizeFactor(f"?{axis}" if size is None else product(size))]
            for axis, size in enumerate(shape)
        ]
        target = source
        try:
            for node in reversed(nodes):
                target = _moved(node, target)
        except UngroupableError:
            return None
        if len(permutations) < len(nodes):
            # Only what reshapes splits factors.
            source, target = _leaves(source), _leaves(target)
        return cls(nodes, x, source, target)

    @property
    def highest_rank(self) -> int:
        """The most dimensions that anything has in the chain as it stands."""
        return max(len(self.source), *(node.output.rank or 0 for node in self.nodes))

    def steps(self) -> list[Move] | None:
        """The fewest operators that do the same; None if there is no way to spell them."""
        source, target = self.source, self.target
        if source == target:
            return []
        if _flat(source) == _flat(target):
            return _spelled(Move("Reshape", source, target)) or _of_ones(source, target)
        across = _permutation(source, target)
        if across is not None:
            return [Move("Transpose", source, target)]
        # Whole dimensions of x in the order of the result, or of the result in the order of x.
        options: list[list[Move] | None] = []
        moved = _in_order_of(source, target)
        if _flat(moved) == _flat(target):
            options.append(
                _spelled(Move("Transpose", source, moved), Move("Reshape", moved, target))
            )
        moved = _in_order_of(target, source)
        if _flat(moved) == _flat(source):
            options.append(
                _spelled(Move("Reshape", source, moved), Move("Transpose", moved, target))
            )
        if options:
            spelled = [option for option in options if option is not None]
            sure = (o for o in spelled if not any(step.needs_elements for step in o))
            return next(sure, spelled[0] if spelled else None)
        blocks = _blocks(_flat(source), _flat(target))
        moved = _in_order_of(blocks, target)
        return _spelled(
            Move("Reshape", source, blocks),
            Move("Transpose", blocks, moved),
            Move("Reshape", moved, target),
        )

    def rebuilt(self, new: Replacement, steps: list[Move]) -> Value:
        """The chain in other steps."""
        value = self.x
        for step in steps:
            # The last one keeps the name of the chain's last node; names are not to repeat.
            like = self.nodes[0] if step is steps[-1] else None
            if step.operator == "Transpose":
                value = new.Transpose(value, perm=step.permutation(), like=like)
            elif step.operator == "Reshape":
                numbers = np.array(step.reshape_to(), np.int64)
                name = f"{self.nodes[0].label}.shape"
                shape = new.constant(numbers, TensorProto.INT64, name)
                value = new.Reshape(value, shape, like=like)
            else:
                value = self._with_ones(new, step, value, like)
            value.know(self.x.type, _dimensions(step.after))
        return value

    def _with_ones(self, new: Replacement, step: Move, value: Value, like: Node | None) -> Value:
        """A Squeeze or Unsqueeze."""
        axes = step.axes_of_ones()
        if new.opset < AXES_AS_INPUT:
            return new.op(step.operator, value, like=like, axes=axes)
        name = f"{self.nodes[0].label}.axes"
        listed = new.constant(np.array(axes, np.int64), TensorProto.INT64, name)
        return new.op(step.operator, value, listed, like=like)


@dataclass(frozen=True, slots=True)
class Move:
    """One Transpose, Reshape, Squeeze or Unsqueeze between two groupings of the same factors."""

    operator: str
    before: Groups
    after: Groups

    @property
    def sizes(self) -> list[Size]:
        """The sizes of what it gives."""
        return [_size(group) for group in self.after]

    @property
    def needs_elements(self) -> bool:
        """Whether it is a Reshape with -1 beside a size that may be 0."""
        return self.operator == "Reshape" and {0, -1} <= set(self.reshape_to() or ())

    def permutation(self) -> list[int]:
        """The `perm` of a Transpose."""
        perm = _permutation(self.before, self.after)
        assert perm is not None
        return perm

    def axes_of_ones(self) -> list[int]:
        """The `axes` of a Squeeze or Unsqueeze."""
        longer, shorter = self.before, self.after
        if self.operator == "Unsqueeze":
            longer, shorter = shorter, longer
        axes = _additional_ones(longer, shorter)
        assert axes is not None
        return axes

    def reshape_to(self) -> list[int] | None:
        """The target of a Reshape: 0 copies a dimension, -1 is what is left; None if not enough."""
        target = []
        for axis, (group, size) in enumerate(zip(self.after, self.sizes, strict=True)):
            if isinstance(size, int):
                target.append(size)
            elif axis < len(self.before) and self.before[axis] == group:
                target.append(0)
            else:
                target.append(-1)
        return target if target.count(-1) <= 1 else None


def _spelled(*steps: Move) -> list[Move] | None:
    """The steps, unless a Reshape among them cannot be spelled."""
    unspelled = any(s.operator == "Reshape" and s.reshape_to() is None for s in steps)
    return None if unspelled else list(steps)


def _of_ones(before: Groups, after: Groups) -> list[Move] | None:
    """The Squeeze or Unsqueeze that there is between two groupings, if one will do."""
    if _additional_ones(after, before) is not None:
        return [Move("Unsqueeze", before, after)]
    if _additional_ones(before, after) is not None:
        return [Move("Squeeze", before, after)]
    return None


def _additional_ones(longer: Groups, shorter: Groups) -> list[int] | None:
    """Where one grouping has sizes of 1 that another has not; None if that is not all."""
    axes, place = [], 0
    for axis, group in enumerate(longer):
        if place < len(shorter) and shorter[place] == group:
            place += 1
        elif group:
            return None
        else:
            axes.append(axis)
    return axes if place == len(shorter) else None


def _flat(groups: Groups) -> list[SizeFactor]:
    return [factor for group in groups for factor in group]


def _size(group: list[SizeFactor]) -> Size:
    """The size of a group."""
    return product(*(factor.size for factor in group))


def _symbols(size: Size) -> set[str | Dim]:
    """The symbols in a size."""
    return set(size.of) if isinstance(size, Product) else {size} if isinstance(size, str) else set()


def _dimensions(groups: Groups) -> Shape:
    """The shape of groups, as inference would know it."""
    sizes = [_size(group) for group in groups]
    unnamed = [any(str(symbol).startswith("?") for symbol in _symbols(size)) for size in sizes]
    return tuple(None if no else dimension(s) for s, no in zip(sizes, unnamed, strict=True))


def _permutation(before: Groups, after: Groups) -> list[int] | None:
    """The `perm` that takes dimensions to their places: each entry is an index into `before`.

    None if the dimensions do not stay whole.
    """
    if len(before) != len(after):
        return None
    free = list(range(len(before)))
    perm = []
    for group in after:
        axis = next((axis for axis in free if before[axis] == group), None)
        if axis is None:
            return None
        free.remove(axis)
        perm.append(axis)
    return perm


def _in_order_of(groups: Groups, other: Groups) -> Groups:
    """Groups in the order in which another grouping has their first factors, sizes of 1 last."""
    position = {factor: index for index, factor in enumerate(_flat(other))}
    return sorted(groups, key=lambda group: position[group[0]] if group else len(position))


def _blocks(before: list[SizeFactor], after: list[SizeFactor]) -> Groups:
    """Runs of factors that stay together, in the order before."""
    follows = dict(itertools.pairwise(after))
    blocks: Groups = []
    for factor in before:
        if blocks and follows.get(blocks[-1][-1]) is factor:
            blocks[-1].append(factor)
        else:
            blocks.append([factor])
    return blocks


def _moved(node: Node, groups: Groups) -> Groups:
    """What a movement operator makes of groups of factors."""
    if node.op == "Transpose":
        # One that is empty fits a scalar, and is not one that is left out.
        perm = node.attribute("perm", list(reversed(range(len(groups)))))
        if sorted(perm) != list(range(len(groups))):
            # No runtime runs it.
            raise UngroupableError
        return [groups[axis] for axis in perm]
    groups = _leaves(groups)
    shape: Sequence[Size] | None = node.output.shape
    if node.op == "Squeeze" and squeezes_nothing_or_all(node):
        raise UngroupableError
    if node.op == "Reshape":
        # What inference lost, the target may still say.
        listed = constant(node.input(1))
        if listed is not None:
            shape = _target(node, listed.integers(), groups)
    if shape is None or 0 in shape:
        raise UngroupableError
    factors = _flat(groups)
    known = {symbol for factor in factors for symbol in _symbols(factor.size)}
    sizes = [None if size is None else product(size) for size in shape]
    return _grouped(factors, [size if _symbols(size) <= known else None for size in sizes])


def squeezes_nothing_or_all(node: Node) -> bool:
    """Whether the axes of a Squeeze are listed and empty, which runtimes read as none or as all."""
    listed = constant(node.input(1))
    axes = node.attribute("axes") if listed is None else listed.integers()
    return axes is not None and len(axes) == 0


def _target(node: Node, listed: Sequence[Size], groups: Groups) -> Sequence[Size]:
    said = target(node, listed, [_size(group) for group in groups])
    if not said.runs or node.attribute("allowzero", 0) not in (0, 1):
        # Runtimes differ on what another allowzero means.
        raise UngroupableError
    return said.sizes
