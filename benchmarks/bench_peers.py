"""The same maths tasks on the same weights: lumos-edge, and what else a user would take, each in its own environment.

    python benchmarks/bench_peers.py dev.jsonl --n 50 [--pack base] [--peers ours-onetime binding-gbnf ...]

The questions are a JSONL file of {"question", "answer"}. A peer's script is in `benchmarks/peers/`; its virtual
environment is made on first use below --environments, with the versions pinned here (llama-cpp-python is built once
for each unless pip has its wheel). Our scripts run in this environment, which has the same llama-cpp-python.

For each: right answers (its last number counts), seconds per task (median), tokens decoded and evaluated, tool calls
that failed or did not parse, peak resident memory with the server where there is one. What cannot run is listed with
the reason. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Any

from lumos_edge.engine import PINNED_BINDING
from lumos_edge.loading import choose
from lumos_edge.resources import cache_folder
from lumos_edge.scoring import is_correct

_SCRIPTS = Path(__file__).parent / "peers"
_BINDING = f"llama-cpp-python=={PINNED_BINDING}"
_NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:/\d+)?")


@dataclass(frozen=True)
class Peer:
    """A script with what comes after the model's path, and the packages of its environment; none for our own."""

    script: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


PEERS = {
    "ours-onetime": Peer("ours.py", ("onetime",)),
    "ours-iterative": Peer("ours.py", ("iterative",)),
    "binding-gbnf": Peer("binding_gbnf.py"),
    "llama-cpp-agent": Peer("llama_cpp_agent_peer.py", (), ("llama-cpp-agent==0.2.35", _BINDING)),
    "smolagents": Peer(
        "smolagents_peer.py",
        (),
        ("smolagents==1.26.0", "openai==3.57.0", f"llama-cpp-python[server]=={PINNED_BINDING}"),
    ),
    "langchain": Peer("langchain_peer.py", (), ("langchain-community==0.4.2", _BINDING)),
}


def main() -> None:
    """Run the peers and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", type=Path)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--pack", default="base")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--environments", type=Path, default=cache_folder() / "peers")
    options = parser.parse_args()
    with options.questions.open(encoding="utf-8") as file:
        questions = [json.loads(line) for line in islice(file, options.n)]
    model = choose(options.pack).base
    report: dict[str, Any] = {"pack": options.pack, "n": len(questions), "peers": {}}
    for name in options.peers:
        try:
            row = run(name, model, questions, options.environments)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            row = {"cannot_run": str(error)}
        report["peers"][name] = row
        print(f"{name}: {row}", flush=True)
    print(json.dumps(report))


def run(name: str, model: Path, questions: list[dict[str, str]], environments: Path) -> dict[str, Any]:
    """One peer on all questions. Raises OSError, SubprocessError, ValueError with what it said last."""
    peer = PEERS[name]
    python = environment(environments / name, peer.packages) if peer.packages else Path(sys.executable)
    command = [str(python), str(_SCRIPTS / peer.script), str(model), *peer.arguments]
    asked = "".join(json.dumps(question["question"]) + "\n" for question in questions)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(records) != len(questions) + 1:
        raise ValueError(f"exit code {done.returncode}: {last_line(done.stderr)}")
    *answers, end = records
    return summary(answers, questions) | end


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of the virtual environment, made with these packages where it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"{' '.join(packages)} cannot be installed: {last_line(done.stderr)}")
        (folder / "complete").touch()
    return python


def last_line(text: str) -> str:
    """What a program said last."""
    return (text.strip().splitlines() or ["nothing was said"])[-1][:300]


def summary(answers: list[dict[str, Any]], questions: list[dict[str, str]]) -> dict[str, Any]:
    """The figures of one peer."""
    gold = [question["answer"].rpartition("####")[2].strip() for question in questions]
    right = [is_right(one["answer"], expected) for one, expected in zip(answers, gold, strict=True)]
    return {
        "right": sum(right),
        "seconds_median": round(median(one["seconds"] for one in answers), 2),
        "seconds_mean": round(mean(one["seconds"] for one in answers), 2),
        "decoded_tokens": round(mean(one["n_decoded"] for one in answers), 1),
        "evaluated_tokens": round(mean(one["n_evaluated"] for one in answers), 1),
        "calls": sum(one["n_calls"] for one in answers),
        "failed_calls": sum(one["n_failed"] for one in answers),
        "errors": sorted({one["error"] for one in answers if one["error"]})[:3],
    }


def is_right(answer: str, expected: str) -> bool:
    """Whether the last number of the answer is the expected one."""
    numbers = _NUMBER.findall(answer)
    return bool(numbers) and is_correct(numbers[-1].rstrip("."), expected)


if __name__ == "__main__":
    main()
