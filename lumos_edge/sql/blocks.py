"""Where a statement stands that is written so far: its SELECTs that are still open, the innermost last.

It is read again each time a part of its grammar is complete, so it holds what that grammar allows, and no more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

Clause = Literal["list", "from", "where", "group", "having", "order"]

_CLAUSES: dict[str, Clause] = {
    "FROM": "from",
    "WHERE": "where",
    "GROUP": "group",
    "HAVING": "having",
    "ORDER": "order",
}
_SET_OPERATIONS = frozenset({"UNION", "ALL", "INTERSECT", "EXCEPT"})
_TOKEN = re.compile(r"'(?:[^']|'')*'|\d[\d.]*|\"(?:[^\"]|\"\")*\"|[^\W\d]\w*|[<>=!]+|[^\s\w]")
_NO_NAME = frozenset({"SELECT", "DISTINCT", "AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL"})


@dataclass(frozen=True)
class Block:
    """One SELECT as far as it is written; names are spelled as the statement spells them.

    `n_columns` is how many columns its list must have (0: any), `is_compound` that it follows a set operation.
    `bare` are the columns that its list names without a table, `qualified` the tables that it names columns of.
    `tables` are those of its FROM clause. A fragment has no SELECT.
    """

    n_columns: int = 0
    is_compound: bool = False
    is_fragment: bool = False
    clause: Clause = "list"
    n_items: int = 0
    has_star: bool = False
    bare: frozenset[str] = frozenset()
    qualified: frozenset[str] = frozenset()
    tables: tuple[str, ...] = ()
    is_grouped: bool = False

    @property
    def counts_only(self) -> bool:
        """Its list is `COUNT(*)`: rows of any kind will do."""
        return self.n_items == 1 and not (self.bare or self.qualified or self.has_star)


def read_blocks(written: str) -> tuple[Block, ...]:
    """The open SELECTs of a statement up to here."""
    tokens = _TOKEN.findall(written)
    reader = _Reader(tokens, [] if tokens[:1] == ["SELECT"] else [Block(is_fragment=True, n_items=1)])
    for index in range(len(tokens)):
        reader.take(index)
    return tuple(reader.blocks)


def is_condition(fragment: str) -> bool:
    """Whether a fragment has no FROM of its own."""
    depth = 0
    for token in _TOKEN.findall(fragment):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token.upper() == "FROM":
            return False
    return True


@dataclass
class _Reader:
    tokens: list[str]
    blocks: list[Block]

    def __post_init__(self) -> None:
        self.is_select: list[bool] = []  # of each open parenthesis, whether a SELECT follows it

    def take(self, index: int) -> None:
        token = self.tokens[index]
        before, after = self._at(index - 1), self._at(index + 1)
        if token == "(":
            self.is_select.append(after == "SELECT")
        elif token == ")":
            if self.is_select.pop():
                self.blocks.pop()
        elif token == "SELECT":
            self._begin(before)
        elif token in _CLAUSES:
            self._change(clause=_CLAUSES[token], is_grouped=self.blocks[-1].is_grouped or token == "GROUP")
        elif self.blocks[-1].clause == "list":
            self._take_item(token, before, after)
        elif before in ("FROM", "JOIN"):
            self._change(tables=(*self.blocks[-1].tables, token))

    def _at(self, index: int) -> str:
        return self.tokens[index] if 0 <= index < len(self.tokens) else ""

    def _change(self, **fields: object) -> None:
        self.blocks[-1] = replace(self.blocks[-1], **fields)  # type: ignore[arg-type]

    def _begin(self, before: str) -> None:
        if before in _SET_OPERATIONS:
            self.blocks[-1] = Block(n_columns=self.blocks[-1].n_items, is_compound=True, n_items=1)
            return
        is_value = bool(self.blocks) and self.blocks[-1].clause != "from"
        self.blocks.append(Block(n_columns=int(is_value), n_items=1))

    def _take_item(self, token: str, before: str, after: str) -> None:
        block = self.blocks[-1]
        if token == "," and not any(self._open_calls()):
            self._change(n_items=block.n_items + 1)
        elif token == "*" and before in ("SELECT", "DISTINCT"):
            self._change(has_star=True)
        elif block.is_fragment and (set(token) <= set("<>=!") or token in _NO_NAME - {"DISTINCT"}):
            self._change(clause="where")  # it was no list, but a condition
        elif _is_name(token) and before != "." and after != "(" and token not in _NO_NAME:
            names = (
                {"qualified": block.qualified | {token}} if after == "." else {"bare": block.bare | {token}}
            )
            self._change(**names)

    def _open_calls(self) -> list[bool]:
        """The parentheses that are open inside the innermost SELECT."""
        reversed_until_select = []
        for is_select in reversed(self.is_select):
            if is_select:
                break
            reversed_until_select.append(True)
        return reversed_until_select


def _is_name(token: str) -> bool:
    return token[0] == '"' or token[0] == "_" or token[0].isalpha()
