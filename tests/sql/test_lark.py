"""Every statement of a grammar runs on its schema, and what questions need is among them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.actions import parse_actions
from lumos_edge.engine import Grammar
from lumos_edge.errors import ActionError
from lumos_edge.sql.blocks import Block, read_blocks
from lumos_edge.sql.checking import check_select, check_statement
from lumos_edge.sql.database import Database
from lumos_edge.sql.lark import StatementGrammar
from lumos_edge.sql.schema import Schema
from tests.scripted import accepts, random_text
from tests.sql.databases import make, random_schema, script_of


def statements(schema: Schema, start: str = "argument") -> Grammar:
    """The whole statements, each with a line break at its end."""
    grammar = StatementGrammar(schema)

    def part(text: str) -> str | None:
        if text.endswith("\n"):
            return None
        begin = "argument" if text else start
        return f'start: {begin}\nargument_end: "\\n"\n{grammar.part(text)}'

    return part


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database.open(make(tmp_path_factory.mktemp("sql") / "library.sqlite"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_every_generated_select_runs_and_names_only_what_exists(seed: int, n_tables: int) -> None:
    random = Random(seed)
    schema = readable(random_schema(random, n_tables))
    text = random_text(statements(schema, '"SELECT" list'), random).rstrip("\n")
    check_select(schema, text)
    (action,) = parse_actions(f"R1 = SQL({text})")
    assert action.arguments == text


def readable(schema: Schema) -> Schema:
    """What a database with that schema says of itself."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return Database.open(make(Path(folder) / "x.sqlite", script_of(schema))).schema


@pytest.mark.parametrize(
    "text",
    [
        "SHOW TABLES",
        "DESCRIBE copy",
        "SELECT * FROM author",
        "SELECT COUNT(*) FROM book",
        "SELECT DISTINCT country FROM author WHERE born > 1960 ORDER BY born DESC LIMIT 3",
        "SELECT COUNT(DISTINCT country), MAX(born) - MIN(born) FROM author",
        "SELECT ROUND(AVG(price), 2) FROM book WHERE title LIKE '%o%' OR pages BETWEEN 100 AND 200",
        "SELECT title FROM book WHERE title = 'It''s late' AND price IS NOT NULL",
        "SELECT title FROM book WHERE title IN ('Fjord', 'Snow (2nd)')",
        "SELECT author.name, COUNT(*) FROM author JOIN book ON book.author_id = author.author_id "
        "GROUP BY author.author_id HAVING COUNT(*) >= 2 ORDER BY COUNT(*) DESC, author.name",
        "SELECT name FROM author JOIN book ON author.author_id = book.author_id WHERE title = 'Fjord'",
        "SELECT author.name, branch.city FROM author JOIN book ON book.author_id = author.author_id "
        "JOIN copy ON copy.book_id = book.book_id LEFT JOIN branch ON branch.branch_id = copy.branch_id",
        "SELECT title FROM book WHERE pages > (SELECT AVG(pages) FROM book) AND book_id NOT IN "
        "(SELECT book_id FROM copy WHERE branch_id = 2)",
        "SELECT book_id FROM book EXCEPT SELECT book_id FROM copy",
        "SELECT COUNT(*) FROM (SELECT book_id FROM book INTERSECT SELECT book_id FROM copy)",
        "SELECT title FROM book WHERE author_id IN (SELECT author_id FROM author WHERE born < 1960 AND "
        "author_id IN (SELECT author_id FROM book)) ORDER BY price",
        "SELECT STRFTIME('%Y', title), UPPER(title) FROM book WHERE LENGTH(title) > 3",
        "title, price FROM book",
        "AVG(price), SUM(pages) FROM book",
        "author.country = 'Norway'",
        "book.author_id NOT IN (SELECT author_id FROM author UNION SELECT book_id FROM copy)",
    ],
)
def test_what_questions_need_is_generated(library: Database, text: str) -> None:
    assert accepts(statements(library.schema), text + "\n")
    check_statement(library.schema, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DESCRIBE reader", "there is no such table"),
        ("SELECT age FROM author", "there is no such column"),
        ("SELECT title FROM author", "the column is of another table"),
        ("SELECT name, title FROM author", "no table has both columns"),
        ("SELECT name + pages FROM author", "no table has both columns"),
        ("SELECT author.name FROM book", "its table is not in FROM"),
        ("SELECT name FROM author WHERE title = 'x'", "the column is of another table"),
        ("SELECT name FROM author JOIN book ON author.name = book.title", "foreign keys say what is joined"),
        ("SELECT book_id FROM book JOIN copy ON copy.book_id = book.book_id", "book_id is ambiguous"),
        ("SELECT name FROM author WHERE COUNT(*) > 1", "aggregates stand in HAVING"),
        ("SELECT name FROM author HAVING COUNT(*) > 1", "HAVING needs GROUP BY"),
        ("SELECT name FROM author ORDER BY COUNT(*)", "without GROUP BY that is an error"),
        ("SELECT name, born FROM author UNION SELECT title FROM book", "they are not equally wide"),
        ("SELECT * FROM author UNION SELECT title FROM book", "nobody has counted the columns"),
        ("SELECT name FROM author WHERE born IN (SELECT * FROM book)", "a value has one column"),
        ("SELECT name FROM author WHERE born IN (SELECT born, name FROM author)", "a value has one column"),
        (
            "SELECT name FROM author UNION SELECT title FROM book ORDER BY name",
            "a set operation is not ordered",
        ),
        ("SELECT name FROM author WHERE name = 'a) b'", "the parenthesis would close the action"),
        ("SELECT name FROM author; DROP TABLE author", "only one statement"),
        ("DROP TABLE author", "only SELECT"),
        ("PRAGMA writable_schema = ON", "only SELECT"),
        ("ATTACH 'x' AS y", "only SELECT"),
        ("WITH RECURSIVE n AS (SELECT 1) SELECT * FROM n", "only SELECT"),
        ("SELECT LOAD_EXTENSION('x') FROM author", "there is no such function"),
        ("SELECT name FROM sqlite_master", "it is no table of the user's"),
        ("SELECT rowid FROM author", "it is no column of the schema"),
    ],
)
def test_what_would_fail_is_not_generated(library: Database, text: str, why: str) -> None:
    assert not accepts(statements(library.schema), text + "\n"), why


def test_tables_without_a_foreign_key_are_joined_on_any_columns(tmp_path: Path) -> None:
    schema = Database.open(make(tmp_path / "x", "CREATE TABLE a (x, y); CREATE TABLE b (z);")).schema
    grammar = statements(schema)
    assert accepts(grammar, "SELECT a.x, b.z FROM a JOIN b ON b.z = a.y\n")
    assert not accepts(grammar, "SELECT a.x FROM a JOIN b ON b.z = a.y\n")  # nothing asks for b


def test_columns_may_begin_as_keywords_do(tmp_path: Path) -> None:
    script = "CREATE TABLE t (D, DISTINCT_x, AND_y, IS_z, LIMIT_n, Description, R, SUM);"
    schema = Database.open(make(tmp_path / "x", script)).schema
    for column in ("D", "DISTINCT_x", "AND_y", "IS_z", "LIMIT_n", "Description", "R", "SUM"):
        for text in (
            f"SELECT {column}, {column} FROM t WHERE {column} > {column} AND {column} IS NULL ORDER BY {column}",
            f"SELECT DISTINCT {column} FROM t GROUP BY {column} HAVING SUM({column}) > 1 LIMIT 3",
            f"SELECT SUM({column}) + {column} FROM t",
        ):
            assert accepts(statements(schema), text + "\n"), text


def test_one_table_has_nothing_to_join(tmp_path: Path) -> None:
    schema = Database.open(make(tmp_path / "x", "CREATE TABLE a (x);")).schema
    assert not accepts(statements(schema), "SELECT x FROM a JOIN a ON a.x = a.x\n")
    assert accepts(statements(schema), "SELECT x FROM a\n")


def test_selects_nest_three_deep() -> None:
    schema = readable(Schema(random_schema(Random(1), 1).tables, ()))
    (name,) = [column.name for column in schema.tables[0].columns if column.name.startswith("key")]
    table = StatementGrammar(schema).part("").partition("TABLE: /")[2].partition("/")[0]
    assert table

    def nested(depth: int) -> str:
        inner = f" WHERE {name} IN ({nested(depth - 1)})" if depth > 1 else ""
        return f"SELECT {name} FROM {spelled(schema)}{inner}"

    assert accepts(statements(schema), nested(3) + "\n")
    assert not accepts(statements(schema), nested(4) + "\n")
    with pytest.raises(ActionError):
        check_select(schema, nested(2) + ")")


def spelled(schema: Schema) -> str:
    from lumos_edge.sql.names import spell

    return spell(schema.tables[0].name)


@pytest.mark.parametrize(
    ("written", "blocks"),
    [
        ("SELECT a, t.b,", (Block(n_items=3, bare=frozenset("a"), qualified=frozenset("t")),)),
        ("SELECT DISTINCT * FROM", (Block(n_items=1, has_star=True, clause="from"),)),
        (
            "SELECT COUNT(*), ROUND(AVG(a), 2) FROM t JOIN u ON t.a = u.b WHERE",
            (Block(n_items=2, bare=frozenset("a"), tables=("t", "u"), clause="where"),),
        ),
        (
            "SELECT a FROM t WHERE b = 'x, (SELECT y' AND c IN (SELECT",
            (
                Block(n_items=1, bare=frozenset("a"), tables=("t",), clause="where"),
                Block(n_items=1, n_columns=1),
            ),
        ),
        (
            "SELECT a FROM t WHERE b IN (SELECT c FROM u) GROUP BY",
            (Block(n_items=1, bare=frozenset("a"), tables=("t",), clause="group", is_grouped=True),),
        ),
        ("SELECT a, b FROM t UNION ALL SELECT", (Block(n_items=1, n_columns=2, is_compound=True),)),
        (
            "t.a = 3 AND t.b IN (SELECT",
            (
                Block(n_items=1, is_fragment=True, qualified=frozenset("t"), clause="where"),
                Block(n_items=1, n_columns=1),
            ),
        ),
    ],
)
def test_an_unfinished_statement_is_read(written: str, blocks: tuple[Block, ...]) -> None:
    assert read_blocks(written) == blocks
