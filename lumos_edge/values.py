"""The typed results of actions, and how each is shown to a module and to the user.

`str(value)` is that text; it is exact, so `read_json(write_json(v)) == v`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from lumos_edge.maths.formula import Constant, Formula, Listing, Relation, Truth
from lumos_edge.maths.parser import parse
from lumos_edge.maths.printer import print_formula


@dataclass(frozen=True)
class Number:
    """An exact rational number, shown as people write it: `72`, `0.25`, `1/3`."""

    value: Fraction

    def __str__(self) -> str:
        return print_formula(Constant(self.value))


@dataclass(frozen=True)
class Expression:
    """A formula with symbols, or a number that is not rational: `n^2 + 1`, `2*sqrt(2)`."""

    formula: Formula

    def __str__(self) -> str:
        return print_formula(self.formula)


@dataclass(frozen=True)
class Equation:
    """Two formulas that are equal."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return print_formula(Relation("=", self.left, self.right))


@dataclass(frozen=True)
class Interval:
    """What solves an inequality: `x > 3`, `x < -2 or x > 2`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Boolean:
    """`True` or `False`."""

    value: bool

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Text:
    """Words."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Items:
    """Several values in order, such as all the roots of an equation."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.items))


Value: TypeAlias = Number | Expression | Equation | Interval | Boolean | Text | Items

VALUE_TYPES: tuple[type[Value], ...] = (Number, Expression, Equation, Interval, Boolean, Text, Items)


def value_of(formula: Formula) -> Value:
    """The value that an evaluated formula is."""
    if isinstance(formula, Constant):
        return Number(formula.value)
    if isinstance(formula, Truth):
        return Boolean(formula.value)
    if isinstance(formula, Relation) and formula.operator == "=":
        return Equation(formula.left, formula.right)
    if isinstance(formula, Listing):
        return Items(tuple(value_of(item) for item in formula.items if item is not None))
    return Expression(formula)


def formula_of(value: Value) -> Formula | None:
    """The formula that stands for a value inside another formula; None for words, intervals and items."""
    if isinstance(value, Number):
        return Constant(value.value)
    if isinstance(value, Boolean):
        return Truth(value.value)
    if isinstance(value, Equation):
        return Relation("=", value.left, value.right)
    if isinstance(value, Expression):
        return value.formula
    return None


def write_json(value: Value) -> dict[str, Any]:
    """`{"type": "Number", "text": "72"}`; items hold their own such objects."""
    if isinstance(value, Items):
        return {"type": "Items", "items": [write_json(item) for item in value.items]}
    return {"type": type(value).__name__, "text": str(value)}


def read_json(data: dict[str, Any]) -> Value:
    """The inverse of `write_json`; raises KeyError, ValueError or ActionError for anything else."""
    kind = data["type"]
    if kind == "Items":
        return Items(tuple(read_json(item) for item in data["items"]))
    return _READERS[kind](data["text"])


def _read_equation(text: str) -> Value:
    relation = parse(text, "calculation")
    if not isinstance(relation, Relation):
        raise ValueError(f"an equation was expected, {text!r} was found")
    return Equation(relation.left, relation.right)


_READERS: dict[str, Callable[[str], Value]] = {
    "Number": lambda text: Number(Fraction(text)),
    "Expression": lambda text: Expression(parse(text, "calculation")),
    "Equation": _read_equation,
    "Interval": Interval,
    "Boolean": lambda text: Boolean({"True": True, "False": False}[text]),
    "Text": Text,
}
