"""Scores of texts that are at hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.knowledge.bm25 import Collection, Term, score_texts, score_words

WORDS = st.sampled_from(["lamp", "basket", "add", "the", "to", "search", "x1", "größe"])


@given(st.lists(WORDS, max_size=6), st.lists(st.lists(WORDS, max_size=12), max_size=8))
def test_texts_that_are_their_own_collection_score_as_passages_do(
    query: list[str], texts: list[list[str]]
) -> None:
    collection = Collection(len(texts), sum(map(len, texts)))
    terms = [Term((word,), sum(word in text for text in texts)) for word in dict.fromkeys(query)]
    expected = [score_words(terms, text, collection) for text in texts]
    assert score_texts(query, texts) == expected
