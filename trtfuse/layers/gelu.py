"""GELU spelled out: 0.5 x (1 + erf(x / sqrt(2))), or its approximation by tanh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from trtfuse.ir.graph import Node, Value
from trtfuse.ir.tensor import Tensor, stands_for
from trtfuse.layers.polynomial import Polynomial, Terms, operands
from trtfuse.rewrite.condition import Condition

_ROOT = math.sqrt(2 / math.pi)
_CUBE = 0.044715

#: What the constants of its spellings stand for, as factors or as divisors.
_FACTORS = (1 / math.sqrt(2), _ROOT, _CUBE, _ROOT * _CUBE)
MEANT = (*_FACTORS, *(1 / number for number in _FACTORS))

#: A GELU is a polynomial in x and t, where t is erf or tanh of a polynomial in x.
OUTER: Terms = {(1, 0): 0.5, (1, 1): 0.5}
INNER: dict[str, Terms] = {
    "Erf": {(1,): 1 / math.sqrt(2)},
    "Tanh": {(1,): _ROOT, (3,): _ROOT * _CUBE},
}

#: Coefficients that are further off than this are meant to be others.
_ROUGHLY = 0.02

GELU = Condition(
    "gelu",
    "The nodes are a GELU spelled out.",
)


@dataclass(frozen=True, slots=True)
class SpelledGelu:
    """0.5 * x * (1 + t), for t = erf(x / sqrt(2)) or tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)).

    Attributes:
        nodes: all of them, the last one first.
        x: what it is of.
        function: the Erf or Tanh.
        outer: the polynomial in x and t.
        inner: the polynomial in x that t is the function of.
    """

    operators: ClassVar[tuple[str, ...]] = ("Mul", "Div")
    condition: ClassVar[Condition] = GELU
    title: ClassVar[str] = "a GELU spelled out"
    longest: ClassVar[int] = 10

    nodes: tuple[Node, ...]
    x: Value
    function: Node
    outer: Polynomial
    inner: Polynomial

    @property
    def numbers(self) -> dict[Value, float]:
        """The constants in it, and the number that each of them stands for."""
        return self.inner.numbers | self.outer.numbers

    @classmethod
    def of(cls, node: Node) -> Self | None:
        return cls._of(node, scaled=False)

    @classmethod
    def times_a_number(cls, node: Node) -> Self | None:
        """A GELU times any number: the 0.5 may have gone into the weights that follow."""
        return cls._of(node, scaled=True)

    @classmethod
    def _of(cls, node: Node, *, scaled: bool) -> Self | None:
        """A GELU that ends in a node; if `scaled`, times any number."""
        reached = list(operands(node.output))
        for t in reached:
            function = t.producer
            if function is None or function.op not in INNER:
                continue
            argument = function.operand(0)
            within = set(operands(argument))
            for x in reached:
                if x not in within:
                    continue
                seen = cls._in_terms_of(node, x, function, argument, scaled)
                if seen is not None:
                    return seen
        return None

    @classmethod
    def _in_terms_of(
        cls, node: Node, x: Value, function: Node, argument: Value, scaled: bool
    ) -> Self | None:
        outer = Polynomial.of(node.output, (x, function.output), meant)
        if outer is None or outer.terms.keys() != OUTER.keys():
            return None
        factor = 2 * outer.terms[1, 0] if scaled else 1.0
        if not _roughly(
            outer.terms, {powers: factor * coefficient for powers, coefficient in OUTER.items()}
        ):
            return None
        inner = Polynomial.of(argument, (x,), meant)
        if inner is None or not _roughly(inner.terms, INNER[function.op]):
            return None
        nodes = dict.fromkeys((*outer.nodes, function, *inner.nodes))
        return cls(tuple(nodes), x, function, outer, inner)


def meant(tensor: Tensor) -> float:
    """The number that a constant stands for: one of `MEANT` or, where that is not near, its own."""
    stored = tensor.exact().reshape(())
    near = (number for number in MEANT if stands_for(stored, np.array(number), tensor.type))
    return next(near, float(stored))


def _roughly(terms: Terms, wanted: Terms) -> bool:
    return terms.keys() == wanted.keys() and all(
        math.isclose(coefficient, wanted[powers], rel_tol=_ROUGHLY)
        for powers, coefficient in terms.items()
    )
