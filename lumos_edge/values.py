"""The typed results of actions, and how each is shown to a module and to the user.

`str(value)` is that text; it is exact but for rows, of which it shows the first, and for pages, of which it is a
summary. `read_json(write_json(v)) == v`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, TypeAlias

from lumos_edge.knowledge.passage import Passage
from lumos_edge.maths.formula import Constant, Formula, Listing, Relation, Truth
from lumos_edge.maths.parser import parse
from lumos_edge.maths.printer import print_formula
from lumos_edge.quantities import comparable, read_operand


@dataclass(frozen=True)
class Number:
    """An exact rational number, shown as people write it: `72`, `0.25`, `1/3`."""

    value: Fraction

    def __str__(self) -> str:
        return print_formula(Constant(self.value))


@dataclass(frozen=True)
class Expression:
    """A formula with symbols, or a number that is not rational: `n^2 + 1`, `2*sqrt(2)`."""

    formula: Formula

    def __str__(self) -> str:
        return print_formula(self.formula)


@dataclass(frozen=True)
class Equation:
    """Two formulas that are equal."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return print_formula(Relation("=", self.left, self.right))


@dataclass(frozen=True)
class Interval:
    """What solves an inequality: `x > 3`, `x < -2 or x > 2`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Boolean:
    """`True` or `False`."""

    value: bool

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Text:
    """Words."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Items:
    """Several values in order, such as all the roots of an equation."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.items))


Cell: TypeAlias = str | int | float | None
"""A value of a database; floats are finite."""

_SHOWN_ROWS = 12
_SHOWN_CELL = 60


@dataclass(frozen=True)
class Rows:
    """What a query found. `is_cut`: there were more rows than the limit."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_cut: bool = False

    def __str__(self) -> str:
        """One line for a module, the first rows only: `4`, `Asia, Europe`, `(Asia, 51); (Europe, 46)`."""
        shown = [_row_text(row) for row in self.rows[:_SHOWN_ROWS]]
        rest = len(self.rows) - len(shown)
        if rest:
            shown.append(f"... ({len(self.rows):,}{' or more' if self.is_cut else ''} rows)")
        return ("; " if len(self.columns) > 1 else ", ").join(shown) or "no rows"


def _row_text(row: tuple[Cell, ...]) -> str:
    cells = [cell_text(cell).replace("\n", " ") for cell in row]
    shown = [cell if len(cell) <= _SHOWN_CELL else cell[:_SHOWN_CELL] + "..." for cell in cells]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def cell_text(cell: Cell) -> str:
    """A cell as text; NULL is shown as SQL writes it."""
    return "NULL" if cell is None else str(cell)


@dataclass(frozen=True)
class Passages:
    """Passages of a search, the best first; `others` are from the same articles and less relevant.

    Shown as their titles: a module that wants their words asks the reader.
    """

    passages: tuple[Passage, ...]
    others: tuple[Passage, ...] = ()

    def __str__(self) -> str:
        titles = dict.fromkeys(passage.title for passage in self.passages)
        return "; ".join(titles) or "no passages"


NO_ANSWER: Final = "No answer"
"""What a reader answers when there is none."""


@dataclass(frozen=True)
class Answer:
    """What a reader answered to a question, with the passages that support it.

    `trail` says how it was found: where the reader looked before, and what was left out.
    """

    text: str
    question: str
    passages: tuple[Passage, ...] = ()
    trail: tuple[str, ...] = ()

    @property
    def is_found(self) -> bool:
        """Whether there is an answer."""
        return self.text != NO_ANSWER

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class PageAction:
    """What was done on a page: CLICK, TYPE or SELECT, to the element of that id, with a text or an option.

    `among` are the elements that a model chose it from; there are none where the ranking was clear.
    """

    operation: str
    element_id: int
    element: str
    text: str = ""
    among: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operation} {self.element}" + (f": {self.text}" if self.text else "")


_MAX_PAGE = 300  # characters


@dataclass(frozen=True)
class Page:
    """A web page after an action; the first page has number 0, and no action led to it.

    Shown as a summary: its title, headings and forms. `screenshot` is the name of its picture's file.
    """

    number: int
    url: str
    title: str
    headings: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    done: PageAction | None = None
    screenshot: str = ""

    def __str__(self) -> str:
        parts = [self.title or self.url]
        if self.headings:
            parts.append(f"headings: {', '.join(self.headings)}")
        if self.forms:
            parts.append(f"forms: {', '.join(self.forms)}")
        text = "; ".join(parts)
        return text if len(text) <= _MAX_PAGE else text[:_MAX_PAGE] + "..."


Value: TypeAlias = (
    Number | Expression | Equation | Interval | Boolean | Text | Items | Rows | Passages | Answer | Page
)
"""What a result or an answer is; `str` of it is what a module reads."""

VALUE_TYPES: tuple[type[Value], ...] = (
    *(Number, Expression, Equation, Interval, Boolean),
    *(Text, Items, Rows, Passages, Answer, Page),
)


def value_of(formula: Formula) -> Value:
    """The value that an evaluated formula is."""
    if isinstance(formula, Constant):
        return Number(formula.value)
    if isinstance(formula, Truth):
        return Boolean(formula.value)
    if isinstance(formula, Relation) and formula.operator == "=":
        return Equation(formula.left, formula.right)
    if isinstance(formula, Listing):
        return Items(tuple(value_of(item) for item in formula.items if item is not None))
    return Expression(formula)


def formula_of(value: Value) -> Formula | None:
    """The formula that stands for a value inside another formula; None for what has none.

    An answer stands for the number, the year or the truth that is in it.
    """
    if isinstance(value, Answer):
        operand = read_operand(value.text)
        choices = None if operand is None else comparable([operand], exact_dates=False)
        return choices[0][0] if choices else None
    if isinstance(value, Number):
        return Constant(value.value)
    if isinstance(value, Boolean):
        return Truth(value.value)
    if isinstance(value, Equation):
        return Relation("=", value.left, value.right)
    if isinstance(value, Expression):
        return value.formula
    return None


def write_json(value: Value) -> dict[str, Any]:
    """`{"type": "Number", "text": "72"}`; items hold their own such objects, rows their cells, passages,
    answers and pages what they have.
    """
    if isinstance(value, Items):
        return {"type": "Items", "items": [write_json(item) for item in value.items]}
    if isinstance(value, Rows):
        rows = [list(row) for row in value.rows]
        return {"type": "Rows", "columns": list(value.columns), "rows": rows, "is_cut": value.is_cut}
    if isinstance(value, (Passages, Answer, Page)):
        return {"type": type(value).__name__, **asdict(value)}
    return {"type": type(value).__name__, "text": str(value)}


def read_json(data: dict[str, Any]) -> Value:
    """The inverse of `write_json`; raises KeyError, ValueError or ActionError for anything else."""
    kind = data["type"]
    if kind == "Items":
        return Items(tuple(read_json(item) for item in data["items"]))
    if kind == "Passages":
        return Passages(_read_passages(data["passages"]), _read_passages(data["others"]))
    if kind == "Answer":
        return Answer(
            data["text"], data["question"], _read_passages(data["passages"]), tuple(map(str, data["trail"]))
        )
    if kind == "Page":
        return _read_page(data)
    if kind == "Rows":
        return _read_rows(data)
    return _READERS[kind](data["text"])


def _read_rows(data: dict[str, Any]) -> Rows:
    rows = tuple(map(tuple, data["rows"]))
    cells = [cell for row in (data["columns"], *rows) for cell in row]
    if not all(cell is None or isinstance(cell, (str, int, float)) for cell in cells):
        raise ValueError("rows have cells of text, numbers and null only")
    return Rows(tuple(data["columns"]), rows, data["is_cut"])


def _read_passages(data: list[dict[str, Any]]) -> tuple[Passage, ...]:
    return tuple(Passage(p["title"], p["text"], p["pack"], p["source"]) for p in data)


def _read_page(data: dict[str, Any]) -> Page:
    done = data["done"]
    return Page(
        int(data["number"]),
        str(data["url"]),
        str(data["title"]),
        tuple(map(str, data["headings"])),
        tuple(map(str, data["forms"])),
        done if done is None else _read_page_action(done),
        str(data.get("screenshot", "")),
    )


def _read_page_action(data: dict[str, Any]) -> PageAction:
    among = tuple(map(str, data.get("among", ())))
    return PageAction(
        str(data["operation"]), int(data["element_id"]), str(data["element"]), str(data["text"]), among
    )


def _read_equation(text: str) -> Value:
    relation = parse(text, "calculation")
    if not isinstance(relation, Relation):
        raise ValueError(f"an equation was expected, {text!r} was found")
    return Equation(relation.left, relation.right)


_READERS: dict[str, Callable[[str], Value]] = {
    "Number": lambda text: Number(Fraction(text)),
    "Expression": lambda text: Expression(parse(text, "calculation")),
    "Equation": _read_equation,
    "Interval": Interval,
    "Boolean": lambda text: Boolean({"True": True, "False": False}[text]),
    "Text": Text,
}
