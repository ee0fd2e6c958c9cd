"""What weights see of a picture: a projector file makes embeddings of it, which stand among the tokens of a prompt.

llama.cpp's multimodal library (mtmd) cuts a picture up as its family wants it and encodes it. Each embedding has a
number below 0 in the place of a token's, made of the picture's hash and of where it stands. So a KV cache knows a
picture again as it does text, and neither encodes nor evaluates it for a second question.
"""

from __future__ import annotations

import ctypes
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import llama_cpp as lib
import numpy as np
import numpy.typing as npt
from llama_cpp import mtmd_cpp as mtmd

from lumos_edge.engine.binding import LOG, CancelFlag, GgufFile, Model
from lumos_edge.errors import Cancelled, EngineError, ModelLoadError, PictureError
from lumos_edge.images import Image

Embeddings: TypeAlias = npt.NDArray[np.float32]
"""Shape `(n_tokens, n_embd)`, of the model's own width."""

_MAX_EMBEDDINGS = 1 << 14
"""Of one picture; LLaVA has 576, SmolVLM 64 for each of at most 17 pieces of a picture."""

_N_KEPT = 8
"""Pictures whose embeddings stay: at most 10 MB each for LLaVA of 7B."""

_M_ROPE = (lib.LLAMA_ROPE_TYPE_MROPE, lib.LLAMA_ROPE_TYPE_IMROPE)

# What mtmd takes as given in these families, and crashes without.
_NEEDED = {
    "mlp": ("v.patch_embd.weight", "v.position_embd.weight", "mm.0.weight", "mm.2.weight"),
    "idefics3": ("v.patch_embd.weight", "mm.model.fc.weight"),
}
_MAX_LAYERS = 1000


@dataclass
class _Seen:
    """A picture as its family lays it out: tokens, and numbers below 0 for embeddings."""

    tokens: list[int]
    embeddings: Embeddings | None = None


class Vision:
    """A projector, loaded for a model. Calls come from one thread at a time.

    Raises ModelLoadError for a file that is no projector, is cut off, or does not fit the model, and for models that
    place a picture in two dimensions (M-RoPE: Qwen-VL) or look ahead in it (Gemma 3). Cost: the file's size in memory.
    Encoding is stopped by a `CancelFlag` only between the pieces that a picture was cut into.
    """

    def __init__(self, model: Model, path: Path, n_threads: int) -> None:
        _check_projector(path)
        if lib.llama_model_rope_type(model.handle) in _M_ROPE:
            raise ModelLoadError(
                f"{model.path.name} places a picture in two dimensions (M-RoPE), which is not supported; LLaVA and "
                "SmolVLM are"
            )
        self._model = model
        self._path = path
        self._n_embd: int = lib.llama_model_n_embd_inp(model.handle)
        self._handle = self._load(n_threads)
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        # A prompt holds its pictures as long as it is in use.
        self._images: WeakValueDictionary[int, Image] = WeakValueDictionary()

    def _load(self, n_threads: int) -> Any:
        mtmd.mtmd_helper_log_set(LOG.callback, ctypes.c_void_p(0))
        LOG.clear()
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = bool(lib.llama_supports_gpu_offload())
        params.print_timings = False
        params.n_threads = n_threads
        handle = mtmd.mtmd_init_from_file(os.fsencode(self._path), self._model.handle, params)
        if not handle:
            raise ModelLoadError(f"{self._path} does not fit {self._model.path.name}: {LOG.last()}")
        if mtmd.mtmd_decode_use_non_causal(handle, None):
            mtmd.mtmd_free(handle)
            raise ModelLoadError(f"{self._path}: models that look ahead in a picture are not supported")
        return handle

    def tokens(self, image: Image) -> list[int]:
        """What stands for the picture in a prompt, the text that its family puts round it included.

        Raises PictureError, EngineError. Cost: decoding and resizing the picture, once.
        """
        key = _key(image)
        self._images[key] = image
        return self._known(key).tokens

    def embeddings(self, numbers: Sequence[int], flag: CancelFlag) -> Embeddings:
        """The embeddings that these numbers stand for; encodes their picture if it is not kept. Raises Cancelled."""
        found = np.empty((len(numbers), self._n_embd), np.float32)
        for row, number in enumerate(numbers):
            key, index = divmod(-1 - number, _MAX_EMBEDDINGS)
            seen = self._known(key)
            if seen.embeddings is None:
                seen.embeddings = self._encoded(self._images[key], flag)
            found[row] = seen.embeddings[index]
        return found

    def close(self) -> None:
        """Free the projector, before its model."""
        self._seen.clear()
        mtmd.mtmd_free(self._handle)

    def _known(self, key: int) -> _Seen:
        if key not in self._seen:
            with self._chunks(self._images[key]) as chunks:
                self._seen[key] = _Seen(list(self._laid_out(key, chunks)))
            if len(self._seen) > _N_KEPT:
                self._seen.popitem(last=False)
        self._seen.move_to_end(key)
        return self._seen[key]

    @contextmanager
    def _chunks(self, image: Image) -> Iterator[list[Any]]:
        """The picture cut up: chunks of text and of picture in their order."""
        width, height, pixels = image.pixels()
        buffer = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
        bitmap = mtmd.mtmd_bitmap_init(width, height, buffer)
        chunks = mtmd.mtmd_input_chunks_init()
        marker = mtmd.mtmd_get_marker(self._handle)
        text = mtmd.mtmd_input_text(marker, len(marker), False, True)
        try:
            LOG.clear()
            bitmaps = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            if mtmd.mtmd_tokenize(self._handle, chunks, ctypes.byref(text), bitmaps, 1):
                raise PictureError(f"{image.path} cannot be prepared for {self._path.name}: {LOG.last()}")
            n_chunks = mtmd.mtmd_input_chunks_size(chunks)
            yield [mtmd.mtmd_input_chunks_get(chunks, index) for index in range(n_chunks)]
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            mtmd.mtmd_bitmap_free(bitmap)

    def _laid_out(self, key: int, chunks: Sequence[Any]) -> Iterator[int]:
        n_embeddings = 0
        for chunk in chunks:
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                yield from self._text(chunk)
                continue
            end = n_embeddings + mtmd.mtmd_input_chunk_get_n_tokens(chunk)
            if end > _MAX_EMBEDDINGS:
                raise EngineError(
                    f"{self._path.name} makes more than {_MAX_EMBEDDINGS:,} tokens of a picture"
                )
            yield from (-1 - (key * _MAX_EMBEDDINGS + index) for index in range(n_embeddings, end))
            n_embeddings = end

    def _text(self, chunk: Any) -> list[int]:
        size = ctypes.c_size_t()
        found = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(size))
        tokens = list(found[: size.value])
        if min(tokens, default=0) < 0:
            raise EngineError(
                f"{self._model.path.name} lacks a token that {self._path.name} puts round a picture: they do not "
                "belong together"
            )
        return tokens

    def _encoded(self, image: Image, flag: CancelFlag) -> Embeddings:
        parts = []
        with self._chunks(image) as chunks:
            for chunk in chunks:
                if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                    continue
                if flag.is_set():
                    raise Cancelled("cancelled")
                parts.append(self._encode(chunk))
        return np.concatenate(parts)

    def _encode(self, chunk: Any) -> Embeddings:
        LOG.clear()
        if mtmd.mtmd_encode_chunk(self._handle, chunk):
            raise EngineError(f"{self._path.name} cannot encode a picture: {LOG.last()}")
        shape = mtmd.mtmd_input_chunk_get_n_tokens(chunk), self._n_embd
        return np.ctypeslib.as_array(mtmd.mtmd_get_output_embd(self._handle), shape=shape).copy()


def _key(image: Image) -> int:
    """48 bits of the picture's hash: with an embedding's place they fit into 62."""
    return int(image.sha256[:12], 16)


def _check_projector(path: Path) -> None:
    """Refuse what mtmd would read as noise, or crash on, with what was found."""
    with GgufFile.opened(path) as file:
        if file.text("general.architecture") != "clip" or not file.flag("clip.has_vision_encoder"):
            raise ModelLoadError(
                f"{path} is no projector of pictures: expected a GGUF file of the architecture clip with a vision "
                f"encoder, found {file.text('general.architecture')!r}"
            )
        kind = file.text("clip.projector_type") or file.text("clip.vision.projector_type") or ""
        missing = next((name for name in _needed(file, kind) if not file.has_tensor(name)), None)
        if missing:
            raise ModelLoadError(
                f"{path} lacks the tensor {missing}, which a projector of its kind ({kind}) has"
            )
        n_bytes, found = file.end_of_tensors(), path.stat().st_size
    if found < n_bytes:
        raise ModelLoadError(f"{path} is cut off: it has {found:,} bytes, its tensors end at {n_bytes:,}")


def _needed(file: GgufFile, kind: str) -> Iterator[str]:
    """The names of tensors that have to be there, for a family that is known."""
    if kind not in _NEEDED:
        return
    yield from _NEEDED[kind]
    for layer in range(min(file.count("clip.vision.block_count"), _MAX_LAYERS)):
        if not file.has_tensor(f"v.blk.{layer}.attn_qkv.weight"):
            yield from (f"v.blk.{layer}.attn_{name}.weight" for name in ("q", "k", "v"))
