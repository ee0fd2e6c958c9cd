"""What keeps a connection to asking."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lumos_edge.sql.schema import Schema

_FUNCTION_NAMES = (
    "abs avg coalesce count date datetime ifnull instr julianday length like lower ltrim max min nullif round rtrim "
    "strftime substr substring sum time total trim upper"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""What a statement may call: nothing that reads a file, loads code, or makes a value larger than its input."""

_OPERATIONS_BETWEEN_CHECKS = 10_000  # some 0.1 ms


@contextmanager
def guarded(connection: sqlite3.Connection, schema: Schema, timeout_s: float) -> Iterator[None]:
    """From here on the connection does nothing but SELECT on the schema, for that long."""
    tables = {table.name.lower() for table in schema.tables}

    def authorize(
        action: int, first: str | None, second: str | None, _: str | None, source: str | None
    ) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = (second or "").lower() in FUNCTIONS
        elif action == sqlite3.SQLITE_READ:
            # What a view reads is the view's matter, but never the schema table itself.
            allowed = (first or "").lower() in tables or (source is not None and not is_internal(first))
        else:
            allowed = action == sqlite3.SQLITE_SELECT
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    deadline = time.monotonic() + timeout_s
    connection.set_authorizer(authorize)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _OPERATIONS_BETWEEN_CHECKS)
    yield


def is_internal(name: str | None) -> bool:
    return (name or "").lower().startswith("sqlite_")
