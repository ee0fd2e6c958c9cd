"""A database that can only be asked."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from lumos_edge.errors import ActionError, DatabaseError, ToolError, ToolTimeout
from lumos_edge.sql.checking import check_select, check_statement
from lumos_edge.sql.database import MAX_CELL, Database
from lumos_edge.sql.reading import MAX_COLUMNS
from lumos_edge.sql.schema import Column, Reference, Schema, Table
from lumos_edge.values import Rows
from tests.sql.databases import make


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return make(tmp_path / "library #1?.sqlite")  # a name that a URI has to escape


@pytest.fixture
def library(file: Path) -> Database:
    return Database.open(file)


def test_rows_come_with_their_columns(library: Database) -> None:
    rows = library.select("SELECT title, pages FROM book WHERE price > 9 ORDER BY pages")
    assert rows == Rows(("title", "pages"), (("Snow (2nd)", 120), ("Fjord", 210), ("River", 330)))
    assert library.tables().rows == (("author",), ("book",), ("branch",), ("copy",))
    assert library.columns("branch") == Rows(("column", "type"), (("branch_id", "INTEGER"), ("city", "TEXT")))


def test_the_schema_knows_what_is_joined(library: Database) -> None:
    assert library.schema.references == (
        Reference("book", "author_id", "author", "author_id"),  # the target's primary key is not named
        Reference("copy", "branch_id", "branch", "branch_id"),
        Reference("copy", "book_id", "book", "book_id"),
    )
    assert Reference("author", "author_id", "book", "author_id") in library.schema.joins
    assert library.describe().startswith(
        "Database: author(author_id INTEGER, name TEXT, country TEXT, born INT); "
    )
    assert Schema.read_json(library.schema.write_json()) == library.schema


# What neither the guard lets through when it is run, nor the check that comes before.
FORBIDDEN = [
    "DELETE FROM book",
    "DROP TABLE book",
    "INSERT INTO book VALUES (9, 'x', 1, 1, 1)",
    "UPDATE book SET title = ''",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "ATTACH 'other.sqlite' AS other",
    "VACUUM INTO 'copy.sqlite'",
    "REINDEX",
    "BEGIN",
    "EXPLAIN SELECT 1",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "VALUES (1)",
    "SELECT 1; DROP TABLE book",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM pragma_table_info('book')",
    "SELECT LOAD_EXTENSION('x')",
    "SELECT READFILE('/etc/passwd')",
    "SELECT RANDOMBLOB(1000000000)",
    "SELECT HEX(ZEROBLOB(1000000000))",
    "SELECT PRINTF('%.*c', 1000000000, 'x')",
    "SELECT GROUP_CONCAT(title) FROM book",
    "SELECT (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n)",
    "SELECT nothing FROM book",
    "SELECT * FROM nowhere",
    "SELECT title FROM book WHERE title = \0",
    "",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_nothing_else_runs(library: Database, file: Path, statement: str) -> None:
    before = file.read_bytes()
    with pytest.raises((ActionError, ToolError)):
        library.select(statement)
    with pytest.raises(ActionError):
        check_statement(library.schema, statement)
    assert file.read_bytes() == before
    assert sorted(path.name for path in file.parent.iterdir() if path.is_file()) == [file.name]


def test_a_quoted_name_that_does_not_exist_is_no_text(library: Database) -> None:
    with pytest.raises(ActionError, match="single quotes"):
        check_select(library.schema, 'SELECT title FROM book WHERE title = "Fjord"')
    check_select(library.schema, "SELECT title FROM book WHERE title = '\"Fjord\"'")


def test_a_cross_join_is_interrupted(tmp_path: Path) -> None:
    numbers = ", ".join(f"({i})" for i in range(1000))
    database = Database.open(make(tmp_path / "x", f"CREATE TABLE t (n INT); INSERT INTO t VALUES {numbers};"))
    started = time.monotonic()
    with pytest.raises(ToolTimeout, match=r"0\.2 s"):
        database.select("SELECT COUNT(*) FROM t, t AS u, t AS v WHERE t.n + u.n + v.n = -1", timeout_s=0.2)
    assert time.monotonic() - started < 30


def test_rows_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    numbers = ", ".join(f"({i})" for i in range(50))
    database = Database.open(make(tmp_path / "x", f"CREATE TABLE t (n INT); INSERT INTO t VALUES {numbers};"))
    rows = database.select("SELECT t.n FROM t, t AS u", max_rows=7)
    assert len(rows.rows) == 7
    assert rows.is_cut
    assert not database.select("SELECT n FROM t LIMIT 7", max_rows=7).is_cut


def test_what_json_has_no_word_for_becomes_text(tmp_path: Path) -> None:
    script = f"""CREATE TABLE t (a, b, c, d, e);
    INSERT INTO t VALUES (NULL, X'00FF', 9e999, CAST(X'FF41' AS TEXT), '{"x" * (MAX_CELL + 1)}');"""
    (row,) = Database.open(make(tmp_path / "x", script)).select("SELECT * FROM t").rows
    assert row == (None, "<2 bytes>", "inf", "\ufffdA", "x" * MAX_CELL + "...")


def test_views_are_asked_like_tables(tmp_path: Path) -> None:
    script = """CREATE TABLE t (n INT); INSERT INTO t VALUES (3);
    CREATE VIEW doubled AS SELECT n * 2 AS m FROM t;
    CREATE VIEW endless AS WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT i FROM r;
    CREATE VIEW spy AS SELECT sql FROM sqlite_master;
    CREATE VIEW big AS SELECT HEX(ZEROBLOB(1000000000)) AS x;"""
    database = Database.open(make(tmp_path / "x", script))
    assert database.select("SELECT m FROM doubled").rows == ((6,),)
    for view in ("endless", "spy", "big"):
        with pytest.raises(ToolError):
            database.select(f"SELECT * FROM {view}")


def test_names_that_an_action_cannot_hold_are_left_out(tmp_path: Path) -> None:
    script = """CREATE TABLE t (good, "no) way", "line\nbreak", "rate (%)", "select");
    CREATE TABLE "a)(" (x); CREATE TABLE "zero\u200bwidth" (x);"""
    schema = Database.open(make(tmp_path / "x", script)).schema
    assert schema.tables == (Table("t", (Column("good", ""), Column("rate (%)", ""), Column("select", ""))),)
    assert schema.n_left_out == 4


def test_virtual_tables_are_not_asked(tmp_path: Path) -> None:
    database = Database.open(
        make(tmp_path / "x", "CREATE TABLE t (n); CREATE VIRTUAL TABLE f USING fts5(words);")
    )
    assert [table.name for table in database.schema.tables] == ["t"]  # nor what they keep their content in
    with pytest.raises(ToolError):
        database.select("SELECT * FROM f")


def test_a_huge_schema_is_refused(tmp_path: Path) -> None:
    tables = (f"CREATE TABLE t{i} ({', '.join(f'c{j}' for j in range(2000))});" for i in range(5))
    with pytest.raises(DatabaseError, match=f"10,000 columns, at most {MAX_COLUMNS:,}"):
        Database.open(make(tmp_path / "x", "\n".join(tables)))
    many = "\n".join(f"CREATE TABLE t{i} (c);" for i in range(300))
    with pytest.raises(DatabaseError, match="300 tables, at most 200"):
        Database.open(make(tmp_path / "y", many))


def test_a_long_schema_is_described_by_its_tables(tmp_path: Path) -> None:
    script = "\n".join(
        f"CREATE TABLE t{i} ({', '.join(f'column_{j} INT' for j in range(90))});" for i in range(9)
    )
    database = Database.open(make(tmp_path / "x", script))
    assert (
        database.describe()
        == f"Database: tables {', '.join(f't{i}' for i in range(9))} (DESCRIBE shows a table's columns)"
    )


def test_what_is_no_database_is_said_so(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("this is a text, and long enough to have a header of its own " * 20)
    cut_off = tmp_path / "cut.sqlite"
    cut_off.write_bytes(make(tmp_path / "whole.sqlite").read_bytes()[:3000])
    empty = tmp_path / "empty.sqlite"
    empty.write_bytes(b"")
    for path, found in (
        (tmp_path / "missing.sqlite", "there is no database file"),
        (tmp_path, "there is no database file"),
        (text, "file is not a database"),
        (cut_off, "malformed"),
        (empty, "has no table"),
    ):
        with pytest.raises(DatabaseError, match=found):
            Database.open(path)
    assert not (tmp_path / "missing.sqlite").exists()


def test_a_file_that_vanished_or_is_locked_is_the_tools_error(library: Database, file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ToolError, match="locked"):
            library.select("SELECT * FROM book")
        writer.execute("ROLLBACK")
    file.unlink()
    with pytest.raises(ToolError, match="unable to open"):
        library.select("SELECT * FROM book")
    assert not file.exists()


def test_a_schema_alone_checks_but_has_no_rows(library: Database) -> None:
    recorded = Database.read_json(library.write_json())
    recorded.check("SELECT COUNT(*) FROM book")
    with pytest.raises(ToolError, match="schema alone"):
        recorded.select("SELECT COUNT(*) FROM book")
