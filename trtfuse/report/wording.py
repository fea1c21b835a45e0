"""How numbers, names and lists are written, on every surface alike."""

from __future__ import annotations

from collections.abc import Sequence

#: What may follow a number of bytes, the largest first.
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things: "1 node", "2 nodes"; with the plural given, where it is no s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def amount(size: int) -> str:
    """A number of bytes as people read it: 217 MB, 1.5 kB, 80 bytes."""
    for unit, name in _UNITS:
        # 999,999 bytes are 1 MB, not 1e+03 kB.
        if size >= 0.9995 * unit:
            number = size / unit
            return f"{number:.0f} {name}" if number >= 999.5 else f"{number:.3g} {name}"
    return counted(size, "byte")


def joined(things: Sequence[str], word: str = "and") -> str:
    """A list in words: "a", "a and b", "a, b and c"; or with another word than "and"."""
    *first, last = things
    return f"{', '.join(first)} {word} {last}" if first else last


def printable(text: str) -> str:
    """Text in which what would control a terminal, or break a line, is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
