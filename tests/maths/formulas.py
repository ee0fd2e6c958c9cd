"""Random formulas: what `parse` can produce, and what it makes of the others."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from lumos_edge.maths.formula import (
    FUNCTIONS,
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
)

decimals = st.builds(
    lambda digits, places: Fraction(digits, 10**places), st.integers(0, 10**9), st.integers(0, 6)
)
rationals = st.fractions(min_value=-1000, max_value=1000, max_denominator=1000)
symbols = st.sampled_from("abcnpxyzKR").map(Symbol) | st.just(Symbol("pi"))
references = st.integers(0, 120).map(lambda number: Reference(f"R{number}"))


def numbers_only(constants: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Formula]:
    """Numbers under `+ - * / ^` with small exponents, minus and percent."""

    def extend(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
        exponents = st.integers(-3, 3).map(lambda n: Constant(Fraction(n)))
        return (
            st.builds(Operation, st.sampled_from("+-*/"), inner, inner)
            | st.builds(Operation, st.just("^"), inner, exponents)
            | st.builds(Negation, inner)
            | st.builds(Percent, inner)
        )

    return st.recursive(constants.map(Constant), extend, max_leaves=12)


def expressions(constants: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Formula]:
    """Everything that stands on one side of a relation."""

    def extend(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
        names = st.none() | st.sampled_from("xyz")
        arguments = st.lists(st.tuples(inner, names), min_size=1, max_size=3)
        return (
            st.builds(Operation, st.sampled_from("+-*/^"), inner, inner)
            | st.builds(Negation, inner)
            | st.builds(Percent, inner)
            | st.sampled_from(sorted(FUNCTIONS)).flatmap(lambda name: _calls(name, inner))
            | st.builds(_application, references, arguments)
        )

    return st.recursive(constants.map(Constant) | symbols | references, extend, max_leaves=12)


def _calls(name: str, inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    least, greatest = FUNCTIONS[name]
    arguments = st.lists(inner, min_size=least, max_size=greatest or 4)
    return arguments.map(lambda values: Function(name, tuple(values)))


def _application(callee: Reference, arguments: list[tuple[Formula, str | None]]) -> Formula:
    return Application(callee, tuple(value for value, _ in arguments), tuple(name for _, name in arguments))


def relations(constants: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Relation]:
    sides = expressions(constants)
    return st.builds(Relation, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), sides, sides)


def listings(constants: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Listing]:
    items = st.lists(st.none() | expressions(constants), min_size=1, max_size=4)
    return items.map(lambda found: Listing(tuple(found)))


def codes(constants: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Formula]:
    calculations = expressions(constants) | relations(constants)
    return st.recursive(
        calculations, lambda inner: st.builds(Conditional, calculations, inner, inner), max_leaves=3
    )


def equations() -> st.SearchStrategy[Listing]:
    sides = expressions(decimals)
    equation = st.builds(Relation, st.just("="), sides, sides) | references
    return st.lists(equation, min_size=1, max_size=3).map(lambda found: Listing(tuple(found)))
