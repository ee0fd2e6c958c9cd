"""Equations and systems of equations."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

from lumos_edge.errors import ToolError
from lumos_edge.maths.domain import Domain
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import (
    Constant,
    Formula,
    Operation,
    Relation,
    Truth,
    in_position_order,
    symbols,
)
from lumos_edge.maths.printer import print_formula
from lumos_edge.maths.roots import real_roots
from lumos_edge.maths.symbolic import bounded, estimate, from_sympy, to_sympy

Solution: TypeAlias = dict[str, Formula]
"""A value for each unknown, in `in_position_order`."""


def solve(equations: tuple[Formula, ...], domain: Domain) -> tuple[Solution, ...]:
    """Every real solution in the domain, by ascending value of the first unknown, then of the next.

    Complex solutions are left out: word problems ask for quantities. A system with more unknowns than
    equations is solved for those that appear first, in terms of the rest. One equation of degree 1 or 2 in one unknown
    takes under 1 ms; others load sympy, and their time has no bound but the caller's.

    Raises `ToolError` when something is no equation, there is no unknown, no solution, none in the domain, when
    every value solves it, or nothing is known that would solve it.
    """
    differences = [_difference(equation) for equation in equations]
    unknowns = list(dict.fromkeys(name for equation in equations for name in symbols(equation)))
    if not unknowns:
        raise ToolError(f"there is no unknown in `{', '.join(map(print_formula, equations))}`")
    rest = [difference for difference in differences if difference != Constant(Fraction(0))]
    if not rest:
        raise ToolError("every value solves it")
    if any(not symbols(difference) for difference in rest):
        raise ToolError("no solution: both sides are never equal")
    return _in_domain(_solutions(rest, unknowns), domain)


def _difference(equation: Formula) -> Formula:
    if isinstance(equation, Truth):
        return Constant(Fraction(not equation.value))
    if not isinstance(equation, Relation) or equation.operator != "=":
        raise ToolError(f"an equation is needed, found `{print_formula(equation)}`")
    return evaluate(Operation("-", equation.left, equation.right))


def _solutions(differences: list[Formula], unknowns: list[str]) -> list[Solution]:
    if len(differences) == 1 and len(symbols(differences[0])) == 1:
        name = symbols(differences[0])[0]
        return [{name: root} for root in real_roots(differences[0], name)]
    return _of_system(differences, unknowns)


def _of_system(differences: list[Formula], unknowns: list[str]) -> list[Solution]:
    import sympy

    with bounded():
        names = {sympy.Symbol(name, real=True): name for name in unknowns}
        try:
            found = sympy.solve([to_sympy(difference) for difference in differences], [*names], dict=True)
        except (NotImplementedError, TypeError, ValueError):  # sympy also trips over comparing symbols
            raise ToolError("no method is known that solves these equations") from None
        solutions = [_real(solution, names) for solution in found]
    return sorted((solution for solution in solutions if solution), key=_order)


def _real(found: dict[Any, Any], names: dict[Any, str]) -> Solution | None:
    """A solution as formulas, or `None` where a value is not real."""
    if any(value.is_real is False for value in found.values()):
        return None
    values = {name: found[symbol] for symbol, name in names.items() if symbol in found}
    return {name: from_sympy(values[name]) for name in in_position_order(values)}


def _order(solution: Solution) -> list[tuple[Fraction, str]]:
    return [
        (Fraction(0), print_formula(value)) if symbols(value) else (estimate(value), "")
        for value in solution.values()
    ]


def _in_domain(solutions: list[Solution], domain: Domain) -> tuple[Solution, ...]:
    if not solutions:
        raise ToolError("no solution among the real numbers")
    allowed = tuple(solution for solution in solutions if all(map(domain.allows, solution.values())))
    if not allowed:
        found = "; ".join(
            ", ".join(f"{name} = {print_formula(value)}" for name, value in solution.items())
            for solution in solutions[:5]
        )
        raise ToolError(f"no solution that is {domain}, found {found}")
    return allowed
