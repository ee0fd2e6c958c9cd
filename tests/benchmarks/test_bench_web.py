"""The scores of Mind2Web's steps, as the benchmark counts them for a pack."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.bench_web import score_task, summary
from lumos_edge.engine import Sampling
from lumos_edge.reader import Reader
from lumos_edge.web.mind2web import read_tasks
from tests.scripted import ScriptedEngine
from tests.web.test_mind2web import TASK, write
from tests.web.test_web_tools import FEWSHOT

WRITTEN = (
    "Subgoal 1: Type Leeds as the departure.",
    "R1 = TYPE(Env, QUERY: Type Leeds as the departure, TEXT: leeds)",
    "No, I will keep planning. Subgoal 2: Choose York.",
    "R2 = CLICK(R1, QUERY: Choose York)",
    "No, I will keep planning. Subgoal 3: Choose the time.",
    "R3 = SELECT(R2, QUERY: Choose the time, TEXT: 9:00)",
    "Yes, I will stop planning.",
)


def modules() -> Any:
    """What a pack has, with the texts that its weights would write."""
    engine = ScriptedEngine(*WRITTEN)
    return SimpleNamespace(
        engine=engine,
        planner_template=FEWSHOT,
        grounder_template=FEWSHOT,
        reader=lambda *_, **__: Reader(engine, FEWSHOT, Sampling(), 8),
    )


def test_steps_are_scored_by_element_operation_and_value(tmp_path: Path) -> None:
    (task,) = read_tasks(write(tmp_path, [TASK]))
    scores = score_task(task, modules())
    assert [score.success for score in scores] == [
        True,
        True,
        False,
        False,
    ]  # the time is wrong, the last not reached
    assert [score.element for score in scores] == [True, True, True, False]
    assert summary([scores, scores[:2]]) == {
        "steps": 6,
        "element": round(5 / 6, 4),
        "operation_f1": pytest.approx((4 + 0.5) / 6, abs=1e-4),
        "step_success": round(4 / 6, 4),
        "task_success": 0.5,
    }
