from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths.counting import count
from lumos_edge.maths.formula import Constant, Listing
from lumos_edge.maths.parser import parse


def n_elements(text: str) -> Fraction:
    listing = parse(text, "listing")
    assert isinstance(listing, Listing)
    return count(listing).value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 1),
        ("1, 2, 3", 3),
        ("x, y, 2*x", 3),
        ("3, 7, ..., 99", 25),
        ("10, 8, ..., 2", 5),
        ("1, ..., 10", 10),
        ("-3, -2, ..., 3", 7),
        ("1, 2, ..., 9, 10", 10),
        ("1, 1.5, …, 4", 7),
        ("2^0, 2^1, ..., 2^10", 11),
        ("1^2, 2^2, ..., 10^2", 10),
        ("1, 2, 4, ..., 64", 7),
        ("1, 1/2, ..., 1/64", 7),
        ("2, -4, 8, ..., -64", 6),
        ("2*1, 2*2, ..., 2*10", 10),
        ("[2, 4, ..., 100]", 50),
    ],
)
def test_dots_stand_for_the_rest_of_a_progression(text: str, expected: int) -> None:
    assert n_elements(text) == expected


@given(st.integers(-50, 50), st.integers(-9, 9).filter(bool), st.integers(3, 500))
def test_arithmetic_progressions_are_counted(first: int, step: int, n: int) -> None:
    assert n_elements(f"{first}, {first + step}, ..., {first + (n - 1) * step}") == n


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1, 2, ...", "numbers on both sides of `...`"),
        ("..., 3", "numbers on both sides of `...`"),
        ("1, 2, 4, ..., 63", "no arithmetic or geometric progression"),
        ("1, 3, ..., 10", "no arithmetic or geometric progression"),
        ("1, 2, ..., 8, 10", "no arithmetic or geometric progression"),
        ("1, 1, ..., 5", "no arithmetic or geometric progression"),
        ("1, 2, ..., 2", "no arithmetic or geometric progression"),
        ("2, 1, ..., 5", "no arithmetic or geometric progression"),
        ("4, 2, 1, ..., 0", "no arithmetic or geometric progression"),
        ("x, 2, ..., 5", "found `x`"),
        ("1, ..., 5, ..., 9", "found a second `...`"),
        ("1.0001, 1.0002, 1.0004, ..., 2", "at most 4000"),
    ],
)
def test_what_is_no_progression_is_refused(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        n_elements(text)


def test_the_result_is_a_number() -> None:
    assert count(Listing((Constant(Fraction(7)),))) == Constant(Fraction(1))
