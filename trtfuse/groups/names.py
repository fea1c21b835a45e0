"""Names that nothing else has, in constant time however many alike there are."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """Names that are taken.

    Args:
        taken: those that are from the start.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._last: dict[str, int] = {}

    def take(self, stem: str) -> str:
        """A free name: the stem, or the stem and a number. It is taken from now on."""
        name, number = stem, self._last.get(stem, 1)
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._last[stem] = number
        self._taken.add(name)
        return name
