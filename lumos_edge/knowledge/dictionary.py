"""A dictionary in the format of dictd: `NAME.index` beside `NAME.dict` or `NAME.dict.dz`.

The index has lines `headword TAB offset TAB length`, numbers in base 64 with the digits A-Z a-z 0-9 + /; a `.dz` file
is gzip with extra fields (dictfmt(1), dictzip(1)).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.article import Article
from lumos_edge.knowledge.documents import decode
from lumos_edge.knowledge.source import Item, Say, file_identity

_DIGITS = {
    sign: value
    for value, sign in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_OWN_ENTRIES = ("00database", "00-database")  # the dictionary about itself


class Dictionary:
    """The entries of a dictionary, each with all its headwords; the definitions are read into memory."""

    def __init__(self, index: Path) -> None:
        self._index = index
        candidates = (index.with_suffix(".dict.dz"), index.with_suffix(".dict"))
        there = [path for path in candidates if path.is_file()]
        if not there:
            raise SourceError(f"{index} is the index of a dictionary, {candidates[0].name} is not beside it")
        self._definitions = there[0]
        self.size_bytes = index.stat().st_size

    def identity(self) -> str:
        """Of both files."""
        return f"{file_identity(self._index)} {file_identity(self._definitions)}"

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """Raises SourceError."""
        content = self._content()
        entries: dict[tuple[int, int], list[str]] = {}
        for number, line in enumerate(self._index.read_bytes().splitlines(), 1):
            headword, place = self._entry(number, line, len(content))
            if not headword.startswith(_OWN_ENTRIES):
                entries.setdefault(place, []).append(headword)
        for i, ((start, length), headwords) in enumerate(entries.items(), 1):
            text = content[start : start + length].decode("utf-8", "replace")
            article = Article(headwords[0], text, f"{self._index.stem}:{start}", tuple(headwords[1:]))
            yield self.size_bytes * i // len(entries), article

    def _content(self) -> bytes:
        try:
            if self._definitions.suffix == ".dz":
                with gzip.open(self._definitions) as file:
                    return file.read()
            return self._definitions.read_bytes()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{self._definitions} is damaged: {error}") from error

    def _entry(self, number: int, line: bytes, n_bytes: int) -> tuple[str, tuple[int, int]]:
        fields = decode(line).split("\t")
        try:
            start, length = _number(fields[1]), _number(fields[2])
        except (IndexError, KeyError) as error:
            raise SourceError(
                f"{self._index}, line {number}: headword, offset and length expected"
            ) from error
        if start + length > n_bytes:
            raise SourceError(f"{self._definitions} ends at {n_bytes:,}, {fields[0]!r} is at {start:,}")
        return fields[0], (start, length)


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value
