"""Polynomials with exact rational coefficients, and how a sum of terms is written as a formula.

Exponents may be negative (`x/y` is a single term), which covers what word problems define, without sympy: its
import costs 0.2 to 0.5 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Final, TypeAlias

from lumos_edge.errors import ToolError
from lumos_edge.maths.arithmetic import check_digits, checked, n_digits_of_power
from lumos_edge.maths.formula import (
    Constant,
    Formula,
    Function,
    Negation,
    Operation,
    Percent,
    Symbol,
    fold,
)

MAX_TERMS: Final = 200
"""Terms of a polynomial: written out, each is a level of the tree, which has `formula.MAX_DEPTH`."""

MAX_EXPONENT: Final = 10_000

Monomial: TypeAlias = tuple[tuple[str, int], ...]
"""Symbols in alphabetical order with their exponents, none of them 0."""

Term: TypeAlias = tuple[Fraction, tuple[tuple[Formula, int], ...]]
"""A coefficient and factors with their exponents."""


@dataclass(frozen=True)
class Polynomial:
    """The coefficient of every monomial that has one; equal polynomials have equal terms."""

    terms: Mapping[Monomial, Fraction]

    @property
    def constant(self) -> Fraction | None:
        """The value of a polynomial without symbols."""
        return self.terms.get((), Fraction(0)) if self.terms.keys() <= {()} else None

    def __add__(self, other: Polynomial) -> Polynomial:
        return _collected([*self.terms.items(), *other.terms.items()])

    def __mul__(self, other: Polynomial) -> Polynomial:
        return _collected(
            (_product(left, right), left_coefficient * right_coefficient)
            for left, left_coefficient in self.terms.items()
            for right, right_coefficient in other.terms.items()
        )

    def scaled(self, factor: Fraction) -> Polynomial:
        """Every coefficient times `factor`."""
        return self * constant_polynomial(factor)

    def divided(self, divisor: Polynomial) -> Polynomial | None:
        """The quotient, `None` when the divisor has several terms."""
        if not divisor.terms:
            raise ToolError("division by zero")
        return self * divisor.raised(-1) if len(divisor.terms) == 1 else None

    def raised(self, exponent: int) -> Polynomial:
        """The power; a negative one only of a single term. `ToolError` before it gets too large."""
        n_terms = len(self.terms)
        if n_terms == 0 and exponent <= 0:
            return self._power_of_zero(exponent)
        if n_terms == 1:
            return self._power_of_term(exponent)
        if n_terms * exponent > MAX_EXPONENT or math.comb(n_terms + exponent - 1, exponent) > MAX_TERMS:
            raise ToolError(f"a sum of {n_terms} terms to the power {exponent} has too many terms")
        return reduce(Polynomial.__mul__, [self] * exponent, constant_polynomial(Fraction(1)))

    def _power_of_zero(self, exponent: int) -> Polynomial:
        if exponent < 0:
            raise ToolError("division by zero")
        return constant_polynomial(Fraction(1))

    def _power_of_term(self, exponent: int) -> Polynomial:
        [(monomial, coefficient)] = self.terms.items()
        check_digits(n_digits_of_power(coefficient, Fraction(exponent)))
        powers = tuple((name, n * exponent) for name, n in monomial if exponent)
        return _collected([(powers, coefficient**exponent)])


def constant_polynomial(value: Fraction) -> Polynomial:
    """A polynomial without symbols."""
    return Polynomial({(): value} if value else {})


def polynomial_of(formula: Formula) -> Polynomial | None:
    """The polynomial that a formula expands to, or `None` when it is no polynomial.

    Raises `ToolError` for a division by zero and for a polynomial of more than `MAX_TERMS` terms, exponents
    above `MAX_EXPONENT` or coefficients of more than 4,000 digits; about 3 us per product of two terms.
    """
    return fold(formula, _polynomial)


def _polynomial(node: Formula, parts: tuple[Polynomial | None, ...]) -> Polynomial | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    match node:
        case Constant(value):
            return constant_polynomial(value)
        case Symbol(name):
            return Polynomial({((name, 1),): Fraction(1)})
        case Negation():
            return known[0].scaled(Fraction(-1))
        case Percent():
            return known[0].scaled(Fraction(1, 100))
        case Operation(operator):
            return _operation(operator, *known)
        case Function("sum"):
            return reduce(Polynomial.__add__, known)
        case _:
            return None


def _operation(operator: str, left: Polynomial, right: Polynomial) -> Polynomial | None:
    if operator == "+":
        return left + right
    if operator == "-":
        return left + right.scaled(Fraction(-1))
    if operator == "*":
        return left * right
    if operator == "/":
        return left.divided(right)
    exponent = right.constant
    if exponent is None or exponent.denominator != 1 or (exponent < 0 and len(left.terms) > 1):
        return None
    return left.raised(exponent.numerator)


def _product(left: Monomial, right: Monomial) -> Monomial:
    exponents = dict(left)
    for name, exponent in right:
        exponents[name] = exponents.get(name, 0) + exponent
    return tuple(sorted((name, exponent) for name, exponent in exponents.items() if exponent))


def _collected(terms: Iterable[tuple[Monomial, Fraction]]) -> Polynomial:
    sums: dict[Monomial, Fraction] = {}
    for monomial, coefficient in terms:
        sums[monomial] = checked(sums.get(monomial, Fraction(0)) + coefficient)
    result = {monomial: coefficient for monomial, coefficient in sums.items() if coefficient}
    if len(result) > MAX_TERMS:
        raise ToolError(f"the expression has {len(result)} terms, at most {MAX_TERMS} are allowed")
    highest = max((abs(exponent) for monomial in result for _, exponent in monomial), default=0)
    if highest > MAX_EXPONENT:
        raise ToolError(f"the exponent {highest} is too large, at most {MAX_EXPONENT} is allowed")
    return Polynomial(result)


def formula_of(polynomial: Polynomial) -> Formula:
    """A polynomial as people write it: whole coefficients, highest degree first, one denominator.

    `p/4 + 150` is `(p + 600)/4`, `x/y + 1` is `(x + y)/y`; `600 - p` has its positive term first.
    """

    names = {name for monomial in polynomial.terms for name, _ in monomial}
    lowest = {name: min(dict(monomial).get(name, 0) for monomial in polynomial.terms) for name in names}
    denominator = tuple(sorted((name, -n) for name, n in lowest.items() if n < 0))

    def order(item: tuple[Monomial, Fraction]) -> tuple[int, list[tuple[str, int]]]:
        numerator = _product(item[0], denominator)
        return -sum(exponent for _, exponent in numerator), [(name, -n) for name, n in numerator]

    ordered = sorted(polynomial.terms.items(), key=order)
    return sum_of_terms(
        [(coefficient, tuple((Symbol(name), n) for name, n in powers)) for powers, coefficient in ordered]
    )


def sum_of_terms(terms: list[Term]) -> Formula:
    """The sum over one denominator with whole coefficients, in the given order of terms."""
    if not terms:
        return Constant(Fraction(0))
    if len(terms) == 1 and not terms[0][1]:
        return Constant(terms[0][0])
    divisor = math.lcm(*(coefficient.denominator for coefficient, _ in terms))
    shared = _shared_denominators(terms)
    numerator = _sum(
        [(coefficient * divisor, _multiplied(factors, shared)) for coefficient, factors in terms]
    )
    denominator = _term(Fraction(divisor), tuple(shared.items()))
    return numerator if denominator == Constant(Fraction(1)) else quotient(numerator, denominator)


def quotient(numerator: Formula, denominator: Formula) -> Formula:
    """`numerator/denominator`, with the sign of a single term in front of it all."""
    if isinstance(numerator, Constant) and numerator.value < 0:
        return Negation(Operation("/", Constant(-numerator.value), denominator))
    if isinstance(numerator, Negation):
        return Negation(Operation("/", numerator.operand, denominator))
    return Operation("/", numerator, denominator)


def _shared_denominators(terms: list[Term]) -> dict[Formula, int]:
    shared: dict[Formula, int] = {}
    for _, factors in terms:
        for base, exponent in factors:
            if -exponent > shared.get(base, 0):
                shared[base] = -exponent
    return shared


def _multiplied(
    factors: tuple[tuple[Formula, int], ...], shared: Mapping[Formula, int]
) -> tuple[tuple[Formula, int], ...]:
    exponents = dict(factors)
    for base, exponent in shared.items():
        exponents[base] = exponents.get(base, 0) + exponent
    return tuple((base, exponent) for base, exponent in exponents.items() if exponent)


def _sum(terms: list[Term]) -> Formula:
    if len(terms) == 2 and terms[0][0] < 0 < terms[1][0]:
        terms = terms[::-1]
    (first, factors), *rest = terms
    total = _term(abs(first), factors)
    if first < 0:
        total = Constant(first) if isinstance(total, Constant) else Negation(total)
    for coefficient, factors in rest:
        total = Operation("-" if coefficient < 0 else "+", total, _term(abs(coefficient), factors))
    return total


def _term(coefficient: Fraction, factors: tuple[tuple[Formula, int], ...]) -> Formula:
    """A product without a sign: `coefficient` is positive, exponents too."""
    powers = [
        base if exponent == 1 else Operation("^", base, Constant(Fraction(exponent)))
        for base, exponent in factors
    ]
    if coefficient != 1 or not powers:
        powers = [Constant(coefficient), *powers]
    return reduce(lambda left, right: Operation("*", left, right), powers)
