from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given

from lumos_edge.maths.formula import Constant, Formula, Negation, Operation, Truth, fold, rebuild
from lumos_edge.maths.parser import Start, parse
from lumos_edge.maths.printer import print_formula, print_number
from tests.maths import formulas


def normal(formula: Formula) -> Formula:
    """The tree that the text of a formula has: negative numbers and quotients are operations there."""

    def written(node: Formula, parts: tuple[Formula, ...]) -> Formula:
        if not isinstance(node, Constant):
            return rebuild(node, parts)
        size = abs(node.value)
        number: Formula = Constant(size)
        if "/" in print_number(size):
            number = Operation("/", Constant(Fraction(size.numerator)), Constant(Fraction(size.denominator)))
        return Negation(number) if node.value < 0 else number

    return fold(formula, written)


@given(formulas.expressions(formulas.decimals) | formulas.relations(formulas.decimals))
def test_a_calculation_comes_back_as_it_was(formula: Formula) -> None:
    assert parse(print_formula(formula), "calculation") == formula


@given(formulas.equations())
def test_equations_come_back_as_they_were(formula: Formula) -> None:
    assert parse(print_formula(formula), "equations") == formula


@given(formulas.codes(formulas.decimals))
def test_code_comes_back_as_it_was(formula: Formula) -> None:
    assert parse(print_formula(formula), "code") == formula


@given(formulas.expressions(formulas.rationals))
def test_any_rational_number_comes_back_as_it_is_written(formula: Formula) -> None:
    assert parse(print_formula(formula), "calculation") == normal(formula)


@given(formulas.listings(formulas.rationals))
def test_lists_come_back_as_they_are_written(formula: Formula) -> None:
    assert parse(print_formula(formula), "listing") == normal(formula)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("72", "72"),
        ("-72", "-72"),
        ("1/4", "0.25"),
        ("-1/4", "-0.25"),
        ("1/20", "0.05"),
        ("1/3", "1/3"),
        ("1/64", "0.015625"),
        ("1/128", "1/128"),
        ("1.414213562", "1.414213562"),
        ("123/40", "3.075"),
        (f"1/{2**4000}", f"1/{2**4000}"),
    ],
)
def test_numbers_are_written_as_people_write_them(value: str, text: str) -> None:
    assert print_number(Fraction(value)) == text
    assert print_formula(Constant(Fraction(value))) == text


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2*(x + 1)^2 = 1/3", "calculation"),
        ("a - (b - c) - (b + c)", "calculation"),
        ("a/(b*c)/d", "calculation"),
        ("-a*b + (-a)*b - a^(-2)", "calculation"),
        ("2^3^2*(2^3)^2", "calculation"),
        ("40%*p + (a + b)%", "calculation"),
        ("R1(R9) + R4(R5, 2*R6) - R1(x=2)", "calculation"),
        ("sqrt(2)*max(1, 2, x)", "calculation"),
        ("2^0, 2^1, ..., 2^10", "listing"),
        ("R2 = x*y, R3 = x/y, R4", "equations"),
        ("If R8 > 0, If R9 != 1, R8, 1 < 2, -R8", "code"),
    ],
)
def test_there_are_no_more_parentheses_than_needed(text: str, start: Start) -> None:
    assert print_formula(parse(text, start)) == text


def test_truth_is_a_word() -> None:
    assert print_formula(Truth(True)) == "True"
    assert parse("True", "code") == Truth(True)
