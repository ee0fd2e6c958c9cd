"""Many questions in one process: does memory stay, does anything pile up?

    python benchmarks/bench_soak.py [--n 1000] [--pack nano]

Resident memory after the 50th question and at the end, threads and open files before the first and after `close`
(Linux). The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import sys
import threading
import time
from pathlib import Path

from lumos_edge import Agent, Budget, BudgetExceeded

_WARM = 50


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def n_open_files() -> int:
    """Open files and sockets of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def question(number: int) -> str:
    """Questions of different lengths and numbers, the same in every run."""
    rows, price = 2 + number % 17, 1 + number % 7
    extra = " They were picked in the morning." * (number % 4)
    return f"A box has {rows} rows of {3 + number % 11} apples.{extra} An apple costs ${price}. How much is a box?"


def soak(agent: Agent, n: int) -> tuple[list[float], list[float], int]:
    """Ask `n` questions; resident memory after each, seconds of each, and how many were answered."""
    memory, seconds, n_answered = [], [], 0
    for number in range(n):
        started = time.perf_counter()
        with contextlib.suppress(BudgetExceeded):  # no answer within the limits is none, too
            n_answered += agent.ask(question(number)).answer is not None
        seconds.append(time.perf_counter() - started)
        memory.append(resident_mb())
        if number % 50 == 49:
            print(f"{number + 1}: {memory[-1]:.1f} MB, {n_answered} answered", file=sys.stderr, flush=True)
    return memory, seconds, n_answered


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--pack", default="nano")
    options = parser.parse_args()
    Agent.open(options.pack).close()  # what is loaded once for a process
    n_threads, n_files = threading.active_count(), n_open_files()
    with Agent.open(options.pack, budget=Budget(max_subgoals=4)) as agent:
        memory, seconds, n_answered = soak(agent, options.n)
    gc.collect()
    warm = memory[min(_WARM, options.n) - 1]
    report = {
        "pack": options.pack,
        "n": options.n,
        "answered": n_answered,
        "resident_mb_after_50": round(warm, 1),
        "resident_mb_at_end": round(memory[-1], 1),
        "growth": round(memory[-1] / warm - 1, 4),
        "resident_mb_closed": round(resident_mb(), 1),
        "threads_left": threading.active_count() - n_threads,
        "files_left": n_open_files() - n_files,
        "median_s": round(statistics.median(seconds), 3),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
