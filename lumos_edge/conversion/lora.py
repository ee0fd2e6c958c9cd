"""PEFT's LoRA adapters as GGUF adapters.

llama.cpp computes `W x + (alpha / rank) B (A x)` with one alpha for the file and the rank of each B
(`src/llama-adapter.h`, get_scale, commit 0c1e57098). Whatever PEFT's config says beyond that is folded into
B.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from lumos_edge.conversion.base_model import BaseModel
from lumos_edge.conversion.checkpoint import Checkpoint
from lumos_edge.conversion.encoding import DIRECT_TYPES, encode, encode_float32, tensor_type
from lumos_edge.conversion.gguf_file import OutputTensor, write_gguf
from lumos_edge.conversion.model import text_name
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.tensors import Array, StoredTensor
from lumos_edge.errors import AdapterMismatch, ConversionError

_NAME = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?:embedding_)?(?P<half>[AB])(?:\.weight)?")
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
# Initialisations that change the base model, so that the saved halves do not fit the base as published.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class Pair:
    """The two halves for one tensor: `a` is (rank, columns), `b` is (rows, rank); `factor` multiplies `b`."""

    module: str
    a: StoredTensor
    b: StoredTensor
    factor: float


@dataclass(frozen=True)
class AdapterPlan:
    """All that is needed to write an adapter, with no tensor read yet."""

    adapter: Checkpoint
    base: BaseModel
    alpha: float
    type_name: str
    tensors: tuple[OutputTensor, ...]


def plan_adapter(adapter: Checkpoint, base: BaseModel, type_name: str) -> AdapterPlan:
    """How a PEFT adapter is written for `base` in `type_name` (a key of DIRECT_TYPES); reads tables only.

    Raises ConversionError for what a GGUF adapter cannot express, AdapterMismatch when it does not fit the
    base.
    """
    _refuse_inexpressible(adapter)
    alpha = _alpha(adapter)
    names = base.architecture.tensor_names(base.n_layers)
    tensors: list[OutputTensor] = []
    for pair in _pairs(adapter, alpha):
        name = names.get_name(text_name(f"{pair.module}.weight"), try_suffixes=(".weight",))
        if name not in base.shapes:
            raise AdapterMismatch(f"{pair.a.path} changes {pair.module}, which {base.path} does not have")
        if name == _EMBEDDING and _OUTPUT not in base.shapes:
            # llama.cpp would put the transposed halves on the output too, and abort the process.
            raise ConversionError(
                f"{pair.a.path} changes the embedding, which {base.path} also uses as its output"
            )
        _check_shapes(pair, base, name)
        tensors.extend(_output_tensors(pair, base, name, type_name))
    return AdapterPlan(adapter, base, alpha, type_name, tuple(tensors))


def write_adapter(
    plan: AdapterPlan, path: Path, module: ModuleMetadata, advance: Callable[[int], None]
) -> None:
    """Write the adapter file; `advance` is told the bytes written. Raises what `write_gguf` raises."""
    writer = gguf.GGUFWriter(None, plan.base.architecture.name)
    add_adapter_metadata(writer, plan.adapter.folder.name, plan.base.name, plan.alpha)
    writer.add_file_type(DIRECT_TYPES[plan.type_name][1])
    module.add_metadata(writer)
    write_gguf(path, writer, plan.tensors, advance)


def add_adapter_metadata(writer: gguf.GGUFWriter, name: str, base_name: str, alpha: float) -> None:
    """The keys that llama.cpp's adapter loader reads, and which model the adapter is for."""
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)


def _refuse_inexpressible(adapter: Checkpoint) -> None:
    config, path = adapter.config, adapter.folder / "adapter_config.json"
    if config.get("peft_type", "LORA") != "LORA":
        raise ConversionError(f"{path}: the adapter is of type {config['peft_type']}, expected LORA")
    reasons = {
        "use_dora": "DoRA rescales whole columns",
        "fan_in_fan_out": "the halves are for transposed weights",
        "modules_to_save": "whole modules were trained, not only adapted",
        "lora_bias": "biases cannot be adapted",
        "layer_replication": "layers are repeated",
        "trainable_token_indices": "single rows of the embedding were trained",
        "target_parameters": "parameters outside linear layers were trained",
    }
    for key, reason in reasons.items():
        if config.get(key):
            raise ConversionError(f"{path}: {key} is set, and a GGUF adapter cannot express it: {reason}")
    init = str(config.get("init_lora_weights", True)).lower()
    if init.startswith(_CHANGES_BASE):
        raise ConversionError(
            f"{path}: init_lora_weights {init!r} changes the base model; save it converted to LoRA"
        )


def _alpha(adapter: Checkpoint) -> float:
    config, path = adapter.config, adapter.folder / "adapter_config.json"
    alpha, rank = config.get("lora_alpha"), config.get("r")
    if not isinstance(alpha, int | float) or alpha <= 0 or not isinstance(rank, int) or rank < 1:
        raise ConversionError(f"{path}: lora_alpha is {alpha!r} and r is {rank!r}, expected positive numbers")
    # Rank-stabilised: alpha / sqrt(rank) = (alpha sqrt(rank)) / rank.
    return float(alpha * sqrt(rank) if config.get("use_rslora") else alpha)


def _pairs(adapter: Checkpoint, alpha: float) -> Iterator[Pair]:
    halves: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in adapter.tensors.items():
        if name.endswith(".base_layer.weight"):  # the embedding itself, which PEFT saves beside its halves
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConversionError(f"{tensor.path}: tensor {name} is no half of a LoRA pair")
        halves.setdefault(match["module"], {})[match["half"]] = tensor
    if not halves:
        raise ConversionError(f"{adapter.folder} holds no LoRA pairs")
    for module, pair in halves.items():
        if pair.keys() != {"A", "B"}:
            raise ConversionError(
                f"{adapter.folder}: {module} has only the half {', '.join(pair)}, expected A and B"
            )
        yield Pair(module, pair["A"], pair["B"], _factor(adapter.config, module, pair["A"].shape[0], alpha))


def _factor(config: Mapping[str, Any], module: str, rank: int, alpha: float) -> float:
    """What B is multiplied with, so that `alpha / rank` becomes the scale that PEFT gives to this module."""
    own = float(config["lora_alpha"])
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        # PEFT, `tuners_utils.py`, get_pattern_key: the first that matches the end of the name.
        if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module):
            own = float(value)
            break
    scale = own / (sqrt(rank) if config.get("use_rslora") else rank)
    return scale * rank / alpha


def _check_shapes(pair: Pair, base: BaseModel, name: str) -> None:
    rows, columns = base.shapes[name]
    expected = (columns, rows) if name == _EMBEDDING else (rows, columns)
    if len(pair.a.shape) != 2 or len(pair.b.shape) != 2:
        shapes = f"{list(pair.a.shape)} and {list(pair.b.shape)}"
        raise AdapterMismatch(
            f"{pair.a.path}: {pair.module} has halves of shapes {shapes}, expected matrices"
        )
    (rank, n_columns), (n_rows, other_rank) = pair.a.shape, pair.b.shape
    if (n_rows, n_columns) != expected or rank != other_rank:
        raise AdapterMismatch(
            f"{pair.a.path}: {pair.module} has halves of {n_rows} x {other_rank} and {rank} x {n_columns}, "
            f"{name} in {base.path} is {expected[0]} x {expected[1]}"
        )


def _output_tensors(
    pair: Pair, base: BaseModel, name: str, type_name: str
) -> tuple[OutputTensor, OutputTensor]:
    wanted, _ = DIRECT_TYPES[type_name]
    a_name, b_name = f"{name}.lora_a", f"{name}.lora_b"
    a_shape = pair.a.shape[::-1] if name == _EMBEDDING else pair.a.shape
    a_type, b_type = tensor_type(a_name, a_shape, wanted), tensor_type(b_name, pair.b.shape, wanted)
    # The rows of the product are those of B; A stays.
    order = base.architecture.row_order(f"{pair.module}.weight", base.heads)
    # llama.cpp looks the rows of the embedding's A up by token (`src/llama-graph.cpp`, build_inp_embd).
    a_chunks = partial(_transposed, pair.a, a_type) if name == _EMBEDDING else partial(encode, pair.a, a_type)
    b_chunks = partial(encode, pair.b, b_type, order, factor=pair.factor)
    return (
        OutputTensor(a_name, a_shape, a_type, a_chunks, is_whole=name == _EMBEDDING),
        OutputTensor(b_name, pair.b.shape, b_type, b_chunks),
    )


def _transposed(tensor: StoredTensor, wanted: gguf.GGMLQuantizationType) -> Iterator[Array]:
    yield encode_float32(np.ascontiguousarray(tensor.read().T), wanted)
