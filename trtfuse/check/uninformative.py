"""Outputs of which random inputs tell little: always the same, saturated or empty."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtfuse.check.difference import FLOATING_TYPES, unit
from trtfuse.check.inputs import runtime_inputs
from trtfuse.ir.graph import Value
from trtfuse.ir.tensor import Array
from trtfuse.model.model import Model

#: Operators whose results lie between 0 and 1.
_BOUNDED = frozenset(("HardSigmoid", "Sigmoid", "Softmax"))
#: Operators that pass numbers on as they are.
_PASSING = frozenset(
    (
        "Cast",
        "Concat",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
#: Operators whose results do not depend on numbers, only on sizes.
_OF_SIZES = frozenset(("Shape", "Size"))


class Spread:
    """What one output of a model is over several sets of inputs."""

    def __init__(self) -> None:
        self._first: Array | None = None
        self._is_empty = True
        self._is_known = True
        self._is_same = True
        self._is_nan = True
        self._is_saturated = True
        self._least: Any = None
        self._most: Any = None

    def add(self, result: Any) -> None:
        """Takes in what the output is for another set of inputs."""
        floating = isinstance(result, np.ndarray) and result.dtype in FLOATING_TYPES
        if not floating and getattr(result, "dtype", np.dtype(object)).kind not in "iub":
            self._is_known = False
            return
        if not result.size:
            return
        numbers = result.astype(np.float64) if floating else result
        least, most = numbers.min(), numbers.max()
        self._is_nan &= bool(np.isnan(numbers).all())
        if self._is_empty:
            self._first, self._least, self._most = result, least, most
            self._is_empty = False
        else:
            self._least, self._most = np.minimum(self._least, least), np.maximum(self._most, most)
        if self._first is None or not np.array_equal(self._first, result, equal_nan=floating):
            # It may be large, and is of no more use.
            self._first, self._is_same = None, False
        if floating and self._is_saturated:
            near = unit(result)
            self._is_saturated = bool(((np.abs(numbers) <= near) | (numbers >= 1 - near)).all())
        else:
            self._is_saturated = False

    def told(self, output: Value) -> str | None:
        """What is to be said of the output; None if its agreement tells as much as it should."""
        if not self._is_known or not _depends(output):
            return None
        if self._is_empty:
            return "is empty for every random input"
        if self._least == self._most or self._is_nan:
            number = self._least.item()
            shown = float(f"{number:.4g}") if isinstance(number, float) else number
            return f"is the same for every random input (all {shown})"
        if self._is_same:
            return "is the same for every random input"
        if self._is_saturated and _is_bounded(output):
            return "is 0 or 1 everywhere, for every random input"
        return None


def uninformative(model: Model, spreads: list[Spread], agreed: list[bool]) -> list[str]:
    """A sentence for each output of which random inputs tell little.

    Args:
        model: the model that was run.
        spreads: what its outputs were, in their order.
        agreed: whether each agreed with the other model's.
    """
    if not runtime_inputs(model):
        return []
    outputs = zip(model.graph.outputs, spreads, agreed, strict=True)
    said = [(value.name, spread.told(value)) for value, spread, agrees in outputs if agrees]
    return [
        f"output '{name}' {what}: its agreement tells little; check your own data with --inputs"
        for name, what in said
        if what is not None
    ]


def _depends(output: Value) -> bool:
    """Whether an output is computed from the numbers of an input, not only from its sizes."""
    pending, seen = [output], {output}
    while pending:
        value = pending.pop()
        node = value.producer
        if node is None:
            if value.is_input and value.tensor is None:
                return True
            continue
        if node.op in _OF_SIZES:
            continue
        read = [v for v in node.inputs if v is not None]
        read += [outer for body in node.bodies for outer in body.captures]
        pending += [v for v in read if v not in seen]
        seen.update(read)
    return False


def _is_bounded(output: Value) -> bool:
    """Whether an output consists of what a Sigmoid or Softmax makes."""
    pending, seen = [output], {output}
    while pending:
        node = pending.pop().producer
        if node is None or node.op not in _BOUNDED | _PASSING:
            return False
        if node.op in _PASSING:
            # Of the others than a Concat, what comes after the first says what is moved where.
            read = node.inputs if node.op == "Concat" else node.inputs[:1]
            pending += [v for v in read if v is not None and v not in seen]
            seen.update(v for v in read if v is not None)
    return True
