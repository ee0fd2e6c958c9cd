from __future__ import annotations

import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths.formula import Constant, Formula, Function, Operation, Relation
from lumos_edge.maths.parser import parse
from lumos_edge.maths.printer import print_formula
from lumos_edge.maths.symbolic import approximate, estimate, from_sympy, sign, simplified, to_sympy

radicands = st.integers(2, 200).map(lambda n: Function("sqrt", (Constant(Fraction(n)),)))
constants = st.fractions(min_value=-20, max_value=20, max_denominator=12).map(Constant)
surds = st.recursive(
    radicands | constants,
    lambda inner: st.builds(Operation, st.sampled_from("+-*"), inner, inner),
    max_leaves=6,
)


def tree(text: str) -> Formula:
    return parse(text, "calculation")


@settings(deadline=None, max_examples=60)
@given(surds)
def test_simplifying_keeps_the_value(formula: Formula) -> None:
    simple = simplified(formula)
    assert abs(estimate(simple) - estimate(formula)) < Fraction(1, 10**20)
    assert sign(Operation("-", simple, formula)) == 0


@settings(deadline=None, max_examples=60)
@given(surds)
def test_what_is_simplified_stays_as_it_is(formula: Formula) -> None:
    simple = simplified(formula)
    assert simplified(tree(print_formula(simple))) == simple


@pytest.mark.parametrize(
    "text",
    ["sqrt(2)*x", "(x + 1)/(x^2 + 1)", "abs(x - 3)", "2^x", "exp(x)", "cbrt(5)", "ln(x)/ln(2)", "2^(-x)"],
)
def test_there_and_back_is_the_same(text: str) -> None:
    formula = from_sympy(to_sympy(tree(text)))
    assert simplified(formula) == simplified(tree(text))


def test_numbers_without_a_formula_are_rounded_to_ten_digits() -> None:
    import sympy

    assert from_sympy(sympy.LambertW(3)) == Constant(Fraction(Decimal("1.049908895")))


def test_what_cannot_be_written_or_is_not_real_is_an_error() -> None:
    import sympy

    with pytest.raises(ToolError, match="cannot be written as a formula"):
        from_sympy(sympy.LambertW(sympy.Symbol("x")))
    with pytest.raises(ToolError, match="not a real number"):
        from_sympy(1 + sympy.I)
    with pytest.raises(ToolError, match="cannot be part of an expression"):
        to_sympy(Relation("=", tree("x"), tree("y")))


def test_approximations_have_the_digits_asked_for() -> None:
    assert approximate(tree("sqrt(2)")) == Fraction("1.414213562")
    assert approximate(tree("pi"), 5) == Fraction("3.1416")
    assert approximate(Constant(Fraction(1, 3))) == Fraction(1, 3)
    assert abs(estimate(tree("ln(2)")) - Fraction("0.693147180559945309417232121458")) < Fraction(1, 10**28)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqrt(2) - 1.4", 1),
        ("pi - 22/7", -1),
        ("sqrt(3 + 2*sqrt(2)) - 1 - sqrt(2)", 0),
        ("ln(6) - ln(2) - ln(3)", 0),
    ],
)
def test_the_sign_of_an_irrational_number_is_decided(text: str, expected: int) -> None:
    assert sign(tree(text)) == expected


def test_nesting_that_sympy_cannot_follow_is_an_error() -> None:
    formula = tree("x")
    for number in range(300):
        formula = Function("sqrt", (Operation("+", formula, Constant(Fraction(number + 2))),))
    before = sys.getrecursionlimit()
    with pytest.raises(ToolError, match="nested too deep"):
        simplified(formula)
    assert sys.getrecursionlimit() == before
