"""Annotations: solved tasks whose actions were executed, and their conversations in the paper's JSONL format.

A line is `{"dataset": ..., "id": ..., "messages": [{"role": "user", "content": ...}, ...]}` with the paper's prompts,
one file for each module and formulation. Source: the annotations of Agent Lumos (arXiv 2311.05657), allenai/lumos at
146dd9d, data/process_for_train.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import llguidance

from lumos_edge.actions import parse_actions
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.errors import ActionError
from lumos_edge.executor import Executor
from lumos_edge.grammar import actions_grammar, plan_grammar
from lumos_edge.templates import LumosTemplate, planner_answer
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Action, Attempt, Formulation, Module, Result, Step, Subgoal, Task
from lumos_edge.values import Number, Value
from training.chains import NUMBER, RejectedItemError

MAX_SUBGOALS = 8
MAX_ACTIONS = 24

_TURN = re.compile(r"\n*<\|user\|>\n(.*)\n<\|assistant\|>\n", re.DOTALL)
_TASK = re.compile(r"Task: (.*?) \nSubgoals? to be grounded: (.*)", re.DOTALL)
_NEXT = re.compile(r"Subgoal to be grounded: (.*)", re.DOTALL)
_SUBGOAL = re.compile(r"Subgoal \d+: (.*?)(?=; Subgoal \d+: |$)", re.DOTALL)


@dataclass(frozen=True)
class Annotation:
    """A solved task: a step for each subgoal, its actions executed."""

    dataset: str
    id: str
    task: Task
    steps: tuple[Step, ...]
    toolbox: Toolbox

    @property
    def plan(self) -> tuple[Subgoal, ...]:
        """All the subgoals in order."""
        return tuple(subgoal for step in self.steps for subgoal in step.subgoals)

    @property
    def actions(self) -> tuple[Action, ...]:
        """All the actions in order."""
        return tuple(action for step in self.steps for action in step.attempts[0].actions)

    def onetime_step(self) -> Step:
        """All of it as the one step of the onetime formulation."""
        results = tuple(result for step in self.steps for result in step.attempts[0].results)
        return Step(self.plan, (Attempt(self.actions, results),))


class Annotator:
    """Makes annotations of solutions: parsed, checked against the grammars, executed."""

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self._executor = Executor(toolbox)
        self._bytes = llguidance.LLTokenizer("byte")
        self._cache = GrammarCache(self._bytes)

    def annotate(
        self,
        dataset: str,
        item_id: str,
        question: str,
        solution: Sequence[tuple[str, str]],
        answer: Fraction | None,
    ) -> Annotation:
        """The annotation of a question and its solution: each subgoal with its actions as text.

        Raises RejectedItemError for what the grammars would not let the modules write, what does not execute,
        and a last result that is not `answer` (where there is one).
        """
        task = Task(" ".join(question.split()))
        bindings: dict[str, Value] = {}
        steps = tuple(
            self._step(number, subgoal, actions, bindings, task)
            for number, (subgoal, actions) in enumerate(solution, 1)
        )
        annotation = Annotation(dataset, item_id, task, steps, self.toolbox)
        last = steps[-1].attempts[0].results[-1].values[-1]
        if answer is not None and last != Number(answer):
            raise RejectedItemError("another answer", f"the actions give {last}, the answer is {answer}")
        self._check_grammars(annotation)
        return annotation

    def _step(self, number: int, subgoal: str, text: str, bindings: dict[str, Value], task: Task) -> Step:
        try:
            actions = parse_actions(text) if text else ()
        except ActionError as error:
            raise RejectedItemError("does not parse", str(error)) from error
        results: list[Result] = []
        for action in actions:
            result = self._executor.execute(action, bindings, task)
            if result.error:
                raise RejectedItemError("does not execute", f"{action}: {result}")
            bindings |= dict(zip(action.targets, result.values, strict=True))
            results.append(result)
        return Step((Subgoal(number, subgoal),), (Attempt(actions, tuple(results)),))

    def _check_grammars(self, annotation: Annotation) -> None:
        plan = planner_answer(annotation.plan)
        actions = "; ".join(map(str, annotation.actions))
        grammar = actions_grammar(self.toolbox, {}, formulation="onetime", max_actions=MAX_ACTIONS)
        for text, accepting in ((plan, plan_grammar(MAX_SUBGOALS)), (actions, grammar)):
            constraint = Constraint(self._cache, accepting)
            for token in self._bytes.tokenize_str(text):
                if constraint.done or not constraint.allows(token):
                    raise RejectedItemError("outside the grammar", text)
                constraint.consume([token])
            if not constraint.may_end:
                raise RejectedItemError("outside the grammar", text)


def plain_formula(text: str) -> str:
    """A formula as our grammar writes numbers: 1,200 is 1200, .50 is 0.5, and there are no spaces."""
    return NUMBER.sub(lambda match: _plain_number(match[0]), text).replace(" ", "")


def _plain_number(text: str) -> str:
    whole, _, decimals = text.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' + decimals if decimals else ''}"


def messages(annotation: Annotation, module: Module, formulation: Formulation) -> list[dict[str, str]]:
    """The conversation of a module about an annotation, in the paper's words."""
    template = LumosTemplate("eval", "", "")
    task, toolbox = annotation.task, annotation.toolbox
    if module == "grounder":
        step = annotation.onetime_step() if formulation == "onetime" else annotation.steps[-1]
        earlier = () if formulation == "onetime" else annotation.steps[:-1]
        prompt = template.grounder(task, toolbox, earlier, Step(step.subgoals, ()), formulation)
        answer = "; ".join(map(str, step.attempts[0].actions))
    elif formulation == "onetime":
        prompt = template.planner(task, toolbox, (), formulation)
        answer = planner_answer(annotation.plan)
    else:
        prompt = template.planner(task, toolbox, annotation.steps, formulation)
        answer = "Yes, I will stop planning."
    turns = [str(piece) for piece in prompt] + [answer]
    return [_message(turn, number) for number, turn in enumerate(turns)]


def _message(turn: str, number: int) -> dict[str, str]:
    user = _TURN.fullmatch(turn) if number % 2 == 0 else None
    return {"role": "user", "content": user[1]} if user else {"role": "assistant", "content": turn}


def read_solution(line: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """A grounder's conversation, which holds all: dataset, id, question, and each subgoal with its actions.

    A onetime conversation says which actions there are, not to which subgoal each belongs: all of them stand at the
    last one. Raises RejectedItemError for a line of another form.
    """
    try:
        entry: dict[str, Any] = json.loads(line)
        dataset, item_id = str(entry["dataset"]), str(entry["id"])
        texts = [str(message["content"]) for message in entry["messages"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedItemError(
            "broken line", f"expected dataset, id and messages as JSON, found {line[:60]!r}"
        ) from error
    first = _TASK.search(texts[0]) if texts else None
    if not first or len(texts) % 2:
        raise RejectedItemError("broken line", f"expected the grounder's turns, found {line[:60]!r}")
    solution: list[tuple[str, str]] = []
    for user, answer in zip([first[2], *map(_later, texts[2::2])], texts[1::2], strict=True):
        subgoals = _SUBGOAL.findall(user.strip())
        solution += [(subgoal, "") for subgoal in subgoals[:-1]] + [(subgoals[-1], answer)]
    return dataset, item_id, first[1], solution


def _later(text: str) -> str:
    found = _NEXT.fullmatch(text)
    if not found:
        raise RejectedItemError("broken line", f"expected a subgoal to be grounded, found {text[:60]!r}")
    return found[1]
