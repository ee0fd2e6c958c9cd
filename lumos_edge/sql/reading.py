"""The schema of an open database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from lumos_edge.errors import DatabaseError
from lumos_edge.sql.guard import is_internal
from lumos_edge.sql.names import is_speakable, quote
from lumos_edge.sql.schema import Column, Reference, Schema, Table

ForeignKey: TypeAlias = tuple[str, str, str, str]
"""A table and its column, and the table and the column that it refers to."""

MAX_TABLES = 200
MAX_COLUMNS = 5000
MAX_NAME_BYTES = 300_000
"""Of all columns' names, each with its table's, in UTF-8.

A larger schema is refused: its description fits no context window, its grammar no time limit."""


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Tables and views in the order of their definition. Raises DatabaseError, sqlite3.Error."""
    names = _table_names(connection)
    check_n_tables(len(names))
    found = [Table(name, tuple(_columns(connection, name))) for name in names]
    return speakable_schema(found, (key for name in names for key in _references(connection, name)))


def check_n_tables(n_tables: int) -> None:
    """Raise DatabaseError for more than are taken."""
    if n_tables > MAX_TABLES:
        raise DatabaseError(f"the database has {n_tables:,} tables, at most {MAX_TABLES} are taken")


def speakable_schema(found: Sequence[Table], keys: Iterable[ForeignKey]) -> Schema:
    """What of tables and foreign keys can be named in a statement. Raises DatabaseError for too many."""
    n_columns = sum(len(table.columns) for table in found)
    if n_columns > MAX_COLUMNS:
        raise DatabaseError(f"the database has {n_columns:,} columns, at most {MAX_COLUMNS:,} are taken")
    tables = tuple(table for table in map(_speakable, found) if table)
    n_left_out = n_columns - sum(len(table.columns) for table in tables)
    n_bytes = sum(len(f"{table.name}.{c.name}".encode()) for table in tables for c in table.columns)
    if n_bytes > MAX_NAME_BYTES:
        raise DatabaseError(
            f"the database's columns have names of {n_bytes:,} bytes, at most {MAX_NAME_BYTES:,} are taken"
        )
    named = Schema(tables, (), n_left_out)
    references = (_known(named, *key) for key in keys)
    return Schema(tables, tuple(reference for reference in references if reference), n_left_out)


def _table_names(connection: sqlite3.Connection) -> list[str]:
    """Of tables and views that are SQLite's own: not the virtual ones, nor the tables that these keep."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY rowid"
    ).fetchall()
    virtual = tuple(
        name for name, sql in rows if re.match(r"\s*CREATE\s+VIRTUAL\b", sql or "", re.IGNORECASE)
    )
    kept = tuple(f"{name}_" for name in virtual)
    return [name for name, _ in rows if not (is_internal(name) or name in virtual or name.startswith(kept))]


def _columns(connection: sqlite3.Connection, table: str) -> Iterator[Column]:
    # Hidden is 1 for what only a virtual table has, 2 and 3 for generated columns.
    for _, name, kind, _, _, _, hidden in connection.execute(f"PRAGMA table_xinfo({quote(table)})"):
        if hidden != 1:
            yield Column(name, kind)


def _speakable(table: Table) -> Table | None:
    columns = tuple(
        Column(column.name, column.type if is_speakable(column.type) else "")
        for column in table.columns
        if is_speakable(column.name)
    )
    return Table(table.name, columns) if columns and is_speakable(table.name) else None


def _references(connection: sqlite3.Connection, table: str) -> Iterator[ForeignKey]:
    """The table's foreign keys of one column; without a named target column it is the target's primary key."""
    keys = connection.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall()
    for number, _, target, column, target_column, *_ in keys:
        if sum(key[0] == number for key in keys) == 1:
            yield table, column, target, target_column or _primary_key(connection, target)


def _primary_key(connection: sqlite3.Connection, table: str) -> str:
    columns = connection.execute(f"PRAGMA table_info({quote(table)})").fetchall()
    return next((column[1] for column in columns if column[5]), "")


def _known(schema: Schema, table: str, column: str, target: str, target_column: str) -> Reference | None:
    """The foreign key in the tables' own spelling; None when it leads to what does not exist."""
    ends = [(schema.table(name), key) for name, key in ((table, column), (target, target_column))]
    names: list[str] = []
    for end, key in ends:
        spelled = end and next((c.name for c in end.columns if c.name.lower() == key.lower()), None)
        if end is None or not spelled:
            return None
        names += [end.name, spelled]
    return Reference(*names)
