"""Whether an answer is the expected one."""

from __future__ import annotations

import pytest

from lumos_edge.scoring import is_correct


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
