"""JSON Lines: {"title": "...", "text": "..."}, and where they are known "source" and "aliases"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lumos_edge.errors import SourceError
from lumos_edge.knowledge.article import Article
from lumos_edge.knowledge.source import Item, Say, file_identity

_MOST_BYTES = 64 << 20  # of one line


class JsonLines:
    """A `.jsonl` file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = path.stat().st_size

    def identity(self) -> str:
        """Path, size and time of change."""
        return file_identity(self._path)

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """Raises SourceError with the number of the line."""
        n_bytes = n_lines = 0
        with self._path.open("rb") as file:
            while line := file.readline(_MOST_BYTES):
                n_bytes += len(line)
                n_lines += 1
                if not line.endswith(b"\n") and len(line) >= _MOST_BYTES:
                    raise self._error(n_lines, f"more than {_MOST_BYTES:,} bytes")
                if line.strip():
                    yield n_bytes, self._article(n_lines, line)

    def _article(self, n: int, line: bytes) -> Article:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._error(n, f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise self._error(n, f"{type(fields).__name__} found, an object expected")
        aliases = fields.get("aliases", [])
        if not isinstance(aliases, list):
            raise self._error(n, f'"aliases" is {type(aliases).__name__}, a list of strings expected')
        return Article(
            self._string(n, fields.get("title")),
            self._string(n, fields.get("text")),
            self._string(n, fields.get("source", "")),
            tuple(self._string(n, alias) for alias in aliases),
        )

    def _string(self, n: int, value: Any) -> str:
        if isinstance(value, str):
            return value
        raise self._error(n, f'{{"title": "...", "text": "..."}} expected, {value!r:.40} found for a string')

    def _error(self, n: int, reason: str) -> SourceError:
        return SourceError(f"{self._path}, line {n}: {reason}")
