"""What the token limit cuts off is closed, wherever it is cut, whatever the tools and the results are."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.engine import Grammar
from lumos_edge.grammar import (
    ANSWER,
    actions_grammar,
    choice_grammar,
    line_grammar,
    next_subgoal_grammar,
    plan_grammar,
    span_grammar,
)
from lumos_edge.mcp_tools import tool_of
from lumos_edge.sql.database import Database
from lumos_edge.sql.schema import Column, Reference, Schema, Table
from lumos_edge.toolbox import Toolbox, ValueTypes
from lumos_edge.trajectory import Formulation
from lumos_edge.values import Text
from tests.scripted import closed, random_cut
from tests.sql.databases import random_schema
from tests.sql.test_lark import readable
from tests.test_grammar import ALL, bindings, check, formulations

LIBRARY = Schema(
    (
        Table("author", (Column("author_id", "INT"), Column("name", "TEXT"), Column("born", "INT"))),
        Table("book", (Column("title", "TEXT"), Column("author_id", "INT"))),
    ),
    (Reference("book", "author_id", "author", "author_id"),),
)
SCHEMA: dict[str, Any] = {
    "required": ["from/to", "text, or not", "n", "unit", "is_exact"],
    "properties": {
        "from/to": {"type": "string"},
        "text, or not": {"type": "string"},
        "n": {"type": "number"},
        "unit": {"enum": ["km", "mile"]},
        "is_exact": {"type": "boolean"},
    },
}
PACKS = ("maths", "qa", "shop", "sql", "vision", "web")


def toolbox_of(name: str, random: Random) -> Toolbox:
    if name == "functions":
        return ALL
    if name == "mcp":
        return Toolbox([tool_of("convert", "Convert", SCHEMA, lambda _: Text(""))])
    schema = readable(random_schema(random, random.randint(1, 6))) if name == "sql" else None
    return Toolbox.of_packs([name], [Database(schema)] if schema else [])


@pytest.mark.parametrize("name", [*PACKS, "functions", "mcp"])
def test_an_action_that_is_cut_off_anywhere_is_closed(name: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(bindings, formulations, st.integers(0, 200), st.integers(0, 2**32))
    def cut(types: dict[str, ValueTypes], formulation: Formulation, n_bytes: int, seed: int) -> None:
        random = Random(seed)
        toolbox = toolbox_of(name, random)
        grammar = actions_grammar(toolbox, types, formulation=formulation, max_actions=3)
        check(toolbox, closed(grammar, random_cut(grammar, random, n_bytes)), types, 3)

    cut()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("R1 = TYPE(Env, QUERY: the sea", "R1 = TYPE(Env, QUERY: the sea, TEXT: 1)"),
        ("R1 = TYPE(Env, QUERY: the sea, TE", "R1 = TYPE(Env, QUERY: the sea, TE, TEXT: 1)"),
        ("R1 = TYPE(Env, QUERY: ", "R1 = TYPE(Env, QUERY: 1, TEXT: 1)"),
        ("R1 = TYPE(Env, QUERY: it, TEXT: a]", "R1 = TYPE(Env, QUERY: it, TEXT: a])"),
        ("R1 = CLICK(Env, QUERY: log in (or", "R1 = CLICK(Env, QUERY: log in (or))"),
        ("R1 = CLICK(Env, QUERY: log in)", "R1 = CLICK(Env, QUERY: log in)"),
    ],
)
def test_a_text_ends_in_its_own_bracket_and_before_the_next_argument(written: str, expected: str) -> None:
    grammar = actions_grammar(Toolbox.of_packs(["web"]), {}, formulation="iterative", max_actions=1)
    assert closed(grammar, written.encode()) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("SELECT name FROM author WHERE name = 'Ada", "SELECT name FROM author WHERE name = 'Ada'"),
        ("SELECT name FROM author WHERE name = 'O''", "SELECT name FROM author WHERE name = 'O'''"),
        ("SELECT name FROM author WHERE name = '(x", "SELECT name FROM author WHERE name = '(x)'"),
        (
            "SELECT name FROM author WHERE name BETWEEN 'A",
            "SELECT name FROM author WHERE name BETWEEN 'A' AND 1",
        ),
        (
            "SELECT name FROM author WHERE (born = 1",
            "SELECT name FROM author WHERE (born = 1 AND author.author_id = 1)",
        ),
        ("SELECT author.name, ", "SELECT author.name, author.author_id FROM author"),
    ],
)
def test_a_statement_ends_as_soon_as_it_can(written: str, expected: str) -> None:
    toolbox = Toolbox.of_packs(["sql"], [Database(LIBRARY)])
    grammar = actions_grammar(toolbox, {}, formulation="iterative", max_actions=1)
    assert closed(grammar, f"R1 = SQL({written}".encode()) == f"R1 = SQL({expected})"


@pytest.mark.parametrize(
    ("grammar", "written", "expected"),
    [
        (plan_grammar(3), "Subgoal 1: Add; Subg", "Subgoal 1: Add; Subgoal 2: )"),
        (next_subgoal_grammar(2), "Yes, I wi", "Yes, I will stop planning."),
        (span_grammar(["The emu is a bird."]), f"{ANSWER}The em", f"{ANSWER}The emu"),
        (choice_grammar("yes", "no"), ANSWER, f"{ANSWER}no"),
        (line_grammar(), f"{ANSWER}It is", f"{ANSWER}It is"),
    ],
)
def test_what_the_other_modules_write_is_closed_too(grammar: Grammar, written: str, expected: str) -> None:
    assert closed(grammar, written.encode()) == expected
