"""The grounder: subgoals become actions."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from lumos_edge.actions import parse_actions
from lumos_edge.engine import Completion, Engine, Sampling, text_pieces
from lumos_edge.errors import StepError
from lumos_edge.grammar import actions_grammar
from lumos_edge.templates import PromptTemplate
from lumos_edge.toolbox import Toolbox, ValueTypes
from lumos_edge.trajectory import Action, Formulation, Step, Task, TextPiece


@dataclass(frozen=True)
class Grounding:
    """What a grounder's text came to: actions that parse and type-check, or the error of its text."""

    actions: tuple[Action, ...]
    error: str
    completion: Completion


@dataclass(frozen=True)
class Grounder:
    """Grounds subgoals. Its method yields the text as it is written and returns what it means."""

    engine: Engine
    template: PromptTemplate
    toolbox: Toolbox
    sampling: Sampling
    max_tokens: int

    def ground(
        self,
        task: Task,
        steps: Sequence[Step],
        current: Step,
        bindings: Mapping[str, ValueTypes],
        *,
        formulation: Formulation,
        max_actions: int,
        without: str = "",
    ) -> Generator[TextPiece, None, Grounding]:
        """The actions for `current`, after `steps`, with the results so far by their types.

        No action calls the tool named by `without`, unless there is no other.
        """
        prompt = self.template.grounder(task, self.toolbox, steps, current, formulation)
        toolbox = self.toolbox.without(without)
        grammar = actions_grammar(toolbox, bindings, formulation=formulation, max_actions=max_actions)
        text = self.engine.complete(
            "grounder", prompt, grammar, max_tokens=self.max_tokens, sampling=self.sampling
        )
        completion = yield from text_pieces("grounder", text)
        try:
            return Grounding(self._checked(completion.text, bindings), "", completion)
        except StepError as error:
            # Only a text cut off at the token limit, or one of a recorded or remote engine, comes here.
            return Grounding((), str(error), completion)

    def _checked(self, text: str, bindings: Mapping[str, ValueTypes]) -> tuple[Action, ...]:
        actions = parse_actions(text)
        types = dict(bindings)
        for action in actions:
            self.toolbox.check(action, types)
            types |= dict.fromkeys(action.targets, self.toolbox.result_types(action, types))
        return actions
