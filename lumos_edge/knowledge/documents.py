"""A folder of documents, or one: plain text, Markdown, HTML, PDF."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.article import Article
from lumos_edge.knowledge.html_text import html_text
from lumos_edge.knowledge.pack import MOST_TEXT_BYTES
from lumos_edge.knowledge.source import Item, Say, file_identity

_HEADING = re.compile(r"^# +(.+?)[ #]*$", re.MULTILINE)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset=["']?([\w-]{1,40})""", re.IGNORECASE)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Documents:
    """Every document of a folder and its subfolders, in the order of their names; others are counted and said."""

    def __init__(self, path: Path) -> None:
        self._root = path
        self._files = [path] if path.is_file() else _files(path)
        self.size_bytes = sum(file.stat().st_size for file in self._files)
        if not any(file.suffix.lower() in _READERS for file in self._files):
            raise SourceError(f"{path} holds no document: one of {', '.join(_READERS)} expected")

    def identity(self) -> str:
        """Where it is, and a hash of all names, sizes and times of change."""
        every = "\0".join(map(file_identity, self._files)).encode("utf-8", "surrogateescape")
        return f"{self._root.resolve()} {hashlib.blake2b(every, digest_size=16).hexdigest()}"

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """A document that cannot be read is left out and said."""
        n_bytes = n_others = 0
        for file in self._files:
            n_bytes += file.stat().st_size
            reader = _READERS.get(file.suffix.lower())
            if reader is None:
                n_others += 1
                continue
            try:
                yield n_bytes, self._article(file, reader)
            except SourceError as error:
                if self._root.is_file():
                    raise
                say(f"left out: {error}")
        if n_others:
            say(f"{n_others:,} files are no documents and were left out")

    def _article(self, file: Path, reader: Callable[[Path], tuple[str, str]]) -> Article:
        if file.stat().st_size > MOST_TEXT_BYTES:
            raise SourceError(f"{file} has {file.stat().st_size:,} bytes, {MOST_TEXT_BYTES:,} at most")
        try:
            title, text = reader(file)
        except OSError as error:
            raise SourceError(f"{file}: {error.strerror}") from error
        source = file.name if file == self._root else file.relative_to(self._root).as_posix()
        return Article(title or file.stem, text, source)


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if path.is_file()]


def decode(content: bytes, declared: str = "") -> str:
    """Text of unknown encoding: by its byte order mark, as UTF-8, as declared, or as it looks.

    Raises SourceError for binary content.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    if declared:
        try:
            return content.decode(declared, "replace")
        except LookupError:
            pass  # a page may declare anything
    if content[:8192].count(0) > 1:
        raise SourceError("binary content, text expected")
    return content.decode(_guess(content), "replace")


def _guess(content: bytes) -> str:
    # Comes with requests; needed only for what is not UTF-8.
    from charset_normalizer import from_bytes

    fits = [match.encoding for match in from_bytes(content[: 1 << 16])]
    # Western Europe's looks like its neighbours' until there is much text: where it fits too, it is the likeliest.
    return fits[0] if fits and "cp1252" not in fits else "cp1252"


def _read_text(path: Path) -> tuple[str, str]:
    return "", _decoded(path, path.read_bytes())


def _read_markdown(path: Path) -> tuple[str, str]:
    from markdown_it import MarkdownIt

    text = _decoded(path, path.read_bytes())
    heading = _HEADING.search(text)
    page = MarkdownIt("commonmark").enable("table").render(text)
    return heading[1].strip() if heading else "", html_text(page)[1]


def _read_html(path: Path) -> tuple[str, str]:
    content = path.read_bytes()
    declared = _CHARSET.search(content[:4096])
    return html_text(_decoded(path, content, declared[1].decode() if declared else ""))


def _decoded(path: Path, content: bytes, declared: str = "") -> str:
    try:
        return decode(content, declared)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error


def _read_pdf(path: Path) -> tuple[str, str]:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ModuleNotFoundError as error:
        raise SourceError(
            f"{path}: reading PDF needs the Python package pypdf: pip install 'lumos-edge[pdf]'"
        ) from error
    try:
        with path.open("rb") as file:
            reader = PdfReader(file)
            title = reader.metadata.title if reader.metadata else None
            text = "\n".join(page.extract_text() for page in reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        # pypdf lets these through for damaged files.
        raise SourceError(f"{path} is no whole PDF file: {type(error).__name__}: {error}") from error
    return str(title or "").strip(), text


_READERS: dict[str, Callable[[Path], tuple[str, str]]] = {
    ".txt": _read_text,
    ".text": _read_text,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".pdf": _read_pdf,
}
