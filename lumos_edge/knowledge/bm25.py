"""BM25 over passages that are at hand, with statistics of the collection that they come from.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with the weights of words
that Lucene uses. The title counts as one more sentence, the forms of a word as one word, and a part of a name half
as much again: a question is about it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain

from lumos_edge.knowledge.passage import Passage
from lumos_edge.knowledge.words import words

K1 = 1.2
B = 0.75
_OF_NAME = 1.5


@dataclass(frozen=True)
class Term:
    """A word of a query: its forms, how many passages of the collection have one, whether it is part of a name."""

    forms: tuple[str, ...]
    n_passages: int
    is_name: bool = False


@dataclass(frozen=True)
class Collection:
    """What BM25 has to know of all passages."""

    n_passages: int
    n_words: int

    def weight(self, term: Term) -> float:
        """The inverse document frequency, always above 0; more for a part of a name."""
        n = min(term.n_passages, self.n_passages)
        return (_OF_NAME if term.is_name else 1) * math.log(1 + (self.n_passages - n + 0.5) / (n + 0.5))

    def mean_length(self) -> float:
        """Words in a passage and its title."""
        return max(1.0, self.n_words / max(1, self.n_passages))


def collection_of(passages: Sequence[Passage]) -> Collection:
    """Passages that are their own collection."""
    return Collection(len(passages), sum(len(words(f"{p.title}\n{p.text}")) for p in passages))


def n_passages_with(passages: Sequence[Passage]) -> Counter[str]:
    """In how many of these passages each word of them is."""
    return Counter(word for p in passages for word in set(words(f"{p.title}\n{p.text}")))


def score(query: Sequence[Term], passage: Passage, collection: Collection) -> float:
    """BM25 of one passage for a query; costs about 20 us for 100 words."""
    return score_words(query, words(f"{passage.title}\n{passage.text}"), collection)


def score_words(query: Sequence[Term], found: Sequence[str], collection: Collection) -> float:
    """BM25 of these words for a query."""
    counts = Counter(found)
    length = B * len(found) / collection.mean_length() + 1 - B
    total = 0.0
    for term in query:
        n = sum([counts.get(form, 0) for form in term.forms])
        if n:
            total += collection.weight(term) * n * (K1 + 1) / (n + K1 * length)
    return total


def score_texts(query: Sequence[str], texts: Sequence[Sequence[str]]) -> list[float]:
    """BM25 of the words of texts that are their own collection, for words without forms; 0.0 where none is shared.

    Only what a text shares with the query is looked at again: 1 to 3 us for a text of 20 words.
    """
    asked = frozenset(query)
    shared = [asked.intersection(text) for text in texts]
    n_with = Counter(chain.from_iterable(shared))
    collection = Collection(len(texts), sum(map(len, texts)))
    weights = {word: collection.weight(Term((word,), n_with[word])) for word in query}
    mean = collection.mean_length()
    return [
        _score_shared(weights, known, text, mean) if known else 0.0
        for text, known in zip(texts, shared, strict=True)
    ]


def _score_shared(weights: Mapping[str, float], known: Set[str], text: Sequence[str], mean: float) -> float:
    length = B * len(text) / mean + 1 - B
    total = 0.0
    for word, weight in weights.items():
        if word in known:
            n = text.count(word)
            total += weight * n * (K1 + 1) / (n + K1 * length)
    return total
