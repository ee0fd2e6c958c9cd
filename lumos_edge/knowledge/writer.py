"""The tables of a pack in the making."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lumos_edge.errors import KnowledgeError, SourceError
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.pack import (
    APPLICATION_ID,
    MEANING,
    MOST_TEXT_BYTES,
    REDIRECT,
    SCHEMA,
    SCHEMA_VERSION,
    TITLE,
    UNQUALIFIED,
)
from lumos_edge.knowledge.splitting import passages
from lumos_edge.knowledge.words import name_key, without_qualifier

_BATCH_SIGNS = 2 << 20  # of text, then the rows are inserted
# FTS5 sorts postings in memory up to `hashsize` bytes, then writes a segment. These are merged once, at the end.
_FTS5_OPTIONS = {"hashsize": 48 << 20, "automerge": 0, "crisismerge": 2000}
_CACHE_KIB = 32 << 10
_N_REDIRECTS = 8  # in a row; a circle ends there
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROL_BYTES = bytes({*range(0x20), 0x7F} - set(b"\t\n\r"))

_INSERT = {
    "article": "INSERT INTO article VALUES(?, ?, ?, ?, ?, ?, ?)",
    "passage": "INSERT INTO passage VALUES(?, ?, ?)",
    "passage_words": "INSERT INTO passage_words(rowid, title, text) VALUES(?, ?, ?)",
    "link": "INSERT INTO link VALUES(?, ?, ?, ?)",
}
_ADDING = """
CREATE INDEX IF NOT EXISTS adding_digest ON article(digest);
CREATE INDEX IF NOT EXISTS adding_source ON article(source) WHERE source <> '';
CREATE INDEX IF NOT EXISTS adding_link ON link(article);
CREATE INDEX IF NOT EXISTS adding_redirect ON link(key, target);
"""
_ADDED = """
DROP INDEX IF EXISTS adding_digest; DROP INDEX IF EXISTS adding_source;
DROP INDEX IF EXISTS adding_link; DROP INDEX IF EXISTS adding_redirect;
"""


class Writer:
    """Adds articles to a file, in transactions.

    Raises KnowledgeError when it cannot be opened, sqlite3.Error when the disk is full or the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise KnowledgeError(f"{path} cannot be written: {error}") from error
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERT}
        self._n_signs = 0
        self._is_adding = False

    def create(self) -> None:
        """Empty tables in a new file."""
        self._connection.execute("PRAGMA page_size = 8192")
        self._connection.executescript(SCHEMA)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for option, value in _FTS5_OPTIONS.items():
            self._connection.execute(
                "INSERT INTO passage_words(passage_words, rank) VALUES(?, ?)", (option, value)
            )

    def close(self) -> None:
        """Close the file; what was not committed is lost."""
        self._connection.close()

    def fact(self, key: str) -> str | None:
        """What the table `pack` says."""
        row = self._connection.execute("SELECT value FROM pack WHERE key = ?", (key,)).fetchone()
        return row and str(row[0])

    def state(self, key: str, value: object) -> None:
        """Let the table `pack` say so."""
        self._connection.execute("INSERT OR REPLACE INTO pack VALUES(?, ?)", (key, str(value)))

    def begin(self, *, adding: bool) -> None:
        """Start inserting; `adding` compares every article with what is there."""
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # Some builds of SQLite overwrite with zeros what is deleted; a merge of the index deletes all of it once.
        self._connection.execute("PRAGMA secure_delete = 0")
        if adding:
            self._connection.executescript(_ADDING)
        self._is_adding = adding
        self.n_articles = self._count("SELECT coalesce(max(id), 0) FROM article")
        self._n_passages = self._count("SELECT coalesce(max(id), 0) FROM passage")
        self._checksum = int(self.fact("checksum") or 0)
        self._connection.execute("BEGIN")

    def commit(self) -> None:
        """What was added survives a kill."""
        self._flush()
        self.state("checksum", self._checksum)
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def redirect(self, redirect: Redirect) -> None:
        """One title that stands for another."""
        link = (name_key(_clean(redirect.title)), name_key(_clean(redirect.target)), REDIRECT, None)
        if self._is_adding:
            known = self._connection.execute(
                "SELECT 1 FROM link WHERE key = ? AND target = ?", link[:2]
            ).fetchone()
            if known:
                return
        self._rows["link"].append(link)

    def add(self, article: Article) -> None:
        """An article, unless it is there as it is; raises SourceError when it is too large."""
        if len(article.text) > MOST_TEXT_BYTES:
            raise SourceError(
                f"{article.title:.80}: {len(article.text):,} letters, {MOST_TEXT_BYTES:,} at most"
            )
        digest = article.digest()
        if self._is_adding and self._is_known(article, digest):
            return
        self.n_articles += 1
        title, text = _clean(article.title).strip(), _clean(article.text)
        pieces = list(passages(text))
        first, number = self._n_passages + 1, self.n_articles
        self._n_passages += len(pieces)
        is_disambiguation = bool(article.meanings)
        row = (number, title, _clean(article.source), digest, first, len(pieces), is_disambiguation)
        self._rows["article"].append(row)
        numbered = list(enumerate(pieces, first))
        self._rows["passage"] += [(i, number, piece) for i, piece in numbered]
        self._rows["passage_words"] += [(i, title, piece) for i, piece in numbered]
        self._checksum ^= checksum_of(numbered)
        self._link(number, title, article)
        self._n_signs += len(text)
        if self._n_signs >= _BATCH_SIGNS:
            self._flush()

    def _link(self, number: int, title: str, article: Article) -> None:
        links = self._rows["link"]
        links += [(name_key(_clean(alias)), "", REDIRECT, number) for alias in article.aliases]
        links += [(name_key(title), name_key(_clean(other)), MEANING, number) for other in article.meanings]

    def _flush(self) -> None:
        for table, rows in self._rows.items():
            self._connection.executemany(_INSERT[table], rows)
            rows.clear()
        self._n_signs = 0

    def _is_known(self, article: Article, digest: bytes) -> bool:
        execute = self._connection.execute
        if execute("SELECT 1 FROM article WHERE digest = ?", (digest,)).fetchone():
            return True
        source = _clean(article.source)
        older = execute("SELECT id FROM article WHERE source = ? AND source <> ''", (source,)).fetchall()
        for (number,) in older:
            self._remove(number)
        return False

    def _remove(self, number: int) -> None:
        self._flush()
        execute = self._connection.execute
        rows = execute(
            "SELECT id, title, text FROM titled_passage WHERE id IN (SELECT id FROM passage "
            "WHERE id >= (SELECT first_passage FROM article WHERE id = ?1) AND id < (SELECT first_passage"
            " + n_passages FROM article WHERE id = ?1))",
            (number,),
        ).fetchall()
        for row in rows:
            # FTS5 finds the postings to delete by the words that it is given again.
            execute(
                "INSERT INTO passage_words(passage_words, rowid, title, text) VALUES('delete', ?, ?, ?)", row
            )
            execute("DELETE FROM passage WHERE id = ?", row[:1])
            self._checksum ^= _checksum(row[0], row[2])
        execute("DELETE FROM link WHERE article = ?", (number,))
        execute("DELETE FROM article WHERE id = ?", (number,))

    def finish(self) -> None:
        """Names and statistics; after it the file is a pack."""
        self._flush()
        self._connection.execute("COMMIT")
        self._connection.executescript(_ADDED)
        self._connection.execute("BEGIN")
        # The merge first: what comes after it takes the place that it frees in the file.
        self._connection.execute("INSERT INTO passage_words(passage_words) VALUES('optimize')")
        _write_names(self._connection)
        self.state("n_words", _write_words(self._connection))
        self.state("checksum", self._checksum)
        self.state("n_articles", self._count("SELECT count(*) FROM article"))
        self.state("n_names", self._count("SELECT count(*) FROM name"))
        self.state("n_passages", self._count("SELECT count(*) FROM passage"))
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _count(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchone()[0])


def _write_names(connection: sqlite3.Connection) -> None:
    """`name` anew from titles and links; a link that leads nowhere, or round in a circle, is left out."""
    connection.create_function("name_key", 1, name_key, deterministic=True)
    connection.create_function("without_qualifier", 1, without_qualifier, deterministic=True)
    connection.execute("DELETE FROM name")
    titles = "INSERT OR IGNORE INTO name SELECT {}, ?, id FROM article WHERE {} ORDER BY 1"
    connection.execute(titles.format("name_key(title)", "1"), (TITLE,))
    connection.execute(
        titles.format("name_key(without_qualifier(title))", "title LIKE '%(%)'"), (UNQUALIFIED,)
    )
    connection.execute("INSERT OR IGNORE INTO name SELECT key, standing, article FROM link WHERE target = ''")
    for _ in range(_N_REDIRECTS):
        before = connection.total_changes
        connection.execute(
            """INSERT OR IGNORE INTO name SELECT link.key, link.standing, name.article FROM link
            JOIN name ON name.key = link.target AND name.standing <= ? WHERE link.target <> '' ORDER BY 1""",
            (REDIRECT,),
        )
        if connection.total_changes == before:
            break


def _write_words(connection: sqlite3.Connection) -> int:
    """`word` anew; gives how many words all passages have. The vocabulary reads all of the index: once for both."""
    n_words = 0

    def count(n: int) -> bool:
        nonlocal n_words
        n_words += n
        return True

    connection.create_function("counted", 1, count)
    connection.execute("DELETE FROM word")
    connection.execute("INSERT INTO word SELECT term, doc FROM vocabulary WHERE counted(cnt)")
    return n_words


def checksum_of(rows: Iterable[tuple[int, str]]) -> int:
    """The checksum of passages, given as number and text; their order does not matter."""
    total = 0
    for number, text in rows:
        total ^= _checksum(number, text)
    return total


def _checksum(number: int, text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=7, salt=number.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


def _clean(text: str) -> str:
    """Without NUL and other control signs, and without halves of surrogate pairs: SQLite takes neither."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return _CONTROL.sub("", text)
    # Bytes are looked through in less than half the time of letters, and hardly any text has a control sign.
    return text if len(encoded.translate(None, _CONTROL_BYTES)) == len(encoded) else _CONTROL.sub("", text)
