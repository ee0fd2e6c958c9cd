"""Tasks in Mind2Web's format: recorded pages with candidate elements, and how a step is scored.

Source of the format and of the scores: Mind2Web (arXiv 2306.06070), section 4.1, and its data files: a JSON list of
tasks, each with `confirmed_task` and `actions`; an action has `cleaned_html`, whose tags carry `backend_node_id`, an
`operation` (`op`, `value`), and `pos_candidates` and `neg_candidates`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from bs4 import Tag

from lumos_edge.errors import PageError
from lumos_edge.values import PageAction
from lumos_edge.web.document import Document, Element, Operation
from lumos_edge.web.reading import parse, read_document

_MARK = "backend_node_id"
_ATTRIBUTES = {
    "aria_label": "aria-label",
    "aria_role": "role",
    "input_value": "value",
    "input_checked": "checked",
    "option_selected": "selected",
}
"""What the cleaned HTML calls attributes, and what HTML does."""


@dataclass(frozen=True)
class RecordedStep:
    """One recorded action and the page that it was done on.

    `targets` are the ids of the elements that count as right; `candidates` those of all that can be chosen.
    """

    operation: Operation
    value: str
    html: str = field(repr=False)
    targets: frozenset[int]
    candidates: frozenset[int] = field(repr=False)

    @cached_property
    def document(self) -> Document:
        """The page with the candidates as its elements. Raises PageTooLarge."""
        tree = parse(self.html)
        for tag in tree.find_all(_has_own_attribute):
            tag.attrs = {_ATTRIBUTES.get(name, name): value for name, value in tag.attrs.items()}
        return read_document(tree, "", mark=_MARK, only=self.candidates)


def _has_own_attribute(tag: Tag) -> bool:
    return not _ATTRIBUTES.keys().isdisjoint(tag.attrs)


@dataclass(frozen=True)
class RecordedTask:
    """A task with its steps."""

    id: str
    website: str
    question: str
    steps: tuple[RecordedStep, ...]


def read_tasks(path: Path) -> Iterator[RecordedTask]:
    """The tasks of a file, one after the other. Raises PageError with the number of the task at fault."""
    try:
        tasks = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PageError(f"{path} is no Mind2Web file: {error}") from error
    if not isinstance(tasks, list):
        raise PageError(f"{path} is no Mind2Web file: expected a list of tasks")
    for number, task in enumerate(tasks, 1):
        try:
            yield _task(task)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PageError(f"{path}, task {number}: {type(error).__name__}: {error}") from error


def _task(data: dict[str, Any]) -> RecordedTask:
    steps = tuple(map(_step, data["actions"]))
    return RecordedTask(str(data["annotation_id"]), str(data["website"]), str(data["confirmed_task"]), steps)


def _step(data: dict[str, Any]) -> RecordedStep:
    operation = data["operation"]["op"]
    if operation not in get_args(Operation):
        raise ValueError(f"expected CLICK, TYPE or SELECT, found {operation!r}")
    targets = _ids(data["pos_candidates"])
    return RecordedStep(
        operation,
        str(data["operation"].get("value") or ""),
        str(data["cleaned_html"]),
        targets,
        targets | _ids(data["neg_candidates"]),
    )


def _ids(candidates: Sequence[dict[str, Any]]) -> frozenset[int]:
    return frozenset(int(candidate["backend_node_id"]) for candidate in candidates)


@dataclass(frozen=True)
class StepScore:
    """Whether the element, the operation and its value are right; `f1` is of the words of operation and value."""

    element: bool
    operation: bool
    value: bool
    f1: float

    @property
    def success(self) -> bool:
        """Whether the whole step is right."""
        return self.element and self.operation and self.value


FAILED = StepScore(False, False, False, 0.0)
"""The score of a step that was not done."""


def score_step(step: RecordedStep, done: PageAction) -> StepScore:
    """Compare what was done with what was recorded; upper and lower case are the same."""
    expected, found = _words(step.operation, step.value), _words(done.operation, done.text)
    n_common = sum((Counter(expected) & Counter(found)).values())
    return StepScore(
        done.element_id in step.targets,
        done.operation == step.operation,
        expected[1:] == found[1:],
        2 * n_common / (len(expected) + len(found)),
    )


def _words(operation: str, value: str) -> list[str]:
    # Of a click there is nothing to compare but the click.
    return [operation.casefold(), *(value.casefold().split() if operation != "CLICK" else ())]


@dataclass
class RecordedTaskEnvironment:
    """The pages of a task as an `Environment`: whatever is done, the next recorded page follows."""

    task: RecordedTask
    n_done: int = 0

    def observe(self) -> Document:
        """See `Environment.observe`; after the last step its page stays."""
        return self.task.steps[min(self.n_done, len(self.task.steps) - 1)].document

    def act(self, operation: Operation, element: Element, text: str) -> None:
        """See `Environment.act`."""
        self.n_done += 1

    def close(self) -> None:
        """See `Environment.close`: there is nothing to give back."""
