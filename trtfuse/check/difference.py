"""How far apart two models are in what they compute from the same inputs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from trtfuse.check.verification import Compared, Verification
from trtfuse.ir.tensor import FLOATING, Array, numpy_type

#: How many times the measured rounding of the original the result may differ by.
MARGIN = 8
#: The types of floating-point numbers.
FLOATING_TYPES = frozenset(numpy_type(element_type) for element_type in FLOATING)
#: Beyond this tolerance, as a share of the largest value, agreement tells little.
_LOOSE = 0.1
_EMPTY = "is empty: nothing was compared"
_NOT_FINITE = "has no finite number: nothing was compared"
#: So many notes on one output are listed, each on another set of inputs; the rest are counted.
_MOST_NOTES = 4


@dataclass(frozen=True)
class Difference:
    """How far apart one output is on one set of inputs.

    Attributes:
        part: which part of the output, if that is a sequence.
        wrong: what does not agree, the end of a sentence; None if it all does.
        note: what is worth knowing besides, likewise.
        undecided: why nothing could be compared, likewise.
        numbers: the largest difference, how far rounding moves the original, and the largest number
            of the original; None if there are no numbers to compare.
        exact: whether equality was asked for, not agreement within the rounding.
    """

    part: str = ""
    wrong: str | None = None
    note: str | None = None
    undecided: str | None = None
    numbers: tuple[float, float, float] | None = None
    exact: bool = True

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest number."""
        absolute, _, largest = self.numbers or (0.0, 0.0, 0.0)
        return _finite(absolute / (largest or 1.0))

    @property
    def tolerance(self) -> float:
        """What that may be."""
        _, rounding, largest = self.numbers or (0.0, 0.0, 0.0)
        return _finite(MARGIN * rounding / (largest or 1.0))

    @property
    def strain(self) -> float:
        """How near it comes to not agreeing: 1 is the limit."""
        if self.exact or not self.tolerance:
            return sys.float_info.max if self.wrong else 0.0
        return self.relative / self.tolerance


class Tally:
    """Gathers the differences of all outputs on all sets of inputs.

    Args:
        outputs: the names of the outputs.
        source: where the inputs come from.

    Attributes:
        verification: what was found so far.
    """

    def __init__(self, outputs: Sequence[str], source: str) -> None:
        compared = [Compared(name) for name in outputs]
        self.verification = Verification(
            "model", outputs=len(outputs), source=source, compared=compared
        )
        self._nearest = [(-1.0, 0.0)] * len(outputs)
        self._noted = [0] * len(outputs)
        #: By output, the smallest tolerance of all sets of inputs; infinite where there is none.
        self._tightest = [math.inf] * len(outputs)

    def add(
        self, inputs: str, expected: list[Any], actual: list[Any], moved: list[list[Any]]
    ) -> None:
        """Compares what two models compute from a set of inputs.

        Args:
            inputs: what to call the inputs.
            expected: the outputs of the original.
            actual: those of the other.
            moved: those of the original once its numbers are moved to their neighbours.
        """
        self.verification.samples += 1
        for position, entry in enumerate(self.verification.compared):
            others = [outputs[position] for outputs in moved]
            for found in differences(expected[position], actual[position], others):
                self._record(position, entry, inputs, found)

    def finish(self) -> Verification:
        """What was found in all."""
        found = self.verification
        for entry, noted in zip(found.compared, self._noted, strict=True):
            if noted > _MOST_NOTES:
                found.notes.append(
                    f"output '{entry.output}': {noted - _MOST_NOTES} more like these"
                )
        for entry, tolerance in zip(found.compared, self._tightest, strict=True):
            if entry.ok and entry.absolute and _LOOSE < tolerance < math.inf:
                found.notes.append(
                    f"output '{entry.output}': rounding alone moves the original by "
                    f"{tolerance / MARGIN:.1g} of its largest value: its agreement tells little"
                )
        # What agrees is not the worst where something else does not.
        named = [at for at, entry in enumerate(found.compared) if found.ok or not entry.ok]
        at = max(named, key=self._nearest.__getitem__, default=None)
        if at is not None and found.compared[at].absolute:
            found.worst = found.compared[at].output
        return found

    def _record(self, position: int, entry: Compared, inputs: str, found: Difference) -> None:
        total = self.verification
        total.checked += 1
        if found.wrong is not None:
            total.ok = entry.ok = False
        # Of what random inputs leave empty, one note is made in the end.
        empty = None if total.source == "random" else found.undecided
        entry.undecided |= found.undecided is not None or found.note is not None
        for text in (found.note, empty, found.wrong):
            if text is not None:
                self._noted[position] += 1
                if self._noted[position] <= _MOST_NOTES:
                    total.notes.append(f"{found.part}output '{entry.output}' ({inputs}) {text}")
        if found.numbers is None:
            return
        if not found.exact:
            self._tightest[position] = min(self._tightest[position], found.tolerance)
            # What comes nearest to failing is what is told.
            error, tolerance = found.relative, found.tolerance
            if (
                error * (total.tolerance or 1.0) >= total.max_error * tolerance
                or not total.tolerance
            ):
                total.max_error, total.tolerance = error, tolerance
        strain = found.strain, found.numbers[0]
        if strain > self._nearest[position]:
            self._nearest[position] = strain
            entry.inputs, entry.relative = inputs, found.relative
            entry.absolute, entry.rounding, entry.largest = map(_finite, found.numbers)


def differences(
    expected: Any, actual: Any, moved: list[Any], part: str = ""
) -> Iterator[Difference]:
    """Compares one output of two models, a sequence part by part.

    Args:
        expected: what the original computes.
        actual: what the other computes.
        moved: what the original computes once its numbers are moved to their neighbours. How far
            that is from `expected` sets the tolerance.
        part: which part of the output this is.
    """
    if not (isinstance(expected, list) and isinstance(actual, list)):
        yield _difference(expected, actual, moved, part)
    elif len(expected) != len(actual):
        yield Difference(part, f"has {len(actual)} parts, not {len(expected)}")
    else:
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            parts = [sequence[index] for sequence in moved if len(sequence) == len(expected)]
            yield from differences(one, other, parts, f"part {index} of {part}")


@np.errstate(all="ignore")
def _difference(expected: Any, actual: Any, moved: list[Any], part: str) -> Difference:
    if not isinstance(expected, np.ndarray):
        same = isinstance(actual, type(expected)) and str(expected) == str(actual)
        return Difference(part, None if same else "differs")
    if not isinstance(actual, np.ndarray):
        return Difference(part, "is not a tensor")
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        was = f"{expected.dtype}{list(expected.shape)}"
        return Difference(part, f"is {actual.dtype}{list(actual.shape)}, not {was}")
    others = [other for other in moved if other.shape == expected.shape]
    if expected.dtype not in FLOATING_TYPES:
        if len(others) < len(moved) and not np.array_equal(actual, expected):
            shaky = "has another shape once its numbers are rounded: its elements were not compared"
            return Difference(part, note=shaky)
        unsteady = np.zeros(expected.shape, bool)
        for other in others:
            unsteady |= other != expected
        wrong = int(np.count_nonzero((actual != expected) & ~unsteady))
        said = f"differs in {wrong} of {expected.size} elements" if wrong else None
        if not expected.size:
            return Difference(part, undecided=_EMPTY)
        numbers = None
        if expected.dtype.kind in "iub":
            old, new, *rest = (each.astype(np.float64) for each in (expected, actual, *others))
            numbers = _apart(old, new), _apart(old, *rest), float(np.abs(old).max())
        return Difference(part, said, numbers=numbers)
    old, new = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(old)
    lost = int(np.count_nonzero(~np.isfinite(new) & finite))
    if lost:
        return Difference(part, f"has {lost} elements that were finite and no longer are")
    unlike = int(np.count_nonzero(np.isinf(old) & ~np.isfinite(new) & (old != new)))
    if unlike:
        return Difference(part, f"has {unlike} elements that are infinite or none otherwise")
    gained = int(np.count_nonzero(np.isfinite(new) & ~finite))
    note = f"has {gained} elements that were not finite and now are" if gained else None
    infinite = int(np.count_nonzero(np.isnan(old) & np.isinf(new)))
    if infinite:
        note = f"has {infinite} elements that were NaN and are now infinite"
    if not finite.any():
        return Difference(part, None, note, _EMPTY if not old.size else _NOT_FINITE)
    largest = float(np.abs(old[finite]).max())
    moves = [
        float(np.abs(other.astype(np.float64) - old)[finite & np.isfinite(other)].max(initial=0.0))
        for other in others
    ]
    rounding = max([unit(expected) * (largest or 1.0), *moves])
    numbers = float(np.abs(new - old)[finite].max()), rounding, largest
    found = Difference(part, None, note, numbers=numbers, exact=False)
    if found.relative <= found.tolerance:
        return found
    told = f"{found.relative:.2g} of its largest number (tolerance {found.tolerance:.2g})"
    return Difference(part, f"differs by {told}", note, numbers=numbers, exact=False)


def _apart(first: Array, *others: Array) -> float:
    """The largest difference between an array and others."""
    return max((float(np.abs(other - first).max()) for other in others), default=0.0)


def unit(array: Array) -> float:
    """The distance from 1 to the next number of an array's type."""
    return float(ml_dtypes.finfo(array.dtype).eps)  # type: ignore[no-untyped-call]


def _finite(number: float) -> float:
    """JSON has no infinity, which the difference of the largest numbers is."""
    return min(number, sys.float_info.max)
