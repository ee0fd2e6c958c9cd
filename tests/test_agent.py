"""The loop: both formulations, retry, budgets, answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.errors import (
    BudgetExceeded,
    Cancelled,
    Closed,
    DeadlineExceeded,
    RepeatedActions,
    TooManyActions,
    TooManySubgoals,
    TooManyTokens,
)
from lumos_edge.functions import tool_of
from lumos_edge.templates import LumosTemplate
from lumos_edge.toolbox import Toolbox, tool
from lumos_edge.trajectory import (
    Event,
    Executed,
    Finished,
    Formulation,
    Grounded,
    Module,
    Planned,
    Task,
    TextPiece,
    Trajectory,
)
from lumos_edge.values import Text
from tests.scripted import ScriptedEngine

TASK = Task("A farmer has 3 fields with 40 rows each. Half of the rows are beans. How many rows are beans?")
LUMOS = LumosTemplate("train", "<s>", "</s>")
MATHS = Toolbox.of_packs(["maths"])


def agent(engine: Any, formulation: Formulation = "iterative", **budget: Any) -> Agent:
    return Agent(engine, LUMOS, LUMOS, MATHS, formulation=formulation, budget=Budget(**budget))


def events_until(agent: Agent, error: type[BudgetExceeded]) -> list[Event]:
    """The events of a run that ends with this error."""
    events: list[Event] = []
    with pytest.raises(error):
        events.extend(agent.run(TASK))
    return events


def last(events: list[Event]) -> Trajectory:
    assert isinstance(events[-1], Finished)
    return events[-1].trajectory


def test_onetime_is_two_completions() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Calculate the number of rows.; Subgoal 2: Calculate the rows of beans.",
        "R1 = Calculator(3 * 40); R2 = Calculator(R1 / 2)",
    )
    trajectory = agent(engine, "onetime").ask(TASK)
    assert str(trajectory.answer) == "60"
    assert [module for module, _ in engine.prompts] == ["planner", "grounder"]
    assert "Subgoal 2: Calculate the rows of beans." in engine.prompt_text()


def test_a_subgoal_written_into_another_is_one_of_its_own() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Calculate the rows by 3 * 40. Subgoal 2: Halve them.; Subgoal 2: Subtract the result of Subgoal 1.",
        "R1 = Calculator(3 * 40); R2 = Calculator(R1 / 2); R3 = Calculator(R1 - R2)",
    )
    trajectory = agent(engine, "onetime").ask(TASK)
    assert [str(subgoal) for subgoal in trajectory.steps[0].subgoals] == [
        "Subgoal 1: Calculate the rows by 3 * 40.",
        "Subgoal 2: Halve them.",
        "Subgoal 3: Subtract the result of Subgoal 1.",
    ]


def test_iterative_is_two_completions_for_a_subgoal_and_one_to_stop() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Calculate the number of rows.",
        "R1 = Calculator(3 * 40)",
        "No, I will keep planning. Subgoal 2: Calculate the rows of beans.",
        "R2 = Calculator(R1 / 2)",
        "Yes, I will stop planning.",
    )
    trajectory = agent(engine).ask(TASK)
    assert str(trajectory.answer) == "60"
    assert [module for module, _ in engine.prompts] == ["planner", "grounder"] * 2 + ["planner"]
    assert "The executed result for Subgoal 2 is 60. Should we stop planning?" in engine.prompt_text()


def test_events_come_as_things_happen() -> None:
    engine = ScriptedEngine("Subgoal 1: Count.", "R1 = Calculator(3 * 40)", "Yes, I will stop planning.")
    kinds = [type(event) for event in agent(engine).run(TASK)]
    assert kinds == [TextPiece, Planned, TextPiece, Grounded, Executed, TextPiece, Finished]


def test_output_is_the_answer_where_it_is_named() -> None:
    engine = ScriptedEngine("Subgoal 1: Count.", "R1 = Calculator(3 * 40); Output = Calculator(R1 + 1)")
    assert str(agent(engine, "onetime").ask(TASK).answer) == "121"


def test_a_failed_action_is_told_to_the_grounder_once() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Divide.",
        "R1 = Calculator(1 / 0)",
        "R1 = Calculator(1 / 2)",
        "Yes, I will stop planning.",
    )
    trajectory = agent(engine).ask(TASK)
    assert str(trajectory.answer) == "0.5"
    assert "R1 = Calculator(1 / 0) failed: division by zero" in engine.prompt_text(2)
    assert len(trajectory.steps[0].attempts) == 2


@pytest.mark.parametrize("third", ["R1 = Calculator((100 - 23) / 7)", "R1 = SolveEquation(100 = 7*x + 23)"])
def test_a_retry_that_only_repeats_itself_is_made_again_without_the_tool(third: str) -> None:
    unsolvable = "R1 = SolveEquation(100 - 23 = 7 * 11)"
    engine = ScriptedEngine("Subgoal 1: Count.", unsolvable, unsolvable, third, "Yes, I will stop planning.")
    if "SolveEquation" in third:
        with pytest.raises(AssertionError, match="the grammar does not allow 'R1 = SolveEquation"):
            agent(engine).ask(TASK)
        return
    trajectory = agent(engine).ask(TASK)
    assert str(trajectory.answer) == "11"
    assert [attempt.actions[0].tool for attempt in trajectory.steps[0].attempts] == [
        "SolveEquation",
        "SolveEquation",
        "Calculator",
    ]


def test_the_only_tool_stays() -> None:
    engine = ScriptedEngine("Subgoal 1: Sleep.", *["R1 = halve(0)"] * 3, "Yes, I will stop planning.")

    def halve(number: float) -> float:
        """Halve"""
        raise ValueError("not that one")

    runner = Agent(engine, LUMOS, LUMOS, Toolbox([tool_of(halve)]), formulation="iterative")
    assert len(runner.ask(TASK).steps[0].attempts) == 3


def test_results_of_a_failed_attempt_are_forgotten() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Divide.",
        "R1 = Calculator(5); R2 = Calculator(1 / 0)",
        "R1 = Calculator(7)",
        "No, I will keep planning. Subgoal 2: Add.",
        "R2 = Calculator(R1 + 1)",
        "Yes, I will stop planning.",
    )
    assert str(agent(engine).ask(TASK).answer) == "8"


def test_after_the_retry_the_planner_is_told() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Divide.",
        "R1 = Calculator(1 / 0)",
        "R1 = Calculator(2 / 0)",
        "Yes, I will stop planning.",
    )
    trajectory = agent(engine).ask(TASK)
    assert "The executed result for Subgoal 1 is not available." in engine.prompt_text()
    assert (trajectory.answer, trajectory.error) == (None, "NoAnswer")
    assert "division by zero" in trajectory.message


def test_text_that_is_no_action_is_an_error_of_the_step() -> None:
    engine = ScriptedEngine("Subgoal 1: x", "R1 = Calcul", "R1 = Calculator(4)", is_checked=False)
    trajectory = agent(engine, "onetime").ask(TASK)
    assert str(trajectory.answer) == "4"
    assert "expected a tool" in trajectory.steps[0].attempts[0].error


def test_a_planner_that_never_stops_still_answers() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Count.",
        "R1 = Calculator(1)",
        "No, I will keep planning. Subgoal 2: Count.",
        "R2 = Calculator(2)",
    )
    trajectory = agent(engine, max_subgoals=2).ask(TASK)
    assert str(trajectory.answer) == "2"
    assert trajectory.message == "the planner did not stop within 2 subgoals; the last result is the answer"


def test_no_result_within_the_subgoals_is_a_budget_error() -> None:
    engine = ScriptedEngine("Subgoal 1: Divide.", "R1 = Calculator(1 / 0)", "R1 = Calculator(2 / 0)")
    trajectory = last(events_until(agent(engine, max_subgoals=1), TooManySubgoals))
    assert trajectory.error == "TooManySubgoals"
    assert len(trajectory.steps) == 1


def repeating(number: int) -> list[str]:
    keep = "No, I will keep planning. " if number > 1 else ""
    return [f"{keep}Subgoal {number}: Count again.", f"R{number} = Calculator(3 * 40)"]


def test_repeated_actions_end_the_run() -> None:
    """The result that there is, is the answer: the planner only did not say that it was through."""
    engine = ScriptedEngine(*repeating(1), *repeating(2), *repeating(3), *repeating(4))
    trajectory = agent(engine).ask(TASK)
    assert str(trajectory.answer) == "120"
    assert len(trajectory.steps) == 3
    assert "only repeated earlier actions" in trajectory.message


def test_repeated_failures_end_the_run_with_the_reason() -> None:
    fail = ["R1 = Calculator(1 / 0)", "R1 = Calculator(1 / 0)", "R1 = Define(1 / 0)"]
    keep = "No, I will keep planning. Subgoal {}: Divide."
    engine = ScriptedEngine("Subgoal 1: Divide.", *fail, keep.format(2), *fail, keep.format(3), *fail)
    trajectory = last(events_until(agent(engine), RepeatedActions))
    assert "repeated earlier actions" in trajectory.message


def test_too_many_actions() -> None:
    engine = ScriptedEngine("Subgoal 1: Count.", "R1 = Calculator(1); R2 = Calculator(2); R3 = Calculator(3)")
    events = events_until(agent(engine, max_actions=2), TooManyActions)
    assert sum(isinstance(event, Executed) for event in events) == 2


def test_too_many_tokens() -> None:
    engine = ScriptedEngine("Subgoal 1: Count all of the many rows.")
    assert "8 tokens were written, the limit is 3" in str(
        last(events_until(agent(engine, max_tokens=3), TooManyTokens)).message
    )


def test_the_deadline() -> None:
    engine = ScriptedEngine("Subgoal 1: Count.")
    assert last(events_until(agent(engine, timeout_s=1e-9), DeadlineExceeded)).answer is None


class Waiting:
    """An engine that waits to be cancelled."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        self.started.set()
        assert self.cancelled.wait(10)
        yield "Subgoal 1: Count."
        return Completion("Subgoal 1: Count.")

    def cancel(self) -> None:
        self.cancelled.set()


def test_cancel_from_another_thread_also_between_completions() -> None:
    engine = Waiting()
    runner = agent(engine)

    def cancel_when_started() -> None:
        assert engine.started.wait(10)
        runner.cancel()

    thread = threading.Thread(target=cancel_when_started)
    thread.start()
    with pytest.raises(Cancelled):
        runner.ask(TASK)
    thread.join()


class Stopping(Waiting):
    """An engine that stops in the middle of a completion, as the real one does."""

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        yield from super().complete(module, prompt, grammar, max_tokens=max_tokens, sampling=sampling)
        raise Cancelled("cancelled")


def test_the_deadline_cancels_a_completion_that_outlasts_it() -> None:
    trajectory = last(events_until(agent(Stopping(), timeout_s=0.05), DeadlineExceeded))
    assert (trajectory.answer, trajectory.error) == (None, "DeadlineExceeded")
    runner = agent(Stopping(), timeout_s=5)
    threading.Timer(0.05, runner.cancel).start()
    with pytest.raises(Cancelled):
        runner.ask(TASK)


def sleeper(seconds: float) -> float:
    """Sleep"""
    working.set()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.005)
    return seconds


working = threading.Event()


def when_working(act: Callable[[], None]) -> threading.Thread:
    """A thread that acts as soon as the tool works."""

    def wait() -> None:
        assert working.wait(10)
        act()

    working.clear()
    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_cancel_ends_a_tool_that_works_and_the_agent_goes_on() -> None:
    engine = ScriptedEngine(
        "Subgoal 1: Sleep.", "R1 = sleeper(60)", "Subgoal 1: Sleep.", "R1 = sleeper(0.01)"
    )
    runner = Agent(engine, LUMOS, LUMOS, Toolbox([tool_of(sleeper)]))
    thread = when_working(runner.cancel)
    started = time.monotonic()
    with pytest.raises(Cancelled):
        runner.ask(TASK)
    thread.join()
    assert time.monotonic() - started < 30
    assert str(runner.ask(TASK).answer) == "0.01"


def test_close_ends_a_tool_that_works() -> None:
    engine = ScriptedEngine("Subgoal 1: Sleep.", "R1 = sleeper(4)")
    runner = Agent(engine, LUMOS, LUMOS, Toolbox([tool_of(sleeper)]))
    thread = when_working(runner.close)
    with pytest.raises(Closed):
        runner.ask(TASK)
    thread.join()
    with pytest.raises(Closed), runner:
        runner.ask(TASK)


class Forgetful(Waiting):
    """An engine that forgets a cancel that came before its completion, as the real one does."""

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        self.cancelled.clear()
        if module == "grounder":
            yield "R1 = Wait()"
            return Completion("R1 = Wait()")
        if not self.started.is_set():
            self.started.set()
            yield "Subgoal 1: Wait."
            return Completion("Subgoal 1: Wait.")
        assert self.cancelled.wait(10)
        raise Cancelled("cancelled")


def test_a_deadline_that_passes_in_a_tool_stops_the_completion_after_it() -> None:
    @tool(name="Wait")
    def wait() -> Text:
        time.sleep(0.2)
        return Text("waited")

    runner = Agent(
        Forgetful(), LUMOS, LUMOS, Toolbox([wait]), formulation="iterative", budget=Budget(timeout_s=0.1)
    )
    assert last(events_until(runner, DeadlineExceeded)).answer is None


@pytest.mark.parametrize("question", ["", "  \n", "x" * 20_001])
def test_a_question_that_cannot_be_one_is_a_value_error(question: str) -> None:
    with pytest.raises(ValueError, match="question"):
        agent(ScriptedEngine()).ask(Task(question))


@pytest.mark.parametrize(
    "budget", [{"max_subgoals": 0}, {"max_tokens": -1}, {"timeout_s": -1.0}, {"timeout_s": float("nan")}]
)
def test_a_budget_that_cannot_be_one_is_a_value_error(budget: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(budget))):
        Budget(**budget)
