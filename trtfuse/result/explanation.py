"""Why nodes of a model were not fused, and what became of those that were, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from trtfuse.errors import nothing_else_raised
from trtfuse.result.not_fused import NotFused


@dataclass(frozen=True)
class Step:
    """One thing that happened to a node.

    Attributes:
        rule: the rule; "unused" where nothing needed it.
        nodes: what was fused.
        into: what took its place.
        sentence: the same in words: "absorbed by conv-scale into conv1".
    """

    rule: str
    nodes: list[str]
    into: list[str]
    sentence: str


@dataclass(frozen=True)
class Explanation:
    """Why nodes were not fused, and what became of a node that was.

    Attributes:
        model: its path, or the name of its graph.
        node: the node that was asked for, or None for all.
        operator: its operator.
        steps: what happened to it, in order; empty where it stands as it was.
        misses: what was not done, the closest first.
        asked: how many nodes were looked at.
        notes: what was wrong with the model when it was read, one sentence each.
    """

    model: str
    node: str | None
    operator: str | None
    steps: list[Step] = field(default_factory=list)
    misses: list[NotFused] = field(default_factory=list)
    asked: int = 0
    notes: list[str] = field(default_factory=list)

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The explanation as lists and dictionaries."""
        return {
            **vars(self),
            "steps": [asdict(step) for step in self.steps],
            "misses": [miss.explained() for miss in self.misses],
            "notes": list(self.notes),
        }

    @nothing_else_raised
    def to_json(self) -> str:
        """The explanation as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The explanation as plain text."""
        from trtfuse.report.explanation import plain

        return plain(self.to_dict())
