"""What the modules were asked in whole runs, and what other weights write when they are asked the same."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, Engine, Grammar, Prompt, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import BudgetExceeded, ContextWindowExceeded
from lumos_edge.loading import ModelChoice
from lumos_edge.trajectory import Module, Task


@dataclass(frozen=True)
class Turn:
    """What a module was asked, and the text that it wrote."""

    module: Module
    prompt: Prompt
    grammar: Grammar
    max_tokens: int
    text: str


@dataclass(frozen=True)
class _TurnKeeper:
    """An `Engine` that hands everything to another, and keeps the turns with their grammars."""

    engine: Engine
    turns: list[Turn] = field(default_factory=list)

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`."""
        completion = yield from self.engine.complete(
            module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
        )
        self.turns.append(Turn(module, prompt, grammar, max_tokens, completion.text))
        return completion

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        self.engine.cancel()


def take_turns(choice: ModelChoice, questions: Sequence[str], advance: Callable[[int], None]) -> list[Turn]:
    """The turns of both modules in runs about the questions; `advance` is told each question.

    The turns before a run reached its limit count as well. Raises ModelLoadError, AdapterMismatch.
    """
    with Agent.open(choice) as agent:
        keeper = _TurnKeeper(agent.engine)
        asked = agent.with_engine(keeper)
        for question in questions:
            with suppress(BudgetExceeded, ContextWindowExceeded):
                asked.ask(Task(question))
            advance(1)
    return keeper.turns


def retake(choice: ModelChoice, turns: Sequence[Turn], advance: Callable[[int], None]) -> list[str]:
    """What the choice's weights write in those turns, greedily; `advance` is told each turn.

    The turns hold their prompts, so that the choice's templates do not matter. Raises ModelLoadError, AdapterMismatch.
    """
    engine = LlamaEngine(choice.base, adapters=choice.adapters, projector=choice.projector)
    try:
        return [_text(engine, turn, advance) for turn in turns]
    finally:
        engine.close()


def _text(engine: Engine, turn: Turn, advance: Callable[[int], None]) -> str:
    pieces = engine.complete(
        turn.module, turn.prompt, turn.grammar, max_tokens=turn.max_tokens, sampling=Sampling()
    )
    text = "".join(pieces).rstrip("\n")  # as `Completion.text`
    advance(1)
    return text
