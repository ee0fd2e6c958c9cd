"""Where articles come from: what a builder asks of a file or folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from lumos_edge.knowledge.article import Article, Redirect

Item: TypeAlias = Article | Redirect


class Source(Protocol):
    """A file or folder that articles can be read from, any number of times, in the same order."""

    size_bytes: int

    def identity(self) -> str:
        """Changes when the file or folder does: what was read of another one is not resumed."""

    def read(self) -> Iterator[tuple[int, Item]]:
        """Each article and redirect, with how many of the `size_bytes` are read by then. Raises SourceError."""
