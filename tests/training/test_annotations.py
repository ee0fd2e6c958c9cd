"""Annotations and their conversations."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Formulation
from training.annotations import Annotation, Annotator, messages, plain_formula, read_solution
from training.chains import RejectedItemError

SOLUTION = [
    ("Calculate how many clips she sold in May.", "R1 = Calculator(48/2)"),
    ("Calculate the total.", "R2 = Calculator(48+R1)"),
]


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return Annotator(Toolbox.of_packs(["maths"]))


@pytest.fixture
def annotation(annotator: Annotator) -> Annotation:
    return annotator.annotate("gsm8k", "gsm8k-1", "How many\nclips? ", SOLUTION, Fraction(72))


def test_the_conversations_are_the_papers(annotator: Annotator, annotation: Annotation) -> None:
    planner = messages(annotation, "planner", "iterative")
    assert [message["role"] for message in planner] == ["user", "assistant"] * 3
    assert planner[0]["content"].endswith("Task: How many clips?; Initial Environment Description: None.")
    assert [message["content"] for message in planner[1:]] == [
        "Subgoal 1: Calculate how many clips she sold in May.",
        "The executed result for Subgoal 1 is 24. Should we stop planning?",
        "No, I will keep planning. Subgoal 2: Calculate the total.",
        "The executed result for Subgoal 2 is 72. Should we stop planning?",
        "Yes, I will stop planning.",
    ]
    grounder = messages(annotation, "grounder", "onetime")
    assert grounder[-1]["content"] == "R1 = Calculator(48/2); R2 = Calculator(48+R1)"


@pytest.mark.parametrize("formulation", ["iterative", "onetime"])
def test_a_grounders_conversation_holds_the_whole_annotation(
    annotator: Annotator, annotation: Annotation, formulation: Formulation
) -> None:
    turns = messages(annotation, "grounder", formulation)
    line = json.dumps({"dataset": "gsm8k", "id": "gsm8k-1", "messages": turns})
    again = annotator.annotate(*read_solution(line), Fraction(72))
    assert (again.task, again.plan, again.actions) == (annotation.task, annotation.plan, annotation.actions)
    assert formulation == "onetime" or again == annotation


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        ("R1 = Calculator(48/2", "does not parse"),
        ("R1 = Calculator(48/0)", "does not execute"),
        ("R1 = Calculator(R9)", "does not execute"),
        ("R1 = Calculator(47)", "another answer"),
        ("R1 = Calculator(048 / 2 * 3)", "outside the grammar"),
        ("R3 = Calculator(72)", "outside the grammar"),
    ],
)
def test_what_the_modules_could_not_write_or_run_is_rejected(
    annotator: Annotator, actions: str, reason: str
) -> None:
    with pytest.raises(RejectedItemError) as rejected:
        annotator.annotate("gsm8k", "1", "?", [("Calculate it.", actions)], Fraction(72))
    assert rejected.value.reason == reason


@pytest.mark.parametrize("subgoal", ["Find it; then stop.", "Find\nit.", ""])
def test_a_subgoal_that_the_planner_could_not_write_is_rejected(annotator: Annotator, subgoal: str) -> None:
    with pytest.raises(RejectedItemError, match="outside the grammar"):
        annotator.annotate("gsm8k", "1", "?", [(subgoal, "R1 = Calculator(72)")], Fraction(72))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"dataset": "d", "id": 1, "messages": []}',
        '{"dataset": "d", "id": 1, "messages": [{"content": "hello"}]}',
        '{"dataset": "d", "id": 1, "messages": [{"content": "hello"}, {"content": "you"}]}',
    ],
)
def test_a_broken_conversation_is_rejected(line: str) -> None:
    with pytest.raises(RejectedItemError, match="broken line"):
        read_solution(line)


@pytest.mark.parametrize(
    ("written", "plain"),
    [("1,200 * .50", "1200*0.5"), ("007+R1", "7+R1"), ("2.00/3", "2/3"), ("R12*10", "R12*10")],
)
def test_formulas_are_written_as_the_grammar_writes_them(written: str, plain: str) -> None:
    assert plain_formula(written) == plain
