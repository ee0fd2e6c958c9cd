"""Folders of checkpoints, whole and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumos_edge.conversion.checkpoint import read_checkpoint, read_json
from lumos_edge.errors import ConversionError
from tests.conversion.checkpoints import write_checkpoint, write_shards

TENSORS = {name: np.ones((2, 2), np.float32) for name in "abcd"}


def test_shards_are_read_as_one_table(tmp_path: Path) -> None:
    found = read_checkpoint(write_shards(tmp_path / "x", {}, TENSORS, 2))
    assert set(found.tensors) == set(TENSORS)
    assert len({tensor.path for tensor in found.tensors.values()}) == 2


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "x", {}, TENSORS, 2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ConversionError, match=r"model-00002-of-00002\.safetensors is missing"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (
            {"e": "model-00001-of-00002.safetensors"},
            "names tensor e, which is not among the 2 of model-00001",
        ),
        ({"a": "../x/model-00001-of-00002.safetensors"}, "names the shard '../x/model"),
        ({"a": 3}, "names the shard 3, expected a file name"),
        ({}, "has no weight_map"),
    ],
)
def test_an_index_that_names_what_is_not_there_is_refused(
    tmp_path: Path, weight_map: Any, message: str
) -> None:
    folder = write_shards(tmp_path / "x", {}, TENSORS, 2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConversionError, match=message):
        read_checkpoint(folder)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "x", {}, TENSORS)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ConversionError, match=r"holds no weights, expected model\.safetensors or pytorch_model\.bin"
    ):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), ("{", "cannot be read"), ("[1]", "holds a list, expected an object")],
)
def test_a_config_that_is_none_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConversionError, match=message):
        read_json(tmp_path / "config.json")
