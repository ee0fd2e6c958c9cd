"""How often a pack's queries find what the gold queries find (execution accuracy).

    python -m training.intercode spider_dbs.mysql.sql spider_tasks.json -o intercode
    python benchmarks/bench_sql.py intercode/tasks.jsonl --pack base --limit 60

Rows are compared in order where the gold query orders, else as a multiset. `--output FILE` keeps a line for each task,
and a run that was interrupted goes on after them. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from lumos_edge.agent import Agent, Answered
from lumos_edge.engine import Sampling
from lumos_edge.loading import Modules, choose, load_modules, with_tools
from lumos_edge.scoring import is_correct_rows, is_ordered
from lumos_edge.sql.database import Database
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Task
from lumos_edge.values import Rows

_MAX_ROWS = 100_000


def main() -> None:
    """Ask the tasks and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--pack", default="base")
    parser.add_argument("--formulation", default="onetime", choices=["onetime", "iterative"])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--n-threads", type=int, default=0)
    options = parser.parse_args()
    tasks = [json.loads(line) for line in options.tasks.read_text("utf-8").splitlines()][: options.limit]
    tasks.sort(key=lambda task: task["db"])  # questions to one database find its schema in the cache
    outcomes = read_outcomes(options.output)[: len(tasks)]
    modules = load_modules(with_tools(choose(options.pack), ("sql",)), options.n_threads)
    for name, group in groupby(tasks[len(outcomes) :], key=lambda task: task["db"]):
        database = Database.open(options.tasks.parent / name)
        for outcome in answer(list(group), database, modules, options):
            outcomes.append(outcome)
            if options.output:
                with options.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(outcome) + "\n")
    print(json.dumps(summary(options, outcomes)))


def read_outcomes(path: Path | None) -> list[dict[str, Any]]:
    """The outcomes of an earlier run."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def answer(
    tasks: list[dict[str, Any]], database: Database, modules: Modules, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """How each task about a database went."""
    toolbox = Toolbox.of_packs(["sql"], [database])
    modules.keep_prefixes(toolbox, options.formulation)
    agent = Agent(
        modules.engine,
        modules.planner_template,
        modules.grounder_template,
        toolbox,
        formulation=options.formulation,
    )
    requests = [(Task(task["question"]), Sampling()) for task in tasks]
    for task, answered in zip(tasks, agent.run_many(requests, options.parallel), strict=True):
        yield outcome_of(task, database, answered)


def outcome_of(task: dict[str, Any], database: Database, answered: Answered) -> dict[str, Any]:
    """How one task went."""
    trajectory = answered.trajectory
    expected = database.select(task["sql"], max_rows=_MAX_ROWS)
    found = trajectory.answer if isinstance(trajectory.answer, Rows) else None
    if found and found.is_cut:  # the tool reads fewer than some gold queries have
        statement = trajectory.steps[-1].attempts[-1].actions[-1].arguments
        found = database.select(statement, max_rows=_MAX_ROWS)
    actions = [action for step in trajectory.steps for attempt in step.attempts for action in attempt.actions]
    results = [result for step in trajectory.steps for attempt in step.attempts for result in attempt.results]
    grounded = [recorded.completion for recorded in answered.completions if recorded.module == "grounder"]
    return {
        "question": task["question"],
        "hardness": task["hardness"],
        "is_correct": found is not None
        and is_correct_rows(found, expected, is_ordered=is_ordered(task["sql"])),
        "actions": [str(action) for action in actions],
        "errors": [result.error for result in results if result.error],
        "unparsed": sum(bool(attempt.error) for step in trajectory.steps for attempt in step.attempts),
        "n_tokens": sum(completion.n_completion for completion in grounded),
        "constraint_s": sum(completion.constraint_s for completion in grounded),
        "compile_s": sum(completion.compile_s for completion in grounded),
        "seconds": round(answered.seconds, 2),
    }


def summary(options: argparse.Namespace, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The share of the tasks whose rows are right, and what the grounder's constraint cost."""
    n_tokens = sum(outcome["n_tokens"] for outcome in outcomes)
    errors = Counter(error for outcome in outcomes for error in outcome["errors"])
    by_hardness = {}
    for hardness in ("easy", "medium", "hard", "extra"):
        of_kind = [outcome["is_correct"] for outcome in outcomes if outcome["hardness"] == hardness]
        by_hardness[hardness] = f"{sum(of_kind)} of {len(of_kind)}"
    return {
        "benchmark": "sql",
        "pack": options.pack,
        "formulation": options.formulation,
        "n": len(outcomes),
        "correct": sum(outcome["is_correct"] for outcome in outcomes),
        "execution_accuracy": round(sum(o["is_correct"] for o in outcomes) / len(outcomes), 4),
        "by_hardness": by_hardness,
        "actions": sum(len(outcome["actions"]) for outcome in outcomes),
        "invalid_actions": sum(errors[name] for name in ("ActionError", "UndefinedResult")),
        "unparsed_turns": sum(outcome["unparsed"] for outcome in outcomes),
        "errors": dict(errors),
        "constraint_us_per_token": round(1e6 * sum(o["constraint_s"] for o in outcomes) / n_tokens, 1),
        "compile_ms_per_task": round(1e3 * sum(o["compile_s"] for o in outcomes) / len(outcomes), 2),
        "seconds_per_task": round(sum(outcome["seconds"] for outcome in outcomes) / len(outcomes), 2),
    }


if __name__ == "__main__":
    main()
