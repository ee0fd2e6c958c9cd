"""Files of questions, and of what came of them: shared by `eval` and `batch`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.options import samples_option
from lumos_edge.engine import N_PARALLEL

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.trajectory import Trajectory
    from lumos_edge.voting import Vote

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Question:
    """A line of a file."""

    line: int
    question: str


@dataclass(frozen=True)
class Outcome(Question):
    """What came of a question, and what it cost; `seconds` since the one before was done.

    `n_votes` of its samples have the answer, and the costs are those of all samples. `error` is the class name of what
    stood in the way of an answer, `message` says it in words.
    """

    answer: str | None
    n_votes: int
    error: str
    message: str
    n_actions: int
    n_invalid_actions: int
    n_tokens: int
    seconds: float


Q = TypeVar("Q", bound=Question)
Out = TypeVar("Out", bound=Outcome)


def file_options(function: F) -> F:
    """Add what every command about a file of questions takes."""
    options = (
        click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
        click.option("--limit", type=click.IntRange(1), help="Only the first so many questions."),
        click.option(
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Results, a line each; continued.",
        ),
        click.option(
            "--parallel",
            type=click.IntRange(1, 64),
            default=N_PARALLEL,
            show_default=True,
            help="Runs worked on at a time.",
        ),
        samples_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_lines(file: Path, read: Callable[[int, dict[str, Any]], Q], expected: str) -> list[Q]:
    """What `read` makes of each line; raises UsageError for the first that it refuses, and when there is none."""
    found = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(read(number, json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise click.UsageError(
                f"{file}, line {number}: expected {expected}, found {_start(line)}"
            ) from error
    if not found:
        raise click.UsageError(f"{file} has no questions")
    return found


def _start(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "replace"))


class Results(Generic[Out]):
    """The outcomes so far, in memory and in the output file, whose first line has the settings they came from."""

    def __init__(self, path: Path | None, settings: dict[str, Any], kind: type[Out]) -> None:
        self._outcomes: dict[tuple[int, str], Out] = {}
        self._settings = settings
        self._kind = kind
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
                    f"{path}, line {number}: expected a result of this command, found {found}"
                ) from error
        # A kill cut the last line off; what it said is computed again.
        self._file.truncate(len(content) - len(cut_off))

    def _take(self, path: Path, data: dict[str, Any], *, is_first: bool) -> None:
        if not is_first:
            outcome = self._kind(**data)
            self._outcomes[outcome.line, outcome.question] = outcome
            return
        found, expected = data["settings"], self._settings
        other = [name for name in expected if found.get(name) != expected[name]]
        if other:
            differences = ", ".join(f"{name} {found.get(name)!r}, not {expected[name]!r}" for name in other)
            raise click.UsageError(f"{path} holds the results of another run: {differences}")

    def __enter__(self) -> Results[Out]:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def __contains__(self, question: Question) -> bool:
        return (question.line, question.question) in self._outcomes

    def of(self, question: Question) -> Out:
        """What came of a question; raises KeyError for one that is not done."""
        return self._outcomes[question.line, question.question]

    def add(self, outcome: Out) -> None:
        """Keep an outcome, in the file first."""
        self._write(asdict(outcome))
        self._outcomes[outcome.line, outcome.question] = outcome

    def _write(self, data: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(data, ensure_ascii=False).encode() + b"\n")
            self._file.flush()


def answer_all(
    agent: Agent, questions: Sequence[Question], n_parallel: int, n_samples: int
) -> Iterator[Outcome]:
    """What comes of the questions, in their order. Raises what `Agent.run_many` raises, and KeyboardInterrupt."""
    from lumos_edge.trajectory import Task
    from lumos_edge.voting import samplings, vote

    check_samples(agent, n_samples)
    tasks = (Task(question.question) for question in questions)
    kinds = samplings(agent.sampling, n_samples)
    run = agent.run_many(((task, sampling) for task in tasks for sampling in kinds), n_parallel)
    for question in questions:
        started = time.monotonic()
        samples = interruptible(lambda: list(islice(run, n_samples)), run.cancel)
        yield _outcome(question, vote(samples), time.monotonic() - started)


def check_samples(agent: Agent, n_samples: int) -> None:
    """Raises UsageError where one sample would change for the others what they work on."""
    if n_samples > 1 and agent.toolbox.is_changed:
        raise click.UsageError("--samples is not for pages and shops: each run changes them for the next")


def _outcome(question: Question, vote: Vote, seconds: float) -> Outcome:
    trajectory = vote.trajectory
    counts = [_count_actions(sample.trajectory) for sample in vote.samples]
    completions = [recorded.completion for sample in vote.samples for recorded in sample.completions]
    return Outcome(
        question.line,
        question.question,
        None if trajectory.answer is None else str(trajectory.answer),
        max(vote.votes),
        trajectory.error,
        trajectory.message,
        sum(n_actions for n_actions, _ in counts),
        sum(n_invalid for _, n_invalid in counts),
        sum(completion.n_completion for completion in completions),
        round(seconds, 3),
    )


def _count_actions(trajectory: Trajectory) -> tuple[int, int]:
    """How many actions were written, and how many of them did not parse or type-check."""
    attempts = [attempt for step in trajectory.steps for attempt in step.attempts]
    results = [result for attempt in attempts for result in attempt.results]
    n_unparsed = sum(bool(attempt.error) for attempt in attempts)
    n_invalid = sum(result.error in ("ActionError", "UndefinedResult") for result in results)
    return sum(len(attempt.actions) for attempt in attempts) + n_unparsed, n_invalid + n_unparsed


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the outcomes are together, as JSON data."""
    n = len(outcomes)
    return {
        "n": n,
        "no_answer": sum(outcome.answer is None for outcome in outcomes),
        "actions": sum(outcome.n_actions for outcome in outcomes),
        "invalid_actions": sum(outcome.n_invalid_actions for outcome in outcomes),
        "tokens_per_task": round(sum(outcome.n_tokens for outcome in outcomes) / n, 1),
        "seconds_per_task": round(sum(outcome.seconds for outcome in outcomes) / n, 3),
    }


@contextmanager
def progress_bar(total: int, done: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, told what stands at its left with each question; rich shows nothing without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *columns, console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("answering", total=total, completed=done)
        yield lambda text: bar.update(task, advance=1, description=text)
