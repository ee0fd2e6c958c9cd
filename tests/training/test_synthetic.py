"""Problems made by program."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

import pytest

from lumos_edge.toolbox import Toolbox
from training.annotations import Annotator
from training.synthetic import generate, read_schemas


def test_the_same_seed_gives_the_same_problems() -> None:
    first, again, other = (list(islice(generate(seed), 50)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_every_slot_is_filled() -> None:
    for problem in islice(generate(0), 500):
        text = f"{problem.question} {problem.solution}"
        assert not re.search(r"[{}]", text), problem


def test_numbers_below_a_hundred_stand_in_words_too() -> None:
    text = " ".join(problem.question.lower() for problem in islice(generate(0), 1000))
    written = set(re.findall(r"\b(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?", text))
    assert {"thirty", "fifty"} <= written
    ones = {word.partition("-")[2] for word in written}
    assert ones <= {"", *read_schemas()[0].numbers[1:10]}
    assert len(ones) > 5


def test_all_schemas_come_up_and_execute() -> None:
    toolbox = Toolbox.of_packs(["maths"])
    annotator = Annotator(toolbox)
    _, schemas = read_schemas()
    kinds = Counter[str]()
    for number, problem in enumerate(islice(generate(1), 600)):
        if kinds[problem.kind] < 2:
            kinds[problem.kind] += 1
            if problem.kind != "several roots":  # a double root is one root
                annotator.annotate("synthetic", str(number), problem.question, problem.solution, None)
    assert set(kinds) == {schema.kind for schema in schemas}


@pytest.mark.parametrize(
    "tool", ["SetEquation", "SolveEquation", "SolveInequality", "Count", "Code", "Define"]
)
def test_the_schemas_use_every_tool(tool: str) -> None:
    _, schemas = read_schemas()
    assert any(f"{tool}(" in actions for schema in schemas for _, actions in schema.steps)
