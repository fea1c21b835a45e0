"""Why a rule was not applied, with names for nodes: it is there when the graph is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trtfuse.rewrite.entries import UNLISTED, Entry
from trtfuse.rewrite.refusal import Reason, Refusal


@dataclass(frozen=True)
class NotFused:
    """A rule that was not applied somewhere.

    Attributes:
        rule: its name.
        at: the node that it would have begun at.
        nodes, operators: what it would have taken, as far as it is there.
        matched: how many operators, or layers, of the rule's pattern are there.
        of: how many the pattern has.
        objections: everything that speaks against it, in the order in which it is asked: for each
            its `guard`, `because`, what it `holds` to be so, and what `helps`.
        entry: the entry of the fusion list, such as "F8 (Convolution and Scale)".
        document: where NVIDIA documents it; empty for cleanup and rules of users.
    """

    rule: str
    at: str
    nodes: list[str]
    operators: list[str]
    matched: int
    of: int
    objections: list[Reason]
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

    def explained(self) -> dict[str, Any]:
        """An entry of `misses`, as an explanation has it."""
        keys = ("guard", "because", "holds", "helps")
        objections = [{key: getattr(reason, key) for key in keys} for reason in self.objections]
        return {**vars(self), "objections": objections}

    @staticmethod
    def of_refusal(refusal: Refusal, entry: Entry = UNLISTED) -> NotFused:
        """A refusal with names for its nodes.

        Args:
            refusal: what the matcher, a guard, the driver or a group said.
            entry: of its rule.
        """
        return NotFused(
            refusal.rule,
            refusal.at.label,
            [node.label for node in refusal.nodes],
            [node.op for node in refusal.nodes],
            refusal.layers,
            refusal.layers + refusal.missing,
            [Reason(reason.condition.bare, reason.because) for reason in refusal.reasons],
            str(entry),
            entry.document,
        )
