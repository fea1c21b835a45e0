"""A few nodes that add and multiply, seen as a polynomial in some values.

0.5 * x * (1 + t) and x * (t + 1) / 2 and 0.5 * x + 0.5 * x * t are one polynomial: whatever order,
association and operators an exporter chose, x and x t have the coefficient 0.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from trtfuse.analysis.constants import constant
from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import FLOATING, Tensor

#: What nodes of a polynomial do; a Div divides by a number, a Pow raises to a small one.
OPERATORS = ("Mul", "Div", "Add", "Sub", "Neg", "Pow")

#: Larger ones are not followed.
_MOST_NODES = 12
_LARGEST_DEGREE = 4

#: The power of each variable, and the coefficient.
Terms = dict[tuple[int, ...], float]


class NoPolynomialError(Exception):
    """Something else than sums and products of the variables and of single numbers."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A sum of products of variables.

    Attributes:
        variables: the values that it is a polynomial in.
        read: the number that a constant stands for.
        terms: its terms that are not 0.
        nodes: what computes it.
        numbers: the constants in it, and what each of them was read as.
    """

    variables: tuple[Value, ...]
    read: Callable[[Tensor], float]
    terms: Terms = field(default_factory=dict)
    nodes: dict[Node, None] = field(default_factory=dict)
    numbers: dict[Value, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, value: Value, variables: Sequence[Value], read: Callable[[Tensor], float]
    ) -> Self | None:
        """The polynomial that a value is in these variables; None if it is none."""
        made = cls(tuple(variables), read)
        try:
            made.terms.update(made._terms(value, {}))
        except NoPolynomialError:
            return None
        return made

    def _terms(self, value: Value | None, known: dict[Value, Terms]) -> Terms:
        if value is None:
            raise NoPolynomialError
        if value not in known:
            known[value] = self._worked_out(value, known)
        return known[value]

    def _worked_out(self, value: Value, known: dict[Value, Terms]) -> Terms:
        if value in self.variables:
            return {tuple(int(value is variable) for variable in self.variables): 1.0}
        tensor = constant(value)
        if tensor is not None:
            return self._number(value, tensor)
        node = value.producer
        if node is None or node.op not in OPERATORS or len(self.nodes) == _MOST_NODES:
            raise NoPolynomialError
        self.nodes[node] = None
        first = self._terms(node.inputs[0], known)
        match node.op:
            case "Neg":
                return _product(first, {self._one: -1.0})
            case "Pow":
                return self._power(first, node)
        second = self._terms(node.inputs[1], known)
        match node.op:
            case "Add":
                return _sum(first, second)
            case "Sub":
                return _sum(first, _product(second, {self._one: -1.0}))
            case "Div":
                if second.keys() != {self._one}:
                    raise NoPolynomialError
                return _product(first, {self._one: 1 / second[self._one]})
        return _product(first, second)

    @property
    def _one(self) -> tuple[int, ...]:
        return (0,) * len(self.variables)

    def _number(self, value: Value, tensor: Tensor) -> Terms:
        if tensor.size != 1 or tensor.type not in FLOATING:
            raise NoPolynomialError
        number = self.numbers[value] = self.read(tensor)
        return {self._one: number} if number else {}

    def _power(self, base: Terms, node: Node) -> Terms:
        value = node.inputs[1]
        exponent = constant(value)
        if value is None or exponent is None or exponent.size != 1:
            raise NoPolynomialError
        number = self.numbers[value] = float(exponent.exact().reshape(()))
        if number not in (1, 2, 3):
            raise NoPolynomialError
        result = base
        for _ in range(int(number) - 1):
            result = _product(result, base)
        return result


def _sum(first: Terms, second: Terms) -> Terms:
    both = dict(first)
    for powers, coefficient in second.items():
        both[powers] = both.get(powers, 0.0) + coefficient
    return {powers: coefficient for powers, coefficient in both.items() if coefficient}


def _product(first: Terms, second: Terms) -> Terms:
    result: Terms = {}
    for (left, a), (right, b) in itertools.product(first.items(), second.items()):
        powers = tuple(one + other for one, other in zip(left, right, strict=True))
        if sum(powers) > _LARGEST_DEGREE:
            raise NoPolynomialError
        result = _sum(result, {powers: a * b})
    return result


def operands(value: Value, most: int = 16) -> Iterator[Value]:
    """A value and those that it is computed from by sums and products, the nearest first.

    Args:
        value: where to begin.
        most: from so many values on, it goes back no further.
    """
    values = {value: None}
    pending = [value]
    for current in pending:
        yield current
        node = current.producer
        if node is None or node.op not in OPERATORS or len(values) >= most:
            continue
        fresh = [v for v in node.inputs if v is not None and v not in values and not constant(v)]
        values.update(dict.fromkeys(fresh))
        pending.extend(dict.fromkeys(fresh))
