from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths.formula import Constant, assign
from lumos_edge.maths.parser import parse
from lumos_edge.maths.polynomial import Polynomial, formula_of, polynomial_of
from lumos_edge.maths.printer import print_formula

coefficients = st.fractions(min_value=-50, max_value=50, max_denominator=20).filter(bool)
monomials = st.dictionaries(st.sampled_from("xyz"), st.integers(-3, 4).filter(bool), max_size=3).map(
    lambda exponents: tuple(sorted(exponents.items()))
)
polynomials = st.dictionaries(monomials, coefficients, max_size=5).map(Polynomial)


def value(polynomial: Polynomial, at: dict[str, Fraction]) -> Fraction:
    found = polynomial_of(assign(formula_of(polynomial), {name: Constant(n) for name, n in at.items()}))
    assert found is not None
    assert found.constant is not None
    return found.constant


@given(polynomials)
def test_written_out_and_read_again_it_is_the_same(polynomial: Polynomial) -> None:
    text = print_formula(formula_of(polynomial))
    assert polynomial_of(parse(text, "calculation")) == polynomial


@given(polynomials, polynomials, st.fixed_dictionaries(dict.fromkeys("xyz", coefficients)))
def test_arithmetic_is_that_of_the_values(
    left: Polynomial, right: Polynomial, at: dict[str, Fraction]
) -> None:
    assert value(left + right, at) == value(left, at) + value(right, at)
    assert value(left * right, at) == value(left, at) * value(right, at)
    assert value(left.raised(2), at) == value(left, at) ** 2


@given(polynomials, st.tuples(monomials, coefficients))
def test_dividing_by_a_term_undoes_multiplying(polynomial: Polynomial, term: tuple[object, Fraction]) -> None:
    divisor = Polynomial(dict([term]))  # type: ignore[list-item]
    assert (polynomial * divisor).divided(divisor) == polynomial


@given(polynomials)
def test_a_sum_is_no_divisor(polynomial: Polynomial) -> None:
    assume(len(polynomial.terms) > 1)
    assert polynomial.divided(polynomial) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40%*p", "2*p/5"),
        ("25%*(p + 600)", "(p + 600)/4"),
        ("(n + 2)^2", "n^2 + 4*n + 4"),
        ("-p + 600", "600 - p"),
        ("-x^2 + 4x - 3", "-x^2 + 4*x - 3"),
        ("x/y + 1", "(x + y)/y"),
        ("-x/5", "-x/5"),
        ("-3/(x*y)", "-3/(x*y)"),
        ("x - x", "0"),
        ("b + a + c^2", "c^2 + a + b"),
        ("0.5x + 1.25", "(2*x + 5)/4"),
        ("sum(x, x, 1)", "2*x + 1"),
    ],
)
def test_it_is_written_as_people_write_it(text: str, expected: str) -> None:
    polynomial = polynomial_of(parse(text, "calculation"))
    assert polynomial is not None
    assert print_formula(formula_of(polynomial)) == expected


@pytest.mark.parametrize("text", ["sqrt(x)", "x/(x + 1)", "2^x", "x^0.5", "(x + 1)^-1", "abs(x)"])
def test_what_is_no_polynomial_is_none(text: str) -> None:
    assert polynomial_of(parse(text, "calculation")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(x + 1)^10000", "2 terms to the power 10000"),
        ("(x + y + z)^30", "3 terms to the power 30"),
        ("x^20000", "exponent 20000 is too large, at most 10000"),
        ("(2x)^20000", "digits, at most 4000"),
        ("1/(x - x)", "division by zero"),
        ("(x - x)^-2", "division by zero"),
        ("(a+b+c+d)^5*(w+x+y+z)^5", "terms, at most 200"),
    ],
)
def test_it_is_refused_before_it_gets_large(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        polynomial_of(parse(text, "calculation"))
