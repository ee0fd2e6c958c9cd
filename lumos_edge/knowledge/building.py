"""Building a knowledge pack: `NAME.sqlite.part` grows, and takes the pack's place when it is whole.

A kill at any moment leaves the pack as it was, and a `.part` that the next build of the same source goes on with.
Adding does the same to a copy of the pack, so that whoever reads it meanwhile reads the old one.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from lumos_edge import __version__
from lumos_edge.errors import DamagedKnowledge, KnowledgeError
from lumos_edge.knowledge.article import Redirect
from lumos_edge.knowledge.pack import Pack
from lumos_edge.knowledge.source import Source, fingerprint
from lumos_edge.knowledge.splitting import N_WORDS
from lumos_edge.knowledge.writer import Writer, checksum_of
from lumos_edge.locks import exclusive

_COMMIT_ARTICLES = 20_000  # between two commits, or
_COMMIT_BYTES = 48 << 20  # of the source: what a kill loses at most


class Progress(Protocol):
    """Who watches a build."""

    def at(self, n_bytes: int, n_articles: int) -> None:
        """So much of the source is read, so many articles are in the pack."""

    def say(self, message: str) -> None:
        """Something that the user should know, in one line."""


def build(source: Source, target: Path, origin: str, licence: str, progress: Progress) -> None:
    """Make the pack `target`, or go on with what was left of building it from the same source.

    `origin` and `licence` are what the pack says of itself. Memory stays below 300 MB whatever the source; the
    disk holds the new pack beside the old one until it is whole. Raises SourceError, and KnowledgeError when
    another process builds the same pack or the disk is full.
    """
    with _only_builder(target):
        part = _part(target)
        identity = fingerprint(source.identity())
        writer = _resumed(part, identity)
        if writer is None:
            _clear(part)
            writer = Writer(part)
            with _writing(writer, part):
                writer.create()
                writer.state("identity", identity)
                writer.state("source", origin)
                writer.state("licence", licence)
        _fill(writer, source, target, progress, adding=False)


def add(source: Source, target: Path, origin: str, progress: Progress) -> None:
    """Put what `source` has and the pack has not into the pack; an article of the same source is replaced.

    `origin` is added to what the pack says of itself. The disk holds the pack twice meanwhile. Raises what `build`
    raises, and DamagedKnowledge.
    """
    with _only_builder(target):
        pack = Pack(target)
        n_bytes, part = target.stat().st_size, _part(target)
        identity = fingerprint(f"{source.identity()} added to {n_bytes} {pack.facts['checksum']}")
        origins = f"{pack.facts['source']}; {origin}"
        pack.close()
        writer = _resumed(part, identity)
        if writer is None:
            _copy(target, part)
            writer = Writer(part)
            with _writing(writer, part):
                writer.state("identity", identity)
                writer.state("n_read", 0)
                writer.state("source", origins)
        _fill(writer, source, target, progress, adding=True)


def remove(target: Path) -> int:
    """Remove a pack and what a build of it left; gives the bytes freed. Raises KnowledgeError while it is built."""
    with _only_builder(target):
        part = _part(target)
        there = [path for path in (target, part, _journal(part)) if path.is_file()]
        n_bytes = sum(path.stat().st_size for path in there)
        for path in there:
            path.unlink()
    return n_bytes


def verify(target: Path) -> int:
    """Compare a pack with what it says of itself, and give its number of passages; reads all of it.

    Raises DamagedKnowledge with the first difference.
    """
    pack = Pack(target)
    try:
        problem = pack.query("PRAGMA integrity_check(1)")[0][0]
        if problem != "ok":
            raise DamagedKnowledge(f"{target} is damaged: {problem}")
        found = {
            "n_passages": pack.query("SELECT count(*) FROM passage")[0][0],
            "n_articles": pack.query("SELECT count(*) FROM article")[0][0],
            "n_words": pack.query("SELECT coalesce(sum(cnt), 0) FROM vocabulary")[0][0],
            "checksum": checksum_of(pack.rows("SELECT id, text FROM passage")),
        }
        for key, value in found.items():
            if str(value) != pack.facts.get(key):
                raise DamagedKnowledge(
                    f"{target} is damaged: {key} is {value}, {pack.facts.get(key)} expected"
                )
        return pack.n_passages
    finally:
        pack.close()


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _journal(part: Path) -> Path:
    return part.with_name(f"{part.name}-journal")


@contextmanager
def _only_builder(target: Path) -> Iterator[None]:
    def refuse() -> None:
        raise KnowledgeError(f"another process is building {target.stem} at this moment")

    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target.with_name(f"{target.name}.lock"), refuse):
        yield


@contextmanager
def _writing(writer: Writer, part: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        writer.close()
        raise KnowledgeError(f"{part} cannot be written: {error}") from error
    except BaseException:
        writer.close()
        raise


def _resumed(part: Path, identity: str) -> Writer | None:
    """What a killed build of the same left; None when there is nothing to go on with."""
    if not part.exists():
        return None
    writer = Writer(part)
    try:
        found = writer.fact("identity")
    except sqlite3.Error:
        found = None  # killed before its tables were there
    if found != identity:
        writer.close()
        return None
    return writer


def _copy(target: Path, part: Path) -> None:
    free, needed = shutil.disk_usage(target.parent).free, target.stat().st_size
    if free < needed:
        raise KnowledgeError(f"adding needs {needed:,} bytes of disk beside {target}, {free:,} are free")
    _clear(part)
    shutil.copyfile(target, part)


def _clear(part: Path) -> None:
    # The journal first: beside another file of that name it would be played back into it.
    for path in (_journal(part), part):
        if path.is_file():
            path.unlink()


def _fill(writer: Writer, source: Source, target: Path, progress: Progress, *, adding: bool) -> None:
    part = _part(target)
    with _writing(writer, part):
        _read(writer, source, progress, adding=adding)
        progress.say("writing names and statistics")
        writer.finish()
        writer.close()
    _sync(part)
    try:
        part.replace(target)
    except PermissionError as error:
        # Windows does not replace an open file.
        raise KnowledgeError(f"{target} is in use: close what reads it, and run this again") from error


def _read(writer: Writer, source: Source, progress: Progress, *, adding: bool) -> None:
    n_read = int(writer.fact("n_read") or 0)
    if n_read:
        progress.say(f"going on after {n_read:,} articles and redirects")
    writer.begin(adding=adding)
    committed_bytes = committed_articles = 0
    for n_bytes, item in islice(source.read(progress.say), n_read, None):
        if isinstance(item, Redirect):
            writer.redirect(item)
        else:
            writer.add(item)
        n_read += 1
        progress.at(n_bytes, writer.n_articles)
        if n_bytes - committed_bytes > _COMMIT_BYTES or n_read - committed_articles > _COMMIT_ARTICLES:
            committed_bytes, committed_articles = n_bytes, n_read
            writer.state("n_read", n_read)
            writer.commit()
    parameters = {"lumos_edge": __version__, "n_words_per_passage": N_WORDS}
    writer.state("n_read", n_read)
    writer.state("built", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    writer.state("parameters", json.dumps(parameters))
    writer.commit()


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
