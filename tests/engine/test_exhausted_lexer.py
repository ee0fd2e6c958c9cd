"""The constraint where the constraint engine gives up: never a text that just ends."""

from __future__ import annotations

import llguidance
import pytest

from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.errors import GrammarError

# A complement of many repeats: the lexer grows with every character, until llguidance stops.
_GROWING = 'start: LINE "\\n"\nLINE: /[^\\n]{0,4000}/ & ~/(?s:.*)a[^b]{1,30}c(?s:.*)/\n'
_SMALL = 'start: LINE "\\n"\nLINE: /[a-z]{1,20}/\n'


def test_a_grammar_that_is_too_much_for_the_engine_is_an_error() -> None:
    constraint = Constraint(GrammarCache(llguidance.LLTokenizer("byte")), lambda _text: _GROWING)
    with pytest.raises(GrammarError, match="gave up: lexer error"):
        _write(constraint, b"ayxbayxbayxb")


def test_a_lexer_that_others_have_used_up_is_replaced() -> None:
    cache = GrammarCache(llguidance.LLTokenizer("byte"))
    cache._matchers[_SMALL] = cache.matcher(_GROWING)
    constraint = Constraint(cache, lambda text: None if text else _SMALL)
    _write(constraint, b"ayxbaaxycab\n")
    assert constraint.done


def _write(constraint: Constraint, text: bytes) -> None:
    for character in text:
        assert character in constraint.allowed_tokens()
        constraint.consume([character])
