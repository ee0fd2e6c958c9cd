"""Texts cut into passages of about 100 words at the ends of sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

N_WORDS = 100
"""Of a passage, on average. What DPR and the paper's retriever were made for."""

_LEAST_SIGNS = 530  # an English word is 6 with its space, and half a sentence follows on average
_MOST_SIGNS = 1200
# A sentence ends at . ! ? (with what closes a quotation) before a space, at a line's end, or at an East Asian stop.
_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)|\n+|[。！？]")


def passages(text: str) -> Iterator[str]:
    """The text in pieces that end with the first sentence after 530 letters, and hold 1,200 at most.

    Where no sentence ends in between, a piece ends at a space, or anywhere. Cost is linear.
    """
    start = 0
    while len(text) - start > _LEAST_SIGNS + _LEAST_SIGNS // 3:
        end = _end(text, start)
        if piece := text[start:end].strip():
            yield piece
        start = end
    if piece := text[start:].strip():
        yield piece


def _end(text: str, start: int) -> int:
    limit = start + _MOST_SIGNS
    if found := _END.search(text, start + _LEAST_SIGNS, limit):
        return found.end()
    if len(text) <= limit:
        return len(text)
    space = text.rfind(" ", start + _LEAST_SIGNS, limit)
    return limit if space < 0 else space
