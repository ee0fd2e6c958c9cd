"""Recorded runs, and running them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from lumos_edge import trace
from lumos_edge.agent import Agent, Budget
from lumos_edge.errors import BudgetExceeded, ToolPackError, TraceError
from lumos_edge.functions import tool_of
from lumos_edge.templates import LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Finished, Task
from tests.scripted import ScriptedEngine

TEXTS = (
    "Subgoal 1: Calculate the number of rows.",
    "R1 = Calculator(1 / 0)",
    "R1 = Calculator(3 * 40)",
    "No, I will keep planning. Subgoal 2: Calculate the rows of beans.",
    "R2 = Calculator(R1 / 2)",
    "Yes, I will stop planning.",
)
MODEL: dict[str, Any] = {"name": "scripted", "base": "none", "adapters": {}, "n_ctx": 0}


def recorded(file: Path, *texts: str, budget: Budget | None = None) -> Any:
    """Record a run of these texts; returns its trajectory."""
    template = LumosTemplate("eval", "", "")
    agent = Agent(
        ScriptedEngine(*texts),
        template,
        template,
        Toolbox.of_packs(["maths"]),
        formulation="iterative",
        budget=budget,
    )
    finished = None
    with file.open("w", encoding="utf-8") as lines:

        def keep(record: dict[str, Any]) -> None:
            lines.write(json.dumps(record) + "\n")

        try:
            for event in trace.record(agent, Task("How many rows are beans?"), MODEL, keep):
                finished = event.trajectory if isinstance(event, Finished) else None
        except BudgetExceeded:
            pass
    return finished


def test_replay_gives_the_same_trajectory_without_a_model(tmp_path: Path) -> None:
    trajectory = recorded(tmp_path / "run.jsonl", *TEXTS)
    read = trace.read(tmp_path / "run.jsonl")
    assert read.trajectory == trajectory
    assert [item.completion.text for item in read.completions] == list(TEXTS)
    assert trace.replay(read) == trajectory
    assert str(trajectory.answer) == "60"


def test_a_run_that_its_budget_ended_replays_too(tmp_path: Path) -> None:
    trajectory = recorded(tmp_path / "run.jsonl", *TEXTS[:3], budget=Budget(max_actions=1))
    assert trajectory.error == "TooManyActions"
    assert trace.replay(trace.read(tmp_path / "run.jsonl")) == trajectory


def test_a_changed_record_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    recorded(file, *TEXTS)
    file.write_text(file.read_text().replace("Calculator(3 * 40)", "Calculator(3 * 41)"))
    with pytest.raises(TraceError, match="leaves the record"):
        trace.replay(trace.read(file))


def test_a_record_that_ends_early_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    recorded(file, *TEXTS)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:3]))
    read = trace.read(file)
    assert read.trajectory is None
    with pytest.raises(TraceError, match="no further completion"):
        trace.replay(read)


def test_the_first_difference_of_another_run_is_found(tmp_path: Path) -> None:
    recorded(tmp_path / "run.jsonl", *TEXTS)
    read = trace.read(tmp_path / "run.jsonl")
    other = list(TEXTS)
    other[4] = "R2 = Calculator(R1 / 4)"
    trajectory, difference = trace.replay_live(read, ScriptedEngine(*other))
    assert str(trajectory.answer) == "30"
    assert difference == trace.Difference(4, "grounder", TEXTS[4], other[4])
    same, none = trace.replay_live(read, ScriptedEngine(*TEXTS))
    assert (same, none) == (read.trajectory, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there is no run record"),
        ("{}", "record 1 is not of a run"),
        ("not json", "line 1: no JSON"),
        ('{"record": "run", "question": 5}', "there is no run record"),
        ('{"record": "completion", "module": "planner"}', "record 1 is not of a run"),
        ("\x00\xff", "no record"),
    ],
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(content, "latin-1")
    with pytest.raises(TraceError, match=message if content != "\x00\xff" else "cannot be read"):
        trace.read(file)


def test_a_run_record_that_describes_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text('{"record": "run", "question": "x", "tools": []}')
    with pytest.raises(TraceError, match="first line does not describe a run"):
        trace.replay(trace.read(file))


SHELF_PACK = """
from fractions import Fraction
from lumos_edge.toolbox import Resource, tool
from lumos_edge.values import Number

class Shelf(Resource):
    wanted = "a shelf"
    pages = {"Ulysses": 730}

@tool
def PagesOf(title: str, shelf: Shelf) -> Number:
    "Count the pages of a book"
    return Number(Fraction(shelf.pages[title]))
"""


def test_a_replay_needs_no_resource(tmp_path: Path) -> None:
    """What a tool found in a library or a database is in the trace; the pack's own file is all that is loaded."""
    pack = tmp_path / "shelf.py"
    pack.write_text(SHELF_PACK)
    tools = Toolbox.of_packs(["maths", pack]).tools
    shelf = next(iter(tools["PagesOf"].resources.values()))()
    template = LumosTemplate("eval", "", "")
    engine = ScriptedEngine("Subgoal 1: Look the pages up.", "R1 = PagesOf(Ulysses); R2 = Calculator(R1 / 2)")
    agent = Agent(engine, template, template, Toolbox(tools.values(), ("maths", pack), resources=[shelf]))
    records: list[dict[str, Any]] = []
    events = list(trace.record(agent, Task("How long is half of Ulysses?"), MODEL, records.append))
    assert isinstance(events[-1], Finished)
    assert str(events[-1].trajectory.answer) == "365"
    read = trace.of_records(json.loads(json.dumps(records)))
    assert trace.replay(read) == events[-1].trajectory


def test_a_function_of_the_run_is_not_called_again() -> None:
    calls = []

    def price(fruit: Literal["apple", "pear"]) -> float:
        """Price of one fruit"""
        calls.append(fruit)
        return 0.5

    template = LumosTemplate("eval", "", "")
    toolbox = Toolbox([*Toolbox.of_packs(["maths"]).tools.values(), tool_of(price)], ("maths",))
    engine = ScriptedEngine("Subgoal 1: Find the price.", "R1 = price(apple); R2 = Calculator(R1 * 4)")
    records: list[dict[str, Any]] = []
    events = list(
        trace.record(Agent(engine, template, template, toolbox), Task("4 apples?"), MODEL, records.append)
    )
    assert isinstance(events[-1], Finished)
    assert str(events[-1].trajectory.answer) == "2"
    read = trace.of_records(records)
    assert trace.replay(read, [tool_of(price)]) == events[-1].trajectory
    assert calls == ["apple"]
    with pytest.raises(
        ToolPackError, match="the run's tools price are in none of its packs: give them with --tools"
    ):
        trace.replay(read)
    del read.run["tool_names"]  # as in a trace of an earlier version
    with pytest.raises(ToolPackError, match="the run's tools price are in none"):
        trace.replay(read)
