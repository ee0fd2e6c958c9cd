"""The paper's in-context examples, action by action, and the right behaviour where its code has defects."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lumos_edge.errors import ActionError, ToolError
from lumos_edge.maths.counting import count
from lumos_edge.maths.domain import domain_of
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Formula, Listing, substitute
from lumos_edge.maths.inequalities import solve_inequality
from lumos_edge.maths.parser import Start, parse
from lumos_edge.maths.printer import print_formula
from lumos_edge.maths.solving import Solution, solve

EVEN_NUMBERS = (
    "The sum of the squares of three consecutive positive even numbers is $12296$. "
    "Find the product of the three numbers divided by $8$."
)
RENT = "How much was her previous monthly income?"


def read(text: str, start: Start, values: Mapping[str, Formula]) -> Formula:
    return substitute(parse(text, start), values)


def calculate(text: str, values: Mapping[str, Formula]) -> Formula:
    return evaluate(read(text, "code", values))


def solutions(text: str, values: Mapping[str, Formula], task: str = "") -> tuple[Solution, ...]:
    listing = read(text, "equations", values)
    assert isinstance(listing, Listing)
    return solve(tuple(item for item in listing.items if item is not None), domain_of(task))


def test_the_squares_of_even_numbers() -> None:
    values = {name: calculate(text, {}) for name, text in (("R1", "n-2"), ("R2", "n"), ("R3", "n+2"))}
    for name, text in (("R4", "R1^2"), ("R5", "R2^2"), ("R6", "R3^2")):
        values[name] = calculate(text, values)
    assert print_formula(values["R6"]) == "n^2 + 4*n + 4"
    both = solutions("R4 + R5 + R6 = 12296", values)
    assert [print_formula(solution["n"]) for solution in both] == ["-64", "64"]
    [solution] = solutions("R4 + R5 + R6 = 12296", values, EVEN_NUMBERS)
    values["R8"] = solution["n"]
    values["R9"] = calculate("If R8 > 0, R8, -R8", values)
    for name, text in (("R10", "R1(R9)"), ("R11", "R2(R9)"), ("R12", "R3(R9)")):
        values[name] = calculate(text, values)
    values["R13"] = calculate("R10 * R11 * R12", values)
    assert print_formula(values["R13"]) == "261888"
    assert print_formula(calculate("R13 / 8", values)) == "32736"


def test_the_rent() -> None:
    values = {"R1": calculate("p", {})}
    values["R2"] = calculate("40% * p", values)
    values["R3"] = calculate("p + 600", values)
    values["R4"] = calculate("25% * R3", values)
    shown = [print_formula(value) for value in values.values()]
    assert shown == ["p", "2*p/5", "p + 600", "(p + 600)/4"]
    [solution] = solutions("R2 = R4", values, RENT)
    assert print_formula(solution["p"]) == "1000"


def test_the_fifth_term() -> None:
    values = {"R1": calculate("(x-y) - (x+y)", {})}
    for name, factor in (("R2", 2), ("R3", 3), ("R4", 4)):
        values[name] = calculate(f"(x+y) + {factor}*R1", values)
    [solution] = solutions("R2=xy, R3=x/y", values)
    values["R5"], values["R6"] = solution.values()
    assert list(solution) == ["x", "y"]
    assert print_formula(calculate("R4(R5, R6)", values)) == "3.075"
    assert calculate("R4(R5, R6) = 123/40", values) == calculate("True", {})


@pytest.mark.parametrize(
    "system", ["y - x = 2, x + y = 10", "x + y = 10, y - x = 2", "y = x + 2, y = 10 - x"]
)
def test_a_position_means_the_same_symbol_in_a_solution_and_in_an_application(system: str) -> None:
    """However the terms are ordered in what was written, and by evaluation."""
    [solution] = solutions(system, {})
    values = dict(zip(("R1", "R2"), solution.values(), strict=True))
    for name, callee in (
        ("R3", "y - x"),
        ("R4", "2y + x"),
        ("R5", "x + 2y"),
        ("R6", "y/x"),
        ("R7", "x*y - y"),
    ):
        values[name] = calculate(callee, {})
        applied = calculate(f"{name}(R1, R2)", values)
        assert (
            applied
            == calculate(f"{name}(x=R1, y=R2)", values)
            == calculate(callee.replace("y", "(6)").replace("x", "(4)"), {})
        )


BOTH = {"R1": "x + y = 5", "R2": "x - y = 1", "R3": "n-2", "R4": "n", "R5": "5", "R9": "64", "R12": "7"}


@pytest.mark.parametrize(
    ("defect", "text", "value"),
    [
        ("M1", "R5 + R12", "12"),
        ("M1", "R5 * R12", "35"),
        ("M2", "R1 + R2", "2*x = 6"),
        ("M3", "R1 / 2", "(x + y)/2 = 2.5"),
        ("M3", "2*R1 + 3*R2", "5*x - y = 13"),
        ("M4", "R3(R9)", "62"),
        ("M4", "R3(n=R9)", "62"),
        ("M5", "R3(R9) + R4(R9)", "126"),
        ("M8", "If R12 > 0, R12, -R12", "7"),
        ("M9", "R12", "7"),
        ("M10", "R5 - 5", "0"),
        ("M10", "R5 = 6", "False"),
        ("M15", "R1", "x + y = 5"),
    ],
)
def test_defects_of_the_reference_code_are_not_copied(defect: str, text: str, value: str) -> None:
    values = {name: parse(formula, "calculation") for name, formula in BOTH.items()}
    assert print_formula(calculate(text, values)) == value, defect


def test_all_roots_are_kept_with_both_signs() -> None:
    """M6, M7, M11: the reference code loses every equation with more than one root."""
    two = solutions("n^2 - 5n + 6 = 0", {})
    assert [print_formula(solution["n"]) for solution in two] == ["2", "3"]
    signs = solutions("n^2 = 4096", {})
    assert [print_formula(solution["n"]) for solution in signs] == ["-64", "64"]


def test_lists_and_inequalities_have_results() -> None:
    """M8: the reference code offers both tools and implements neither."""
    listing = parse("2^0, 2^1, ..., 2^10", "listing")
    assert isinstance(listing, Listing)
    assert print_formula(count(listing)) == "11"
    assert str(solve_inequality(parse("2x > 6", "inequality"))) == "x > 3"


def test_a_value_inside_an_equation_stays_whole() -> None:
    """M16: the reference code writes `(x-3y)=xy` into text and relies on its service to make sense of it."""
    values = {"R2": parse("x - 3y", "calculation")}
    assert print_formula(read("2*R2=xy", "equations", values)) == "2*(x - 3*y) = x*y"


def test_prose_is_no_formula() -> None:
    """M17: hyphens and slashes in text are not arithmetic."""
    with pytest.raises(ActionError, match="unknown name 'state'"):
        parse("state-of-the-art", "calculation")


def test_failures_say_why() -> None:
    """M13, M14: nothing is swallowed."""
    with pytest.raises(ToolError, match=r"division by zero in 7/\(5 - 5\)"):
        calculate("R12/(R5 - 5)", {name: parse(text, "calculation") for name, text in BOTH.items()})
