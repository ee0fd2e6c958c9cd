"""Tensors where they lie: in a file of a checkpoint, read in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lumos_edge.errors import ConversionError, TruncatedFile

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
        """Bytes in the file. Raises ConversionError for a type other than floats."""
        return prod(self.shape) * self._numpy_type.itemsize

    @property
    def _numpy_type(self) -> np.dtype[Any]:
        if self.dtype not in _NUMPY_TYPES:
            known = ", ".join(_NUMPY_TYPES)
            raise ConversionError(f"{self.path}: tensor {self.name} has type {self.dtype}, expected {known}")
        return _NUMPY_TYPES[self.dtype]

    def chunks(self, row_order: Array | None = None) -> Iterator[Array]:
        """Consecutive rows in the stored type (bfloat16 as uint16), `row_order[i]` being the source of row i.

        Raises ConversionError for a type other than floats, no values, or one that is infinite or not a number, and
        TruncatedFile when the file has become shorter than its table says.
        """
        if self.size_bytes == 0:
            raise ConversionError(f"{self.path}: tensor {self.name} is empty: shape {list(self.shape)}")
        n_rows = n_chunk_rows(self.shape)
        with self.path.open("rb") as file:
            for start in range(0, self.shape[0], n_rows):
                stop = min(start + n_rows, self.shape[0])
                if row_order is None:
                    chunk = self._rows(file, start, stop)
                else:
                    # Rows change places only within a head, so those that are wanted together lie together.
                    wanted = row_order[start:stop]
                    first = int(wanted.min())
                    chunk = self._rows(file, first, int(wanted.max()) + 1)[wanted - first]
                if not _is_finite(chunk, self.dtype):
                    raise ConversionError(f"{self.path}: tensor {self.name} holds infinite values or NaN")
                yield chunk

    def _rows(self, file: BinaryIO, start: int, stop: int) -> Array:
        # Read, not mapped: a mapped file that another program cuts off kills the process.
        rows = np.empty((stop - start, *self.shape[1:]), self._numpy_type)
        file.seek(self.offset + start * rows[0].nbytes)
        if file.readinto(rows.reshape(-1).view(np.uint8).data) != rows.nbytes:  # type: ignore[attr-defined]
            raise TruncatedFile(f"{self.path} ends within tensor {self.name}, at byte {file.tell()}")
        return rows

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
