"""One llama_context: sequences of tokens, their keys and values, and the evaluation of more of them in batches."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import llama_cpp as lib
import numpy as np
import numpy.typing as npt

from lumos_edge.engine.binding import LOG, Adapter, CancelFlag, Model
from lumos_edge.errors import Cancelled, EngineError

if TYPE_CHECKING:
    from lumos_edge.engine.vision import Vision

N_BATCH = 256
"""Tokens of one llama_decode call: a cancelled prefill stops within one batch, and Metal checks only between them."""

Row: TypeAlias = npt.NDArray[np.float32]
"""The logits after one token, shape `(n_vocab,)`: a view that is valid until the context's next evaluation."""

Rows: TypeAlias = list[Row]


@dataclass(frozen=True)
class Evaluation:
    """Tokens to put behind the first `n_kept` of a sequence, and of how many of the last the logits are wanted."""

    n_kept: int
    tokens: list[int]
    n_rows: int = 1


@dataclass(frozen=True)
class _Entry:
    """One token of a batch: whose it is, where it stands, and whether its logits are wanted.

    A number below 0 stands for an embedding of a picture (see `vision`).
    """

    sequence: int
    position: int
    token: int
    is_wanted: bool


@dataclass(eq=False)
class Context:
    """A llama_context for `n_sequences` of at most `n_ctx` tokens, with at most `n_rows` logits rows an evaluation.

    Together the sequences have `n_cells` tokens (0: `n_ctx` each); what one has copied from another counts once.
    Memory: for each cell the keys and values of a token, 23 KB at 135M and 28 KB at 1.5B. `on_batch` is told the tokens
    and the seconds of each batch. `tokens` says for each sequence whose keys and values are in the cache, by position.
    Raises EngineError when there is no memory for it.
    """

    model: Model
    n_ctx: int
    flag: CancelFlag
    on_batch: Callable[[int, float], None]
    n_rows: int = 1
    n_sequences: int = 1
    n_cells: int = 0
    adapter: Adapter | None = None
    vision: Vision | None = None
    tokens: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        LOG.clear()
        params = lib.llama_context_default_params()
        self.n_cells = params.n_ctx = self.n_cells or self.n_ctx * self.n_sequences
        params.n_batch = params.n_ubatch = N_BATCH
        params.n_seq_max = self.n_sequences
        params.n_outputs_max = max(self.n_rows, self.n_sequences)  # llama.cpp reserves one for each sequence
        params.kv_unified = True  # a prefix that sequences share is stored once
        self.handle = lib.llama_init_from_model(self.model.handle, params)
        if not self.handle:
            raise EngineError(f"no context of {params.n_ctx} tokens: {LOG.last()}")
        lib.llama_set_abort_callback(self.handle, self.flag.callback, self.flag.argument)
        if self.adapter:
            adapters = (lib.llama_adapter_lora_p_ctypes * 1)(self.adapter.handle)
            lib.llama_set_adapters_lora(self.handle, adapters, 1, (ctypes.c_float * 1)(1.0))
        self.memory = lib.llama_get_memory(self.handle)
        self.tokens = [[] for _ in range(self.n_sequences)]
        self._batch = _new_batch(0)
        self._picture_batch = (
            _new_batch(lib.llama_model_n_embd_inp(self.model.handle)) if self.vision else None
        )

    def close(self) -> None:
        """Free the cache and the buffers."""
        lib.llama_batch_free(self._batch)
        if self._picture_batch:
            lib.llama_batch_free(self._picture_batch)
        lib.llama_free(self.handle)

    def set_n_threads(self, n_decode: int, n_prefill: int) -> None:
        """Threads from now on: for a single token, and for batches of more."""
        lib.llama_set_n_threads(self.handle, n_decode, n_prefill)

    def n_common(self, sequence: int, tokens: list[int]) -> int:
        """How many of these tokens a sequence begins with, and can keep while the rest of it is dropped."""
        common = n_common(self.tokens[sequence], tokens)
        if self.model.is_recurrent and (common < len(self.tokens[sequence]) or common == len(tokens)):
            return 0
        return common

    def keep(self, sequence: int, n_kept: int) -> None:
        """Drop what a sequence has beyond its first `n_kept` tokens.

        The cache may hold more than `tokens` says: Ctrl-C can come between an evaluation and its entry there.
        """
        del self.tokens[sequence][n_kept:]
        lib.llama_memory_seq_rm(self.memory, sequence, n_kept, -1)

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Make a sequence the first `n_tokens` of another, without memory of its own for them; costs nothing."""
        self.keep(target, 0)
        lib.llama_memory_seq_cp(self.memory, source, target, 0, n_tokens)
        self.tokens[target] = self.tokens[source][:n_tokens]

    def state(self, sequence: int) -> bytes:
        """The keys and values of a sequence in llama.cpp's own form."""
        buffer = (ctypes.c_uint8 * lib.llama_state_seq_get_size(self.handle, sequence))()
        n_bytes = lib.llama_state_seq_get_data(self.handle, buffer, len(buffer), sequence)
        return bytes(buffer)[:n_bytes]

    def restore(self, sequence: int, state: memoryview, tokens: list[int]) -> bool:
        """Put in the keys and values of these tokens in place of what is there; whether llama.cpp took them.

        `state` is writable memory, which is only read.
        """
        self.keep(sequence, 0)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
        if lib.llama_state_seq_set_data(self.handle, buffer, len(state), sequence) != len(state):
            lib.llama_memory_seq_rm(self.memory, sequence, -1, -1)
            return False
        self.tokens[sequence] = list(tokens)
        return True

    def evaluate(self, evaluations: Mapping[int, Evaluation]) -> dict[int, Rows]:
        """The wanted logits for each sequence. Raises Cancelled, EngineError; then only whole batches are kept."""
        for sequence, evaluation in evaluations.items():
            self.keep(sequence, evaluation.n_kept)
        # All rows have to come out of one call, so what has none goes first.
        entries = sorted(self._entries(evaluations), key=lambda entry: entry.is_wanted)
        n_rows = sum(entry.is_wanted for entry in entries)
        batches = list(_batches(entries, n_rows))
        for batch in batches:
            self._decode(batch)
        rows: dict[int, Rows] = {sequence: [] for sequence in evaluations}
        for index, entry in enumerate(batches[-1]):
            if entry.is_wanted:
                rows[entry.sequence].append(self._row(index))
        return rows

    def _entries(self, evaluations: Mapping[int, Evaluation]) -> Iterator[_Entry]:
        for sequence, evaluation in evaluations.items():
            first_wanted = len(evaluation.tokens) - evaluation.n_rows
            for index, token in enumerate(evaluation.tokens):
                yield _Entry(sequence, evaluation.n_kept + index, token, index >= first_wanted)

    def _decode(self, entries: list[_Entry]) -> None:
        batch = self._filled(entries)
        batch.n_tokens = len(entries)
        for row, entry in enumerate(entries):
            batch.pos[row] = entry.position
            batch.seq_id[row][0] = entry.sequence
            batch.logits[row] = entry.is_wanted
        LOG.clear()
        started = time.perf_counter()
        code = 2 if self.flag.is_set() else lib.llama_decode(self.handle, batch)
        if code == 0:
            self.on_batch(len(entries), time.perf_counter() - started)
            for entry in entries:
                self.tokens[entry.sequence].append(entry.token)
            return
        # Whatever of the batch was evaluated is removed, so that `tokens` says what is in the cache.
        for sequence in {entry.sequence for entry in entries}:
            if not lib.llama_memory_seq_rm(self.memory, sequence, len(self.tokens[sequence]), -1):
                self.keep(sequence, 0)
        if code == 2:
            raise Cancelled("cancelled")
        raise EngineError(f"llama_decode failed with {code}: {LOG.last()}")

    def _filled(self, entries: list[_Entry]) -> Any:
        """The batch with these tokens, or with these embeddings of a picture. Raises Cancelled."""
        numbers = [entry.token for entry in entries]
        if numbers[0] >= 0:
            for row, number in enumerate(numbers):
                self._batch.token[row] = number
            return self._batch
        assert self.vision
        assert self._picture_batch
        embeddings = self.vision.embeddings(numbers, self.flag)
        ctypes.memmove(self._picture_batch.embd, embeddings.ctypes.data, embeddings.nbytes)
        return self._picture_batch

    def _row(self, index: int) -> Row:
        pointer = lib.llama_get_logits_ith(self.handle, index)
        return np.ctypeslib.as_array(pointer, shape=(self.model.n_vocab,))


def n_common(first: list[int], second: list[int]) -> int:
    """How many tokens both begin with."""
    n_most = min(len(first), len(second))
    if first[:n_most] == second[:n_most]:
        return n_most
    return next(index for index in range(n_most) if first[index] != second[index])


def _new_batch(n_embd: int) -> Any:
    """A batch of tokens (0), or of embeddings of that width."""
    batch = lib.llama_batch_init(N_BATCH, n_embd, 1)
    for row in range(N_BATCH):
        batch.n_seq_id[row] = 1
    return batch


def _batches(entries: list[_Entry], n_rows: int) -> Iterator[list[_Entry]]:
    """Batches in their order, embeddings apart from tokens; the last one has all the rows."""
    runs = [list(run) for _, run in groupby(entries, key=lambda entry: entry.token < 0)]
    for run in runs:
        begin = 0
        for size in _batch_sizes(len(run), n_rows if run is runs[-1] else 0):
            yield run[begin : begin + size]
            begin += size


def _batch_sizes(n_tokens: int, n_rows: int) -> Iterator[int]:
    """Batches as large as may be, the last one with room for all the rows."""
    while n_tokens > N_BATCH:
        size = min(N_BATCH, n_tokens - n_rows)
        yield size
        n_tokens -= size
    yield n_tokens
