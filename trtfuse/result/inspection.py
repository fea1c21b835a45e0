"""What a model is made of, and what TensorRT cannot take of it, as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trtfuse.errors import Unsupported, nothing_else_raised

SCHEMA = "trtfuse.inspection/1"


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        name: its name.
        type: its element type, "float32"; of what is not a tensor, what it is.
        shape: its sizes: a number, the symbol of an open one, or None where nothing is said; None
            for all where not even the rank is known.
    """

    name: str
    type: str
    shape: list[int | str | None] | None


@dataclass(frozen=True)
class Weights:
    """The constants that a model stores.

    Attributes:
        tensors: how many.
        parameters: how many numbers they have.
        bytes: what they take.
        external: how many of the bytes are in files of their own.
        types: the bytes by element type, the largest first.
    """

    tensors: int
    parameters: int
    bytes: int
    external: int
    types: dict[str, int]


@dataclass(frozen=True)
class Inspection:
    """What a model is made of.

    Attributes:
        model: its path, or the name of its graph.
        producer: what wrote it, with the version.
        ir_version: of the file.
        opsets: the versions of the operator sets by domain; "" is ONNX's own.
        file: the bytes of the file without external data; None where it came without one.
        inputs, outputs: what it takes and returns.
        weights: what it stores.
        nodes: how many nodes, those in bodies and functions included.
        operators: how many of each, the most frequent first.
        functions: how many model-local functions.
        asked: what was asked about TensorRT: its parser, or the tables of this package.
        unsupported: the nodes that TensorRT cannot take.
        reason: why TensorRT cannot take the model, where that is no node; None if it can.
        notes: what was wrong with the model when it was read, one sentence each.
    """

    model: str
    producer: str
    ir_version: int
    opsets: dict[str, int]
    file: int | None
    inputs: list[Port]
    outputs: list[Port]
    weights: Weights
    nodes: int
    operators: dict[str, int]
    functions: int
    asked: str
    unsupported: Sequence[Unsupported] = ()
    reason: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is known that TensorRT cannot take."""
        return not self.unsupported and self.reason is None

    @nothing_else_raised
    def to_dict(self) -> dict[str, Any]:
        """The inspection as lists and dictionaries."""
        content = {**asdict(self), "unsupported": [asdict(node) for node in self.unsupported]}
        return {"schema": SCHEMA, **content, "ok": self.ok}

    @nothing_else_raised
    def to_json(self) -> str:
        """The inspection as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The inspection as plain text."""
        from trtfuse.report.inspection import text

        return text(self.to_dict())
