"""Engines that record completions, and that give recorded ones again."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumos_edge.engine import Completion, Control, Engine, Grammar, Prompt, Sampling
from lumos_edge.errors import TraceError
from lumos_edge.images import Image
from lumos_edge.trajectory import Module


@dataclass(frozen=True)
class Recorded:
    """One completion with what was asked for."""

    module: Module
    prompt: Prompt
    completion: Completion

    def write_json(self) -> dict[str, Any]:
        """As JSON data; control tokens and pictures are objects, plain text strings."""
        prompt = [piece if isinstance(piece, str) else _object(piece) for piece in self.prompt]
        return {"module": self.module, "prompt": prompt, "completion": self.completion.write_json()}

    @classmethod
    def read_json(cls, data: dict[str, Any]) -> Recorded:
        """The inverse of `write_json`; raises KeyError or TypeError for other data."""
        prompt = tuple(piece if isinstance(piece, str) else _piece(piece) for piece in data["prompt"])
        return cls(data["module"], prompt, Completion(**data["completion"]))


def _object(piece: Control | Image) -> dict[str, str]:
    if isinstance(piece, Control):
        return {"control": piece.text}
    return {"picture": str(piece.path), "sha256": piece.sha256}


def _piece(data: dict[str, str]) -> Control | Image:
    if "control" in data:
        return Control(data["control"])
    return Image(data["sha256"], Path(data["picture"]))


class RecordingEngine:
    """Hands everything to another engine, and each finished completion to `keep`."""

    def __init__(self, engine: Engine, keep: Callable[[Recorded], None]) -> None:
        self._engine = engine
        self._keep = keep

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`."""
        completion = yield from self._engine.complete(
            module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
        )
        self._keep(Recorded(module, prompt, completion))
        return completion

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        self._engine.cancel()


class ReplayEngine:
    """Gives each module's recorded completions in their order, as long as each prompt is the recorded one."""

    def __init__(self, recorded: Iterable[Recorded]) -> None:
        self._recorded: dict[Module, deque[Recorded]] = defaultdict(deque)
        for item in recorded:
            self._recorded[item.module].append(item)

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`. Raises TraceError where the run leaves the record."""
        if not self._recorded[module]:
            raise TraceError(f"the record has no further completion of the {module}, which is asked for one")
        recorded = self._recorded[module].popleft()
        # What a tool asked the reader is passed over: a replay takes the tool's result from the trace.
        while module == "reader" and recorded.prompt != prompt and self._recorded[module]:
            recorded = self._recorded[module].popleft()
        if recorded.prompt != prompt:
            raise TraceError(
                f"the run leaves the record: the {module} is asked {_tail(prompt)}, "
                f"recorded was {_tail(recorded.prompt)}"
            )
        yield recorded.completion.text
        return recorded.completion

    def cancel(self) -> None:
        """Nothing to stop: a recorded completion takes no time."""


def _tail(prompt: Prompt) -> str:
    return repr("".join(piece for piece in prompt if isinstance(piece, str))[-160:])
