from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtfuse.analysis.products import Product, Size, at_least, equal, product, total

N2 = product("n", 2)
#: Sizes, and what each is where n and m are these numbers.
SIZES: st.SearchStrategy[Size] = st.one_of(
    st.integers(-3, 3),
    st.fractions(-2, 2, max_denominator=4),
    st.none(),
    st.builds(
        lambda number, *of: product(number, *of),
        st.integers(-2, 3),
        st.sampled_from(("n", "m")),
        st.sampled_from(("n", "m", 1)),
    ),
)


def at(size: Size, n: int, m: int) -> int | Fraction:
    """A size for certain sizes of the dimensions."""
    numbers = {"n": n, "m": m}
    if isinstance(size, Product):
        return size.number * math.prod(numbers[str(each)] for each in size.of)
    if isinstance(size, str):
        return numbers[size]
    assert isinstance(size, (int, Fraction))
    return size


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (3, 3, True),
        (3, 4, False),
        ("n", "n", True),
        (N2, total("n", "n"), True),
        (product("n", "m"), product("m", "n"), True),
        ("n", "m", None),
        ("n", 1, None),
        ("n", N2, None),
        ("n", -1, False),
        (None, None, None),
        (None, 1, None),
        (0, product("n", 0), True),
    ],
)
def test_what_is_equal_for_all_sizes(a: Size, b: Size, expected: bool | None) -> None:
    assert equal(a, b) is expected
    assert equal(b, a) is expected


@pytest.mark.parametrize(
    ("size", "other", "expected"),
    [
        (3, 3, True),
        (3, 4, False),
        ("n", "n", True),
        (N2, "n", True),
        ("n", N2, False),
        ("n", 0, True),
        ("n", -1, True),
        (-1, "n", False),
        ("n", 1, False),
        ("n", "m", False),
        ("n", None, False),
        (None, None, False),
    ],
)
def test_what_is_as_large_for_all_sizes(size: Size, other: Size, expected: bool) -> None:
    assert at_least(size, other) is expected


@given(SIZES, SIZES, st.integers(0, 4), st.integers(0, 4))
def test_what_is_said_of_two_sizes_holds_for_every_size(a: Size, b: Size, n: int, m: int) -> None:
    if a is None or b is None:
        assert equal(a, b) is None
        assert not at_least(a, b)
        return
    same = equal(a, b)
    if same is not None:
        assert (at(a, n, m) == at(b, n, m)) is same
    if at_least(a, b):
        assert at(a, n, m) >= at(b, n, m)
