"""What TensorRT's builder made of two models, as data, in the schema `trtfuse.comparison/1`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from trtfuse.errors import nothing_else_raised
from trtfuse.result.layer import Layer
from trtfuse.result.verdict import Cause, Verdict

SCHEMA = "trtfuse.comparison/1"

#: In the order of how little is left of the fusion.
Outcome = Literal["one kernel", "merged further", "several kernels", "unknown"]
OUTCOMES: tuple[Outcome, ...] = ("one kernel", "merged further", "several kernels", "unknown")
#: Outcomes in which the fused node runs in one kernel, as it was meant to.
CONFIRMED = frozenset(("one kernel", "merged further"))


@dataclass(frozen=True)
class FusionOutcome:
    """What the builder did with one fusion.

    Attributes:
        rule, kind, name: of the fusion, as in the report.
        into: the nodes of the fused model that it became, after what was fused later.
        outcome: "one kernel" runs them and nothing else; "merged further", one kernel runs them
            and other nodes; "several kernels"; or "unknown", where no kernel names them.
        kernels: names of the kernels that run them, in the order of the engine.
    """

    rule: str
    kind: str
    name: str
    into: list[str]
    outcome: Outcome
    kernels: list[str]


@dataclass(frozen=True)
class BuilderFusion:
    """A kernel in which the builder put nodes that were not fused before: its name, type, nodes."""

    kernel: str
    type: str
    nodes: list[str]


@dataclass(frozen=True)
class Agreement:
    """The fusions of a report beside the kernels of the engine that was built from its model.

    Attributes:
        fusions: what the builder did with each; cleanups, and what is gone again, are left out.
        beyond: the kernels that run several of the fused model's nodes.
    """

    fusions: list[FusionOutcome]
    beyond: list[BuilderFusion]

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many fusions came out how."""
        numbers = Counter(fusion.outcome for fusion in self.fusions)
        return {outcome: numbers[outcome] for outcome in OUTCOMES}

    @property
    def confirmed(self) -> int:
        """How many fusions run in one kernel."""
        return sum(fusion.outcome in CONFIRMED for fusion in self.fusions)

    @property
    def share(self) -> float | None:
        """The part of the fusions that runs in one kernel, unknown ones counted as not so.

        None where nothing was fused.
        """
        return self.confirmed / len(self.fusions) if self.fusions else None

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The agreement as the JSON report has it."""
        return {"share": self.share, "counts": self.counts, **asdict(self)}


@dataclass(frozen=True)
class Built:
    """What the builder made of one model.

    Attributes:
        name: of the model, or the file that its layers are from.
        kernels: how many one pass runs.
        traffic: bytes that they read and write; None where sizes are open.
        seconds: how long the build took; None where the file does not tell.
        size, weights, activation: bytes of the plan, of the weights in it, and of all tensors
            between its layers; None where the file does not tell.
        layers: all that the engine runs.
    """

    name: str
    kernels: int
    traffic: int | None
    seconds: float | None
    size: int | None
    weights: int | None
    activation: int | None
    layers: tuple[Layer, ...] = field(repr=False)

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The figures, without the layers."""
        figures = ("name", "kernels", "traffic", "seconds", "size", "weights", "activation")
        return {figure: getattr(self, figure) for figure in figures}


@dataclass(frozen=True)
class Kernel:
    """A kernel: the builder's name for it, its type, and the ONNX nodes that it runs."""

    name: str
    type: str
    nodes: list[str]


@dataclass(frozen=True)
class Comparison:
    """What the builder made of two models.

    Attributes:
        a, b: what it made of each.
        vanished, appeared: the kernels of `a` that are not in `b`, and those of `b` not in `a`.
        backend: what built them, with its version; None where both were built elsewhere.
        shapes: what inputs were fixed to whose sizes vary.
        notes: what is worth knowing besides, a sentence each.
        agreement: what became of each fusion, where `b` is what `fuse` returned; else None.
        cause: which rule made `b` worse, where that was looked for.
    """

    a: Built
    b: Built
    vanished: list[Kernel]
    appeared: list[Kernel]
    backend: str | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    agreement: Agreement | None = None
    cause: Cause | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether `b` is better than `a`: kernels, traffic, activation memory and engine size."""
        return Verdict.of(self.a.to_dict(), self.b.to_dict(), self.cause)

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        return {
            "verdict": self.verdict.to_dict(),
            "backend": self.backend,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "vanished": [asdict(kernel) for kernel in self.vanished],
            "appeared": [asdict(kernel) for kernel in self.appeared],
            "notes": self.notes,
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
        }

    @nothing_else_raised
    def to_json(self) -> str:
        """The comparison as JSON text, in the schema `trtfuse.comparison/1`."""
        content = {"schema": SCHEMA, **self.to_dict()}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __str__(self) -> str:
        """The comparison as plain text."""
        from trtfuse.report.comparison import plain

        return plain(self.to_dict())
