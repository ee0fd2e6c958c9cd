"""Tasks with other numbers."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from lumos_edge.toolbox import Toolbox
from training.annotations import Annotation, Annotator
from training.chains import RejectedItemError
from training.renumbering import is_like, renumber


@pytest.fixture(name="annotator", scope="module")
def _annotator() -> Annotator:
    return Annotator(Toolbox.of_packs(["maths"]))


def _task(annotator: Annotator, question: str, *actions: str) -> Annotation:
    return annotator.annotate(
        "gsm8k", "1", question, [("Do it in 48 steps.", action) for action in actions], None
    )


def test_a_number_changes_wherever_it_stands(annotator: Annotator) -> None:
    task = _task(annotator, "Ann has 48 nuts, gives 5.", "R1 = Calculator(48-5)", "R2 = Calculator(R1+48)")
    variant = renumber(task, random.Random(1))
    new = next(word for word in variant.question.split() if word.isdigit())
    assert new != "48"
    assert [actions for _, actions in variant.solution][1] == f"R2 = Calculator(R1+{new})"
    assert variant.solution[0][0] == f"Do it in {new} steps."


def test_a_subgoal_keeps_its_number(annotator: Annotator) -> None:
    actions = [
        "R1 = Calculator(9-3)",
        "R2 = Calculator(R1*9)",
        "R3 = Calculator(R2*9)",
        "R4 = Calculator(R3*3)",
    ]
    solution = [("Multiply the result of Subgoal 3 by 3.", action) for action in actions]
    task = annotator.annotate("gsm8k", "1", "Of 9 nuts 3 go.", solution, None)
    words = {renumber(task, random.Random(seed)).solution[3][0] for seed in range(20)}
    assert all(text.startswith("Multiply the result of Subgoal 3 by ") for text in words)
    assert len(words) > 1


def test_round_numbers_stay_round(annotator: Annotator) -> None:
    task = _task(annotator, "It costs $1,200.", "R1 = Calculator(1200+1200)")
    for seed in range(20):
        variant = renumber(task, random.Random(seed))
        assert variant.question.endswith("00.")


@pytest.mark.parametrize(
    ("question", "action", "reason"),
    [
        ("A dozen of 7?", "R1 = Calculator(12*7)", "implied number"),
        ("7 of 14, then 7 more?", "R1 = Calculator(14-7); R2 = Calculator(R1+7)", "ambiguous number"),
        ("7 of 7?", "R1 = Calculator(7+7)", "no number to change"),
        ("Twice 0.5?", "R1 = Calculator(0.5+0.5)", "no number to change"),
    ],
)
def test_a_task_is_rejected_when_its_numbers_hang_together(
    annotator: Annotator, question: str, action: str, reason: str
) -> None:
    with pytest.raises(RejectedItemError) as rejected:
        renumber(_task(annotator, question, action), random.Random(0))
    assert rejected.value.reason == reason


def test_results_must_be_as_sensible_as_the_originals() -> None:
    whole, half = Fraction(3), Fraction(1, 2)
    assert is_like([whole, half], [Fraction(8), Fraction(1, 3)])
    assert not is_like([whole], [half])
    assert not is_like([whole], [Fraction(-1)])
