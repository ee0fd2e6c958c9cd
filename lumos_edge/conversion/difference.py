"""A full fine-tune as an adapter: the difference from its base, cut to a low rank tensor by tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from pathlib import Path

import gguf
import numpy as np

from lumos_edge.conversion.architecture import Architecture, read_architecture
from lumos_edge.conversion.checkpoint import Checkpoint
from lumos_edge.conversion.encoding import DIRECT_TYPES, encode_float32
from lumos_edge.conversion.gguf_file import OutputTensor, write_gguf
from lumos_edge.conversion.hyperparameters import Hyperparameters
from lumos_edge.conversion.lora import add_adapter_metadata
from lumos_edge.conversion.low_rank import (
    OVERSAMPLING,
    LowRank,
    cut_matrix,
    cut_to,
    ranks_for_share,
    ranks_for_size,
)
from lumos_edge.conversion.model import map_tensors
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.tensors import Array, StoredTensor, n_chunk_rows, to_float32
from lumos_edge.errors import AdapterMismatch, ConversionError

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_TYPE_NAME = "f16"
# The norm n whose output a linear layer W reads: what counts is W n, so a changed norm is the same as changed columns,
# and a column that the norm makes small matters little however large it is.
_NORM_BEFORE = {
    "attn_q": "attn_norm",
    "attn_k": "attn_norm",
    "attn_v": "attn_norm",
    "ffn_gate": "ffn_norm",
    "ffn_up": "ffn_norm",
    "output": "output_norm",
}
# Metadata, and for each tensor its entry in the table and its padding.
_HEADER_BYTES, _TENSOR_BYTES = 1536, 112
# How many products of a tensor with a narrow matrix are in memory at once, with numpy's own copies; measured.
_N_PRODUCTS = 6
_CHUNK_BYTES = 6 << 20  # rows of both files in float32 while they are subtracted


@dataclass(frozen=True)
class CheckpointPair:
    """A fine-tune and its base: their tensors by the names of GGUF, the same ones in both."""

    folders: tuple[Path, Path]
    architecture: Architecture
    model: Hyperparameters
    tuned: Mapping[str, StoredTensor]
    base: Mapping[str, StoredTensor]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors of both."""
        return sum(map(self.tensor_bytes, self.tuned))

    def tensor_bytes(self, name: str) -> int:
        """Bytes of one tensor in both."""
        return self.tuned[name].size_bytes + self.base[name].size_bytes

    def can_adapt(self, name: str) -> bool:
        """Whether llama.cpp can put an adapter on it: none on norms and biases, nor on the embedding of tied models."""
        return len(self.base[name].shape) == 2 and not (name == _EMBEDDING and self.model.tied_embeddings)

    def change(self, name: str) -> Array:
        """What has to be added to the base's tensor, times `inputs(name)`: float32, rows in the order of GGUF.

        A changed norm is counted in the layers that read its output, where there are any.
        """
        left, right = self.tuned[name], self.base[name]
        change = np.zeros(right.shape, np.float32)
        if self._is_read(name):
            return change
        tuned_inputs, base_inputs = self._norm(name, self.tuned), self._norm(name, self.base)
        starts = range(0, right.shape[0], n_chunk_rows(right.shape))
        for start, tuned, base in zip(starts, left.chunks(), right.chunks(), strict=False):
            rows = to_float32(tuned, left.dtype)[: len(base)] * tuned_inputs
            change[start : start + len(base)] = rows - to_float32(base, right.dtype) * base_inputs
        order = self.architecture.row_order(left.name, self.model.heads)
        return change if order is None else change[order]

    def inputs(self, name: str) -> Array:
        """How large the inputs of each column of the base's tensor are, where a norm says so; else 1.

        A token reads one row of the embedding, and a logit is one row of the output: of both a row's mean counts, or
        the vocabulary would outweigh all layers.
        """
        return self._norm(name, self.base)

    def _is_read(self, norm: str) -> bool:
        return any(_norm_before(name) == norm for name in self.tuned)

    def _norm(self, name: str, tensors: Mapping[str, StoredTensor]) -> Array:
        norm = _norm_before(name)
        n_alike = self.base[name].shape[0] if name in (_EMBEDDING, _OUTPUT) else 1
        scale = np.float32(n_alike**-0.5)
        if norm not in tensors:
            return np.full(1, scale, np.float32)
        return scale * (tensors[norm].read() + np.float32(self.architecture.shift(norm)))


def read_pair(finetuned: Checkpoint, base: Checkpoint) -> CheckpointPair:
    """Match two checkpoints; reads tables only. Raises AdapterMismatch when they are no pair."""
    architecture, model = read_architecture(finetuned)
    other, base_model = read_architecture(base)
    if other != architecture:
        raise AdapterMismatch(
            f"{finetuned.folder} is a {architecture.name} model, {base.folder} a {other.name} model"
        )
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
    return CheckpointPair((finetuned.folder, base.folder), architecture, model, left, right)


@dataclass(frozen=True)
class LayerEnergy:
    """What share of the whole difference's energy lies in a layer, what share of that an adapter keeps, and with which
    ranks.
    """

    share: float
    kept: float
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """A fine-tune's difference from its base: the energy of every tensor that changed, and what an adapter keeps of it.

    Energy is the squared norm of the change, each column as large as the norm before the layer makes its input; of the
    embedding and the output, the mean of their rows.
    """

    pair: CheckpointPair
    energies: Mapping[str, float]
    tensors: tuple[LowRank, ...]

    @property
    def energy(self) -> float:
        """The energy of the whole difference."""
        return sum(self.energies.values())

    @property
    def kept(self) -> float:
        """Share of the whole difference's energy that the adapter holds."""
        return sum(tensor.kept * tensor.energy for tensor in self.tensors) / self.energy

    @property
    def unreachable(self) -> dict[str, float]:
        """The energies of the tensors that no adapter can change."""
        return {name: energy for name, energy in self.energies.items() if not self.pair.can_adapt(name)}

    def layers(self) -> dict[str, LayerEnergy]:
        """What becomes of each layer; `blk.0` is the first, and a tensor outside the layers is one for itself."""
        layers: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.energies:
            parts = name.split(".")
            layers[".".join(parts[:2]) if parts[0] == "blk" else parts[0]].append(name)
        return {layer: self._layer(layers[layer]) for layer in sorted(layers, key=_depth)}

    def _layer(self, names: Sequence[str]) -> LayerEnergy:
        energy = sum(self.energies[name] for name in names)
        own = [tensor for tensor in self.tensors if tensor.name in names]
        kept = sum(tensor.kept * tensor.energy for tensor in own)
        return LayerEnergy(energy / self.energy, kept / energy, tuple(tensor.rank for tensor in own))

    def for_size(self, size_bytes: int) -> Difference:
        """The same with the largest rank whose file has `size_bytes` at most. Raises ConversionError for too few."""
        smallest = sum(tensor.bytes_per_rank for tensor in self.tensors)
        overhead = _HEADER_BYTES + 2 * _TENSOR_BYTES * len(self.tensors)
        if size_bytes < overhead + smallest:
            raise ConversionError(
                f"an adapter needs {overhead + smallest} bytes at least, {size_bytes} were given"
            )
        return self._cut(ranks_for_size(self.tensors, size_bytes - overhead))

    def for_energy(self, share: float) -> Difference:
        """The smallest ranks that keep `share` of each tensor's energy, or all ranks."""
        return self._cut(ranks_for_share(self.tensors, share))

    def _cut(self, ranks: Mapping[str, int]) -> Difference:
        return replace(self, tensors=cut_to(self.tensors, ranks))


def plan_difference(pair: CheckpointPair, rank: int) -> list[OutputTensor]:
    """The tensors of an adapter of that rank, the largest there can be; they have no values, no tensor is read."""
    kind, _ = DIRECT_TYPES[_TYPE_NAME]
    tensors = []
    for name in filter(pair.can_adapt, pair.tuned):
        rows, columns = pair.base[name].shape
        own = min(rank, rows, columns)
        a, b = ((rows, own), (columns, own)) if name == _EMBEDDING else ((own, columns), (rows, own))
        tensors += [
            OutputTensor(f"{name}.lora_{half}", shape, kind, tuple) for half, shape in (("a", a), ("b", b))
        ]
    return tensors


def working_bytes(pair: CheckpointPair, rank: int) -> int:
    """Memory that `read_difference` needs at most: the adapter, a tensor in two orders, and its narrow products."""
    shapes = [pair.base[name].shape for name in pair.tuned]
    n_columns = rank + OVERSAMPLING
    products = [sum(shape) * min(n_columns, *shape) for shape in shapes if len(shape) == 2]
    adapter = sum(prod(tensor.shape) for tensor in plan_difference(pair, rank))
    return _CHUNK_BYTES + 4 * (adapter + 2 * max(map(prod, shapes)) + _N_PRODUCTS * max(products))


def read_difference(pair: CheckpointPair, rank: int, advance: Callable[[int], None]) -> Difference:
    """The difference of two checkpoints, each tensor's cut to `rank` at most.

    Rows that the fine-tune added at the end (a `<pad>` token) are left out. Memory: the adapter and one tensor in
    float32; `advance` is told the bytes read. Raises ConversionError when no tensor differs that an adapter can
    change, or one holds infinite values or NaN.
    """
    rng = np.random.default_rng(0)
    energies: dict[str, float] = {}
    tensors: list[LowRank] = []
    for name in pair.tuned:
        change = pair.change(name)
        energy = float(np.vdot(change, change))
        if energy:
            energies[name] = energy
        if energy and pair.can_adapt(name):
            tensors.append(cut_matrix(name, change, rank, rng).divided(pair.inputs(name)))
        advance(pair.tensor_bytes(name))
    if not tensors:
        raise ConversionError(f"{pair.folders[0]} and {pair.folders[1]} have the same linear weights")
    return Difference(pair, energies, tuple(tensors))


def write_difference(difference: Difference, path: Path, module: ModuleMetadata) -> None:
    """Write the adapter in float16. Raises what `write_gguf` raises."""
    pair = difference.pair
    writer = gguf.GGUFWriter(None, pair.architecture.name)
    alpha = float(max(tensor.rank for tensor in difference.tensors))
    finetuned, base = pair.folders
    add_adapter_metadata(writer, finetuned.resolve().name, base.resolve().name, alpha)
    writer.add_file_type(DIRECT_TYPES[_TYPE_NAME][1])
    module.add_metadata(writer)
    outputs = [output for tensor in difference.tensors for output in _output_tensors(tensor, alpha)]
    write_gguf(path, writer, outputs, lambda _: None)


def _depth(layer: str) -> float:
    kind, _, number = layer.partition(".")
    return int(number) if number else -1 if f"{kind}.weight" == _EMBEDDING else inf


def _norm_before(name: str) -> str:
    block, _, part = name.removesuffix(".weight").rpartition(".")
    norm = _NORM_BEFORE.get(part)
    return "" if norm is None else f"{block}.{norm}.weight".lstrip(".")


def _output_tensors(tensor: LowRank, alpha: float) -> tuple[OutputTensor, OutputTensor]:
    kind, _ = DIRECT_TYPES[_TYPE_NAME]
    # The embedding's rows are looked up in A by token, the others' come out of B (`conversion/lora.py`).
    a, b = (tensor.left, tensor.right.T) if tensor.name == _EMBEDDING else (tensor.right, tensor.left)
    # llama.cpp scales by alpha / rank, and ranks differ from tensor to tensor.
    b = np.ascontiguousarray(b * np.float32(tensor.rank / alpha))
    return (
        OutputTensor(f"{tensor.name}.lora_a", a.shape, kind, lambda: [encode_float32(a, kind)]),
        OutputTensor(f"{tensor.name}.lora_b", b.shape, kind, lambda: [encode_float32(b, kind)]),
    )
