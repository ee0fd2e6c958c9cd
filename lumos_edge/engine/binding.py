"""What of llama.cpp the engine needs, over the ctypes functions of llama-cpp-python.

Only the modules of this folder import the binding. It is pinned to one minor version, because the layout of
llama.cpp's structs changes between versions; always start from `*_default_params()`.
"""

from __future__ import annotations

import os

# Without this an abort inside ggml starts a debugger where one is installed (ggml.c, ggml_print_backtrace).
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import ctypes
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp as lib
import llguidance
import numpy as np
from llama_cpp import _ggml
from llama_cpp._ctypes_extensions import load_shared_library

from lumos_edge.engine import PINNED_BINDING
from lumos_edge.engine.prefix import PrefixStates
from lumos_edge.errors import AdapterMismatch, EngineError, ModelLoadError
from lumos_edge.resources import cache_folder

# Texts of tokens that end a turn. llama.cpp guesses more of them from a token's text, such as `</s>` in the Qwen
# vocabulary, which there is an ordinary piece of HTML.
_END_OF_TURN = frozenset({"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"})

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_MAX_TOKEN_BYTES = 1 << 14

_WARN, _ERROR, _CONT = 3, 4, 5  # enum ggml_log_level, ggml.h (the binding's own table of them is out of date)


class _Log:
    """The library's last warnings and errors; nothing of it is printed."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=20)
        self._open = False
        # ctypes does not keep the callback alive, so this object does.
        self.callback = lib.llama_log_callback(self._receive)
        lib.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == _CONT and self._open:
            self._lines[-1] += line
        elif level in (_WARN, _ERROR):
            self._lines.append(line)
        self._open = level in (_WARN, _ERROR) or (level == _CONT and self._open)

    def clear(self) -> None:
        self._lines.clear()

    def last(self) -> str:
        return "; ".join(list(self._lines)[-2:]) or "llama.cpp gave no reason"


if lib.__version__ != PINNED_BINDING:
    raise EngineError(f"llama-cpp-python {PINNED_BINDING} is needed, {lib.__version__} is installed")
LOG = _Log()
lib.llama_backend_init()


class Model:
    """A GGUF file, memory-mapped, with its vocabulary. Raises ModelLoadError.

    Cost: a base model of 1 GB loads in some 0.2 s mapped (0.4 to 4 s more where its tensors are repacked);
    the tokenizer of the constraint engine takes 0.2 s at 49,000 tokens and 0.7 s at 152,000.
    """

    def __init__(self, path: Path) -> None:
        _check_gguf(path)
        LOG.clear()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = -1 if lib.llama_supports_gpu_offload() else 0
        params.use_extra_bufts = False  # mapped, not repacked: benchmarks/LOG.md, 2026-11-23
        # The SentencePiece prefix space belongs to the start of a text; our pieces continue one. `tokenize` adds it.
        overrides = (lib.llama_model_kv_override * 2)()
        overrides[0].key = b"tokenizer.ggml.add_space_prefix"
        overrides[0].tag = lib.LLAMA_KV_OVERRIDE_TYPE_BOOL
        overrides[0].value.val_bool = False
        params.kv_overrides = overrides
        self.handle = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelLoadError(f"{path} cannot be loaded: {LOG.last()}")
        self.path = path
        self.vocab = lib.llama_model_get_vocab(self.handle)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self.vocab)
        self.n_ctx_train: int = lib.llama_model_n_ctx_train(self.handle)
        self._is_spm = lib.llama_vocab_type(self.vocab) == lib.LLAMA_VOCAB_TYPE_SPM
        self._prefix_space = self._is_spm and self.metadata("tokenizer.ggml.add_space_prefix") != "false"
        self._adapters: dict[Path, Adapter] = {}
        self._n_users = 1
        self._lock = threading.Lock()

    def retain(self) -> Model:
        """The same model for one user more, who closes it too. Raises EngineError when it is closed already."""
        with self._lock:
            if not self.handle:
                raise EngineError(f"{self.path.name} is closed")
            self._n_users += 1
        return self

    @property
    def is_recurrent(self) -> bool:
        """Whether a part of it (Mamba, hybrids such as LFM2) has one state for all of its past.

        Nothing can be taken away from that again: no rejected draft, and no other end of a conversation.
        """
        return bool(lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle))

    def metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text; None when there is none."""
        return _metadata(lib.llama_model_meta_val_str, self.handle, key)

    def token_text(self, token: int) -> str:
        """The text of a token in the vocabulary's own spelling; "" for no token (-1)."""
        return lib.llama_vocab_get_text(self.vocab, token).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def bos(self) -> str:
        """The text of the beginning-of-sequence token; "" when the model was trained without one."""
        return (
            self.token_text(lib.llama_vocab_bos(self.vocab))
            if lib.llama_vocab_get_add_bos(self.vocab)
            else ""
        )

    @property
    def eos(self) -> str:
        """The text of the end-of-sequence token."""
        return self.token_text(lib.llama_vocab_eos(self.vocab))

    def end_tokens(self) -> list[int]:
        """The tokens that end a completion: end of sequence, end of turn, and no guessed ones."""
        own = {lib.llama_vocab_eos(self.vocab), lib.llama_vocab_eot(self.vocab)}
        for text in _END_OF_TURN:
            tokens = self.tokenize(text, control=True)
            if len(tokens) == 1:
                own.add(tokens[0])
        return sorted(token for token in own if token >= 0)

    def tokenize(self, text: str, *, control: bool = False, starts_text: bool = False) -> list[int]:
        """The publisher's token ids of a text. Only with `control` does it become control tokens.

        `starts_text`: it stands first or after a control token, where SentencePiece puts its prefix space.
        """
        if starts_text and self._prefix_space and text:
            text = " " + text
        data = text.encode("utf-8")
        capacity = len(data) + 8
        tokens = (lib.llama_token * capacity)()
        count = lib.llama_tokenize(self.vocab, data, len(data), tokens, capacity, False, control)
        if count < 0:
            raise EngineError(f"a text of {len(data)} bytes became more than {capacity} tokens")
        return list(tokens[:count])

    def is_control(self, text: str) -> bool:
        """Whether the vocabulary has this text as one control token."""
        tokens = self.tokenize(text, control=True)
        return len(tokens) == 1 and bool(lib.llama_vocab_is_control(self.vocab, tokens[0]))

    @functools.cached_property
    def constraint_tokenizer(self) -> llguidance.LLTokenizer:
        """The vocabulary for the constraint engine; about 2 us for each token.

        What `llguidance.llamacpp.lltokenizer_from_vocab` makes, in half its time: without its call of a deprecated
        function for each token, and without slices, which serve JSON and have no effect under our grammars.
        """
        tokenize = ctypes.cast(lib.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
        return llguidance.LLTokenizer.from_llamacpp(
            tokens=self._token_texts(),
            vocab_ptr=self.vocab,
            tokenize_fptr=tokenize,
            eos_token=self.end_tokens(),
            slices=[],
        )

    def _token_texts(self) -> list[bytes]:
        """Each token's bytes, as `_read_token_texts` reads them: kept in the cache folder, for a third of its time."""
        kept = PrefixStates(cache_folder() / "prefixes", [self.path], ["token texts", "0xff: control"])
        content = kept.load([])
        if content is not None:
            return _split(content)
        texts = self._read_token_texts()
        kept.save([], np.asarray([self.n_vocab, *map(len, texts)], dtype="<i4").tobytes() + b"".join(texts))
        return texts

    def _read_token_texts(self) -> list[bytes]:
        """llguidance wants 0xff before the bytes of control tokens, and of what looks like one."""
        buffer = ctypes.create_string_buffer(_MAX_TOKEN_BYTES)
        content = memoryview(buffer)
        texts = []
        for token in range(self.n_vocab):
            size = lib.llama_token_to_piece(self.vocab, token, buffer, _MAX_TOKEN_BYTES, 0, True)
            if size < 0:
                raise ModelLoadError(
                    f"{self.path}: token {token} has {-size} bytes, at most {_MAX_TOKEN_BYTES} are read"
                )
            text = bytes(content[:size])
            attributes = lib.llama_vocab_get_attr(self.vocab, token)
            is_marked = (
                attributes & lib.LLAMA_TOKEN_ATTR_USER_DEFINED and text[:1] == b"<" and text[-1:] == b">"
            )
            if is_marked or attributes & lib.LLAMA_TOKEN_ATTR_CONTROL:
                text = b"\xff" + text
            texts.append(text)
        return texts

    def adapter(self, path: Path) -> Adapter:
        """The adapter of that file, loaded once. Raises ModelLoadError and AdapterMismatch."""
        if path not in self._adapters:
            _check_gguf(path)
            self._check_embedding(path)
            LOG.clear()
            handle = lib.llama_adapter_lora_init(self.handle, os.fsencode(path))
            if not handle:  # a null pointer here is falsy and never None
                raise AdapterMismatch(f"{path} does not fit {self.path.name}: {LOG.last()}")
            self._adapters[path] = Adapter(handle, path)
        return self._adapters[path]

    def _check_embedding(self, adapter: Path) -> None:
        # llama.cpp would put the halves on the output too, where their shapes are wrong, and abort the process.
        if _has_tensor(adapter, f"{_EMBEDDING}.lora_a") and not _has_tensor(self.path, _OUTPUT):
            raise AdapterMismatch(
                f"{adapter} changes the embedding ({_EMBEDDING}), which {self.path.name} also uses as its output: "
                f"it has no {_OUTPUT} of its own"
            )

    def close(self) -> None:
        """Free the weights and the adapters when the last user closes; its contexts must be freed before."""
        with self._lock:
            self._n_users -= 1
            if self._n_users or not self.handle:
                return
            for adapter in self._adapters.values():
                lib.llama_adapter_lora_free(adapter.handle)
            self._adapters.clear()
            self.__dict__.pop("constraint_tokenizer", None)
            lib.llama_model_free(self.handle)
            self.handle = None


class Adapter:
    """A LoRA file that was loaded for a model, which frees it."""

    def __init__(self, handle: Any, path: Path) -> None:
        self.handle = handle
        self.path = path

    def metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text; None when there is none."""
        return _metadata(lib.llama_adapter_meta_val_str, self.handle, key)


class CancelFlag:
    """Stops `llama_decode` from another thread within one node of the graph.

    llama.cpp asks a callback after every node, some thousand times a token. A Python callback would need the
    interpreter lock each time; libc's `strlen` over this buffer answers 0 (go on) or 1 (stop) without it.
    """

    def __init__(self) -> None:
        libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
        self.callback = ctypes.cast(libc.strlen, lib.ggml_abort_callback)
        self._buffer = ctypes.create_string_buffer(2)
        self.argument = ctypes.cast(self._buffer, ctypes.c_void_p)

    def set(self) -> None:
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        self._buffer[0] = b"\x00"

    def is_set(self) -> bool:
        return self._buffer[0] != b"\x00"


def _metadata(read: Callable[..., int], handle: Any, key: str) -> str | None:
    name = key.encode()
    size = read(handle, name, ctypes.create_string_buffer(1), 1)
    if size < 0:
        return None
    buffer = ctypes.create_string_buffer(size + 1)
    read(handle, name, buffer, size + 1)
    return buffer.value.decode("utf-8", "replace")


class _GgufParams(ctypes.Structure):
    """`struct gguf_init_params` (gguf.h)."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


def _has_tensor(path: Path, name: str) -> bool:
    """Whether a GGUF file lists a tensor; False for a file that cannot be read, which llama.cpp then refuses."""
    try:
        with GgufFile.opened(path) as file:
            return file.has_tensor(name)
    except ModelLoadError:
        return False


class GgufFile:
    """What a GGUF file says of itself, read by the parser that llama.cpp itself uses.

    Cost: reads the metadata, for a base model with its vocabulary some 0.1 s.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[GgufFile]:
        """The file while it is looked at; raises ModelLoadError for what is none."""
        _check_gguf(path)
        LOG.clear()
        handle = _gguf().gguf_init_from_file(os.fsencode(path), _GgufParams(no_alloc=True))
        if not handle:
            raise ModelLoadError(f"{path} cannot be read: {LOG.last()}")
        try:
            yield cls(handle)
        finally:
            _gguf().gguf_free(handle)

    def has_tensor(self, name: str) -> bool:
        """Whether the file lists a tensor."""
        return bool(_gguf().gguf_find_tensor(self._handle, name.encode()) >= 0)

    def text(self, key: str) -> str | None:
        """A value that is a text."""
        index = self._find(key, _GGUF_STRING)
        return (
            None
            if index < 0
            else str(_gguf().gguf_get_val_str(self._handle, index).decode("utf-8", "replace"))
        )

    def flag(self, key: str) -> bool:
        """A value that is true or false; False where there is none."""
        index = self._find(key, _GGUF_BOOL)
        return index >= 0 and bool(_gguf().gguf_get_val_bool(self._handle, index))

    def count(self, key: str) -> int:
        """A value that is a number of 32 bits without a sign; 0 where there is none."""
        index = self._find(key, _GGUF_UINT32)
        return int(_gguf().gguf_get_val_u32(self._handle, index)) if index >= 0 else 0

    def end_of_tensors(self) -> int:
        """How many bytes the file has when it is whole."""
        gguf, handle = _gguf(), self._handle
        ends = (
            gguf.gguf_get_tensor_offset(handle, index) + gguf.gguf_get_tensor_size(handle, index)
            for index in range(gguf.gguf_get_n_tensors(handle))
        )
        return int(gguf.gguf_get_data_offset(handle)) + max(ends, default=0)

    def _find(self, key: str, kind: int) -> int:
        """The index of a key whose value is of that kind, below 0 for none: reading another kind aborts the process."""
        index = int(_gguf().gguf_find_key(self._handle, key.encode()))
        return index if index >= 0 and _gguf().gguf_get_kv_type(self._handle, index) == kind else -1


_GGUF_UINT32, _GGUF_BOOL, _GGUF_STRING = 4, 7, 8  # enum gguf_type, gguf.h


@functools.cache
def _gguf() -> Any:
    """The functions of gguf.h, which the binding has not declared."""
    gguf = load_shared_library("ggml-base", _ggml.libggml_base_path)
    handle, index = ctypes.c_void_p, ctypes.c_int64
    for name, arguments, result in (
        ("gguf_init_from_file", [ctypes.c_char_p, _GgufParams], handle),
        ("gguf_free", [handle], None),
        ("gguf_find_key", [handle, ctypes.c_char_p], index),
        ("gguf_get_kv_type", [handle, index], ctypes.c_int),
        ("gguf_get_val_str", [handle, index], ctypes.c_char_p),
        ("gguf_get_val_u32", [handle, index], ctypes.c_uint32),
        ("gguf_get_val_bool", [handle, index], ctypes.c_bool),
        ("gguf_find_tensor", [handle, ctypes.c_char_p], index),
        ("gguf_get_n_tensors", [handle], index),
        ("gguf_get_data_offset", [handle], ctypes.c_size_t),
        ("gguf_get_tensor_offset", [handle, index], ctypes.c_size_t),
        ("gguf_get_tensor_size", [handle, index], ctypes.c_size_t),
    ):
        function = getattr(gguf, name)
        function.argtypes, function.restype = arguments, result
    return gguf


def _split(content: memoryview) -> list[bytes]:
    """Texts behind their number and their lengths (int32)."""
    n_texts = int(np.frombuffer(content[:4], dtype="<i4")[0])
    lengths = np.frombuffer(content[4 : 4 + 4 * n_texts], dtype="<i4")
    ends = (4 + 4 * n_texts + np.cumsum(lengths)).tolist()
    joined, begins = bytes(content), [4 + 4 * n_texts, *ends]
    return [joined[begin:end] for begin, end in zip(begins, ends, strict=False)]


def _check_gguf(path: Path) -> None:
    """Refuse what is no GGUF file before llama.cpp sees it, with what was found."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise ModelLoadError(f"{path} is no GGUF file: it begins with {magic!r}, b'GGUF' was expected")
