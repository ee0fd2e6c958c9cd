"""A plugin of Simon Willison's `llm` (its entry point): every model pack is the model `lumos-edge/NAME`.

The steps are the reasoning, which `llm` shows apart from the answer; the trajectory is logged as the response's JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import llm
from llm.parts import StreamEvent
from pydantic import Field

from lumos_edge.errors import LumosError
from lumos_edge.manifest import all_manifests
from lumos_edge.trajectory import Event, Finished, Formulation, write_json

# What a prompt needs is loaded by the first one: every command of `llm` loads this module.
if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.engine import Completion


@llm.hookimpl
def register_models(register: Callable[[llm.Model], None]) -> None:
    """Called by `llm` when it starts; loads no model."""
    for manifest in all_manifests():
        register(PackModel(manifest.name))


class PackModel(llm.Model):
    """A model pack; its weights are loaded by the first prompt and stay."""

    can_stream = True
    supports_conversation = False  # a task knows nothing of the one before: `llm` says so, nothing is dropped

    class Options(llm.Options):
        """What `llm -o` takes."""

        formulation: Formulation | None = Field(
            default=None,
            description="onetime: all subgoals at once; iterative: one by one, with results. Default: the pack's",
        )

    def __init__(self, pack: str) -> None:
        self.model_id = f"lumos-edge/{pack}"
        self._pack = pack
        self._agents: dict[Formulation | None, Agent] = {}

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str | StreamEvent]:
        """The steps as they happen, then the answer. Raises llm.ModelError where there is none, and ValueError."""
        from lumos_edge.engine.recorded import RecordingEngine

        if prompt.system:
            raise ValueError(f"{self.model_id} takes a question alone, and no system prompt")
        assert isinstance(prompt.options, self.Options)
        made: list[Completion] = []
        try:
            agent = self._agent(prompt.options.formulation)
            engine = RecordingEngine(agent.engine, lambda recorded: made.append(recorded.completion))
            with closing(agent.with_engine(engine).run(prompt.prompt)) as run:
                for event in run:
                    yield from _shown(event, response)
        except LumosError as error:
            raise llm.ModelError(f"{error}{f' ({error.hint})' if error.hint else ''}") from error
        finally:
            _count(made, response)

    def _agent(self, formulation: Formulation | None) -> Agent:
        from lumos_edge.agent import Agent

        if formulation not in self._agents:
            other = next(iter(self._agents.values()), None)
            self._agents[formulation] = Agent.open(self._pack, formulation=formulation, beside=other)
        return self._agents[formulation]


def _shown(event: Event, response: llm.Response) -> Iterator[str | StreamEvent]:
    from lumos_edge.serving.chat import step_text

    if text := step_text(event):
        yield StreamEvent(type="reasoning", chunk=text)
    if not isinstance(event, Finished):
        return
    response.response_json = write_json(event.trajectory)
    if event.trajectory.answer is None:
        raise llm.ModelError(f"no answer: {event.trajectory.message}")
    yield str(event.trajectory.answer)


def _count(made: list[Completion], response: llm.Response) -> None:
    from lumos_edge.serving.chat import usage

    counts: dict[str, Any] = usage(made)
    response.set_usage(
        input=counts["prompt_tokens"],
        output=counts["completion_tokens"],
        details=counts["prompt_tokens_details"],
    )
