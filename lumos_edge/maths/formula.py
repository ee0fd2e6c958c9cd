"""Formulas: the tree, its parser and its printer.

A formula is what stands between the parentheses of a maths action: `2 + 3*R1`, `R2 = x*y, R3 = x/y`,
`If R8 > 0, R8, -R8`. The tree is data: nothing here evaluates, and no text ever reaches `eval` or sympy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias


@dataclass(frozen=True)
class Constant:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True)
class Truth:
    """`True` or `False`."""

    value: bool


@dataclass(frozen=True)
class Symbol:
    """A variable such as `x`, or a named constant such as `pi`."""

    name: str


@dataclass(frozen=True)
class Reference:
    """The result of an earlier action, such as `R1`."""

    name: str


@dataclass(frozen=True)
class Negation:
    """`-operand`."""

    operand: Formula


@dataclass(frozen=True)
class Percent:
    """`operand%`, a hundredth of it."""

    operand: Formula


@dataclass(frozen=True)
class Operation:
    """`left operator right` with an operator out of `+ - * / ^`."""

    operator: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Relation:
    """`left operator right` with an operator out of `= != < <= > >=`; with `=` it is an equation."""

    operator: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Function:
    """A known function of its arguments, such as `sqrt(2)` or `gcd(4, 6)`."""

    name: str
    arguments: tuple[Formula, ...]


@dataclass(frozen=True)
class Application:
    """A result used as a function: `R1(R9)`, `R4(R5, R6)` by position, `R1(x=2)` by name."""

    callee: Formula
    arguments: tuple[Formula, ...]
    names: tuple[str | None, ...]


@dataclass(frozen=True)
class Conditional:
    """`If condition, then, otherwise`."""

    condition: Formula
    then: Formula
    otherwise: Formula


@dataclass(frozen=True)
class Listing:
    """Formulas separated by commas, with `None` where the text has `...`."""

    items: tuple[Formula | None, ...]


Formula: TypeAlias = (
    Constant
    | Truth
    | Symbol
    | Reference
    | Negation
    | Percent
    | Operation
    | Relation
    | Function
    | Application
    | Conditional
    | Listing
)
