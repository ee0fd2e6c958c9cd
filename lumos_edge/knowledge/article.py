"""What a source gives, one after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Article:
    """A page, a file, an entry: clean text under a title."""

    title: str
    text: str
    source: str = ""
    """The URL or file it came from. An article replaces an older one with the same source."""
    aliases: tuple[str, ...] = ()
    """Other names of it."""
    meanings: tuple[str, ...] = ()
    """The titles that a disambiguation page lists; empty for every other article."""

    def digest(self) -> bytes:
        """16 bytes that change with what the pack would hold of it."""
        names = "\0".join((self.title, self.source, *self.aliases, "", *self.meanings))
        content = f"{names}\0{self.text}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(frozen=True)
class Redirect:
    """A title that stands for another one."""

    title: str
    target: str
