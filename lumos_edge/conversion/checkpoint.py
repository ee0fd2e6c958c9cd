"""A folder as Hugging Face's libraries save it: config, tokenizer, and tensors in one file or in shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumos_edge.conversion.safetensors_file import read_safetensors
from lumos_edge.conversion.tensors import StoredTensor
from lumos_edge.conversion.torch_file import read_torch_file
from lumos_edge.errors import ConversionError

_READERS: dict[str, Callable[[Path], dict[str, StoredTensor]]] = {
    ".safetensors": read_safetensors,
    ".bin": read_torch_file,
}
_MODEL_FILES = ("model.safetensors", "pytorch_model.bin")
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's folder, its config and its tensors by name; no tensor is in memory."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def read_checkpoint(folder: Path) -> Checkpoint:
    """A model's checkpoint; safetensors are preferred to PyTorch's `.bin`, one file to shards.

    Raises ConversionError (a file is missing or unreadable), TruncatedFile and UnsafePickle.
    """
    return Checkpoint(folder, read_json(folder / "config.json"), _read_tensors(folder, _MODEL_FILES))


def read_adapter(folder: Path) -> Checkpoint:
    """A PEFT adapter's folder, `adapter_config.json` being the config. Raises as `read_checkpoint` does."""
    return Checkpoint(
        folder, read_json(folder / "adapter_config.json"), _read_tensors(folder, _ADAPTER_FILES)
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object. Raises ConversionError when it is missing or no such file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConversionError(
            f"{path} is missing, expected a folder as `save_pretrained` writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConversionError(f"{path} holds a {type(document).__name__}, expected an object")
    return document


def _read_tensors(folder: Path, names: Iterable[str]) -> dict[str, StoredTensor]:
    for name in names:
        if (folder / name).is_file():
            return _READERS[Path(name).suffix](folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_shards(index)
    raise ConversionError(
        f"{folder} holds no weights, expected {' or '.join(names)}, or shards of one with an index"
    )


def _read_shards(index: Path) -> dict[str, StoredTensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConversionError(f"{index} has no weight_map, expected the shard of each tensor")
    shards = {shard: _read_shard(index, shard) for shard in dict.fromkeys(places.values())}
    for name, shard in places.items():
        if name not in shards[shard]:
            raise ConversionError(
                f"{index} names tensor {name}, which is not among the {len(shards[shard])} of {shard}"
            )
    return {name: shards[shard][name] for name, shard in places.items()}


def _read_shard(index: Path, name: Any) -> dict[str, StoredTensor]:
    # A bare name only: an index must not make us read files elsewhere.
    if not isinstance(name, str) or Path(name).name != name or Path(name).suffix not in _READERS:
        raise ConversionError(
            f"{index} names the shard {name!r}, expected a file name ending in .safetensors or .bin"
        )
    path = index.with_name(name)
    if not path.is_file():
        raise ConversionError(f"{path} is missing, {index.name} names it as a shard")
    return _READERS[path.suffix](path)
