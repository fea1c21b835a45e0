"""How far a pattern goes at a value where it does not match, and what is there instead.

A dry pass for the explainer: it follows the pattern as far as it can, keeps going where a part is
missing, and counts the operators that are there and those that are not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from trtfuse.ir.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.rewrite.pattern import (
    AnyCall,
    Call,
    Given,
    Match,
    Pattern,
    SeenAs,
    _Alternatives,
    _Constant,
    _Output,
    _Rest,
    _Variable,
)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a pattern goes.

    Attributes:
        nodes: the nodes that are as the pattern has them, the root first.
        missing: how many operators, or layers, of the pattern are not there.
        layers: how many are.
        because: what is there instead, a sentence each.
        condition: whether all is there, and only a condition on it does not hold.
    """

    nodes: tuple[Node, ...] = ()
    layers: int = 0
    missing: int = 0
    because: tuple[str, ...] = ()
    condition: bool = False

    @property
    def closeness(self) -> tuple[float, int, int]:
        """What to order by; the larger, the closer."""
        whole = self.layers + self.missing
        return (self.layers / whole if whole else 1.0), -len(self.because), self.layers

    def __add__(self, other: Reach) -> Reach:
        nodes = tuple(dict.fromkeys((*self.nodes, *other.nodes)))
        return Reach(
            nodes,
            self.layers + other.layers,
            self.missing + other.missing,
            tuple(dict.fromkeys((*self.because, *other.because))),
        )


def reach(pattern: Pattern, value: Value | None) -> Reach:
    """How far a pattern goes at a value.

    Args:
        pattern: what is looked for.
        value: where it would begin.
    """
    found = _reach(pattern, value)
    if found.missing or found.because:
        return found
    if next(pattern.matches(value, Match([])), None) is not None:
        return found
    because = tuple(dict.fromkeys(_conditions(pattern))) or (_OTHER_VALUES,)
    return Reach(found.nodes, found.layers, 0, because, condition=True)


#: Every operator is there and no match is: names of the pattern that stand for one value do not.
_OTHER_VALUES = "its parts are there, but do not read the same values"


def layers(pattern: Pattern) -> int:
    """How many operators, or layers, a pattern is made of at least."""
    if isinstance(pattern, Given):
        return layers(pattern.pattern)
    if isinstance(pattern, SeenAs):
        return 1 + layers(pattern.of)
    if isinstance(pattern, _Output):
        return layers(pattern.call)
    if isinstance(pattern, AnyCall):
        return 1
    if isinstance(pattern, Call):
        return 1 + sum(layers(each) for each in pattern.inputs)
    if isinstance(pattern, _Alternatives):
        return min(layers(each) for each in pattern.patterns)
    return 0


def _origin(value: Value) -> str:
    """What computes a value, as the beginning of a sentence that says what should."""
    node = value.producer
    if node is not None:
        return f"`{value.name}` is computed by {node.op} {node.label}"
    if constant(value) is not None:
        return f"`{value.name}` is a constant"
    return f"`{value.name}` is {'an input of the graph' if value.is_input else 'from outside'}"


def _reach(pattern: Pattern, value: Value | None) -> Reach:
    match pattern:
        case Given():
            return _reach(pattern.pattern, value)
        case _Alternatives():
            return _nearest(pattern, (_reach(each, value) for each in pattern.patterns), value)
        case SeenAs():
            return _seen(pattern, value)
        case _Output():
            producer = None if value is None else value.producer
            if producer is None or value not in producer.outputs[pattern.index : pattern.index + 1]:
                return _absent(pattern, value)
            return _call(pattern.call, value)
        case Call():
            return _call(pattern, value)
        case _Variable() if value is None and not pattern.optional:
            return Reach(because=("an input that the rule needs is left out",))
        case _Constant() if value is not None:
            tensor = constant(value)
            if tensor is None:
                return Reach(because=(f"{_origin(value)}, not a constant",))
            if pattern.where is not None and not pattern.where(tensor):
                return Reach(because=(f"{_shown(value)} is not the constant that the rule needs",))
    return Reach()


def _nearest(pattern: Pattern, found: Iterable[Reach], value: Value | None) -> Reach:
    best = max(found, key=lambda each: each.closeness)
    return best if best.layers or not best.missing else _absent(pattern, value)


def _absent(pattern: Pattern, value: Value | None) -> Reach:
    if value is None:
        because = f"an input is left out that {pattern.describe()} would compute"
    elif value.producer is None:
        because = f"{_origin(value)}, not computed by {pattern.describe()}"
    else:
        because = f"{_origin(value)}, not by {pattern.describe()}"
    return Reach(missing=layers(pattern), because=(because,))


def _seen(pattern: SeenAs, value: Value | None) -> Reach:
    node = None if value is None else value.producer
    if value is None or node is None or node.op not in pattern.view.operators:
        return _absent(pattern, value)
    if node.outputs[0] is not value:
        return _absent(pattern, value)
    seen = pattern.view.of(node)
    if isinstance(seen, str):
        return Reach(missing=layers(pattern), because=(f"{_origin(value)}, and {seen}",))
    if seen is None:
        return _absent(pattern, value)
    if pattern.where is not None and not pattern.where(seen):
        needed = _meaning(pattern.where) or f"not the {pattern.view.__name__} that the rule needs"
        because = f"{_origin(value)}: {needed}"
        return Reach(missing=layers(pattern), because=(because,))
    return Reach(seen.nodes, 1) + _reach(pattern.of, seen.x)


def _call(pattern: Call, value: Value | None) -> Reach:
    node = None if value is None else value.producer
    if node is None or node.op != pattern.operator:
        return _absent(pattern, value)
    for name, wanted in pattern.attributes.items():
        given = node.attribute(name)
        if not (wanted(given) if callable(wanted) else given == wanted):
            because = f"the attribute {name} of {node.op} {node.label} is {given}"
            return Reach(missing=layers(pattern), because=(because,))
    fixed = len(pattern.orders[0])
    if pattern.rest is None and any(each is not None for each in node.inputs[fixed:]):
        because = f"{node.op} {node.label} has more than {fixed} inputs"
        return Reach(missing=layers(pattern), because=(because,))
    ways = []
    for order in pattern.orders:
        way = Reach((node,), 1)
        for index, each in enumerate(order):
            way += _reach(each, node.input(index))
        ways.append(way)
    best = max(ways, key=lambda each: each.closeness)
    if isinstance(pattern.rest, _Rest) and pattern.rest.each is not None:
        for given in node.inputs[fixed:]:
            best += _reach(pattern.rest.each, given)
    return best


def _conditions(pattern: Pattern) -> Iterable[str]:
    """What the conditions of a pattern say has to hold."""
    if isinstance(pattern, Given):
        meaning = _meaning(pattern.condition)
        yield f"this does not hold: {meaning}" if meaning else "a condition of the rule fails"
    elif isinstance(pattern, _Alternatives):
        for each in pattern.patterns:
            yield from _conditions(each)


def _meaning(condition: Callable[[Any], bool]) -> str:
    """The first line of what a condition says of itself, as the end of a sentence."""
    line = (inspect.getdoc(condition) or "").partition("\n")[0].rstrip(".")
    first = line.partition(" ")[0]
    # The name of an operator keeps its capitals.
    return line[:1].lower() + line[1:] if first[1:].islower() or len(first) == 1 else line


def _shown(value: Value) -> str:
    tensor = constant(value)
    if tensor is not None and tensor.size == 1:
        return f"`{value.name}` = {tensor.array().reshape(()).item()!r}"
    return f"`{value.name}`"
