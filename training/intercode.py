"""InterCode's SQL tasks for this runtime: the MySQL dump becomes SQLite files, the tasks lines for `eval`.

    python -m training.intercode spider_dbs.mysql.sql spider_tasks.json -o intercode

Source of both: princeton-nlp/intercode, data/sql (the databases and questions are Spider's, CC BY-SA 4.0). MySQL
compares texts without regard to case, so text columns get SQLite's NOCASE collation. The rows of every table are
counted in the dump and in the file; a difference is an error, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SPACE = r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+"
_STRING = r"'(?:[^'\\]|\\.|'')*'"
_TOKEN = re.compile(rf"{_SPACE}|{_STRING}|`[^`]*`|[^\s'`;]+?(?=[\s'`;]|$)|;", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "Z": "\x1a"}
_NOT_SQLITE = re.compile(
    r"\s+(?:AUTO_INCREMENT|unsigned|CHARACTER SET \w+|COLLATE \w+|COMMENT '[^']*')", re.I
)
_TEXT_TYPE = re.compile(r"^(\s*`[^`]*` (?:\w*text|(?:var)?char\(\d+\)))", re.IGNORECASE)
_PREFIX_LENGTH = re.compile(r"(?<=`)\(\d+\)")
_KEY_LINE = re.compile(r"^\s*(?:UNIQUE |FULLTEXT )?KEY ", re.IGNORECASE)


class DumpError(Exception):
    """A dump that this script does not understand."""


def statements(dump: str) -> Iterator[str]:
    """The statements of a dump, without comments."""
    parts: list[str] = []
    for match in _TOKEN.finditer(dump):
        token = match[0]
        if token == ";":
            yield "".join(parts).strip()
            parts = []
        else:
            parts.append(
                re.sub(r"--[^\n]*\n?|/\*.*?\*/", " ", token, flags=re.DOTALL)
                if token[:1] in "-/ \n"
                else token
            )


def databases(dump: str) -> dict[str, list[str]]:
    """The statements that make each database, for SQLite."""
    found: dict[str, list[str]] = {}
    name = ""
    for statement in statements(dump):
        if match := re.fullmatch(r"USE `(\w+)`", statement):
            name = match[1]
            found.setdefault(name, [])
        elif statement.startswith(("CREATE TABLE", "INSERT INTO")):
            translate = create_table if statement.startswith("CREATE") else insert
            found[name].append(translate(statement))
    n_found = sum(statement.startswith("INSERT") for parts in found.values() for statement in parts)
    if n_found != dump.count("\nINSERT INTO "):
        raise DumpError(f"{n_found} INSERTs were read, the dump has {dump.count(chr(10) + 'INSERT INTO ')}")
    return found


def create_table(statement: str) -> str:
    """A CREATE TABLE for SQLite: no indexes, no table options, texts compared as MySQL does."""
    head, _, body = statement.partition("(\n")
    lines = [line.rstrip(",") for line in body.rpartition("\n)")[0].split("\n")]
    kept = [_PREFIX_LENGTH.sub("", _NOT_SQLITE.sub("", line)) for line in lines if not _KEY_LINE.match(line)]
    return f"{head}(\n" + ",\n".join(_TEXT_TYPE.sub(r"\1 COLLATE NOCASE", line) for line in kept) + "\n)"


def insert(statement: str) -> str:
    """An INSERT with its strings as SQLite writes them."""
    return re.sub(_STRING, lambda match: _sqlite_string(match[0]), statement, flags=re.DOTALL)


def _sqlite_string(literal: str) -> str:
    text = re.sub(
        r"\\(.)",
        lambda match: _ESCAPES.get(match[1], match[1]),
        literal[1:-1].replace("''", "\\'"),
        flags=re.S,
    )
    return "'" + text.replace("'", "''") + "'"


def count_rows(statement: str) -> int:
    """The rows of an INSERT: its parentheses that are in no string and in no other parentheses."""
    depth = n_rows = 0
    for character in re.sub(_STRING, "''", statement.partition(" VALUES ")[2], flags=re.DOTALL):
        n_rows += character == "(" and depth == 0
        depth += {"(": 1, ")": -1}.get(character, 0)
    return n_rows


@dataclass(frozen=True)
class Counts:
    """What became of one database."""

    n_tables: int
    n_rows: int


def write_database(statements: list[str], path: Path) -> Counts:
    """Make the SQLite file; raises DumpError where the rows in it are not those of the dump."""
    expected: Counter[str] = Counter()
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
            table = statement.split("`")[1]
            expected[table] += count_rows(statement) if statement.startswith("INSERT") else 0
        connection.commit()
        for table, n_rows in expected.items():
            (found,) = connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()
            if found != n_rows:
                raise DumpError(f"{path.name}: {table} has {found} rows, the dump {n_rows}")
    return Counts(len(expected), sum(expected.values()))


def task_line(task: dict[str, Any]) -> dict[str, Any]:
    """A line for `eval`: the expected rows are those of the gold query."""
    return {
        "question": task["query"],
        "db": f"{task['db']}.sqlite",
        "sql": gold_for_sqlite(task["gold"]),
        "hardness": task["hardness"],
    }


def gold_for_sqlite(gold: str) -> str:
    """A gold query with its texts in single quotes: in double quotes they would be names."""
    tokens = re.split(r"('[^']*'|\"[^\"]*\")", gold.strip().rstrip(";"))
    quoted = ("'" + token[1:-1].replace("'", "''") + "'" if token[:1] == '"' else token for token in tokens)
    return "".join(quoted).strip()


def main() -> None:
    """Write `DATABASE.sqlite` for each database and `tasks.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dump", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, parts in databases(options.dump.read_text("utf-8")).items():
        partial = options.output / f".{name}.partial"
        partial.unlink(missing_ok=True)
        try:
            counts = write_database(parts, partial)
            partial.replace(options.output / f"{name}.sqlite")
        finally:
            partial.unlink(missing_ok=True)
        print(f"{name}: {counts.n_tables} tables, {counts.n_rows:,} rows")
    lines = [json.dumps(task_line(task)) for task in json.loads(options.tasks.read_text("utf-8"))]
    (options.output / "tasks.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(lines)} tasks")


if __name__ == "__main__":
    main()
