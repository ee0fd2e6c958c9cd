"""What differs between the supported architectures: one entry of a table each.

llama.cpp's side was read in its loader (`src/models/*.cpp`) and its own converter (`conversion/*.py`), commit
0c1e57098.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, pi
from typing import Any

import gguf
import numpy as np

from lumos_edge.conversion.checkpoint import Checkpoint
from lumos_edge.conversion.hyperparameters import Heads, Hyperparameters, Rope, read_hyperparameters
from lumos_edge.conversion.tensors import Array
from lumos_edge.errors import UnsupportedArchitecture

# Buffers that older versions of transformers saved with the weights, and that follow from the config.
_DERIVED = (".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias")
_QUERY_OR_KEY = re.compile(r"\.(q|k)_proj\.(weight|bias)$")


@dataclass(frozen=True)
class Architecture:
    """How a family of models is written: `name` as llama.cpp spells it."""

    name: str
    activation: str = "silu"
    # llama.cpp rotates neighbouring elements here, transformers the two halves of a head: the rows are
    # reordered.
    interleaved_rope: bool = False
    # transformers adds 1 to the stored weight of a norm, llama.cpp does not.
    norm_shift: float = 0.0
    has_sliding_window: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def tensor_names(self, n_layers: int) -> gguf.TensorNameMap:
        """The map from a checkpoint's tensor names to those of GGUF."""
        arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.name)
        return gguf.get_tensor_name_map(arch, n_layers)

    def row_order(self, name: str, heads: Heads) -> Array | None:
        """Which row of the checkpoint's tensor `name` each row of ours is; None when they are the same."""
        match = _QUERY_OR_KEY.search(name) if self.interleaved_rope else None
        if match is None:
            return None
        n_heads = heads.n_heads if match[1] == "q" else heads.n_kv_heads
        rows = np.arange(n_heads * heads.head_dim)
        return rows.reshape(n_heads, 2, heads.head_dim // 2).swapaxes(1, 2).reshape(-1)

    def shift(self, gguf_name: str) -> float:
        """What is added to the values of a tensor."""
        return self.norm_shift if gguf_name.endswith("_norm.weight") else 0.0


_LLAMA = Architecture("llama", interleaved_rope=True)
_GEMMA3 = Architecture(
    "gemma3",
    activation="gelu_pytorch_tanh",
    norm_shift=1.0,
    has_sliding_window=True,
    # Gemma3TextConfig's, which published configs leave out.
    defaults={
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh",
    },
)
_ARCHITECTURES = {
    "LlamaForCausalLM": _LLAMA,
    "LLaMAForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": _GEMMA3,
}
_ROPE_TYPES = ("default", "linear", "yarn", "llama3")


def read_architecture(checkpoint: Checkpoint) -> tuple[Architecture, Hyperparameters]:
    """The architecture and dimensions of a checkpoint.

    Raises UnsupportedArchitecture for a class, activation or rotary embedding that cannot be expressed, and
    ConversionError when a dimension is missing.
    """
    path, config = checkpoint.folder / "config.json", checkpoint.config
    classes = config.get("architectures") or ["none"]
    if classes[0] not in _ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"{path}: the model is {classes[0]}, expected {', '.join(_ARCHITECTURES)}"
        )
    architecture = _ARCHITECTURES[classes[0]]
    merged = {**architecture.defaults, **config, **config.get("text_config", {})}
    activation = merged.get("hidden_activation") or merged.get("hidden_act") or "silu"
    if activation != architecture.activation:
        raise UnsupportedArchitecture(
            f"{path}: the activation is {activation}, expected {architecture.activation}"
        )
    model = read_hyperparameters(path, merged)
    if model.rope.type not in _ROPE_TYPES:
        raise UnsupportedArchitecture(
            f"{path}: rope scaling is of type {model.rope.type!r}, expected {', '.join(_ROPE_TYPES)}"
        )
    _check_attention_scale(checkpoint, architecture, merged, model)
    return architecture, model


def _check_attention_scale(
    checkpoint: Checkpoint, architecture: Architecture, config: Mapping[str, Any], model: Hyperparameters
) -> None:
    # llama.cpp scales Gemma 3's queries by the head dimension, except in the 27B model, which it knows by its
    # layers.
    expected = model.n_embd // model.heads.n_heads if model.n_layers == 62 else model.heads.head_dim
    scale = config.get("query_pre_attn_scalar", expected)
    if architecture is _GEMMA3 and scale != expected:
        raise UnsupportedArchitecture(
            f"{checkpoint.folder / 'config.json'}: query_pre_attn_scalar is {scale}, "
            f"llama.cpp computes with {expected}"
        )


def architecture_named(name: str) -> Architecture:
    """The architecture that llama.cpp calls `name`. Raises UnsupportedArchitecture."""
    for architecture in _ARCHITECTURES.values():
        if architecture.name == name:
            return architecture
    names = ", ".join(dict.fromkeys(architecture.name for architecture in _ARCHITECTURES.values()))
    raise UnsupportedArchitecture(f"the architecture is {name}, expected {names}")


def is_derived(name: str) -> bool:
    """Whether a checkpoint's tensor follows from the config and is not written."""
    return name.endswith(_DERIVED)


def add_metadata(writer: gguf.GGUFWriter, architecture: Architecture, model: Hyperparameters) -> None:
    """The keys that llama.cpp's loader reads; names and meaning from gguf's `constants.py`."""
    writer.add_block_count(model.n_layers)
    writer.add_context_length(context_length(architecture, model))
    writer.add_embedding_length(model.n_embd)
    writer.add_feed_forward_length(model.n_ff)
    writer.add_head_count(model.heads.n_heads)
    writer.add_head_count_kv(model.heads.n_kv_heads)
    writer.add_key_length(model.heads.head_dim)
    writer.add_value_length(model.heads.head_dim)
    writer.add_layer_norm_rms_eps(model.rms_norm_eps)
    writer.add_vocab_size(model.n_vocab)
    writer.add_rope_dimension_count(model.heads.head_dim)
    _add_rope(writer, model)
    if architecture.has_sliding_window and model.sliding_window:
        writer.add_sliding_window(model.sliding_window)


def context_length(architecture: Architecture, model: Hyperparameters) -> int:
    """Tokens of context in which llama.cpp computes what transformers does: without sliding window, not
    beyond it.
    """
    if model.sliding_window and not architecture.has_sliding_window:
        return min(model.n_ctx, model.sliding_window)
    return model.n_ctx


def _add_rope(writer: gguf.GGUFWriter, model: Hyperparameters) -> None:
    rope = model.rope
    writer.add_rope_freq_base(rope.theta)
    if model.sliding_rope_theta is not None:
        writer.add_rope_freq_base_swa(model.sliding_rope_theta)
    if rope.type in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope.type))
        writer.add_rope_scaling_factor(float(rope.parameters["factor"]))
    if rope.type == "yarn":
        writer.add_rope_scaling_orig_ctx_len(int(_original_context(rope, model)))
        _add_yarn(writer, rope)


def _add_yarn(writer: gguf.GGUFWriter, rope: Rope) -> None:
    parameters = rope.parameters
    if parameters.get("attention_factor") is not None:
        # transformers takes it as it is, llama.cpp multiplies it with YaRN's own (`src/llama-context.cpp`).
        own = 1 + 0.1 * log(float(parameters["factor"]))
        writer.add_rope_scaling_attn_factors(float(parameters["attention_factor"]) / own)
    if parameters.get("beta_fast") is not None:
        writer.add_rope_scaling_yarn_beta_fast(float(parameters["beta_fast"]))
    if parameters.get("beta_slow") is not None:
        writer.add_rope_scaling_yarn_beta_slow(float(parameters["beta_slow"]))


def _original_context(rope: Rope, model: Hyperparameters) -> float:
    return float(rope.parameters.get("original_max_position_embeddings") or model.n_ctx)


def llama3_frequency_factors(model: Hyperparameters) -> Array | None:
    """Llama 3.1's divisor of each rotary frequency, shape `(head_dim / 2,)`, or None for another kind of
    scaling.

    transformers, `modeling_rope_utils.py`, `_compute_llama3_parameters`, in the form of llama.cpp's
    `rope_freqs`.
    """
    if model.rope.type != "llama3":
        return None
    parameters, original = model.rope.parameters, _original_context(model.rope, model)
    factor = float(parameters.get("factor", 8.0))
    low, high = float(parameters.get("low_freq_factor", 1.0)), float(parameters.get("high_freq_factor", 4.0))
    exponents = np.arange(0, model.heads.head_dim, 2, dtype=np.float32) / np.float32(model.heads.head_dim)
    wavelengths = 2 * pi * np.float32(model.rope.theta) ** exponents
    smooth = (original / wavelengths - low) / (high - low)
    factors = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(
        wavelengths < original / high, 1.0, np.where(wavelengths > original / low, factor, factors)
    )
    return factors.astype(np.float32)
