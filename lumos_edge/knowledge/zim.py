"""A Kiwix ZIM file, read with libzim (extra `zim`: it is GPL-3, so that nothing of ours needs it)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.documents import decode
from lumos_edge.knowledge.html_text import html_text
from lumos_edge.knowledge.pack import MOST_TEXT_BYTES
from lumos_edge.knowledge.source import Item, Say, file_identity


class ZimFile:
    """The HTML pages and redirects of a ZIM file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def identity(self) -> str:
        """Path, size and time of change."""
        return file_identity(self._path)

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """Raises SourceError, also where libzim is missing."""
        try:
            from libzim.reader import Archive
        except ModuleNotFoundError as error:
            raise SourceError(
                f"{self._path}: reading ZIM needs the Python package libzim (GPL-3): pip install 'lumos-edge[zim]'"
            ) from error
        try:
            archive = Archive(self._path)
            for i in range(archive.all_entry_count):
                item = self._item(archive._get_entry_by_id(i))
                if item:
                    yield self.size_bytes * (i + 1) // archive.all_entry_count, item
        except (RuntimeError, ValueError, KeyError) as error:
            raise SourceError(f"{self._path} is no whole ZIM file: {error}") from error

    def _item(self, entry: Any) -> Item | None:
        if entry.is_redirect:
            target = entry.get_redirect_entry()
            return Redirect(entry.title, target.title) if entry.title != target.title else None
        item = entry.get_item()
        if not item.mimetype.startswith(("text/html", "application/xhtml")):
            return None
        if item.size > MOST_TEXT_BYTES:
            raise SourceError(
                f"{self._path}: {entry.path} has {item.size:,} bytes, {MOST_TEXT_BYTES:,} at most"
            )
        title, text = html_text(decode(bytes(item.content)))
        return Article(entry.title or title, text, entry.path)
