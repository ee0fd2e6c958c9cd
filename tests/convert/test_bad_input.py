"""Checkpoints that are broken: one line that names the file, exit code 3, nothing left behind."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumos_edge.cli import main
from tests.conversion.checkpoints import (
    add_sentencepiece,
    add_tokenizer,
    byte_level_tokenizer,
    config,
    weights,
    write_checkpoint,
    write_safetensors,
    write_shards,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    settings = config("llama", add_sentencepiece(folder))
    return write_checkpoint(folder, settings, weights(settings))


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(found))
    return found


def lose_a_shard(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()


def shard(folder: Path) -> dict[str, Any]:
    (folder / "model.safetensors").unlink()
    write_shards(folder, settings(folder), weights(settings(folder)), 3)
    index: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    return index


def name_an_absent_tensor(folder: Path) -> None:
    index = shard(folder)
    index["weight_map"]["model.layers.9.mlp.up_proj.weight"] = "model-00001-of-00003.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def put_nan(folder: Path) -> None:
    tensors = weights(settings(folder))
    tensors["model.layers.1.mlp.up_proj.weight"][95, 63] = np.nan
    write_safetensors(folder / "model.safetensors", tensors)


def pickle_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'touch ran'\ntR.")


def drop_embedding_rows(folder: Path) -> None:
    tensors = weights(settings(folder))
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-7]
    write_safetensors(folder / "model.safetensors", tensors)


def add_a_token_without_a_row(folder: Path) -> None:
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": settings(folder)["vocab_size"] + 5}))


def cut_texts_otherwise(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    larger = settings(folder, vocab_size=add_tokenizer(folder, byte_level_tokenizer("qwen2")))
    write_safetensors(folder / "model.safetensors", weights(larger))
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]+"
    path.write_text(json.dumps(tokenizer))


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing shard": (
        lose_a_shard,
        "model-00002-of-00003.safetensors is missing, model.safetensors.index.json names",
    ),
    "truncated safetensors": (cut_off, "model.safetensors has 4"),
    "absent tensor": (
        name_an_absent_tensor,
        "names tensor model.layers.9.mlp.up_proj.weight, which is not among",
    ),
    "embedding of fewer rows": (drop_embedding_rows, "has 393 rows, "),
    "more tokens than rows": (add_a_token_without_a_row, "tokens up to id 405, the embedding has 400 rows"),
    "unknown architecture": (
        lambda folder: settings(folder, architectures=["GPT2LMHeadModel"]),
        "config.json: the model is GPT2LMHeadModel, expected LlamaForCausalLM",
    ),
    "unknown pre-tokenizer": (cut_texts_otherwise, "tokenizer.json: unknown pre-tokenizer '[a-z]+'"),
    "NaN": (
        put_nan,
        "model.safetensors: tensor model.layers.1.mlp.up_proj.weight holds infinite values or NaN",
    ),
    "a pickle with code": (
        pickle_code,
        "pytorch_model.bin: the pickle asks for os.system, expected nothing but",
    ),
}


@pytest.mark.parametrize("type_name", ["f16", "Q8_0", "Q4_K_M"])
@pytest.mark.parametrize("case", CASES)
def test_a_broken_checkpoint_is_one_line_and_leaves_nothing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    case: str,
    type_name: str,
) -> None:
    breaks, message = CASES[case]
    breaks(folder)
    output = tmp_path / "output"
    output.mkdir()
    before = sorted(folder.iterdir())
    arguments = [
        "lumos-edge",
        "convert",
        "hf",
        str(folder),
        "-o",
        str(output / "model.gguf"),
        "--type",
        type_name,
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (ended.value.code, out, len(errors)) == (3, "", 1)
    assert errors[0].startswith("lumos-edge: ")
    assert message in errors[0]
    assert (list(output.iterdir()), sorted(folder.iterdir())) == ([], before)
