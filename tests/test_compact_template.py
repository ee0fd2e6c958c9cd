"""The prompts that our own adapters are trained on."""

from __future__ import annotations

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.engine import Control, Prompt
from lumos_edge.templates import CompactTemplate, read_json, write_json
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Attempt, Formulation, Result, Step, Subgoal, Task
from lumos_edge.values import Text

END = Control("<|im_end|>")
TASK = Task(" Ann has 3 nuts. \n")
TEMPLATE = CompactTemplate("<|im_end|>")


def _step(number: int, words: str, *attempts: Attempt) -> Step:
    return Step((Subgoal(number, words),), attempts)


def _attempt(actions: str, result: str) -> Attempt:
    return Attempt(parse_actions(actions), (Result((Text(result),)),))


@pytest.fixture(scope="module")
def toolbox() -> Toolbox:
    return Toolbox.of_packs(["maths"])


def test_the_onetime_grounder_continues_the_planners_conversation(toolbox: Toolbox) -> None:
    planner = TEMPLATE.planner(TASK, toolbox, (), "onetime")
    plan = Step((Subgoal(1, "Do this."), Subgoal(2, "Do that.")), ())
    grounder = TEMPLATE.grounder(TASK, toolbox, (), plan, "onetime")
    assert planner == (END, "Ann has 3 nuts.\n")
    assert grounder == (*planner, "Subgoal 1: Do this.; Subgoal 2: Do that.", END)


def test_the_planner_is_told_bare_results(toolbox: Toolbox) -> None:
    first = _step(1, "Do this.", _attempt("R1 = Calculator(3 * 2)", "6"))
    second = _step(2, "Do that.", Attempt((), (), "no action"))
    prompt = TEMPLATE.planner(TASK, toolbox, [first, second], "iterative")
    assert prompt[2:] == (
        "Subgoal 1: Do this.",
        END,
        "6\n",
        "No, I will keep planning. Subgoal 2: Do that.",
        END,
        "not available\n",
    )


def test_a_failed_attempt_is_followed_by_its_failure(toolbox: Toolbox) -> None:
    failed = Attempt(parse_actions("R1 = Calculator(1 / 0)"), (Result((), "ToolError", "no quotient"),))
    prompt = TEMPLATE.grounder(TASK, toolbox, (), _step(1, "Divide.", failed), "iterative")
    assert prompt[-3:] == ("R1 = Calculator(1 / 0)", END, "R1 = Calculator(1 / 0) failed: no quotient\n")


@pytest.mark.parametrize("formulation", ["iterative", "onetime"])
def test_conversations_only_grow_at_their_end(toolbox: Toolbox, formulation: Formulation) -> None:
    done = _step(1, "Do this.", _attempt("R1 = Calculator(3 * 2)", "6"))
    current = _step(2, "Do that.")

    def grounder(steps: list[Step], step: Step) -> Prompt:
        return TEMPLATE.grounder(TASK, toolbox, steps, step, formulation)

    before, after = grounder([], Step(done.subgoals, ())), grounder([done], current)
    assert after[: len(before)] == before
    planned = TEMPLATE.planner(TASK, toolbox, [], formulation)
    assert TEMPLATE.planner(TASK, toolbox, [done], formulation)[: len(planned)] == planned


def test_a_trace_holds_the_template() -> None:
    assert read_json(write_json(TEMPLATE)) == TEMPLATE
