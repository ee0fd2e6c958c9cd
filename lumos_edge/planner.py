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

_HEAD = re.compile(r";?\s*\bSubgoal (\d+): ")


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
        return read_subgoals(completion.text)[:max_subgoals], completion

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
    """The subgoals of a planner's text; raises ActionError when it has none.

    A small model may end one with a full stop and write the next one's head into it: that is read as the next one,
    and those behind it are numbered on.
    """
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    bodies = [text[head.end() : end].strip() for head, end in zip(heads, ends, strict=True)]
    words = [body for body in bodies if body]
    if not words:
        raise ActionError(f"expected 'Subgoal 1: ...' from the planner, found {text!r}")
    return tuple(Subgoal(number, body) for number, body in enumerate(words, int(heads[0][1])))
