"""One knowledge pack: a SQLite file that is only ever read, and replaced as a whole.

    pack             what it is: name, source, licence, how it was built, counts; one row each
    article          a page, file or entry, and which passages are its own
    passage          about 100 words each, the passages of an article in a row
    passage_words    FTS5 index over title and text, its content the two tables above
    name             folded title -> article; `standing` says how: its title, a redirect, without its qualifier,
                     listed by a disambiguation page
    link             redirects, aliases (without a target) and meanings as the source gave them, `name` is made of them
    word             how many passages contain it

`PRAGMA application_id` is LUMK, `user_version` the version of this schema.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumos_edge.errors import DamagedKnowledge, KnowledgeError, KnowledgeNotFound
from lumos_edge.knowledge.passage import Passage
from lumos_edge.resources import data_folder

APPLICATION_ID = 0x4C554D4B
SCHEMA_VERSION = 1

TITLE, REDIRECT, UNQUALIFIED, MEANING = range(4)
"""The standings of a name, the best first."""

MOST_TEXT_BYTES = 64 << 20
"""Of one article. A page of Wikipedia has 2 MB at most; what is larger is not prose, and would fill the memory."""

TOKENIZER = "unicode61 remove_diacritics 2"

SCHEMA = f"""
CREATE TABLE pack(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE article(
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, source TEXT NOT NULL, digest BLOB NOT NULL,
    first_passage INTEGER NOT NULL, n_passages INTEGER NOT NULL, is_disambiguation INTEGER NOT NULL);
CREATE TABLE passage(id INTEGER PRIMARY KEY, article INTEGER NOT NULL, text TEXT NOT NULL);
CREATE TABLE name(
    key TEXT NOT NULL, standing INTEGER NOT NULL, article INTEGER NOT NULL,
    PRIMARY KEY(key, standing, article)) WITHOUT ROWID;
CREATE TABLE link(key TEXT NOT NULL, target TEXT NOT NULL, standing INTEGER NOT NULL, article INTEGER);
CREATE TABLE word(word TEXT PRIMARY KEY, n_passages INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIEW titled_passage AS
    SELECT passage.id AS id, article.title AS title, passage.text AS text
    FROM passage JOIN article ON article.id = passage.article;
CREATE VIRTUAL TABLE passage_words USING fts5(
    title, text, content='titled_passage', content_rowid='id', tokenize="{TOKENIZER}");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(passage_words, row);
"""

_MMAP_BYTES = 1 << 25
_PASSAGE = "SELECT passage.id, title, passage.text, source FROM passage JOIN article ON article.id = article"


@dataclass(frozen=True)
class Found:
    """A passage and where in its pack it is."""

    id: int
    passage: Passage


@dataclass(frozen=True)
class Named:
    """An article that a name stands for."""

    id: int
    title: str
    standing: int


def knowledge_folder() -> Path:
    """Where installed packs are: `NAME.sqlite`."""
    return data_folder() / "knowledge"


def installed_packs() -> tuple[Path, ...]:
    """Every installed pack, sorted by name."""
    return tuple(sorted(knowledge_folder().glob("*.sqlite")))


def find_pack(name: str) -> Path:
    """The installed pack of that name, or the file of that path; raises KnowledgeNotFound."""
    path = Path(name) if name.endswith(".sqlite") else knowledge_folder() / f"{name}.sqlite"
    if not path.is_file():
        there = ", ".join(pack.stem for pack in installed_packs()) or "none"
        raise KnowledgeNotFound(f"no knowledge pack {name!r}; installed: {there}")
    return path


class Pack:
    """An open pack. Raises KnowledgeNotFound, DamagedKnowledge and, for a newer schema, KnowledgeError."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise KnowledgeNotFound(f"no knowledge pack at {path}")
        self.path = path
        # Immutable: a pack is never changed in place, so that no lock and no journal has to be looked at.
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        try:
            self._check()
            self.facts = dict(self.query("SELECT key, value FROM pack"))
            self.query(f"PRAGMA mmap_size = {_MMAP_BYTES}")
        except KnowledgeError:
            self.close()
            raise
        self.name = path.stem
        self.n_passages = int(self.facts["n_passages"])
        self.n_words = int(self.facts["n_words"])

    def _check(self) -> None:
        found = self.query("PRAGMA application_id")[0][0]
        if found != APPLICATION_ID:
            raise DamagedKnowledge(f"{self.path} is a SQLite file, but no knowledge pack (id {found:#x})")
        version = self.query("PRAGMA user_version")[0][0]
        if version != SCHEMA_VERSION:
            raise KnowledgeError(
                f"{self.path} has schema {version}, this lumos-edge reads schema {SCHEMA_VERSION}"
            )

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[Any]:
        """All rows; raises DamagedKnowledge."""
        try:
            return self._connection.execute(sql, arguments).fetchall()
        except sqlite3.DatabaseError as error:
            raise DamagedKnowledge(f"{self.path} is damaged: {error}") from error

    def rows(self, sql: str) -> Iterator[Any]:
        """The rows one after the other; raises DamagedKnowledge."""
        try:
            yield from self._connection.execute(sql)
        except sqlite3.DatabaseError as error:
            raise DamagedKnowledge(f"{self.path} is damaged: {error}") from error

    def named(self, key: str, n: int) -> list[Named]:
        """The articles with that key, the best standing first."""
        sql = """SELECT id, title, min(standing) FROM name JOIN article ON article.id = name.article
            WHERE key = ? GROUP BY id ORDER BY min(standing), n_passages = 0, id LIMIT ?"""
        return [Named(*row) for row in self.query(sql, (key, n))]

    def passages_of(self, article: int, n: int) -> list[Found]:
        """The first `n` passages of an article, in order."""
        sql = f"""{_PASSAGE} WHERE passage.id >= (SELECT first_passage FROM article WHERE id = ?1)
            AND article = ?1 ORDER BY passage.id LIMIT ?2"""
        return self._found(self.query(sql, (article, n)))

    def n_with(self, words: Iterable[str]) -> dict[str, int]:
        """In how many passages each word is; a word that is in none is left out."""
        wanted = tuple(words)
        marks = ", ".join("?" * len(wanted))
        return dict(self.query(f"SELECT word, n_passages FROM word WHERE word IN ({marks})", wanted))

    def matching(self, expression: str, n: int) -> list[Found]:
        """The best `n` passages for an FTS5 expression, by FTS5's BM25."""
        sql = "SELECT rowid FROM passage_words WHERE passage_words MATCH ? ORDER BY rank LIMIT ?"
        return self.passages(row[0] for row in self.query(sql, (expression, n)))

    def containing(self, expression: str, n: int) -> list[Found]:
        """The first `n` passages that an FTS5 expression admits, unranked."""
        sql = "SELECT rowid FROM passage_words WHERE passage_words MATCH ? LIMIT ?"
        return self.passages(row[0] for row in self.query(sql, (expression, n)))

    def passages(self, ids: Iterable[int]) -> list[Found]:
        """Those passages, in that order."""
        order = list(ids)
        marks = ", ".join("?" * len(order))
        rows = {row[0]: row for row in self.query(f"{_PASSAGE} WHERE passage.id IN ({marks})", order)}
        return self._found(rows[i] for i in order)

    def _found(self, rows: Iterable[Any]) -> list[Found]:
        return [Found(row[0], Passage(row[1], row[2], self.name, row[3])) for row in rows]
