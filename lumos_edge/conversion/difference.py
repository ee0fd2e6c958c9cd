"""A full fine-tune as an adapter: the difference from its base, cut to a low rank tensor by tensor.

The randomized range finder of Halko, Martinsson and Tropp (2011, algorithm 4.4, two power iterations): its
cost is a few products of the tensor with a narrow matrix, where a whole singular value decomposition of a 7B
model takes hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from lumos_edge.conversion.architecture import Architecture, read_architecture
from lumos_edge.conversion.checkpoint import Checkpoint
from lumos_edge.conversion.encoding import DIRECT_TYPES, encode_float32
from lumos_edge.conversion.gguf_file import OutputTensor, write_gguf
from lumos_edge.conversion.hyperparameters import Hyperparameters
from lumos_edge.conversion.lora import add_adapter_metadata
from lumos_edge.conversion.model import map_tensors
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.tensors import Array, StoredTensor
from lumos_edge.errors import AdapterMismatch, ConversionError

_EMBEDDING = "token_embd.weight"
_POWER_ITERATIONS = 2
_OVERSAMPLING = 8  # columns beyond the rank, which make the range finder's error negligible
_TYPE_NAME = "f16"


@dataclass(frozen=True)
class LowRank:
    """A tensor's difference as `b @ a`; `kept` is the share of its energy (squared norm) that this holds."""

    name: str
    a: Array
    b: Array
    energy: float
    kept: float


@dataclass(frozen=True)
class Difference:
    """A fine-tune's difference from its base; `lost` is the energy in tensors that an adapter cannot change."""

    architecture: Architecture
    tensors: tuple[LowRank, ...]
    lost: float

    @property
    def kept(self) -> float:
        """Share of the whole difference's energy that the adapter holds."""
        whole = sum(tensor.energy for tensor in self.tensors) + self.lost
        return sum(tensor.kept * tensor.energy for tensor in self.tensors) / whole


def read_difference(
    finetuned: Checkpoint, base: Checkpoint, rank: int, keep: float, advance: Callable[[int], None]
) -> Difference:
    """The low-rank difference of two checkpoints: per tensor the smallest rank up to `rank` that keeps `keep`
    of it.

    Rows that the fine-tune added at the end (a `<pad>` token) are left out. Memory: the adapter in float32
    and four times one tensor; `advance` is told each tensor. Raises AdapterMismatch when the two are no pair,
    ConversionError when they are equal.
    """
    architecture, model = read_architecture(finetuned)
    other, base_model = read_architecture(base)
    if other != architecture:
        raise AdapterMismatch(
            f"{finetuned.folder} is a {architecture.name} model, {base.folder} a {other.name} model"
        )
    pairs = _pair(finetuned, base, architecture, model, base_model)
    rng = np.random.default_rng(0)
    tensors, lost = [], 0.0
    for name, left, right in pairs:
        change = _subtract(left, right)
        energy = float(np.vdot(change, change))
        if energy and _can_adapt(name, change):
            order = architecture.row_order(left.name, model.heads)
            tensors.append(_cut(name, change if order is None else change[order], energy, rank, keep, rng))
        else:
            lost += energy
        advance(1)
    if not tensors:
        raise ConversionError(f"{finetuned.folder} and {base.folder} have the same linear weights")
    return Difference(architecture, tuple(tensors), lost)


def write_difference(
    difference: Difference, path: Path, name: str, base_name: str, module: ModuleMetadata
) -> None:
    """Write the adapter in float16. Raises what `write_gguf` raises."""
    writer = gguf.GGUFWriter(None, difference.architecture.name)
    alpha = float(max(tensor.a.shape[0] for tensor in difference.tensors))
    add_adapter_metadata(writer, name, base_name, alpha)
    writer.add_file_type(DIRECT_TYPES[_TYPE_NAME][1])
    module.add_metadata(writer)
    outputs = [output for tensor in difference.tensors for output in _output_tensors(tensor, alpha)]
    write_gguf(path, writer, outputs, lambda _: None)


def _pair(
    finetuned: Checkpoint,
    base: Checkpoint,
    architecture: Architecture,
    model: Hyperparameters,
    base_model: Hyperparameters,
) -> Iterator[tuple[str, StoredTensor, StoredTensor]]:
    left = map_tensors(finetuned, architecture, model)
    right = map_tensors(base, architecture, base_model)
    if left.keys() != right.keys():
        only = sorted(left.keys() ^ right.keys())
        raise AdapterMismatch(
            f"{finetuned.folder} and {base.folder} differ in {len(only)} tensors, such as {only[:3]}"
        )
    for name, tensor in left.items():
        if tensor.shape[1:] != right[name].shape[1:] or tensor.shape[0] < right[name].shape[0]:
            shapes = f"{list(tensor.shape)} there and {list(right[name].shape)} in the base"
            raise AdapterMismatch(f"{tensor.path}: {tensor.name} is {shapes}")
        yield name, tensor, right[name]


def _subtract(left: StoredTensor, right: StoredTensor) -> Array:
    change: Array = left.read()[: right.shape[0]]
    change -= right.read()
    return change


def _can_adapt(name: str, change: Array) -> bool:
    # llama.cpp ignores adapted norms and has none for biases; an adapted embedding fits only untied models.
    return change.ndim == 2 and name != _EMBEDDING


def _cut(
    name: str, change: Array, energy: float, rank: int, keep: float, rng: np.random.Generator
) -> LowRank:
    left, values, right = _truncated_svd(change, rank, rng)
    shares = np.cumsum(values.astype(np.float64) ** 2) / energy
    n = min(int(np.searchsorted(shares, keep)) + 1, len(values))
    root = np.sqrt(values[:n])
    return LowRank(
        name, root[:, None] * right[:n], left[:, :n] * root, energy, min(float(shares[n - 1]), 1.0)
    )


def _truncated_svd(matrix: Array, rank: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    n_columns = min(rank + _OVERSAMPLING, *matrix.shape)
    basis = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], n_columns), dtype=np.float32))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(matrix.T @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    rank = min(rank, len(values))
    return basis @ left[:, :rank], values[:rank], right[:rank]


def _output_tensors(tensor: LowRank, alpha: float) -> tuple[OutputTensor, OutputTensor]:
    kind, _ = DIRECT_TYPES[_TYPE_NAME]
    # llama.cpp scales by alpha / rank, and ranks differ from tensor to tensor.
    b = np.ascontiguousarray(tensor.b * np.float32(tensor.a.shape[0] / alpha))
    return (
        OutputTensor(f"{tensor.name}.lora_a", tensor.a.shape, kind, lambda: [encode_float32(tensor.a, kind)]),
        OutputTensor(f"{tensor.name}.lora_b", b.shape, kind, lambda: [encode_float32(b, kind)]),
    )
