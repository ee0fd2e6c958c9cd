"""Lark text of our grammars as GBNF, which llama.cpp reads.

The two mean the same where no lexeme begins as what may follow it does, which our grammars keep to: llguidance takes
the longest lexeme, GBNF tries all. One difference is left: GBNF may write a code point that Unicode has not assigned.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from lumos_edge.errors import GrammarError

try:
    from re import _parser as regex_parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as regex_parser

_MAX_REPEAT = 2000  # llama.cpp takes more for no limit (MAX_REPETITION_THRESHOLD, llama-grammar.cpp)

_RULE = re.compile(r"^([A-Za-z_]\w*)(\[lazy\])?:", re.MULTILINE)
_WORD = re.compile(
    r'(?P<space>\s+)|(?P<string>"(?:[^"\\]|\\.)*")|/(?P<regex>(?:[^/\\]|\\.)*)/'
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>[()|?*+]|\{\d+(?:,\d*)?\})"
)

# \p{C} without what is not assigned, which differs between versions of Unicode and has hundreds of ranges: llama.cpp
# compares each character with each range.
_OTHER = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ud800-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U0010ffff"
)


@lru_cache(maxsize=256)
def gbnf(lark: str) -> str:
    """The same grammar for llama.cpp; raises GrammarError for what GBNF cannot say.

    Understands what our grammars are written in: rules and terminals of strings, regexes, alternatives, groups and
    repetitions, and lazy terminals that end in a separator. Costs some ms.
    """
    heads = list(_RULE.finditer(lark))
    ends = [head.start() for head in heads[1:]] + [len(lark)]
    if "start" not in {head[1] for head in heads}:
        raise GrammarError(f"the grammar has no rule called start: {lark[:80]!r}")
    rules = []
    for head, end in zip(heads, ends, strict=True):
        name, body = _name(head[1]), lark[head.end() : end]
        rules += _until_separator(name, body) if head[2] else [f"{name} ::= {_body(body)}"]
    return "\n".join(["root ::= start", *rules]) + "\n"


def _name(name: str) -> str:
    return name.replace("_", "-")  # GBNF's names have no underscore, Lark's no dash


def _body(body: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(body):
        word = _WORD.match(body, position)
        if word is None:
            raise GrammarError(f"GBNF has nothing like {body[position : position + 60].strip()!r}")
        position = word.end()
        if word["string"]:
            parts.append(_literal(json.loads(word["string"])))
        elif word["regex"] is not None:
            parts.append(f"({_regex(_parsed(word['regex']))})")
        elif word["name"]:
            parts.append(_name(word["name"]))
        elif word["sign"] and word["sign"][0] in "?*+{" and parts:
            parts[-1] += word["sign"]
        elif word["sign"]:
            parts.append(word["sign"])
    return " ".join(parts)


_ESCAPES = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def _literal(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(c, c) for c in text) + '"'


# -- regexes ------------------------------------------------------------------------------------------------------


def _parsed(pattern: str) -> Sequence[Any]:
    """Python's syntax tree of a regex of llguidance (Rust's syntax)."""
    pattern = re.sub(r"\\x\{([0-9a-fA-F]+)\}", lambda code: re.escape(chr(int(code[1], 16))), pattern)
    try:
        return list(regex_parser.parse(pattern.replace(r"\p{C}", _OTHER)))
    except re.error as error:
        raise GrammarError(f"GBNF has nothing like /{pattern}/: {error}") from error


def _regex(items: Iterable[Any]) -> str:
    return " ".join(_item(str(kind), value) for kind, value in items) or '""'


def _item(kind: str, value: Any) -> str:
    if kind == "LITERAL":
        return _literal(chr(value))
    if kind in ("NOT_LITERAL", "ANY", "IN"):
        return _characters(_ranges(kind, value))
    if kind == "SUBPATTERN":
        return f"({_regex(value[3])})"
    if kind == "BRANCH":
        return f"({_alternatives([list(branch) for branch in value[1]])})"
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeated(*value)
    raise GrammarError(f"GBNF has nothing like {kind} in a regex")


def _repeated(least: int, most: int, items: Sequence[Any]) -> str:
    if least > _MAX_REPEAT or (most != regex_parser.MAXREPEAT and most > _MAX_REPEAT):
        raise GrammarError(
            f"a repetition of {least} to {most} is more than the {_MAX_REPEAT} that GBNF counts"
        )
    bound = "" if most == regex_parser.MAXREPEAT else str(most)
    return f"({_regex(items)}){{{least},{bound}}}"


def _code(code_point: int) -> str:
    return f"\\x{code_point:02x}" if code_point < 256 else f"\\U{code_point:08x}"


def _characters(ranges: Iterable[tuple[int, int]]) -> str:
    return "[" + "".join(_code(a) + (f"-{_code(b)}" if b > a else "") for a, b in ranges) + "]"


def _ranges(kind: str, value: Any) -> list[tuple[int, int]]:
    """The code points of a class, ascending, never as what they are not.

    Where the bytes of a character are several tokens, llama.cpp refuses the first of them as soon as anything that
    begins so is excluded (llama_grammar_match_partial_char).
    """
    if kind != "IN":
        return _others([(10 if kind == "ANY" else value,) * 2])  # "." is any but a newline
    named = []
    for part, code in value:
        if str(part) not in ("NEGATE", "LITERAL", "RANGE"):
            raise GrammarError(f"GBNF has nothing like {part} {code} in a class of characters")
        if str(part) != "NEGATE":
            named.append((code, code) if str(part) == "LITERAL" else code)
    return _others(named) if str(value[0][0]) == "NEGATE" else sorted(named)


def _others(excluded: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges = []
    free = 0
    for first, last in sorted(excluded):
        if free < first:
            ranges.append((free, first - 1))
        free = max(free, last + 1)
    return [*ranges, (free, sys.maxunicode)] if free <= sys.maxunicode else ranges


def _alternatives(branches: list[list[Any]]) -> str:
    """As a tree of characters where they are plain texts: llama.cpp tries each alternative for every token."""
    if any(str(kind) != "LITERAL" for branch in branches for kind, _ in branch):
        return " | ".join(map(_regex, branches))
    return _tree(["".join(chr(code) for _, code in branch) for branch in branches])


def _tree(texts: Iterable[str]) -> str:
    after: dict[str, list[str]] = {}
    for text in texts:
        after.setdefault(text[:1], []).append(text[1:])
    branches = []
    for first, rests in after.items():
        rest = f" ({_tree(rests)})" if len(set(rests)) > 1 else f" {_literal(rests[0])}" if rests[0] else ""
        branches.append(f"{_literal(first)}{rest if first else ''}")
    return " | ".join(branches)


# -- lazy terminals -----------------------------------------------------------------------------------------------


def _until_separator(name: str, body: str) -> list[str]:
    """A lazy terminal `/[^...][^...]{0,n}?separator/`: it ends where its separator first stands.

    A rule for each place says how much of the separator stands before it (the automaton of Knuth, Morris and Pratt).
    """
    items = [(str(kind), value) for kind, value in _parsed(body.strip().strip("/"))]
    if [kind for kind, _ in items[1:2]] != ["MIN_REPEAT"] or {kind for kind, _ in items[2:]} != {"LITERAL"}:
        raise GrammarError(f"GBNF has nothing like the lazy terminal {body.strip()!r}")
    least, most, ((kind, characters),) = items[1][1]
    others = _others(_ranges(str(kind), characters))
    separator = "".join(chr(code) for _, code in items[2:])
    if least or any(a <= ord(c) <= b for a, b in others for c in separator):
        raise GrammarError(f"GBNF has nothing like the lazy terminal {body.strip()!r}")
    rules = [f"{name} ::= {_characters(_ranges(*items[0]))} {name}-1-0"]
    for n_seen in range(len(separator)):
        parts = [(ord(c), ord(c)) for c in {*separator} if _seen(separator, n_seen, c)]
        rules.append(f"{name}-other-{n_seen} ::= {_characters(_others([*others, *parts]))}")
    return rules + _places(name, separator, most + 1)


def _seen(separator: str, n_seen: int, character: str) -> int:
    """How much of the separator stands at the end when the character comes after its first `n_seen` ones."""
    text = separator[:n_seen] + character
    return next(n for n in range(len(text), -1, -1) if separator.startswith(text[len(text) - n :]))


def _places(name: str, separator: str, most: int) -> list[str]:
    """The rules `name-place-seen`, for texts of at most `most` characters before the separator."""
    rules = []
    states = {0}
    for place in range(1, most + len(separator)):
        following = set()
        for n_seen in sorted(states):
            steps = []
            after = {_seen(separator, n_seen, c): c for c in separator} | {0: ""}
            for n_after, character in after.items():
                if n_after == len(separator):
                    steps.append(_literal(character))
                elif place + 1 - n_after <= most:
                    step = _literal(character) if character else f"{name}-other-{n_seen}"
                    steps.append(f"{step} {name}-{place + 1}-{n_after}")
                    following.add(n_after)
            rules.append(f"{name}-{place}-{n_seen} ::= {' | '.join(steps)}")
        states = following
    return rules
