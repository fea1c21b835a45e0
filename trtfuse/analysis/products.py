"""Sizes that are not known as numbers, written so that equal ones compare equal.

A size is a number, a dimension, or a number times dimensions: Reshape(-1, 8) makes 7 * N rows of a
tensor of [N, 7, 8], and what is computed from the shape of that divides by 7 again. A dimension is
told by its symbol, or by where it is if it has none.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from trtfuse.ir.graph import Dimension, Value

#: What the symbols begin with that inference makes up, ONNX's own and ours; no file has them.
MADE_UP = "unk__"


class Dim(NamedTuple):
    """The size of a dimension that has no symbol."""

    of: Value
    axis: int


class Product(NamedTuple):
    """A number times dimensions, which are in order; made by `product` and `quotient`."""

    number: int | Fraction
    of: tuple[str | Dim, ...]


#: One entry of a tensor of sizes; None where it may be anything. Fractions occur where sizes go
#: through floating-point numbers.
Size = int | Fraction | str | Dim | Product | None


class Derived(str):
    """The symbol of a dimension whose size is a product of others, such as `unk__7*N`."""

    product: Product


def product(*sizes: Size) -> Size:
    """The product of some sizes; None if one of them may be anything."""
    number: int | Fraction = 1
    of: list[str | Dim] = []
    for size in sizes:
        if size is None:
            return None
        factor, dimensions = _taken_apart(size)
        number *= factor
        of += dimensions
    return _made(number, of)


def quotient(size: Size, by: Size) -> Size:
    """One size divided by another if that leaves no dimension in the divisor; else None.

    The number may be a fraction. Dividing fails at run time where a dimension of both is 0.
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
    """The sum of two sizes if it can be written as a product; else None."""
    if a is None or b is None:
        return None
    if a == 0 or b == 0:
        return b if a == 0 else a
    (number, of), (other, dimensions) = _taken_apart(a), _taken_apart(b)
    return _made(number + other, of) if of == dimensions else None


def number_of(size: Size) -> int | Fraction | None:
    """The number that the dimensions of a size are multiplied by; a size without any is its own."""
    return None if size is None else _taken_apart(size)[0]


def is_whole(size: Size) -> bool:
    """Whether it is an integer, whatever the dimensions are."""
    return isinstance(number_of(size), int)


def is_negative(size: Size) -> bool:
    """Whether it is negative, whatever the dimensions are: they may be 0."""
    return isinstance(size, (int, Fraction)) and size < 0


def is_never_negative(size: Size) -> bool:
    """Whether it is 0 or more, whatever the dimensions are."""
    number = number_of(size)
    return number is not None and number >= 0


def equal(a: Size, b: Size) -> bool | None:
    """Whether two sizes are equal, whatever the dimensions are; False if they never are.

    None if that depends on the dimensions, or is not known.
    """
    difference = total(a, product(b, -1))
    if isinstance(difference, (int, Fraction)):
        return difference == 0
    apart = any(is_negative(x) and is_never_negative(y) for x, y in ((a, b), (b, a)))
    return False if apart else None


def at_least(size: Size, other: Size) -> bool:
    """Whether a size is at least as large as another, whatever the dimensions are."""
    negated = product(other, -1)
    if is_never_negative(size) and is_never_negative(negated):
        return True
    return is_never_negative(total(size, negated))


def dimension(size: Size) -> Dimension:
    """A size as an entry of a shape: a number or a symbol; None if it can be neither."""
    if isinstance(size, (int, str)):
        return size
    if not isinstance(size, Product) or not isinstance(size.number, int) or size.number < 0:
        return None
    factors = [*([size.number] if size.number != 1 else ()), *size.of]
    if any(isinstance(factor, Dim) or "*" in str(factor) for factor in factors):
        # Two products that differ need symbols that differ.
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


def _place(factor: str | Dim) -> tuple[str, str, int, int]:
    """What the dimensions of a product are sorted by; values of one name are told apart by `id`."""
    if isinstance(factor, Dim):
        return "", factor.of.name, factor.axis, id(factor.of)
    return "symbol", factor, 0, 0
