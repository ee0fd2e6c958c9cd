"""The engine on llama.cpp: one base model, and for each module one context with its own adapter and KV cache.

A KV cache is append-only as long as a module's conversation is: the tokens it shares with the next prompt are
never evaluated again. The decode loop is in `decoding.py`; here it is driven.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import Adapter, CancelFlag, Model
from lumos_edge.engine.context import Context, Evaluation, Rows, n_common
from lumos_edge.engine.decoding import Decoding, Steps, Vocabulary
from lumos_edge.engine.drafts import MAX_DRAFT, Acceptance, Drafts
from lumos_edge.engine.pieces import PieceTokens
from lumos_edge.engine.prefix import MIN_TOKENS, PrefixStates
from lumos_edge.engine.sampling import Sampler
from lumos_edge.engine.threads import ALIKE, Speed, ThreadPace, measured_speed
from lumos_edge.errors import AdapterMismatch, ContextWindowExceeded, EngineError, ModelLoadError
from lumos_edge.resources import cache_folder
from lumos_edge.trajectory import Module


@dataclass
class _Conversation:
    """A module's conversation: where it is in the KV cache, and what is known of it."""

    context: Context
    pieces: PieceTokens
    acceptance: Acceptance
    prefix: list[int]
    """What its prompts begin with; [] when that is not known or not worth a file."""
    states: PrefixStates


class LlamaEngine:
    """An `Engine` on a GGUF file, or on a loaded model that several engines share.

    One completion runs at a time; calls from other threads wait for their turn. `adapters` maps a module to its LoRA
    file; modules without one run the base model. `n_ctx` tokens is the context window of each module; 0 takes what the
    model was trained with, 4,096 at most. `n_threads` 0 measures what is fastest, once for each model, and gives way
    while the machine is busy. `has_drafts` False evaluates nothing on a guess, which only a comparison wants. Raises
    ModelLoadError, AdapterMismatch, EngineError.
    """

    def __init__(
        self,
        model: Path | Model,
        *,
        adapters: Mapping[Module, Path] | None = None,
        n_ctx: int = 0,
        n_threads: int = 0,
        has_drafts: bool = True,
    ) -> None:
        self.model = model.retain() if isinstance(model, Model) else Model(model)
        self.n_ctx = n_ctx or min(self.model.n_ctx_train, 4096)
        if self.n_ctx > self.model.n_ctx_train:
            self.model.close()
            raise ModelLoadError(
                f"a context window of {n_ctx:,} tokens is more than the {self.model.n_ctx_train:,} that "
                f"{self.model.path.name} was trained with"
            )
        self.speed = Speed.unmeasured(n_threads) if n_threads else measured_speed(self.model)
        self._pace = ThreadPace(self.speed)
        self._gives_way = not n_threads
        try:
            self.adapters = {module: self._adapter(module, file) for module, file in (adapters or {}).items()}
        except EngineError:
            self.model.close()
            raise
        self._vocabulary = Vocabulary(self.model)
        self._has_drafts = has_drafts and not self.model.is_recurrent
        self._conversations: dict[Module, _Conversation] = {}
        self._prefixes: dict[Module, list[int]] = {}
        self._flag = CancelFlag()
        self._lock = threading.Lock()
        self._is_closed = False

    def _adapter(self, module: Module, file: Path) -> Adapter:
        adapter = self.model.adapter(file)
        trained = adapter.metadata("lumos.module")
        if trained and trained != module:
            raise AdapterMismatch(f"{file} was trained as the {trained}, here it would be the {module}")
        return adapter

    def set_prefix(self, module: Module, prompts: Sequence[Prompt]) -> None:
        """Name what the module's prompts begin with, by prompts that have only that in common.

        It is evaluated once for all processes: its state is kept in the cache folder.
        """
        common, *others = (PieceTokens(self.model).of(prompt) for prompt in prompts)
        for tokens in others:
            common = common[: n_common(common, tokens)]
        is_worth_it = len(common) >= MIN_TOKENS and not self.model.is_recurrent
        self._prefixes[module] = common if is_worth_it else []

    @property
    def n_threads(self) -> int:
        """Threads that a single token is evaluated with now."""
        return self._pace.n_threads

    # -- the seam ---------------------------------------------------------------------------------------------------

    def complete(
        self,
        module: Module,
        prompt: Prompt,
        grammar: Grammar,
        *,
        max_tokens: int,
        sampling: Sampling,
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`."""
        with self._lock:
            self._flag.clear()
            conversation = self._conversation(module)
            tokens = conversation.pieces.of(prompt)
            if len(tokens) + max_tokens > self.n_ctx:
                raise ContextWindowExceeded(len(tokens) + max_tokens, self.n_ctx)
            started = time.perf_counter()
            n_cached, n_computed = self._reuse(conversation, tokens)
            prefix_s = time.perf_counter() - started
            digest = zlib.crc32(np.asarray(tokens, dtype=np.int32).tobytes())
            decoding = Decoding(
                self._vocabulary,
                tokens,
                n_cached,
                Sampler(sampling, digest),
                Drafts(conversation.acceptance, tokens) if self._has_drafts else None,
            )
            completion = yield from self._drive(conversation.context, decoding.steps(grammar, max_tokens))
            completion = replace(
                completion,
                n_reused=completion.n_reused - n_computed,
                n_prefilled=completion.n_prefilled + n_computed,
                prefill_s=completion.prefill_s + prefix_s,
            )
            conversation.pieces.add(
                completion.text, self._vocabulary.text_tokens(completion.text, decoding.written)
            )
            return completion

    def cancel(self) -> None:
        """See `Engine.cancel`. On the CPU a prefill stops within milliseconds, on Metal after its batch."""
        self._flag.set()

    def close(self) -> None:
        """Free the contexts, and the weights unless another engine shares them; this one cannot be used any more."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            del self._vocabulary  # some 30 MB for a large vocabulary
            for conversation in self._conversations.values():
                conversation.context.close()
            self._conversations.clear()
            self.model.close()

    # -- contexts ---------------------------------------------------------------------------------------------------

    def _conversation(self, module: Module) -> _Conversation:
        if self._is_closed:
            raise EngineError("the engine is closed")
        if module not in self._conversations:
            adapter = self.adapters.get(module)
            context = Context(
                self.model,
                n_ctx=self.n_ctx,
                flag=self._flag,
                on_batch=self._keep_pace,
                n_rows=1 + MAX_DRAFT if self._has_drafts else 1,
                adapter=adapter,
            )
            context.set_n_threads(self._pace.n_threads, self._pace.n_threads_prefill)
            weights = [self.model.path, *([adapter.path] if adapter else [])]
            states = PrefixStates(cache_folder() / "prefixes", weights, [self.n_ctx])
            self._conversations[module] = _Conversation(
                context,
                PieceTokens(self.model),
                Acceptance(self.speed.costs),
                self._prefixes.get(module, []),
                states,
            )
        return self._conversations[module]

    def _reuse(self, conversation: _Conversation, tokens: list[int]) -> tuple[int, int]:
        """How many of the prompt's first tokens the KV cache holds, and how many of these were evaluated for it now."""
        context, prefix = conversation.context, conversation.prefix
        n_cached = context.n_common(0, tokens)
        n_prefix = n_common(prefix, tokens)
        if n_prefix <= n_cached or n_prefix < len(prefix) // 2:
            return n_cached, 0
        state = conversation.states.load(prefix)
        if state is not None and context.restore(0, state, prefix):
            return n_prefix, 0
        n_cached = context.n_common(0, prefix)
        context.evaluate({0: Evaluation(n_cached, prefix[n_cached:])})
        conversation.states.save(prefix, context.state(0))
        return n_prefix, len(prefix) - n_cached

    def _drive(self, context: Context, steps: Steps) -> Generator[str, None, Completion]:
        """Evaluate what the loop asks for; yields its text."""
        rows: Rows | None = None
        while True:
            try:
                step = steps.send(rows)
            except StopIteration as end:
                completion: Completion = end.value
                return completion
            rows = None
            if isinstance(step, Evaluation):
                rows = context.evaluate({0: step})[0]
            else:
                yield step

    def _keep_pace(self, n_tokens: int, seconds: float) -> None:
        """Adapt the number of threads to how long a batch took; a number that the user chose stays."""
        if not self._gives_way:
            return
        before = self._pace.n_threads
        if n_tokens == 1:
            self._pace.step(seconds)
        elif n_tokens > ALIKE:
            self._pace.prefill(seconds, n_tokens)
        if self._pace.n_threads != before:
            for conversation in self._conversations.values():
                conversation.context.set_n_threads(self._pace.n_threads, self._pace.n_threads_prefill)
