"""What the benchmarks of knowledge and of the reader count."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from benchmarks.bench_knowledge import missing_words, plain_fts5, steps_found
from benchmarks.bench_reader import kind_of
from lumos_edge.knowledge.passage import Passage
from lumos_edge.values import Answer

FACTS = ["Scampi is a dish of shrimp.", "Shrimp contain microplastics."]
ITEM = {
    "facts": FACTS,
    "decomposition": ["What protein is scampi of?", "What have #1 been found to contain?", "Is #2 bad?"],
    "evidence": [[[[["Scampi-1"]]], [[["Plastic-31"]]], ["no_evidence", "operation"]]],
}


def test_a_reference_stands_for_the_answer_and_finds_another_fact() -> None:
    asked: list[str] = []

    def find(query: str) -> list[str]:
        asked.append(query)
        return FACTS if "contain" in query else FACTS[:1]

    assert list(steps_found(ITEM, find, missing_words)) == [("without", True), ("with", True)]
    assert asked[1] == "What have a dish shrimp. been found to contain?"
    assert list(steps_found(ITEM, lambda _: FACTS[:1], missing_words)) == [("without", True), ("with", False)]


def test_a_reader_is_asked_only_what_a_later_step_refers_to() -> None:
    read: list[tuple[str, str]] = []

    def answer(question: str, hits: list[str], fact: str) -> str:
        read.append((question, fact))
        return "shrimp"

    assert list(steps_found(ITEM, lambda _: FACTS, answer)) == [("without", True), ("with", True)]
    assert read == [
        ("What protein is scampi of?", FACTS[0]),
        ("What have shrimp been found to contain?", FACTS[1]),
    ]


def test_plain_fts5_finds_by_words() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        find = plain_fts5(connection, [("Caesar", "He had three children."), ("Nile", "A river.")])
        assert find('How many "children" had Caesar?')[0] == "He had three children."
        assert find("?") == []


def test_an_answer_of_a_reader_is_of_one_kind() -> None:
    given = (Passage("Nile", "A long\nriver.", "p"),)
    assert kind_of(Answer("long river", "What is it?", given), given) == "quotation"
    assert kind_of(Answer("lake", "What is it?", given), given) == "wrong"
    assert kind_of(Answer("long river", "What is it?", ()), given) == "wrong"
    assert kind_of(Answer("No answer", "What is it?"), given) == "no answer"
    assert kind_of(Answer("Yes", "Is it long?", given), given) == "yes or no"
    assert kind_of(Answer("river", "Is it long?", given), given) == "wrong"
    assert kind_of(Answer("river", "What is it?", (Passage("Sea", "A river.", "p"),)), given) == "wrong"
