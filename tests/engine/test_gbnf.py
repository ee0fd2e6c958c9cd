"""What llguidance accepts of a grammar of ours, llama.cpp accepts of its translation, and the other way round."""

from __future__ import annotations

import ctypes
import itertools
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import llama_cpp as lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.engine import Grammar
from lumos_edge.engine.binding import Model
from lumos_edge.engine.constraint import Constraint, GrammarCache
from lumos_edge.engine.gbnf import gbnf
from lumos_edge.errors import GrammarError
from lumos_edge.grammar import (
    actions_grammar,
    choice_grammar,
    line_grammar,
    next_subgoal_grammar,
    plan_grammar,
    span_grammar,
)
from lumos_edge.sql.database import Database
from lumos_edge.toolbox import Toolbox, ValueTypes
from tests.scripted import BYTES, accepts, random_text
from tests.sql.databases import make
from tests.test_grammar import ALL, bindings


class Vocabulary:
    """Tokens of the 135M model that are whole assigned text, and one for each byte."""

    def __init__(self, model: Model) -> None:
        self.vocab = model.vocab
        texts = model._token_texts()
        self.end = model.end_tokens()[0]
        self.of_byte = {text[0]: token for token, text in enumerate(texts) if len(text) == 1}
        self.text = {token: text for token, text in enumerate(texts) if _is_assigned(text)}
        self.ascii = [token for byte, token in self.of_byte.items() if byte < 128]


def _is_assigned(content: bytes) -> bool:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return not any(unicodedata.category(c) == "Cn" for c in text)


@pytest.fixture(scope="module")
def vocabulary(nano_path: Path) -> Iterator[Vocabulary]:
    model = Model(nano_path)
    yield Vocabulary(model)
    model.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database.open(make(tmp_path_factory.mktemp("gbnf") / "library.sqlite"))


class Gbnf:
    """A grammar as llama.cpp follows it."""

    def __init__(self, vocabulary: Vocabulary, text: str) -> None:
        self._vocabulary = vocabulary
        self._sampler = lib.llama_sampler_init_grammar(vocabulary.vocab, text.encode(), b"root")
        assert self._sampler, f"llama.cpp does not read {text}"

    def allowed(self, tokens: list[int]) -> list[int]:
        data = (lib.llama_token_data * len(tokens))(*((token, 0.0, 0.0) for token in tokens))
        candidates: Any = lib.llama_token_data_array(data, len(tokens), -1, False)
        lib.llama_sampler_apply(self._sampler, ctypes.byref(candidates))
        return [entry.id for entry in data if not math.isinf(entry.logit)]

    def take(self, token: int) -> bool:
        """Write the token where it is allowed: llama.cpp ends the process for another one."""
        if not self.allowed([token]):
            return False
        lib.llama_sampler_accept(self._sampler, token)
        return True

    @property
    def may_end(self) -> bool:
        return bool(self.allowed([self._vocabulary.end]))

    def accepts(self, text: str) -> bool:
        return all(self.take(self._vocabulary.of_byte[byte]) for byte in text.encode()) and self.may_end

    def random_text(self, random: Random) -> str:
        written = b""
        while len(written) < 600:
            if self.may_end and random.random() < 0.5:
                break
            tokens = random.sample(sorted(self._vocabulary.text), 200) + self._vocabulary.ascii
            allowed = self.allowed(tokens)
            if not allowed:
                break
            closing = [token for token in allowed if self._vocabulary.text[token] in b")];\n,"]
            token = random.choice(closing if closing and random.random() < 0.4 else allowed)
            assert self.take(token)
            written += self._vocabulary.text[token]
        return written.decode()

    def close(self) -> None:
        lib.llama_sampler_free(self._sampler)


def only(lark: str) -> Grammar:
    return lambda text: None if text else lark


def parts(grammar: Grammar, random: Random) -> list[str]:
    """The Lark texts that a random text of the grammar leads through."""
    seen: list[str] = []

    def watched(text: str) -> str | None:
        lark = grammar(text)
        if lark is not None:
            seen.append(lark)
        return lark

    random_text(watched, random)
    return seen


def is_prefix(grammar: Grammar, text: str) -> bool:
    constraint = Constraint(GrammarCache(BYTES), grammar)
    for byte in text.encode():
        if constraint.done or not constraint.allows(byte):
            return False
        constraint.consume([byte])
    return True


def check(vocabulary: Vocabulary, lark: str, random: Random) -> None:
    """Random texts of each side are texts of the other."""
    translated = gbnf(lark)
    text = random_text(only(lark), random)
    there = Gbnf(vocabulary, translated)
    assert there.accepts(text), f"{text!r} of {lark}"
    there.close()
    here = Gbnf(vocabulary, translated)
    text = here.random_text(random)
    assert accepts(only(lark), text) if here.may_end else is_prefix(only(lark), text), f"{text!r} of {lark}"
    here.close()


FIXED = [
    plan_grammar(8),
    next_subgoal_grammar(1),
    next_subgoal_grammar(3),
    choice_grammar("Yes", "No", 'a "quoted" \\ one\n'),
    line_grammar(),
]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(FIXED), st.integers(0, 2**32))
def test_plans_and_readings(vocabulary: Vocabulary, grammar: Grammar, seed: int) -> None:
    lark = grammar("")
    assert lark
    check(vocabulary, lark, Random(seed))


@settings(max_examples=40, deadline=None)
@given(bindings, st.integers(0, 2**32))
def test_actions(vocabulary: Vocabulary, types: dict[str, ValueTypes], seed: int) -> None:
    random = Random(seed)
    grammar = actions_grammar(ALL, types, formulation=random.choice(["onetime", "iterative"]), max_actions=3)
    for lark in parts(grammar, random):
        check(vocabulary, lark, random)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_statements(vocabulary: Vocabulary, shop: Database, seed: int) -> None:
    toolbox = Toolbox.of_packs(["sql"], [shop])
    random = Random(seed)
    for lark in parts(actions_grammar(toolbox, {}, formulation="iterative", max_actions=2), random):
        check(vocabulary, lark, random)


def test_a_sign_inside_a_string_is_text(vocabulary: Vocabulary) -> None:
    there = Gbnf(vocabulary, gbnf('start: "a"? " * b" " + c"{2}\n'))
    assert there.accepts(" * b + c + c")
    there.close()


@pytest.mark.parametrize("separator", [", ", "c", "cc,", "c,c"])
def test_a_lazy_terminal_ends_where_its_separator_first_stands(
    vocabulary: Vocabulary, separator: str
) -> None:
    lark = f'start: text "!"\ntext[lazy]: /[^ !][^!]{{0,3}}?{separator}/\n'
    translated = gbnf(lark)
    n_accepted = 0
    for length in range(7):
        for characters in itertools.product(", c", repeat=length):
            text = "".join(characters) + "!"
            there = Gbnf(vocabulary, translated)
            assert there.accepts(text) == accepts(only(lark), text), text
            there.close()
            n_accepted += accepts(only(lark), text)
    assert n_accepted


@pytest.mark.parametrize(
    ("lark", "why"),
    [
        ("start: A & B\nA: /a/\nB: /b/\n", "'& B'"),
        ("start: A\nA: /a{0,3000}/\n", "a repetition of 0 to 3000"),
        ("start: A\nA: /(?=a)a/\n", "ASSERT"),
        ("start: A\nA: /\\d/\n", "CATEGORY_DIGIT"),
        ("start: A\nA: /\\p{L}/\n", "bad escape"),
        ("start: a\na[lazy]: /[ab]+?c/\n", "the lazy terminal"),
        ("begin: A\nA: /a/\n", "no rule called start"),
    ],
)
def test_what_gbnf_cannot_say_is_refused(lark: str, why: str) -> None:
    with pytest.raises(GrammarError, match=why):
        gbnf(lark)


def test_spans_of_passages_are_refused() -> None:
    lark = span_grammar(["The emu is a bird."])("")
    assert lark
    with pytest.raises(GrammarError, match="GBNF has nothing like"):
        gbnf(lark)
