"""What a GGUF base model says about itself: enough to fit an adapter to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from lumos_edge.conversion.architecture import Architecture, architecture_named
from lumos_edge.conversion.hyperparameters import Heads
from lumos_edge.errors import ConversionError, UnsupportedArchitecture


@dataclass(frozen=True)
class BaseModel:
    """A GGUF model's architecture, and the shapes of its tensors, rows first."""

    path: Path
    name: str
    architecture: Architecture
    n_layers: int
    heads: Heads
    shapes: Mapping[str, tuple[int, ...]]


def read_base_model(path: Path) -> BaseModel:
    """Read a GGUF model's metadata; no weights.

    Raises ConversionError when it is no GGUF file or lacks a key, UnsupportedArchitecture.
    """
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise ConversionError(f"{path} cannot be read as GGUF: {error}") from error
    arch = str(_field(path, reader, "general.architecture"))
    try:
        architecture = architecture_named(arch)
    except UnsupportedArchitecture as error:
        raise UnsupportedArchitecture(f"{path}: {error}") from error
    n_heads = int(_field(path, reader, f"{arch}.attention.head_count"))
    n_embd = int(_field(path, reader, f"{arch}.embedding_length"))
    return BaseModel(
        path=path,
        name=str(_field(path, reader, "general.name", path.stem)),
        architecture=architecture,
        n_layers=int(_field(path, reader, f"{arch}.block_count")),
        heads=Heads(
            n_heads,
            int(_field(path, reader, f"{arch}.attention.head_count_kv", n_heads)),
            int(_field(path, reader, f"{arch}.attention.key_length", n_embd // n_heads)),
        ),
        shapes={tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in reader.tensors},
    )


def _field(path: Path, reader: gguf.GGUFReader, key: str, default: Any = None) -> Any:
    field = reader.get_field(key)
    if field is None and default is None:
        raise ConversionError(f"{path} lacks the key {key}, expected a language model")
    return default if field is None else field.contents()
