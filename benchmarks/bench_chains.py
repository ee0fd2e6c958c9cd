"""Runs every verified action chain of a GSM8K file through parser, toolbox check and executor.

    python -m benchmarks.bench_chains GSM8K_TRAIN.jsonl

Verified are the chains whose exact value is the item's answer. Each must then parse as the grounder's text, pass the
toolbox's type check with the results before it, and execute to that answer. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from lumos_edge.actions import parse_actions
from lumos_edge.executor import Executor
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Task
from lumos_edge.values import Number, Value
from training.chains import Problem, RejectedItemError, chain, chain_actions, problems, read_lines


def is_right(problem: Problem, text: str, executor: Executor) -> bool:
    """Whether executing the actions written in that text gives the problem's answer."""
    bindings: dict[str, Value] = {}
    value: Value | None = None
    for action in parse_actions(text):
        result = executor.execute(action, bindings, Task(problem.question))
        if result.error:
            print(f"{action}: {result}")
            return False
        value = result.values[-1]
        bindings |= dict(zip(action.targets, result.values, strict=True))
    return value == Number(problem.answer)


def measure(file: Path) -> dict[str, object]:
    """The counts over a file, and the seconds that took."""
    executor = Executor(Toolbox.of_packs(["maths"]))
    counts = Counter[str](n_items=0, n_verified=0, n_right=0, n_actions=0)
    rejects = Counter[str]()
    started = time.perf_counter()
    for _, problem in problems(read_lines(file)):
        counts["n_items"] += 1
        try:
            if isinstance(problem, RejectedItemError):
                raise problem
            actions = chain_actions(chain(problem))
        except RejectedItemError as error:
            rejects[error.reason] += 1
            continue
        counts["n_verified"] += 1
        counts["n_actions"] += len(actions)
        counts["n_right"] += is_right(problem, "; ".join(map(str, actions)), executor)
    return {**counts, "rejects": dict(rejects), "seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="a GSM8K file, one JSON object per line")
    print(json.dumps(measure(parser.parse_args().file)))


if __name__ == "__main__":
    main()
