"""What short texts compute as."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.maths.formula import Constant
from lumos_edge.quantities import Amount, Date, comparable, read_operand


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16", "16"),
        ("sixteen children", "16"),
        ("twenty-two", "22"),
        ("two hundred and five thousand people", "205000"),
        ("a hundred thousand", "100000"),
        ("a dozen", "12"),
        ("about 3.5", "3.5"),
        ("1,450", "1450"),
        ("25 000", "25000"),
        ("1.2 million", "1200000"),
        ("1/2", "0.5"),
        ("-5", "-5"),
        ("40%", "0.4"),
        ("75,000 (2010)", "75000"),
        ("75,000 as of May 2010", "75000"),
        ("none", "0"),
        ("1948", "1948"),
    ],
)
def test_plain_numbers(text: str, number: str) -> None:
    value = Fraction(number)
    assert read_operand(text) == Amount(value, value)


@pytest.mark.parametrize(
    ("text", "dimension", "in_base_units"),
    [
        ("1,450 metres (4,757 ft)", "length", "1450"),
        ("5 km", "length", "5000"),
        ("5 ft 9 in", "length", "1.7526"),
        ("2 hours 30 minutes", "time", "9000"),
        ("12 years old", "time", "378683424"),
        ("3 million square kilometres", "area", "3000000000000"),
        ("$5 million", "$", "5000000"),
        ("5 million dollars", "$", "5000000"),
    ],
)
def test_amounts_with_a_unit(text: str, dimension: str, in_base_units: str) -> None:
    operand = read_operand(text)
    assert isinstance(operand, Amount)
    assert (operand.dimension, operand.in_base_units().low) == (dimension, Fraction(in_base_units))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("May 14, 1948", Date(1948, 5, 14)),
        ("14 May 1948", Date(1948, 5, 14)),
        ("the 14th of May 1948", Date(1948, 5, 14)),
        ("1948-05-14", Date(1948, 5, 14)),
        ("in May 1948", Date(1948, 5)),
        ("44 BC", Date(-44)),
        ("15 March 44 BC", Date(-44, 3, 15)),
        ("AD 70", Date(70)),
        ("the 5th century BC", Date(-450)),
        ("1920s", Date(1925)),
    ],
)
def test_dates(text: str, date: Date) -> None:
    assert read_operand(text) == date


@pytest.mark.parametrize(
    ("text", "truth"), [("Yes", True), ("no", False), ("True", True), ("No, he did not", False)]
)
def test_truths(text: str, truth: bool) -> None:
    assert read_operand(text) is truth


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Julius Caesar",
        "one of the largest",
        "5 dogs and 3 cats",
        "R2-D2",
        "B12",
        "no children",
        "May",
        "No answer",
    ],
)
def test_what_means_no_certain_number_is_none(text: str) -> None:
    assert read_operand(text) is None


def test_a_range_has_two_ends() -> None:
    ranges = ("10 to 15", "10-15", "between 10 and 15")
    assert {read_operand(text) for text in ranges} == {Amount(Fraction(10), Fraction(15))}


def numbers(*texts: str, exact_dates: bool = True) -> list[tuple[object, ...]] | None:
    operands = [operand for text in texts if (operand := read_operand(text)) is not None]
    choices = comparable(operands, exact_dates=exact_dates)
    if choices is None:
        return None
    return [tuple(part.value for part in choice if isinstance(part, Constant)) for choice in choices]


def test_units_are_converted_only_where_they_differ() -> None:
    assert numbers("2 km", "3 km") == [(2, 3)]
    assert numbers("2 km", "3 miles") == [(2000, Fraction("4828.032"))]
    assert numbers("2 km", "3") == [(2, 3)]
    assert numbers("2 km", "3 kg") is None
    assert numbers("2 km", "3 miles", "4") is None
    assert numbers("$5", "€4") is None


def test_dates_compare_to_what_they_have_in_common() -> None:
    assert numbers("May 14, 1948", "May 13, 1948") == [(19480514, 19480513)]
    assert numbers("May 14, 1948", "June 1950") == [(19480500, 19500600)]
    assert numbers("May 14, 1948", "1948 BC") is not None
    assert numbers("May 14, 1948", "the 1940s") is not None
    assert numbers("May 14, 1948", "May 1948") is None  # cannot be told apart
    assert numbers("May 14, 1948", "2020") == [(1948, 2020)]
    assert numbers("May 14, 1948", "40 years") == [(1948, 40)]
    assert numbers("May 14, 1948", "40 miles") is None


def test_a_range_gives_choices() -> None:
    assert numbers("10 to 15", "12") == [(10, 12), (15, 12)]


@given(st.text(max_size=60))
def test_any_text_reads_as_something_or_nothing(text: str) -> None:
    operand = read_operand(text)
    assert operand is None or comparable([operand], exact_dates=False)


@given(st.integers(0, 10**12))
def test_integers_read_as_themselves(number: int) -> None:
    assert (
        read_operand(str(number)) == read_operand(f"{number:,}") == Amount(Fraction(number), Fraction(number))
    )
