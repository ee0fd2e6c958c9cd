"""Importance computed here: what each weight is multiplied with when llama.cpp reads a text.

As `llama-imatrix` does (llama.cpp, `tools/imatrix/imatrix.cpp`, collect_imatrix, commit 0c1e57098), which the binding
does not ship: the scheduler's callback sees every matrix multiplication, and its second operand is the input of the
weight. Only the weights of the layers are watched, not the output.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import _ggml
from llama_cpp._ctypes_extensions import load_shared_library

from lumos_edge.conversion.native_model import open_model
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError

N_CHUNK = 512
"""Tokens that are read at once, without what stood before them: as many as `llama-imatrix` takes."""


class _Tensor(ctypes.Structure):
    """`struct ggml_tensor` up to its name (ggml.h at the commit above)."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
    )


_GGML_TYPE_F32 = 0


@dataclass(frozen=True)
class Calibration:
    """Mean squared input of each channel (float32) by tensor name, and how much was read for it."""

    importance: dict[str, Array]
    n_chunks: int
    n_tokens: int


def calibrate(model: Path, texts: Sequence[str], advance: Callable[[int], None]) -> Calibration:
    """Read the texts with a GGUF model; special tokens written out in them count as such. `advance` is told each text.

    Cost: one prefill, and memory for the logits of 512 tokens. Raises ConversionError when a text has no tokens, when
    activations are not finite or llama.cpp's tensors are laid out differently; ModelLoadError.
    """
    sums, n_chunks, n_tokens = _Sums(), 0, 0
    with open_model(model) as native:
        for text in texts:
            for chunk in _chunks(native.tokenize(text)):
                native.logits(chunk, sums.callback)
                sums.check(model)
                n_chunks, n_tokens = n_chunks + 1, n_tokens + len(chunk)
            advance(1)
    importance = sums.means()
    if not importance:
        raise ConversionError(f"{model} multiplied no weight of a layer in {n_tokens} tokens")
    for name, values in importance.items():
        if not np.isfinite(values).all():
            raise ConversionError(f"{model}: the inputs of {name} are infinite or not a number")
    return Calibration(importance, n_chunks, n_tokens)


def _chunks(tokens: Sequence[int]) -> Iterator[Sequence[int]]:
    if not tokens:
        raise ConversionError("a text to calibrate on has no tokens, expected at least one")
    for start in range(0, len(tokens), N_CHUNK):
        yield tokens[start : start + N_CHUNK]


class _Sums:
    """Squares of the inputs of each weight, summed over tokens.

    An exception cannot leave a ctypes callback, so an unexpected layout is kept until `check`; until then nothing is
    read through it.
    """

    def __init__(self) -> None:
        self._squares: dict[str, Array] = {}
        self._n_rows: dict[str, int] = {}
        self._layout_differs = False
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._see)

    def check(self, model: Path) -> None:
        """Raise ConversionError when llama.cpp's tensors are not laid out as ours."""
        if self._layout_differs:
            raise ConversionError(
                f"{model} cannot be calibrated: tensors of llama-cpp-python {llama_cpp.__version__} have another "
                "layout than ours; use --imatrix"
            )

    def means(self) -> dict[str, Array]:
        """What was summed, divided by the tokens."""
        return {
            name: (squares / self._n_rows[name]).astype(np.float32) for name, squares in self._squares.items()
        }

    def _see(self, address: int, is_question: bool, _user: object) -> bool:
        """Called before a node with the question whether to call again after it; false then would end the decoding."""
        ggml = _ggml_base()
        # Whatever were inserted before the name, or resized, would move it.
        self._layout_differs |= ggml.ggml_get_name(address) - address != _Tensor.name.offset
        if self._layout_differs:
            return not is_question
        node = _Tensor.from_address(address)
        if ggml.ggml_op_desc(address) != b"MUL_MAT":
            return not is_question
        weight, inputs = _Tensor.from_address(node.src[0]), _Tensor.from_address(node.src[1])
        name = weight.name.decode("utf-8", "replace")
        if not name.startswith("blk.") or inputs.type != _GGML_TYPE_F32:
            return not is_question
        if not is_question:
            self._add(name, _values(node.src[1], inputs))
        return True

    def _add(self, name: str, rows: Array) -> None:
        squares = np.square(rows, dtype=np.float64).sum(0)
        self._squares[name] = self._squares.get(name, 0) + squares
        self._n_rows[name] = self._n_rows.get(name, 0) + len(rows)


def _values(address: int, tensor: _Tensor) -> Array:
    """A float32 tensor wherever it lies, shape `(n_rows, n_channels)`."""
    ggml = _ggml_base()
    assert ggml.ggml_is_contiguous(address), "the graphs of language models multiply whole activations"
    values = np.empty((ggml.ggml_nrows(address), tensor.ne[0]), np.float32)
    ggml.ggml_backend_tensor_get(address, values.ctypes.data, 0, values.nbytes)
    return values


@cache
def _ggml_base() -> Any:
    """ggml's own accessors, of the library that the binding has loaded."""
    ggml = load_shared_library("ggml-base", _ggml.libggml_base_path)
    tensor = ctypes.c_void_p
    for name, result, arguments in (
        ("ggml_get_name", ctypes.c_void_p, [tensor]),
        ("ggml_op_desc", ctypes.c_char_p, [tensor]),
        ("ggml_nrows", ctypes.c_int64, [tensor]),
        ("ggml_is_contiguous", ctypes.c_bool, [tensor]),
        ("ggml_backend_tensor_get", None, [tensor, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]),
    ):
        function = getattr(ggml, name)
        function.restype, function.argtypes = result, arguments
    return ggml
