"""Sizes that are not known as numbers, in a form in which equal ones compare equal.

A size is a number, a dimension, or a number times dimensions: Reshape(-1, 8) makes 7 * N rows of a
tensor of [N, 7, 8], and what is computed from the shape of that divides by 7 again. A dimension is
told by its symbol, or by where it is if it has none.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from trtfuse.ir.graph import Dimension, Value

#: How the symbols begin that stand in no file, as in ONNX's own inference.
MADE_UP = "unk__"


class Dim(NamedTuple):
    """The size of a dimension that has no symbol."""

    of: Value
    axis: int


class Product(NamedTuple):
    """A number times dimensions, which are in order; made by `product` and `quotient`."""

    number: int | Fraction
    of: tuple[str | Dim, ...]


#: What a tensor of sizes has in one place; None where it may be anything. Fractions are what
#: floating-point numbers hold on the way from one size to another.
Size = int | Fraction | str | Dim | Product | None


class Derived(str):
    """The symbol of a dimension whose size is a product of others, such as `unk__7*N`."""

    product: Product


def product(*sizes: Size) -> Size:
    """The sizes multiplied; None where one of them may be anything."""
    number: int | Fraction = 1
    of: list[str | Dim] = []
    for size in sizes:
        if size is None:
            return None
        each, dimensions = _taken_apart(size)
        number *= each
        of += dimensions
    return _made(number, of)


def quotient(size: Size, by: Size) -> Size:
    """One size divided by another, where that leaves no dimension below the line; else None.

    The number may be a fraction. Where a dimension of both is 0, dividing fails at run time.
    """
    if size is None or by is None:
        return None
    if isinstance(size, int) and isinstance(by, int) and by and size % by == 0:
        return size // by
    number, of = _taken_apart(size)
    divisor, dimensions = _taken_apart(by)
    left = list(of)
    for dimension in dimensions:
        if dimension not in left:
            return None if number else 0
        left.remove(dimension)
    return _made(Fraction(number) / divisor, left) if divisor else None


def total(a: Size, b: Size) -> Size:
    """The sum of two sizes, if that is a product too; else None."""
    if a is None or b is None:
        return None
    if a == 0 or b == 0:
        return b if a == 0 else a
    (number, of), (other, dimensions) = _taken_apart(a), _taken_apart(b)
    return _made(number + other, of) if of == dimensions else None


def number_of(size: Size) -> int | Fraction | None:
    """What the dimensions of a size are multiplied by; the number where there are none."""
    return None if size is None else _taken_apart(size)[0]


def is_whole(size: Size) -> bool:
    """Whether it is an integer for all sizes of the dimensions."""
    return isinstance(number_of(size), int)


def is_negative(size: Size) -> bool:
    """Whether it is a negative number, for all sizes of the dimensions: they may be 0."""
    return isinstance(size, (int, Fraction)) and size < 0


def is_never_negative(size: Size) -> bool:
    """Whether it is 0 or more, for all sizes of the dimensions."""
    number = number_of(size)
    return number is not None and number >= 0


def equal(a: Size, b: Size) -> bool | None:
    """Whether two sizes are the same for all sizes of the dimensions, or different for all of them;
    None where it is now one and now the other, or where there is no telling.
    """
    difference = total(a, product(b, -1))
    if isinstance(difference, (int, Fraction)):
        return difference == 0
    apart = any(is_negative(x) and is_never_negative(y) for x, y in ((a, b), (b, a)))
    return False if apart else None


def at_least(size: Size, other: Size) -> bool:
    """Whether a size is as large as another or larger, for all sizes of the dimensions."""
    negated = product(other, -1)
    if is_never_negative(size) and is_never_negative(negated):
        return True
    return is_never_negative(total(size, negated))


def dimension(size: Size) -> Dimension:
    """What a shape has for a size: a number or a symbol, or None where it can say neither."""
    if isinstance(size, (int, str)):
        return size
    if not isinstance(size, Product) or not isinstance(size.number, int) or size.number < 0:
        return None
    factors = [*([size.number] if size.number != 1 else ()), *size.of]
    if any(isinstance(each, Dim) or "*" in str(each) for each in factors):
        # Two products have to have two names.
        return None
    symbol = Derived(MADE_UP + "*".join(map(str, factors)))
    symbol.product = size
    return symbol


def _taken_apart(
    size: int | Fraction | str | Dim | Product,
) -> tuple[int | Fraction, list[str | Dim]]:
    if isinstance(size, Derived):
        size = size.product
    if isinstance(size, Product):
        return size.number, list(size.of)
    return (1, [size]) if isinstance(size, (str, Dim)) else (size, [])


def _made(number: int | Fraction, of: list[str | Dim]) -> Size:
    whole = int(number) if number == int(number) else number
    if not of or not whole:
        return whole
    if whole == 1 and len(of) == 1:
        return of[0]
    return Product(whole, tuple(sorted(of, key=_place)))


def _place(each: str | Dim) -> tuple[str, str, int, int]:
    if isinstance(each, Dim):
        return "", each.of.name, each.axis, id(each.of)
    return "symbol", each, 0, 0
