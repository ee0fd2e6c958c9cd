"""Typed results and their texts."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.errors import ActionError
from lumos_edge.maths.formula import Constant, Operation, Symbol, Truth
from lumos_edge.maths.parser import parse
from lumos_edge.values import (
    Boolean,
    Equation,
    Expression,
    Interval,
    Items,
    Number,
    Rows,
    Text,
    Value,
    formula_of,
    read_json,
    value_of,
    write_json,
)

x = Symbol("x")
two = Constant(Fraction(2))

leaves: st.SearchStrategy[Value] = st.one_of(
    st.fractions().map(Number),
    st.booleans().map(Boolean),
    st.text().map(Text),
    st.text(min_size=1).map(Interval),
    st.sampled_from(["x + 1", "2*sqrt(2)", "(p + 600)/4", "-x^2", "x < 2"]).map(
        lambda text: Expression(parse(text, "calculation"))
    ),
    st.just(Equation(x, Operation("+", x, two))),
    st.lists(
        st.tuples(st.none() | st.text() | st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    ).map(lambda rows: Rows(("a", "b"), tuple(rows), len(rows) > 2)),
)
values = leaves | st.lists(leaves, max_size=3).map(lambda items: Items(tuple(items)))


@given(values)
def test_json_both_ways(value: Value) -> None:
    assert read_json(json.loads(json.dumps(write_json(value)))) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Number(Fraction(72)), "72"),
        (Number(Fraction(1, 3)), "1/3"),
        (Number(Fraction(1, 4)), "0.25"),
        (Number(Fraction(-3, 2)), "-1.5"),
        (Boolean(True), "True"),
        (Equation(x, two), "x = 2"),
        (Items((Number(Fraction(-3)), Number(Fraction(3)))), "-3, 3"),
        (Rows(("n",), ((4,),)), "4"),
        (Rows(("name",), (("Asia",), (None,))), "Asia, NULL"),
        (Rows(("name", "n"), (("a\nb", 1.5), ("c" * 61, 2))), f"(a b, 1.5); ({'c' * 60}..., 2)"),
        (Rows(("n",), ()), "no rows"),
        (Rows(("n",), ((1,),) * 14, True), f"{'1, ' * 12}... (14 or more rows)"),
        (Text("the Nile"), "the Nile"),
    ],
)
def test_values_print_as_people_write_them(value: Value, text: str) -> None:
    assert str(value) == text


def test_formulas_become_values_and_back() -> None:
    for formula in (two, Truth(True), Operation("+", x, two)):
        assert formula_of(value_of(formula)) == formula
    assert formula_of(Text("seven")) is None
    assert formula_of(Items(())) is None


@pytest.mark.parametrize(
    "data",
    [{"type": "Number", "text": "x"}, {"type": "Equation", "text": "x"}, {"type": "Boolean", "text": "yes"}],
)
def test_other_data_is_refused(data: dict[str, str]) -> None:
    with pytest.raises((KeyError, ValueError, ActionError)):
        read_json(data)
