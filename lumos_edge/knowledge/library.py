"""Several knowledge packs, searched as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lumos_edge.knowledge.bm25 import Collection, score
from lumos_edge.knowledge.pack import Found, Named, Pack
from lumos_edge.knowledge.passage import Passage
from lumos_edge.knowledge.words import misspellings, name_keys, words
from lumos_edge.toolbox import Resource

_N_CANDIDATES = 64  # passages of one pack that are scored again
_MOST_POSTINGS = 30_000  # of one search in one pack: what SQLite scores in some 20 ms


class Library(Resource):
    """Open packs. It may be used from several threads; raises what opening a pack raises."""

    wanted = "knowledge packs: `lumos-edge knowledge build` makes one, --knowledge names it"

    def __init__(self, packs: Sequence[Path]) -> None:
        self._lock = threading.Lock()
        self._packs: list[Pack] = []
        try:
            for path in packs:
                self._packs.append(Pack(path))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the packs; a second time does nothing."""
        for pack in self._packs:
            pack.close()

    def entity(self, query: str, n: int = 32) -> tuple[Passage, ...]:
        """The passages of the article that is called so, in order, then those of further candidates.

        A title comes before a redirect, that before a title with a qualifier, that before what a disambiguation
        page lists; after them comes what BM25 finds. At most `n` passages.
        """
        with self._lock:
            found: dict[Passage, None] = {}
            for pack, article in self._named(query, n):
                found.update(
                    dict.fromkeys(hit.passage for hit in pack.passages_of(article.id, n - len(found)))
                )
                if len(found) >= n:
                    break
            else:
                found.update(dict.fromkeys(self._search(query, n)))
            return tuple(found)[:n]

    def search(self, query: str, n: int) -> tuple[Passage, ...]:
        """The best `n` passages of all packs by BM25 over title and text."""
        with self._lock:
            return tuple(self._search(query, n))

    def rank(self, query: str, passages: Sequence[Passage], n: int) -> tuple[Passage, ...]:
        """The best `n` of these for the query, the best first; words are weighted as in all packs."""
        with self._lock:
            return tuple(self._ranked(words(query), passages)[:n])

    def _named(self, query: str, n: int) -> Iterator[tuple[Pack, Named]]:
        for key in dict.fromkeys(name_keys(query)):
            hits = [(pack, article) for pack in self._packs for article in pack.named(key, n)]
            if hits:
                yield from sorted(hits, key=lambda hit: (hit[1].standing, hit[1].title != query))
                return

    def _search(self, query: str, n: int) -> list[Passage]:
        wanted = [self._spelled(word) for word in dict.fromkeys(words(query))]
        candidates: dict[Passage, None] = {}
        for pack in self._packs:
            candidates.update(
                dict.fromkeys(hit.passage for hit in _candidates(pack, wanted, max(n, _N_CANDIDATES)))
            )
        return self._ranked(wanted, candidates)[:n]

    def _ranked(self, wanted: Sequence[str], passages: Iterable[Passage]) -> list[Passage]:
        collection = self._collection(wanted)
        return sorted(passages, key=lambda passage: score(wanted, passage, collection), reverse=True)

    def _collection(self, wanted: Sequence[str]) -> Collection:
        n_with: Counter[str] = Counter()
        for pack in self._packs:
            n_with.update(pack.n_with(wanted))
        n_passages = sum(pack.n_passages for pack in self._packs)
        return Collection(n_passages, sum(pack.n_words for pack in self._packs), n_with)

    def _spelled(self, word: str) -> str:
        """The word, or the most frequent known one that it may have been meant to be."""
        if len(word) < 4 or any(pack.n_with([word]) for pack in self._packs):
            return word
        n_with = self._collection(sorted(misspellings(word))).n_with
        return max(n_with, key=lambda known: n_with[known], default=word)


def _candidates(pack: Pack, wanted: Sequence[str], n: int) -> list[Found]:
    """The passages with the rarest of the words; the frequent ones decide only among those."""
    n_with = pack.n_with(wanted)
    chosen: list[str] = []
    n_postings = 0
    for word in sorted(n_with, key=lambda known: n_with[known]):
        n_postings += n_with[word]
        if chosen and n_postings > _MOST_POSTINGS:
            break
        chosen.append(word)
    if not chosen:
        return []
    return pack.matching(" OR ".join(f'"{word}"' for word in chosen), n)
