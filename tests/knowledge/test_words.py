"""Which words of a query are searched for."""

from __future__ import annotations

import pytest

from lumos_edge.knowledge.words import asked_words


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
