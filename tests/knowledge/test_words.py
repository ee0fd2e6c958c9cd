"""Which words of a query are searched for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumos_edge.knowledge.words import asked_words, words


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_other_texts(text: str) -> None:
    assert words(text) == words(f"{text} é")[:-1]


def test_words_are_folded() -> None:
    assert words("Größe_2: l'Été, R2-D2\x1f東京") == ["große", "2", "l", "ete", "r2", "d2", "東京"]


@pytest.mark.parametrize(
    ("query", "asked", "names"),
    [
        ("How many kids did Julius Caesar have?", "kids julius caesar", "julius caesar"),
        ("Menthol is found in mint", "menthol found mint", ""),
        ("Who is Will Smith, and who is Émile?", "will smith emile", "will smith emile"),
        ("Was the crown theirs, or the Crown Prince's?", "crown theirs prince", "crown prince"),
        ("Will Smith", "will smith", "will smith"),
        ("to be or not to be", "not", ""),
        ("who is it", "who is it", ""),
        ("Wer war der Kaiser?", "wer war der kaiser", "kaiser"),
        ("Что такое Нил?", "что такое нил", "нил"),
        ("?", "", ""),
    ],
)
def test_words(query: str, asked: str, names: str) -> None:
    found = asked_words(query)
    assert list(found) == asked.split()
    assert [word for word, is_name in found.items() if is_name] == names.split()
