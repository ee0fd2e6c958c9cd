"""What becomes of GSM8K's calculator annotations."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from training.chains import RejectedItemError, chain, chain_actions, numbers_of, problems, read_problem


def _line(question: str, answer: str) -> str:
    return json.dumps({"question": question, "answer": answer})


def _actions(question: str, answer: str) -> str:
    return "; ".join(map(str, chain_actions(chain(read_problem(_line(question, answer))))))


def test_an_earlier_result_stands_in_for_its_number() -> None:
    text = _actions(
        "Ann has 8 nuts and eats 3.", "8-3 = <<8-3=5>>5 nuts.\nTwice is 5*2 = <<5*2=10>>10.\n#### 10"
    )
    assert text == "R1 = Calculator(8-3); R2 = Calculator(R1*2)"


def test_a_number_of_the_question_stays_a_number() -> None:
    text = _actions("Of 10 nuts 5 are bad.", "10-5 = <<10-5=5>>5\n5*2 = <<5*2=10>>10\n#### 10")
    assert text == "R1 = Calculator(10-5); R2 = Calculator(5*2)"


def test_several_annotations_of_a_line_are_one_lines_actions() -> None:
    lines = chain(read_problem(_line("?", "2*3=<<2*3=6>>6 and 6+1=<<6+1=7>>7\nSo it is.\n#### 7")))
    assert [len(line.actions) for line in lines] == [2]


def test_numbers_are_exact_and_may_have_thousands_separators() -> None:
    assert _actions("1,200 and 0.1", "<<1,200*0.1=120>>\n<<120/7=17.14>>\n<<17.14*7=119.98>>#### 119.98")
    assert numbers_of("1,200 at $.50 each, 3rd") == {Fraction(1200), Fraction(1, 2), Fraction(3)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "broken line"),
        ('["a"]', "broken line"),
        (_line("", "#### 1"), "broken line"),
        (_line("?", "#### many"), "no number"),
    ],
)
def test_a_broken_line_is_rejected_with_its_number(line: str, reason: str) -> None:
    ((number, error),) = problems([line])
    assert number == 1
    assert isinstance(error, RejectedItemError)
    assert error.reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("It is 2.\n#### 2", "no annotation"),
        ("<<1+1=2>>\n#### 3", "another answer"),
        ("<<1/0=2>>\n#### 2", "does not evaluate"),
        ("<<1+*1=2>>\n#### 2", "does not evaluate"),
    ],
)
def test_only_chains_that_reach_the_answer_are_kept(answer: str, reason: str) -> None:
    with pytest.raises(RejectedItemError) as rejected:
        chain(read_problem(_line("?", answer)))
    assert rejected.value.reason == reason
