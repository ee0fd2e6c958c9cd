"""`lumos-edge eval`: many questions with known answers."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.options import AgentOptions, agent_options

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.engine.recorded import Recorded
    from lumos_edge.trajectory import Trajectory


@click.command("eval")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@agent_options
@click.option("--limit", type=click.IntRange(1), help="Only the first so many questions.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Results, a line each; continued."
)
def command(file: Path, options: AgentOptions, limit: int | None, output: Path | None) -> int:
    """Answer every line of FILE (JSONL: {"question", "answer"}) and score the answers.

    Numbers are compared as numbers. With --output a run that was interrupted goes on where it stopped. The last
    line of stdout is one JSON document.
    """
    examples = _read_examples(file)[:limit]
    choice = options.choice()
    agent = options.agent(choice)
    with _Results(output, options.settings(choice, agent.formulation)) as results:
        todo = [example for example in examples if example not in results]
        with _progress_bar(len(examples), len(examples) - len(todo)) as advance:
            for example in todo:
                outcome = interruptible(functools.partial(_answer, agent, example), agent.cancel)
                results.add(outcome)
                advance(outcome.correct)
        summary = _summary([results.of(example) for example in examples])
    click.echo(json.dumps({**summary, "formulation": agent.formulation, "pack": choice.name}))
    return 0


@dataclass(frozen=True)
class _Example:
    line: int
    question: str
    answer: str


@dataclass(frozen=True)
class _Outcome:
    """How one line went; `error` is the class name of what stood in the way of an answer."""

    line: int
    question: str
    expected: str
    answer: str | None
    correct: bool
    error: str
    n_actions: int
    n_invalid_actions: int
    n_tokens: int
    seconds: float


def _read_examples(file: Path) -> list[_Example]:
    examples = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            examples.append(_Example(number, str(data["question"]), _gold(data["answer"])))
        except (ValueError, KeyError, TypeError) as error:
            raise click.UsageError(
                f'{file}, line {number}: expected {{"question": ..., "answer": ...}}, found {_start(line)}'
            ) from error
    if not examples:
        raise click.UsageError(f"{file} has no questions")
    return examples


def _start(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))


def _gold(answer: object) -> str:
    """The final answer; GSM8K's own files have it behind the solution and `####`."""
    return str(answer).rpartition("####")[2].strip()


class _Results:
    """The outcomes so far, in memory and in the output file, whose first line has the settings they came from."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self._outcomes: dict[tuple[int, str], _Outcome] = {}
        self._settings = settings
        self._file = path.open("a+b") if path else None
        if path:
            self._read(path)

    def _read(self, path: Path) -> None:
        assert self._file is not None
        self._file.seek(0)
        content = self._file.read()
        if not content:
            self._write({"settings": self._settings})
            return
        *lines, cut_off = content.split(b"\n")
        for number, line in enumerate(lines or [b""], 1):
            try:
                self._take(path, json.loads(line), is_first=number == 1)
            except (ValueError, KeyError, TypeError) as error:
                found = _start(line or cut_off)
                raise click.UsageError(
                    f"{path}, line {number}: expected a result of `eval`, found {found}"
                ) from error
        # A kill cut the last line off; what it said is computed again.
        self._file.truncate(len(content) - len(cut_off))

    def _take(self, path: Path, data: dict[str, Any], *, is_first: bool) -> None:
        if not is_first:
            outcome = _Outcome(**data)
            self._outcomes[outcome.line, outcome.question] = outcome
            return
        found, expected = data["settings"], self._settings
        other = [name for name in expected if found.get(name) != expected[name]]
        if other:
            differences = ", ".join(f"{name} {found.get(name)!r}, not {expected[name]!r}" for name in other)
            raise click.UsageError(f"{path} holds the results of another run: {differences}")

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def __contains__(self, example: _Example) -> bool:
        return (example.line, example.question) in self._outcomes

    def of(self, example: _Example) -> _Outcome:
        return self._outcomes[example.line, example.question]

    def add(self, outcome: _Outcome) -> None:
        self._outcomes[outcome.line, outcome.question] = outcome
        self._write(asdict(outcome))

    def _write(self, data: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(data, ensure_ascii=False).encode() + b"\n")
            self._file.flush()


def _answer(agent: Agent, example: _Example) -> _Outcome:
    from lumos_edge.engine.recorded import RecordingEngine
    from lumos_edge.errors import BudgetExceeded, ContextWindowExceeded
    from lumos_edge.scoring import is_correct
    from lumos_edge.trajectory import Finished, Task

    completions: list[Recorded] = []
    trajectory: Trajectory | None = None
    error = ""
    started = time.perf_counter()
    try:
        for event in agent.with_engine(RecordingEngine(agent.engine, completions.append)).run(
            Task(example.question)
        ):
            if isinstance(event, Finished):
                trajectory = event.trajectory
                error = trajectory.error
    except (BudgetExceeded, ContextWindowExceeded, ValueError) as failure:
        error = type(failure).__name__  # this line's fault, not the next one's
    answer = str(trajectory.answer) if trajectory and trajectory.answer is not None else None
    n_actions, n_invalid = _count_actions(trajectory)
    return _Outcome(
        example.line,
        example.question,
        example.answer,
        answer,
        answer is not None and is_correct(answer, example.answer),
        error,
        n_actions,
        n_invalid,
        sum(recorded.completion.n_completion for recorded in completions),
        time.perf_counter() - started,
    )


def _count_actions(trajectory: Trajectory | None) -> tuple[int, int]:
    """How many actions were written, and how many of them did not parse or type-check."""
    attempts = [attempt for step in trajectory.steps for attempt in step.attempts] if trajectory else []
    results = [result for attempt in attempts for result in attempt.results]
    n_unparsed = sum(bool(attempt.error) for attempt in attempts)
    n_invalid = sum(result.error in ("ActionError", "UndefinedResult") for result in results)
    return sum(len(attempt.actions) for attempt in attempts) + n_unparsed, n_invalid + n_unparsed


def _summary(outcomes: list[_Outcome]) -> dict[str, Any]:
    n = len(outcomes)
    correct = sum(outcome.correct for outcome in outcomes)
    return {
        "n": n,
        "correct": correct,
        "accuracy": round(correct / n, 4),
        "no_answer": sum(outcome.answer is None for outcome in outcomes),
        "actions": sum(outcome.n_actions for outcome in outcomes),
        "invalid_actions": sum(outcome.n_invalid_actions for outcome in outcomes),
        "tokens_per_task": round(sum(outcome.n_tokens for outcome in outcomes) / n, 1),
        "seconds_per_task": round(sum(outcome.seconds for outcome in outcomes) / n, 3),
    }


@contextmanager
def _progress_bar(total: int, done: int) -> Iterator[Any]:
    """A bar on stderr with the accuracy so far; rich shows nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    n_correct = n_seen = 0
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("answering", total=total, completed=done)

        def advance(correct: bool) -> None:
            nonlocal n_correct, n_seen
            n_correct += correct
            n_seen += 1
            bar.update(task, advance=1, description=f"{n_correct}/{n_seen} right")

        yield advance
