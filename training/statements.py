"""Gold queries as this runtime writes them, and the subgoal that each one answers, worded by its parts.

`SELECT T1.name FROM singer AS T1 WHERE T1.age > 30` becomes `SELECT name FROM singer WHERE age > 30` and
`Select name of singer where age > 30.`
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from lumos_edge.errors import DatabaseError
from lumos_edge.sql.database import Database
from lumos_edge.sql.names import spell
from lumos_edge.sql.schema import Schema
from lumos_edge.toolbox import Toolbox
from training.annotations import Annotator
from training.chains import RejectedItemError

_AGGREGATES = (
    (exp.Max, "the largest {}"),
    (exp.Min, "the smallest {}"),
    (exp.Avg, "the average {}"),
    (exp.Sum, "the total {}"),
)
_SET_OPERATIONS = (
    (exp.Intersect, "that are also among those of"),
    (exp.Except, "that are not among those of"),
    (exp.Union, "together with those of"),
)


@functools.cache
def sql_annotator(path: Path) -> Annotator:
    """The annotator of questions to a database. Raises RejectedItemError where there is none."""
    try:
        return Annotator(Toolbox.of_packs(["sql"], [Database.open(path)]))
    except DatabaseError as error:
        raise RejectedItemError("no database", str(error)) from error


def schema_of(annotator: Annotator) -> Schema:
    """The schema of the database that an annotator's questions are about."""
    (database,) = annotator.toolbox.resources
    assert isinstance(database, Database)
    return database.schema


def read_statement(text: str, schema: Schema) -> exp.Query:
    """A gold query without aliases, its names as the schema spells them. Raises RejectedItemError."""
    try:
        query = sqlglot.parse_one(text, read="sqlite")
    except SqlglotError as error:
        raise RejectedItemError("does not parse", f"{text}: {error}") from error
    if not isinstance(query, exp.Query):
        raise RejectedItemError("does not parse", f"expected a SELECT, found {text}")
    for scope in traverse_scope(query):
        _name_tables(scope, schema)
    for column in query.find_all(exp.Column):
        _respell(column, schema)
    return query


def statement_text(query: exp.Query | exp.Expression) -> str:
    """A query, or a part of one, as SQL in one line."""
    text = query.sql(dialect="sqlite", comments=False).replace("<>", "!=")
    return re.sub(r'\bNOT ([\w."]+) (IN|LIKE|BETWEEN)\b', r"\1 NOT \2", text)


def describe(query: exp.Query) -> str:
    """The query in words: `Select name and age of singer where country = 'France', the first 3 by age.`"""
    words = _described(query)
    return f"{words[0].upper()}{words[1:]}."


def _described(query: exp.Query) -> str:
    for kind, words in _SET_OPERATIONS:
        if isinstance(query, kind):
            return f"{_described(query.left)} {words} {_described(query.right).removeprefix('select ')}"
    assert isinstance(query, exp.Select)
    columns = _joined([_noun(item) for item in query.expressions])
    distinct = "the distinct " if query.args.get("distinct") else ""
    parts = [f"select {distinct}{columns} of {' joined with '.join(_tables(query))}"]
    if where := query.args.get("where"):
        parts.append(f"where {_condition(where.this)}")
    if group := query.args.get("group"):
        parts.append(f"for each {_joined([_noun(item) for item in group.expressions])}")
    if having := query.args.get("having"):
        parts.append(f"with {_condition(having.this)}")
    if order := query.args.get("order"):
        parts.append(_order(order, query.args.get("limit")))
    return " ".join(parts)


def _tables(query: exp.Select) -> list[str]:
    first = query.args.get("from") or query.args["from_"]
    return [
        statement_text(table)
        for table in (first.this, *(join.this for join in query.args.get("joins") or ()))
    ]


def _order(order: exp.Order, limit: exp.Limit | None) -> str:
    keys = _joined(
        [f"{_noun(key.this)}{' descending' if key.args.get('desc') else ''}" for key in order.expressions]
    )
    return (
        f"and take the first {statement_text(limit.expression)} by {keys}" if limit else f"ordered by {keys}"
    )


def _condition(condition: exp.Expression) -> str:
    """As SQL has it, with a query inside in words."""
    text = statement_text(condition)
    for inner in condition.find_all(exp.Select):  # the outermost first
        text = text.replace(f"({statement_text(inner)})", f"({_described(inner)})")
    return text.replace(" AND ", " and ").replace(" OR ", " or ")


def _noun(item: exp.Expression) -> str:
    if isinstance(item, exp.Count):
        counted = item.this
        if isinstance(counted, exp.Distinct):
            return f"the number of distinct {_joined([statement_text(e) for e in counted.expressions])}"
        return (
            "the number of rows"
            if isinstance(counted, exp.Star)
            else f"the number of {statement_text(counted)}"
        )
    for kind, words in _AGGREGATES:
        if isinstance(item, kind):
            return words.format(_noun(item.this))
    return "all columns" if isinstance(item, exp.Star) else statement_text(item)


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _name_tables(scope: Scope, schema: Schema) -> None:
    """Replace a scope's aliases by the names of its tables, and leave them out where there is one table."""
    names: dict[str, exp.Identifier] = {}
    for alias, source in scope.sources.items():
        table = schema.table(source.name) if isinstance(source, exp.Table) else None
        if table is None or table.name in {name.name for name in names.values()}:
            raise RejectedItemError("derived or repeated table", f"{alias} in {scope.expression.sql()}")
        names[alias.lower()] = _identifier(table.name)
    for column in scope.columns:
        if column.table.lower() in names:
            column.set("table", names[column.table.lower()].copy() if len(names) > 1 else None)
    for source in scope.tables:
        source.set("this", names[source.alias_or_name.lower()].copy())
        source.set("alias", None)


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=spell(name) != name)


def _respell(column: exp.Column, schema: Schema) -> None:
    known = {c.name.lower(): c.name for table in schema.tables for c in table.columns}
    if column.name.lower() in known:
        column.set("this", _identifier(known[column.name.lower()]))
