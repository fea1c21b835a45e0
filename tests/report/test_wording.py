"""An engine on a terminal."""

from __future__ import annotations

import pytest

from trtfuse.report.wording import amount


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1536, "1.54 kB"),
        (262_144_000, "262 MB"),
        (999_999, "1 MB"),
        (4_000_000_000, "4 GB"),
        (4_321_000_000_000, "4.32 TB"),
    ],
)
def test_amounts_of_memory(size: int, text: str) -> None:
    assert amount(size) == text
