"""Small databases of our own, and random ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

from lumos_edge.sql.schema import Column, Reference, Schema, Table

LIBRARY = """
CREATE TABLE author (author_id INTEGER PRIMARY KEY, name TEXT, country TEXT, born INT);
CREATE TABLE book (book_id INTEGER PRIMARY KEY, title TEXT, author_id INT REFERENCES author, pages INT, price REAL);
CREATE TABLE branch (branch_id INTEGER PRIMARY KEY, city TEXT);
CREATE TABLE copy (book_id INT REFERENCES book (book_id), branch_id INT REFERENCES branch (branch_id));
INSERT INTO author VALUES
    (1, 'Ada Berg', 'Norway', 1950), (2, 'Bo Chen', 'China', 1971), (3, 'Cy Dahl', 'Norway', 1980);
INSERT INTO book VALUES
    (1, 'Fjord', 1, 210, 12.5), (2, 'It''s late', 1, 90, 8.0),
    (3, 'River', 2, 330, 15.0), (4, 'Snow (2nd)', 3, 120, 9.9);
INSERT INTO branch VALUES (1, 'Oslo'), (2, 'Bergen');
INSERT INTO copy VALUES (1, 1), (1, 2), (2, 1), (3, 2);
"""


def make(path: Path, script: str = LIBRARY) -> Path:
    """A database file of that script."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


# Keywords, quotes, spaces, other scripts, balanced and unbalanced parentheses, a line break, nothing to see.
_WORDS = [
    "id",
    "name",
    "Year",
    "code",
    "price",
    "group",
    "select",
    "order",
    "count",
    "a b",
    'x"y',
    "it's",
    "Größe",
]
_WORDS += [
    "年",
    "rate (%)",
    "%d",
    "a.b",
    "--",
    "/*",
    "no) way",
    "line\nbreak",
    "zero\u200bwidth",
    "",
    "*",
    "1st",
    "_",
]


def random_schema(random: Random, n_tables: int) -> Schema:
    """Tables with names of all kinds, some of which no action can hold, and foreign keys between some."""
    tables = []
    for number in range(n_tables):
        columns = {word.lower(): word for word in random.choices(_WORDS, k=random.randint(1, 12))}
        columns["key"] = f"key_{random.randrange(n_tables)}"
        named = tuple(Column(word, random.choice(["INT", "TEXT", ""])) for word in columns.values() if word)
        tables.append(Table(f"{random.choice(_WORDS) if number else 'first'}{number}", named))
    references = []
    for table in tables[1:]:
        target = random.choice(tables)
        if random.random() < 0.7 and target != table:
            references.append(
                Reference(
                    table.name,
                    random.choice(table.columns).name,
                    target.name,
                    random.choice(target.columns).name,
                )
            )
    return Schema(tuple(tables), tuple(references))


def script_of(schema: Schema) -> str:
    """The statements that make a schema."""

    def quote(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    lines = []
    for table in schema.tables:
        parts = [f"{quote(column.name)} {column.type}" for column in table.columns]
        parts += [
            f"FOREIGN KEY ({quote(r.column)}) REFERENCES {quote(r.target)} ({quote(r.target_column)})"
            for r in schema.references
            if r.table == table.name
        ]
        lines.append(f"CREATE TABLE {quote(table.name)} ({', '.join(parts)});")
    return "\n".join(lines)
