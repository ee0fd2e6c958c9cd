"""Formulas: the tree, and the walks over it.

A formula is what stands between the parentheses of a maths action: `2 + 3*R1`, `R2 = x*y, R3 = x/y`,
`If R8 > 0, R8, -R8`. The tree is data: nothing here evaluates, and no text ever reaches `eval` or sympy.
`parser.py` and `printer.py` are the way from text and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, TypeVar

from lumos_edge.errors import ToolError, UndefinedResult

MAX_DEPTH: Final = 200
"""Levels of a tree: comparing, hashing and pickling trees recurse, and Python's stack has 1,000 frames."""

MAX_NODES: Final = 10_000
"""Nodes of a tree, each counted as often as it occurs."""

FUNCTIONS: Final[Mapping[str, tuple[int, int | None]]] = {
    "sqrt": (1, 1),
    "cbrt": (1, 1),
    "abs": (1, 1),
    "floor": (1, 1),
    "ceil": (1, 1),
    "round": (1, 2),
    "factorial": (1, 1),
    "log": (1, 2),
    "ln": (1, 1),
    "exp": (1, 1),
    "sin": (1, 1),
    "cos": (1, 1),
    "tan": (1, 1),
    "mod": (2, 2),
    "binomial": (2, 2),
    "gcd": (2, None),
    "lcm": (2, None),
    "min": (2, None),
    "max": (2, None),
    "sum": (1, None),
}
"""The known functions with their least and greatest number of arguments (`None`: no greatest)."""


@dataclass(frozen=True)
class Constant:
    """An exact rational number."""

    value: Fraction


@dataclass(frozen=True)
class Truth:
    """`True` or `False`."""

    value: bool


@dataclass(frozen=True)
class Symbol:
    """A variable such as `x`, or a named constant such as `pi`."""

    name: str


@dataclass(frozen=True)
class Reference:
    """The result of an earlier action, such as `R1`."""

    name: str


@dataclass(frozen=True)
class Negation:
    """`-operand`."""

    operand: Formula


@dataclass(frozen=True)
class Percent:
    """`operand%`, a hundredth of it."""

    operand: Formula


@dataclass(frozen=True)
class Operation:
    """`left operator right` with an operator out of `+ - * / ^`."""

    operator: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Relation:
    """`left operator right` with an operator out of `= != < <= > >=`; with `=` it is an equation."""

    operator: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Function:
    """A known function of its arguments, such as `sqrt(2)` or `gcd(4, 6)`."""

    name: str
    arguments: tuple[Formula, ...]


@dataclass(frozen=True)
class Application:
    """A result used as a function: `R1(R9)`, `R4(R5, R6)` by position, `R1(x=2)` by name."""

    callee: Formula
    arguments: tuple[Formula, ...]
    names: tuple[str | None, ...]


@dataclass(frozen=True)
class Conditional:
    """`If condition, then, otherwise`."""

    condition: Formula
    then: Formula
    otherwise: Formula


@dataclass(frozen=True)
class Listing:
    """Formulas separated by commas, with `None` where the text has `...`."""

    items: tuple[Formula | None, ...]


Formula: TypeAlias = (
    Constant
    | Truth
    | Symbol
    | Reference
    | Negation
    | Percent
    | Operation
    | Relation
    | Function
    | Application
    | Conditional
    | Listing
)

_T = TypeVar("_T")


def children(formula: Formula) -> tuple[Formula, ...]:
    """The formulas that `formula` is made of, in the order of the text."""
    match formula:
        case Negation(operand) | Percent(operand):
            return (operand,)
        case Operation(_, left, right) | Relation(_, left, right):
            return (left, right)
        case Function(_, arguments):
            return arguments
        case Application(callee, arguments):
            return (callee, *arguments)
        case Conditional(condition, then, otherwise):
            return (condition, then, otherwise)
        case Listing(items):
            return tuple(item for item in items if item is not None)
        case _:
            return ()


def rebuild(formula: Formula, parts: tuple[Formula, ...]) -> Formula:
    """`formula` with other `children`, as many as it has."""
    match formula:
        case Negation():
            return Negation(*parts)
        case Percent():
            return Percent(*parts)
        case Operation(operator):
            return Operation(operator, *parts)
        case Relation(operator):
            return Relation(operator, *parts)
        case Function(name):
            return Function(name, parts)
        case Application(_, _, names):
            return Application(parts[0], parts[1:], names)
        case Conditional():
            return Conditional(*parts)
        case Listing(items):
            rest = iter(parts)
            return Listing(tuple(None if item is None else next(rest) for item in items))
        case _:
            return formula


def fold(formula: Formula, combine: Callable[[Formula, tuple[_T, ...]], _T]) -> _T:
    """Combine every node with the results of its children, from the leaves up, without recursion."""
    pending = [(formula, False)]
    results: list[_T] = []
    while pending:
        node, ready = pending.pop()
        parts = children(node)
        if parts and not ready:
            pending.append((node, True))
            pending.extend((part, False) for part in reversed(parts))
            continue
        first = len(results) - len(parts)
        results[first:] = [combine(node, tuple(results[first:]))]
    return results[0]


def measure(formula: Formula, max_nodes: int = MAX_NODES) -> tuple[int, int]:
    """How many nodes and levels a tree has; counting stops when there are more than `max_nodes`."""
    pending = [(formula, 1)]
    n_nodes = depth = 0
    while pending and n_nodes <= max_nodes:
        node, level = pending.pop()
        n_nodes += 1
        depth = max(depth, level)
        pending.extend((part, level + 1) for part in children(node))
    return n_nodes, depth


def check_size(formula: Formula) -> Formula:
    """The formula itself; `ToolError` when it has more than `MAX_NODES` nodes or `MAX_DEPTH` levels."""
    n_nodes, depth = measure(formula)
    if n_nodes > MAX_NODES:
        raise ToolError(f"the formula has more than {MAX_NODES} parts, the most that are allowed")
    if depth > MAX_DEPTH:
        raise ToolError(f"the formula is {depth} levels deep, at most {MAX_DEPTH} are allowed")
    return formula


def walk(formula: Formula) -> Iterator[Formula]:
    """Every node, parents before their children, in order of appearance."""
    pending = [formula]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(children(node)))


def references(formula: Formula) -> tuple[str, ...]:
    """The names of the results that a formula uses, each once, in order of appearance."""
    return tuple(dict.fromkeys(node.name for node in walk(formula) if isinstance(node, Reference)))


def symbols(formula: Formula) -> tuple[str, ...]:
    """The free symbols (`pi` is none), each once, in order of appearance."""
    names = dict.fromkeys(node.name for node in walk(formula) if isinstance(node, Symbol))
    return tuple(name for name in names if name != "pi")


def in_position_order(names: Iterable[str]) -> tuple[str, ...]:
    """Symbols as positions stand for them: `R5, R6 = SolveEquation(...)` and `R4(R5, R6)` both mean x, then y.

    The order is the alphabet's, whatever the text had: evaluation reorders terms, so that the order of appearance in
    a value is not the one its author wrote. WolframAlpha, whom the paper's code asks, answers in this order too.
    """
    return tuple(sorted(names, key=lambda name: (name.lower(), name)))


def substitute(formula: Formula, values: Mapping[str, Formula]) -> Formula:
    """Put values in the place of references, in one pass: a reference inside a value stays.

    Raises `UndefinedResult` for a reference without a value, and `ToolError` when the whole grows larger
    than `MAX_NODES` or deeper than `MAX_DEPTH`.
    """

    def value_of(node: Formula, parts: tuple[Formula, ...]) -> Formula:
        if not isinstance(node, Reference):
            return rebuild(node, parts)
        if node.name in values:
            return values[node.name]
        known = ", ".join(values) or "none"
        raise UndefinedResult(f"{node.name} has not been set; the results so far: {known}")

    return check_size(fold(formula, value_of))


def assign(formula: Formula, values: Mapping[str, Formula]) -> Formula:
    """Put values in the place of free symbols, all at once; other symbols stay.

    Raises `ToolError` when the whole grows larger than `MAX_NODES` or deeper than `MAX_DEPTH`.
    """

    def value_of(node: Formula, parts: tuple[Formula, ...]) -> Formula:
        if isinstance(node, Symbol):
            return values.get(node.name, node)
        return rebuild(node, parts)

    return check_size(fold(formula, value_of))
