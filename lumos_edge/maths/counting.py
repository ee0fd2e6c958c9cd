"""How many elements a list has, also where `...` stands for some of them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import TypeAlias

from lumos_edge.errors import ToolError
from lumos_edge.maths.arithmetic import checked
from lumos_edge.maths.evaluation import evaluate
from lumos_edge.maths.formula import Constant, Formula, Listing, Operation
from lumos_edge.maths.printer import print_formula

_Progression: TypeAlias = Callable[[Fraction], int | None]
"""The place of a number, from 0, or `None` when it has none."""


def count(listing: Listing) -> Constant:
    """The number of elements.

    Once, `...` may stand for the elements of an arithmetic progression (`3, 7, ..., 99`) or else a geometric
    one (`1, 2, 4, ..., 64`); with one number before it, of a progression by steps of 1. Of powers with one base
    or one exponent (`2^0, 2^1, ..., 2^10`) that holds for the part in which they differ.

    Raises `ToolError` when the elements around `...` are no numbers of one progression, or it never ends.
    """
    if None not in listing.items:
        return Constant(Fraction(len(listing.items)))
    gap = listing.items.index(None)
    items = _varying(listing.items[:gap] + listing.items[gap + 1 :])
    numbers = [_number(item, listing) for item in items]
    before, after = numbers[:gap], numbers[gap:]
    if not before or not after:
        raise ToolError(f"`{print_formula(listing)}` needs numbers on both sides of `...`")
    for progression in (_arithmetic(before), _geometric(before)):
        places = [progression(number) for number in numbers]
        if _in_order(places, len(before)):
            return Constant(Fraction((places[-1] or 0) + 1))
    raise ToolError(f"`{print_formula(listing)}` is no arithmetic or geometric progression")


def _varying(items: tuple[Formula | None, ...]) -> tuple[Formula | None, ...]:
    """What differs between powers of one base or with one exponent, otherwise the items."""
    powers = [item for item in items if isinstance(item, Operation) and item.operator == "^"]
    if not powers or len(powers) < len(items):
        return items
    bases, exponents = tuple(power.left for power in powers), tuple(power.right for power in powers)
    if len(set(bases)) == 1:
        return exponents
    return bases if len(set(exponents)) == 1 else items


def _number(item: Formula | None, listing: Listing) -> Fraction:
    value = None if item is None else evaluate(item)
    if isinstance(value, Constant):
        return value.value
    found = "a second `...`" if value is None else f"`{print_formula(value)}`"
    raise ToolError(f"numbers are needed round `...` in `{print_formula(listing)}`, found {found}")


def _in_order(places: list[int | None], n_before: int) -> bool:
    """Whether the places run from 0 without a gap, but for one after the first `n_before`."""
    known = [place for place in places if place is not None]
    if len(known) < len(places) or known[0] != 0:
        return False
    steps = [right - left for left, right in pairwise(known)]
    return steps.pop(n_before - 1) >= 1 and all(step == 1 for step in steps)


def _arithmetic(before: list[Fraction]) -> _Progression:
    first = before[0]
    step = before[1] - first if len(before) > 1 else Fraction(1)

    def place(number: Fraction) -> int | None:
        index = (number - first) / step if step else Fraction(-1)
        return int(index) if index.denominator == 1 and index >= 0 else None

    return place


def _geometric(before: list[Fraction]) -> _Progression:
    if len(before) < 2 or 0 in before or abs(before[1]) == abs(before[0]):
        return lambda number: None
    ratio = before[1] / before[0]
    grows = abs(ratio) > 1

    def place(number: Fraction) -> int | None:
        member, index = before[0], 0
        while number and member != number:
            if (abs(member) > abs(number)) == grows:
                return None
            member, index = checked(member * ratio), index + 1
        return index if member == number else None

    return place
