from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given

from lumos_edge.errors import ToolError, UndefinedResult
from lumos_edge.maths.formula import (
    MAX_DEPTH,
    MAX_NODES,
    Constant,
    Formula,
    Negation,
    Operation,
    assign,
    check_size,
    children,
    fold,
    measure,
    rebuild,
    references,
    substitute,
    symbols,
    walk,
)
from lumos_edge.maths.parser import parse
from lumos_edge.maths.printer import print_formula
from tests.maths import formulas

ONE = Constant(Fraction(1))


@given(formulas.codes(formulas.decimals) | formulas.listings(formulas.decimals))
def test_a_node_rebuilt_from_its_own_parts_is_itself(formula: Formula) -> None:
    assert all(rebuild(node, children(node)) == node for node in walk(formula))
    assert fold(formula, rebuild) == formula


@given(formulas.expressions(formulas.decimals))
def test_walking_and_measuring_see_the_same_nodes(formula: Formula) -> None:
    n_nodes, depth = measure(formula)
    assert n_nodes == len(list(walk(formula)))
    assert depth <= n_nodes


def test_names_come_in_order_of_appearance_and_once() -> None:
    formula = parse("R12*y + R1(R9, x=R1) - pi*x*y", "calculation")
    assert references(formula) == ("R12", "R1", "R9")
    assert symbols(formula) == ("y", "x")


def test_a_reference_is_replaced_as_a_whole() -> None:
    values = {"R1": Constant(Fraction(5)), "R12": Constant(Fraction(7))}
    found = [substitute(parse(text, "calculation"), values) for text in ("R1 + R12", "R12 - R1", "R1*R12")]
    assert [print_formula(formula) for formula in found] == ["5 + 7", "7 - 5", "5*7"]


def test_a_value_is_put_in_as_a_unit() -> None:
    values = {"R1": parse("x - 2", "calculation")}
    formula = substitute(parse("3*R1^2 - R1", "calculation"), values)
    assert print_formula(formula) == "3*(x - 2)^2 - (x - 2)"


def test_references_inside_a_value_stay() -> None:
    values = {"R1": parse("R2 + 1", "calculation"), "R2": ONE}
    assert references(substitute(parse("R1", "calculation"), values)) == ("R2",)


def test_a_missing_result_is_named_with_those_that_exist() -> None:
    with pytest.raises(UndefinedResult, match=r"R3 has not been set; the results so far: R1, R2"):
        substitute(parse("R1 + R3", "calculation"), {"R1": ONE, "R2": ONE})
    with pytest.raises(UndefinedResult, match="none"):
        substitute(parse("R1", "calculation"), {})


def test_symbols_are_assigned_all_at_once() -> None:
    swapped = assign(parse("x - y + pi", "calculation"), {"x": parse("y", "code"), "y": parse("x", "code")})
    assert print_formula(swapped) == "y - x + pi"


def squared(value: Formula, n_times: int) -> Formula:
    for _ in range(n_times):
        value = substitute(parse("R1*R1", "calculation"), {"R1": value})
    return value


def test_repeated_substitution_does_not_explode() -> None:
    assert measure(squared(ONE, 3)) == (15, 4)
    with pytest.raises(ToolError, match=f"more than {MAX_NODES} parts"):
        squared(ONE, 100)


def test_deep_trees_are_refused_and_walked_without_recursion() -> None:
    formula: Formula = ONE
    for _ in range(5_000):
        formula = Negation(formula)
    assert measure(formula) == (5_001, 5_001)
    assert len(print_formula(formula)) > 5_000
    with pytest.raises(ToolError, match=f"5001 levels deep, at most {MAX_DEPTH}"):
        check_size(formula)
    assert check_size(Operation("+", ONE, ONE)) == Operation("+", ONE, ONE)
