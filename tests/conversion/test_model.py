"""A converted model computes what the checkpoint defines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.model import plan_model, untie, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.native_model import open_model
from lumos_edge.errors import ConversionError, UnsupportedArchitecture, VocabularyMismatch
from tests.conversion import reference_model
from tests.conversion.checkpoints import (
    Arrays,
    add_sentencepiece,
    add_tokenizer,
    byte_level_tokenizer,
    config,
    weights,
    write_checkpoint,
    write_shards,
)

TOKENS = [1, *range(5, 45, 2), 7, 3, 300]
NO_MODULE = ModuleMetadata()
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def convert(folder: Path, type_name: str = "f32", module: ModuleMetadata = NO_MODULE) -> Path:
    output = folder.with_suffix(".gguf")
    write_model(plan_model(read_checkpoint(folder), type_name), output, module, lambda _: None)
    return output


def make(tmp_path: Path, model_type: str, **changes: Any) -> tuple[Path, dict[str, Any], Arrays]:
    folder = tmp_path / model_type
    folder.mkdir()
    n_vocab = add_sentencepiece(folder)
    settings = config(model_type, n_vocab, **changes)
    tensors = weights(settings)
    return write_checkpoint(folder, settings, tensors), settings, tensors


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_an_untied_model_computes_the_same(tmp_path: Path, model_type: str) -> None:
    folder, _, _ = make(tmp_path, model_type, tie_word_embeddings=True)
    plan = plan_model(untie(read_checkpoint(folder)), "f32")
    write_model(plan, tmp_path / "untied.gguf", NO_MODULE, lambda _: None)
    assert "output.weight" in {tensor.name for tensor in gguf.GGUFReader(tmp_path / "untied.gguf").tensors}
    with open_model(tmp_path / "untied.gguf") as untied, open_model(convert(folder)) as tied:
        assert np.abs(untied.logits(TOKENS) - tied.logits(TOKENS)).max() < 1e-4


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"num_key_value_heads": 4, "head_dim": 8}),
        ("llama", {"rope_scaling": LLAMA3}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("llama", {"rope_scaling": YARN}),
        ("llama", {"rope_scaling": {**YARN, "attention_factor": 0.8}}),
        ("mistral", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gemma3_text", {}),
        ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    ],
)
def test_llama_cpp_computes_what_the_checkpoint_defines(
    tmp_path: Path, model_type: str, changes: dict[str, Any]
) -> None:
    folder, settings, tensors = make(tmp_path, model_type, **changes)
    with open_model(convert(folder)) as model:
        found = model.logits(TOKENS)
    expected = reference_model.logits(settings, tensors, TOKENS)
    # ggml looks GELU up in a table of float16; all else is computed in float32.
    tolerance = 1e-2 if model_type == "gemma3_text" else 1e-4
    assert np.abs(found - expected).max() < tolerance * expected.std()


def test_float16_and_q8_0_stay_close(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    expected = reference_model.logits(settings, tensors, TOKENS)
    for type_name, tolerance in (("f16", 0.01), ("bf16", 0.08), ("q8_0", 0.6)):
        with open_model(convert(folder, type_name)) as model:
            assert np.abs(model.logits(TOKENS) - expected).max() < tolerance * expected.std()
        folder.with_suffix(".gguf").unlink()


def test_both_spellings_of_rope_parameters_give_the_same_file(tmp_path: Path) -> None:
    files = []
    for spelling in ("old", "new"):
        folder = tmp_path / spelling / "checkpoint"
        folder.mkdir(parents=True)
        settings = config("llama", add_sentencepiece(folder), rope_theta=5e5, rope_scaling=LLAMA3)
        tensors = weights(settings)
        if spelling == "new":
            del settings["rope_theta"], settings["rope_scaling"]
            settings["rope_parameters"] = {**LLAMA3, "rope_theta": 5e5}
        files.append(convert(write_checkpoint(folder, settings, tensors)).read_bytes())
    assert files[0] == files[1]


def test_shards_give_the_same_tensors_as_one_file(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    sharded = write_shards(tmp_path / "sharded", settings, tensors, 3)
    add_sentencepiece(sharded)
    one, three = (
        {t.name: t.data.tobytes() for t in gguf.GGUFReader(convert(path)).tensors}
        for path in (folder, sharded)
    )
    assert one == three


def test_the_text_model_of_a_multimodal_checkpoint_is_converted(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "gemma3_text")
    outer = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": settings}
    renamed = {f"language_model.{name}": array for name, array in tensors.items()}
    renamed["vision_tower.embeddings.weight"] = np.ones((4, 4), np.float32)
    multimodal = write_checkpoint(tmp_path / "multimodal", outer, renamed)
    add_sentencepiece(multimodal)
    with open_model(convert(multimodal)) as found, open_model(convert(folder)) as expected:
        assert np.array_equal(found.logits(TOKENS), expected.logits(TOKENS))


def test_the_metadata_says_what_the_module_is(tmp_path: Path) -> None:
    folder, _, _ = make(tmp_path, "llama")
    module = ModuleMetadata("grounder", "onetime", "lumos", ("maths", "qa"))
    fields = gguf.GGUFReader(convert(folder, module=module)).fields
    found = {key: fields[f"lumos.{key}"].contents() for key in ("module", "formulation", "template", "tools")}
    assert found == {
        "module": "grounder",
        "formulation": "onetime",
        "template": "lumos",
        "tools": ["maths", "qa"],
    }


def test_a_sliding_window_that_llama_cpp_lacks_shortens_the_context(tmp_path: Path) -> None:
    folder, _, _ = make(tmp_path, "mistral", sliding_window=128)
    plan = plan_model(read_checkpoint(folder), "f16")
    assert plan.notes == ("context length 128 instead of 512: llama.cpp has no sliding window for llama",)
    assert gguf.GGUFReader(convert(folder)).fields["llama.context_length"].contents() == 128


def test_rows_without_a_token_get_a_filler(tmp_path: Path) -> None:
    folder = tmp_path / "qwen2"
    folder.mkdir()
    n_tokens = add_tokenizer(folder, byte_level_tokenizer("qwen2"))
    settings = config("qwen2", n_tokens + 5)
    write_checkpoint(folder, settings, weights(settings))
    plan = plan_model(read_checkpoint(folder), "f16")
    assert plan.notes == (f"5 of the embedding's {n_tokens + 5} rows have no token: named [PADn]",)
    with open_model(convert(folder)) as model:
        assert model.n_vocab == n_tokens + 5


@pytest.mark.parametrize("n_vocab_change", [-1, 1])
def test_an_embedding_of_another_size_than_the_config_is_refused(tmp_path: Path, n_vocab_change: int) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    write_checkpoint(folder, settings | {"vocab_size": settings["vocab_size"] + n_vocab_change}, tensors)
    with pytest.raises(VocabularyMismatch, match=rf"{settings['vocab_size']} rows.*vocab_size \d+"):
        plan_model(read_checkpoint(folder), "f16")


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    folder, settings, _ = make(tmp_path, "llama")
    small = settings | {"vocab_size": settings["vocab_size"] - 8}
    write_checkpoint(folder, small, weights(small))
    with pytest.raises(
        VocabularyMismatch, match=f"up to id {settings['vocab_size'] - 1}.* {small['vocab_size']} rows"
    ):
        plan_model(read_checkpoint(folder), "f16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["FalconForCausalLM"]}, "FalconForCausalLM, expected LlamaForCausalLM"),
        ({"hidden_act": "relu"}, "activation is relu, expected silu"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope', expected default, linear"),
    ],
)
def test_what_llama_cpp_cannot_express_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    write_checkpoint(folder, settings | changes, tensors)
    with pytest.raises(UnsupportedArchitecture, match=message):
        plan_model(read_checkpoint(folder), "f16")


def test_a_tensor_without_a_place_is_named(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    write_checkpoint(
        folder, settings, tensors | {"model.layers.0.mlp.experts.bias": np.ones((4, 4), np.float32)}
    )
    with pytest.raises(UnsupportedArchitecture, match=r"model\.layers\.0\.mlp\.experts\.bias has no place"):
        plan_model(read_checkpoint(folder), "f16")


def test_buffers_of_older_checkpoints_are_left_out(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    write_checkpoint(folder, settings, tensors | buffer)
    assert len(plan_model(read_checkpoint(folder), "f16").tensors) == len(tensors)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    write_checkpoint(folder, settings, tensors)
    with pytest.raises(
        ConversionError, match=r"lacks 1 of \d+ tensors, such as \['blk\.1\.ffn_up\.weight'\]"
    ):
        plan_model(read_checkpoint(folder), "f16")


def test_heads_that_do_not_fit_the_rows_are_refused(tmp_path: Path) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    write_checkpoint(folder, settings | {"num_attention_heads": 8}, tensors)
    with pytest.raises(ConversionError, match="64 rows, its heads need 128"):
        plan_model(read_checkpoint(folder), "f16")


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "infinite values or NaN"), (1e9, "beyond float16's 65504")]
)
def test_values_that_cannot_be_written_leave_nothing_behind(
    tmp_path: Path, value: float, message: str
) -> None:
    folder, settings, tensors = make(tmp_path, "llama")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    write_checkpoint(folder, settings, tensors)
    with pytest.raises(ConversionError, match=f"model.layers.1.mlp.up_proj.weight.*{message}"):
        convert(folder, "f16")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
