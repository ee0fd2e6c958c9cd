"""The records of a run: what was asked, planned, grounded and executed, frozen, and their JSON form both ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from lumos_edge import values
from lumos_edge.knowledge.passage import Passage
from lumos_edge.values import Answer, Value

Formulation: TypeAlias = Literal["iterative", "onetime"]
Module: TypeAlias = Literal["planner", "grounder", "reader"]

FORMULATIONS: tuple[Formulation, ...] = get_args(Formulation)
MODULES: tuple[Module, ...] = get_args(Module)


@dataclass(frozen=True)
class Task:
    """What the user asks."""

    question: str


@dataclass(frozen=True)
class Subgoal:
    """One step of a plan in words; numbers count from 1."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"Subgoal {self.number}: {self.text}"


@dataclass(frozen=True)
class Action:
    """`R1 = Calculator(48 / 2)`; with an empty `tool` the alias `Output = R9`.

    `arguments` is the text between the parentheses; a `Toolbox` gives it its types.
    """

    targets: tuple[str, ...]
    tool: str
    arguments: str

    def __str__(self) -> str:
        call = f"{self.tool}({self.arguments})" if self.tool else self.arguments
        return f"{', '.join(self.targets)} = {call}"


@dataclass(frozen=True)
class Result:
    """What came of an action: one value for each target, or an error (a class name out of `errors` and its message).

    `n_tokens` were decoded by a reader that the tool asked.
    """

    values: tuple[Value, ...] = ()
    error: str = ""
    message: str = ""
    elapsed_s: float = field(default=0.0, compare=False)
    n_tokens: int = 0

    def __str__(self) -> str:
        return ", ".join(map(str, self.values)) if not self.error else f"{self.error}: {self.message}"


@dataclass(frozen=True)
class Attempt:
    """The actions that the grounder wrote for a step, and the results of those that were executed.

    `error` says why the text itself was no sequence of actions; without it, the last result says how it went.
    """

    actions: tuple[Action, ...]
    results: tuple[Result, ...]
    error: str = ""

    @property
    def failure(self) -> str:
        """Why the attempt failed, with the action at fault; empty when it did not."""
        if self.error:
            return self.error
        for action, result in zip(self.actions, self.results, strict=False):
            if result.error:
                return f"{action} failed: {result.message}"
        return "" if self.results else "there was no action"


@dataclass(frozen=True)
class Step:
    """Subgoals that were grounded together (one in the iterative formulation, all in the onetime one)."""

    subgoals: tuple[Subgoal, ...]
    attempts: tuple[Attempt, ...]

    @property
    def done(self) -> Attempt | None:
        """The attempt that worked, if one did: always the last."""
        last = self.attempts[-1] if self.attempts else None
        return last if last and not last.failure else None

    @property
    def repeated_failure(self) -> str:
        """The tool that failed in the last two attempts, if the actions of both are the same; else empty."""
        if len(self.attempts) < 2 or self.attempts[-1].actions != self.attempts[-2].actions:
            return ""
        n_executed = len(self.attempts[-1].results)
        return self.attempts[-1].actions[n_executed - 1].tool if n_executed else ""


@dataclass(frozen=True)
class Trajectory:
    """A whole run. `answer` is None when there is none; `error` (a class name) and `message` then say why.

    With an answer, `message` says why the run ended when the planner did not end it.
    """

    task: Task
    formulation: Formulation
    steps: tuple[Step, ...]
    answer: Value | None = None
    error: str = ""
    message: str = ""

    @property
    def sources(self) -> tuple[Passage, ...]:
        """The passages that the answer rests on: its own, or where it was computed those of the answers before it."""
        if isinstance(self.answer, Answer) and self.answer.passages:
            return self.answer.passages
        results = (result for step in self.steps if step.done for result in step.done.results)
        answers = (value for result in results for value in result.values if isinstance(value, Answer))
        return tuple(dict.fromkeys(passage for answer in answers for passage in answer.passages))


@dataclass(frozen=True)
class TextPiece:
    """A module wrote this much more text."""

    module: Module
    text: str


@dataclass(frozen=True)
class Planned:
    """The planner set these subgoals."""

    subgoals: tuple[Subgoal, ...]


@dataclass(frozen=True)
class Grounded:
    """The grounder turned subgoals into these actions; `error` when its text was no sequence of actions."""

    subgoals: tuple[Subgoal, ...]
    actions: tuple[Action, ...]
    error: str = ""


@dataclass(frozen=True)
class Executed:
    """The executor is through with an action."""

    action: Action
    result: Result


@dataclass(frozen=True)
class Finished:
    """The run is over."""

    trajectory: Trajectory


Event: TypeAlias = TextPiece | Planned | Grounded | Executed | Finished
"""What happens in a run, as `Agent.run` yields it; `Finished` is the last."""


def write_json(trajectory: Trajectory) -> dict[str, Any]:
    """The trajectory as plain JSON data; `read_json` is the inverse."""
    answer = trajectory.answer
    return {
        "question": trajectory.task.question,
        "formulation": trajectory.formulation,
        "steps": [_write_step(step) for step in trajectory.steps],
        "answer": None if answer is None else values.write_json(answer),
        "error": trajectory.error,
        "message": trajectory.message,
    }


def read_json(data: dict[str, Any]) -> Trajectory:
    """The inverse of `write_json`; raises KeyError or ValueError for other data."""
    answer = data["answer"]
    return Trajectory(
        Task(data["question"]),
        data["formulation"],
        tuple(_read_step(step) for step in data["steps"]),
        None if answer is None else values.read_json(answer),
        data["error"],
        data["message"],
    )


def _write_step(step: Step) -> dict[str, Any]:
    return {
        "subgoals": [{"number": s.number, "text": s.text} for s in step.subgoals],
        "attempts": [
            {
                "actions": [
                    {"targets": list(a.targets), "tool": a.tool, "arguments": a.arguments}
                    for a in attempt.actions
                ],
                "results": [_write_result(result) for result in attempt.results],
                "error": attempt.error,
            }
            for attempt in step.attempts
        ],
    }


def _read_step(data: dict[str, Any]) -> Step:
    return Step(
        tuple(Subgoal(s["number"], s["text"]) for s in data["subgoals"]),
        tuple(
            Attempt(
                tuple(Action(tuple(a["targets"]), a["tool"], a["arguments"]) for a in attempt["actions"]),
                tuple(_read_result(result) for result in attempt["results"]),
                attempt["error"],
            )
            for attempt in data["attempts"]
        ),
    )


def _write_result(result: Result) -> dict[str, Any]:
    return {
        "values": [values.write_json(value) for value in result.values],
        "error": result.error,
        "message": result.message,
        "n_tokens": result.n_tokens,
        "elapsed_s": round(result.elapsed_s, 6),
    }


def _read_result(data: dict[str, Any]) -> Result:
    return Result(
        tuple(values.read_json(value) for value in data["values"]),
        data["error"],
        data["message"],
        data["elapsed_s"],
        data.get("n_tokens", 0),  # traces of versions without a reader have none
    )
