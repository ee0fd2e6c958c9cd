"""The records of a run."""

from __future__ import annotations

import json
from fractions import Fraction

from lumos_edge.actions import parse_actions
from lumos_edge.trajectory import Attempt, Result, Step, Subgoal, Task, Trajectory, read_json, write_json
from lumos_edge.values import Number

ONE = parse_actions("R1 = Calculator(1)")
VALUE = Result((Number(Fraction(1)),), elapsed_s=0.5)
FAILED = Result((), "ToolError", "division by zero", 0.1)


def test_json_both_ways() -> None:
    steps = (
        Step(
            (Subgoal(1, "Count."),),
            (Attempt(ONE, (FAILED,)), Attempt((), (), "cut off"), Attempt(ONE, (VALUE,))),
        ),
    )
    for trajectory in (
        Trajectory(Task("How many?"), "iterative", steps, Number(Fraction(1))),
        Trajectory(Task("How many?"), "onetime", (), None, "NoAnswer", "nothing"),
    ):
        data = json.loads(json.dumps(write_json(trajectory)))
        assert read_json(data) == trajectory
        assert write_json(read_json(data)) == data  # the times too, which do not count as a difference


def test_how_long_it_took_is_no_difference() -> None:
    assert Result((Number(Fraction(1)),), elapsed_s=0.1) == VALUE


def test_an_attempt_fails_by_its_text_its_results_or_its_emptiness() -> None:
    assert Attempt(ONE, (VALUE,)).failure == ""
    assert Attempt(ONE, (FAILED,)).failure == "R1 = Calculator(1) failed: division by zero"
    assert Attempt((), (), "cut off").failure == "cut off"
    assert Attempt((), ()).failure == "there was no action"


def test_a_step_is_done_by_its_last_attempt() -> None:
    subgoal = (Subgoal(1, "Count."),)
    assert Step(subgoal, ()).done is None
    assert Step(subgoal, (Attempt(ONE, (FAILED,)),)).done is None
    assert Step(subgoal, (Attempt(ONE, (FAILED,)), Attempt(ONE, (VALUE,)))).done == Attempt(ONE, (VALUE,))
