"""The engine on llama.cpp: one base model, and for each module one context with its own adapter and KV cache, or that
of the module whose conversation it continues.

What a conversation has in the cache is `conversation`'s matter, the decode loop is in `decoding`.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import Adapter, CancelFlag, Model
from lumos_edge.engine.context import Context, n_common
from lumos_edge.engine.conversation import Conversation, drive
from lumos_edge.engine.decoding import Vocabulary
from lumos_edge.engine.drafts import MAX_DRAFT, Acceptance
from lumos_edge.engine.pieces import PieceTokens
from lumos_edge.engine.prefix import MIN_TOKENS, PrefixStates
from lumos_edge.engine.threads import Speed, ThreadPace, measured_speed
from lumos_edge.errors import AdapterMismatch, EngineError, ModelLoadError
from lumos_edge.resources import cache_folder
from lumos_edge.trajectory import Module

if TYPE_CHECKING:
    from lumos_edge.engine.vision import Vision


class LlamaEngine:
    """An `Engine` on a GGUF file, or on a loaded model that several engines share.

    One completion runs at a time; calls from other threads wait for their turn. `adapters` maps a module to its LoRA
    file; modules without one run the base model. With a `projector` (an mmproj file) prompts may hold pictures. `n_ctx`
    tokens is the context window of each module; 0 takes what the model was trained with, 4,096 at most. `n_threads` 0
    measures what is fastest, once for each model, and gives way while the machine is busy. `has_drafts` False evaluates
    nothing on a guess, which only a comparison wants. Raises ModelLoadError, AdapterMismatch, EngineError.
    """

    def __init__(
        self,
        model: Path | Model,
        *,
        adapters: Mapping[Module, Path] | None = None,
        projector: Path | None = None,
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
            self.vision = self._vision(projector) if projector else None
        except EngineError:
            self.model.close()
            raise
        self._vocabulary = Vocabulary(self.model)
        self._has_drafts = has_drafts and not self.model.is_recurrent
        self._conversations: dict[Module, Conversation] = {}
        self._contexts: list[Context] = []
        self._prefixes: dict[Module, list[int]] = {}
        self._continued: dict[Module, Module] = {}
        self._flag = CancelFlag()
        self._lock = threading.Lock()
        self._is_closed = False

    def _adapter(self, module: Module, file: Path) -> Adapter:
        adapter = self.model.adapter(file)
        trained = adapter.metadata("lumos.module")
        if trained and trained != module:
            raise AdapterMismatch(f"{file} was trained as the {trained}, here it would be the {module}")
        return adapter

    def _vision(self, projector: Path) -> Vision:
        try:
            from lumos_edge.engine.vision import Vision
        except OSError as error:  # a build with LLAVA_BUILD=OFF has no libmtmd
            raise EngineError(f"this build of llama-cpp-python sees no pictures: {error}") from error
        return Vision(self.model, projector, self._pace.n_threads_prefill)

    def set_prefix(
        self, module: Module, prompts: Sequence[Prompt], *, continues: Module | None = None
    ) -> None:
        """Name what the module's prompts begin with, by prompts that have only that in common.

        It is evaluated once for all processes: its state is kept in the cache folder. A module whose prompts always
        continue those of another, on the same adapter, goes on in that one's KV cache.
        """
        if continues and self.adapters.get(continues) is self.adapters.get(module):
            self._continued[module] = continues
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
            tokens = conversation.tokens(prompt, max_tokens)
            steps = conversation.steps(tokens, grammar, max_tokens, sampling)
            return (yield from drive(steps, conversation.evaluate))

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
            self._conversations.clear()
            for context in [*self._contexts]:
                self.free(context)
            if self.vision:
                self.vision.close()
            self.model.close()

    # -- contexts ---------------------------------------------------------------------------------------------------

    def _conversation(self, module: Module) -> Conversation:
        if self._is_closed:
            raise EngineError("the engine is closed")
        if module not in self._conversations:
            if module in self._continued:
                context = self._conversation(self._continued[module]).context
            else:
                n_rows = 1 + MAX_DRAFT if self._has_drafts else 1
                context = self.new_context(module, self._flag, n_rows=n_rows)
            self._conversations[module] = self.new_conversation(
                module, context, 0, has_drafts=self._has_drafts
            )
        return self._conversations[module]

    def new_context(
        self, module: Module, flag: CancelFlag, *, n_rows: int, n_sequences: int = 1, n_cells: int = 0
    ) -> Context:
        """A context for conversations of the module, and of those with the same adapter; `free` frees it."""
        context = Context(
            self.model,
            n_ctx=self.n_ctx,
            flag=flag,
            on_batch=self._keep_pace,
            n_rows=n_rows,
            n_sequences=n_sequences,
            n_cells=n_cells,
            adapter=self.adapters.get(module),
            vision=self.vision,
        )
        context.set_n_threads(self._pace.n_threads, self._pace.n_threads_prefill)
        self._contexts.append(context)
        return context

    def new_conversation(
        self, module: Module, context: Context, sequence: int, *, has_drafts: bool
    ) -> Conversation:
        """A conversation of the module in a sequence of such a context."""
        weights = [self.model.path, *([context.adapter.path] if context.adapter else [])]
        return Conversation(
            self._vocabulary,
            context,
            sequence,
            PieceTokens(self.model, self.vision),
            self._prefixes.get(module, []),
            PrefixStates(cache_folder() / "prefixes", weights, [self.n_ctx]),
            Acceptance(self.speed.costs) if has_drafts else None,
        )

    def free(self, context: Context) -> None:
        """Give a context's memory back."""
        self._contexts.remove(context)
        context.close()

    def _keep_pace(self, n_tokens: int, seconds: float) -> None:
        """Adapt the number of threads to how long a batch took; a number that the user chose stays."""
        if not self._gives_way:
            return
        before = self._pace.n_threads
        self._pace.note(n_tokens, seconds)
        if self._pace.n_threads != before:
            for context in self._contexts:
                context.set_n_threads(self._pace.n_threads, self._pace.n_threads_prefill)
