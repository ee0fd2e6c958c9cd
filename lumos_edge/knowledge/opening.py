"""Which source a path is, and its passages as a pack."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from lumos_edge import resources
from lumos_edge.errors import KnowledgeError, SourceError
from lumos_edge.knowledge import building
from lumos_edge.knowledge.dictionary import Dictionary
from lumos_edge.knowledge.documents import Documents
from lumos_edge.knowledge.jsonl import JsonLines
from lumos_edge.knowledge.mediawiki import MediaWikiExport
from lumos_edge.knowledge.pack import Pack
from lumos_edge.knowledge.source import Source, fingerprint
from lumos_edge.knowledge.zim import ZimFile


def open_source(path: Path) -> Source:
    """The source of a file or folder, by its name; raises SourceError when there is none."""
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        return Documents(path)
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        return JsonLines(path)
    if name.endswith((".xml", ".xml.bz2")):
        return MediaWikiExport(path)
    if name.endswith(".zim"):
        return ZimFile(path)
    if name.endswith(".index"):
        return Dictionary(path)
    return Documents(path)


class Progress(Protocol):
    """Who watches a build."""

    def at(self, n_bytes: int, size_bytes: int) -> None:
        """That many of the source's bytes are read."""

    def say(self, message: str) -> None:
        """Something that the user should know, in one line."""


def build_knowledge(
    source: str | Path, target: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """The knowledge pack of a folder or file (the kinds that `lumos-edge knowledge build` reads), for `Agent.open`.

    It is built into the file `target`, or where none is given into the cache folder. A pack of the same unchanged files
    is left as it is. An exception that `progress` raises ends the build, and the next one goes on from there.

    Raises SourceError, and KnowledgeError when another process builds the same pack or the disk is full.
    """
    path = Path(source).resolve()
    opened = open_source(path)
    pack = Path(target) if target is not None else _cached(path)
    if _identity(pack) != fingerprint(opened.identity()):
        watched = _Watched(progress, opened.size_bytes)
        watched.at(0, 0)
        building.build(opened, pack, path.name, "", watched)
    return pack


def _cached(path: Path) -> Path:
    """Two folders of one name have two packs."""
    digest = hashlib.blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return resources.cache_folder() / "knowledge" / f"{path.stem or 'root'}-{digest}.sqlite"


def _identity(pack: Path) -> str | None:
    """The fingerprint of what a pack that is there was built of."""
    try:
        found = Pack(pack)
    except KnowledgeError:
        return None  # none, or one that has to be built again
    found.close()
    return found.facts.get("identity")


class _Watched:
    """A build as its total is known: a bar needs it."""

    def __init__(self, progress: Progress | None, size_bytes: int) -> None:
        self._progress = progress
        self._size_bytes = size_bytes

    def at(self, n_bytes: int, n_articles: int) -> None:
        if self._progress:
            self._progress.at(n_bytes, self._size_bytes)

    def say(self, message: str) -> None:
        if self._progress:
            self._progress.say(message)
