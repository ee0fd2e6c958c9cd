"""Rates of one engine: the bare loop, which is what the machine can do, and ours under a grammar."""

from __future__ import annotations

import time
from dataclasses import dataclass

import llama_cpp as lib

from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import CancelFlag
from lumos_edge.engine.context import Context, Evaluation
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.engine.pieces import PieceTokens
from lumos_edge.trajectory import Module


@dataclass(frozen=True)
class Rates:
    """Tokens per second behind one prompt: of the bare loop, and of our completion."""

    raw: float
    ours: float
    completion: Completion


class RateMeter:
    """Measures a module of an engine, with a context of its own for the bare loop; `close` frees it.

    `prefill` is the rate of reading the first prompt that was measured.
    """

    def __init__(self, engine: LlamaEngine, module: Module) -> None:
        self.prefill = 0.0
        self._engine = engine
        self._module = module
        self._context = engine.new_context(module, CancelFlag(), n_rows=1)
        self._pieces = PieceTokens(engine.model)

    def measure(self, prompt: Prompt, grammar: Grammar) -> Rates:
        """Complete the prompt, and evaluate 32 tokens behind it without any constraint.

        Raises ContextWindowExceeded, EngineError.
        """
        ours, completion = self._ours(prompt, grammar)
        tokens = self._pieces.of(prompt)
        n_kept = min(self._context.n_common(0, tokens), len(tokens) - 1)
        started = time.perf_counter()
        row = self._context.evaluate({0: Evaluation(n_kept, tokens[n_kept:])})[0][0]
        self.prefill = self.prefill or len(tokens) / (time.perf_counter() - started)
        return Rates(_raw(self._context, int(row.argmax())), ours, completion)

    def _ours(self, prompt: Prompt, grammar: Grammar) -> tuple[float, Completion]:
        """Tokens/s after the first evaluation, which is the prompt's."""
        text = self._engine.complete(self._module, prompt, grammar, max_tokens=160, sampling=Sampling())
        first = next(text)
        started = time.perf_counter()
        while True:
            try:
                next(text)
            except StopIteration as end:
                seconds = time.perf_counter() - started
                made: Completion = end.value
                # The token that ends a text is decoded like others, and stands in no text.
                n_first = len(self._engine.model.tokenize(first))
                return (made.n_completion + (made.finish_reason == "end") - n_first) / seconds, made

    def close(self) -> None:
        """Free the context."""
        self._engine.free(self._context)


def _raw(context: Context, token: int, n_tokens: int = 32) -> float:
    """Tokens/s of the plain `llama_decode` loop, from the end of what the context holds."""
    batch = context._batch
    batch.n_tokens, batch.logits[0], batch.seq_id[0][0] = 1, 1, 0
    n_before = len(context.tokens[0])
    started = time.perf_counter()
    for position in range(n_before, n_before + n_tokens):
        batch.token[0], batch.pos[0] = token, position
        assert lib.llama_decode(context.handle, batch) == 0
        token = int(context._row(-1).argmax())
    seconds = time.perf_counter() - started
    lib.llama_memory_seq_rm(context.memory, 0, n_before, -1)
    return n_tokens / seconds
