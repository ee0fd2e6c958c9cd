"""Plain typed functions as tools: what an action gives them, and what becomes of what they return."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.executor import Executor
from lumos_edge.functions import tool_of
from lumos_edge.toolbox import ChoiceArgument, NumberArgument, TextArgument, Toolbox, tool
from lumos_edge.trajectory import Result, Task
from lumos_edge.values import Boolean, Number, Text


def run(function: Callable[..., Any], action: str) -> Result:
    """The result of one action with the function as the only tool."""
    return Executor(Toolbox([tool_of(function)])).execute(parse_actions(action)[0], {}, Task("?"))


def area(width: float, height: Fraction) -> float:
    """Area of a rectangle.

    More than the grounder needs.
    """
    assert isinstance(width, float)
    assert isinstance(height, Fraction)
    return width * float(height)


def repeat(times: int, word: str, loud: bool, ending: Literal["!", "?"]) -> str:
    """Repeat a word"""
    text = " ".join([word] * times) + ending
    return text.upper() if loud else text


def test_the_interface_is_the_signature_and_the_first_line_of_the_docstring() -> None:
    assert tool_of(area).interface == "area(width, height): Area of a rectangle"
    assert [parameter.kind for parameter in tool_of(repeat).parameters] == [
        NumberArgument(),
        TextArgument(),
        ChoiceArgument(("true", "false")),
        ChoiceArgument(("!", "?")),
    ]


def test_arguments_arrive_as_annotated() -> None:
    assert run(area, "R1 = area(1/2 + 1, 0.1)").values == (Number(Fraction(3, 20)),)
    assert run(repeat, "R1 = repeat(2, ho, true, !)").values == (Text("HO HO!"),)
    assert run(repeat, "R1 = repeat(1, ho, false, ?)").values == (Text("ho?"),)


def test_a_whole_number_is_not_rounded() -> None:
    result = run(repeat, "R1 = repeat(5/2, ho, true, !)")
    assert (result.error, result.message) == ("ToolError", "times must be a whole number, it is 2.5")


def test_a_float_is_the_decimal_number_that_was_meant() -> None:
    def add(x: float, y: float) -> float:
        return x + y

    assert 0.1 + 0.2 != 0.3
    assert run(add, "R1 = add(0.1, 0.2)").values == (Number(Fraction("0.3")),)
    assert run(add, "R1 = add(10^20, 0)").values == (Number(Fraction(10**20)),)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_an_error_of_the_tool(value: float) -> None:
    def broken(x: int) -> float:
        return value

    assert "which is no number" in run(broken, "R1 = broken(1)").message


def test_results_of_every_kind() -> None:
    def is_even(n: int) -> bool:
        return n % 2 == 0

    def divisors(n: int) -> list[int]:
        return [d for d in range(1, n + 1) if n % d == 0]

    def halves(n: int) -> tuple[int, ...]:
        return n // 2, n - n // 2

    assert run(is_even, "R1 = is_even(4)").values == (Boolean(True),)
    assert str(run(divisors, "R1 = divisors(6)")) == "1, 2, 3, 6"
    assert run(halves, "R1, R2 = halves(7)").values == (Number(Fraction(3)), Number(Fraction(4)))


def test_an_exception_becomes_a_typed_error_with_its_name() -> None:
    def broken(x: int) -> int:
        raise KeyError("price")

    result = run(broken, "R1 = broken(1)")
    assert (result.error, result.message) == ("ToolError", "broken failed: KeyError: 'price'")


def test_a_bound_method_is_a_tool_and_a_tool_is_its_own() -> None:
    class Prices:
        def price(self, name: str) -> int:
            return len(name)

    assert str(run(Prices().price, "R1 = price(egg)")) == "3"
    assert tool_of(made := tool(_number)) is made


def _number(x: Number) -> Number:
    return x


async def _later(x: int) -> int:
    return x


def _without(x) -> int:  # type: ignore[no-untyped-def]
    return int(x)


def _no_result(x: int):  # type: ignore[no-untyped-def]
    return x


def _any_number(*x: int) -> int:
    return sum(x)


def _table(x: dict[str, int]) -> int:
    return len(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "a tool is a function with a name"),
        (_later, "_later: a tool is a plain function, not an async one"),
        (_without, "_without: the parameter x has no annotation"),
        (_no_result, "_no_result: the result has no annotation"),
        (_any_number, "_any_number: an action has no place for"),
        (_table, "_table: the x is annotated dict"),
    ],
)
def test_what_cannot_be_a_tool_is_a_type_error(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        tool_of(function)
