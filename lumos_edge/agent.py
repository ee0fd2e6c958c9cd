"""The agent: the only loop, and the only place where budgets are checked.

onetime     planner: all subgoals -> grounder: all actions -> executor: in order            (2 completions)
iterative   repeat {planner: next subgoal or stop -> grounder -> executor}, each result told to the planner
            (2 n + 1 completions for n subgoals)

Source of both: Agent Lumos, arXiv 2311.05657, section 2.3.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lumos_edge.engine import Completion, Engine, Sampling
from lumos_edge.errors import (
    BudgetExceeded,
    Cancelled,
    DeadlineExceeded,
    NoAnswer,
    RepeatedActions,
    StepError,
    TooManyActions,
    TooManySubgoals,
    TooManyTokens,
)
from lumos_edge.executor import Executor
from lumos_edge.grounder import Grounder
from lumos_edge.planner import Planner
from lumos_edge.templates import PromptTemplate
from lumos_edge.toolbox import Toolbox, ValueTypes
from lumos_edge.trajectory import (
    Action,
    Attempt,
    Event,
    Executed,
    Finished,
    Formulation,
    Grounded,
    Planned,
    Result,
    Step,
    Subgoal,
    Task,
    Trajectory,
)
from lumos_edge.values import Value

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """The limits of a run. `max_tokens` is of all completions together; `timeout_s` 0 means none.

    A grounder turn has at most `max_actions_per_turn` actions, and two more for each further subgoal that it grounds.
    """

    max_subgoals: int = 8
    max_actions: int = 64
    max_tokens: int = 4096
    timeout_s: float = 0.0
    max_actions_per_turn: int = 6

    def __post_init__(self) -> None:
        for name in ("max_subgoals", "max_actions", "max_tokens", "max_actions_per_turn"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.timeout_s < 0:
            raise ValueError(f"timeout_s must not be negative: {self.timeout_s}")


MAX_QUESTION = 20_000
"""Characters that a question may have; longer ones fit no context window that a laptop has room for."""

_PLANNER_TOKENS = {"iterative": 96, "onetime": 384}
_GROUNDER_TOKENS = {"iterative": 192, "onetime": 384}


class Agent:
    """Answers tasks with a planner and a grounder on one engine. One run at a time."""

    def __init__(
        self,
        engine: Engine,
        planner_template: PromptTemplate,
        grounder_template: PromptTemplate,
        toolbox: Toolbox,
        *,
        formulation: Formulation = "onetime",
        budget: Budget | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.engine = engine
        self.planner_template = planner_template
        self.grounder_template = grounder_template
        self.toolbox = toolbox
        self.formulation: Formulation = formulation
        self.budget = budget or Budget()
        self.sampling = sampling or Sampling()
        self.planner = Planner(
            engine, planner_template, toolbox, sampling=self.sampling, max_tokens=_PLANNER_TOKENS[formulation]
        )
        self.grounder = Grounder(
            engine,
            grounder_template,
            toolbox,
            sampling=self.sampling,
            max_tokens=_GROUNDER_TOKENS[formulation],
        )
        self.executor = Executor(toolbox)
        self._cancelled = threading.Event()

    def with_engine(self, engine: Engine) -> Agent:
        """The same agent on another engine, such as one that records this one's completions."""
        return Agent(
            engine,
            self.planner_template,
            self.grounder_template,
            self.toolbox,
            formulation=self.formulation,
            budget=self.budget,
            sampling=self.sampling,
        )

    def ask(self, task: Task) -> Trajectory:
        """The trajectory of a run; its `answer` is None and its `error` says why when there is none.

        Raises what `run` raises.
        """
        trajectory = None
        for event in self.run(task):
            if isinstance(event, Finished):
                trajectory = event.trajectory
        assert trajectory is not None
        return trajectory

    def run(self, task: Task) -> Iterator[Event]:
        """The events of a run as they happen, `Finished` last.

        A `BudgetExceeded` is raised after its `Finished`. Other errors are raised as they come: ValueError for an
        empty or overlong question, Cancelled, EngineError.
        """
        if not task.question.strip():
            raise ValueError("the question is empty")
        if len(task.question) > MAX_QUESTION:
            raise ValueError(
                f"the question has {len(task.question):,} characters, at most {MAX_QUESTION:,} are taken"
            )
        self._cancelled.clear()
        run = _Run(self, task)
        try:
            yield from run.within_time(run.onetime() if self.formulation == "onetime" else run.iterative())
        except StepError as error:
            yield Finished(run.trajectory(None, type(error).__name__, str(error)))
        except BudgetExceeded as error:
            yield Finished(run.trajectory(None, type(error).__name__, str(error)))
            raise

    def cancel(self) -> None:
        """Make the run in progress raise `Cancelled`; safe from any thread."""
        self._cancelled.set()
        self.engine.cancel()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` after a `cancel`: between completions the engine has nothing to stop."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled")


@dataclass
class _Run:
    """The state of one run."""

    agent: Agent
    task: Task
    steps: list[Step] = field(default_factory=list)
    bindings: dict[str, Value] = field(default_factory=dict)
    n_actions: int = 0
    n_tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def onetime(self) -> Iterator[Event]:
        """Plan everything, ground everything, execute."""
        subgoals = yield from self._counted(
            self.agent.planner.plan(self.task, self.agent.budget.max_subgoals)
        )
        yield Planned(subgoals)
        yield from self._step(subgoals)
        yield from self._finish(self._no_result())

    def iterative(self) -> Iterator[Event]:
        """Subgoal by subgoal, each with the results of those before it."""
        n_stale = 0
        while len(self.steps) < self.agent.budget.max_subgoals:
            subgoal = yield from self._counted(self.agent.planner.next_subgoal(self.task, self.steps))
            if subgoal is None:
                yield from self._finish(self._no_result())
                return
            yield Planned((subgoal,))
            is_new = yield from self._step((subgoal,))
            n_stale = 0 if is_new else n_stale + 1
            if n_stale == 2:
                yield from self._finish(
                    RepeatedActions("two subgoals in a row only repeated earlier actions"), is_cut_short=True
                )
                return
        # As in the paper, a planner that never stops has still computed something: its last result is the answer.
        yield from self._finish(
            TooManySubgoals(f"the planner did not stop within {self.agent.budget.max_subgoals} subgoals"),
            is_cut_short=True,
        )

    def within_time(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; a completion that outlasts the time limit is cancelled, and raises DeadlineExceeded."""
        if not self.agent.budget.timeout_s:
            yield from events
            return
        timer = threading.Timer(self.agent.budget.timeout_s, self.agent.engine.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield from events
        except Cancelled:
            self._check_budget()
            raise
        finally:
            timer.cancel()

    def trajectory(self, answer: Value | None, error: str = "", message: str = "") -> Trajectory:
        """The run so far as a record."""
        return Trajectory(self.task, self.agent.formulation, tuple(self.steps), answer, error, message)

    # -- one step ---------------------------------------------------------------------------------------------------

    def _step(self, subgoals: tuple[Subgoal, ...]) -> Generator[Event, None, bool]:
        """Ground and execute, once more when that fails; returns whether any action was a new one."""
        step = Step(subgoals, ())
        is_new = False
        for _ in range(2):
            attempt, values, attempt_is_new = yield from self._attempt(step)
            is_new |= attempt_is_new
            step = replace(step, attempts=(*step.attempts, attempt))
            if not attempt.failure:
                self.bindings |= values
                break
        self.steps.append(step)
        return is_new

    def _attempt(self, step: Step) -> Generator[Event, None, tuple[Attempt, dict[str, Value], bool]]:
        agent = self.agent
        types: dict[str, ValueTypes] = {
            name: frozenset({type(value)}) for name, value in self.bindings.items()
        }
        per_turn = agent.budget.max_actions_per_turn + 2 * (len(step.subgoals) - 1)
        grounding = yield from agent.grounder.ground(
            self.task, self.steps, step, types, formulation=agent.formulation, max_actions=per_turn
        )
        self._count(grounding.completion)
        yield Grounded(step.subgoals, grounding.actions, grounding.error)
        values: dict[str, Value] = {}
        results: list[Result] = []
        is_new = False
        for action in grounding.actions:
            self._check_budget()
            is_new |= self._remember(action)
            result = agent.executor.execute(action, self.bindings | values, self.task)
            results.append(result)
            yield Executed(action, result)
            if result.error:
                break
            values |= dict(zip(action.targets, result.values, strict=True))
        return Attempt(grounding.actions, tuple(results), grounding.error), values, is_new

    def _remember(self, action: Action) -> bool:
        """Count the action; returns whether it was not executed before in this run."""
        self.n_actions += 1
        if self.n_actions > self.agent.budget.max_actions:
            raise TooManyActions(f"{self.agent.budget.max_actions} actions were executed without an answer")
        call = (action.tool, action.arguments)
        is_new = call not in self.seen
        self.seen.add(call)
        return is_new

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, failure: Exception, *, is_cut_short: bool = False) -> Iterator[Event]:
        """The answer out of the last result, or that failure when there is none.

        Where the planner did not stop by itself, the trajectory's message says why the run ended.
        """
        answer = self._answer()
        if answer is None:
            raise failure
        message = f"{failure}; the last result is the answer" if is_cut_short else ""
        yield Finished(self.trajectory(answer, message=message))

    def _answer(self) -> Value | None:
        """`Output` where the grounder named it, else the last action's last result."""
        if "Output" in self.bindings:
            return self.bindings["Output"]
        done = [step.done for step in self.steps if step.done]
        return done[-1].results[-1].values[-1] if done else None

    def _no_result(self) -> NoAnswer:
        failures = [step.attempts[-1].failure for step in self.steps]
        return NoAnswer("; ".join(failures) or "the planner stopped before the first subgoal")

    # -- budgets ----------------------------------------------------------------------------------------------------

    def _counted(self, text: Generator[Event, None, tuple[T, Completion]]) -> Generator[Event, None, T]:
        meaning, completion = yield from text
        self._count(completion)
        return meaning

    def _count(self, completion: Completion) -> None:
        self.n_tokens += completion.n_completion
        if self.n_tokens > self.agent.budget.max_tokens:
            raise TooManyTokens(
                f"{self.n_tokens} tokens were written, the limit is {self.agent.budget.max_tokens}"
            )
        self._check_budget()

    def _check_budget(self) -> None:
        self.agent.check_cancelled()
        timeout_s = self.agent.budget.timeout_s
        elapsed_s = time.monotonic() - self.started
        if timeout_s and elapsed_s > timeout_s:
            raise DeadlineExceeded(f"the run took {elapsed_s:.1f} s, the limit is {timeout_s:g} s")
