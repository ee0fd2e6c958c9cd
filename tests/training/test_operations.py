"""Formulas in words."""

from __future__ import annotations

import pytest

from training.operations import explained, in_words


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("8*4", "multiplying 8 by 4"),
        ("R1/2", "dividing the result of Subgoal 1 by 2"),
        ("9-2-1", "subtracting 2 from 9 and subtracting 1"),
        ("3+R1+4", "adding 3, the result of Subgoal 1 and 4"),
        ("2*3*4", "multiplying 2, 3 and 4"),
        ("(9-2)/7", "subtracting 2 from 9 and dividing by 7"),
        ("100-(5+3)", "subtracting the sum of 5 and 3 from 100"),
        ("5*3-2*R2", "multiplying 5 by 3 and subtracting 2 times the result of Subgoal 3"),
        ("20/100*0.5", "multiplying 20/100 by 0.5"),
        ("20%*50", "multiplying 20% by 50"),
        ("5", ""),  # there is no operation
        ("R9*2", ""),  # of no subgoal
        ("2^3", ""),
        ("-5+3", ""),
        ("R1*R2*R1*R2*R1*R2", ""),  # as long as the rest of the subgoal
    ],
)
def test_a_formula_says_what_it_does(formula: str, words: str) -> None:
    assert in_words(formula, {"R1": 1, "R2": 3}) == words


def test_subgoals_of_one_calculation_are_explained() -> None:
    assert explained(
        [
            ("Set up the equation for x.", "R1 = SetEquation(2*x=8)"),
            ("Solve it and double x.", "R2 = SolveEquation(R1); R3 = Calculator(2*R2)"),
            ("Calculate the rent.", "R4 = Calculator(R3+3)"),
        ]
    ) == (
        ("Set up the equation for x.", "R1 = SetEquation(2*x=8)"),
        ("Solve it and double x.", "R2 = SolveEquation(R1); R3 = Calculator(2*R2)"),
        ("Calculate the rent by adding the result of Subgoal 2 and 3.", "R4 = Calculator(R3+3)"),
    )
