"""Our decode loop on llama.cpp: one base model, and for each module one context with its own adapter and KV cache.

A KV cache is append-only as long as a module's conversation is: the tokens it shares with the next prompt are
never evaluated again. Tokens that the grammar dictates are not sampled: they ride in the next batch.
"""

from __future__ import annotations

import codecs
import ctypes
import threading
import time
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import llama_cpp as lib
import numpy as np
import numpy.typing as npt

from lumos_edge.engine import Completion, Control, Grammar, Prompt, Sampling
from lumos_edge.engine.binding import LOG, Adapter, CancelFlag, Model
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.engine.sampling import Sampler
from lumos_edge.engine.threads import ThreadPace, measured_n_threads
from lumos_edge.errors import AdapterMismatch, Cancelled, ContextWindowExceeded, EngineError
from lumos_edge.trajectory import Module

# Tokens of one llama_decode call: a cancelled prefill stops within one batch, and Metal checks only between them.
_N_BATCH = 256

# Within this many tokens of the limit the loop closes what is open instead of asking the model (see `_closing`).
_CLOSING_TOKENS = 48

# What closes, in the order in which it is tried: an end, a bracket, the next argument, the other side of a relation,
# and the shortest operand where there has to be one.
_CLOSERS = ("\n", ")", "]", ",", "=", "<", "1", " ")


@dataclass
class _Context:
    """One module's llama_context: its KV cache and what is in it."""

    handle: Any
    memory: Any
    batch: Any
    tokens: list[int] = field(default_factory=list)
    """The tokens whose keys and values are in the cache, by position."""
    pieces: list[tuple[str | Control, list[int]]] = field(default_factory=list)
    """The last prompt and its completion with their tokens: a prompt that begins alike is not tokenized anew."""


class LlamaEngine:
    """An `Engine` on a GGUF file, or on a loaded model that several engines share.

    One completion runs at a time; calls from other threads wait for their turn. `adapters` maps a module to its LoRA
    file; modules without one run the base model. `n_ctx` tokens is the context window of each module; 0 takes what the
    model was trained with, 4,096 at most. `n_threads` 0 measures what is fastest, once for each model, and gives way
    while the machine is busy. Raises ModelLoadError, AdapterMismatch, EngineError.
    """

    def __init__(
        self,
        model: Path | Model,
        *,
        adapters: Mapping[Module, Path] | None = None,
        n_ctx: int = 0,
        n_threads: int = 0,
    ) -> None:
        self.model = model.retain() if isinstance(model, Model) else Model(model)
        self.n_ctx = n_ctx or min(self.model.n_ctx_train, 4096)
        self.n_threads = n_threads or measured_n_threads(self.model)
        self._pace = None if n_threads else ThreadPace(self.n_threads)
        try:
            self.adapters = {module: self._adapter(module, file) for module, file in (adapters or {}).items()}
        except EngineError:
            self.model.close()
            raise
        self._cache = GrammarCache(self.model.constraint_tokenizer)
        self._end_tokens = frozenset(self.model.end_tokens())
        closers = (self.model.tokenize(text) for text in _CLOSERS)
        self._closers = [tokens[0] for tokens in closers if len(tokens) == 1]
        self._contexts: dict[Module, _Context] = {}
        self._flag = CancelFlag()
        self._lock = threading.Lock()
        self._is_closed = False

    def _adapter(self, module: Module, file: Path) -> Adapter:
        adapter = self.model.adapter(file)
        trained = adapter.metadata("lumos.module")
        if trained and trained != module:
            raise AdapterMismatch(f"{file} was trained as the {trained}, here it would be the {module}")
        return adapter

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
            context = self._context(module)
            pieces = self._tokenize(context, prompt)
            tokens = [token for _, piece in pieces for token in piece]
            if len(tokens) + max_tokens > self.n_ctx:
                raise ContextWindowExceeded(len(tokens) + max_tokens, self.n_ctx)
            digest = zlib.crc32(np.asarray(tokens, dtype=np.int32).tobytes())
            run = _Run(self, context, tokens, Sampler(sampling, digest))
            context.pieces = pieces
            completion = yield from run.decode(grammar, max_tokens)
            context.pieces = [*pieces, (completion.text, run.text_tokens(completion.text))]
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
            del self._cache  # some 30 MB for a large vocabulary
            for context in self._contexts.values():
                lib.llama_batch_free(context.batch)
                lib.llama_free(context.handle)
            self._contexts.clear()
            self.model.close()

    # -- contexts ---------------------------------------------------------------------------------------------------

    def _context(self, module: Module) -> _Context:
        if self._is_closed:
            raise EngineError("the engine is closed")
        if module not in self._contexts:
            self._contexts[module] = self._new_context(module)
        return self._contexts[module]

    def _new_context(self, module: Module) -> _Context:
        LOG.clear()
        params = lib.llama_context_default_params()
        params.n_ctx = self.n_ctx
        params.n_batch = params.n_ubatch = _N_BATCH
        params.n_seq_max = params.n_outputs_max = 1
        params.n_threads = params.n_threads_batch = self.n_threads
        handle = lib.llama_init_from_model(self.model.handle, params)
        if not handle:
            raise EngineError(f"no context of {self.n_ctx} tokens: {LOG.last()}")
        lib.llama_set_abort_callback(handle, self._flag.callback, self._flag.argument)
        if module in self.adapters:
            adapters = (lib.llama_adapter_lora_p_ctypes * 1)(self.adapters[module].handle)
            lib.llama_set_adapters_lora(handle, adapters, 1, (ctypes.c_float * 1)(1.0))
        batch = lib.llama_batch_init(_N_BATCH, 0, 1)
        for row in range(_N_BATCH):
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = 0
        return _Context(handle, lib.llama_get_memory(handle), batch)

    def _keep_pace(self, seconds: float) -> None:
        """Adapt the number of threads to how long one token took; a number that the user chose stays."""
        if self._pace is None or self._pace.step(seconds) == self.n_threads:
            return
        self.n_threads = self._pace.n_threads
        for context in self._contexts.values():
            lib.llama_set_n_threads(context.handle, self.n_threads, self.n_threads)

    # -- tokens -----------------------------------------------------------------------------------------------------

    def _tokenize(self, context: _Context, prompt: Prompt) -> list[tuple[str | Control, list[int]]]:
        """The pieces with their tokens; a piece of the last prompt, or a completion in its place, keeps its own."""
        known = 0
        for (piece, _), new in zip(context.pieces, prompt, strict=False):
            if piece != new:
                break
            known += 1
        pieces = context.pieces[:known]
        for piece in prompt[known:]:
            starts_text = not pieces or isinstance(pieces[-1][0], Control)
            pieces.append((piece, self._piece_tokens(piece, starts_text)))
        return pieces

    def _piece_tokens(self, piece: str | Control, starts_text: bool) -> list[int]:
        if isinstance(piece, str):
            return self.model.tokenize(piece, starts_text=starts_text)
        tokens = self.model.tokenize(piece.text, control=True)
        if len(tokens) != 1:
            raise EngineError(f"{piece.text!r} is no control token of {self.model.path.name}")
        return tokens


class _Run:
    """One completion in progress."""

    def __init__(
        self, engine: LlamaEngine, context: _Context, prompt_tokens: list[int], sampler: Sampler
    ) -> None:
        self._engine = engine
        self._context = context
        self._prompt_tokens = prompt_tokens
        self._sampler = sampler
        self._written: list[int] = []
        self._n_prefilled = self._n_reused = self._n_forced = self._n_masked = 0
        self._prefill_s = self._decode_s = self._constraint_s = 0.0

    def decode(self, grammar: Grammar, max_tokens: int) -> Generator[str, None, Completion]:
        """The loop: forced tokens, evaluation, choice, until the grammar or the model ends the text."""
        cache = self._engine._cache
        compiled_before = cache.compile_s
        started = time.perf_counter()
        constraint = Constraint(cache, grammar)
        self._constraint_s = time.perf_counter() - started
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending = self._reuse_prefix()
        finish: Literal["grammar", "end", "length"] = "length"
        while len(self._written) < max_tokens:
            new = self._forced(constraint)
            if not constraint.done:
                self._evaluate(pending + new)
                token = self._next_token(
                    constraint, closing=len(self._written) > max_tokens - _CLOSING_TOKENS
                )
                if token in self._engine._end_tokens:
                    finish = "end"
                    yield from self._piece(decoder, new)
                    break
                new = [*new, token]
                pending = [token]
            yield from self._piece(decoder, new)
            if constraint.done:
                finish = "grammar"
                break
        return self._completion(finish, cache.compile_s - compiled_before)

    def text_tokens(self, text: str) -> list[int]:
        """The tokens of the completion as the next prompt holds it: without a last newline."""
        tokens = self._written
        decode = self._engine._cache.tokenizer.decode_bytes
        if tokens and decode(tokens[-1:]).strip(b"\n") == b"":
            tokens = tokens[:-1]
        if decode(tokens) == text.encode():
            return tokens
        return self._engine.model.tokenize(text)  # the newline came merged with the last letters: ".\n"

    def _reuse_prefix(self) -> list[int]:
        """Drop what the KV cache holds beyond the common prefix; return the prompt's tokens still to evaluate."""
        context, tokens = self._context, self._prompt_tokens
        common = 0
        for cached, new in zip(context.tokens, tokens, strict=False):
            if cached != new:
                break
            common += 1
        common = min(common, len(tokens) - 1)  # the last one must be evaluated to have its logits
        lib.llama_memory_seq_rm(context.memory, 0, common, -1)
        del context.tokens[common:]
        self._n_reused = common
        return tokens[common:]

    def _forced(self, constraint: Constraint) -> list[int]:
        started = time.perf_counter()
        forced = constraint.forced_tokens()
        self._constraint_s += time.perf_counter() - started
        self._n_forced += len(forced)
        self._written += forced
        return forced

    def _evaluate(self, tokens: list[int]) -> None:
        """Put tokens into the KV cache; logits only for the last. Raises Cancelled, EngineError."""
        context = self._context
        started = time.perf_counter()
        batch = context.batch
        for begin in range(0, len(tokens), _N_BATCH):
            part = tokens[begin : begin + _N_BATCH]
            position = len(context.tokens)
            batch.n_tokens = len(part)
            for row, token in enumerate(part):
                batch.token[row] = token
                batch.pos[row] = position + row
                batch.logits[row] = 0
            batch.logits[len(part) - 1] = begin + len(part) == len(tokens)
            self._decode_batch(batch, position)
            context.tokens += part
        elapsed = time.perf_counter() - started
        if self._n_prefilled == 0:
            self._n_prefilled = len(self._prompt_tokens) - self._n_reused
            self._prefill_s = elapsed
        else:
            self._decode_s += elapsed
            if len(tokens) == 1:
                self._engine._keep_pace(elapsed)

    def _decode_batch(self, batch: Any, position: int) -> None:
        LOG.clear()
        code = 2 if self._engine._flag.is_set() else lib.llama_decode(self._context.handle, batch)
        if code == 0:
            return
        # Whatever of the batch was evaluated is removed, so that `tokens` says what is in the cache.
        lib.llama_memory_seq_rm(self._context.memory, 0, position, -1)
        if code == 2:
            raise Cancelled("cancelled")
        raise EngineError(f"llama_decode failed with {code}: {LOG.last()}")

    def _logits(self) -> npt.NDArray[np.float32]:
        """A view of the last token's logits, shape `(n_vocab,)`; valid until the next evaluation."""
        pointer = lib.llama_get_logits_ith(self._context.handle, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._engine.model.n_vocab,))

    def _next_token(self, constraint: Constraint, *, closing: bool) -> int:
        """The model's choice where the grammar allows it, else its best allowed one."""
        started = time.perf_counter()
        logits = self._logits()
        token = self._closing(constraint) if closing else None
        if token is None:
            token = self._sampler.choose(logits)
            self._decode_s += time.perf_counter() - started
            started = time.perf_counter()
            ends = token in self._engine._end_tokens
            if not (constraint.may_end if ends else constraint.allows(token)):
                self._n_masked += 1
                token = self._sampler.choose(logits, constraint.allowed_tokens())
        if token not in self._engine._end_tokens:
            constraint.consume([token])
            self._written.append(token)
        self._constraint_s += time.perf_counter() - started
        return token

    def _closing(self, constraint: Constraint) -> int | None:
        """Near the token limit: end, or close a bracket, as soon as the grammar lets us; so actions stay whole."""
        if constraint.may_end:
            return next(iter(self._engine._end_tokens))
        return next((token for token in self._engine._closers if constraint.allows(token)), None)

    def _piece(self, decoder: codecs.IncrementalDecoder, tokens: list[int]) -> Generator[str, None, None]:
        text = decoder.decode(self._engine._cache.tokenizer.decode_bytes(tokens))
        if text:
            yield text

    def _completion(self, finish: Literal["grammar", "end", "length"], compile_s: float) -> Completion:
        text = self._engine._cache.tokenizer.decode_bytes(self._written).decode("utf-8", "replace")
        return Completion(
            text.rstrip("\n"),
            finish,
            n_prompt=len(self._prompt_tokens),
            n_reused=self._n_reused,
            n_prefilled=self._n_prefilled,
            n_completion=len(self._written),
            n_forced=self._n_forced,
            n_masked=self._n_masked,
            prefill_s=self._prefill_s,
            decode_s=self._decode_s,
            constraint_s=self._constraint_s - compile_s,  # parts are compiled as the text reaches them
            compile_s=compile_s,
        )
