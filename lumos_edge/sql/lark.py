"""The grammar of a statement, made of the schema and of what is written of it.

SQL names columns before the tables that they are of, so a statement is decoded in parts: each column of the list,
then each table of the FROM clause, then clause by clause, where the tables in scope are known. A part names only what
leads to a statement that SQLite accepts: the columns of a list have tables in common, FROM has the tables that the
list names, both sides of a set operation are equally wide, a SELECT that stands for values has one column.

What is left out of SQL: aliases, correlated and derived tables (but for counting rows), CASE, windows, aggregates in
HAVING or ORDER BY without GROUP BY, ordering a set operation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from lumos_edge.sql.blocks import Block, read_blocks
from lumos_edge.sql.names import spell
from lumos_edge.sql.schema import Schema, Table

MAX_DEPTH = 3
"""SELECTs inside one another."""

MAX_JOINED = 5
"""Tables of one FROM clause."""

_MAX_ITEMS = 8
_NEXT = '(", " {0}){{0,3}}'

# The lexer takes the longest match and does not go back: a terminal that begins as another one does would hide it. So
# what may stand where " DISTINCT" may has the space in its own terminal, and DISTINCT is one beside the columns.
# In a text, parentheses are balanced: an action ends with the first one too many.
_CHARACTER = r"([^'()\n\p{C}]|'')"
_TERMINALS = rf"""
AGGREGATE: /(COUNT|SUM|AVG|MIN|MAX)\(/
DISTINCT: /DISTINCT /
FUNCTION: /(ABS|LENGTH|LOWER|UPPER)\(/
DATE_PART: /STRFTIME\('%[Ymd]', /
DIGIT: /[0-4]/
OPERATOR: / [-+*\/]/
RELATION: / (=|!=|<|>|<=|>=) /
LIKE: / (NOT )?LIKE /
BETWEEN: / (NOT )?BETWEEN /
MEMBER: / (NOT )?IN \(/
NULL: / IS (NOT )?NULL/
NESTED: / (=|!=|<|>|<=|>=|IN|NOT IN) \(SELECT/
JOINER: / (AND|OR) /
JOIN: / (LEFT )?JOIN/
LIMIT: / LIMIT [1-9][0-9]{{0,3}}/
DIRECTION: / (ASC|DESC)/
SETS: / (UNION( ALL)?|INTERSECT|EXCEPT) SELECT/
AGGREGATE_AFTER: / (COUNT|SUM|AVG|MIN|MAX)\(/
CALL_AFTER: / ((ABS|LENGTH|LOWER|UPPER)\(|STRFTIME\('%[Ymd]', )/
NUMBER_AFTER: / -?[0-9]{{1,12}}(\.[0-9]{{1,6}})?/
NUMBER: /-?[0-9]{{1,12}}(\.[0-9]{{1,6}})?/
TEXT: /'{_CHARACTER}{{0,80}}(\({_CHARACTER}{{0,40}}\){_CHARACTER}{{0,40}})?'/
value: NUMBER | TEXT
"""


class StatementGrammar:
    """The parts of the statements that fit a schema."""

    def __init__(self, schema: Schema) -> None:
        self._tables = {spell(table.name): table for table in schema.tables}
        self._joins: dict[tuple[str, str], list[str]] = {}
        for join in sorted(schema.joins, key=str):
            ends = (spell(join.table), spell(join.target))
            pair = f"{ends[0]}.{spell(join.column)} = {ends[1]}.{spell(join.target_column)}"
            self._joins.setdefault(ends, []).append(pair)
        everything = [*_bare(self._tables.values()), *self._qualified(self._tables)]
        self._any_column = _pattern(everything)
        self._first_part = self._first()

    def part(self, written: str) -> str:
        """The rules of the next part, from `argument` on; where the statement is whole they use `argument_end`."""
        if not written:
            return self._first_part
        blocks = read_blocks(written)
        if blocks[-1].clause == "list":
            rules = self._list("argument", blocks[-1], written.rpartition(" ")[2])
        elif blocks[-1].clause == "from":
            rules = [*self._from(blocks), *self._levels(blocks)]
        else:
            rules = [f"argument: rest_{len(blocks) - 1}", *self._levels(blocks)]
        return "\n".join(rules) + _TERMINALS

    def _first(self) -> str:
        fragment = Block(is_fragment=True, n_items=1)
        rules = [
            'argument: "SHOW TABLES" argument_end | "DESCRIBE " TABLE argument_end | "SELECT" list | fragment',
            _choice("TABLE", self._tables),
            f"fragment: measure ({_after_item(fragment)} | OPERATOR) | conditions_0",
            *self._list("list", Block(n_items=1), "SELECT"),
            *self._level((_condition_fragment(fragment),), 0),
        ]
        return "\n".join(rules) + _TERMINALS

    # -- the list of columns --------------------------------------------------------------------------------------

    def _list(self, rule: str, block: Block, before: str) -> list[str]:
        """One term, up to what comes after it; columns of two terms must fit each other, so each is a part.

        `before` is the last word that is written: an operator, or else the end of an item or `SELECT`.
        """
        is_operand = before in ("-", "+", "*", "/")
        is_first = before.endswith("SELECT")
        distinct = '" DISTINCT"? ' if is_first else ""
        star = f' | {distinct} " * FROM"' if is_first and not block.n_columns else ""
        after = _after_item(block)
        item = f"(term | NUMBER_AFTER) {after}" if is_operand else f"term ({after} | OPERATOR)"
        columns = self._list_columns(block)
        return [
            f"{rule}: {distinct}{item}{star}",
            'term: COLUMN_AFTER | " COUNT(*)" | " ROUND(" measure (", " DIGIT)? ")" | CALL_AFTER COLUMN ")"'
            ' | AGGREGATE_AFTER DISTINCT? COLUMN ")"',
            f"measure: {_aggregates('COLUMN')} | {_operands('COLUMN')}",
            f"COLUMN: /{columns}/",
            f"COLUMN_AFTER: / ({columns})/",
        ]

    def _list_columns(self, block: Block) -> str:
        if block.bare:
            return _pattern(_bare(self._homes(block).values()))
        if block.qualified:
            is_full = len(block.qualified) >= MAX_JOINED
            return _pattern(self._qualified(block.qualified if is_full else self._tables))
        return self._any_column

    def _homes(self, block: Block) -> dict[str, Table]:
        """The tables that have all the columns which the list names without a table."""
        return {name: table for name, table in self._tables.items() if block.bare <= {*_bare([table])}}

    def _qualified(self, tables: Iterable[str]) -> list[str]:
        return [f"{name}.{spell(column.name)}" for name in tables for column in self._tables[name].columns]

    # -- FROM -----------------------------------------------------------------------------------------------------

    def _from(self, blocks: Sequence[Block]) -> list[str]:
        """The next table of the innermost FROM clause, joined where it is not the first, and what comes after it."""
        block, level = blocks[-1], len(blocks) - 1
        may_follow: dict[str, list[str]] = {}
        rules = []
        for index, name in enumerate(sorted(self._next_tables(block))):
            joined = (*block.tables, name)
            is_whole = block.qualified <= {*joined}
            may_join = bool(self._next_tables(block, joined))
            after = f"(JOIN | after_from_{level})" if is_whole and may_join else ""
            after = after or (f"after_from_{level}" if is_whole else "JOIN")
            condition = ""
            if block.tables:
                condition = f'" ON " on_{index}'
                rules += self._on(index, name, block.tables)
            may_follow.setdefault(after, []).append(f"{_literal(' ' + name)} {condition}")
        alternatives = [f"({' | '.join(names)}) {after}" for after, names in may_follow.items()]
        if block.counts_only and not block.tables and len(blocks) < MAX_DEPTH:
            alternatives.append('" (SELECT"')
        return [f"argument: {' | '.join(alternatives)}", *rules]

    def _next_tables(self, block: Block, joined: tuple[str, ...] | None = None) -> set[str]:
        """The tables that may be named next, so that all those which the list needs still can."""
        joined = block.tables if joined is None else joined
        if not joined and block.bare:
            return {*self._homes(block)}
        needed = {*block.qualified} - {*joined}
        if len(joined) + len(needed) >= MAX_JOINED:
            return {*needed}
        if not joined and not needed:
            return {*self._tables}
        near = {target for name, target in self._joins if name in (joined or needed)} - {*joined}
        return needed | {name for name in near if not block.bare & {*_bare([self._tables[name]])}}

    def _on(self, index: int, name: str, tables: tuple[str, ...]) -> list[str]:
        """What joins a table to those before it; any two columns where the schema knows of nothing better."""
        pairs = [
            pair
            for other in tables
            for ends in ((name, other), (other, name))
            for pair in self._joins.get(ends, ())
        ]
        if pairs:
            return [f"on_{index}: {' | '.join(map(_literal, pairs))}"]
        return [
            f'on_{index}: ONE_{index} " = " OTHER_{index}',
            _choice(f"ONE_{index}", self._qualified([name])),
            _choice(f"OTHER_{index}", self._qualified(tables)),
        ]

    # -- clauses of which the tables are known --------------------------------------------------------------------

    def _levels(self, blocks: Sequence[Block]) -> list[str]:
        return [rule for level in range(len(blocks)) for rule in self._level(blocks, level)]

    def _level(self, blocks: Sequence[Block], level: int) -> list[str]:
        """The rules of what is still to come in the block of that level, and after it in those around it."""
        block = blocks[level]
        close = "argument_end" if level == 0 else f'")" resume_{level - 1}'
        rules = [f"close_{level}: {close}"]
        if block.clause == "from":
            # Around another SELECT it is the FROM of a count of that one's rows.
            return [
                *rules,
                f"after_from_{level}: {' | '.join(_after(block, level))}",
                f"resume_{level}: close_{level}",
            ]
        column = f"COLUMN_{level}"
        rules += [
            _choice(column, self._in_scope(block)),
            f"after_{level}: {' | '.join(_after(block, level))}",
        ]
        if block.clause in ("where", "having"):
            return [*rules, *_conditions(block, level, len(blocks))]
        if block.clause == "group":
            return [*rules, f'rest_{level}: " " {column} {_NEXT.format(column)} after_{level}']
        aggregates = f"{_aggregates(column)} | " if block.is_grouped else ""
        key = f"key_{level}"
        return [
            *rules,
            f'rest_{level}: " " {key} {_NEXT.format(key)} after_{level}',
            f"{key}: ({aggregates}{column}) DIRECTION?",
        ]

    def _in_scope(self, block: Block) -> list[str]:
        """The columns of the FROM clause: with their table, and without where that is not ambiguous."""
        if not block.tables:
            return self._qualified(self._tables)
        bare = [name for table in block.tables for name in _bare([self._tables[table]])]
        lower = [name.lower() for name in bare]
        return [
            *(name for name in bare if lower.count(name.lower()) == 1),
            *self._qualified(block.tables),
        ]


def _condition_fragment(fragment: Block) -> Block:
    return Block(is_fragment=fragment.is_fragment, clause="where")


def _after_item(block: Block) -> str:
    is_last = block.n_items == (block.n_columns or _MAX_ITEMS)
    if block.n_columns and not is_last:
        return '","'
    return '" FROM"' if is_last else '("," | " FROM")'


def _after(block: Block, level: int) -> list[str]:
    """What may come after the block's clause."""
    clauses = ["from", "where", "group", "having", "order"]
    position = clauses.index(block.clause)
    if block.is_fragment and not block.tables and position > 0:  # a condition alone
        return [f"close_{level}"]
    found = [f"close_{level}"]
    found += ['" WHERE"'] if position < 1 else []
    found += ['" GROUP BY"'] if position < 2 else []
    found += ['" HAVING"'] if position == 2 else []
    if not block.is_compound:
        found += ['" ORDER BY"'] if position < 4 else []
        found.append(f"LIMIT close_{level}")
    if position < 4 and not (block.has_star or block.is_fragment):
        found.append("SETS")
    return found


def _conditions(block: Block, level: int, n_blocks: int) -> list[str]:
    """Conditions up to what comes after them, or up to a SELECT inside one."""
    column = f"COLUMN_{level}"
    aggregates = f"{_aggregates(column)} | " if block.clause == "having" else ""
    nested = f" | operand_{level} NESTED" if level + 1 < MAX_DEPTH else ""
    simple, operand = f"simple_{level}", f"operand_{level}"
    return [
        f'rest_{level}: " " conditions_{level}',
        f"resume_{level}: JOINER conditions_{level} | after_{level}",
        f"conditions_{level}: (condition_{level} JOINER){{0,5}} (condition_{level} after_{level}{nested})",
        f'condition_{level}: {simple} | "(" {simple} (JOINER {simple}){{1,3}} ")"',
        f'{simple}: {operand} (RELATION (value | {column}) | LIKE TEXT | BETWEEN value " AND " value'
        f' | MEMBER value (", " value){{0,7}} ")" | NULL)',
        f"{operand}: {aggregates}{_operands(column)}",
    ]


def _aggregates(column: str) -> str:
    return f'"COUNT(*)" | AGGREGATE DISTINCT? {column} ")"'


def _operands(column: str) -> str:
    return f'{column} | FUNCTION {column} ")" | DATE_PART {column} ")"'


def _bare(tables: Iterable[Table]) -> list[str]:
    return [spell(column.name) for table in tables for column in table.columns]


def _choice(terminal: str, spellings: Iterable[str]) -> str:
    """One terminal for all the spellings: a hundred times cheaper than as many terminals."""
    return f"{terminal}: /{_pattern(spellings)}/"


def _pattern(spellings: Iterable[str]) -> str:
    return "|".join(map(_escape, sorted({*spellings})))


def _escape(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else f"\\x{{{ord(c):x}}}" for c in text)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
