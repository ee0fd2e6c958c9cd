"""The models in numpy, as transformers defines them: what a converted file must compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = Any  # numpy's arithmetic gives no more precise type
Weights = Mapping[str, Array]


def logits(config: Mapping[str, Any], weights: Weights, tokens: Sequence[int]) -> Array:
    """Logits after each token, shape `(n_tokens, n_vocab)`, in float64 (transformers, `modeling_llama.py` and kin)."""
    gemma = config["model_type"] == "gemma3_text"
    embedding = np.asarray(weights["model.embed_tokens.weight"], np.float64)
    hidden = embedding[list(tokens)] * (np.sqrt(config["hidden_size"]) if gemma else 1)
    for i in range(config["num_hidden_layers"]):
        layer = {
            name.removeprefix(f"model.layers.{i}."): np.asarray(value, np.float64)
            for name, value in weights.items()
            if name.startswith(f"model.layers.{i}.")
        }
        is_local = gemma and (i + 1) % 6 != 0
        hidden = _gemma_layer(config, layer, hidden, is_local) if gemma else _layer(config, layer, hidden)
    hidden = _norm(config, weights["model.norm.weight"], hidden)
    head = embedding if config["tie_word_embeddings"] else np.asarray(weights["lm_head.weight"], np.float64)
    return hidden @ head.T


def _layer(config: Mapping[str, Any], layer: Weights, hidden: Array) -> Array:
    hidden = hidden + _attention(config, layer, _norm(config, layer["input_layernorm.weight"], hidden), False)
    return hidden + _mlp(config, layer, _norm(config, layer["post_attention_layernorm.weight"], hidden))


def _gemma_layer(config: Mapping[str, Any], layer: Weights, hidden: Array, is_local: bool) -> Array:
    attended = _attention(config, layer, _norm(config, layer["input_layernorm.weight"], hidden), is_local)
    hidden = hidden + _norm(config, layer["post_attention_layernorm.weight"], attended)
    output = _mlp(config, layer, _norm(config, layer["pre_feedforward_layernorm.weight"], hidden))
    return hidden + _norm(config, layer["post_feedforward_layernorm.weight"], output)


def _norm(config: Mapping[str, Any], weight: Array, hidden: Array) -> Array:
    scale = weight + 1 if config["model_type"] == "gemma3_text" else weight
    return scale * hidden / np.sqrt((hidden**2).mean(-1, keepdims=True) + config["rms_norm_eps"])


def _mlp(config: Mapping[str, Any], layer: Weights, hidden: Array) -> Array:
    gate, up = hidden @ layer["mlp.gate_proj.weight"].T, hidden @ layer["mlp.up_proj.weight"].T
    if config["model_type"] == "gemma3_text":
        activated = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    else:
        activated = gate / (1 + np.exp(-gate))
    return (activated * up) @ layer["mlp.down_proj.weight"].T


def _attention(config: Mapping[str, Any], layer: Weights, hidden: Array, is_local: bool) -> Array:
    n_tokens, head_dim = len(hidden), config["head_dim"]
    heads = {name: _project(layer, name, hidden).reshape(n_tokens, -1, head_dim) for name in "qkv"}
    for name in "qk":
        if f"self_attn.{name}_norm.weight" in layer:
            heads[name] = _norm(config, layer[f"self_attn.{name}_norm.weight"], heads[name])
        heads[name] = _rotate(config, heads[name], is_local)
    groups = heads["q"].shape[1] // heads["k"].shape[1]
    keys, values = heads["k"].repeat(groups, 1), heads["v"].repeat(groups, 1)
    scores = np.einsum("qhd,khd->hqk", heads["q"], keys) / np.sqrt(head_dim)
    distance = np.arange(n_tokens)[:, None] - np.arange(n_tokens)
    seen = (distance >= 0) & (distance < (config["sliding_window"] if is_local else n_tokens))
    scores = np.where(seen, scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    return (
        np.einsum("hqk,khd->qhd", shares, values).reshape(n_tokens, -1) @ layer["self_attn.o_proj.weight"].T
    )


def _project(layer: Weights, name: str, hidden: Array) -> Array:
    bias = layer.get(f"self_attn.{name}_proj.bias", np.float64(0))
    return hidden @ layer[f"self_attn.{name}_proj.weight"].T + bias


def _rotate(config: Mapping[str, Any], heads: Array, is_local: bool) -> Array:
    dim = heads.shape[-1]
    theta = config["rope_local_base_freq"] if is_local else config["rope_theta"]
    frequencies = theta ** (-np.arange(0, dim, 2) / dim)
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "linear" and not is_local:
        frequencies = frequencies / scaling["factor"]
    if scaling.get("rope_type") == "llama3":
        frequencies = frequencies / _llama3_divisors(scaling, frequencies)
    scale = 1.0
    if scaling.get("rope_type") == "yarn":
        frequencies, scale = _yarn(scaling, frequencies, theta)
    angles = np.arange(len(heads))[:, None, None] * frequencies
    first, second = heads[..., : dim // 2], heads[..., dim // 2 :]
    rotated = (
        first * np.cos(angles) - second * np.sin(angles),
        second * np.cos(angles) + first * np.sin(angles),
    )
    return scale * np.concatenate(rotated, -1)


def _yarn(scaling: Mapping[str, Any], frequencies: Array, theta: float) -> tuple[Array, float]:
    """transformers, `modeling_rope_utils.py`, _compute_yarn_parameters."""
    dim, original = 2 * len(frequencies), scaling["original_max_position_embeddings"]

    def dimension(n_rotations: float) -> float:
        return float(dim * np.log(original / (n_rotations * 2 * np.pi)) / (2 * np.log(theta)))

    low, high = max(np.floor(dimension(32)), 0), min(np.ceil(dimension(1)), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    scale = scaling.get("attention_factor", 0.1 * np.log(scaling["factor"]) + 1)
    return frequencies * (1 - ramp) + frequencies / scaling["factor"] * ramp, scale


def _llama3_divisors(scaling: Mapping[str, Any], frequencies: Array) -> Array:
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelengths = 2 * np.pi / frequencies
    smooth = (original / wavelengths - low) / (high - low)
    divisors = 1 / ((1 - smooth) / factor + smooth)
    return np.where(
        wavelengths < original / high, 1, np.where(wavelengths > original / low, factor, divisors)
    )
