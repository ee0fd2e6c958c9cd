"""The schema of a database: its tables, their columns, and the columns along which they are joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lumos_edge.sql.names import spell

MAX_DESCRIPTION = 6000
"""Characters that a module is shown of a schema; a longer one is cut down to the names of its tables."""


@dataclass(frozen=True)
class Column:
    """A column and its declared type (often empty, and never enforced by SQLite)."""

    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """A table or a view."""

    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column: `table.column` holds values of `target.target_column`."""

    table: str
    column: str
    target: str
    target_column: str


@dataclass(frozen=True)
class Schema:
    """What may be named in a statement. `n_left_out` columns, or their tables, have names that no action can hold."""

    tables: tuple[Table, ...]
    references: tuple[Reference, ...]
    n_left_out: int = 0

    def table(self, name: str) -> Table | None:
        """The table of that name, in the case that SQLite takes for the same."""
        return self._by_name.get(name.lower())

    @cached_property
    def _by_name(self) -> dict[str, Table]:
        return {table.name.lower(): table for table in self.tables}

    @cached_property
    def joins(self) -> frozenset[Reference]:
        """The pairs of columns along which tables are joined, each in both directions.

        They are the foreign keys, pairs of columns that refer to the same column, and columns of one name of which
        one ends in `id`, `code` or `key` (schemas often declare no foreign keys).
        """
        pairs = {*self.references, *self._co_references(), *self._same_names()}
        return frozenset(pairs | {Reference(r.target, r.target_column, r.table, r.column) for r in pairs})

    def _co_references(self) -> Iterator[Reference]:
        for one in self.references:
            for other in self.references:
                same = (one.target, one.target_column) == (other.target, other.target_column)
                if same and one.table != other.table:
                    yield Reference(one.table, one.column, other.table, other.column)

    def _same_names(self) -> Iterator[Reference]:
        holders: dict[str, list[tuple[str, str]]] = {}
        for table in self.tables:
            for column in table.columns:
                if _is_key(column.name):
                    holders.setdefault(column.name.lower(), []).append((table.name, column.name))
        for places in holders.values():
            if len(places) <= _MAX_HOLDERS:
                yield from (
                    Reference(*one, *other) for one in places for other in places if one[0] < other[0]
                )

    def describe(self) -> str:
        """The schema as a module reads it: `singer(Singer_ID INT, Name TEXT); ...` and the foreign keys."""
        for text in (self._described(True), self._described(False)):
            if len(text) <= MAX_DESCRIPTION:
                return text
        names = ", ".join(spell(table.name) for table in self.tables)
        return f"tables {names[:MAX_DESCRIPTION]} (DESCRIBE shows a table's columns)"

    def _described(self, with_types: bool) -> str:
        tables = [
            f"{spell(table.name)}({', '.join(_column_text(column, with_types) for column in table.columns)})"
            for table in self.tables
        ]
        keys = [
            f"{spell(r.table)}.{spell(r.column)} = {spell(r.target)}.{spell(r.target_column)}"
            for r in self.references
        ]
        return "; ".join([*tables, *keys])

    def write_json(self) -> dict[str, Any]:
        """The schema as JSON data, for a trace."""
        return {
            "tables": [
                {"name": t.name, "columns": [[c.name, c.type] for c in t.columns]} for t in self.tables
            ],
            "references": [[r.table, r.column, r.target, r.target_column] for r in self.references],
            "n_left_out": self.n_left_out,
        }

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Schema:
        """The inverse of `write_json`; raises KeyError, TypeError or ValueError for other data."""
        return cls(
            tuple(
                Table(table["name"], tuple(Column(name, kind) for name, kind in table["columns"]))
                for table in data["tables"]
            ),
            tuple(Reference(*reference) for reference in data["references"]),
            data["n_left_out"],
        )


# A column that more tables have than that (`id`, mostly) says nothing of which belong together.
_MAX_HOLDERS = 6


def _is_key(name: str) -> bool:
    lower = name.lower()
    return lower not in ("id", "code", "key") and lower.endswith(("id", "code", "key"))


def _column_text(column: Column, with_types: bool) -> str:
    kind = column.type.partition("(")[0] if with_types else ""
    return f"{spell(column.name)} {kind}".rstrip()
