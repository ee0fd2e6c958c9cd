"""`lumos-edge convert diff` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from lumos_edge.cli.convert import command
from lumos_edge.conversion.native_model import open_model
from tests.conversion.checkpoints import add_sentencepiece, config, weights, write_checkpoint


def checkpoint(folder: Path, seed: int, **changes: Any) -> Path:
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder), **changes)
    return write_checkpoint(folder, settings, weights(settings, seed))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str, str]:
    """The arguments that name a fine-tune and its base."""
    return str(checkpoint(tmp_path / "tuned", 1)), "--base", str(checkpoint(tmp_path / "base", 0))


def diff(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, ["diff", *map(str, arguments)], catch_exceptions=False)


def test_the_energy_of_each_layer_is_reported(tmp_path: Path, pair: tuple[str, str, str]) -> None:
    result = diff(*pair, "-o", tmp_path / "a.gguf", "--rank", "8", "--module", "grounder")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["size_bytes"] == (tmp_path / "a.gguf").stat().st_size
    layers = document["layers"]
    assert list(layers) == ["token_embd", "blk.0", "blk.1", "output"]
    assert document["energy_kept"] == pytest.approx(
        sum(layer["share"] * layer["kept"] for layer in layers.values())
    )
    assert {entry["rank"] for entry in document["tensors"].values()} == {8}
    shown = [line.split()[0] for line in result.stderr.splitlines()]
    assert shown == [f"{tmp_path / 'a.gguf'}:", "layer", *layers, "all"]
    assert gguf.GGUFReader(tmp_path / "a.gguf").fields["lumos.module"].contents() == "grounder"


def test_a_target_energy_is_reached_and_a_target_size_is_kept(
    tmp_path: Path, pair: tuple[str, str, str]
) -> None:
    energy = json.loads(diff(*pair, "-o", tmp_path / "e.gguf", "--energy", "0.7").stdout)
    assert all(0.7 <= tensor["energy_kept"] < 0.75 for tensor in energy["tensors"].values())
    size = json.loads(diff(*pair, "-o", tmp_path / "s.gguf", "--size-mib", "0.06").stdout)
    assert 0.9 * 0.06 < size["size_bytes"] / (1 << 20) <= 0.06
    assert size["energy_kept"] < energy["energy_kept"]


def test_an_energy_beyond_the_rank_is_said(tmp_path: Path, pair: tuple[str, str, str]) -> None:
    result = diff(*pair, "-o", tmp_path / "a.gguf", "--energy", "0.9", "--rank", "4")
    assert result.exit_code == 0
    assert "of the energy kept, not 90.00%: a larger --rank than 4 may do" in result.stderr


def test_a_target_is_either_a_size_or_an_energy(tmp_path: Path, pair: tuple[str, str, str]) -> None:
    arguments = ["diff", *pair, "-o", str(tmp_path / "a.gguf"), "--energy", "0.9", "--size-mib", "1"]
    with pytest.raises(click.UsageError, match="not both"):
        command.main(arguments, standalone_mode=False)


def test_a_dry_run_prints_the_largest_adapter(tmp_path: Path, pair: tuple[str, str, str]) -> None:
    lines = diff(*pair, "-o", tmp_path / "a.gguf", "--rank", "8", "--dry-run").stdout.splitlines()
    assert lines[2].split()[:5] == ["token_embd.weight.lora_a", "F16", "400", "x", "8"]
    assert lines[-2].startswith("32 tensors, ")
    assert not (tmp_path / "a.gguf").exists()


def test_with_an_untied_base_the_embedding_is_changed_too(tmp_path: Path) -> None:
    tied = {"tie_word_embeddings": True}
    tuned, base = checkpoint(tmp_path / "tuned", 1, **tied), checkpoint(tmp_path / "base", 0, **tied)
    result = diff(tuned, "--base", base, "-o", tmp_path / "tied.gguf", "--rank", "8")
    assert (
        "2 tensors that an adapter cannot change, such as token_embd.weight, output_norm.weight"
        in result.stderr
    )
    result = diff(tuned, "--base", base, "-o", tmp_path / "untied.gguf", "--rank", "8", "--untie")
    assert "cannot change" not in result.stderr
    assert {"token_embd.weight", "output.weight"} < json.loads(result.stdout)["tensors"].keys()
    converted = CliRunner().invoke(
        command, ["hf", str(base), "-o", str(tmp_path / "base.gguf"), "--untie"], catch_exceptions=False
    )
    assert converted.exit_code == 0
    with open_model(tmp_path / "base.gguf", tmp_path / "untied.gguf") as model:
        assert np.isfinite(model.logits([1, 5, 9])).all()
