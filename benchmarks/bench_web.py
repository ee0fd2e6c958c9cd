"""How many steps of Mind2Web's tasks a pack does right: element, operation and value.

    python benchmarks/bench_web.py test_domain_0.json --pack base --limit 20

The agent works on the recorded pages: whatever it does, the next recorded page follows, and its n-th action is compared
with the n-th step. The paper also puts the right action in the place of the planner's subgoal; here the planner goes on
from its own. A step that was not reached is a failure. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Sampling
from lumos_edge.errors import BudgetExceeded
from lumos_edge.loading import Modules, choose, load_modules, with_tools
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Executed, Task
from lumos_edge.values import Page, PageAction
from lumos_edge.web.mind2web import (
    FAILED,
    RecordedTask,
    RecordedTaskEnvironment,
    StepScore,
    read_tasks,
    score_step,
)
from lumos_edge.web.site import Site


def main() -> None:
    """Do the tasks and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--pack", default="base")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    modules = load_modules(with_tools(choose(options.pack), ("web",)), options.n_threads)
    scores: list[Sequence[StepScore]] = []
    for task in islice(read_tasks(options.tasks), options.limit):
        scores.append(score_task(task, modules))
        print(json.dumps({"task": task.id, "steps": [asdict(score) for score in scores[-1]]}), flush=True)
    print(json.dumps({"pack": options.pack, "tasks": len(scores), **summary(scores)}))


def score_task(task: RecordedTask, modules: Modules) -> list[StepScore]:
    """The scores of a task's steps."""
    done = run_task(task, modules)
    scores = [score_step(step, action) for step, action in zip(task.steps, done, strict=False)]
    return scores + [FAILED] * (len(task.steps) - len(scores))


def run_task(task: RecordedTask, modules: Modules) -> list[PageAction]:
    """What the agent does on the task's pages."""
    agent = Agent(
        modules.engine,
        modules.planner_template,
        modules.grounder_template,
        Toolbox.of_packs(["web"], [Site.begin(RecordedTaskEnvironment(task))]),
        formulation="iterative",
        budget=Budget(max_subgoals=len(task.steps), max_tokens=1 << 20),
        reader=modules.reader(Sampling(), is_extractive=True, may_recall=False),
    )
    done = []
    try:
        for event in agent.run(Task(task.question)):
            pages = event.result.values if isinstance(event, Executed) else ()
            done += [page.done for page in pages if isinstance(page, Page) and page.done]
    except BudgetExceeded:
        pass  # what was done until then counts
    return done


def summary(scores: Sequence[Sequence[StepScore]]) -> dict[str, Any]:
    """The shares of steps, and of tasks whose steps are all right."""
    steps = [score for task in scores for score in task]
    n = max(len(steps), 1)
    return {
        "steps": len(steps),
        "element": round(sum(score.element for score in steps) / n, 4),
        "operation_f1": round(sum(score.f1 for score in steps) / n, 4),
        "step_success": round(sum(score.success for score in steps) / n, 4),
        "task_success": round(sum(all(s.success for s in task) for task in scores) / max(len(scores), 1), 4),
    }


if __name__ == "__main__":
    main()
