"""Eleven tasks in the shop, each as the actions that a grounder writes, and what the last page says."""

from __future__ import annotations

from collections.abc import Iterator

from lumos_edge.actions import parse_actions
from lumos_edge.engine import Sampling
from lumos_edge.executor import Executor
from lumos_edge.reader import Reader
from lumos_edge.templates import LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Result, Task
from lumos_edge.values import Value
from lumos_edge.web.site import Site
from tests.scripted import ScriptedEngine

TASKS: dict[str, tuple[tuple[str, ...], str]] = {
    "search": (
        (
            "TYPE(Env, QUERY: Type lamp to search the shop, TEXT: lamp)",
            "CLICK(R1, QUERY: Click the search button)",
        ),
        "3 results for lamp",
    ),
    "filter by kind": (
        (
            "CLICK(Env, QUERY: Click the search button)",
            "SELECT(R1, QUERY: Choose chairs as the kind, TEXT: chairs)",
            "CLICK(R2, QUERY: Apply the filters)",
        ),
        "1 results for",
    ),
    "filter by price": (
        (
            "TYPE(Env, QUERY: Search the shop for table, TEXT: table)",
            "CLICK(R1, QUERY: Search)",
            "CLICK(R2, QUERY: At most 100 euros)",
            "CLICK(R3, QUERY: Order by price)",
            "CLICK(R4, QUERY: Apply filters)",
        ),
        "0 results for table",
    ),
    "add to the basket": (
        ("CLICK(Env, QUERY: Add the desk lamp to the basket)",),
        "Basket: 30 euros",
    ),
    "fill and empty the basket": (
        (
            "CLICK(Env, QUERY: Add the oak table to the basket)",
            "CLICK(R1, QUERY: Empty the basket)",
            "CLICK(R2, QUERY: Open the basket)",
        ),
        "Basket: 0 euros",
    ),
    "log in": (
        (
            "CLICK(Env, QUERY: Log in)",
            "TYPE(R1, QUERY: Type Ann as the name, TEXT: Ann)",
            "TYPE(R2, QUERY: Type the password, TEXT: sesame)",
            "CLICK(R3, QUERY: Log in now)",
        ),
        "Welcome",
    ),
    "log in with a wrong password": (
        (
            "CLICK(Env, QUERY: Log in)",
            "TYPE(R1, QUERY: name, TEXT: Ann)",
            "TYPE(R2, QUERY: password, TEXT: open)",
            "CLICK(R3, QUERY: Log in now)",
        ),
        "Wrong password",
    ),
    "choose a delivery day": (
        (
            "CLICK(Env, QUERY: Choose the delivery day)",
            "SELECT(R1, QUERY: Choose Friday as the week day, TEXT: Friday)",
            "TYPE(R2, QUERY: Leave a note, TEXT: ring twice (please))",
            "CLICK(R3, QUERY: Save the day)",
        ),
        "Delivered on Friday 11 December",
    ),
    "choose a date": (
        (
            "CLICK(Env, QUERY: delivery day)",
            "TYPE(R1, QUERY: Type the date, TEXT: 2026-12-24)",
            "CLICK(R2, QUERY: Save day)",
        ),
        "Delivered on 2026-12-24",
    ),
    "pick a day that a script shows": (
        (
            "CLICK(Env, QUERY: delivery day)",
            "CLICK(R1, QUERY: Open the calendar)",
            "CLICK(R2, QUERY: Pick 24 December)",
        ),
        "Delivered on 2026-12-24",
    ),
    "look at the details": (
        (
            "CLICK(Env, QUERY: Open the page of the oak table)",
            "CLICK(R1, QUERY: Show the technical details)",
            "CLICK(R2, QUERY: See all tables)",
            "CLICK(R3, QUERY: Add the garden table to the basket)",
        ),
        "Basket: 120 euros",
    ),
}


def choosing(*numbers: int) -> Reader:
    """A reader that chooses the lines of these numbers, one after the other."""
    engine = ScriptedEngine(*(f"Answer: {number}" for number in numbers))
    return Reader(engine, LumosTemplate("eval", "", ""), Sampling(), 8)


def run(site: Site, actions: tuple[str, ...]) -> Iterator[Result]:
    """The results of the actions, as an executor gets them."""
    executor = Executor(Toolbox.of_packs(["web"], [site, choosing(*[1] * len(actions))]))
    bindings: dict[str, Value] = {}
    for number, call in enumerate(actions, 1):
        (action,) = parse_actions(f"R{number} = {call}")
        result = executor.execute(action, bindings, Task("any"))
        yield result
        bindings |= dict(zip(action.targets, result.values, strict=False))
