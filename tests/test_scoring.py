"""Whether an answer is the expected one."""

from __future__ import annotations

import pytest

from lumos_edge.scoring import choice_of, is_correct, is_correct_rows, is_ordered
from lumos_edge.values import Rows


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("72", "72"),
        ("18", "$18.00"),
        ("1200", "1,200"),
        ("0.5", "1/2"),
        ("1/3", "0.33"),
        ("100/3", "33.33"),
        ("25", "25%"),
        ("2*sqrt(2)", "2*sqrt(2)"),
        ("3.0", "3"),
        ("Yes", "yes."),
        ("True", "yes"),
        ("No", "false"),
        ("the Nile", "The Nile"),
    ],
)
def test_right(answer: str, expected: str) -> None:
    assert is_correct(answer, expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("7", "72"),
        ("1/3", "0.34"),
        ("33", "33.33"),
        ("-18", "18"),
        ("", "0"),
        ("x", "18"),
        ("no", "yes"),
        ("2, 3", "23"),
    ],
)
def test_wrong(answer: str, expected: str) -> None:
    assert not is_correct(answer, expected)


ROWS = Rows(("name", "n"), (("a", 1), ("b", 2.5), ("b", 2.5)))


def test_rows_are_compared_in_any_order_unless_the_query_orders() -> None:
    turned = Rows(("x", "y"), ROWS.rows[::-1])
    assert is_correct_rows(turned, ROWS, is_ordered=False)
    assert not is_correct_rows(turned, ROWS, is_ordered=True)
    assert is_correct_rows(ROWS, ROWS, is_ordered=True)


@pytest.mark.parametrize(
    "rows",
    [
        (("a", 1), ("b", 2.5)),  # a row twice is two rows
        (("a", 1), ("a", 1), ("b", 2.5)),
        (("a", "1"), ("b", 2.5), ("b", 2.5)),
        ((1, "a"), (2.5, "b"), (2.5, "b")),
        (("a", None), ("b", 2.5), ("b", 2.5)),
    ],
)
def test_other_rows_are_wrong(rows: tuple[tuple[str | int | float | None, ...], ...]) -> None:
    assert not is_correct_rows(Rows(("name", "n"), rows), ROWS, is_ordered=False)


def test_numbers_are_equal_however_they_are_stored() -> None:
    thirds = Rows(("n",), ((1 / 3,), (2,)))
    assert is_correct_rows(Rows(("n",), ((0.333333333333,), (2.0,))), thirds, is_ordered=True)


def test_rows_that_were_cut_off_are_not_known() -> None:
    cut = Rows(ROWS.columns, ROWS.rows, True)
    assert not is_correct_rows(cut, cut, is_ordered=False)


@pytest.mark.parametrize(
    ("statement", "answer"),
    [
        ("SELECT a FROM t ORDER BY b", True),
        ("select a from t order  by b limit 1", True),
        ("SELECT a FROM t", False),
        ("SELECT a FROM t WHERE b IN (SELECT MAX(c) FROM u ORDER BY d)", False),
        ("SELECT a FROM t WHERE b = 'ORDER BY (' AND c = ')'", False),
    ],
)
def test_an_order_of_the_whole_statement_counts(statement: str, answer: bool) -> None:
    assert is_ordered(statement) is answer


def test_a_truth_is_no_other_word() -> None:
    assert not is_correct("Yes", "no")
    assert not is_correct("1", "yes")


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B. a horse", 1),
        ("b. A horse.", 1),
        ("B", 1),
        ("c.", 2),
        ("a horse", 1),
        ("A. a horse", None),
        ("a goat", 0),
        ("1.50", 3),
        ("A", 0),
        ("E", None),
        ("a horse and a mule", None),
        ("", None),
    ],
)
def test_which_choice_an_answer_is(answer: str, index: int | None) -> None:
    assert choice_of(answer, ("a goat", "a horse", "a mule", "1.50")) == index
