"""A finished GGUF file in llama.cpp: what its tokenizer and its weights say, to compare with the source.

Not the engine: it computes the logits of every position, keeps nothing between calls, and holds keys and
values in float32, so that only the weights differ.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from lumos_edge.conversion.native_log import Line, last_error, record_log
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import AdapterMismatch, ModelLoadError

_KV_ALIGNMENT = 256  # llama.cpp rounds a context up to this many tokens


class NativeModel:
    """A model file, with an adapter file on top if there is one."""

    def __init__(self, model: Any, adapter: Any, log: list[Line]) -> None:
        self._model = model
        self._adapter = adapter
        self._log = log
        self._vocab = llama_cpp.llama_model_get_vocab(model)
        self.n_vocab = int(llama_cpp.llama_vocab_n_tokens(self._vocab))

    def tokenize(self, text: str) -> list[int]:
        """Token ids of `text`, special tokens written out in it included, none added."""
        data = text.encode()
        capacity = len(data) + 2
        ids = (llama_cpp.llama_token * capacity)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), ids, capacity, False, True)
        assert n >= 0, "a token has at least one byte, or is the prefix"
        return list(ids[:n])

    def control_texts(self) -> frozenset[str]:
        """What is a control token when it stands in a text.

        llama.cpp's loader adds some by their spelling, whatever the file says: `</s>` in every model
        (`src/llama-vocab.cpp`, load, commit 0c1e57098). Cost: 0.1 s.
        """
        control = (i for i in range(self.n_vocab) if llama_cpp.llama_vocab_is_control(self._vocab, i))
        return frozenset(llama_cpp.llama_vocab_get_text(self._vocab, i).decode() for i in control)

    def logits(self, tokens: Sequence[int], on_node: Any = None) -> Array:
        """Logits after each of `tokens`, float32, shape `(n_tokens, n_vocab)`. Cost: one prefill.

        `on_node`, a `ggml_backend_sched_eval_callback`, sees the nodes of the graph (llama.h, `cb_eval`).
        Raises ValueError for no tokens or an id outside the vocabulary.
        """
        if not tokens or not 0 <= min(tokens) <= max(tokens) < self.n_vocab:
            raise ValueError(f"expected token ids from 0 to {self.n_vocab - 1}, and at least one")
        with self._context(len(tokens), on_node) as context:
            _decode(context, tokens)
            rows = llama_cpp.llama_get_logits(context)
            return np.ctypeslib.as_array(rows, (len(tokens), self.n_vocab)).copy()

    @contextmanager
    def _context(self, n_tokens: int, on_node: Any) -> Iterator[Any]:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = -(-n_tokens // _KV_ALIGNMENT) * _KV_ALIGNMENT
        parameters.n_batch = parameters.n_outputs_max = n_tokens
        parameters.n_ubatch = min(n_tokens, 512)
        parameters.n_threads = parameters.n_threads_batch = os.cpu_count() or 1
        parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it rounds to float16
        parameters.swa_full = True
        parameters.op_offload = False  # weights keep their names and places: no copies of them on a GPU
        if on_node is not None:
            parameters.cb_eval = on_node
        context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not context:
            raise ModelLoadError(f"no context of {n_tokens} tokens: {last_error(self._log)}")
        try:
            if self._adapter is not None:
                adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self._adapter)
                llama_cpp.llama_set_adapters_lora(context, adapters, 1, (ctypes.c_float * 1)(1.0))
            yield context
        finally:
            llama_cpp.llama_free(context)


@contextmanager
def open_model(path: Path, adapter: Path | None = None) -> Iterator[NativeModel]:
    """Load a model and an adapter; freed at the end. Raises ModelLoadError and AdapterMismatch."""
    parameters = llama_cpp.llama_model_default_params()
    # Plain rows in every tensor: repacked ones are rounded differently.
    parameters.n_gpu_layers, parameters.use_extra_bufts = 0, False
    with record_log() as log:
        model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise ModelLoadError(f"{path}: {last_error(log)}")
        try:
            yield NativeModel(model, None if adapter is None else _load_adapter(model, adapter, log), log)
        finally:
            llama_cpp.llama_model_free(model)  # frees its adapters


def _load_adapter(model: Any, path: Path, log: list[Line]) -> Any:
    adapter = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
    if not adapter:
        raise AdapterMismatch(f"{path}: {last_error(log)}")
    return adapter


def _decode(context: Any, tokens: Sequence[int]) -> None:
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        status = llama_cpp.llama_decode(context, batch)
    finally:
        llama_cpp.llama_batch_free(batch)
    if status != 0:
        raise ModelLoadError(f"llama.cpp cannot compute {len(tokens)} tokens: llama_decode gives {status}")
