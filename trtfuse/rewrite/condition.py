"""What has to hold for a rewrite, besides the structure; and what is asked of every rewrite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that has to hold before nodes are rewritten, merged or grouped.

    Attributes:
        name: kebab-case, as the report has it.
        doc: what it makes sure of.
        helps: what a user can change where it does not hold; empty if nobody has said.
    """

    name: str
    doc: str = ""
    helps: str = ""

    @property
    def bare(self) -> Condition:
        """The condition without the function that asks it, which no file can hold."""
        return self if type(self) is Condition else Condition(self.name, self.doc, self.helps)

    @property
    def holds(self) -> str:
        """What it makes sure of, in one line."""
        return " ".join(self.doc.split())

    @property
    def advice(self) -> str:
        """An answer to "what would have to change?", even where nobody has given one."""
        return self.helps or f"it takes this: {self.holds}"


# Advice that several conditions give.
STATIC_SHAPES = "fix the sizes that the inputs leave open, with `--shapes`"
FOLDED_CONSTANTS = (
    "export with constants folded, and without initializers that are graph inputs as well: "
    "a caller can override those"
)
NO_OTHER_READER = (
    "nothing, if the other reader needs the value; else remove the reader or the output"
)
CAST_BEFORE = "nothing, if it has to be integers; else cast before the layer rather than inside it"
LAST_AXES = "normalize over the last axes, with a Transpose in front if need be"

ONE_CONSUMER = Condition(
    "one-consumer",
    "Nothing else reads the values between the matched nodes, and none of them is an output.",
    NO_OTHER_READER,
)
REPRESENTABLE = Condition(
    "representable",
    "The folded constants fit the type they are stored in.",
    "keep the layer in float32",
)
BOUNDED_GROWTH = Condition(
    "bounded-growth",
    "Each folded constant is at most `fold_limit` bytes larger than the stored constants it is "
    "computed from; all together add at most 256 times as much, or as much as the model's own "
    "constants take.",
    "raise `fold_limit`, or `--fold-limit`, to the bytes that the report names",
)
AGREES = Condition(
    "check",
    "The old and the new spelling agree in float64 (unless `verify` is `none`).",
    "please report it: a guard is missing",
)
#: What the driver asks of every rewrite that the guards of its rule let through.
IMPLIED = (ONE_CONSUMER, REPRESENTABLE, BOUNDED_GROWTH, AGREES)

OPSET = Condition(
    "opset",
    "The model imports an opset that the rule applies to.",
    "convert the model with `onnx.version_converter`",
)
STRUCTURE = Condition(
    "structure",
    "A BatchNormalization follows a layer that can absorb it.",
    "put the layer directly in front of it, if the order is yours to choose",
)
MALFORMED = Condition(
    "malformed-node",
    "A runtime can run the nodes of the model.",
    "correct the node that the sentence names; `onnx.shape_inference` with `strict_mode` says "
    "the same",
)
NAMED_OUTPUT = Condition(
    "named-output",
    "An Identity does not lead from one name that is known outside to another.",
    "name only one of the two as an output",
)
