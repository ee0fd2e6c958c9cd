from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ToolError
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant, Formula, Truth, assign
from lumos_edge.maths.inequalities import Interval, solve_inequality
from lumos_edge.maths.parser import parse
from lumos_edge.maths.symbolic import estimate


@pytest.mark.parametrize(
    ("text", "solution"),
    [
        ("x > 3", "x > 3"),
        ("3 >= x", "x <= 3"),
        ("2x + 1 <= 7", "x <= 3"),
        ("-x < 3", "x > -3"),
        ("x^2 < 4", "-2 < x < 2"),
        ("x^2 > 4", "x < -2 or x > 2"),
        ("x^2 >= 2", "x <= -sqrt(2) or x >= sqrt(2)"),
        ("x^2 - x - 1 < 0", "(1 - sqrt(5))/2 < x < (1 + sqrt(5))/2"),
        ("(x - 1)^2 <= 0", "x = 1"),
        ("(x - 1)^2 > 0", "x < 1 or x > 1"),
        ("x != 3", "x < 3 or x > 3"),
        ("x = 2", "x = 2"),
        ("1/x > 2", "0 < x < 0.5"),
        ("1/x <= 2", "x < 0 or x >= 0.5"),
        ("(x + 1)/(x - 2) >= 0", "x <= -1 or x > 2"),
        ("(x^2 - 1)/(x - 1) > 0", "-1 < x < 1 or x > 1"),
        ("|x - 1| < 3", "-2 < x < 4"),
        ("x^3 - x >= 0", "-1 <= x <= 0 or x >= 1"),
    ],
)
def test_solutions_print_as_people_write_them(text: str, solution: str) -> None:
    assert str(solve_inequality(parse(text, "inequality"))) == solution


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x < x + 1", "every value solves it"),
        ("x^2 >= 0", "every value solves it"),
        ("x^2 < 0", "no solution among the real numbers"),
        ("1/x < 1/x", "no solution among the real numbers"),
        ("x + y < 2", "one unknown is expected in `x \\+ y < 2`, found 2"),
        ("sqrt(x) > 2", r"no method is known for an inequality with `sqrt\(x\)`"),
        ("2^x > 4", r"no method is known for an inequality with `2\^x`"),
        ("floor(x) > 4", "no method is known"),
    ],
)
def test_why_there_is_no_set_of_solutions_is_said(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        solve_inequality(parse(text, "inequality"))


def test_what_is_no_inequality_is_refused() -> None:
    with pytest.raises(ToolError, match="an inequality is needed, found `x`"):
        solve_inequality(parse("x", "calculation"))


def inside(interval: Interval, value: Fraction) -> bool:
    def at_least(bound: Formula, has_bound: bool) -> bool:
        return value > estimate(bound) or (has_bound and value == estimate(bound))

    def at_most(bound: Formula, has_bound: bool) -> bool:
        return value < estimate(bound) or (has_bound and value == estimate(bound))

    above = interval.low is None or at_least(interval.low, interval.has_low)
    return above and (interval.high is None or at_most(interval.high, interval.has_high))


numbers = st.integers(-9, 9)


@given(
    st.tuples(numbers, numbers, numbers), st.sampled_from(["<", "<=", ">", ">=", "!="]), st.integers(-80, 80)
)
def test_a_number_is_in_the_set_exactly_when_it_solves(
    coefficients: tuple[int, int, int], operator: str, at: int
) -> None:
    a, b, c = coefficients
    relation = parse(f"{a}*x^2 + ({b})*x {operator} {c}", "inequality")
    value = Fraction(at, 4)
    holds = evaluate(assign(relation, {"x": Constant(value)})) == Truth(True)
    try:
        found = any(inside(interval, value) for interval in solve_inequality(relation).intervals)
    except ToolError as error:
        found = "every" in str(error)
    assert found == holds
