"""Many tasks at once against the same tasks in turn: seconds, tokens and memory, in one process.

    python -m benchmarks.bench_parallel --pack nano
    python -m benchmarks.bench_parallel --plot benchmarks/results/parallel.svg benchmarks/results/parallel-*.json

Each round works on all tasks with each number of slots, 1 (in turn, with drafts) first, and every speed is divided by
that of its own round. The last line of stdout is JSON. 16 tasks take some 1 to 5 minutes a round on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_soak import resident_mb
from lumos_edge.agent import Agent
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.trajectory import Task

TASKS = [
    "A baker sells 14 loaves in the morning and twice as many in the afternoon. How many loaves is that?",
    "Ann reads 12 pages a day for 3 weeks. The book has 300 pages. How many are left?",
    "A bus holds 48 people and is a quarter empty. 7 get off. How many people are in it?",
    "Eggs cost $3 a dozen. How much are 60 eggs?",
    "A rope of 90 m is cut into 6 equal parts, and 2 of them are used. How many metres are left?",
    "Tom has 3 times as many stamps as Ben, who has 18. They give 20 away together. How many have they then?",
    "A garden has 4 rows of 9 tomato plants. Each plant bears 6 tomatoes. A third of them are green. How many are red?",
    "A train goes 80 km in an hour. How far does it go in 2 and a half hours?",
    "Six friends share the cost of a meal of $84 and leave a tip of $12 together. How much does each pay?",
    "A tank of 500 litres is 40% full. 35 litres flow out each hour. How much is in it after 4 hours?",
    "Mary earns $15 an hour, works 6 hours a day and 5 days a week. How much does she earn in 2 weeks?",
    "A shop buys 25 shirts at $8 and sells them at $13 each. What is the profit?",
    "There are 120 pupils. 3 out of 5 come by bus and half of the rest walk. How many walk?",
    "Leo is 4 years older than Mia. In 3 years Mia will be 15. How old is Leo now?",
    "A farmer has 36 hens that lay 5 eggs a week each. He sells the eggs in boxes of 10. How many boxes a week?",
    "A phone costs $240. It is 15% off, and a case of $18 is added. How much is that?",
]


@dataclass(frozen=True)
class Measured:
    """One pass over the tasks."""

    seconds: float
    n_tokens: int
    n_prefilled: int
    answers: list[str]
    memory_mb: float


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--n", type=int, default=len(TASKS), help="tasks, at most 16")
    parser.add_argument("--parallel", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--n-threads", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="draw these results instead")
    parser.add_argument("results", type=Path, nargs="*")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot, [json.loads(file.read_text())["result"] for file in options.results])
        return
    with Agent.open(options.pack, n_threads=options.n_threads) as agent:
        agent.ask(TASKS[-1])  # warms up: the weights are read, the prefixes computed
        sides = [1, *options.parallel]
        rounds = [{n: measure(agent, TASKS[: options.n], n) for n in sides} for _ in range(options.rounds)]
        assert isinstance(agent.engine, LlamaEngine)
        n_threads = agent.engine.n_threads
    print(json.dumps(summary(options.pack, n_threads, options.n, rounds)))


def measure(agent: Agent, tasks: list[str], n_parallel: int) -> Measured:
    """Work on the tasks, so many at a time."""
    peak = before = resident_mb()
    started = time.perf_counter()
    done = []
    for answered in agent.run_many(((Task(task), agent.sampling) for task in tasks), n_parallel):
        done.append(answered)
        peak = max(peak, resident_mb())
    seconds = time.perf_counter() - started
    made = [recorded.completion for answered in done for recorded in answered.completions]
    print(f"{n_parallel} at a time: {seconds:.1f} s", file=sys.stderr)
    return Measured(
        seconds,
        sum(completion.n_completion for completion in made),
        sum(completion.n_prefilled for completion in made),
        [str(answered.trajectory.answer) for answered in done],
        peak - before,
    )


def summary(pack: str, n_threads: int, n: int, rounds: list[dict[int, Measured]]) -> dict[str, Any]:
    """Medians over the rounds, and the ratios round by round."""
    sides = {}
    for n_parallel in rounds[0]:
        ratios = [found[1].seconds / found[n_parallel].seconds for found in rounds]
        per_token = [
            (found[1].seconds / found[1].n_tokens) / (found[n_parallel].seconds / found[n_parallel].n_tokens)
            for found in rounds
        ]
        last = rounds[-1][n_parallel]
        sides[n_parallel] = {
            "speedup": _spread(ratios),
            "speedup_per_token": _spread(per_token),
            "seconds_per_task": round(statistics.median(f[n_parallel].seconds for f in rounds) / n, 3),
            "tokens": last.n_tokens,
            "prefilled": last.n_prefilled,
            "same_answers": sum(a == b for a, b in zip(last.answers, rounds[-1][1].answers, strict=True)),
            "memory_mb": round(max(found[n_parallel].memory_mb for found in rounds)),
        }
    return {"benchmark": "parallel", "pack": pack, "n_threads": n_threads, "n": n, "parallel": sides}


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def plot(file: Path, results: list[dict[str, Any]]) -> None:
    """The speed with each number of slots over that in turn, a line for each pack."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    for result in results:
        sides = {int(n): found["speedup"] for n, found in result["parallel"].items()}
        medians = [found["median"] for found in sides.values()]
        lines = axes.plot(list(sides), medians, marker="o", label=result["pack"])
        lows, highs = ([found[end] for found in sides.values()] for end in ("min", "max"))
        axes.fill_between(list(sides), lows, highs, alpha=0.2, color=lines[0].get_color())
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.set_xlabel("tasks at a time")
    axes.set_ylabel("speed over one at a time")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
