"""A SQLite file that can only be asked: opened read-only, every statement authorized, its rows and its time limited.

Covered: only SELECT runs, on the tables of the schema, with the functions named here; no ATTACH, PRAGMA, temporary
objects, recursive queries, virtual tables, extensions, or reading of files; the file is never written to; a statement
that takes too long is interrupted; rows beyond the limit are not read. Not covered: SQLite itself parses the file, so
a file made to attack SQLite needs a SQLite without that bug; sorting spills to SQLite's temporary files.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from lumos_edge.errors import ActionError, DatabaseError, ToolError, ToolTimeout
from lumos_edge.sql.checking import check_statement, is_select
from lumos_edge.sql.guard import guarded
from lumos_edge.sql.lark import StatementGrammar
from lumos_edge.sql.reading import read_schema
from lumos_edge.sql.schema import Schema
from lumos_edge.toolbox import Language
from lumos_edge.values import Cell, Rows

MAX_ROWS = 1000
MAX_CELL = 10_000
"""Characters of a text that are kept."""

TIMEOUT_S = 3.0

_MAX_VALUE_BYTES = 10_000_000
_INTERRUPTED = "interrupted"


class Database(Language):
    """A database that is asked; a schema without a file stands for one in a replay."""

    wanted = "a database: --db FILE|URL"

    def __init__(self, schema: Schema, path: Path | None = None) -> None:
        self.schema = schema
        self.path = path
        self._grammar = StatementGrammar(schema)

    @classmethod
    def open(cls, path: Path) -> Database:
        """The database in a SQLite file. Raises DatabaseError where there is none that can be asked."""
        if not path.is_file():
            raise DatabaseError(f"there is no database file {path}")
        try:
            with closing(_open(path)) as connection:
                schema = read_schema(connection)
        except sqlite3.Error as error:
            raise DatabaseError(f"{path} is no SQLite database that can be read: {error}") from error
        if not schema.tables:
            raise DatabaseError(f"{path} has no table that a statement can name")
        return cls(schema, path)

    # -- the language of an argument that is a statement ------------------------------------------------------------

    def rules(self, written: str) -> str:
        """See `Language.rules`."""
        return self._grammar.part(written)

    def check(self, text: str) -> None:
        """See `Language.check`; whatever SQLite itself accepts will do, not only what the grammar writes."""
        check_statement(self.schema, text)

    # -- what a prompt and a trace say of it -------------------------------------------------------------------------

    def describe(self) -> str:
        """See `Resource.describe`."""
        return f"Database: {self.schema.describe()}"

    def write_json(self) -> dict[str, Any]:
        """See `Resource.write_json`: the schema, without which no statement can be checked, and no row."""
        return self.schema.write_json()

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Database:
        """See `Resource.read_json`."""
        return cls(Schema.read_json(data))

    # -- what is asked ---------------------------------------------------------------------------------------------

    def tables(self) -> Rows:
        """The names of the tables: `SHOW TABLES`."""
        return Rows(("table",), tuple((table.name,) for table in self.schema.tables))

    def columns(self, table: str) -> Rows:
        """A table's columns and their types: `DESCRIBE table`; raises ToolError."""
        found = self.schema.table(table)
        if found is None:
            raise ToolError(f"the database has no table {table}")
        return Rows(("column", "type"), tuple((column.name, column.type) for column in found.columns))

    def select(self, statement: str, *, timeout_s: float = TIMEOUT_S, max_rows: int = MAX_ROWS) -> Rows:
        """The rows of a SELECT; raises ActionError for another statement, ToolError, ToolTimeout.

        Cost: a connection of its own for each call (0.2 ms), so that calls from several threads never meet.
        """
        if not is_select(statement):
            raise ActionError(f"expected a SELECT, found {statement[:40]!r}")
        if self.path is None:
            raise ToolError("the database's file is not here: this is its schema alone")
        try:
            with closing(_open(self.path)) as connection, guarded(connection, self.schema, timeout_s):
                cursor = connection.execute(statement)
                columns = tuple(item[0] for item in cursor.description)
                found = cursor.fetchmany(max_rows + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            if str(error) == _INTERRUPTED:
                raise ToolTimeout(f"the query took longer than {timeout_s:g} s") from error
            raise ToolError(f"the query failed: {error}") from error
        rows = tuple(tuple(map(cell, row)) for row in found[:max_rows])
        return Rows(columns, rows, len(found) > max_rows)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    return connection


def cell(value: object) -> Cell:
    """A value of a row as a result holds it: numbers, texts and NULL; what else drivers give becomes a text."""
    if isinstance(value, (bytes, memoryview)):
        return f"<{len(value):,} bytes>"
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else cell(float(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, int):
        return value if value is None else int(value)
    text = str(value)
    return text if len(text) <= MAX_CELL else text[:MAX_CELL] + "..."
