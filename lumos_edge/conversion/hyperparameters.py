"""A model's dimensions, out of `config.json` in the spellings that transformers has used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumos_edge.errors import ConversionError


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: its base, and how it is stretched beyond the trained context."""

    theta: float
    type: str  # "default", "linear", "yarn", "llama3"
    parameters: Mapping[str, Any]  # the checkpoint's own, for the type


@dataclass(frozen=True)
class Heads:
    """How the rows of the attention's projections are divided."""

    n_heads: int
    n_kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Hyperparameters:
    """What the file's metadata and the tensor shapes depend on; lengths are in tokens or in elements."""

    n_layers: int
    n_embd: int
    n_ff: int
    heads: Heads
    n_vocab: int
    n_ctx: int
    rms_norm_eps: float
    sliding_window: int | None
    tied_embeddings: bool
    rope: Rope
    sliding_rope_theta: float | None  # for the layers with a sliding window, where they have their own


def read_hyperparameters(path: Path, config: Mapping[str, Any]) -> Hyperparameters:
    """The dimensions in a text model's config; `path` is named in errors.

    The defaults are those of transformers' LlamaConfig, which older checkpoints leave out. Raises
    ConversionError when a dimension is missing or no positive number.
    """
    n_heads, n_embd = _size(path, config, "num_attention_heads"), _size(path, config, "hidden_size")
    rope, sliding_rope_theta = _read_rope(config)
    return Hyperparameters(
        n_layers=_size(path, config, "num_hidden_layers"),
        n_embd=n_embd,
        n_ff=_size(path, config, "intermediate_size"),
        heads=Heads(
            n_heads,
            _size(path, config, "num_key_value_heads", n_heads),
            _size(path, config, "head_dim", n_embd // n_heads),
        ),
        n_vocab=_size(path, config, "vocab_size"),
        n_ctx=_size(path, config, "max_position_embeddings", 2048),
        rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        sliding_window=config.get("sliding_window") if config.get("use_sliding_window", True) else None,
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        rope=rope,
        sliding_rope_theta=sliding_rope_theta,
    )


def _size(path: Path, config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or value < 1:
        raise ConversionError(f"{path}: {key} is {value!r}, expected a positive number")
    return value


def _read_rope(config: Mapping[str, Any]) -> tuple[Rope, float | None]:
    """Both spellings: `rope_theta` + `rope_scaling`, and since transformers 5 `rope_parameters`, by layer
    type or not.
    """
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    sliding = parameters.get("sliding_attention", {})
    parameters = parameters.get("full_attention", parameters)
    rope_type = parameters.get("rope_type") or parameters.get("type") or "default"
    theta = parameters.get("rope_theta") or config.get("rope_theta") or 10000.0
    sliding_theta = sliding.get("rope_theta") or config.get("rope_local_base_freq")
    return Rope(float(theta), str(rope_type).lower(), parameters), float(
        sliding_theta
    ) if sliding_theta else None
