"""Several knowledge packs, searched as one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lumos_edge.knowledge.bm25 import Collection, Term, collection_of, n_passages_with, score
from lumos_edge.knowledge.pack import Found, Named, Pack
from lumos_edge.knowledge.passage import Passage
from lumos_edge.knowledge.words import asked_words, inflections, misspellings, name_keys, words
from lumos_edge.toolbox import Resource

if TYPE_CHECKING:
    from lumos_edge.knowledge.online import OnlineWiki

_N_CANDIDATES = 64  # passages of one pack that are scored again, with all the words
_N_UNRANKED = 256  # passages with frequent words only, which SQLite is not asked to rank
_MOST_POSTINGS = 20_000  # of one search in one pack: what SQLite ranks in some 20 ms
_MOST_WORDS = 64  # of a query
_LEAST_SIGNS = 4  # of a word that may be misspelt


class Library(Resource):
    """Open packs, and a wiki on the network where one is given. It may be used from several threads.

    Raises what opening a pack raises; with a wiki its methods raise PageNotLoaded and PageTooLarge, too.
    """

    wanted = "knowledge packs: `lumos-edge knowledge build` makes one, --knowledge names it; or --online"

    def __init__(self, packs: Sequence[Path], online: OnlineWiki | None = None) -> None:
        self._lock = threading.Lock()
        self._online = online
        self._packs: list[Pack] = []
        try:
            for path in packs:
                self._packs.append(Pack(path))
        except BaseException:
            self.close()
            raise
        n_passages = sum(pack.n_passages for pack in self._packs)
        self._collection = Collection(n_passages, sum(pack.n_words for pack in self._packs))

    def close(self) -> None:
        """Close the packs; a second time does nothing.

        Waits for a search in another thread, such as a tool's whose time was up: SQLite crashes the process when a
        connection is closed under a statement that runs.
        """
        with self._lock:
            for pack in self._packs:
                pack.close()

    def entity(self, query: str, n: int = 32) -> tuple[Passage, ...]:
        """The passages of the article that is called so, in order, then those of further candidates.

        A title comes before a redirect, that before a title with a qualifier, that before what a disambiguation
        page lists; after them comes what BM25 finds. The wiki is asked where no pack has the name. At most `n`
        passages. Raises DamagedKnowledge.
        """
        with self._lock:
            found = self._of_named(query, n)
        if not found and self._online:
            found = dict.fromkeys(self._online.entity(query))
        if len(found) < n:
            found.update(dict.fromkeys(self.search(query, n) if not found else self._searched(query, n)))
        return tuple(found)[:n]

    def search(self, query: str, n: int) -> tuple[Passage, ...]:
        """The best `n` passages of all packs and of the wiki by BM25 over title and text. Raises DamagedKnowledge."""
        further = self._online.search(query) if self._online else ()
        return self._searched(query, n, further)

    def _searched(self, query: str, n: int, further: Sequence[Passage] = ()) -> tuple[Passage, ...]:
        with self._lock:
            terms = self._terms(query, further)
            candidates = dict.fromkeys(further)
            for pack in self._packs:
                found = _candidates(pack, terms, max(n, _N_CANDIDATES))
                candidates.update(dict.fromkeys(hit.passage for hit in found))
            return tuple(self._ranked(terms, tuple(candidates))[:n])

    def rank(self, query: str, passages: Sequence[Passage], n: int) -> tuple[Passage, ...]:
        """The best `n` of these for the query, the best first; words are weighted as in all packs."""
        with self._lock:
            return tuple(self._ranked(self._terms(query, passages), passages)[:n])

    def _of_named(self, query: str, n: int) -> dict[Passage, None]:
        found: dict[Passage, None] = {}
        for pack, article in self._named(query, n):
            passages = pack.passages_of(article.id, n - len(found))
            found.update(dict.fromkeys(hit.passage for hit in passages))
            if len(found) >= n:
                break
        return found

    def _named(self, query: str, n: int) -> Iterator[tuple[Pack, Named]]:
        for key in dict.fromkeys((*name_keys(query), *self._respelled(query))):
            hits = [(pack, article) for pack in self._packs for article in pack.named(key, n)]
            if hits:
                yield from sorted(hits, key=lambda hit: (hit[1].standing, hit[1].title != query))
                return

    def _respelled(self, query: str) -> Iterator[str]:
        """The query with each unknown word as it may have been meant to be."""
        asked = words(query)[:_MOST_WORDS]
        n_with = self._n_with(asked)
        yield " ".join(word if word in n_with else next(iter(self._meant(word)), word) for word in asked)

    def _ranked(self, terms: Sequence[Term], passages: Sequence[Passage]) -> list[Passage]:
        collection = self._collection if self._packs else collection_of(passages)
        return sorted(passages, key=lambda passage: score(terms, passage, collection), reverse=True)

    def _terms(self, query: str, passages: Sequence[Passage] = ()) -> list[Term]:
        """The words of a query with their known forms; `passages` may hold words that no pack has."""
        asked = dict(islice(asked_words(query).items(), _MOST_WORDS))
        forms = {word: inflections(word) for word in asked}
        n_with = self._n_with({form for word in asked for form in forms[word]})
        for word, n in n_passages_with(passages).items():
            n_with.setdefault(word, n)
        terms = []
        for word, is_name in asked.items():
            known = sorted(form for form in forms[word] if form in n_with) or self._meant(word)
            if known:
                terms.append(Term(tuple(known), sum(n_with.get(form, 1) for form in known), is_name))
        return terms

    def _meant(self, word: str) -> list[str]:
        """The most frequent known word that an unknown one may have been meant to be."""
        if len(word) < _LEAST_SIGNS or not word.isalpha():
            return []
        n_with = self._n_with(misspellings(word))
        return sorted(n_with, key=lambda known: (-n_with[known], known))[:1]

    def _n_with(self, wanted: Iterable[str]) -> Counter[str]:
        n_with: Counter[str] = Counter()
        asked = sorted(wanted)
        for pack in self._packs:
            n_with.update(pack.n_with(asked))
        return n_with


def _candidates(pack: Pack, terms: Sequence[Term], n: int) -> list[Found]:
    """The passages with the rarest of the words; the frequent ones decide only among those.

    So the cost does not grow with the pack: SQLite looks at every posting of every word that it ranks by.
    """
    n_with = pack.n_with(form for term in terms for form in term.forms)
    postings = {term: sum(n_with.get(form, 0) for form in term.forms) for term in terms}
    known = sorted((term for term in terms if postings[term]), key=lambda term: postings[term])
    if not known:
        return []
    chosen: list[Term] = []
    n_postings = 0
    for term in known:
        n_postings += postings[term]
        if n_postings > _MOST_POSTINGS:
            break
        chosen.append(term)
    if chosen:
        return pack.matching(" OR ".join(_any_form(term) for term in chosen), n)
    together = pack.containing(" AND ".join(_any_form(term) for term in known[:3]), _N_UNRANKED)
    return together or pack.containing(_any_form(known[0]), _N_UNRANKED)


def _any_form(term: Term) -> str:
    return "(" + " OR ".join(f'"{form}"' for form in term.forms) + ")"
