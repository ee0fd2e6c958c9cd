"""Answers as a terminal shows them: rows as a table, and the passages that support them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lumos_edge.knowledge.passage import Passage
    from lumos_edge.values import Cell, Rows, Value

_MAX_ROWS = 100
_MAX_WIDTH = 60


def answer_text(value: Value) -> str:
    """A value as text; rows are a table of at most 100 of them, but for a single cell. `--json` has them all."""
    from lumos_edge.values import Rows

    return _table(value) if isinstance(value, Rows) else str(value)


def source_text(passage: Passage) -> str:
    """A passage with its title and its pack."""
    return f"{_plain(passage.title)} ({passage.pack}):\n{plain_lines(passage.text)}"


def plain_lines(text: str) -> str:
    """The text in its lines, without what would control a terminal."""
    return "\n".join(map(_plain, text.splitlines()))


def _table(rows: Rows) -> str:
    if len(rows.columns) == len(rows.rows) == 1:
        return _plain(rows.rows[0][0])
    lines = [tuple(map(_short, rows.columns)), *(tuple(map(_short, row)) for row in rows.rows[:_MAX_ROWS])]
    widths = [max(len(line[index]) for line in lines) for index in range(len(rows.columns))]
    printed = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    ]
    printed.insert(1, "  ".join("-" * width for width in widths))
    more = "at least " if rows.is_cut else ""
    if len(rows.rows) > _MAX_ROWS or rows.is_cut:
        printed.append(f"({_MAX_ROWS} of {more}{len(rows.rows):,} rows)")
    return "\n".join(line.rstrip() for line in printed)


def _short(cell: Cell) -> str:
    text = _plain(cell)
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 3] + "..."


def _plain(cell: Cell) -> str:
    """Its text without what would control a terminal: rows come from a file that anybody may have written."""
    from lumos_edge.values import cell_text

    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" else c for c in cell_text(cell))
