"""Importance matrices: how much each input channel of a tensor matters, as `llama-imatrix` writes them.

Two formats: GGUF (tensors `NAME.in_sum2` and `NAME.counts`), and the older binary one. Source of both:
llama.cpp, `common/imatrix-loader.cpp` and `tools/quantize/quantize.cpp` (load_imatrix), commit 0c1e57098.
"""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np

from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError, TruncatedFile

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_NAME_BYTES = 4096


def read_importance(path: Path) -> dict[str, Array]:
    """Mean squared activation of each input channel, float32, by tensor name.

    Raises ConversionError when the file is none of both formats or holds values that are not finite,
    TruncatedFile when it is cut off.
    """
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
        importance = _read_gguf(path) if is_gguf else _read_binary(path)
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error}") from error
    if not importance:
        raise ConversionError(f"{path} holds no importance matrix")
    for name, values in importance.items():
        if not np.isfinite(values).all():
            raise ConversionError(f"{path}: the importance of {name} is infinite or not a number")
    return importance


def _read_gguf(path: Path) -> dict[str, Array]:
    try:
        tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    except (ValueError, IndexError) as error:
        raise TruncatedFile(f"{path} cannot be read as GGUF: {error}") from error
    return {
        name.removesuffix(_SUMS): _mean(path, sums, tensors.get(name.removesuffix(_SUMS) + _COUNTS))
        for name, sums in tensors.items()
        if name.endswith(_SUMS)
    }


def _mean(path: Path, sums: Array, counts: Array | None) -> Array:
    if counts is None:
        raise ConversionError(f"{path} holds sums without counts")
    n_experts = counts.size
    rows = np.asarray(sums, dtype=np.float32).reshape(n_experts, -1)
    n_rows = np.asarray(counts, dtype=np.float32).reshape(n_experts, 1)
    # An expert that was never used weighs every channel the same.
    return np.where(n_rows > 0, rows / np.maximum(n_rows, 1), np.float32(1)).reshape(-1).astype(np.float32)


def _read_binary(path: Path) -> dict[str, Array]:
    data = path.read_bytes()
    try:
        (n_entries,), offset = struct.unpack_from("<i", data), 4
        importance: dict[str, Array] = {}
        for _ in range(n_entries):
            name, values, offset = _read_entry(path, data, offset)
            importance[name] = values
    except (struct.error, ValueError) as error:
        raise TruncatedFile(f"{path} is cut off after {len(data)} bytes, or no importance matrix") from error
    return importance


def _read_entry(path: Path, data: bytes, offset: int) -> tuple[str, Array, int]:
    (n_name_bytes,) = struct.unpack_from("<i", data, offset)
    if not 0 < n_name_bytes <= _MAX_NAME_BYTES:
        raise ConversionError(f"{path} is no importance matrix: a tensor name of {n_name_bytes} bytes")
    offset += 4
    name = data[offset : offset + n_name_bytes].decode()
    n_calls, n_values = struct.unpack_from("<2i", data, offset + n_name_bytes)
    offset += n_name_bytes + 8
    values = np.frombuffer(data, "<f4", n_values, offset) / np.float32(max(n_calls, 1))
    return name, values.astype(np.float32), offset + 4 * n_values
