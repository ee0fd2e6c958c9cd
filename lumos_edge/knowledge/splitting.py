"""Texts cut into passages of about 100 words at the ends of sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

N_WORDS = 100
"""Of a passage, on average. What DPR and the paper's retriever were made for."""

_N_SIGNS = 600  # of 100 English words, with their spaces
_MOST_SIGNS = 2 * _N_SIGNS
# A sentence ends at . ! ? (with what closes a quotation) before a space, at a line's end, or at an East Asian stop.
_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)|\n+|[。！？]")


def passages(text: str) -> Iterator[str]:
    """The text in pieces of about 100 words (600 letters), each of whole sentences; cost is linear.

    A sentence of more than 200 words is cut at a space, one without spaces anywhere.
    """
    start = end = 0
    for found in _END.finditer(text):
        if found.end() - start > _N_SIGNS and _is_nearer(end - start, found.end() - start):
            yield from _within_limit(text[start:end])
            start = end
        end = found.end()
        if end - start >= _N_SIGNS:
            yield from _within_limit(text[start:end])
            start = end
    if len(text) - start > _MOST_SIGNS and end > start:
        yield from _within_limit(text[start:end])
        start = end
    yield from _within_limit(text[start:])


def _is_nearer(shorter: int, longer: int) -> bool:
    return shorter > 0 and _N_SIGNS - shorter < longer - _N_SIGNS


def _within_limit(piece: str) -> Iterator[str]:
    piece = piece.strip()
    while len(piece) > _MOST_SIGNS:
        cut = piece.rfind(" ", _N_SIGNS, _MOST_SIGNS)
        cut = _MOST_SIGNS if cut < 0 else cut
        yield piece[:cut].strip()
        piece = piece[cut:].strip()
    if piece:
        yield piece
