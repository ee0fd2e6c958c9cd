from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths.domain import Domain
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant, Formula, Listing, Operation, Relation, Symbol, Truth, assign
from lumos_edge.maths.parser import parse
from lumos_edge.maths.polynomial import Polynomial, formula_of
from lumos_edge.maths.printer import print_formula
from lumos_edge.maths.solving import solve

rationals = st.fractions(min_value=-50, max_value=50, max_denominator=12)


def equations(text: str) -> tuple[Formula, ...]:
    listing = parse(text, "equations")
    assert isinstance(listing, Listing)
    return tuple(item for item in listing.items if item is not None)


def solutions(text: str, domain: Domain | None = None) -> str:
    found = solve(equations(text), domain or Domain())
    return "; ".join(
        ", ".join(f"{name} = {print_formula(value)}" for name, value in each.items()) for each in found
    )


def with_roots(roots: list[Fraction]) -> Relation:
    """The equation, multiplied out, that has these roots."""
    product = Polynomial({(): Fraction(3)})
    for root in roots:
        product = product * Polynomial(
            {(("x", 1),): Fraction(1), (): -root} if root else {(("x", 1),): Fraction(1)}
        )
    return Relation("=", formula_of(product), Constant(Fraction(0)))


@given(st.lists(rationals, min_size=1, max_size=2))
def test_rational_roots_are_found_exactly_and_in_order(roots: list[Fraction]) -> None:
    found = solve((with_roots(roots),), Domain())
    assert [solution["x"] for solution in found] == [Constant(root) for root in sorted(set(roots))]


@pytest.mark.parametrize("roots", [[1, 2, 3], [0, 0, 5, -7], [Fraction(1, 3), Fraction(-1, 3), 2, 4]])
def test_polynomials_of_higher_degree_keep_all_roots(roots: list[Fraction]) -> None:
    found = solve((with_roots([Fraction(root) for root in roots]),), Domain())
    assert [solution["x"] for solution in found] == [Constant(Fraction(root)) for root in sorted(set(roots))]


@given(rationals, rationals, rationals.filter(bool))
def test_real_roots_of_a_quadratic_solve_it(b: Fraction, c: Fraction, a: Fraction) -> None:
    left = formula_of(
        Polynomial({key: n for key, n in ([(("x", 2),), a], [(("x", 1),), b], [(), c]) if n})  # type: ignore[misc]
    )
    equation = Relation("=", left, Constant(Fraction(0)))
    if b * b < 4 * a * c:
        with pytest.raises(ToolError, match="no solution"):
            solve((equation,), Domain())
        return
    for solution in solve((equation,), Domain()):
        x = Symbol("x")
        assert evaluate(assign(equation, {x.name: solution["x"]})) == Truth(True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2x + 3 = 11", "x = 4"),
        ("n^2 - 5n + 6 = 0", "n = 2; n = 3"),
        ("1/x = 4", "x = 0.25"),
        ("x^2 = 2", "x = -sqrt(2); x = sqrt(2)"),
        ("x^2 - x - 1 = 0", "x = (1 - sqrt(5))/2; x = (1 + sqrt(5))/2"),
        ("x^2 = 72", "x = -6*sqrt(2); x = 6*sqrt(2)"),
        ("x^3 = -8", "x = -2"),
        ("x^4 = 16", "x = -2; x = 2"),
        ("x^3 = 5", "x = cbrt(5)"),
        ("x^3 = x", "x = -1; x = 0; x = 1"),
        ("x^4 - 5x^2 + 6 = 0", "x = -sqrt(3); x = -sqrt(2); x = sqrt(2); x = sqrt(3)"),
        ("x^5 = x + 1", "x = 1.167303978"),
        ("(x^2 - 1)/(x - 1) = 0", "x = -1"),
        ("1/x + 1/(x + 1) = 1", "x = (1 - sqrt(5))/2; x = (1 + sqrt(5))/2"),
        ("sqrt(x + 2) = x", "x = 2"),
        ("|x - 3| = 5", "x = -2; x = 8"),
        ("x*exp(x) = 3", "x = 1.049908895"),
        ("cos(x) = x", "x = 0.7390851332"),
        ("2*pi*r = 10", "r = 5/pi"),
        ("x + y = 10, x - y = 2", "x = 6, y = 4"),
        ("3x + 2y = 1/2, x - y = 0.25", "x = 0.2, y = -0.05"),
        ("x^2 + y^2 = 25, x - y = 1", "x = -3, y = -4; x = 4, y = 3"),
        ("y = x + 1, x = 3", "x = 3, y = 4"),
        ("y = 2x + 1", "y = 2*x + 1"),
        ("B + a = 5, B - a = 1", "a = 2, B = 3"),
        ("x + y = 10", "x = 10 - y"),
        ("x + y = 1, 2x + 2y = 2", "x = 1 - y"),
        ("x = 3, x + 1 = 4", "x = 3"),
    ],
)
def test_every_real_solution_is_given_in_order(text: str, expected: str) -> None:
    assert solutions(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = x", "every value solves it"),
        ("sin(x)^2 + cos(x)^2 = 1", "every value solves it"),
        ("x = x + 1", "no solution: both sides are never equal"),
        ("x^2 = -4", "no solution among the real numbers"),
        ("x = 3, x = 4", "no solution among the real numbers"),
        ("x + y = 1, x + y = 2", "no solution among the real numbers"),
        ("3 = 3", "no unknown in `3 = 3`"),
        ("x^101 = x + 1", "degree 101, at most 100"),
    ],
)
def test_why_there_is_no_solution_is_said(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        solve(equations(text), Domain())


def test_what_is_no_equation_is_refused() -> None:
    with pytest.raises(ToolError, match="an equation is needed, found `x < 3`"):
        solve((parse("x < 3", "inequality"),), Domain())
    with pytest.raises(ToolError, match="an equation is needed, found `x`"):
        solve((Symbol("x"),), Domain())


def test_an_equation_that_was_decided_before_counts() -> None:
    assert solve((Truth(True), *equations("x = 3")), Domain()) == ({"x": Constant(Fraction(3))},)
    with pytest.raises(ToolError, match="never equal"):
        solve((Truth(False), *equations("x = 3")), Domain())


def test_the_domain_chooses_among_the_solutions() -> None:
    assert solutions("3n^2 + 8 = 12296") == "n = -64; n = 64"
    assert solutions("3n^2 + 8 = 12296", Domain(positive=True, integer=True)) == "n = 64"
    assert solutions("(2x - 1)(x - 3) = 0", Domain(integer=True)) == "x = 3"
    assert solutions("x^2 + y^2 = 25, x - y = 1", Domain(positive=True)) == "x = 4, y = 3"
    assert solutions("x + y = 10", Domain(positive=True)) == "x = 10 - y"


def test_solutions_outside_the_domain_are_named() -> None:
    with pytest.raises(ToolError, match="no solution that is positive, found x = -2"):
        solutions("2x = -4", Domain(positive=True))


def test_equations_need_not_have_a_constant_side() -> None:
    both = Relation("=", Operation("*", Symbol("x"), Symbol("x")), Symbol("x"))
    assert [each["x"] for each in solve((both,), Domain())] == [Constant(Fraction(0)), Constant(Fraction(1))]
