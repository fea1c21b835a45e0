"""Which kernels one engine has and another has not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from trtfuse.result.layer import Layer

#: What the builder puts after a name to make it unique: the graph, and a number in it.
_NUMBERED = re.compile(r"_myl\d+_\d+$")
#: How names begin that list operators, like `__myl_CorrMulAddRelu`, rather than a node.
_OPERATORS = "__myl_"


def difference(a: Iterable[Layer], b: Iterable[Layer]) -> tuple[list[Layer], list[Layer]]:
    """The kernels of `a` that are not in `b`, and those of `b` that are not in `a`.

    Two kernels are the same if they run the same nodes, of those that both engines name: a
    convolution that took a BatchNormalization in is still the same kernel. So are two that are
    called alike for the same operators and have results of the same shapes, since the builder does
    not always credit the same nodes, and copies are nobody's.

    Args:
        a: layers of an engine. Of several optimization profiles, the first counts.
        b: layers of another.
    """
    left, right = _running(a), _running(b)
    both = _all_nodes(left) & _all_nodes(right)

    def exactly(layer: Layer) -> Hashable:
        return _stem(layer), _inner(layer), tuple(tensor.shape for tensor in layer.outputs)

    def by_nodes_and_name(layer: Layer) -> Hashable:
        return (_stem(layer), _inner(layer) & both) if _inner(layer) & both else None

    def by_nodes(layer: Layer) -> Hashable:
        return _inner(layer) & both or None

    def by_operators(layer: Layer) -> Hashable:
        shapes = tuple(tensor.shape for tensor in layer.outputs)
        return (_stem(layer), shapes) if _stem(layer).startswith(_OPERATORS) else None

    for key in (exactly, by_nodes_and_name, by_nodes, by_operators):
        left, right = _unmatched(left, right, key)
    return left, right


def _running(layers: Iterable[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.runs and layer.profile == 0]


def _all_nodes(layers: Iterable[Layer]) -> frozenset[str]:
    return frozenset(name for layer in layers for name in _inner(layer))


def _inner(layer: Layer) -> frozenset[str]:
    """The nodes of a layer, without the calls of functions around them."""
    return frozenset(node.split(" | ")[0] for node in layer.nodes)


def _stem(layer: Layer) -> str:
    return _NUMBERED.sub("", layer.name)


def _unmatched(
    left: list[Layer], right: list[Layer], key: Callable[[Layer], Hashable]
) -> tuple[list[Layer], list[Layer]]:
    """The layers of both sides that are left once those with the same key are paired off.

    A layer whose key is None pairs with none.
    """
    waiting: defaultdict[Hashable, list[Layer]] = defaultdict(list)
    for layer in reversed(right):
        waiting[key(layer)].append(layer)
    waiting.pop(None, None)
    taken: set[int] = set()
    rest = []
    for layer in left:
        alike = waiting.get(key(layer))
        if alike:
            taken.add(id(alike.pop()))
        else:
            rest.append(layer)
    return rest, [layer for layer in right if id(layer) not in taken]
