"""A fine-tune, cut to a low rank and put on its base, computes what the fine-tune does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lumos_edge.conversion.checkpoint import Checkpoint, read_checkpoint
from lumos_edge.conversion.difference import read_difference, write_difference
from lumos_edge.conversion.model import plan_model, write_model
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.native_model import open_model
from lumos_edge.errors import AdapterMismatch, ConversionError
from tests.conversion import reference_model
from tests.conversion.checkpoints import Arrays, add_sentencepiece, config, weights, write_checkpoint

TOKENS = [1, *range(5, 45, 2), 7, 3, 300]
N_CHANGED = 15  # seven linear layers in each of two blocks, and the output


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

    is_linear = {name: array.ndim == 2 and "embed" not in name for name, array in tensors.items()}
    return {name: change(array) if is_linear[name] else array for name, array in tensors.items()}


def test_a_change_of_low_rank_is_kept_whole(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    finetuned, _, changed = make(tmp_path / "tuned", tune(tensors, 3))
    read: list[int] = []
    difference = read_difference(finetuned, base, 3, 1.0, read.append)
    assert difference.kept == pytest.approx(1, abs=1e-5)
    assert len(difference.tensors) == N_CHANGED
    assert sum(read) == len(tensors)
    write_model(plan_model(base, "f32"), tmp_path / "base.gguf", ModuleMetadata(), lambda _: None)
    write_difference(difference, tmp_path / "a.gguf", "tuned", "base", ModuleMetadata("planner"))
    expected = reference_model.logits(settings, changed, TOKENS)
    with open_model(tmp_path / "base.gguf", tmp_path / "a.gguf") as found:
        assert np.abs(found.logits(TOKENS) - expected).max() < 0.01 * expected.std()


def test_the_energy_kept_is_that_of_the_largest_singular_values(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, changed = make(tmp_path / "tuned", tune(tensors, 12))
    difference = read_difference(finetuned, base, 4, 1.0, lambda _: None)
    found = {tensor.name: tensor.kept for tensor in difference.tensors}["blk.1.ffn_up.weight"]
    name = "model.layers.1.mlp.up_proj.weight"
    values = np.linalg.svd(changed[name] - tensors[name], compute_uv=False)
    assert found == pytest.approx((values[:4] ** 2).sum() / (values**2).sum(), abs=1e-3)


def test_the_smallest_rank_that_keeps_the_energy_is_taken(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    finetuned, _, _ = make(tmp_path / "tuned", tune(tensors, 12))
    difference = read_difference(finetuned, base, 64, 0.8, lambda _: None)
    assert all(tensor.kept >= 0.8 and tensor.a.shape[0] < 12 for tensor in difference.tensors)
    write_difference(difference, tmp_path / "a.gguf", "tuned", "base", ModuleMetadata())
    alpha = gguf.GGUFReader(tmp_path / "a.gguf").fields["adapter.lora.alpha"].contents()
    assert alpha == max(tensor.a.shape[0] for tensor in difference.tensors)


def test_changes_that_an_adapter_cannot_make_count_as_lost(tmp_path: Path) -> None:
    base, _, tensors = make(tmp_path / "base")
    changed = tune(tensors, 3)
    changed["model.norm.weight"] = changed["model.norm.weight"] + 1
    finetuned, _, _ = make(tmp_path / "tuned", changed)
    difference = read_difference(finetuned, base, 3, 1.0, lambda _: None)
    assert difference.lost == pytest.approx(64, rel=1e-4)
    assert difference.kept < 1


def test_rows_added_by_the_fine_tune_are_left_out(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    changed = tune(tensors, 2)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        changed[name] = np.concatenate([changed[name], np.ones((1, 64), np.float32)])
    finetuned, _, _ = make(tmp_path / "tuned", changed, vocab_size=settings["vocab_size"] + 1)
    difference = read_difference(finetuned, base, 2, 1.0, lambda _: None)
    assert {tensor.name: tensor.b.shape for tensor in difference.tensors}["output.weight"] == (400, 2)


def test_checkpoints_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    base, settings, tensors = make(tmp_path / "base")
    with pytest.raises(ConversionError, match="have the same linear weights"):
        read_difference(base, base, 4, 1.0, lambda _: None)
    wider = settings | {"intermediate_size": 128}
    other, _, _ = make(tmp_path / "wider", weights(wider), intermediate_size=128)
    with pytest.raises(AdapterMismatch, match=r"\[64, 128\] there and \[64, 96\] in the base"):
        read_difference(other, base, 4, 1.0, lambda _: None)
    tied, _, _ = make(tmp_path / "tied", tensors, tie_word_embeddings=True)
    with pytest.raises(AdapterMismatch, match=r"differ in 1 tensors, such as \['output\.weight'\]"):
        read_difference(tied, base, 4, 1.0, lambda _: None)
