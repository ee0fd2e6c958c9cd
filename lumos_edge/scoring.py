"""Whether an answer is the expected one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from lumos_edge.errors import StepError
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant
from lumos_edge.maths.parser import parse
from lumos_edge.values import Cell, Rows, Value

_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}
_UNITS = re.compile(r"^[\s$€£]+|[\s.%$€£]+$")


def is_correct(answer: str, expected: str) -> bool:
    """Compare as numbers where both are, else as texts without regard to case and outer punctuation.

    A number is right when it equals the expected one to the decimals that the expected text shows: 100/3 is
    33.33, and 0.5 is 1/2. "yes" is true, and "no" is false.
    """
    if _plain(expected) in _TRUTHS:
        return _TRUTHS.get(_plain(answer)) == _TRUTHS[_plain(expected)]
    found, wanted = _number(answer), _number(expected)
    if found is None or wanted is None:
        return _plain(answer) == _plain(expected)
    decimals = len(_plain(expected).rpartition(".")[2]) if "." in expected else 0
    return found == wanted or (decimals > 0 and round(found, decimals) == wanted)


def choice_of(answer: str, choices: Sequence[str]) -> int | None:
    """Which of the choices an answer is: by its letter, by its text or by both (`B`, `horse`, `B. horse`)."""
    for index, choice in enumerate(choices):
        letter = chr(ord("a") + index)
        if answer.strip().strip(".").casefold() == letter or _plain(answer) in (
            _plain(choice),
            _plain(f"{letter}. {choice}"),
        ):
            return index
    return None


def is_same_answer(one: Value | None, other: Value | None) -> bool:
    """Whether two answers of equal standing are the same; that of fewer decimals says how exactly."""
    if one is None or other is None:
        return one is other
    if isinstance(one, Rows) and isinstance(other, Rows):
        return is_correct_rows(one, other, is_ordered=False)
    return is_correct(str(one), str(other)) or is_correct(str(other), str(one))


def is_correct_rows(answer: Rows, expected: Rows, *, is_ordered: bool) -> bool:
    """Whether a query found the same rows, in any order unless `is_ordered`; what its columns are called is nothing.

    Numbers are equal to nine digits, whether they are stored as whole ones or not. Rows beyond a limit are not known:
    where some were cut off, nothing is correct.
    """
    if answer.is_cut or expected.is_cut:
        return False
    found, wanted = ([tuple(map(_comparable, row)) for row in rows.rows] for rows in (answer, expected))
    return found == wanted if is_ordered else Counter(found) == Counter(wanted)


def is_ordered(statement: str) -> bool:
    """Whether the order of a statement's rows is part of what it says: it has an ORDER BY of its own."""
    rest = re.sub(r"'(?:[^']|'')*'", "", statement)
    while "(" in rest and ")" in rest:
        inner = re.sub(r"\([^()]*\)", "", rest)
        if inner == rest:
            break
        rest = inner
    return re.search(r"\bORDER\s+BY\b", rest, re.IGNORECASE) is not None


def _comparable(cell: Cell) -> Cell:
    if cell is None or isinstance(cell, str):
        return cell
    return float(f"{cell:.9g}")


def _plain(text: str) -> str:
    return _UNITS.sub("", text).casefold()


def _number(text: str) -> Fraction | None:
    plain = _plain(text).replace(",", "")
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        pass
    try:
        value = evaluate(parse(plain, "calculation"))
    except StepError:
        return None
    return value.value if isinstance(value, Constant) else None
