"""A database behind a URL: PostgreSQL, MySQL, DuckDB and whatever else SQLAlchemy has a driver for (extra `sql`).

Covered: a statement is first checked as for a file (SQLite parses it, only the tables, columns and functions that are
known), then written anew in the server's own words by sqlglot: whatever a comment or a quotation mark would mean
there, what arrives is that one SELECT. The transaction is read-only and the server stops the statement where it is
PostgreSQL, MySQL or MariaDB; elsewhere nothing is ever committed, and a slow statement is left behind by the tool's
time limit. Not covered: what views and the server's own functions do. Give it an account that may only read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import sqlalchemy
import sqlglot
from sqlalchemy.engine import URL, Connection, Engine, Inspector, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlglot.errors import SqlglotError

from lumos_edge.errors import ActionError, DatabaseError, ToolError, ToolTimeout
from lumos_edge.sql.checking import check_select, is_select
from lumos_edge.sql.database import MAX_ROWS, TIMEOUT_S, Database, cell
from lumos_edge.sql.reading import ForeignKey, check_n_tables, speakable_schema
from lumos_edge.sql.schema import Column, Schema, Table
from lumos_edge.values import Rows

_GLOT_NAMES = {"postgresql": "postgres", "mssql": "tsql", "mariadb": "mysql"}
_READ_ONLY = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {ms}"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_execution_time = {ms}"),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION max_statement_time = {s}"),
}


class ServerDatabase(Database):
    """A database that SQLAlchemy reaches; each SELECT opens a connection of its own."""

    def __init__(self, schema: Schema, engine: Engine) -> None:
        super().__init__(schema)
        self._engine = engine
        name = engine.dialect.name
        self._glot_name = _GLOT_NAMES.get(name, name)

    @classmethod
    def connect(cls, url: str) -> ServerDatabase:
        """The database at the URL, `postgresql+psycopg://user@host/name`: its default schema's tables and views.

        Raises DatabaseError, whose message never has the password.
        """
        address = _address(url)
        try:
            # A connection of its own for each statement: calls from several threads never meet.
            engine = sqlalchemy.create_engine(address, poolclass=NullPool)
            schema = _read_schema(sqlalchemy.inspect(engine))
        except (SQLAlchemyError, ImportError) as error:
            raise DatabaseError(f"{address!r} cannot be read: {_reason(error)}") from error
        if not schema.tables:
            raise DatabaseError(f"{address!r} has no table that a statement can name")
        database = cls(schema, engine)
        try:
            database._translate("SELECT 1")
        except ToolError as error:  # sqlglot has no words for it
            raise DatabaseError(f"{address!r} cannot be asked: {error}") from error
        return database

    def select(self, statement: str, *, timeout_s: float = TIMEOUT_S, max_rows: int = MAX_ROWS) -> Rows:
        """See `Database.select`."""
        if not is_select(statement):
            raise ActionError(f"expected a SELECT, found {statement[:40]!r}")
        check_select(self.schema, statement)
        translated = self._translate(statement)
        started = time.monotonic()
        try:
            with self._engine.connect() as connection:
                self._restrict(connection, timeout_s)
                # Without parameters a % in the statement is itself.
                result = connection.execution_options(
                    no_parameters=True, stream_results=True
                ).exec_driver_sql(translated)
                columns, found = tuple(result.keys()), result.fetchmany(max_rows + 1)
                result.close()
        except SQLAlchemyError as error:
            if time.monotonic() - started >= timeout_s:
                raise ToolTimeout(f"the query took longer than {timeout_s:g} s") from error
            raise ToolError(f"the query failed: {_reason(error)}") from error
        rows = tuple(tuple(map(cell, row)) for row in found[:max_rows])
        return Rows(columns, rows, len(found) > max_rows)

    def _translate(self, statement: str) -> str:
        try:
            parsed = sqlglot.parse_one(statement, read="sqlite")
            return parsed.sql(dialect=self._glot_name, identify=True, comments=False)
        except (SqlglotError, ValueError) as error:  # ValueError: no such dialect
            raise ToolError(f"no statement for {self._glot_name} can be made: {error}") from error

    def _restrict(self, connection: Connection, timeout_s: float) -> None:
        dialect = self._engine.dialect
        name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
        for setting in _READ_ONLY.get(name, ()):
            connection.exec_driver_sql(setting.format(ms=round(timeout_s * 1000), s=timeout_s))


def _address(url: str) -> URL:
    try:
        return make_url(url)
    except SQLAlchemyError as error:
        raise DatabaseError(f"expected a URL such as postgresql+psycopg://user@host/name: {error}") from error


def _reason(error: Exception) -> str:
    """The driver's own words, on one line; SQLAlchemy's have the statement and an address to read on at."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _read_schema(inspector: Inspector) -> Schema:
    names = [*inspector.get_table_names(), *inspector.get_view_names()]
    check_n_tables(len(names))
    tables = [Table(name, tuple(map(_column, inspector.get_columns(name)))) for name in names]
    return speakable_schema(tables, (key for name in names for key in _references(inspector, name)))


def _column(column: Any) -> Column:
    kind = column["type"]
    return Column(column["name"], "" if isinstance(kind, sqlalchemy.types.NullType) else str(kind))


def _references(inspector: Inspector, table: str) -> Iterator[ForeignKey]:
    for key in inspector.get_foreign_keys(table):
        if len(key["constrained_columns"]) == 1 and len(key["referred_columns"]) == 1:
            yield table, key["constrained_columns"][0], key["referred_table"], key["referred_columns"][0]
