"""Values of a checkpoint in the types of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType

from lumos_edge.conversion.tensors import Array, StoredTensor, to_float32
from lumos_edge.errors import ConversionError

# File types that are written directly; all others go through llama.cpp's quantizer.
DIRECT_TYPES = {
    "f32": (Type.F32, LlamaFileType.ALL_F32),
    "f16": (Type.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_SAME = {("F32", Type.F32), ("F16", Type.F16), ("BF16", Type.BF16)}
_F16_INFINITY = 0x7C00


def tensor_type(gguf_name: str, shape: tuple[int, ...], wanted: Type) -> Type:
    """The type of a tensor in a file of `wanted`: vectors and norms stay float32, rows that no block fits
    float16.

    The rule of llama.cpp's converter (`conversion/base.py`, prepare_tensors).
    """
    if (
        len(shape) < 2
        or gguf_name.endswith("_norm.weight")
        or not gguf_name.endswith((".weight", ".lora_a", ".lora_b"))
    ):
        return Type.F32
    block_size, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % int(block_size) == 0 else Type.F16


def encode(
    tensor: StoredTensor,
    wanted: Type,
    row_order: Array | None = None,
    *,
    factor: float = 1.0,
    shift: float = 0.0,
) -> Iterator[Array]:
    """The rows of `tensor` in `row_order`, times `factor` plus `shift`, encoded as `wanted`, a few at a time.

    Raises ConversionError when a value is infinite, not a number, or beyond the range of `wanted`.
    """
    as_stored = shift == 0.0 and factor == 1.0
    for chunk in tensor.chunks(row_order):
        if as_stored and (tensor.dtype, wanted) in _SAME:
            yield chunk
            continue
        if as_stored and (tensor.dtype, wanted) == ("BF16", Type.F16):
            encoded = _bfloat16_as_float16().take(chunk)  # twice as fast as indexing
        else:
            values = to_float32(chunk, tensor.dtype) * np.float32(factor) + np.float32(shift)
            encoded = encode_float32(values, wanted)
        _check_range(tensor, encoded, wanted)
        yield encoded


def encode_float32(values: Array, wanted: Type) -> Array:
    """float32 values as `wanted`; values beyond its range become infinite."""
    with np.errstate(over="ignore"):
        encoded: Array = gguf.quants.quantize(values, wanted)
    return encoded


@cache
def _bfloat16_as_float16() -> Array:
    # All 65,536 values in a table: three times as fast as shifting to float32 and rounding.
    bits = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(over="ignore", invalid="ignore"):
        return to_float32(bits, "BF16").astype(np.float16)


def _check_range(tensor: StoredTensor, encoded: Array, wanted: Type) -> None:
    if wanted is Type.F16 and int((encoded.view(np.uint16) & _F16_INFINITY).max()) == _F16_INFINITY:
        raise ConversionError(
            f"{tensor.path}: tensor {tensor.name} has values beyond float16's 65504, convert to bf16"
        )
