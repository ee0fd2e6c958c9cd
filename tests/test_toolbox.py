"""Typed functions as tools."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.errors import ActionError, ToolPackError, UndefinedResult
from lumos_edge.executor import Executor
from lumos_edge.maths.formula import Constant, Operation, Reference
from lumos_edge.maths.parser import parse
from lumos_edge.resources import config_folder
from lumos_edge.toolbox import (
    Calculation,
    ChoiceArgument,
    Context,
    FormulaArgument,
    NumberArgument,
    ReferenceArgument,
    ReferencesArgument,
    TextArgument,
    Toolbox,
    ValueTypes,
    load_pack,
    pack_names,
    tool,
)
from lumos_edge.trajectory import Task
from lumos_edge.values import Boolean, Interval, Items, Number, Text, Value


@tool(labels={"question": "Question"}, timeout_s=2.0)
def answer(sources: tuple[Text | Items, ...], question: str, context: Context) -> Text | Boolean:
    """Answer from sources.

    The rest of the text is for people.
    """
    return Text(question + context.question)


@tool(name="Area")
def area(formula: Calculation, height: Number, unit: Literal["m2", "ft2"], page: Text) -> tuple[Number, ...]:
    """Compute areas"""
    return (height,)


def test_a_signature_becomes_parameters() -> None:
    assert [parameter.kind for parameter in answer.parameters] == [
        ReferencesArgument(frozenset({Text, Items})),
        TextArgument(),
    ]
    assert [parameter.kind for parameter in area.parameters] == [
        FormulaArgument("calculation"),
        NumberArgument(),
        ChoiceArgument(("m2", "ft2")),
        ReferenceArgument(frozenset({Text})),
    ]
    assert answer.context_name == "context"
    assert (answer.returns, answer.many_results) == (frozenset({Text, Boolean}), False)
    assert (area.returns, area.many_results) == (frozenset({Number}), True)


def test_the_interface_is_the_signature_and_the_docstrings_first_line() -> None:
    assert answer.interface == "answer(sources, question): Answer from sources"
    assert area.interface == "Area(formula, height, unit, page): Compute areas"


def test_an_annotation_without_meaning_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="the amount is annotated <class 'float'>"):

        @tool
        def double(amount: float) -> Number:  # type: ignore[unused-ignore]
            return Number(Fraction(amount))

    with pytest.raises(TypeError, match="the result is annotated None"):

        @tool
        def nothing(amount: Number):  # type: ignore[no-untyped-def]
            return None


def test_arguments_parse_to_their_types() -> None:
    assert answer.parse_arguments("[R1, R2], Question: who, and when?") == (("R1", "R2"), "who, and when?")
    assert area.parse_arguments("2 + R1, 3, ft2, R2") == (
        Operation("+", Constant(Fraction(2)), Reference("R1")),
        Constant(Fraction(3)),
        "ft2",
        "R2",
    )


def test_the_commas_of_a_call_inside_a_formula_separate_no_arguments() -> None:
    formula, height, *_ = area.parse_arguments("lcm(4, max(6, 8)), gcd(2, 3), m2, R1")
    assert formula == parse("lcm(4, max(6, 8))", "calculation")
    assert height == parse("gcd(2, 3)", "calculation")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("R1, Question: x", r"expects results such as \[R1, R2\] as its sources, found 'R1'"),
        ("[R1], Query: x", "expects ', Question: ' after its sources"),
        ("[R1], Question: ", "expects words as its question, found nothing"),
    ],
)
def test_arguments_that_do_not_fit_are_named(text: str, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        answer.parse_arguments(text)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        ("R3 = Fly(1)", ActionError, "there is no tool Fly; there are answer, Area"),
        ("R3 = answer([R9], Question: x)", UndefinedResult, "uses R9, but the results so far are: R1, R2"),
        ("R3 = answer([R2], Question: x)", ActionError, "R2, which is Number; expected Items or Text"),
        ("R3, R4 = answer([R1], Question: x)", ActionError, "answer has one result, 2 are named"),
        ("R3 = Area(1, 2, acre, R1)", ActionError, "expects one of m2, ft2 as its unit, found 'acre'"),
        ("R3 = Area(1, 2, m2, R1 R2)", ActionError, "expects a result such as R1 as its page"),
        ("Output = R7", UndefinedResult, "uses R7"),
    ],
)
def test_actions_are_checked(action: str, error: type[Exception], message: str) -> None:
    toolbox = Toolbox([answer, area])
    types = {"R1": frozenset({Text}), "R2": frozenset({Number})}
    with pytest.raises(error, match=message):
        toolbox.check(parse_actions(action)[0], types)


def test_an_alias_has_the_types_of_its_result() -> None:
    toolbox = Toolbox([answer])
    types: dict[str, ValueTypes] = {"R1": frozenset({Interval, Text})}
    action = parse_actions("Output = R1")[0]
    toolbox.check(action, types)
    assert toolbox.result_types(action, types) == types["R1"]


PACK = """
from lumos_edge.toolbox import Example, tool
from lumos_edge.values import Number

@tool
def Twice(amount: Number) -> Number:
    "Double an amount"
    return Number(2 * amount.value)

EXAMPLES = (Example("How much is twice 4?", (("Double 4.", "R1 = Twice(4)", "8"),)),)
"""


def test_a_users_pack_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "doubling.py").write_text(PACK)
    assert pack_names()["doubling"] == folder / "doubling.py"
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(PACK)
    for pack in ("doubling", elsewhere, str(elsewhere)):
        toolbox = Toolbox.of_packs(["maths", pack])
        assert "Twice" in toolbox.tools
        assert toolbox.examples[-1].question == "How much is twice 4?"
        result = Executor(toolbox).execute(parse_actions("R1 = Twice(3 + 4)")[0], {}, Task("?"))
        assert result.values == (Number(Fraction(14)),)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "defines no tool"),
        ("def f(:", "cannot be loaded: SyntaxError"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        (
            "from lumos_edge.toolbox import tool\n@tool\ndef f(x: int) -> int: ...",
            "cannot be loaded: TypeError",
        ),
    ],
)
def test_a_pack_that_does_not_do_is_an_error(tmp_path: Path, source: str, message: str) -> None:
    pack = tmp_path / "pack.py"
    pack.write_text(source)
    with pytest.raises(ToolPackError, match=message):
        load_pack(pack)


def test_a_pack_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolPackError, match="there is no tool pack 'nope'; there are maths"):
        load_pack("nope")
    with pytest.raises(ToolPackError, match="there is no file"):
        load_pack(tmp_path / "nope.py")


def test_the_examples_of_the_maths_pack_are_right() -> None:
    """Each is executed: what the modules are shown must be what the executor does."""
    maths = Toolbox.of_packs(["maths"])
    executor = Executor(maths)
    for example in maths.examples:
        bindings: dict[str, Value] = {}
        for _, actions, shown in example.solution:
            for action in parse_actions(actions):
                result = executor.execute(action, bindings, Task(example.question))
                assert not result.error, result.message
                bindings |= dict(zip(action.targets, result.values, strict=True))
            assert str(result.values[-1]) == shown
