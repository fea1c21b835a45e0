"""What a check found, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Compared:
    """How far apart one output of two models is.

    The numbers are for one set of inputs: the one on which the output came nearest to its
    tolerance. They are None if no numbers could be compared.

    Attributes:
        output: its name.
        ok: whether it agreed on every set of inputs.
        inputs: the set of inputs that the numbers are for: the name of a file, or the
            kind of random inputs.
        absolute: the largest difference between two numbers.
        relative: the same, as a share of `largest`.
        rounding: how far rounding alone moves the original: the largest difference once its inputs,
            its weights and what its nodes compute move by one unit in the last place. Of
            floating-point numbers it is never less than such a unit of `largest`.
        largest: the largest number that the original computes, without its sign.
        undecided: whether some of it could not be compared, since it was empty, not finite, or of
            a shape that depends on rounding.
    """

    output: str
    ok: bool = True
    inputs: str = ""
    absolute: float | None = None
    relative: float | None = None
    rounding: float | None = None
    largest: float | None = None
    undecided: bool = False


@dataclass
class Verification:
    """What a check found.

    Attributes:
        level: "none", "rewrite" or "model".
        ok: whether everything agreed within the tolerance.
        max_error: the largest error; for "rewrite" relative to what rounding does to the original,
            for "model" relative to the largest number of the output.
        tolerance: what `max_error` is compared with, in the same unit.
        checked: how many rewrites, or outputs in how many runs, were compared.
        notes: remarks, one sentence each; they tell what is wrong if not `ok`.
        outputs: how many outputs the model has, if the whole model was checked.
        samples: on how many sets of inputs they were compared.
        source: where these came from: "random", the files that were given, or "arrays".
        worst: the output that differs most, compared with what rounding does to it; None if none
            differs, or if no numbers could be compared.
        compared: each output, in the order of the model.
    """

    level: str
    ok: bool = True
    max_error: float = 0.0
    tolerance: float = 0.0
    checked: int = 0
    notes: list[str] = field(default_factory=list)
    outputs: int = 0
    samples: int = 0
    source: str | None = None
    worst: str | None = None
    compared: list[Compared] = field(default_factory=list)

    def fail(self, why: str) -> None:
        """Records that something does not agree."""
        self.ok = False
        self.notes.append(why)
