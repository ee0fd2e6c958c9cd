"""Inequalities in one unknown."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from lumos_edge.errors import ToolError
from lumos_edge.maths.evaluation import COMPARISONS, MIRRORED, evaluate
from lumos_edge.maths.formula import (
    Constant,
    Formula,
    Function,
    Operation,
    Relation,
    assign,
    symbols,
    walk,
)
from lumos_edge.maths.printer import print_formula
from lumos_edge.maths.roots import real_roots
from lumos_edge.maths.symbolic import estimate, sign


@dataclass(frozen=True)
class Interval:
    """The numbers between `low` and `high` (`None`: no bound); a bound may belong to it."""

    low: Formula | None
    high: Formula | None
    has_low: bool
    has_high: bool


@dataclass(frozen=True)
class SolutionSet:
    """The values of a symbol that solve an inequality: intervals in ascending order, apart from each other."""

    symbol: str
    intervals: tuple[Interval, ...]

    def __str__(self) -> str:
        return " or ".join(_text(self.symbol, interval) for interval in self.intervals)


def _text(symbol: str, interval: Interval) -> str:
    if interval.low is not None and interval.low == interval.high:
        return f"{symbol} = {print_formula(interval.low)}"
    below = "<=" if interval.has_high else "<"
    above = "<=" if interval.has_low else "<"
    if interval.low is None:
        return f"{symbol} {below} {print_formula(interval.high)}" if interval.high else symbol
    if interval.high is None:
        return f"{symbol} {MIRRORED[above]} {print_formula(interval.low)}"
    return f"{print_formula(interval.low)} {above} {symbol} {below} {print_formula(interval.high)}"


@dataclass(frozen=True)
class _Piece:
    """A point of the number line, or what lies between two of them, with whether it solves."""

    interval: Interval
    solves: bool


def solve_inequality(relation: Formula) -> SolutionSet:
    """The numbers for which a relation holds; `str` gives `x > 3`, `-2 < x < 2`, `x < -2 or x > 2`.

    Expressions of polynomials, quotients and absolute values, in one unknown. Between two neighbours among the
    roots and the poles the relation holds everywhere or nowhere, so one number of each gap is tried.

    Raises `ToolError` for anything else, when no number solves it, and when every number does.
    """
    if not isinstance(relation, Relation):
        raise ToolError(f"an inequality is needed, found `{print_formula(relation)}`")
    unknowns = symbols(relation)
    if len(unknowns) != 1:
        raise ToolError(f"one unknown is expected in `{print_formula(relation)}`, found {len(unknowns)}")
    _check_continuous(relation)
    pieces = _pieces(relation, unknowns[0])
    if all(piece.solves for piece in pieces):
        raise ToolError("every value solves it")
    if not any(piece.solves for piece in pieces):
        raise ToolError("no solution among the real numbers")
    return SolutionSet(unknowns[0], tuple(_joined(pieces)))


def _check_continuous(relation: Relation) -> None:
    """Raise `ToolError` for what may jump without a pole, or is not defined everywhere else."""
    for node in walk(relation):
        if not symbols(node):
            continue
        whole_power = not isinstance(node, Operation) or node.operator != "^" or _is_whole(node.right)
        if (isinstance(node, Function) and node.name not in ("abs", "sum")) or not whole_power:
            raise ToolError(f"no method is known for an inequality with `{print_formula(node)}`")


def _is_whole(exponent: Formula) -> bool:
    if symbols(exponent):
        return False
    value = evaluate(exponent)
    return isinstance(value, Constant) and value.value.denominator == 1


def _pieces(relation: Relation, name: str) -> list[_Piece]:
    """The number line, cut at roots and poles, from left to right."""
    difference = evaluate(Operation("-", relation.left, relation.right))
    compare = COMPARISONS[relation.operator]
    if not symbols(difference):
        return [_Piece(Interval(None, None, False, False), compare(sign(difference), 0))]
    poles = _poles(relation, name) | _poles(difference, name)
    roots = set(real_roots(difference, name)) - poles
    points = sorted(poles | roots, key=estimate)
    bounds: list[Formula | None] = [None, *points, None]
    pieces: list[_Piece] = []
    for low, high in pairwise(bounds):
        if low is not None:
            pieces.append(_Piece(Interval(low, low, True, True), low in roots and compare(0, 0)))
        at_sample = evaluate(assign(difference, {name: Constant(_between(low, high))}))
        pieces.append(_Piece(Interval(low, high, False, False), compare(sign(at_sample), 0)))
    return pieces


def _poles(formula: Formula, name: str) -> set[Formula]:
    """The roots of all denominators."""
    poles: set[Formula] = set()
    for node in walk(formula):
        if isinstance(node, Operation) and node.operator == "/" and symbols(node.right):
            poles |= set(real_roots(node.right, name))
    return poles


def _between(low: Formula | None, high: Formula | None) -> Fraction:
    if low is None:
        return Fraction(0) if high is None else estimate(high) - 1
    if high is None:
        return estimate(low) + 1
    return (estimate(low) + estimate(high)) / 2


def _joined(pieces: list[_Piece]) -> list[Interval]:
    """Neighbours that solve, as one interval."""
    joined: list[Interval] = []
    previous = False
    for piece in pieces:
        if piece.solves and previous:
            first = joined.pop()
            joined.append(Interval(first.low, piece.interval.high, first.has_low, piece.interval.has_high))
        elif piece.solves:
            joined.append(piece.interval)
        previous = piece.solves
    return joined
