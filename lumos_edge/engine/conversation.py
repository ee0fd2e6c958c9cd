"""A module's conversation in one sequence of a KV cache.

The cache is append-only as long as the conversation is: tokens that it shares with the next prompt are never evaluated
again.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np

from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.context import Context, Evaluation, Rows, n_common
from lumos_edge.engine.decoding import Decoding, Steps, Vocabulary
from lumos_edge.engine.drafts import Acceptance, Drafts
from lumos_edge.engine.pieces import PieceTokens
from lumos_edge.engine.prefix import PrefixStates
from lumos_edge.engine.sampling import Sampler
from lumos_edge.errors import ContextWindowExceeded


@dataclass
class Conversation:
    """Where it is, and what is known of it.

    `prefix` is what its prompts begin with, [] when that is not known or not worth a file. Without an `acceptance`
    nothing is drafted.
    """

    vocabulary: Vocabulary
    context: Context
    sequence: int
    pieces: PieceTokens
    prefix: list[int]
    states: PrefixStates
    acceptance: Acceptance | None

    def tokens(self, prompt: Prompt, max_tokens: int) -> list[int]:
        """The tokens of a prompt; raises ContextWindowExceeded where no `max_tokens` more have room."""
        tokens = self.pieces.of(prompt)
        if len(tokens) + max_tokens > self.context.n_ctx:
            raise ContextWindowExceeded(len(tokens) + max_tokens, self.context.n_ctx)
        return tokens

    def steps(self, tokens: list[int], grammar: Grammar, max_tokens: int, sampling: Sampling) -> Steps:
        """The completion of a prompt, for whoever evaluates what it asks for (see `decoding`)."""
        started = time.perf_counter()
        n_cached, n_computed = self._reuse(tokens)
        prefix_s = time.perf_counter() - started
        # Of a picture's numbers the low half: they follow from its content.
        digest = zlib.crc32(np.asarray(tokens, dtype=np.int64).astype(np.int32).tobytes())
        text = [token for token in tokens if token >= 0]
        drafts = Drafts(self.acceptance, text) if self.acceptance else None
        decoding = Decoding(self.vocabulary, tokens, n_cached, Sampler(sampling, digest), drafts)
        completion = yield from decoding.steps(grammar, max_tokens)
        written = self.vocabulary.text_tokens(completion.text, decoding.written)
        self.pieces.add(completion.text, written)
        return replace(
            completion,
            n_reused=completion.n_reused - n_computed,
            n_prefilled=completion.n_prefilled + n_computed,
            prefill_s=completion.prefill_s + prefix_s,
        )

    def evaluate(self, evaluation: Evaluation) -> Generator[str, None, Rows]:
        """The rows of an evaluation by itself, at once; yields nothing."""
        yield from ()
        return self.context.evaluate({self.sequence: evaluation})[self.sequence]

    def _reuse(self, tokens: list[int]) -> tuple[int, int]:
        """How many of the prompt's first tokens the KV cache holds, and how many of these were evaluated for it now."""
        context, sequence, prefix = self.context, self.sequence, self.prefix
        n_cached = self._copy_longest(tokens)
        n_prefix = n_common(prefix, tokens)
        if n_prefix <= n_cached or n_prefix < len(prefix) // 2:
            return n_cached, 0
        state = self.states.load(prefix)
        if state is not None and context.restore(sequence, state, prefix):
            return n_prefix, 0
        n_cached = context.n_common(sequence, prefix)
        context.evaluate({sequence: Evaluation(n_cached, prefix[n_cached:])})
        self.states.save(prefix, context.state(sequence))
        return n_prefix, len(prefix) - n_cached

    def _copy_longest(self, tokens: list[int]) -> int:
        """How many of these tokens the sequence begins with, when it has copied what another one has more of them."""
        context = self.context
        common = [n_common(other, tokens) for other in context.tokens]
        longest = max(range(len(common)), key=lambda other: common[other])
        if common[longest] > common[self.sequence] and not context.model.is_recurrent:
            context.copy(longest, self.sequence, common[longest])
        return context.n_common(self.sequence, tokens)


def drive(
    steps: Steps, evaluate: Callable[[Evaluation], Generator[str, None, Rows]]
) -> Generator[str, None, Completion]:
    """Evaluate what a completion asks for; yields its text, and what `evaluate` yields while it waits."""
    rows: Rows | None = None
    while True:
        try:
            step = steps.send(rows)
        except StopIteration as end:
            completion: Completion = end.value
            return completion
        rows = None
        if isinstance(step, Evaluation):
            rows = yield from evaluate(step)
        else:
            yield step
