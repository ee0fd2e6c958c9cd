"""How the names of tables and columns are written inside a statement."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME = 80
"""Characters of the longest name that an action can hold."""

# Source: https://www.sqlite.org/lang_keywords.html, and the two that stand for numbers.
_KEYWORD_LIST = """
    abort action add after all alter always analyze and as asc attach autoincrement before begin between by cascade
    case cast check collate column commit conflict constraint create cross current current_date current_time
    current_timestamp database default deferrable deferred delete desc detach distinct do drop each else end escape
    except exclude exclusive exists explain fail filter first following for foreign from full generated glob group
    groups having if ignore immediate in index indexed initially inner insert instead intersect into is isnull join
    key last left like limit match materialized natural no not nothing notnull null nulls of offset on or order others
    outer over partition plan pragma preceding primary query raise range recursive references regexp reindex release
    rename replace restrict returning right rollback row rows savepoint select set table temp temporary then ties to
    transaction trigger unbounded union unique update using vacuum values view virtual when where window with without
    true false
"""
KEYWORDS = frozenset(_KEYWORD_LIST.split())
"""The words that SQLite takes for itself, in lower case."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def spell(name: str) -> str:
    """The name as a statement writes it: in double quotes where SQLite would take it for something else."""
    if _PLAIN.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return quote(name)


def quote(name: str) -> str:
    """The name in double quotes, which every name can stand in."""
    return '"' + name.replace('"', '""') + '"'


def unquote(spelled: str) -> str:
    """The name that is written so: the inverse of `spell`."""
    return spelled[1:-1].replace('""', '"') if spelled.startswith('"') else spelled


def is_speakable(name: str) -> bool:
    """Whether an action can hold the name: one short line that shows what it is, its parentheses balanced.

    An action ends with the first parenthesis too many, and invisible characters would make two names look alike.
    """
    if not 0 < len(name) <= MAX_NAME or name != name.strip():
        return False
    depth = 0
    for character in name:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0 or unicodedata.category(character)[0] == "C":
            return False
    return depth == 0
