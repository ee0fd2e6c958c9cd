"""Names as statements write them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.sql.names import is_speakable, spell, unquote


@given(st.text(min_size=1).filter(lambda name: "\0" not in name and name.isprintable()))
def test_sqlite_reads_every_spelling_as_that_name(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE t ({spell(name)})")
        cursor = connection.execute(
            f"SELECT t.{spell(name)} FROM t WHERE {spell(name)} = 1 ORDER BY {spell(name)}"
        )
    assert cursor.description[0][0] == name
    assert unquote(spell(name)) == name


@pytest.mark.parametrize(
    "name", ["select", "Group", "ORDER", "current_date", "true", "1st", "a b", "naïve", "a.b", '"']
)
def test_what_sqlite_would_mistake_is_quoted(name: str) -> None:
    assert spell(name).startswith('"')


@pytest.mark.parametrize("name", ["Name", "_x1", "count", "Rows_2"])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert spell(name) == name


@pytest.mark.parametrize("name", ["a (b)", "%", "年", "it's", "-- x", "; R2 = y"])
def test_odd_names_can_be_said(name: str) -> None:
    assert is_speakable(name)


@pytest.mark.parametrize("name", ["", " x", "a)", ")(", "(", "a\nb", "a\u200bb", "\x1b[31m", "x" * 81])
def test_names_that_would_break_an_action_cannot(name: str) -> None:
    assert not is_speakable(name)
