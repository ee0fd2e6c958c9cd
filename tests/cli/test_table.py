"""Answers as a terminal shows them."""

from __future__ import annotations

from fractions import Fraction

from lumos_edge.cli.table import answer_text
from lumos_edge.values import Number, Rows


def test_rows_are_a_table_and_a_single_cell_is_bare() -> None:
    rows = Rows(("name", "n"), (("Ada", 3), ("Bo", None)))
    assert answer_text(rows) == "name  n\n----  ----\nAda   3\nBo    NULL"
    assert answer_text(Rows(("n",), ((4,),))) == "4"
    assert answer_text(Rows(("n",), ())) == "n\n-"
    assert answer_text(Number(Fraction(72))) == "72"


def test_a_table_is_bounded() -> None:
    text = answer_text(Rows(("n",), (("x" * 100,),) * 1000, True))
    assert len(text.splitlines()) == 103
    assert text.endswith("(100 of at least 1,000 rows)")
    assert max(map(len, text.splitlines())) == 60


def test_a_cell_does_not_control_the_terminal() -> None:
    text = answer_text(Rows(("a", "b"), (("\x1b[31mred", "two\nlines\u202e"),)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 3
