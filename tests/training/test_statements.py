"""Gold queries as the runtime writes them, and their subgoals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lumos_edge.sql.database import Database
from lumos_edge.templates import CompactTemplate
from tests.sql.databases import make
from training.annotate import main
from training.chains import RejectedItemError
from training.sequences import turns
from training.statements import describe, read_statement, sql_annotator, statement_text


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.open(make(tmp_path / "library.sqlite"))


@pytest.mark.parametrize(
    ("gold", "statement", "subgoal"),
    [
        (
            "select T1.NAME from Author as T1 where T1.born > 1960 and not country in ('China', 'Peru')",
            "SELECT name FROM author WHERE born > 1960 AND country NOT IN ('China', 'Peru')",
            "Select name of author where born > 1960 and country NOT IN ('China', 'Peru').",
        ),
        (
            "SELECT T1.name , count(*) FROM author AS T1 JOIN book AS T2 ON T1.author_id = T2.author_id "
            "GROUP BY T1.author_id HAVING count(*) >= 2",
            "SELECT author.name, COUNT(*) FROM author JOIN book ON author.author_id = book.author_id "
            "GROUP BY author.author_id HAVING COUNT(*) >= 2",
            "Select author.name and the number of rows of author joined with book for each author.author_id with "
            "COUNT(*) >= 2.",
        ),
        (
            "SELECT max(pages), avg(DISTINCT price) FROM book ORDER BY title DESC LIMIT 3",
            "SELECT MAX(pages), AVG(DISTINCT price) FROM book ORDER BY title DESC LIMIT 3",
            "Select the largest pages and the average DISTINCT price of book and take the first 3 by title descending.",
        ),
        (
            "SELECT title FROM book WHERE price > (SELECT avg(price) FROM book) AND pages <> 3",
            "SELECT title FROM book WHERE price > (SELECT AVG(price) FROM book) AND pages != 3",
            "Select title of book where price > (select the average price of book) and pages != 3.",
        ),
        (
            "SELECT DISTINCT country FROM author EXCEPT SELECT country FROM author WHERE born = 1950",
            "SELECT DISTINCT country FROM author EXCEPT SELECT country FROM author WHERE born = 1950",
            "Select the distinct country of author that are not among those of country of author where born = 1950.",
        ),
    ],
)
def test_a_gold_query_becomes_a_subgoal_and_a_statement(
    database: Database, gold: str, statement: str, subgoal: str
) -> None:
    query = read_statement(gold, database.schema)
    assert (statement_text(query), describe(query)) == (statement, subgoal)
    assert database.select(statement).rows == database.select(gold).rows


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("SELECT FROM WHERE", "does not parse"),
        ("DELETE FROM book", "does not parse"),
        ("SELECT COUNT(*) FROM (SELECT title FROM book)", "derived or repeated table"),
        ("SELECT a.name FROM author AS a JOIN author AS b ON a.born = b.born", "derived or repeated table"),
        ("SELECT name FROM person", "derived or repeated table"),
    ],
)
def test_what_our_language_has_not_is_rejected(database: Database, gold: str, reason: str) -> None:
    with pytest.raises(RejectedItemError) as rejected:
        read_statement(gold, database.schema)
    assert rejected.value.reason == reason


def test_tasks_become_conversations_that_know_their_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = make(tmp_path / "library.sqlite")
    tasks = [
        {
            "question": "How many books?",
            "db": file.name,
            "sql": "SELECT count(*) FROM book",
            "hardness": "easy",
        },
        {"question": "Whose?", "db": file.name, "sql": "SELECT x FROM y", "hardness": "easy"},
        {"question": "Where?", "db": "none.sqlite", "sql": "SELECT 1", "hardness": "easy"},
        {"question": "Broken?"},
    ]
    (tmp_path / "tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    monkeypatch.setattr(
        sys, "argv", ["annotate", "--intercode", str(tmp_path / "tasks.jsonl"), "-o", str(tmp_path / "out")]
    )
    main()
    named = capsys.readouterr().err
    assert "intercode line 2: derived or repeated table" in named
    assert "intercode line 3: no database" in named
    assert "intercode line 4: broken line" in named
    (line,) = (tmp_path / "out" / "grounder_onetime.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["db"] == str(file)
    assert entry["messages"][-1]["content"] == "R1 = SQL(SELECT COUNT(*) FROM book)"


def test_the_compact_prompt_has_the_schema_before_the_question(database: Database) -> None:
    assert database.path
    annotator = sql_annotator(database.path)
    solution = [("Select the number of rows of book.", "R1 = SQL(SELECT COUNT(*) FROM book)")]
    annotation = annotator.annotate("intercode", "1", "How many books?", solution, None)
    planner, grounder = turns(annotation, CompactTemplate("<end>"), "onetime")
    assert planner.prompt[1] == f"{database.describe()}\nHow many books?\n"
    assert grounder.prompt[: len(planner.prompt)] == planner.prompt
