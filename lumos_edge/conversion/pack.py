"""A model pack out of finished files: the manifest, the adapters beside it, and a model card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf

from lumos_edge.conversion.gguf_file import new_file
from lumos_edge.errors import AdapterMismatch, ConversionError
from lumos_edge.manifest import BaseModel, Manifest, ModelFile, Module, Pack, Recipe

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class NewPack:
    """A pack to be written: what it runs like, the base's licence and file, and an adapter for some modules."""

    name: str
    like: Pack
    base: BaseModel
    adapters: Mapping[str, Path]
    sources: Sequence[str]
    projector: ModelFile | None = None


def describe_base(path: Path, pack_name: str, licence: str) -> BaseModel:
    """The manifest's entry of a GGUF base model. Cost: about 1 s per GB, for its sha256.

    Raises ConversionError when the file cannot be read or has no known file type.
    """
    file_type = _fields(path, ("general.file_type",))["general.file_type"]
    if file_type not in set(gguf.LlamaFileType):
        raise ConversionError(f"{path} has the file type {file_type!r}, expected one that llama.cpp knows")
    return BaseModel(
        pack=pack_name,
        file=f"{pack_name}-base.gguf",
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        file_type=gguf.LlamaFileType(file_type).name.removeprefix("MOSTLY_"),
        licence=licence,
    )


def describe_projector(path: Path, pack_name: str) -> ModelFile:
    """The manifest's entry of a projector. Raises ConversionError for another GGUF file."""
    found = _fields(path, ("general.architecture",))["general.architecture"]
    if found != "clip":
        raise ConversionError(f"{path} has the architecture {found!r}, expected a projector's, clip")
    return ModelFile(
        pack=pack_name,
        file=f"{pack_name}-mmproj.gguf",
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
    )


def licence_of(pack: Pack) -> str:
    """The licence that a pack or a recipe names."""
    assert isinstance(pack, Manifest | Recipe)
    return pack.base.licence if isinstance(pack, Manifest) else pack.licence


def write_pack(pack: NewPack, folder: Path) -> Path:
    """Write `NAME.toml`, `NAME.md` and the adapters in `NAME/` into the folder; gives the manifest's path.

    Raises ConversionError when one of them exists, AdapterMismatch when an adapter was trained as another
    module.
    """
    for module, adapter in pack.adapters.items():
        _check_module(adapter, module)
    folder.mkdir(parents=True, exist_ok=True)
    if pack.adapters:
        (folder / pack.name).mkdir(exist_ok=True)
    for module, adapter in pack.adapters.items():
        with new_file(folder / pack.name / f"{module}.gguf", adapter.stat().st_size) as partial:
            shutil.copyfile(adapter, partial)
    _write_text(folder / f"{pack.name}.md", "\n".join(_card(pack)))
    # Last, because the pack exists as soon as its manifest does.
    manifest = folder / f"{pack.name}.toml"
    _write_text(manifest, "\n".join(_manifest(pack)))
    return manifest


def sha256(path: Path) -> str:
    """The file's sha256 in lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _check_module(adapter: Path, module: str) -> None:
    found = _fields(adapter, ("general.type", "lumos.module"))
    if found["general.type"] != "adapter":
        raise AdapterMismatch(f"{adapter} is a {found['general.type'] or 'model'}, expected an adapter")
    if found["lumos.module"] not in (None, module):
        raise AdapterMismatch(f"{adapter} was trained as a {found['lumos.module']}, expected a {module}")


def _fields(path: Path, keys: Sequence[str]) -> dict[str, object]:
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise ConversionError(f"{path} cannot be read as GGUF: {error}") from error
    return {key: None if (field := reader.get_field(key)) is None else field.contents() for key in keys}


def _write_text(path: Path, text: str) -> None:
    with new_file(path, len(text)) as partial:
        partial.write_text(f"{text}\n", encoding="utf-8")


def _manifest(pack: NewPack) -> Iterator[str]:
    like, base = pack.like, pack.base
    for key in ("title", "description", "formulation", "tools", "n_ctx"):
        value = getattr(like, key)
        yield f"{key} = {_toml(list(value) if isinstance(value, tuple) else value)}"
    yield "\n[base]"
    for key in ("file", "file_type", "size_bytes", "sha256", "licence"):
        yield f"{key} = {_toml(getattr(base, key))}"
    if pack.projector:
        yield "\n[projector]"
        for key in ("file", "size_bytes", "sha256"):
            yield f"{key} = {_toml(getattr(pack.projector, key))}"
    for name, module in _modules(like).items():
        yield f"\n[{name}]"
        yield f"template = {_toml(module.template)}"
        if name in pack.adapters:
            yield f"adapter = {_toml(f'{pack.name}/{name}.gguf')}"


def _toml(value: object) -> str:
    # JSON's texts, numbers and lists are TOML's, except for pairs of surrogates, which this does not make.
    return json.dumps(value, ensure_ascii=False)


def _modules(pack: Pack) -> dict[str, Module]:
    return {"planner": pack.planner, "grounder": pack.grounder, "reader": pack.reader}


def _card(pack: NewPack) -> Iterator[str]:
    base, like = pack.base, pack.like
    yield f"# {like.title}\n"
    yield f"{like.description}\n"
    yield f"- Licence of the weights: {base.licence}"
    yield f"- Base model: {base.file_type}, {base.size_bytes:,} bytes, sha256 `{base.sha256}`"
    if pack.projector:
        yield f"- Projector: {pack.projector.size_bytes:,} bytes, sha256 `{pack.projector.sha256}`"
    for module, adapter in pack.adapters.items():
        yield f"- Adapter of the {module}: {adapter.stat().st_size:,} bytes, sha256 `{sha256(adapter)}`"
    yield f"- Formulation: {like.formulation}; tools: {', '.join(like.tools)}"
    yield from (f"- Source: {source}" for source in pack.sources)
