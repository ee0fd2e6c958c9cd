"""Formula to text, the inverse of `parser.py`."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from lumos_edge.maths.formula import (
    Application,
    Conditional,
    Constant,
    Formula,
    Function,
    Listing,
    Negation,
    Operation,
    Percent,
    Reference,
    Relation,
    Symbol,
    Truth,
    fold,
)

_MAX_PLACES: Final = 6

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4
_LEVELS: Final = {"+": (_SUM, _SUM, _PRODUCT), "-": (_SUM, _SUM, _PRODUCT)} | {
    "*": (_PRODUCT, _PRODUCT, _POWER),
    "/": (_PRODUCT, _PRODUCT, _POWER),
    "^": (_POWER, _ATOM, _POWER),
}
"""How tight each operator binds, and how tight its left and its right operand have to."""

_Text = tuple[str, int]


def print_formula(formula: Formula) -> str:
    """The text of a formula, with no more parentheses than it needs: `2*(x + 1)^2 = 1/3`.

    `parse(print_formula(f), start) == f` for every `f` that `parse` gives; a number that no digits can write
    exactly comes back as the quotient it is written as, and a negative one as a negation.
    """
    return fold(formula, _print)[0]


def print_number(value: Fraction) -> str:
    """A rational number as people write it: `72`, `0.25`, `1/3`.

    A decimal has at most 6 places, or more where it is still shorter than the fraction: 1/128 is `1/128`,
    a root rounded to 10 digits is `1.414213562`.
    """
    fraction = str(value)
    decimal = _decimal(value)
    if decimal is None:
        return fraction
    places = len(decimal.partition(".")[2])
    return decimal if places <= _MAX_PLACES or len(decimal) <= len(fraction) else fraction


def _decimal(value: Fraction) -> str | None:
    """All digits of a terminating decimal, `None` for any other number."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > max(_MAX_PLACES, len(str(value))):
        return None
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits


def _print(node: Formula, parts: tuple[_Text, ...]) -> _Text:
    texts = [text for text, _ in parts]
    match node:
        case Constant(value):
            return _number(value)
        case Truth(value):
            return str(value), _ATOM
        case Symbol(name) | Reference(name):
            return name, _ATOM
        case Negation():
            return "-" + _enclosed(parts[0], _PRODUCT), _SUM
        case Percent():
            return _enclosed(parts[0], _ATOM) + "%", _ATOM
        case Operation(operator):
            return _operation(operator, *parts)
        case Relation(operator):
            return f"{texts[0]} {operator} {texts[1]}", 0
        case Function(name):
            return f"{name}({', '.join(texts)})", _ATOM
        case Application(_, _, names):
            pairs = zip(names, texts[1:], strict=True)
            arguments = ", ".join(text if name is None else f"{name}={text}" for name, text in pairs)
            return f"{_enclosed(parts[0], _ATOM)}({arguments})", _ATOM
        case Conditional():
            return "If " + ", ".join(texts), 0
        case Listing(items):
            rest = iter(texts)
            return ", ".join("..." if item is None else next(rest) for item in items), 0


def _number(value: Fraction) -> _Text:
    text = print_number(value)
    if value < 0:
        return text, _SUM
    return text, _PRODUCT if "/" in text else _ATOM


def _operation(operator: str, left: _Text, right: _Text) -> _Text:
    level, left_level, right_level = _LEVELS[operator]
    gap = " " if level == _SUM else ""
    return f"{_enclosed(left, left_level)}{gap}{operator}{gap}{_enclosed(right, right_level)}", level


def _enclosed(operand: _Text, level: int) -> str:
    text, own_level = operand
    return text if own_level >= level else f"({text})"
