"""What a user waits for: the help text, and the first token of the first subgoal.

    python benchmarks/bench_start.py --pack nano

Each side runs several times in turn; medians. `ask` runs in a pseudo terminal, where it shows the text as it is written
(POSIX only). The pack must be pulled, and its first run measures threads, which is not counted. The last line of stdout
is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import time

QUESTION = "A shop sells 14 apples and twice as many pears. How many fruits does it sell?"


def main() -> None:
    """Run the sides in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ask = [sys.executable, "-m", "lumos_edge", "ask", "--pack", options.pack, QUESTION]
    first_token_seconds(ask)
    seconds: dict[str, list[float]] = {"python": [], "help": [], "first_token": []}
    for _ in range(options.rounds):
        seconds["python"].append(run_seconds([sys.executable, "-c", "pass"]))
        seconds["help"].append(run_seconds([sys.executable, "-m", "lumos_edge", "--help"]))
        seconds["first_token"].append(first_token_seconds(ask))
    slower = [a - b for a, b in zip(seconds["help"], seconds["python"], strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "start",
                "pack": options.pack,
                "help_slower_than_python_s": round(statistics.median(slower), 3),
                "first_subgoal_token_s": round(statistics.median(seconds["first_token"]), 3),
                "first_subgoal_token_max_s": round(max(seconds["first_token"]), 3),
            }
        )
    )


def run_seconds(command: list[str]) -> float:
    """Seconds of a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_token_seconds(command: list[str]) -> float:
    """Seconds from the start of the process to the word `Subgoal` on its terminal; the process is ended then."""
    ours, theirs = pty.openpty()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while b"Subgoal" not in shown:
        shown += os.read(ours, 4096)
    seconds = time.perf_counter() - started
    process.terminate()
    process.wait()
    os.close(ours)
    return seconds


if __name__ == "__main__":
    main()
