"""Words as the index sees them: lower case, without accents, letters and digits only.

The same as SQLite's tokenizer `unicode61 remove_diacritics 2` for what people write; where the two differ (rare
signs) a word is only weighted less well.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator

_WORD = re.compile(r"[^\W_]+")
_ARTICLE = re.compile(r"^(?:the|an|a) (?=.)")
_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")
_ENGLISH = """
a about am an and any are as at be been being but by can could did do does for from had has have he her his how if in
into is it its many may might much must of on or s shall she should some than that the their them there these they this
those to was were what when where which who whom whose why will with would
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())


def fold(text: str) -> str:
    """Lower case without accents."""
    return _without_accents(text.lower())


class _Accents(dict[int, int | None]):
    """For `str.translate`: each sign itself, an accent nothing; filled as signs are met (there are 900 accents)."""

    def __missing__(self, sign: int) -> int | None:
        self[sign] = None if unicodedata.combining(chr(sign)) else sign
        return self[sign]


_ACCENTS = _Accents()


def _without_accents(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFD", text).translate(_ACCENTS)


# Of ASCII: lower case, and a space for what is neither a letter nor a digit.
_ASCII = bytes(
    code if (code := ord(chr(n).lower())) < 128 and chr(code).isalnum() else 32 for n in range(128)
) + bytes(128)


def words(text: str) -> list[str]:
    """The words of a text, folded, in order."""
    if text.isascii():  # the same in a quarter of the time
        return text.encode().translate(_ASCII).decode().split()
    return _WORD.findall(fold(text))


def asked_words(query: str) -> dict[str, bool]:
    """The words to search for, in order, and whether each is written as a part of a name, with a capital.

    That of a sentence's first word says nothing. Function words of English are left out where others are left, unless
    they are parts of names, as in "Who is Will Smith?".
    """
    written = _WORD.findall(_without_accents(query))
    is_sentence = any(word[0].islower() for word in written)
    found: dict[str, bool] = {}
    for i, word in enumerate(written):
        is_name = word[0].isupper() and not (is_sentence and i == 0)
        found[word.lower()] = found.get(word.lower(), False) or is_name
    telling = {word: is_name for word, is_name in found.items() if is_name or word not in _FUNCTION_WORDS}
    return telling or found


def name_key(name: str) -> str:
    """Names that differ in case, accents, spaces or punctuation have the same key."""
    return " ".join(words(name)) or name.strip().lower()


def without_qualifier(title: str) -> str:
    """`Mercury (planet)` is `Mercury`."""
    return _QUALIFIER.sub("", title) or title


def name_keys(name: str) -> Iterator[str]:
    """The keys under which to look for a name, the likeliest first: as it is, without `the`, `Caesar, Julius`
    turned round, without its qualifier, in the singular and the plural.
    """
    key = name_key(name)
    yield key
    yield _ARTICLE.sub("", key)
    last, comma, first = name.partition(",")
    if comma:
        yield name_key(f"{first} {last}")
    yield name_key(without_qualifier(name))
    bare = _ARTICLE.sub("", key)
    yield from (bare.removesuffix("s"), bare.removesuffix("es"), f"{bare}s")


def inflections(word: str) -> set[str]:
    """What an English word may look like elsewhere: `kids` also `kid`; `carried` also `carry`, `carries`, `carrying`.

    Rules of endings, without a list of exceptions: what no passage contains costs one look-up and is dropped. On
    StrategyQA they find as much as an index of Porter stems does, and the index stays that of any language.
    """
    return {form for stem in _stems(word) for form in _forms(stem)} | {word}


def _stems(word: str) -> Iterator[str]:
    yield word
    if word.endswith(("ies", "ied")):
        yield f"{word[:-3]}y"
    if not word.endswith("ss"):
        yield from (
            word[: -len(ending)] for ending in ("s", "es", "ly") if len(word) > 4 and word.endswith(ending)
        )
    for ending in ("ed", "ing", "er", "est"):
        stem = word.removesuffix(ending)
        if len(word) - len(ending) >= 3 and stem != word:
            yield from (stem, f"{stem}e")
            if stem[-1] == stem[-2]:
                yield stem[:-1]


def _forms(stem: str) -> Iterator[str]:
    yield stem
    yield from (stem + ending for ending in ("s", "es", "ed", "ing", "ly", "er", "ers"))
    if stem.endswith("e"):
        yield from (f"{stem}d", f"{stem}r", f"{stem}rs", f"{stem[:-1]}ing")
    elif stem.endswith("y"):
        yield from (f"{stem[:-1]}ies", f"{stem[:-1]}ied")
    elif not stem.endswith(("a", "i", "o", "u", "w", "x")):
        yield from (f"{stem}{stem[-1]}{ending}" for ending in ("ed", "ing"))


def misspellings(word: str) -> set[str]:
    """What a word may have been meant to be: a letter lost, added, changed, or in another place (n^2 + 50 n words)."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    lost = {head + tail[1:] for head, tail in cuts if tail}
    letters = string.ascii_lowercase
    changed = {head + letter + tail[1:] for head, tail in cuts if tail for letter in letters}
    added = {head + letter + tail for head, tail in cuts for letter in letters}
    moved = {
        rest[:place] + word[i] + rest[place:]
        for i in range(len(word))
        for rest in [word[:i] + word[i + 1 :]]
        for place in range(len(word))
    }
    return (lost | changed | added | moved) - {word, ""}
