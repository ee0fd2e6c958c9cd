"""The planner: what to find out next, in words."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from lumos_edge.engine import Completion, Engine, Grammar, Sampling, text_pieces
from lumos_edge.errors import ActionError
from lumos_edge.grammar import STOP_PLANNING, next_subgoal_grammar, plan_grammar
from lumos_edge.templates import PromptTemplate, keep_planning
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Formulation, Step, Subgoal, Task, TextPiece

_SUBGOAL = re.compile(r"Subgoal (\d+): ([^;\n]+)")


@dataclass(frozen=True)
class Planner:
    """Sets subgoals. Its methods yield the text as it is written and return what it means."""

    engine: Engine
    template: PromptTemplate
    toolbox: Toolbox
    sampling: Sampling
    max_tokens: int

    def plan(
        self, task: Task, max_subgoals: int
    ) -> Generator[TextPiece, None, tuple[tuple[Subgoal, ...], Completion]]:
        """All the subgoals at once (onetime formulation)."""
        completion = yield from self._complete(task, (), "onetime", plan_grammar(max_subgoals))
        return read_subgoals(completion.text), completion

    def next_subgoal(
        self, task: Task, steps: Sequence[Step]
    ) -> Generator[TextPiece, None, tuple[Subgoal | None, Completion]]:
        """The subgoal after these steps (iterative formulation); None when the planner stops."""
        grammar = next_subgoal_grammar(len(steps) + 1, keep_planning(self.toolbox))
        completion = yield from self._complete(task, steps, "iterative", grammar)
        if completion.text.startswith(STOP_PLANNING):
            return None, completion
        return read_subgoals(completion.text)[0], completion

    def _complete(
        self, task: Task, steps: Sequence[Step], formulation: Formulation, grammar: Grammar
    ) -> Generator[TextPiece, None, Completion]:
        prompt = self.template.planner(task, self.toolbox, steps, formulation)
        text = self.engine.complete(
            "planner", prompt, grammar, max_tokens=self.max_tokens, sampling=self.sampling
        )
        return (yield from text_pieces("planner", text))


def read_subgoals(text: str) -> tuple[Subgoal, ...]:
    """The subgoals of a planner's text; raises ActionError when it has none."""
    subgoals = tuple(Subgoal(int(number), words.strip()) for number, words in _SUBGOAL.findall(text))
    if not subgoals:
        raise ActionError(f"expected 'Subgoal 1: ...' from the planner, found {text!r}")
    return subgoals
