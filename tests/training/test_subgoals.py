"""How solution lines become subgoals."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lumos_edge.trajectory import Action
from training.chains import ChainLine
from training.subgoals import word_question, word_subgoal


def _words(text: str, formula: str = "1+1", given: frozenset[Fraction] = frozenset()) -> str:
    return word_subgoal(ChainLine(text, (Action(("R3",), "Calculator", formula),)), given)


@pytest.mark.parametrize(
    ("line", "subgoal"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.", "Calculate how many clips Natalia sold in May."),
        ("So he pays 150/2=$<<150/2=75>>75", "Calculate how much money he pays."),
        ("The total cost is 2+1=<<2+1=3>>3 bolts", "Calculate the total cost."),
        (
            "For the buns, Frank paid 10 * 0.1 = $<<10*0.1=1>>1.",
            "Calculate how much money Frank paid for the buns.",
        ),
        ("Lisa took 6 pens - 2 pens = <<6-2=4>>4 photos.", "Calculate how many photos Lisa took."),
        ("Ali drives a total of 1 + 2 = <<1+2=3>>3 miles", "Calculate how many miles Ali drives in total."),
        ("She is 3*2=<<3*2=6>>6 years old.", "Calculate how old she is."),
        ("Then add both to find the number of ants: 2 + 3 = <<2+3=5>>5", "Calculate the number of ants."),
        ("20 - 8 = <<20-8=12>>12 people did not go.", "Calculate how many people did not go."),
    ],
)
def test_a_line_becomes_a_subgoal_without_its_result(line: str, subgoal: str) -> None:
    assert _words(line) == subgoal


@pytest.mark.parametrize(
    ("formula", "subgoal"),
    [
        ("9-2", "Calculate the difference."),
        ("(9-2)/7", "Calculate the difference."),
        ("R4/2", "Calculate the share."),
        ("2*20%", "Calculate the amount."),
        ("3+R1+4", "Calculate the sum."),
        ("5", "Calculate the result."),
    ],
)
def test_a_line_that_names_a_foreign_number_is_worded_by_its_operation(formula: str, subgoal: str) -> None:
    assert _words("He ate 7 of them because 9-2=<<9-2=7>>7", formula) == subgoal


def test_numbers_of_the_question_may_stand_in_a_subgoal() -> None:
    line = "In 12 weeks she reads 12*2=<<12*2=24>>24 books"
    assert _words(line, given=frozenset({Fraction(12)})) == "Calculate how many books in 12 weeks she reads."
    assert _words(line, "12*2") == "Calculate the amount."


def test_a_subgoal_has_no_semicolon() -> None:
    assert ";" not in _words("Well; he has (a; b) 1+1=<<1+1=2>>2 things; good")


@pytest.mark.parametrize(
    ("question", "subgoal"),
    [
        ("Ann has 3. How many nuts does Ann have left?", "Calculate how many nuts Ann has left."),
        ("How many nuts did Ann have at first?", "Calculate how many nuts Ann had at first."),
        ("How many girls are there?", "Calculate how many girls are there."),
        ("If 3 go, how many nuts will Ann have?", "Calculate how many nuts Ann will have."),
        ("What is the total cost?", "Calculate the total cost."),
    ],
)
def test_a_question_becomes_the_subgoal_that_answers_it(question: str, subgoal: str) -> None:
    assert word_question(question) == subgoal
