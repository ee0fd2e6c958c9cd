"""A converted adapter on its base computes what the merged weights do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lumos_edge.conversion.base_model import BaseModel, read_base_model
from lumos_edge.conversion.checkpoint import read_adapter, read_checkpoint
from lumos_edge.conversion.lora import plan_adapter, write_adapter
from lumos_edge.conversion.model import plan_model, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.native_model import open_model
from lumos_edge.errors import AdapterMismatch, ConversionError
from tests.conversion import reference_model
from tests.conversion.checkpoints import (
    Arrays,
    add_sentencepiece,
    config,
    weights,
    write_checkpoint,
    write_safetensors,
)

TOKENS = [1, *range(5, 45, 2), 7, 3, 300]
LAYER = "model.layers.0."
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


@pytest.fixture
def base(tmp_path: Path) -> tuple[BaseModel, dict[str, Any], Arrays]:
    return make_base(tmp_path)


def make_base(tmp_path: Path, **changes: Any) -> tuple[BaseModel, dict[str, Any], Arrays]:
    folder = tmp_path / "base"
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder), **changes)
    tensors = weights(settings)
    write_checkpoint(folder, settings, tensors)
    path = tmp_path / "base.gguf"
    write_model(plan_model(read_checkpoint(folder), "f32"), path, ModuleMetadata(), lambda _: None)
    return read_base_model(path), settings, tensors


def halves(modules: Mapping[str, tuple[int, int, int]], seed: int = 1) -> Arrays:
    """Random A and B by (rows, columns, rank), named as PEFT saves them."""
    rng = np.random.default_rng(seed)
    return {
        f"base_model.model.{module}.lora_{half}.weight": 0.2 * rng.standard_normal(shape, dtype=np.float32)
        for module, (rows, columns, rank) in modules.items()
        for half, shape in (("A", (rank, columns)), ("B", (rows, rank)))
    }


ALL_LINEAR = {
    f"{LAYER}self_attn.q_proj": (64, 64, 4),
    f"{LAYER}self_attn.k_proj": (32, 64, 4),
    f"{LAYER}self_attn.v_proj": (32, 64, 2),
    f"{LAYER}mlp.down_proj": (64, 96, 4),
    "lm_head": (400, 64, 4),
}


def write_peft(folder: Path, settings: Mapping[str, Any], tensors: Arrays) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder


def convert(folder: Path, base: BaseModel, type_name: str = "f32") -> Path:
    output = folder.with_suffix(".gguf")
    write_adapter(
        plan_adapter(read_adapter(folder), base, type_name), output, ModuleMetadata(), lambda _: None
    )
    return output


def merged(tensors: Arrays, adapter: Arrays, scales: Mapping[str, float]) -> Arrays:
    result = dict(tensors)
    for module, scale in scales.items():
        a, b = (adapter[f"base_model.model.{module}.lora_{half}.weight"] for half in "AB")
        result[f"{module}.weight"] = tensors[f"{module}.weight"] + scale * (b @ a)
    return result


Q, K, V, DOWN, HEAD = ALL_LINEAR


@pytest.mark.parametrize(
    ("changes", "scales"),
    [
        ({}, {Q: 2, K: 2, V: 4, DOWN: 2, HEAD: 2}),
        ({"use_rslora": True}, {Q: 4, K: 4, V: 8 / 2**0.5, DOWN: 4, HEAD: 4}),
        (
            {"alpha_pattern": {"k_proj": 2, r"layers\.0\.mlp\..*": 16}, "rank_pattern": {"v_proj": 2}},
            {Q: 2, K: 0.5, V: 4, DOWN: 4, HEAD: 2},
        ),
    ],
)
def test_an_adapter_computes_what_the_merged_weights_do(
    tmp_path: Path,
    base: tuple[BaseModel, dict[str, Any], Arrays],
    changes: dict[str, Any],
    scales: dict[str, float],
) -> None:
    model, settings, tensors = base
    adapter = halves(ALL_LINEAR)
    output = convert(write_peft(tmp_path / "adapter", CONFIG | changes, adapter), model)
    expected = reference_model.logits(settings, merged(tensors, adapter, scales), TOKENS)
    with open_model(model.path, output) as found:
        assert np.abs(found.logits(TOKENS) - expected).max() < 1e-4 * expected.std()


def test_an_adapted_embedding_computes_what_the_merged_weights_do(
    tmp_path: Path, base: tuple[BaseModel, dict[str, Any], Arrays]
) -> None:
    model, settings, tensors = base
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((4, 400), dtype=np.float32), rng.standard_normal((64, 4), dtype=np.float32)
    name = "base_model.model.model.embed_tokens"
    saved = {f"{name}.lora_embedding_A": a, f"{name}.lora_embedding_B": b}
    saved[f"{name}.base_layer.weight"] = tensors["model.embed_tokens.weight"]
    output = convert(write_peft(tmp_path / "adapter", CONFIG, saved), model)
    changed = dict(tensors)
    changed["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] + 2 * (b @ a).T
    expected = reference_model.logits(settings, changed, TOKENS)
    with open_model(model.path, output) as found:
        assert np.abs(found.logits(TOKENS) - expected).max() < 1e-4 * expected.std()


def test_an_adapted_embedding_that_is_also_the_output_is_refused(tmp_path: Path) -> None:
    model, _, _ = make_base(tmp_path, tie_word_embeddings=True)
    adapter = halves({"model.embed_tokens": (64, 400, 4)})
    with pytest.raises(ConversionError, match="also uses as its output"):
        convert(write_peft(tmp_path / "adapter", CONFIG, adapter), model)


def test_the_metadata_names_the_base(tmp_path: Path, base: tuple[BaseModel, dict[str, Any], Arrays]) -> None:
    output = convert(write_peft(tmp_path / "adapter", CONFIG, halves(ALL_LINEAR)), base[0], "f16")
    fields = gguf.GGUFReader(output).fields
    found = {key: fields[key].contents() for key in ("general.type", "adapter.type", "adapter.lora.alpha")}
    assert found == {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    assert fields["general.base_model.0.name"].contents() == "Base"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "DoRA rescales whole columns"),
        ({"fan_in_fan_out": True}, "transposed weights"),
        ({"modules_to_save": ["lm_head"]}, "whole modules were trained"),
        ({"peft_type": "IA3"}, "of type IA3, expected LORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base model"),
        ({"lora_alpha": 0}, "lora_alpha is 0 and r is 4"),
        ({"r": None}, "lora_alpha is 8 and r is None"),
    ],
)
def test_what_a_gguf_adapter_cannot_express_is_refused_with_the_reason(
    tmp_path: Path, base: tuple[BaseModel, dict[str, Any], Arrays], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(write_peft(tmp_path / "adapter", CONFIG | changes, halves(ALL_LINEAR)), base[0])


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            {f"{LAYER}self_attn.q_proj": (128, 64, 4)},
            r"128 x 4 and 4 x 64, blk\.0\.attn_q\.weight in .* is 64 x 64",
        ),
        (
            {"model.layers.9.self_attn.q_proj": (64, 64, 4)},
            r"changes model\.layers\.9\.self_attn\.q_proj, which",
        ),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path,
    base: tuple[BaseModel, dict[str, Any], Arrays],
    modules: dict[str, tuple[int, int, int]],
    message: str,
) -> None:
    with pytest.raises(AdapterMismatch, match=message):
        convert(write_peft(tmp_path / "adapter", CONFIG, halves(modules)), base[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model.model.lm_head.lora_magnitude_vector", "is no half of a LoRA pair"),
        ("base_model.model.lm_head.lora_A.weight", "only the half A, expected A and B"),
    ],
)
def test_tensors_that_are_no_pairs_are_refused(
    tmp_path: Path, base: tuple[BaseModel, dict[str, Any], Arrays], name: str, message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(write_peft(tmp_path / "adapter", CONFIG, {name: np.ones((4, 64), np.float32)}), base[0])


def test_a_base_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"not a model")
    with pytest.raises(ConversionError, match=r"base\.gguf cannot be read as GGUF"):
        read_base_model(tmp_path / "base.gguf")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConversionError, match="the architecture is bert, expected llama, qwen2"):
        read_base_model(tmp_path / "other.gguf")
