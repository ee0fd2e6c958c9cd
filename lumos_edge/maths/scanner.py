"""The tokens of a formula's text: plain, Unicode and LaTeX spellings come out as the same signs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from lumos_edge.errors import ActionError
from lumos_edge.maths.formula import FUNCTIONS

Kind: TypeAlias = Literal["number", "reference", "symbol", "word", "superscript", "sign", "end"]

WORDS: Final = frozenset({*FUNCTIONS, "pi", "if", "true", "false", "frac"})

_ALIASES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("dfrac", "tfrac"), "frac"),
    **dict.fromkeys(("choose", "comb", "binom", "dbinom", "tbinom"), "binomial"),
    "ceiling": "ceil",
}
_RESERVED: Final = frozenset({"and", "or", "not", "then", "else"})

_SIGNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("×", "·", "⋅", "∗", r"\times", r"\cdot"), "*"),
    **dict.fromkeys(("÷", "∕", r"\div"), "/"),
    **dict.fromkeys(("−", "–"), "-"),
    **dict.fromkeys(("≤", r"\le", r"\leq"), "<="),
    **dict.fromkeys(("≥", r"\ge", r"\geq"), ">="),
    **dict.fromkeys(("≠", r"\ne", r"\neq"), "!="),
    **dict.fromkeys(("…", r"\ldots", r"\dots", r"\cdots"), "..."),
    "**": "^",
    "==": "=",
    r"\%": "%",
    r"\lt": "<",
    r"\gt": ">",
    r"^\circ": "°",
    r"^{\circ}": "°",
    "of": "*",
    "deg": "°",
    "degree": "°",
    "degrees": "°",
}

_TOKEN: Final = re.compile(
    r"""
    (?P<skip> \s+ | \\?\$ | \\(?:left|right)(?![A-Za-z]) | \\[,;:!\ ] )
  | (?P<number> [0-9]+(?:\.[0-9]+)? | \.[0-9]+ )
  | (?P<reference> R[0-9]+ )
  | (?P<superscript> [⁰¹²³⁴-⁹]+ )
  | (?P<sign> \^\\circ | \^\{\\circ\} | \*\* | // | \.\.\. | <= | >= | != | == | \\%
            | [-+*/^%!=<>()\[\]{},|×·⋅∗÷∕−–≤≥≠…√°] )
  | (?P<word> \\[A-Za-z]+ | π | [A-Za-z]+?(?=R[0-9]|[^A-Za-z]|$) )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """A piece of a formula's text from `start` up to `end`, spelt as the parser knows it."""

    kind: Kind
    text: str
    start: int
    end: int


def scan(text: str) -> list[Token]:
    """The tokens of `text` and an "end".

    Raises `ActionError` for a character or a name that no formula has.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise unexpected(text, position, position + 1, "a number, a symbol or an operator")
        if match.lastgroup == "word":
            tokens += _word(text, match)
        elif match.lastgroup != "skip":
            tokens.append(_plain(match))
        position = match.end()
    return [*tokens, Token("end", "", len(text), len(text))]


def unexpected(text: str, start: int, end: int, expected: str) -> ActionError:
    """The error that says what was expected at `start`, and what is there."""
    found = repr(text[start:end]) if start < len(text) else "the end"
    before, after = text[max(0, start - 20) : start], text[start : start + 20]
    return ActionError(f"expected {expected}, found {found} at position {start}: {before!r} ^ {after!r}")


def _plain(match: re.Match[str]) -> Token:
    text = match.group()
    if match.lastgroup == "sign":
        return Token("sign", _SIGNS.get(text, text), match.start(), match.end())
    kind: Kind = "number"
    if match.lastgroup == "reference":
        kind = "reference"
    elif match.lastgroup == "superscript":
        kind = "superscript"
    return Token(kind, text, match.start(), match.end())


def _word(text: str, match: re.Match[str]) -> list[Token]:
    start, end = match.span()
    name = match.group()
    if name in _SIGNS:
        return [Token("sign", _SIGNS[name], start, end)]
    plain = "pi" if name == "π" else name.removeprefix("\\")
    if len(plain) == 1 and not name.startswith("\\"):
        return [Token("symbol", plain, start, end)]
    lower = _ALIASES.get(plain.lower(), plain.lower())
    if lower in WORDS:
        return [Token("word", lower, start, end)]
    if name.startswith("\\") or len(name) > 3 or lower in _RESERVED:
        raise unexpected(text, start, end, f"a symbol or a known function (unknown name {name!r})")
    return [Token("symbol", letter, start + i, start + i + 1) for i, letter in enumerate(name)]
