"""Whether an answer is the expected one."""

from __future__ import annotations

import re
from fractions import Fraction

from lumos_edge.errors import StepError
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant
from lumos_edge.maths.parser import parse

_UNITS = re.compile(r"^[\s$€£]+|[\s.%$€£]+$")


def is_correct(answer: str, expected: str) -> bool:
    """Compare as numbers where both are, else as texts without regard to case and outer punctuation.

    A number is right when it equals the expected one to the decimals that the expected text shows: 100/3 is
    33.33, and 0.5 is 1/2.
    """
    found, wanted = _number(answer), _number(expected)
    if found is None or wanted is None:
        return _plain(answer) == _plain(expected)
    decimals = len(_plain(expected).rpartition(".")[2]) if "." in expected else 0
    return found == wanted or (decimals > 0 and round(found, decimals) == wanted)


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
