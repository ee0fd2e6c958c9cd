"""A MediaWiki export (`.xml`, `.xml.bz2`): https://www.mediawiki.org/wiki/Help:Export, as dumps.wikimedia.org has them.

Read as a stream with expat, which keeps no tree. An export has no document type, so that any entity declaration is
refused: that is what "billion laughs" needs.
"""

from __future__ import annotations

import bz2
import xml.parsers.expat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.pack import MOST_TEXT_BYTES
from lumos_edge.knowledge.source import Item, Say, file_identity
from lumos_edge.knowledge.wikitext import meanings, plain_text

_CHUNK_BYTES = 1 << 20
_FILE, _CATEGORY = "6", "14"  # numbers of namespaces, the same in every wiki
_WANTED = frozenset(("base", "namespace", "title", "ns", "text"))


class MediaWikiExport:
    """The articles (namespace 0) and redirects of an export."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def identity(self) -> str:
        """Path, size and time of change."""
        return file_identity(self._path)

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """Raises SourceError for what is no export, ends early, declares entities or has an article of 64 MB."""
        with self._path.open("rb") as packed:
            file: IO[bytes] = bz2.open(packed) if self._path.suffix == ".bz2" else packed  # noqa: SIM115
            pages = _Pages()
            try:
                while chunk := file.read(_CHUNK_BYTES):
                    pages.feed(chunk)
                    yield from ((packed.tell(), item) for item in pages.taken())
                pages.end()
            except (xml.parsers.expat.ExpatError, EOFError, OSError) as error:
                raise SourceError(f"{self._path} is no whole MediaWiki export: {error}") from error
            except SourceError as error:
                raise SourceError(f"{self._path}: {error}") from error


class _Pages:
    def __init__(self) -> None:
        self._parser = xml.parsers.expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._refuse
        self._items: list[Item] = []
        self._element = ""
        self._pieces: list[str] = []
        self._n_signs = 0
        self._namespace = ""
        self._names: dict[str, str] = {"file": _FILE, "image": _FILE, "category": _CATEGORY}
        self._page: dict[str, str] = {}
        self._base = ""
        self._is_export = False

    def feed(self, chunk: bytes) -> None:
        self._parser.Parse(chunk, False)

    def end(self) -> None:
        self._parser.Parse(b"", True)

    def taken(self) -> list[Item]:
        items, self._items = self._items, []
        return items

    def _refuse(self, *declaration: object) -> None:
        raise SourceError(f"it declares the entity {declaration[0]!r:.40}; an export has none")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        if not self._is_export:
            if element != "mediawiki":
                raise SourceError(f"the root element <mediawiki> was expected, <{element:.40}> was found")
            self._is_export = True
        if element == "page":
            self._page = {}
        elif element == "redirect":
            self._page["redirect"] = attributes.get("title", "")
        elif element == "namespace":
            self._namespace = attributes.get("key", "")
        self._element, self._pieces, self._n_signs = element, [], 0

    def _characters(self, text: str) -> None:
        if self._element not in _WANTED:
            return
        self._n_signs += len(text)
        if self._n_signs > MOST_TEXT_BYTES:
            raise SourceError(
                f"{self._page.get('title', 'a page')!r:.80} has more than {MOST_TEXT_BYTES:,} letters"
            )
        self._pieces.append(text)

    def _end(self, element: str) -> None:
        if element in _WANTED and element == self._element:
            self._take(element, "".join(self._pieces))
        if element == "page":
            self._items += _items(self._page, self._base, self._dropped())
        self._element, self._pieces = "", []

    def _take(self, element: str, text: str) -> None:
        if element == "base":
            self._base = text.rpartition("/")[0]
        elif element == "namespace":
            self._names[text.lower()] = self._namespace
        else:
            self._page[element] = text

    def _dropped(self) -> frozenset[str]:
        return frozenset(name for name, key in self._names.items() if key in (_FILE, _CATEGORY))


def _items(page: dict[str, str], base: str, dropped_namespaces: frozenset[str]) -> list[Item]:
    title = page.get("title", "").strip()
    if not title or page.get("ns", "0") != "0":
        return []
    if page.get("redirect"):
        return [Redirect(title, page["redirect"].partition("#")[0])]
    markup = page.get("text", "")
    source = f"{base}/{title.replace(' ', '_')}" if base else title
    return [Article(title, plain_text(markup, dropped_namespaces), source, meanings=meanings(markup))]
