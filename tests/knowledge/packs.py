"""Small packs, built by the real builder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lumos_edge.knowledge.article import Article, Redirect
from lumos_edge.knowledge.building import build
from lumos_edge.knowledge.source import Item, Say


class Given:
    """A source of articles that are at hand."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self.size_bytes = len(self.items)

    def identity(self) -> str:
        return str(hash(tuple(self.items)))

    def read(self, say: Say) -> Iterator[tuple[int, Item]]:
        yield from enumerate(self.items, 1)


class Said:
    """A Progress that remembers what was said."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.n_articles = 0

    def at(self, n_bytes: int, n_articles: int) -> None:
        self.n_articles = n_articles

    def say(self, message: str) -> None:
        self.messages.append(message)


def build_pack(path: Path, *items: Item | tuple[str, str]) -> Path:
    """The pack of these articles; a pair is a title and a text."""
    articles = [Article(*item) if isinstance(item, tuple) else item for item in items]
    build(Given(articles), path, "a test", "CC0", Said())
    return path


ROMANS = (
    ("Julius Caesar", "Julius Caesar had three children. He crossed the Rubicon."),
    ("Genghis Khan", "Genghis Khan had sixteen children. He founded the Mongol Empire."),
    Redirect("Temujin", "Genghis Khan"),
    Redirect("Temüjin Khan", "Temujin"),
    ("Mercury (planet)", "Mercury is the planet closest to the Sun."),
    ("Mercury (element)", "Mercury is a metal that is liquid at room temperature."),
    ("Café", "A café serves coffee."),
)
