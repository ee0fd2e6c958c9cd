"""The header of a safetensors file.

Read here and not with the `safetensors` package, because that gives neither a tensor's place in the file nor,
with numpy, bfloat16. Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from lumos_edge.conversion.tensors import StoredTensor
from lumos_edge.errors import ConversionError, TruncatedFile

_LENGTH_BYTES = 8
_ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, by name; reads only the header.

    Raises TruncatedFile when the file is shorter than its header says, ConversionError when the header is
    none.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        n_header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        start = _LENGTH_BYTES + n_header_bytes
        if start > size_bytes:
            raise TruncatedFile(f"{path} has {size_bytes} bytes, its header alone ends at byte {start}")
        header = _parse_header(path, file.read(n_header_bytes))
    return {
        name: _entry(path, size_bytes, start, name, entry)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ConversionError(f"{path} is no safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ConversionError(f"{path} is no safetensors file: its header is no table of tensors")
    return header


def _entry(path: Path, size_bytes: int, start: int, name: str, entry: Any) -> StoredTensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        begin, end = (int(n) for n in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{path}: the header's entry for tensor {name} cannot be read") from error
    if start + end > size_bytes:
        raise TruncatedFile(f"{path} has {size_bytes} bytes, tensor {name} ends at byte {start + end}")
    if begin < 0 or min(shape, default=0) < 0:
        raise ConversionError(f"{path}: tensor {name} has a negative place or shape")
    n_bytes = prod(shape) * _ITEM_BYTES.get(dtype, 0)
    if dtype in _ITEM_BYTES and end - begin != n_bytes:
        raise ConversionError(f"{path}: tensor {name} has {end - begin} bytes, its shape needs {n_bytes}")
    return StoredTensor(name, path, start + begin, dtype, shape)
