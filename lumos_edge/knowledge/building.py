"""Building a knowledge pack: `NAME.sqlite.part` grows, and takes the pack's place when it is whole.

A kill at any moment leaves the pack as it was, and a `.part` that the next build of the same source goes on with.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from lumos_edge import __version__
from lumos_edge.errors import DamagedKnowledge, KnowledgeError
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.pack import (
    APPLICATION_ID,
    MEANING,
    REDIRECT,
    SCHEMA,
    SCHEMA_VERSION,
    TITLE,
    UNQUALIFIED,
)
from lumos_edge.knowledge.source import Item, Source
from lumos_edge.knowledge.splitting import N_WORDS, passages
from lumos_edge.knowledge.words import name_key, without_qualifier
from lumos_edge.locks import exclusive

_COMMIT_BYTES = 32 << 20  # of text between two commits: what a kill loses at most
_HASH_BYTES = 48 << 20  # FTS5 sorts postings in memory up to here, then writes a segment
_CACHE_KIB = 32 << 10
_N_REDIRECTS = 8  # in a row; a circle ends there
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Progress(Protocol):
    """Who watches a build."""

    def at(self, n_bytes: int, n_articles: int) -> None:
        """So much of the source is read, so many articles are in the pack."""

    def say(self, message: str) -> None:
        """Something that the user should know, in one line."""


@dataclass(frozen=True)
class Description:
    """What the user says of a pack."""

    source: str
    licence: str = ""


def build(source: Source, target: Path, description: Description, progress: Progress) -> None:
    """Make the pack `target`, or go on with what was left of building it from the same source.

    Memory stays below 300 MB whatever the source; the disk holds one pack more while it is built. Raises
    SourceError, and KnowledgeError when another process builds the same pack or the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _only_builder(target):
        writer = _resumed(part, source) or _started(part, source)
        try:
            writer.run(source, progress)
            writer.finish(description)
        except sqlite3.Error as error:
            raise KnowledgeError(f"{part} cannot be written: {error}") from error
        finally:
            writer.close()
        part.replace(target)


@contextmanager
def _only_builder(target: Path) -> Iterator[None]:
    def refuse() -> None:
        raise KnowledgeError(f"another process is building {target.stem} at this moment")

    with exclusive(target.with_name(f"{target.name}.lock"), refuse):
        yield


def _started(part: Path, source: Source) -> _Writer:
    part.unlink(missing_ok=True)
    writer = _Writer(part)
    writer.create(source.identity())
    return writer


def _resumed(part: Path, source: Source) -> _Writer | None:
    if not part.exists():
        return None
    writer = _Writer(part)
    try:
        if writer.fact("identity") == source.identity():
            return writer
    except (sqlite3.Error, DamagedKnowledge):
        pass  # not even begun: there is nothing to go on with
    writer.close()
    return None


class _Writer:
    """The tables of a pack in the making."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._pending: list[tuple[int, str, str]] = []
        self._pending_bytes = self._n_articles = self._n_passages = self._n_read = 0

    def create(self, identity: str) -> None:
        execute = self._connection.execute
        execute("PRAGMA page_size = 8192")
        self._connection.executescript(SCHEMA)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute("INSERT INTO passage_words(passage_words, rank) VALUES('hashsize', ?)", (_HASH_BYTES,))
        self._set("identity", identity)
        self._set("n_read", "0")

    def close(self) -> None:
        self._connection.close()

    def fact(self, key: str) -> str:
        row = self._connection.execute("SELECT value FROM pack WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise DamagedKnowledge(f"no {key}")
        return str(row[0])

    def _set(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO pack VALUES(?, ?)", (key, value))

    def run(self, source: Source, progress: Progress) -> None:
        """Everything that is not in yet."""
        execute = self._connection.execute
        execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._n_read = int(self.fact("n_read"))
        self._n_articles = self._one("SELECT coalesce(max(id), 0) FROM article")
        self._n_passages = self._one("SELECT coalesce(max(id), 0) FROM passage")
        if self._n_read:
            progress.say(f"going on after {self._n_read:,} articles and redirects")
        execute("BEGIN")
        for n_bytes, item in islice(source.read(), self._n_read, None):
            self._add(item)
            self._n_read += 1
            if self._pending_bytes >= _COMMIT_BYTES:
                self._commit()
                execute("BEGIN")
            progress.at(n_bytes, self._n_articles)
        self._commit()

    def _commit(self) -> None:
        self._connection.executemany(
            "INSERT INTO passage_words(rowid, title, text) VALUES(?, ?, ?)", self._pending
        )
        self._pending.clear()
        self._pending_bytes = 0
        self._set("n_read", str(self._n_read))
        self._connection.execute("COMMIT")

    def _add(self, item: Item) -> None:
        if isinstance(item, Redirect):
            link = (name_key(item.title), name_key(item.target), REDIRECT, None)
            self._connection.execute("INSERT INTO link VALUES(?, ?, ?, ?)", link)
        else:
            self._add_article(item)

    def _add_article(self, article: Article) -> None:
        connection = self._connection
        self._n_articles += 1
        title, text = _clean(article.title).strip(), _clean(article.text)
        pieces = list(passages(text))
        row = (
            self._n_articles,
            title,
            _clean(article.source),
            article.digest(),
            self._n_passages + 1,
            len(pieces),
        )
        connection.execute("INSERT INTO article VALUES(?, ?, ?, ?, ?, ?, ?)", (*row, bool(article.meanings)))
        links = [(name_key(alias), REDIRECT) for alias in article.aliases]
        connection.executemany(
            "INSERT INTO link VALUES(?, ?, ?, ?)",
            [(key, "", standing, self._n_articles) for key, standing in links]
            + [(name_key(title), name_key(meaning), MEANING, None) for meaning in article.meanings],
        )
        first = self._n_passages + 1
        self._n_passages += len(pieces)
        rows = enumerate(pieces, first)
        connection.executemany(
            "INSERT INTO passage VALUES(?, ?, ?)", [(i, self._n_articles, piece) for i, piece in rows]
        )
        self._pending += [(i, title, piece) for i, piece in enumerate(pieces, first)]
        self._pending_bytes += len(text)

    def finish(self, description: Description) -> None:
        """Names, statistics, and what the pack is."""
        connection = self._connection
        connection.create_function("name_key", 1, name_key, deterministic=True)
        connection.create_function("without_qualifier", 1, without_qualifier, deterministic=True)
        connection.execute("BEGIN")
        _write_names(connection)
        connection.execute("DELETE FROM word")
        connection.execute("INSERT INTO word SELECT term, doc FROM vocabulary")
        connection.execute("INSERT INTO passage_words(passage_words) VALUES('optimize')")
        for key, value in self._facts(description).items():
            self._set(key, str(value))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")

    def _one(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()[0]

    def _facts(self, description: Description) -> dict[str, Any]:
        return {
            "source": description.source,
            "licence": description.licence,
            "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "parameters": json.dumps({"lumos_edge": __version__, "n_words_per_passage": N_WORDS}),
            "n_articles": self._one("SELECT count(*) FROM article"),
            "n_names": self._one("SELECT count(*) FROM name"),
            "n_passages": self._one("SELECT count(*) FROM passage"),
            "n_words": self._one("SELECT coalesce(sum(cnt), 0) FROM vocabulary"),
        }


def _write_names(connection: sqlite3.Connection) -> None:
    """`name` anew from titles and links; a link that leads nowhere, or round in a circle, is left out."""
    connection.execute("DELETE FROM name")
    titles = "INSERT OR IGNORE INTO name SELECT {}, ?, id FROM article WHERE {} ORDER BY 1"
    connection.execute(titles.format("name_key(title)", "1"), (TITLE,))
    bare = "name_key(without_qualifier(title))"
    connection.execute(titles.format(bare, "title LIKE '%(%)'"), (UNQUALIFIED,))
    connection.execute(
        "INSERT OR IGNORE INTO name SELECT key, standing, article FROM link WHERE article IS NOT NULL"
    )
    for _ in range(_N_REDIRECTS):
        before = connection.total_changes
        connection.execute(
            """INSERT OR IGNORE INTO name SELECT link.key, link.standing, name.article FROM link
            JOIN name ON name.key = link.target AND name.standing <= ? WHERE link.article IS NULL ORDER BY 1""",
            (REDIRECT,),
        )
        if connection.total_changes == before:
            break


def _clean(text: str) -> str:
    """Without NUL and other control signs, and without halves of surrogate pairs: SQLite takes neither."""
    return _CONTROL.sub("", text) if _CONTROL.search(text) else text
