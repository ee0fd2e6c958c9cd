"""The figures of the accuracy benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bench_accuracy import (
    Outcome,
    Question,
    agent_system,
    facts_library,
    final_number,
    read_questions,
    reading_system,
    summary,
    voting_system,
    wilson,
)
from lumos_edge.agent import Agent
from lumos_edge.engine import Sampling
from lumos_edge.reader import Reader
from lumos_edge.templates import CompactTemplate, LumosTemplate
from lumos_edge.toolbox import Toolbox
from tests.scripted import ScriptedEngine


@pytest.mark.parametrize(
    ("thought", "number"),
    [
        ("2 + 3 = 5. The answer is 5. Check 7.", "5"),
        ("The answer is 3? No, the answer is $1,200.50.", "$1,200.50"),
        ("So 4 and then 9.", "9"),
        ("The answer is clear: 6 of 8", "6"),
        ("In 3 days the answer is many", "3"),
        ("No idea", None),
    ],
)
def test_a_thoughts_answer_is_its_conclusion(thought: str, number: str | None) -> None:
    assert final_number(thought) == number


def test_intervals_are_wilsons() -> None:
    # Agresti & Coull 1998, table 1: 0 of 20 and 10 of 20.
    assert wilson(0, 20) == pytest.approx((0.0, 0.161), abs=5e-4)
    assert wilson(10, 20) == pytest.approx((0.299, 0.701), abs=5e-4)


def test_a_question_is_scored_with_its_cost() -> None:
    engine = ScriptedEngine("Subgoal 1: Double it.", "R1 = Calculator(2*4)")
    agent = Agent(engine, CompactTemplate(""), CompactTemplate(""), Toolbox.of_packs(["maths"]))
    outcome = agent_system(agent)(Question("Twice 4?", "8"))
    assert (outcome.answer, outcome.is_right, outcome.n_actions, outcome.n_invalid) == ("8", True, 1, 0)


def test_samples_are_voted_on_and_cost_all_they_cost() -> None:
    plan, right, wrong = "Subgoal 1: Double it.", "R1 = Calculator(2*4)", "R1 = Calculator(2+4)"
    agent = Agent(
        ScriptedEngine(plan, wrong, plan, right, plan, right),
        CompactTemplate(""),
        CompactTemplate(""),
        Toolbox.of_packs(["maths"]),
    )
    outcome = voting_system(agent, 3)(Question("Twice 4?", "8"))
    assert (outcome.answer, outcome.is_right, outcome.n_actions, outcome.n_invalid) == ("8", True, 3, 0)
    assert outcome.n_tokens == 3 * (len(plan.split()) + len(right.split()))


def test_a_summary_counts_what_was_not_answered() -> None:
    right, none = Outcome("8", True, 30, 2, 0, 1.5), Outcome(None, False, 10, 1, 1, 0.5)
    found = summary([right, none])
    assert found["accuracy"] == 0.5
    assert (found["no_answer"], found["actions"], found["invalid_actions"]) == (1, 3, 1)
    assert (found["tokens_per_task"], found["seconds_per_task"]) == (20.0, 1.0)


def test_questions_are_read_from_gsm8ks_own_lines(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    entries = [{"question": f"Q{i}", "answer": f"Because.\n#### {i}"} for i in range(5)]
    file.write_text("\n".join(map(json.dumps, entries)) + "\n", "utf-8")
    assert read_questions(file, 3, 10) == [Question("Q3", "3"), Question("Q4", "4")]


def test_questions_over_facts(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    items = [
        {
            "question": "Did Caesar have children?",
            "answer": True,
            "term": "Caesar",
            "facts": ["He had three."],
        },
        {"question": "Did Caesar fly?", "answer": False, "term": "Caesar", "facts": ["He walked."]},
    ]
    file.write_text(json.dumps(items), "utf-8")
    first, second = read_questions(file, 0, 10)
    assert (first.answer, second.facts) == ("True", ("He walked.",))
    library = facts_library(file, tmp_path)
    assert {passage.text for passage in library.entity("Caesar")} == {"He had three.", "He walked."}
    engine, lumos = ScriptedEngine("Answer: Yes", "Answer: Yes"), LumosTemplate("eval", "", "")
    toolbox = Toolbox.of_packs(["qa"], [library])
    agent = Agent(engine, lumos, lumos, toolbox, reader=Reader(engine, lumos, Sampling(), 80))
    right, wrong = (reading_system(agent, with_facts=True)(question) for question in (first, second))
    assert (right.is_right, wrong.is_right) == (True, False)
    assert right.n_tokens > 0
    library.close()
