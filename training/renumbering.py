"""Variants of solved tasks with other numbers: the same plan, the actions executed anew."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from training.annotations import Annotation, plain_formula
from training.chains import NUMBER, RejectedItemError

_NUMBER = re.compile(rf"(?P<subgoal>Subgoal \d+)|{NUMBER.pattern}")
_WHOLE = re.compile(r"\d+")
_NUMBER_WORD = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twice|half)\b", re.I
)


@dataclass(frozen=True)
class Renumbered:
    """A question and its solution, each subgoal with its actions as text."""

    question: str
    solution: tuple[tuple[str, str], ...]


def renumber(annotation: Annotation, rng: random.Random) -> Renumbered:
    """The task with other numbers in the places of those that its actions use; not executed yet.

    A number is changed when it is whole, at least 3, and stands once in the question: then nothing else depends on
    it. Raises RejectedItemError when there is none, or when the actions use a number that the question does not say:
    it may follow from one that would change; the same holds for a number in words and one that is also a result.
    """
    question = annotation.task.question
    used = {number for action in annotation.actions for number in _literals(action.arguments)}
    said = Counter(_literals(question))
    if not used <= said.keys():
        raise RejectedItemError("implied number", f"{', '.join(sorted(used - said.keys()))} in {question!r}")
    results = {str(result) for step in annotation.steps for result in step.attempts[0].results}
    if used & results or any(_NUMBER_WORD.search(subgoal.text) for subgoal in annotation.plan):
        raise RejectedItemError("ambiguous number", repr(question))
    changing = sorted(
        number for number in used if said[number] == 1 and _WHOLE.fullmatch(number) and int(number) > 2
    )
    if not changing:
        raise RejectedItemError("no number to change", repr(question))
    new = {number: str(_near(int(number), rng)) for number in changing}
    return Renumbered(
        _replaced(question, new),
        tuple(
            (
                _replaced(step.subgoals[0].text, new),
                "; ".join(
                    f"{', '.join(action.targets)} = {action.tool}({_replaced(action.arguments, new)})"
                    for action in step.attempts[0].actions
                ),
            )
            for step in annotation.steps
        ),
    )


def is_like(original: Sequence[Fraction], values: Sequence[Fraction]) -> bool:
    """Whether results are sensible where the original ones were: positive, and whole where those were whole."""
    return all(
        value > 0 and (value.denominator == 1 or before.denominator != 1)
        for before, value in zip(original, values, strict=True)
    )


def _literals(formula: str) -> list[str]:
    return [plain_formula(found.rstrip(",.")) for found in NUMBER.findall(formula)]


def _near(number: int, rng: random.Random) -> int:
    """A number of the same size, and as round as that one."""
    unit = int("1" + "0" * (len(str(number)) - len(str(number).rstrip("0"))))
    count = number // unit
    return unit * rng.randint(max(2, count // 2), max(4, 2 * count))


def _replaced(text: str, new: dict[str, str]) -> str:
    return _NUMBER.sub(lambda match: match[0] if match["subgoal"] else _replacement(match[0], new), text)


def _replacement(found: str, new: dict[str, str]) -> str:
    end = found[len(found.rstrip(",.")) :]  # "in 12, she" and "has 12." end a clause
    return new.get(plain_formula(found.rstrip(",.")), found.rstrip(",.")) + end
