"""Why a rule was not applied, with names for nodes: it is there when the graph is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trtfuse.ir.graph import Node
from trtfuse.rewrite.refusal import Refusal


@dataclass(frozen=True)
class Objection:
    """One thing that speaks against a rewrite.

    Attributes:
        guard: the guard, or "structure" where the rule's operators are not all there.
        because: the end of the sentence "not fused because ...".
        holds: what the guard makes sure of; empty in a report, which has it once for each guard.
        helps: what would have to change, likewise.
    """

    guard: str
    because: str
    holds: str = ""
    helps: str = ""


@dataclass(frozen=True)
class NotFused:
    """A rule that was not applied somewhere.

    Attributes:
        rule: its name.
        at: the node that it would have begun at.
        nodes, operators: what it would have taken, as far as it is there.
        matched: how many operators, or layers, of the rule's pattern are there.
        of: how many the pattern has.
        objections: everything that speaks against it, in the order in which it is asked.
        entry: the entry of the fusion list, such as "F8 (Convolution and Scale)".
        document: where NVIDIA documents it; empty for cleanup and rules of users.
    """

    rule: str
    at: str
    nodes: list[str]
    operators: list[str]
    matched: int
    of: int
    objections: list[Objection]
    entry: str = ""
    document: str = ""

    @property
    def guard(self) -> str:
        """What stopped the rule first."""
        return self.objections[0].guard

    @property
    def because(self) -> str:
        """The end of the sentence "not fused because ..."."""
        return self.objections[0].because

    def to_dict(self) -> dict[str, Any]:
        """An entry of `declined`, as the schema `trtfuse.report/1` has it."""
        keys = ("rule", "at", "guard", "because")
        return {key: getattr(self, key) for key in keys}

    @staticmethod
    def of_refusal(
        refusal: Refusal,
        nodes: Sequence[Node] | None = None,
        objections: list[Objection] | None = None,
        entry: str = "",
        document: str = "",
    ) -> NotFused:
        """A refusal with names for its nodes.

        Args:
            refusal: what the matcher, a guard, the driver or a group said.
            nodes: its nodes in the order in which they are to be listed; its own if left out.
            objections: its reasons with what is known of their guards; without it if left out.
            entry: as in the attributes.
            document: likewise.
        """
        listed = refusal.nodes if nodes is None else nodes
        if objections is None:
            objections = [Objection(*reason) for reason in refusal.reasons]
        return NotFused(
            refusal.rule,
            refusal.at.label,
            [node.label for node in listed],
            [node.op for node in listed],
            refusal.layers,
            refusal.layers + refusal.missing,
            objections,
            entry,
            document,
        )
