"""Everything that a grammar generates parses and type-checks, and what the modules must be able to say is generated."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.actions import parse_actions
from lumos_edge.grammar import MAX_TARGETS, actions_grammar, next_subgoal_grammar, plan_grammar
from lumos_edge.planner import read_subgoals
from lumos_edge.toolbox import Toolbox, ValueTypes, tool
from lumos_edge.trajectory import Formulation
from lumos_edge.values import VALUE_TYPES, Boolean, Equation, Interval, Items, Number, Text
from tests.scripted import accepts, random_text


@tool(name="ParagraphRetrieve", labels={"query": "Query"})
def paragraph_retrieve(context: Items, query: str) -> Items:
    """Retrieve paragraphs"""
    return Items((Text(query),))


@tool(name="KnowledgeQuery")
def knowledge_query(query: str) -> Items:
    """Capture pages"""
    return Items((Text(query),))


@tool(name="QA", labels={"question": "Question"})
def qa(context: tuple[Items | Text, ...], question: str) -> Text | Boolean:
    """Answer"""
    return Text(question)


@tool(name="TYPE", labels={"query": "QUERY", "text": "TEXT"})
def type_text(page: Text, query: str, text: str) -> Text:
    """Type"""
    return Text(text)


@tool
def convert(amount: Number, unit: Literal["metre", "mile"], note: str) -> Number:
    """Convert"""
    return amount


MATHS = Toolbox.of_packs(["maths"])
ALL = Toolbox([*MATHS.tools.values(), paragraph_retrieve, knowledge_query, qa, type_text, convert])

bindings = st.dictionaries(
    st.integers(1, 14).map("R{}".format),
    st.sets(st.sampled_from(VALUE_TYPES), min_size=1, max_size=2).map(frozenset),
    max_size=12,
)
formulations: st.SearchStrategy[Formulation] = st.sampled_from(["iterative", "onetime"])


def check(toolbox: Toolbox, text: str, types: Mapping[str, ValueTypes], max_actions: int) -> None:
    """The text is actions of the toolbox, in order, on results that exist, of the right types."""
    actions = parse_actions(text.rstrip("\n"))
    assert len(actions) <= max_actions
    known = dict(types)
    for action in actions:
        toolbox.check(action, known)
        first = 1 + max((int(name[1:]) for name in known), default=0)
        if action.targets == ("Output",):
            assert action is actions[-1]
        else:
            assert action.targets == tuple(f"R{first + i}" for i in range(len(action.targets)))
        assert len(action.targets) <= MAX_TARGETS
        known |= dict.fromkeys(action.targets, toolbox.result_types(action, known))


@settings(max_examples=10_000, deadline=None)
@given(bindings, formulations, st.integers(1, 4), st.integers(0, 2**32))
def test_every_generated_text_parses_and_type_checks(
    types: dict[str, ValueTypes], formulation: Formulation, max_actions: int, seed: int
) -> None:
    toolbox = ALL if seed % 2 else MATHS
    grammar = actions_grammar(toolbox, types, formulation=formulation, max_actions=max_actions)
    check(toolbox, random_text(grammar, Random(seed)), types, max_actions)


NUMBER: ValueTypes = frozenset({Number})
PASSAGES: ValueTypes = frozenset({Items})


@pytest.mark.parametrize(
    "text",
    [
        "R3 = Calculator(48 / 2)",
        "R3 = Calculator(R1 + R2 * (3 - 25%))\n",
        "R3 = Define(x); R4 = Calculator(R3 + 600); R5 = SolveEquation(R4 = 2*R3)",
        "R3, R4 = SolveEquation(x^2 - 5x + 6 = 0); R5 = Calculator(R3(R4))",
        "R3, R4 = SolveEquation(x = xy, y = x/y)",
        "R3 = Code(If R1 > 0, R1, -R1)",
        "R3 = Count(2, 4, ..., 100)",
        "R3 = SolveInequality(2x + 1 < 7)",
        "R3 = KnowledgeQuery(Albany, Georgia); R4 = ParagraphRetrieve(R3, Query: What is (or was) there?)",
        "R3 = KnowledgeQuery(x); R4 = QA([R3], Question: So?); R5 = QA([R3, R4], Question: How many?)",
        "R3 = KnowledgeQuery(x); R4 = QA([R3], Question: So?); R5 = TYPE(R4, QUERY: October 08, 2023, TEXT: a b)",
        "R3 = convert(R1 * 2, mile, by car, fast)",
    ],
)
def test_what_a_grounder_has_to_say_is_generated(text: str) -> None:
    grammar = actions_grammar(ALL, {"R1": NUMBER, "R2": NUMBER}, formulation="iterative", max_actions=3)
    assert accepts(grammar, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("R2 = Calculator(1)", "R2 exists"),
        ("R4 = Calculator(1)", "R3 comes first"),
        ("R3 = Calculator(R5)", "there is no R5"),
        ("R3 = Calculator(R3 + 1)", "R3 is not there yet"),
        ("R3 = Calculator(R2 + 1)", "R2 is a list of passages"),
        ("R3 = ParagraphRetrieve(R1, Query: x)", "R1 is a number"),
        ("R3 = Calculator(clips * 2)", "words are no formula"),
        ("R3 = Calculator((1 + 2)", "a parenthesis is open"),
        ("R3 = Calculator(1))", "a parenthesis too many"),
        ("R3 = KnowledgeQuery()", "there are no words"),
        ("R3 = KnowledgeQuery(a\u200bb)", "a character that nobody sees"),
        ("R3 = Output(1)", "there is no such tool"),
        ("Output = R1", "only the onetime formulation has it"),
        ("R3 = convert(R1, inch, x)", "inch is none of its words"),
        ("R3 = Calculator(1); R4 = Calculator(1); R5 = Calculator(1)", "two actions are allowed"),
        ("R3, R4 = Calculator(1)", "it has one result"),
    ],
)
def test_what_would_fail_is_not_generated(text: str, why: str) -> None:
    grammar = actions_grammar(ALL, {"R1": NUMBER, "R2": PASSAGES}, formulation="iterative", max_actions=2)
    assert not accepts(grammar, text), why


def test_a_tool_whose_results_do_not_exist_is_not_offered() -> None:
    grammar = actions_grammar(ALL, {}, formulation="iterative", max_actions=1)
    assert accepts(grammar, "R1 = KnowledgeQuery(Nile)")
    assert not accepts(grammar, "R1 = QA([R1], Question: x)")


def test_types_of_results_in_the_same_text_count() -> None:
    grammar = actions_grammar(ALL, {}, formulation="iterative", max_actions=3)
    assert accepts(grammar, "R1 = SolveInequality(x < 2); R2 = Define(3); R3 = Calculator(R2)")
    assert not accepts(grammar, "R1 = SolveInequality(x < 2); R2 = Define(3); R3 = Calculator(R1)")


def test_output_is_the_last_action_of_a_onetime_text() -> None:
    grammar = actions_grammar(MATHS, {}, formulation="onetime", max_actions=4)
    assert accepts(grammar, "R1 = Calculator(1); Output = Calculator(R1 + 1)\n")
    assert accepts(grammar, "R1 = Calculator(1); Output = R1")
    assert not accepts(grammar, "R1 = Calculator(1); Output = R1; R2 = Calculator(1)")


def test_results_of_the_other_types_have_no_formula() -> None:
    types = {"R1": frozenset({Equation}), "R2": frozenset({Interval}), "R3": frozenset({Interval, Number})}
    grammar = actions_grammar(MATHS, types, formulation="iterative", max_actions=1)
    assert accepts(grammar, "R4 = Calculator(2*R1)")
    assert not accepts(grammar, "R4 = Calculator(2*R2)")
    assert accepts(grammar, "R4 = Calculator(2*R3)")  # it may be a number: the executor will see


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32))
def test_every_plan_is_read_back(max_subgoals: int, seed: int) -> None:
    text = random_text(plan_grammar(max_subgoals), Random(seed))
    subgoals = read_subgoals(text)
    assert [subgoal.number for subgoal in subgoals] == list(range(1, len(subgoals) + 1))
    assert "; ".join(map(str, subgoals)) == "; ".join(part.strip() for part in text.strip("\n").split(";"))


def test_the_planner_keeps_or_stops_in_fixed_words() -> None:
    assert accepts(next_subgoal_grammar(1), "Subgoal 1: Count the rows.")
    assert not accepts(next_subgoal_grammar(1), "Yes, I will stop planning.")
    assert accepts(next_subgoal_grammar(3), "No, I will keep planning. Subgoal 3: Count the rows.\n")
    assert accepts(next_subgoal_grammar(3), "Yes, I will stop planning.")
    assert not accepts(next_subgoal_grammar(3), "No, I will keep planning. Subgoal 2: Count the rows.")
    assert not accepts(next_subgoal_grammar(3), "Subgoal 3: Count the rows.")
    assert not accepts(plan_grammar(3), "Subgoal 1: a; Subgoal 3: b")
