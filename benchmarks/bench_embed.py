"""What an application pays: the import, the first event of a warm agent, and a frozen program's start and size.

    python benchmarks/bench_embed.py [--pack nano] [--frozen dist/answer/answer]

Medians of several rounds. `--frozen` is a program that PyInstaller made of `examples/answer.py` (docs/freeze.md); it is
started without a question, and prints how it is used. The pack must be pulled, and its first run measures threads,
which is not counted. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from lumos_edge import Agent

IMPORT = """
import sys, time
started = time.perf_counter()
import lumos_edge
seconds = time.perf_counter() - started
assert not {"numpy", "llama_cpp", "llguidance", "sympy"} & set(sys.modules)
print(seconds)
"""
QUESTION = "A shop sells 14 apples and twice as many pears. How many fruits does it sell?"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frozen", type=Path)
    options = parser.parse_args()
    report = {
        "benchmark": "embed",
        "pack": options.pack,
        "import_ms": milliseconds([import_seconds() for _ in range(options.rounds)]),
        **first_events(options.pack, options.rounds),
    }
    if options.frozen:
        report |= frozen(options.frozen, options.rounds)
    print(json.dumps(report))


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """The median, and the shortest and longest time."""
    return {
        "median": round(1000 * statistics.median(seconds), 1),
        "least": round(1000 * min(seconds), 1),
        "most": round(1000 * max(seconds), 1),
    }


def import_seconds() -> float:
    """Seconds of `import lumos_edge` in a new interpreter, which then has neither numpy nor the binding."""
    done = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
    return float(done.stdout)


def first_events(pack: str, rounds: int) -> dict[str, object]:
    """From `run` to its first event, of an agent that has answered before: other questions, and each once."""
    seconds = []
    with Agent.open(pack) as agent:
        agent.run(QUESTION).close()
        for _ in agent.run(QUESTION):
            pass
        for number in range(rounds):
            question = QUESTION.replace("14", str(number + 20))
            started = time.perf_counter()
            with closing(agent.run(question)) as run:
                next(iter(run))
                seconds.append(time.perf_counter() - started)
    return {"first_event_ms": milliseconds(seconds)}


def frozen(program: Path, rounds: int) -> dict[str, object]:
    """Seconds of a frozen program that does nothing, and the size of its folder without weights."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([program], check=False, capture_output=True, env={"HOME": "/nonexistent"})
        seconds.append(time.perf_counter() - started)
    files = [file for file in program.parent.rglob("*") if file.is_file() and file.suffix != ".gguf"]
    n_bytes = sum(file.stat().st_size for file in files if not file.is_symlink())
    return {"frozen_start_ms": milliseconds(seconds), "frozen_mb": round(n_bytes / 1e6, 1)}


if __name__ == "__main__":
    main()
