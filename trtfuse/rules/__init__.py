"""The catalogue's own rules. Importing a family adds its rules, in the order they are tried."""

from trtfuse.rules import (
    activation,
    branch,
    cast,
    duplicate,
    erase,
    fold,
    gelu,
    logic,
    normalization,
    pad,
    product,
    recurrent,
    reduce,
    scale,
    shuffle,
)

__all__ = [
    "activation",
    "branch",
    "cast",
    "duplicate",
    "erase",
    "fold",
    "gelu",
    "logic",
    "normalization",
    "pad",
    "product",
    "recurrent",
    "reduce",
    "scale",
    "shuffle",
]
