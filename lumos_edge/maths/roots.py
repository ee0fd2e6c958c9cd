"""The real roots of one expression in one symbol.

Exact where a formula writes them: rational roots, square roots of quadratics, `k`-th roots, what sympy solves in
closed form. Roots of other polynomials, and of equations that sympy has no method for, are given to 10
significant digits; for the latter they are looked for between -1,000 and 1,000 only.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

from lumos_edge.errors import ToolError
from lumos_edge.maths import arithmetic
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant, Formula, Function, Operation, assign
from lumos_edge.maths.polynomial import Polynomial, polynomial_of, sum_of_terms
from lumos_edge.maths.symbolic import (
    N_DIGITS,
    bounded,
    decimal_of,
    estimate,
    from_sympy,
    rational,
    sign,
    to_sympy,
)

MAX_DEGREE: Final = 100

_MAX_DIVISOR: Final = 10_000
_RANGE: Final = 1_000
_DENSE: Final = 20
"""The search takes steps of 0.1 up to here, of 1 beyond."""


def real_roots(formula: Formula, name: str) -> tuple[Formula, ...]:
    """Every real root of `formula`, whose only symbol is `name`, once and in ascending order.

    Raises `ToolError` for a formula that is zero everywhere, a polynomial above degree `MAX_DEGREE`, and one
    that neither sympy nor the search finds a root of.
    """
    polynomial = _polynomial_in(formula, name)
    roots = _general(formula, name) if polynomial is None else _of_polynomial(polynomial)
    return tuple(sorted(dict.fromkeys(roots), key=estimate))


def _polynomial_in(formula: Formula, name: str) -> Polynomial | None:
    """The polynomial with rational coefficients; one with `pi` in it has others."""
    polynomial = polynomial_of(formula)
    if polynomial is None or any(symbol != name for powers in polynomial.terms for symbol, _ in powers):
        return None
    return polynomial


def _of_polynomial(polynomial: Polynomial) -> list[Formula]:
    coefficients = {
        sum(exponent for _, exponent in monomial): value for monomial, value in polynomial.terms.items()
    }
    if not coefficients:
        raise ToolError("every value solves it")
    lowest = min(coefficients)
    degree = max(coefficients) - lowest
    if degree > MAX_DEGREE:
        raise ToolError(f"the equation has degree {degree}, at most {MAX_DEGREE} is allowed")
    dense = [coefficients.get(lowest + i, Fraction(0)) for i in range(degree + 1)]
    zero: list[Formula] = [Constant(Fraction(0))] if lowest > 0 else []
    return zero + _of_coefficients(dense)


def _of_coefficients(coefficients: list[Fraction]) -> list[Formula]:
    """The roots of a polynomial, whose lowest coefficient comes first; neither it nor the highest is 0."""
    degree = len(coefficients) - 1
    if degree == 0:
        return []
    if not any(coefficients[1:-1]):
        return _of_power(-coefficients[0] / coefficients[-1], degree)
    if degree == 2:
        return _of_quadratic(*coefficients)
    return _of_factors(coefficients)


def _of_power(value: Fraction, degree: int) -> list[Formula]:
    """The roots of `x^degree = value`."""
    if degree == 2:
        return _of_quadratic(-value, Fraction(0), Fraction(1))
    if degree % 2:
        return [_root(value, degree)]
    if value < 0:
        return []
    root = _root(value, degree)
    return [root, evaluate(Operation("*", Constant(Fraction(-1)), root))]


def _root(value: Fraction, index: int) -> Formula:
    return evaluate(Operation("^", Constant(value), Constant(Fraction(1, index))))


def _of_quadratic(c: Fraction, b: Fraction, a: Fraction) -> list[Formula]:
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    middle = -b / (2 * a)
    exact = arithmetic.root(discriminant, 2)
    if exact is not None:
        return [Constant(middle - exact / (2 * a)), Constant(middle + exact / (2 * a))]
    outside, inside = _without_squares(discriminant)
    return [_with_root(middle, factor * outside / (2 * a), inside) for factor in (-1, 1)]


def _without_squares(value: Fraction) -> tuple[Fraction, int]:
    """`sqrt(value)` as `outside * sqrt(inside)`, without square factors below 10,000^2 inside."""
    inside = value.numerator * value.denominator
    outside = 1
    for divisor in range(2, _MAX_DIVISOR):
        if divisor * divisor > inside:
            break
        while inside % (divisor * divisor) == 0:
            inside //= divisor * divisor
            outside *= divisor
    return Fraction(outside, value.denominator), inside


def _with_root(rational_part: Fraction, factor: Fraction, radicand: int) -> Formula:
    root = Function("sqrt", (Constant(Fraction(radicand)),))
    rational_terms = [(rational_part, ())] if rational_part else []
    return sum_of_terms([*rational_terms, (factor, ((root, 1),))])


def _of_factors(coefficients: list[Fraction]) -> list[Formula]:
    """Split into factors that have no rational ones; their roots are written or, above degree 2, rounded."""
    import sympy

    whole = sympy.Poly([rational(value) for value in reversed(coefficients)], sympy.Symbol("x"))
    roots: list[Formula] = []
    for factor, _ in whole.factor_list()[1]:
        values = [Fraction(int(value.p), int(value.q)) for value in reversed(factor.all_coeffs())]
        if len(values) <= 3 or not any(values[1:-1]):
            roots += _of_coefficients(values) if values[0] else [Constant(Fraction(0))]
        else:
            roots += [_isolated(factor, low, high) for (low, high), _ in factor.intervals()]
    return roots


def _isolated(factor: Any, low: Any, high: Any) -> Formula:
    low, high = factor.refine_root(low, high, eps=rational(Fraction(1, 10**40)))
    return Constant(decimal_of((low + high) / 2, N_DIGITS))


def _general(formula: Formula, name: str) -> list[Formula]:
    """The roots of a quotient's numerator that are not roots of its denominator."""
    import sympy

    with bounded():
        numerator, denominator = sympy.fraction(sympy.together(to_sympy(formula)))
        roots = _of_numerator(sympy.expand(numerator), name)
        divisor = from_sympy(denominator)
        return [root for root in roots if sign(evaluate(assign(divisor, {name: root}))) != 0]


def _of_numerator(numerator: Any, name: str) -> list[Formula]:
    import sympy

    if numerator.equals(0):
        raise ToolError("every value solves it")
    polynomial = _polynomial_in(from_sympy(numerator), name)
    if polynomial is not None:
        return _of_polynomial(polynomial)
    unknown = sympy.Symbol(name, real=True)
    try:
        found = sympy.solve(numerator, unknown)
    except (NotImplementedError, TypeError, ValueError):  # sympy also trips over comparing symbols
        return _searched(numerator, unknown)
    return [from_sympy(root) for root in found if not root.has(sympy.I)]


def _searched(expression: Any, unknown: Any) -> list[Formula]:
    """The roots between samples where the sign changes, by bisection; about 1 s."""
    inner = [Fraction(i, 10) for i in range(-10 * _DENSE, 10 * _DENSE + 1)]
    outer = [Fraction(i) for i in range(_DENSE + 1, _RANGE + 1)]
    samples = [*(-value for value in reversed(outer)), *inner, *outer]
    values = [_value_at(expression, unknown, sample) for sample in samples]
    roots: list[Formula] = []
    for (low, high), (at_low, at_high) in zip(pairwise(samples), pairwise(values), strict=True):
        if at_low is None or at_high is None or (at_low < 0) == (at_high < 0):
            continue
        root = _bisected(expression, unknown, low, high)
        if abs(_value_at(expression, unknown, root) or 0) < 1e-6:
            roots.append(Constant(decimal_of(rational(root), N_DIGITS)))
    if not roots:
        raise ToolError(f"no real solution was found between -{_RANGE} and {_RANGE}")
    return roots


def _bisected(expression: Any, unknown: Any, low: Fraction, high: Fraction) -> Fraction:
    negative_at_low = (_value_at(expression, unknown, low) or 0) < 0
    for _ in range(50):
        middle = (low + high) / 2
        value = _value_at(expression, unknown, middle)
        if value is not None and (value < 0) == negative_at_low:
            low = middle
        else:
            high = middle
    return low


def _value_at(expression: Any, unknown: Any, value: Fraction) -> float | None:
    try:
        number = expression.evalf(15, subs={unknown: rational(value)})
    except ValueError:  # sympy's minimum of what has a pole here
        return None
    return float(number) if number.is_Float or number.is_Rational else None
