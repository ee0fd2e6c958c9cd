"""The agent: the only loop, and the only place where budgets are checked.

onetime     planner: all subgoals -> grounder: all actions -> executor: in order            (2 completions)
iterative   repeat {planner: next subgoal or stop -> grounder -> executor}, each result told to the planner
            (2 n + 1 completions for n subgoals)

Source of both: Agent Lumos, arXiv 2311.05657, section 2.3.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from lumos_edge import loading
from lumos_edge.engine import N_PARALLEL, Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.engine.recorded import Recorded, RecordingEngine
from lumos_edge.errors import (
    BudgetExceeded,
    Cancelled,
    Closed,
    ContextWindowExceeded,
    DeadlineExceeded,
    GrammarError,
    NoAnswer,
    RepeatedActions,
    StepError,
    TooManyActions,
    TooManySubgoals,
    TooManyTokens,
)
from lumos_edge.executor import Executor
from lumos_edge.grounder import Grounder
from lumos_edge.loading import ModelChoice
from lumos_edge.pictures import Picture, captioned
from lumos_edge.planner import Planner
from lumos_edge.reader import Reader, is_yes_no, results_as_passages
from lumos_edge.runs import Run, RunQueue, stopping_after
from lumos_edge.templates import PromptTemplate
from lumos_edge.toolbox import Resource, Tool, Toolbox, ValueTypes
from lumos_edge.trajectory import (
    Action,
    Attempt,
    Event,
    Executed,
    Finished,
    Formulation,
    Grounded,
    Module,
    Planned,
    Result,
    Step,
    Subgoal,
    Task,
    Trajectory,
)
from lumos_edge.values import Answer, Boolean, Value

if TYPE_CHECKING:
    from lumos_edge.engine.binding import Model
    from lumos_edge.engine.parallel import ParallelEngine

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
        if not self.timeout_s >= 0:  # nor nan
            raise ValueError(f"timeout_s must be 0 or more, not {self.timeout_s}")


MAX_QUESTION = 20_000
"""Characters that a question may have; longer ones fit no context window that a laptop has room for."""

_PLANNER_TOKENS = {"iterative": 96, "onetime": 384}
_GROUNDER_TOKENS = {"iterative": 192, "onetime": 384}


class Agent:
    """Answers tasks with a planner and a grounder on one engine.

    Any thread may use it: one run goes on at a time, the others wait in the order in which they came. `open` loads the
    weights, and `close`, or the end of a `with` block, gives their memory back.
    """

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
        reader: Reader | None = None,
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
        self.reader_engine = _ReaderEngine(engine)
        self.reader = reader and replace(reader, engine=self.reader_engine)
        self.executor = Executor(toolbox.with_resource(self.reader) if self.reader else toolbox)
        self._queue = RunQueue()
        self._resources = ExitStack()
        self._model: Model | None = None

    @classmethod
    def open(
        cls,
        model: str | Path | ModelChoice = "",
        *,
        tools: Sequence[Callable[..., Any] | Tool | str | Path] = (),
        resources: Sequence[Resource] = (),
        knowledge: Sequence[str | Path] = (),
        formulation: Formulation | None = None,
        budget: Budget | None = None,
        sampling: Sampling | None = None,
        is_extractive: bool = True,
        may_recall: bool = False,
        n_ctx: int = 0,
        n_threads: int = 0,
        beside: Agent | None = None,
    ) -> Agent:
        """An agent with its weights loaded; opens no socket (`lumos_edge.pull` fetches a model pack) but to a server.

        `model` names a pulled model pack ("" is the default one), or is the path of a GGUF file, or the address of a
        server that runs the weights (`http://HOST:PORT`: llama-server, vLLM, llama_cpp.server). `tools` come beside
        the pack's own: plain typed functions (`functions.tool_of` says what their annotations mean), names of tool
        packs, paths of Python files; `resources` are what tools work on. With `knowledge`, names of installed
        knowledge packs or `.sqlite` files that `build_knowledge` made, questions are answered from their passages.

        `n_ctx` tokens is the context window of each module, 0 takes the pack's. `n_threads` 0 measures what is
        fastest, once for each model. `beside` is an open agent on the same base model, whose loaded weights this one
        shares; they are freed when the last of them is closed.

        A reader, where a tool needs one, answers with spans of passages, or with `is_extractive` False in its own
        words; `may_recall` lets it answer what no passage does from memory.

        An adapter that was trained for another formulation than the run's is a UserWarning.

        Cost: some 0.5 s for a model of 1 GB, next to nothing beside another; memory is the file's size (mapped, once)
        and two KV caches. Raises ModelNotFound, KnowledgeNotFound, ModelLoadError, AdapterMismatch, ToolPackError,
        TypeError (a function that is no tool), ValueError (`beside` has other weights), Closed; for a server
        ServerError and OfflineError.
        """
        choice = loading.choose(model, n_ctx)
        with ExitStack() as opened:
            if knowledge:
                choice = loading.with_tools(choice, ("qa",))
                resources = [*resources, opened.enter_context(closing(loading.open_knowledge(knowledge)))]
            toolbox = loading.load_toolbox(choice, tools, resources)
            shared = beside._shared_model(choice) if beside and not choice.server else None
            looking = choice if toolbox.needs(Picture) else replace(choice, projector=None)
            loaded = loading.load_modules(looking, n_threads, shared)
            opened.callback(loaded.engine.close)
            chosen = formulation or choice.formulation or loaded.formulation
            loaded.check_formulation(chosen)
            loaded.keep_prefixes(toolbox, chosen)
            agent = cls(
                loaded.engine,
                loaded.planner_template,
                loaded.grounder_template,
                toolbox,
                formulation=chosen,
                budget=budget,
                sampling=sampling,
                reader=loaded.reader(sampling or Sampling(), is_extractive, may_recall)
                if toolbox.needs(Reader)
                else None,
            )
            agent._model = loaded.model
            agent._resources = opened.pop_all()
        return agent

    def _shared_model(self, choice: ModelChoice) -> Model:
        if self._queue.is_closed:
            raise Closed("the agent to share with is closed")
        if self._model is None or self._model.path != choice.base:
            raise ValueError(f"{choice.base} cannot be shared with an agent on other weights")
        return self._model

    def close(self) -> None:
        """End what runs and what waits (with `Closed`), and give the memory back. Does nothing the second time.

        Returns within milliseconds; a tool that is inside a C function is left behind.
        """
        self._queue.close()
        self._resources.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def with_engine(self, engine: Engine, sampling: Sampling | None = None) -> Agent:
        """The same agent on another engine, such as one that records this one's completions; its runs queue here.

        `sampling` is planner's and grounder's, when it is another one.
        """
        return self._with(engine, self.toolbox, sampling or self.sampling)

    def with_resource(self, resource: Resource) -> Agent:
        """The same agent whose tools work on this resource in the place of that of its class; its runs queue here."""
        return self._with(self.engine, self.toolbox.with_resource(resource), self.sampling)

    def _with(self, engine: Engine, toolbox: Toolbox, sampling: Sampling) -> Agent:
        other = Agent(
            engine,
            self.planner_template,
            self.grounder_template,
            toolbox,
            formulation=self.formulation,
            budget=self.budget,
            sampling=sampling,
            reader=self.reader,
        )
        other._queue = self._queue
        return other

    def ask(self, task: Task | str) -> Trajectory:
        """The trajectory of a run; its `answer` is None and its `error` says why when there is none.

        Raises what `run` and its events raise.
        """
        trajectory = None
        for event in self.run(task):
            if isinstance(event, Finished):
                trajectory = event.trajectory
        assert trajectory is not None
        return trajectory

    def ask_many(self, tasks: Iterable[Task | str], *, n_parallel: int = N_PARALLEL) -> Run[Trajectory]:
        """The trajectories of many tasks in their order, `n_parallel` of them worked on at a time.

        Their completions are decoded together, which is faster than in turn, in one thread: no two tools work at once,
        and the same tasks give the same answers. A task is taken when there is room for it. What ends one alone (an
        exceeded budget or context window, a question that cannot be one) is its trajectory's `error`. Each has the
        agent's budget; its time limit goes on while the others are worked on. All are one run in the agent's queue.

        Memory: `ParallelEngine` says it. On an engine other than a LlamaEngine, and on what a run changes for the next
        (a page, a shop), they are answered in turn. Raises
        ValueError for `n_parallel` below 1; reading raises Cancelled, Closed, EngineError, ValueError (see `run`).
        """
        requests = ((Task(task) if isinstance(task, str) else task, self.sampling) for task in tasks)
        many = _Many(self, requests, n_parallel)
        return Run(self._queue, many.trajectories, many.stop)

    def run_many(self, requests: Iterable[tuple[Task, Sampling]], n_parallel: int) -> Run[Answered]:
        """What `ask_many` does, for tasks with a sampling each, with what every run cost."""
        many = _Many(self, requests, n_parallel)
        return Run(self._queue, many.run, many.stop)

    def run(self, task: Task | str) -> Run[Event]:
        """The events of a run as they happen, `Finished` last. Raises ValueError for an empty or overlong question.

        The events raise `BudgetExceeded` after its `Finished`; other errors as they come: Cancelled, Closed,
        EngineError, ValueError (this thread is in the middle of another run of this agent, and would wait for ever).
        """
        task = Task(task) if isinstance(task, str) else task
        if problem := _problem(task):
            raise ValueError(problem)
        return Run(self._queue, lambda: self._events(_Run(self, task)), self._stop)

    def _stop(self) -> None:
        self.engine.cancel()
        self.executor.cancel()

    def _events(self, run: _Run) -> Generator[Event, None, None]:
        try:
            yield from run.within_time(run.events())
        except StepError as error:
            yield Finished(run.trajectory(None, type(error).__name__, str(error)))
        except BudgetExceeded as error:
            yield Finished(run.trajectory(None, type(error).__name__, str(error)))
            raise

    def cancel(self) -> None:
        """Make the run in progress raise `Cancelled`; safe from any thread, and without one nothing happens.

        Runs that wait for their turn go on: `Run.cancel` cancels a certain one.
        """
        self._queue.cancel()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the run in progress is: a `stop` between two completions had nothing to stop."""
        if self._queue.is_cancelled:
            raise Cancelled("cancelled")


def _problem(task: Task) -> str:
    """Why the task's question cannot be one; "" when it can."""
    if not task.question.strip():
        return "the question is empty"
    if len(task.question) > MAX_QUESTION:
        return f"the question has {len(task.question):,} characters, at most {MAX_QUESTION:,} are taken"
    return ""


@dataclass(frozen=True)
class Answered:
    """One run of many: its trajectory, what its modules wrote, and the seconds from its beginning to its end."""

    trajectory: Trajectory
    completions: tuple[Recorded, ...]
    seconds: float


class _Many:
    """Runs of an agent that are worked on together."""

    def __init__(self, agent: Agent, requests: Iterable[tuple[Task, Sampling]], n_parallel: int) -> None:
        if n_parallel < 1:
            raise ValueError(f"n_parallel must be at least 1, not {n_parallel}")
        self._agent = agent
        self._requests = requests
        self._n_parallel = n_parallel
        self._parallel: ParallelEngine | None = None
        self._running: list[Agent] = []

    def run(self) -> Generator[Answered, None, None]:
        """The runs in the order of the requests."""
        from lumos_edge.engine.llama import LlamaEngine
        from lumos_edge.engine.parallel import ParallelEngine, in_turn

        works = (functools.partial(self._work, task, sampling) for task, sampling in self._requests)
        engine = self._agent.engine
        is_alone = self._n_parallel == 1 or self._agent.toolbox.is_changed
        if is_alone or not isinstance(engine, LlamaEngine):
            yield from in_turn(engine, works)
            return
        with closing(ParallelEngine(engine, self._n_parallel)) as self._parallel:
            yield from self._parallel.run(works)

    def trajectories(self) -> Generator[Trajectory, None, None]:
        """Their trajectories alone."""
        with closing(self.run()) as runs:
            for answered in runs:
                yield answered.trajectory

    def stop(self) -> None:
        """Stop what is being evaluated, and the tool that works."""
        (self._parallel or self._agent.engine).cancel()
        for agent in [*self._running]:
            agent.executor.cancel()

    def _work(self, task: Task, sampling: Sampling, engine: Engine) -> Generator[Event, None, Answered]:
        """One run on an engine; what ends it alone is its trajectory's error."""
        completions: list[Recorded] = []
        agent = self._agent.with_engine(RecordingEngine(engine, completions.append), sampling)
        run = _Run(agent, task)
        trajectory = run.trajectory(None, ValueError.__name__, _problem(task))
        self._running.append(agent)
        try:
            for event in agent._events(run) if not _problem(task) else ():
                if isinstance(event, Finished):
                    trajectory = event.trajectory
                yield event
        except BudgetExceeded:
            pass  # its trajectory says so
        except (ContextWindowExceeded, GrammarError) as error:
            trajectory = run.trajectory(None, type(error).__name__, str(error))
        finally:
            self._running.remove(agent)
        return Answered(trajectory, tuple(completions), time.monotonic() - run.started)


class _ReaderEngine:
    """The agent's engine as its reader sees it: tokens are counted, and a run whose budget is spent asks nothing more.

    A tool asks a reader several times, and an engine forgets that it was cancelled when a completion begins.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.check: Callable[[], None] = lambda: None
        self._n_tokens = 0

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`. Raises BudgetExceeded, too."""
        self.check()
        completion = yield from self._engine.complete(
            module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
        )
        self._n_tokens += completion.n_completion
        return completion

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        self._engine.cancel()

    def take_n_tokens(self) -> int:
        """The tokens that were written since this was last asked."""
        n_tokens, self._n_tokens = self._n_tokens, 0
        return n_tokens


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

    def __post_init__(self) -> None:
        self.agent.reader_engine.check = self._check_budget

    def events(self) -> Iterator[Event]:
        """What happens, in the agent's formulation."""
        self._describe_picture()
        yield from self.onetime() if self.agent.formulation == "onetime" else self.iterative()

    def _describe_picture(self) -> None:
        """Of a picture without a caption the reader that sees it writes one: the paper's planner was given one."""
        reader = self.agent.reader
        for picture in self.agent.toolbox.resources:
            if (
                isinstance(picture, Picture)
                and picture.image
                and not picture.caption
                and reader
                and reader.sees
            ):
                self.task = captioned(self.task, reader.caption(picture.image))
                self._count_tokens(self.agent.reader_engine.take_n_tokens())

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
        try:
            with stopping_after(self.agent.budget.timeout_s, self.agent.engine.cancel):
                yield from events
        except Cancelled:
            self._check_budget()
            raise

    def trajectory(self, answer: Value | None, error: str = "", message: str = "") -> Trajectory:
        """The run so far as a record."""
        return Trajectory(self.task, self.agent.formulation, tuple(self.steps), answer, error, message)

    # -- one step ---------------------------------------------------------------------------------------------------

    def _step(self, subgoals: tuple[Subgoal, ...]) -> Generator[Event, None, bool]:
        """Ground and execute, once more when that fails; returns whether any action was a new one.

        A small model that is told of its error often writes the same again. Then the grammar of a third attempt lacks
        the tool that failed.
        """
        step = Step(subgoals, ())
        is_new = False
        without = ""
        while len(step.attempts) < 2 or without:
            attempt, values, attempt_is_new = yield from self._attempt(step, without)
            is_new |= attempt_is_new
            step = replace(step, attempts=(*step.attempts, attempt))
            if not attempt.failure:
                self.bindings |= values
                break
            without = "" if without else step.repeated_failure
        self.steps.append(step)
        return is_new

    def _attempt(
        self, step: Step, without: str
    ) -> Generator[Event, None, tuple[Attempt, dict[str, Value], bool]]:
        agent = self.agent
        types: dict[str, ValueTypes] = {
            name: frozenset({type(value)}) for name, value in self.bindings.items()
        }
        per_turn = agent.budget.max_actions_per_turn + 2 * (len(step.subgoals) - 1)
        grounding = yield from agent.grounder.ground(
            self.task,
            self.steps,
            step,
            types,
            formulation=agent.formulation,
            max_actions=per_turn,
            without=without,
        )
        self._count(grounding.completion)
        yield Grounded(step.subgoals, grounding.actions, grounding.error)
        values: dict[str, Value] = {}
        results: list[Result] = []
        try:
            is_new = yield from self._execute(step, grounding.actions, values, results)
        except BudgetExceeded:
            # What was executed stays in the trajectory, where a replay finds it.
            attempt = Attempt(grounding.actions, tuple(results))
            self.steps.append(replace(step, attempts=(*step.attempts, attempt)))
            raise
        return Attempt(grounding.actions, tuple(results), grounding.error), values, is_new

    def _execute(
        self, step: Step, actions: tuple[Action, ...], values: dict[str, Value], results: list[Result]
    ) -> Generator[Event, None, bool]:
        """Execute until one fails, filling in values and results; returns whether any action was a new one."""
        is_new = False
        for action in actions:
            self._check_budget()
            is_new |= self._remember(action)
            result = self.agent.executor.execute(action, self.bindings | values, self.task, step.subgoals)
            # A replay takes a tool's result from the trace, with what its reader wrote.
            result = replace(result, n_tokens=result.n_tokens + self.agent.reader_engine.take_n_tokens())
            results.append(result)
            yield Executed(action, result)
            self._count_tokens(result.n_tokens)
            if result.error:
                break
            values |= dict(zip(action.targets, result.values, strict=True))
        return is_new

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
        answer = self._concluded(answer)
        message = f"{failure}; the last result is the answer" if is_cut_short else ""
        yield Finished(self.trajectory(answer, message=message))

    def _answer(self) -> Value | None:
        """`Output` where the grounder named it, else the last action's last result."""
        if "Output" in self.bindings:
            return self.bindings["Output"]
        done = [step.done for step in self.steps if step.done]
        return done[-1].results[-1].values[-1] if done else None

    def _concluded(self, last: Value) -> Value:
        """The last result; where a reader answered, its answer to the question out of all results, as in the paper.

        A yes/no question is answered with yes or no. Raises NoAnswer where the reader found none.
        """
        reader = self.agent.reader
        if reader is None or not any(isinstance(value, Answer) for value in self.bindings.values()):
            return last
        must_decide = is_yes_no(self.task.question)
        if self.agent.formulation == "onetime" and not must_decide:
            answer = last
        elif must_decide and isinstance(last, Boolean):
            answer = Answer("Yes" if last.value else "No", self.task.question)
        else:
            context = results_as_passages(self.steps)
            answer = reader.answer(self.task.question, context, must_decide=must_decide)
            self._count_tokens(self.agent.reader_engine.take_n_tokens())
        if not isinstance(answer, Answer):
            return answer
        if not answer.is_found:
            raise NoAnswer("the passages that were found do not answer the question")
        found = [value for value in self.bindings.values() if isinstance(value, Answer)]
        cited = dict.fromkeys(passage for value in found for passage in value.passages)
        return replace(answer, passages=tuple(cited))

    def _no_result(self) -> NoAnswer:
        failures = [step.attempts[-1].failure for step in self.steps]
        return NoAnswer("; ".join(failures) or "the planner stopped before the first subgoal")

    # -- budgets ----------------------------------------------------------------------------------------------------

    def _counted(self, text: Generator[Event, None, tuple[T, Completion]]) -> Generator[Event, None, T]:
        meaning, completion = yield from text
        self._count(completion)
        return meaning

    def _count(self, completion: Completion) -> None:
        self._count_tokens(completion.n_completion)

    def _count_tokens(self, n_tokens: int) -> None:
        self.n_tokens += n_tokens
        if self.n_tokens > self.agent.budget.max_tokens:
            raise TooManyTokens(
                f"{self.n_tokens} tokens were written, the limit is {self.agent.budget.max_tokens}"
            )
        self._check_budget()

    def _check_budget(self) -> None:
        timeout_s = self.agent.budget.timeout_s
        elapsed_s = time.monotonic() - self.started
        if timeout_s and elapsed_s > timeout_s:
            raise DeadlineExceeded(f"the run took {elapsed_s:.1f} s, the limit is {timeout_s:g} s")
        self.agent.check_cancelled()
