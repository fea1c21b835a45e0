"""Why not: the one answer that the matcher, guards, the driver, groups and explanations give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from trtfuse.ir.graph import Node
from trtfuse.rewrite.condition import STRUCTURE, Condition


class Reason(NamedTuple):
    """One thing that speaks against a rewrite.

    Attributes:
        condition: what does not hold: a guard, that a node is some layer, or what the driver makes
            sure of for every rule.
        because: the end of the sentence "not fused because ...".
    """

    condition: Condition
    because: str

    @property
    def guard(self) -> str:
        """The name of the condition, as the report has it."""
        return self.condition.name

    @property
    def holds(self) -> str:
        """What the condition makes sure of."""
        return self.condition.holds

    @property
    def helps(self) -> str:
        """What would have to change."""
        return self.condition.advice


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that is not applied somewhere.

    Attributes:
        rule: its name.
        at: the node that it would begin at.
        reasons: what speaks against it, in the order in which it is asked; the report names the
            first.
        nodes: the nodes that it would take, as far as they are there; the root first.
        layers: how many operators, or layers, of its pattern are there.
        missing: how many are not.
        conditional: whether all is there, and only a condition on the structure does not hold.
    """

    rule: str
    at: Node
    reasons: tuple[Reason, ...]
    nodes: tuple[Node, ...] = ()
    layers: int = 1
    missing: int = 0
    conditional: bool = False

    @property
    def guard(self) -> str:
        """The guard of the first reason."""
        return self.reasons[0].guard

    @property
    def because(self) -> str:
        """The sentence of the first reason."""
        return self.reasons[0].because

    @property
    def structural(self) -> bool:
        """Whether the structure is another one, so that no guard was asked."""
        return self.guard == STRUCTURE.name

    @property
    def distance(self) -> tuple[bool, float, int]:
        """What to order by: the smaller, the closer the rule came."""
        return self.structural, -self.layers / (self.layers + self.missing), len(self.reasons)
