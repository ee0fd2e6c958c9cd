from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths import arithmetic

numbers = st.fractions(min_value=-10_000, max_value=10_000, max_denominator=500)


@given(numbers, st.integers(1, 7))
def test_the_root_of_a_power_is_exact(value: Fraction, index: int) -> None:
    expected = abs(value) if index % 2 == 0 else value
    assert arithmetic.root(value**index, index) == expected


@given(st.integers(2, 10**30), st.integers(2, 5))
def test_what_is_next_to_a_power_has_no_rational_root(value: int, index: int) -> None:
    assert arithmetic.root(Fraction(value**index + 1), index) is None


@given(numbers, numbers.filter(bool))
def test_the_modulus_lies_between_zero_and_its_divisor(left: Fraction, right: Fraction) -> None:
    rest = arithmetic.modulo(left, right)
    assert (left - rest) / right == (left - rest) // right
    assert 0 <= rest / right < 1


@given(numbers, st.integers(-3, 6))
def test_rounding_goes_to_the_nearest(value: Fraction, places: int) -> None:
    nearest = arithmetic.rounded(value, Fraction(places))
    assert (nearest * Fraction(10) ** places).denominator == 1
    assert abs(value - nearest) <= Fraction(1, 2) / Fraction(10) ** places


def test_halves_are_rounded_away_from_zero() -> None:
    assert [arithmetic.rounded(Fraction(n, 2)) for n in (1, 3, 5, -1, -3)] == [1, 2, 3, -1, -2]


@given(st.integers(0, 60), st.integers(0, 60))
def test_counting_functions_equal_pythons(n: int, k: int) -> None:
    assert arithmetic.factorial(Fraction(n)) == math.factorial(n)
    assert arithmetic.binomial(Fraction(n), Fraction(k)) == math.comb(n, k)
    assert arithmetic.gcd(Fraction(n), Fraction(k)) == math.gcd(n, k)
    assert arithmetic.lcm(Fraction(n), Fraction(k)) == math.lcm(n, k)


@given(st.integers(2, 50), st.integers(-20, 20))
def test_the_logarithm_of_a_power_is_its_exponent(base: int, exponent: int) -> None:
    assert arithmetic.logarithm(Fraction(base) ** exponent, Fraction(base)) == exponent


def test_functions_know_when_they_are_irrational() -> None:
    assert arithmetic.power(Fraction(2), Fraction(1, 2)) is None
    assert arithmetic.power(Fraction(2), Fraction(1, 10**9)) is None
    assert arithmetic.logarithm(Fraction(2)) is None
    assert arithmetic.FUNCTIONS["sin"](Fraction(1)) is None
    assert arithmetic.FUNCTIONS["exp"](Fraction(0)) == 1


def test_every_known_function_has_a_rule_for_numbers() -> None:
    from lumos_edge.maths.formula import FUNCTIONS

    assert arithmetic.FUNCTIONS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (arithmetic.divide, ["1", "0"], "division by zero"),
        (arithmetic.modulo, ["1", "0"], "division by zero"),
        (arithmetic.power, ["0", "-1"], "division by zero"),
        (arithmetic.power, ["2", "10000000000"], "about 3010299957 digits, at most 4000"),
        (arithmetic.power, ["1/3", "-1e400"], "digits, at most 4000"),
        (arithmetic.power, ["-4", "1/2"], "root of a negative number, -4"),
        (arithmetic.factorial, ["1000000000"], "digits, at most 4000"),
        (arithmetic.factorial, ["-1"], "0 or more, found -1"),
        (arithmetic.factorial, ["1/2"], "whole number, found 1/2"),
        (arithmetic.binomial, ["1e9", "5e8"], "digits, at most 4000"),
        (arithmetic.rounded, ["1", "1e9"], "1000000000 places"),
        (arithmetic.logarithm, ["-1"], "logarithm of -1 to base 10"),
        (arithmetic.gcd, ["1/2", "3"], "whole number, found 1/2"),
    ],
)
def test_what_has_no_value_is_an_error(function: object, arguments: list[str], message: str) -> None:
    assert callable(function)
    with pytest.raises(ToolError, match=message):
        function(*map(Fraction, arguments))


def test_small_parts_of_large_numbers_are_fine() -> None:
    assert arithmetic.binomial(Fraction(10**9), Fraction(2)) == 499999999500000000
    assert arithmetic.power(Fraction(1), Fraction(10**400)) == 1
    assert arithmetic.checked(Fraction(10**3999)) == 10**3999
    with pytest.raises(ToolError, match="at most 4000"):
        arithmetic.checked(Fraction(1, 10**4002))
