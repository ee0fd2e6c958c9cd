"""Where articles come from: what a builder asks of a file or folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from lumos_edge.knowledge.article import Article, Redirect

Item: TypeAlias = Article | Redirect
Say: TypeAlias = Callable[[str], None]


class Source(Protocol):
    """A file or folder that articles can be read from, any number of times, in the same order."""

    size_bytes: int

    def identity(self) -> str:
        """Changes when the file or folder does: what was read of another one is not resumed."""

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        """Each article and redirect, with how many of the `size_bytes` are read by then.

        `say` takes a line on what had to be left out. Raises SourceError.
        """


def fingerprint(identity: str) -> str:
    """What a pack keeps of an identity, which holds paths: nobody's business when the pack is given away."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def file_identity(path: Path) -> str:
    """Path, size and time of change."""
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
