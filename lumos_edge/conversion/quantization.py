"""Smaller types for a model's tensors, by llama.cpp's own quantizer (`llama_model_quantize`).

The binding is imported here and not through the engine: a conversion has no engine, and the engine no
quantizer.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

from lumos_edge.conversion.gguf_file import new_file
from lumos_edge.conversion.native_log import Line, last_error, record_log
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import ConversionError

# "Q4_K_M" -> its number in llama.h's llama_ftype.
FILE_TYPES = {
    member.name.removeprefix("MOSTLY_"): int(member)
    for member in gguf.LlamaFileType
    if member.name.startswith("MOSTLY_")
}
# llama.cpp logs a tensor's place and name before its work, and its size after that.
_TENSOR = re.compile(r"^\[ *\d+/ *(\d+)\] *(\S+) ")
_TENSOR_DONE = "size ="
_SIZE = re.compile(r"quant size += +([\d.]+) MiB")
_FALLBACKS = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
_MIB = 1 << 20


@dataclass(frozen=True)
class Quantization:
    """What to do to a model; `overrides` pairs regular expressions of tensor names with types ("Q6_K"), `metadata`
    is added to the file's.
    """

    file_type: str
    overrides: tuple[tuple[str, str], ...] = ()
    importance: Mapping[str, Array] | None = None
    buffer_bytes: int = 256 * _MIB
    metadata: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantizedSize:
    """What a quantization comes to: tensors, those whose rows no block fits, bytes of the values before and after."""

    n_tensors: int
    n_fallbacks: int
    source_bytes: int
    size_bytes: int


def measure(source: Path, quantization: Quantization) -> QuantizedSize:
    """The size that `source` would have, without computing it. Raises ConversionError as `quantize` does."""
    log = _run(source, source, quantization, lambda _: None, dry_run=True)
    lines = [line for _, line in log]
    sizes = [float(match[1]) for line in lines if (match := _SIZE.search(line))]
    if not sizes:
        raise ConversionError(f"{source}: llama.cpp reported no size for {quantization.file_type}")
    n_tensors = max((int(match[1]) for line in lines if (match := _TENSOR.match(line))), default=0)
    n_fallbacks = sum(int(match[1]) for line in lines if (match := _FALLBACKS.search(line)))
    # One MiB more, since llama.cpp rounds, and for the padding.
    source_bytes = sum(_tensor_bytes(source).values())
    return QuantizedSize(n_tensors, n_fallbacks, source_bytes, int((sizes[-1] + 1) * _MIB))


def quantize(source: Path, output: Path, quantization: Quantization, advance: Callable[[int], None]) -> None:
    """Write `source`, a GGUF file in f32, f16 or bf16, to `output` in smaller types; `advance` is told the
    bytes of `source` that are done.

    Memory: `buffer_bytes` for rows in all their forms (llama.cpp, `src/llama-quant.cpp`). Cost: about 20 MB/s of
    source per core for the K types. Raises ConversionError when llama.cpp refuses, `output` exists or the disk has
    too little room.
    """
    size = measure(source, quantization)
    # The metadata is copied, and its size is not in llama.cpp's figure.
    header_bytes = int(gguf.GGUFReader(source).data_offset)
    with new_file(output, size.size_bytes + header_bytes) as partial:
        _run(source, partial, quantization, _advance_by_tensor(_tensor_bytes(source), advance), dry_run=False)


def _tensor_bytes(model: Path) -> dict[str, int]:
    """Bytes of the values of each tensor of a GGUF file."""
    return {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(model).tensors}


def _advance_by_tensor(sizes: Mapping[str, int], advance: Callable[[int], None]) -> Callable[[str], None]:
    """What reads llama.cpp's log and tells `advance` the bytes of each tensor that is done."""
    current = ""

    def read(line: str) -> None:
        nonlocal current
        if match := _TENSOR.match(line):
            current = match[2]
        elif line.startswith(_TENSOR_DONE):
            advance(sizes.get(current, 0))

    return read


def _run(
    source: Path,
    output: Path,
    quantization: Quantization,
    on_line: Callable[[str], None],
    *,
    dry_run: bool,
) -> list[Line]:
    parameters, _keep = _parameters(quantization, dry_run)
    with record_log(on_line) as log:
        failed = llama_cpp.llama_model_quantize(
            os.fsencode(source), os.fsencode(output), ctypes.byref(parameters)
        )
    if failed:
        reason = last_error(log)
        raise ConversionError(f"{source} cannot be quantized to {quantization.file_type}: {reason}")
    return log


def _parameters(quantization: Quantization, dry_run: bool) -> tuple[Any, list[Any]]:
    """llama.cpp's struct, and what must stay alive as long as it is used."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[quantization.file_type]
    parameters.nthread = os.cpu_count() or 1
    parameters.max_buf_size = quantization.buffer_bytes
    parameters.dry_run = dry_run
    overrides, importance = (
        _override_array(quantization.overrides),
        _importance_array(quantization.importance or {}),
    )
    parameters.tt_overrides = overrides if quantization.overrides else None
    parameters.imatrix = importance if quantization.importance else None
    metadata = _metadata_array(quantization.metadata)
    parameters.kv_overrides = metadata
    return parameters, [overrides, importance, quantization.importance, metadata]


def _override_array(overrides: Sequence[tuple[str, str]]) -> Any:
    array = (llama_cpp.llama_model_tensor_override * (len(overrides) + 1))()  # an empty entry ends it
    for entry, (pattern, type_name) in zip(array, overrides, strict=False):
        entry.pattern = pattern.encode()
        entry.type = int(_tensor_type(type_name))
    return array


def _tensor_type(name: str) -> int:
    try:
        return int(gguf.GGMLQuantizationType[name.upper()])
    except KeyError:
        known = ", ".join(member.name for member in gguf.GGMLQuantizationType)
        raise ConversionError(f"there is no tensor type {name}, expected one of {known}") from None


def _importance_array(importance: Mapping[str, Array]) -> Any:
    array = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(array, importance.items(), strict=False):
        if values.dtype != np.float32 or not values.flags.c_contiguous:
            raise TypeError(f"importance of {name} is {values.dtype}, expected contiguous float32")
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return array


def _metadata_array(metadata: Mapping[str, str | int]) -> Any:
    array = (llama_cpp.llama_model_kv_override * (len(metadata) + 1))()  # an empty key ends it
    for entry, (key, value) in zip(array, metadata.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, int):
            entry.tag, entry.value.val_i64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            # llama.cpp's struct has room for 127 bytes and the end.
            text = value.encode()[:127].decode("utf-8", "ignore")
            entry.tag, entry.value.val_str = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, text.encode()
    return array
