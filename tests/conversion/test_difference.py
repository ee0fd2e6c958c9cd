"""A fine-tune, cut to a low rank and put on its base, computes what the fine-tune does."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lumos_edge.conversion.checkpoint import Checkpoint, read_checkpoint
from lumos_edge.conversion.difference import (
    Difference,
    plan_difference,
    read_difference,
    read_pair,
    working_bytes,
    write_difference,
)
from lumos_edge.conversion.model import plan_model, untie, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.native_model import open_model
from lumos_edge.errors import AdapterMismatch, ConversionError
from tests.conversion import reference_model
from tests.conversion.checkpoints import Arrays, add_sentencepiece, config, weights, write_checkpoint

TOKENS = [1, *range(5, 45, 2), 7, 3, 300]
N_CHANGED = 16  # seven linear layers in each of two blocks, the embedding and the output


def make(
    folder: Path, tensors: Arrays | None = None, **changes: Any
) -> tuple[Checkpoint, dict[str, Any], Arrays]:
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder)) | changes
    tensors = weights(settings) if tensors is None else tensors
    return read_checkpoint(write_checkpoint(folder, settings, tensors)), settings, tensors


def tune(tensors: Arrays, rank: int, seed: int = 5) -> Arrays:
    """The weights with a random change of that rank in every linear layer."""
    rng = np.random.default_rng(seed)

    def change(array: Any) -> Any:
        left = rng.standard_normal((array.shape[0], rank), dtype=np.float32)
        return array + 0.02 * left @ rng.standard_normal((rank, array.shape[1]), dtype=np.float32)

    return {name: change(array) if array.ndim == 2 else array for name, array in tensors.items()}


def differ(finetuned: Checkpoint, base: Checkpoint, rank: int) -> Difference:
    return read_difference(read_pair(finetuned, base), rank, lambda _: None)


def check_computes_the_same(
    tmp_path: Path, base: Checkpoint, difference: Difference, settings: dict[str, Any], changed: Arrays
) -> None:
    """The base with the written adapter gives the logits of the changed weights."""
    write_model(plan_model(base, "f32"), tmp_path / "base.gguf", ModuleMetadata(), lambda _: None)
    write_difference(difference, tmp_path / "a.gguf", ModuleMetadata("planner"))
    expected = reference_model.logits(settings, changed, TOKENS)
    with open_model(tmp_path / "base.gguf", tmp_path / "a.gguf") as found:
        assert np.abs(found.logits(TOKENS) - expected).max() < 0.01 * expected.std()


def test_a_change_of_low_rank_is_kept_whole(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    finetuned, _, changed = make(tmp_path / "tuned", tune(tensors, 3))
    read: list[int] = []
    difference = read_difference(read_pair(finetuned, base), 3, read.append)
    assert difference.kept == pytest.approx(1, abs=1e-5)
    assert len(difference.tensors) == N_CHANGED
    assert sum(read) == difference.pair.size_bytes == 2 * sum(array.nbytes for array in tensors.values())
    check_computes_the_same(tmp_path, base, difference, settings, changed)


def test_a_changed_norm_is_put_into_the_layers_that_read_it(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    rng = np.random.default_rng(3)
    changed = {
        name: array + 0.1 * rng.standard_normal(array.shape, dtype=np.float32) if array.ndim == 1 else array
        for name, array in tensors.items()
    }
    finetuned, _, _ = make(tmp_path / "tuned", changed)
    difference = differ(finetuned, base, 400)
    assert difference.unreachable == {}
    assert difference.kept == pytest.approx(1, abs=1e-5)
    assert {tensor.name.split(".")[-2] for tensor in difference.tensors} == {
        *("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "output")
    }
    check_computes_the_same(tmp_path, base, difference, settings, changed)


def test_a_column_that_the_norm_makes_small_takes_no_rank(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    changed = tune(tensors, 3)
    for layer in (0, 1):
        for norm in ("input", "post_attention"):
            name = f"model.layers.{layer}.{norm}_layernorm.weight"
            tensors[name] = tensors[name].copy()
            tensors[name][:8] = 1e-4
            changed[name] = tensors[name].copy()
            changed[name][:8] = 3e-4
    base, _, _ = make(tmp_path / "small", tensors)
    finetuned, _, _ = make(tmp_path / "tuned", changed)
    difference = differ(finetuned, base, 3)
    assert difference.kept == pytest.approx(1, abs=1e-4)
    check_computes_the_same(tmp_path, base, difference, settings, changed)


def test_the_energy_kept_is_that_of_the_largest_singular_values(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, changed = make(tmp_path / "tuned", tune(tensors, 12))
    difference = differ(finetuned, base, 4)
    found = {tensor.name: tensor.kept for tensor in difference.tensors}["blk.1.ffn_up.weight"]
    name = "model.layers.1.mlp.up_proj.weight"
    inputs = tensors["model.layers.1.post_attention_layernorm.weight"]
    values = np.linalg.svd((changed[name] - tensors[name]) * inputs, compute_uv=False)
    assert found == pytest.approx((values[:4] ** 2).sum() / (values**2).sum(), abs=1e-3)


def test_each_layer_has_its_share_of_the_energy(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    changed = tune(tensors, 6)
    finetuned, _, _ = make(tmp_path / "tuned", changed)
    layers = differ(finetuned, base, 2).layers()
    assert list(layers) == ["token_embd", "blk.0", "blk.1", "output"]
    outside = float(
        ((changed["model.embed_tokens.weight"] - tensors["model.embed_tokens.weight"]) ** 2).sum(1).mean()
    )
    assert outside / layers["token_embd"].share == pytest.approx(differ(finetuned, base, 2).energy, rel=1e-3)
    assert sum(layer.share for layer in layers.values()) == pytest.approx(1)
    assert all(0.3 < layer.kept < 0.9 and set(layer.ranks) == {2} for layer in layers.values())


def test_the_ranks_for_an_energy_are_the_smallest_that_keep_it_of_each_tensor(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, _ = make(tmp_path / "tuned", tune(tensors, 12))
    whole = differ(finetuned, base, 64)
    for tensor in whole.for_energy(0.8).tensors:
        assert tensor.kept >= 0.8
        assert tensor.cut(tensor.rank - 1).kept < 0.8
    assert whole.for_energy(1.0).kept == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size_bytes", [20_000, 40_000, 100_000])
def test_the_ranks_for_a_size_fill_the_file(tmp_path: Path, size_bytes: int) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, _ = make(tmp_path / "tuned", tune(tensors, 40))
    whole = differ(finetuned, base, 64)
    chosen = whole.for_size(size_bytes)
    write_difference(
        chosen, tmp_path / "a.gguf", ModuleMetadata("grounder", "onetime", "compact", ("maths",))
    )
    assert 0.6 * size_bytes < (tmp_path / "a.gguf").stat().st_size <= size_bytes
    assert len({tensor.rank for tensor in chosen.tensors}) == 1
    assert chosen.kept < whole.kept
    alpha = gguf.GGUFReader(tmp_path / "a.gguf").fields["adapter.lora.alpha"].contents()
    assert alpha == max(tensor.rank for tensor in chosen.tensors)


def test_a_size_for_nothing_is_refused_with_the_least(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, _ = make(tmp_path / "tuned", tune(tensors, 3))
    with pytest.raises(ConversionError, match=r"an adapter needs \d{4,5} bytes at least, 5000 were given"):
        differ(finetuned, base, 3).for_size(5000)


def test_a_model_of_different_ranks_computes_the_same(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    narrow = {name: array for name, array in tune(tensors, 3).items() if "mlp" in name}
    finetuned, _, changed = make(tmp_path / "tuned", tune(tensors, 12) | narrow)
    chosen = differ(finetuned, base, 64).for_energy(0.999999)
    assert {tensor.rank for tensor in chosen.tensors} == {3, 12}
    check_computes_the_same(tmp_path, base, chosen, settings, changed)


def test_what_an_adapter_cannot_change_is_named(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base", tie_word_embeddings=True)
    changed = tune(tensors, 3)
    changed["model.norm.weight"] = changed["model.norm.weight"] + 1
    finetuned, _, _ = make(tmp_path / "tuned", changed, tie_word_embeddings=True)
    difference = differ(finetuned, base, 3)
    assert difference.unreachable.keys() == {"token_embd.weight", "output_norm.weight"}
    assert difference.unreachable["output_norm.weight"] == pytest.approx(64, rel=1e-4)
    assert difference.kept == pytest.approx(1 - sum(difference.unreachable.values()) / difference.energy)
    assert difference.layers()["output_norm"].kept == 0


def test_an_untied_base_lets_an_adapter_change_the_embedding_and_the_output(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base", tie_word_embeddings=True)
    changed = tune(tensors, 3)
    changed["model.norm.weight"] = changed["model.norm.weight"] * np.float32(1.5)
    finetuned, settings, _ = make(tmp_path / "tuned", changed, tie_word_embeddings=True)
    difference = differ(untie(finetuned), untie(base), 400)
    assert difference.unreachable == {}
    check_computes_the_same(tmp_path, untie(base), difference, settings, changed)


def test_rows_added_by_the_fine_tune_are_left_out(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    changed = tune(tensors, 2)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        changed[name] = np.concatenate([changed[name], np.ones((1, 64), np.float32)])
    finetuned, _, _ = make(tmp_path / "tuned", changed, vocab_size=settings["vocab_size"] + 1)
    difference = differ(finetuned, base, 2)
    assert {tensor.name: tensor.left.shape for tensor in difference.tensors}["output.weight"] == (400, 2)
    assert difference.kept == pytest.approx(1, abs=1e-5)


def test_the_plan_is_what_is_written_with_that_rank(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, _ = make(tmp_path / "tuned", tune(tensors, 70))
    plan = plan_difference(read_pair(finetuned, base), 40)
    write_difference(differ(finetuned, base, 40), tmp_path / "a.gguf", ModuleMetadata())
    written = {t.name: t.data.shape for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert {tensor.name: tensor.shape for tensor in plan} == written


@pytest.mark.parametrize("rank", [4, 40])
def test_the_memory_is_what_was_said(tmp_path: Path, rank: int) -> None:
    sizes: dict[str, Any] = {"hidden_size": 512, "head_dim": 128, "intermediate_size": 1024}
    base, _, _ = make(tmp_path / "base", **sizes)
    finetuned, _, _ = make(tmp_path / "tuned", tune(weights(dict(base.config)), 70), **sizes)
    pair = read_pair(finetuned, base)
    read_difference(pair, rank, lambda _: None)  # what is imported on the way is not its memory
    tracemalloc.start()
    read_difference(pair, rank, lambda _: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.4 * working_bytes(pair, rank) < peak < working_bytes(pair, rank)


def test_checkpoints_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    with pytest.raises(ConversionError, match="have the same linear weights"):
        differ(base, base, 4)
    wider = settings | {"intermediate_size": 128}
    other, _, _ = make(tmp_path / "wider", weights(wider), intermediate_size=128)
    with pytest.raises(AdapterMismatch, match=r"\[64, 128\] there and \[64, 96\] in the base"):
        differ(other, base, 4)
    tied, _, _ = make(tmp_path / "tied", tensors, tie_word_embeddings=True)
    with pytest.raises(AdapterMismatch, match=r"differ in 1 tensors, such as \['output\.weight'\]"):
        differ(tied, base, 4)
