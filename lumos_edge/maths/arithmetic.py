"""Exact arithmetic on rational numbers, with its limits checked before anything large is computed.

Every function gives a `Fraction`, or `None` where the result is irrational, and raises `ToolError` where
there is none: a division by zero, a root of a negative number, a number of more than `MAX_DIGITS` digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

from lumos_edge.errors import ToolError

MAX_DIGITS: Final = 4_000
"""Decimal digits of a numerator or denominator; Python itself prints no more than 4,300."""

_MAX_BITS: Final = int(MAX_DIGITS * math.log2(10))
_MAX_ROOT: Final = 1_000


def checked(value: Fraction) -> Fraction:
    """The value itself; `ToolError` when it has more than `MAX_DIGITS` digits."""
    n_bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    check_digits(n_bits * math.log10(2))
    return value


def check_digits(n_digits: float) -> None:
    """Raise `ToolError` for a number that has, or would have, more than `MAX_DIGITS` digits."""
    if n_digits > MAX_DIGITS + 1:
        found = "inf" if math.isinf(n_digits) else f"{n_digits:.0f}"
        raise ToolError(f"the number has about {found} digits, at most {MAX_DIGITS} are allowed")


def n_digits_of_power(base: Fraction, exponent: Fraction) -> float:
    """About how many digits `base^exponent` has, without computing it."""
    size = max(_log10(abs(base.numerator)), _log10(base.denominator))
    return size * abs(float(min(abs(exponent), Fraction(10**12))))


def divide(left: Fraction, right: Fraction) -> Fraction:
    """`left / right`."""
    if right == 0:
        raise ToolError("division by zero")
    return left / right


def power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """`base^exponent`; the root of a negative number is real where its index is odd: (-8)^(1/3) is -2."""
    if base == 0 and exponent < 0:
        raise ToolError("division by zero")
    check_digits(n_digits_of_power(base, exponent))
    if exponent.denominator == 1:
        return base**exponent.numerator
    root_of_base = root(base, exponent.denominator)
    return None if root_of_base is None else root_of_base**exponent.numerator


def root(value: Fraction, index: int) -> Fraction | None:
    """The real root, `None` when it is irrational or its index above 1,000."""
    if value < 0 and index % 2 == 0:
        raise ToolError(f"a root of a negative number, {value}, is not a real number")
    if index > _MAX_ROOT:
        return None
    numerator = _integer_root(abs(value.numerator), index)
    denominator = _integer_root(value.denominator, index)
    if numerator is None or denominator is None:
        return None
    return Fraction(numerator if value > 0 else -numerator, denominator)


def modulo(left: Fraction, right: Fraction) -> Fraction:
    """What is left of `left` after whole `right`s are taken; it has the sign of `right`."""
    if right == 0:
        raise ToolError("division by zero")
    return left % right


def rounded(value: Fraction, places: Fraction = Fraction(0)) -> Fraction:
    """To so many decimal places, halves away from zero, as schools teach it."""
    n_places = whole(places, "the number of places")
    if abs(n_places) > MAX_DIGITS:
        raise ToolError(f"round to {n_places} places, at most {MAX_DIGITS} are allowed")
    scale = Fraction(10) ** n_places
    nearest = math.floor(abs(value) * scale + Fraction(1, 2)) / scale
    return nearest if value >= 0 else -nearest


def factorial(value: Fraction) -> Fraction:
    """The factorial of a whole number that is not negative."""
    n = _natural(value, "factorial")
    check_digits(math.lgamma(min(n, 10**12) + 1) / math.log(10))
    return Fraction(math.factorial(n))


def binomial(n_all: Fraction, n_chosen: Fraction) -> Fraction:
    """How many ways there are to choose `n_chosen` out of `n_all`."""
    n, k = _natural(n_all, "binomial"), _natural(n_chosen, "binomial")
    if k > n:
        return Fraction(0)
    k = min(k, n - k)
    if k > 0:
        check_digits(min(k, 10**12) * (_log10(n) - _log10(k)))
    return Fraction(math.comb(n, k))


def logarithm(value: Fraction, base: Fraction = Fraction(10)) -> Fraction | None:
    """The exponent to which `base` gives `value`."""
    if value <= 0 or base <= 0 or base == 1:
        raise ToolError(f"the logarithm of {value} to base {base} is not a real number")
    exponent = Fraction(_ln(value) / _ln(base)).limit_denominator(12)
    return exponent if power(base, exponent) == value else None


def gcd(*values: Fraction) -> Fraction:
    """The greatest common divisor of whole numbers."""
    return Fraction(math.gcd(*(whole(value, "an argument of gcd") for value in values)))


def lcm(*values: Fraction) -> Fraction:
    """The least common multiple of whole numbers."""
    check_digits(sum(_log10(abs(value.numerator)) for value in values))
    return Fraction(math.lcm(*(whole(value, "an argument of lcm") for value in values)))


def whole(value: Fraction, what: str) -> int:
    """The value as an `int`; `ToolError`, which names `what`, when it is none."""
    if value.denominator != 1:
        raise ToolError(f"{what} has to be a whole number, found {value}")
    return value.numerator


def _known_at(point: int, result: int) -> Callable[[Fraction], Fraction | None]:
    """A transcendental function of rational numbers: rational at one point only."""
    return lambda value: Fraction(result) if value == point else None


OPERATIONS: Final[Mapping[str, Callable[[Fraction, Fraction], Fraction | None]]] = {
    "+": Fraction.__add__,
    "-": Fraction.__sub__,
    "*": Fraction.__mul__,
    "/": divide,
    "^": power,
}

FUNCTIONS: Final[Mapping[str, Callable[..., Fraction | None]]] = {
    "sqrt": lambda value: root(value, 2),
    "cbrt": lambda value: root(value, 3),
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "round": rounded,
    "factorial": factorial,
    "binomial": binomial,
    "mod": modulo,
    "gcd": gcd,
    "lcm": lcm,
    "min": min,
    "max": max,
    "sum": lambda *values: sum(values, Fraction(0)),
    "log": logarithm,
    "ln": lambda value: Fraction(0) if logarithm(value) == 0 else None,
    "exp": _known_at(0, 1),
    "sin": _known_at(0, 0),
    "cos": _known_at(0, 1),
    "tan": _known_at(0, 0),
}


def _natural(value: Fraction, function: str) -> int:
    n = whole(value, f"the argument of {function}")
    if n < 0:
        raise ToolError(f"the argument of {function} has to be 0 or more, found {value}")
    return n


def _log10(value: int) -> float:
    return math.log10(value) if value > 0 else 0.0


def _ln(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def _integer_root(value: int, index: int) -> int | None:
    """The root of a number that is not negative, where it is whole; found by bisection."""
    low, high = 0, 1 << (value.bit_length() // index + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**index <= value else (low, middle - 1)
    return low if low**index == value else None
