"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """About 100 words of one article, cut at sentences."""

    title: str
    text: str
    pack: str
    """The name of the knowledge pack."""
    source: str = ""
    """The URL or the file that the article came from."""
