from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import llguidance
import pytest

from lumos_edge.maths.formula import measure, references
from lumos_edge.maths.lark import lark_rules
from lumos_edge.maths.parser import Start, parse

STARTS: tuple[Start, ...] = ("calculation", "equations", "inequality", "listing", "code", "definition")
N_TEXTS = 2_000
TOKENIZER = llguidance.LLTokenizer("byte")


def matcher(start: Start, names: tuple[str, ...]) -> Any:
    grammar = llguidance.LLMatcher.grammar_from_lark(f"start: {start}\n{lark_rules(names)}")
    is_error, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    assert not messages
    assert not is_error
    return llguidance.LLMatcher(TOKENIZER, grammar)


def accepts(start: Start, names: tuple[str, ...], text: str) -> bool:
    walker = matcher(start, names)
    tokens = list(text.encode())
    return bool(walker.try_consume_tokens(tokens) == len(tokens) and walker.is_accepting())


def allowed_bytes(walker: Any) -> list[str]:
    mask = walker.compute_bitmask()
    return [chr(byte) for byte in range(128) if mask[byte >> 3] >> (byte & 7) & 1]


def random_text(walker: Any, choose: random.Random, n_characters: int, favourites: str) -> str:
    """A walk over the mask that looks for its end from `n_characters` on."""
    walker.reset()
    text = ""
    while not walker.is_stopped():
        ends = len(text) >= n_characters
        if walker.is_accepting() and (ends or choose.random() < 0.1):
            break
        allowed = allowed_bytes(walker)
        wanted = [byte for byte in allowed if byte in (")," if ends else favourites)]
        byte = choose.choice(wanted if wanted and choose.random() < 0.6 else allowed)
        assert walker.consume_token(ord(byte))
        text += byte
    return text


def texts(start: Start, n_texts: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    choose = random.Random(start)
    for n_references in (0, 1, 4, 12):
        names = tuple(f"R{number}" for number in choose.sample(range(1, 25), n_references))
        walker = matcher(start, names)
        for _ in range(n_texts // 4):
            favourites = choose.choice(["(R", "-^(", "+*/%", "IR", "=<,.", "fgbmsR("])
            yield random_text(walker, choose, choose.choice([3, 15, 40]), favourites), names


@pytest.mark.parametrize("start", STARTS)
def test_every_text_parses_and_uses_live_results_only(start: Start) -> None:
    found = set()
    for text, names in texts(start, N_TEXTS):
        formula = parse(text, start)
        assert set(references(formula)) <= set(names)
        assert measure(formula)[1] < 150
        assert text == text.strip()
        assert "\n" not in text
        assert "  " not in text
        found.add(text)
    assert len(found) > N_TEXTS / 3


def test_the_deepest_and_longest_formula_is_within_the_parsers_limits() -> None:
    deepest = "-x^-x"
    for _ in range(5):
        deepest = f"-({deepest})^-({deepest})" if len(deepest) < 300 else f"-({deepest})^-x"
    assert accepts("calculation", (), deepest)
    parse(deepest, "calculation")
    widest = " + ".join(["*".join(["x"] * 6)] * 8)
    assert accepts("calculation", (), widest)
    assert measure(parse(widest, "calculation"))[1] == 13
    assert not accepts("calculation", (), f"({deepest})^x")


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("calculation", "48 / 2"),
        ("calculation", "(x-y) - (x+y)"),
        ("calculation", "40% * p"),
        ("calculation", "R10 * R11 * R12"),
        ("calculation", "R1(R9) + R2(R9)"),
        ("calculation", "R4(R5, R6)"),
        ("calculation", "R1(x=2)"),
        ("calculation", "R7 < R8"),
        ("calculation", "2*pi*R1^2"),
        ("calculation", "2xy + 3.5"),
        ("equations", "R4 + R5 + R6 = 12296"),
        ("equations", "R2=xy, R3=x/y"),
        ("equations", "R2, R3"),
        ("inequality", "2x + 1 <= 7"),
        ("listing", "2^0, 2^1, ..., 2^10"),
        ("code", "If R8 > 0, R8, -R8"),
        ("code", "If 148 % 8 == 0, 1, 0"),
        ("code", "If R1 > 2, If R1 > 3, 1, 2, gcd(R1, 12)"),
        ("definition", "n-2"),
        ("definition", "x = 3"),
    ],
)
def test_the_annotations_formulas_are_in_the_grammar(start: Start, text: str) -> None:
    assert accepts(start, tuple(f"R{number}" for number in range(1, 13)), text)


@pytest.mark.parametrize(
    "text", ["R2", "R12", "R", "R1R2", "clips", "x  + 1", " x", "x ", "if", "ln", "of", "2 3", ""]
)
def test_what_no_result_or_no_formula_is_called_is_not_in_the_grammar(text: str) -> None:
    assert not accepts("calculation", ("R1", "R3"), text)


def test_without_results_there_is_no_reference() -> None:
    assert "REFERENCE" not in lark_rules(())
    assert not accepts("equations", (), "R1")
