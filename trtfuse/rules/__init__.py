"""The catalogue's own rules. Importing a family adds its rules, in the order they are tried."""

from trtfuse.rules import scale

__all__ = ["scale"]
