"""The seam between the modules and what decodes their text.

A module hands over its whole conversation as a `Prompt` and gets one `Completion`; an engine keeps whatever it
needs (KV caches, adapters) to make that cheap, and no module knows of it. The same seam serves llama.cpp
(`llama.py`), recorded runs (`recorded.py`) and the scripted engines of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

from lumos_edge.images import Image
from lumos_edge.trajectory import Module, TextPiece

PINNED_BINDING = "0.3.36"
"""The version of llama-cpp-python whose struct layouts `binding.py` fills."""


N_PARALLEL = 16
"""Runs that are decoded together where nothing else is said: benchmarks/LOG.md, 2026-11-27."""


@dataclass(frozen=True)
class Control:
    """A control token of the vocabulary by its text, such as `<|im_end|>`.

    Plain text never becomes one, whatever it says: a question that holds `<|im_end|>` ends nothing.
    """

    text: str


Prompt: TypeAlias = tuple[str | Control | Image, ...]
"""A conversation in pieces: text, control tokens, and pictures for weights that see. Each plain piece is tokenized by
itself, so a template cuts only where the publisher's tokenizer cuts too: at control tokens and pictures, and where a
module's own completion begins and ends."""

Grammar: TypeAlias = Callable[[str], str | None]
"""From the text decoded so far to the Lark text that the next part must match; None when the completion is whole.

It is called with "" first, and again each time a part is complete. So a grammar may depend on what was written."""


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the most probable one at temperature 0, else at random from a cut distribution.

    `top_p` keeps the most probable tokens that together reach it, `min_p` those at least that fraction as
    probable as the best. The same seed and prompt give the same text on the same machine and settings.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature must be from 0 to 10, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be from 0 to 1, not {self.min_p}")


@dataclass(frozen=True)
class Completion:
    """What a module wrote, and what it cost.

    `text` has no trailing newline. `finish_reason`: "grammar" when nothing more may follow, "end" when the model
    ended it, "length" when the token limit came first. Of `n_prompt` tokens, `n_reused` were in the KV cache and
    `n_prefilled` were evaluated; of `n_completion` tokens, `n_forced` were dictated by the grammar and never
    sampled; `n_masked` times the model's own choice was not allowed. `n_drafted` tokens were evaluated ahead on a
    guess, and `n_accepted` of them stood.
    """

    text: str
    finish_reason: Literal["grammar", "end", "length"] = "end"
    n_prompt: int = 0
    n_reused: int = 0
    n_prefilled: int = 0
    n_completion: int = 0
    n_forced: int = 0
    n_masked: int = 0
    n_drafted: int = 0
    n_accepted: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    constraint_s: float = 0.0
    compile_s: float = 0.0

    def write_json(self) -> dict[str, Any]:
        """The fields as JSON data; `Completion(**data)` reads them back."""
        return asdict(self)


class Engine(Protocol):
    """Completes prompts under grammars. One completion at a time; calls from other threads wait."""

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """Yield the text as it is decoded and return the `Completion`.

        Raises ContextWindowExceeded before anything is evaluated, GrammarError, Cancelled, EngineError.
        """
        ...

    def cancel(self) -> None:
        """Make the completion that is running raise `Cancelled`; safe from any thread, at any time."""
        ...


def text_pieces(
    module: Module, text: Generator[str, None, Completion]
) -> Generator[TextPiece, None, Completion]:
    """The same text as events; returns the completion."""
    try:
        while True:
            yield TextPiece(module, next(text))
    except StopIteration as end:
        completion: Completion = end.value
        return completion
    finally:
        text.close()


def drained(text: Generator[str, None, Completion]) -> Completion:
    """The completion of a text that nobody watches."""
    events = text_pieces("reader", text)
    while True:
        try:
            next(events)
        except StopIteration as end:
            completion: Completion = end.value
            return completion
