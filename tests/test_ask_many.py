"""Many tasks at once: each one's trajectory is what it is alone, and what befalls one befalls no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias
from unittest import mock

import pytest

from lumos_edge import trajectory
from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Sampling, parallel
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.remote import RemoteEngine
from lumos_edge.errors import Cancelled, Closed, ToolError
from lumos_edge.functions import tool_of
from lumos_edge.loading import ModelChoice, load_modules
from lumos_edge.toolbox import Resource, Toolbox
from lumos_edge.trajectory import Formulation, Task, Trajectory
from tests.cli.conftest import CHAT_TEMPLATE
from tests.engine.tiny import write_bpe_model
from tests.scripted import ScriptedEngine

QUESTIONS = [f"What are {number} and {'beans' * (number % 3)} {number * 7}?" for number in range(6)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return write_bpe_model(path, chat_template=CHAT_TEMPLATE, n_ctx=8192)


Opened = Callable[..., Agent]


@pytest.fixture
def opened(tiny: Path) -> Iterator[Opened]:
    """`opened(tool, ...)`: an agent on tiny weights with that tool alone."""
    engines: list[LlamaEngine | RemoteEngine] = []

    def open_agent(tool: Callable[..., Any], formulation: Formulation = "onetime", **options: Any) -> Agent:
        loaded = load_modules(ModelChoice("tiny", tiny, {}, {}, None, (), 4096), n_threads=1)
        engines.append(loaded.engine)
        return Agent(
            loaded.engine,
            loaded.planner_template,
            loaded.grounder_template,
            Toolbox([tool_of(tool)]),
            formulation=formulation,
            **options,
        )

    yield open_agent
    for engine in engines:
        engine.close()


WORDS = {"one": 1, "two": 2, "three": 3}
Word: TypeAlias = Literal["one", "two", "three"]


def add(first: Word, second: Word) -> Fraction:
    """Add"""
    return Fraction(WORDS[first] + WORDS[second])


def without_times(found: Trajectory) -> dict[str, Any]:
    data = trajectory.write_json(found)
    for step in data["steps"]:
        for attempt in step["attempts"]:
            for result in attempt["results"]:
                del result["elapsed_s"]
    return data


@pytest.mark.usefixtures("exact_attention")
@pytest.mark.parametrize("formulation", ["onetime", "iterative"])
@pytest.mark.parametrize("n_parallel", [2, 4])
def test_the_trajectories_are_those_of_tasks_alone_in_their_order(
    opened: Opened, formulation: Formulation, n_parallel: int
) -> None:
    budget = Budget(max_subgoals=3, max_actions_per_turn=2)
    agent = opened(add, formulation, budget=budget, sampling=Sampling(0.8, seed=3))
    alone = [without_times(found) for found in agent.ask_many(QUESTIONS, n_parallel=1)]
    many = [without_times(found) for found in agent.ask_many(QUESTIONS, n_parallel=n_parallel)]
    again = [without_times(found) for found in agent.ask_many(map(Task, QUESTIONS), n_parallel=n_parallel)]
    assert many == alone == again
    assert [found["question"] for found in many] == QUESTIONS
    assert len({str(found["steps"]) for found in many}) > 3


def test_what_ends_one_task_is_its_own_error(opened: Opened) -> None:
    def halve(word: Word) -> Fraction:
        """Halve"""
        raise ToolError("it is odd")

    agent = opened(halve, budget=Budget(max_subgoals=2, max_actions_per_turn=1))
    long, empty = "word " * 3900, " "
    found = list(agent.ask_many([QUESTIONS[0], long, empty, "x" * 30_000, QUESTIONS[1]], n_parallel=3))
    assert [one.error for one in found] == [
        "NoAnswer",
        "ContextWindowExceeded",
        "ValueError",
        "ValueError",
        "NoAnswer",
    ]
    assert "it is odd" in found[0].message
    assert "20,000" in found[3].message


def test_each_task_has_the_budget_of_its_own(opened: Opened) -> None:
    agent = opened(add, budget=Budget(max_subgoals=2, max_actions_per_turn=2, max_tokens=60))
    found = list(agent.ask_many(QUESTIONS[:4], n_parallel=4))
    assert {one.error for one in found} <= {"TooManyTokens", ""}
    assert {one.error for one in found} & {"TooManyTokens"}


def test_the_time_limit_is_each_tasks_own(opened: Opened) -> None:
    """The first two take the time of all; what has not begun by then has its own."""
    n_calls = 0

    def wait(word: Word) -> Fraction:
        """Wait"""
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            time.sleep(3)
        return Fraction(n_calls)

    agent = opened(wait, budget=Budget(max_subgoals=1, max_actions_per_turn=1, timeout_s=2.5))
    found = list(agent.ask_many(QUESTIONS[:4], n_parallel=2))
    errors = [one.error for one in found]
    assert errors[0] == "DeadlineExceeded"
    assert errors[2:] == ["", ""]


def test_cancelling_ends_all_of_them(opened: Opened) -> None:
    started = threading.Event()

    def wait(word: Word) -> Fraction:
        """Wait"""
        started.set()
        time.sleep(30)
        return Fraction(1)

    agent = opened(wait)
    run = agent.ask_many(QUESTIONS, n_parallel=3)

    def cancel() -> None:
        started.wait(30)
        run.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled):
        list(run)
    assert agent.engine._contexts == []  # type: ignore[attr-defined]


def test_closing_the_agent_ends_all_of_them(opened: Opened) -> None:
    agent = opened(add)
    run = agent.ask_many(QUESTIONS * 50, n_parallel=3)
    next(run)
    agent.close()
    with pytest.raises(Closed):
        list(run)


def test_they_are_one_run_in_the_queue(opened: Opened) -> None:
    agent = opened(add, budget=Budget(max_subgoals=1, max_actions_per_turn=1))
    run = agent.ask_many(QUESTIONS, n_parallel=2)
    next(run)
    with pytest.raises(ValueError, match="neither read"):
        agent.ask("What is 1?")
    assert len(list(run)) == len(QUESTIONS) - 1
    assert agent.ask("What is 1?").steps


def test_tasks_are_taken_as_there_is_room(opened: Opened) -> None:
    taken = []

    def tasks() -> Iterator[str]:
        for question in QUESTIONS * 30:
            taken.append(question)
            yield question

    agent = opened(add, budget=Budget(max_subgoals=1, max_actions_per_turn=1))
    run = agent.ask_many(tasks(), n_parallel=2)
    next(run)
    assert len(taken) < 30
    run.close()


def test_another_engine_answers_in_turn(opened: Opened) -> None:
    agent = opened(add)
    texts = ("Subgoal 1: Add.", "R1 = add(one, two)", "Subgoal 1: Add.", "R1 = add(three, three)")
    other = agent.with_engine(ScriptedEngine(*texts))
    assert [str(found.answer) for found in other.ask_many(["What?", "And?"], n_parallel=8)] == ["3", "6"]


def test_what_a_run_changes_for_the_next_is_worked_on_in_turn(opened: Opened) -> None:
    class Page(Resource):
        is_changed = True

    short = Budget(max_subgoals=1, max_actions_per_turn=1)
    agent = opened(add, budget=short)
    for asked, n_engines in ((agent, 1), (agent.with_resource(Page()), 0)):
        with mock.patch.object(parallel, "ParallelEngine", wraps=parallel.ParallelEngine) as made:
            assert len(list(asked.ask_many(QUESTIONS, n_parallel=4))) == len(QUESTIONS)
        assert made.call_count == n_engines


def test_no_task_and_no_parallel(opened: Opened) -> None:
    agent = opened(add)
    assert list(agent.ask_many([])) == []
    with pytest.raises(ValueError, match="at least 1, not 0"):
        agent.ask_many(["What?"], n_parallel=0)


@pytest.mark.model
def test_real_weights_answer_in_parallel_as_they_do_alone(nano_path: Path) -> None:
    """Few short tasks, so that flash attention takes the same way: 64 queries and more it works on in tiles."""
    questions = [
        "A shop has 12 apples and sells 5. How many are left?",
        "Ann has 3 cats and gets 4 more. How many cats has she?",
        "Tom reads 6 pages a day for 7 days. How many pages is that?",
    ]
    assert nano_path.exists()
    with Agent.open("nano", n_threads=1) as agent:
        alone = [str(found.answer) for found in agent.ask_many(questions, n_parallel=1)]
        found = [list(agent.ask_many(questions, n_parallel=2)) for _ in range(2)]
        assert [without_times(one) for one in found[0]] == [without_times(one) for one in found[1]]
        assert [str(one.answer) for one in found[0]] == alone
