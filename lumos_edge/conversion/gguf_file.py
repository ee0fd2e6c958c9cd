"""Writing a GGUF file in two passes: first everything but the values, then the values, a few rows at a time.

The sizes are known from shapes and types before a value is read, so the header can be written first and the
whole plan printed without work. The file appears under its name only when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType

from lumos_edge.conversion.tensors import Array, n_chunk_rows
from lumos_edge.errors import ConversionError

_ALIGNMENT = 32  # gguf's GGUF_DEFAULT_ALIGNMENT
# Metadata, tensor table and padding: a vocabulary of 260,000 tokens with its merges takes 15 MB.
_HEADER_ALLOWANCE_BYTES = 32 << 20
# Measured for each pair of types; the most is for a few long rows in another order from float32 to bfloat16.
_WORKING_BYTES_PER_ELEMENT = 32


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to be written: `chunks` gives its rows in order, encoded as `type`; if `is_whole`, all at once."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    chunks: Callable[[], Iterable[Array]]
    is_whole: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the encoded values, without padding."""
        block_size, type_size = gguf.GGML_QUANT_SIZES[self.type]
        return prod(self.shape) // int(block_size) * int(type_size)

    @property
    def working_bytes(self) -> int:
        """Memory that its values need at most while it is written; mapped files are not counted."""
        n_rows = self.shape[0] if self.is_whole else min(self.shape[0], n_chunk_rows(self.shape))
        return n_rows * prod(self.shape[1:]) * _WORKING_BYTES_PER_ELEMENT


def total_bytes(tensors: Sequence[OutputTensor]) -> int:
    """Bytes of all values, without padding and header."""
    return sum(tensor.size_bytes for tensor in tensors)


def write_gguf(
    path: Path, writer: gguf.GGUFWriter, tensors: Sequence[OutputTensor], advance: Callable[[int], None]
) -> None:
    """Write `tensors` and the metadata that `writer` holds (made without a path); `advance` is told the bytes
    written.

    Raises ConversionError when `path` exists, the disk has too little room or a tensor cannot be written;
    then nothing is left behind. After a kill, the next call starts afresh and removes what was left; so one process
    at a time writes to a path (`cli/convert.py`, only_writer).
    """
    with new_file(path, total_bytes(tensors) + _HEADER_ALLOWANCE_BYTES) as partial:
        _write_header(partial, writer, tensors)
        with partial.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            for tensor in tensors:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                for chunk in tensor.chunks():
                    advance(file.write(np.ascontiguousarray(chunk).data))
            file.write(bytes(-file.tell() % _ALIGNMENT))
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def new_file(path: Path, size_bytes: int) -> Iterator[Path]:
    """A path to write to, renamed to `path` at the end, or removed when the block raises.

    Raises ConversionError when `path` exists, its folder does not, or less than `size_bytes` are free.
    """
    if path.exists():
        raise ConversionError(f"{path} exists ({path.stat().st_size} bytes), expected a new file")
    if not path.parent.is_dir():
        raise ConversionError(f"{path.parent} is no folder, expected one to write {path.name} to")
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < size_bytes:
        raise ConversionError(f"{path.parent} has {free_bytes} bytes free, {path.name} needs {size_bytes}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise ConversionError(f"{path} was not written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_header(path: Path, writer: gguf.GGUFWriter, tensors: Iterable[OutputTensor]) -> None:
    for tensor in tensors:
        # The type of the array only says here that the shape is one of elements, not of bytes.
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float16), tensor.size_bytes, tensor.type
        )
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
