"""The outer form of actions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.actions import parse_actions
from lumos_edge.errors import ActionError
from lumos_edge.trajectory import Action


def balanced() -> st.SearchStrategy[str]:
    """Texts of one line whose parentheses are balanced, with everything in them that separates actions."""
    words = st.text(st.characters(exclude_characters="()\n\r", exclude_categories=["Cs", "Cc"]), max_size=8)
    pieces = st.sampled_from(["; R2 = ", ", Query: ", "R1", "Output = ", " = ", ". "]) | words
    return st.recursive(
        pieces,
        lambda inner: st.lists(inner | inner.map("({})".format), max_size=4).map("".join),
        max_leaves=8,
    )


names = st.integers(1, 40).map("R{}".format)
targets = st.lists(names, min_size=1, max_size=3).map(tuple) | st.just(("Output",))
calls = st.builds(Action, targets, st.from_regex(r"[A-Za-z_]\w{0,11}", fullmatch=True), balanced())
aliases = st.builds(Action, targets, st.just(""), names)
actions = calls | aliases


@given(st.lists(actions, min_size=1, max_size=5))
def test_parse_is_the_inverse_of_print(sequence: list[Action]) -> None:
    assert parse_actions("; ".join(map(str, sequence))) == tuple(sequence)


@given(st.text(max_size=60))
def test_any_text_is_actions_or_an_action_error(text: str) -> None:
    try:
        parsed = parse_actions(text)
    except ActionError:
        return
    assert parse_actions("; ".join(map(str, parsed))) == parsed


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("R1 = Calculator(48 / 2)", [Action(("R1",), "Calculator", "48 / 2")]),
        ("R5, R6 = SolveEquation(R2=xy, R3=x/y)", [Action(("R5", "R6"), "SolveEquation", "R2=xy, R3=x/y")]),
        ("Output = R9", [Action(("Output",), "", "R9")]),
        ("R10 = Calculator(R1(R9))", [Action(("R10",), "Calculator", "R1(R9)")]),
        ("R1 = Search(red; R2 = x).", [Action(("R1",), "Search", "red; R2 = x")]),
        (
            "R1 = Click(a). ; R2 = Click(b)".replace(". ;", ".;"),
            [Action(("R1",), "Click", "a"), Action(("R2",), "Click", "b")],
        ),
        ("R6 = Define(n); R8 = Define(m)", [Action(("R6",), "Define", "n"), Action(("R8",), "Define", "m")]),
    ],
)
def test_forms_of_the_papers_data(text: str, parsed: list[Action]) -> None:
    assert parse_actions(text) == tuple(parsed)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a target such as 'R1 = ', found the end at character 1"),
        ("Calculator(1)", "expected a target"),
        ("R1 = Calculator(1", r"expected '\)', found the end at character 18"),
        ("R1 = QA([R2], Question: smile :) ok?)", "expected '; ' or the end, found ' ok"),
        ("R1 = 40", "expected a tool such as"),
        ("R1 = Calculator(1) R2 = Define(x)", "expected '; ' or the end"),
    ],
)
def test_errors_name_the_place_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        parse_actions(text)
