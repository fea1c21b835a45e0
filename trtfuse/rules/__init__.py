"""The catalogue's own rules. Importing a family adds its rules, in the order they are tried."""

from trtfuse.rules import (
    activation,
    branch,
    duplicate,
    erase,
    fold,
    gelu,
    normalization,
    pad,
    parts,
    product,
    reduce,
    resize,
    scale,
    shuffle,
)

__all__ = [
    "activation",
    "branch",
    "duplicate",
    "erase",
    "fold",
    "gelu",
    "normalization",
    "pad",
    "parts",
    "product",
    "reduce",
    "resize",
    "scale",
    "shuffle",
]
