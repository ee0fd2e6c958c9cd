"""Verified action chains out of GSM8K's calculator annotations.

A line of GSM8K's solutions says `Natalia sold 48/2 = <<48/2=24>>24 clips in May.` Each `<<expression=value>>` becomes
`Rk = Calculator(expression)`, where a number that equals an earlier result and is not in the question is that result.
Source of the format: Cobbe et al., arXiv 2110.14168, and github.com/openai/grade-school-math.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lumos_edge.errors import StepError
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant, Formula, references, substitute
from lumos_edge.maths.parser import parse
from lumos_edge.trajectory import Action

NUMBER = re.compile(r"(?<![\w.])(?:\d[\d,]*\.?\d*|\.\d+)")
_ANNOTATION = re.compile(r"<<([^<>]*)>>")


class RejectedItemError(ValueError):
    """An item that cannot be trained on; `reason` is the class of reasons that it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True)
class Problem:
    """A question, the lines of its solution as they were written, and its answer."""

    question: str
    lines: tuple[str, ...]
    answer: Fraction


@dataclass(frozen=True)
class ChainLine:
    """A line of a solution with its actions."""

    text: str
    actions: tuple[Action, ...]


def read_problem(line: str) -> Problem:
    """A line of a GSM8K file; raises RejectedItemError when it is broken or has no number after `####`."""
    try:
        entry = json.loads(line)
        question, solution = entry["question"], entry["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedItemError(
            "broken line", f"expected question and answer as JSON, found {line[:60]!r}"
        ) from error
    if not (isinstance(question, str) and isinstance(solution, str) and question.strip()):
        raise RejectedItemError("broken line", "expected question and answer as texts")
    text, _, answer = solution.rpartition("####")
    return Problem(question.strip(), tuple(filter(None, map(str.strip, text.splitlines()))), _number(answer))


def read_lines(file: Path) -> list[str]:
    """The lines of a JSONL file; `str.splitlines` would also cut at separators inside of texts."""
    return file.read_text("utf-8").rstrip("\n").split("\n")


def problems(lines: Iterable[str]) -> Iterator[tuple[int, Problem | RejectedItemError]]:
    """Each line's number, from 1, and its problem or why it is none."""
    for number, line in enumerate(lines, 1):
        try:
            yield number, read_problem(line)
        except RejectedItemError as error:
            yield number, error


def numbers_of(text: str) -> frozenset[Fraction]:
    """The numbers that stand in a text as digits."""
    return frozenset(_number(found) for found in NUMBER.findall(text))


def chain(problem: Problem) -> tuple[ChainLine, ...]:
    """The actions of each line that has any, verified: the last one's exact value is the answer.

    Raises RejectedItemError when there is none, one does not evaluate, or the answer is another.
    """
    builder = _Builder(numbers_of(problem.question))
    lines = tuple(
        ChainLine(line, tuple(builder.action(found) for found in _ANNOTATION.findall(line)))
        for line in problem.lines
        if _ANNOTATION.search(line)
    )
    if not lines:
        raise RejectedItemError("no annotation", "expected <<expression=value>> in the solution")
    found = builder.values[f"R{len(builder.values)}"]
    if found != Constant(problem.answer):
        raise RejectedItemError("another answer", f"the chain gives {found}, the answer is {problem.answer}")
    return lines


class _Builder:
    """The values of a chain so far."""

    def __init__(self, given: frozenset[Fraction]) -> None:
        self._given = given
        self._names: dict[Fraction, str] = {}
        self.values: dict[str, Formula] = {}

    def action(self, annotation: str) -> Action:
        expression = annotation.partition("=")[0].strip().replace("//", "/")  # they divide without remainder
        text = NUMBER.sub(self._named, expression)
        name = f"R{len(self.values) + 1}"
        try:
            formula = parse(text, "calculation")
            value = evaluate(
                substitute(formula, {known: self.values[known] for known in references(formula)})
            )
        except StepError as error:
            raise RejectedItemError("does not evaluate", f"{annotation}: {error}") from error
        self.values[name] = value
        if isinstance(value, Constant):
            self._names[value.value] = name
        return Action((name,), "Calculator", text)

    def _named(self, match: re.Match[str]) -> str:
        value = _number(match[0])
        return match[0] if value in self._given else self._names.get(value, match[0])


def chain_actions(lines: Sequence[ChainLine]) -> tuple[Action, ...]:
    """All the actions of a chain in order."""
    return tuple(action for line in lines for action in line.actions)


def _number(text: str) -> Fraction:
    plain = text.strip().replace(",", "").removesuffix(".").replace("$", "")
    try:
        return Fraction(plain)
    except ValueError as error:
        raise RejectedItemError("no number", f"expected a number, found {text.strip()[:40]!r}") from error
