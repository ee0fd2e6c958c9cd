"""The rank at which a full fine-tune's difference still grounds the same actions.

    python -m training.train training/configs/nano-full.toml --annotations annotations --output run
    python benchmarks/bench_diff.py run/model --base run/base --questions QUESTIONS.jsonl [--n-questions 200]

Converts both checkpoints to float16 GGUF (the base with an output of its own, `--untie`), answers the questions with
the fine-tune, and grounds the same turns with the base and adapters of several ranks: equal ranks for all tensors, and
ranks that keep the same share of each tensor's change. Writes the plot `benchmarks/results/diff-nano.svg` (needs
matplotlib). Greedy, one model in memory at a time.

The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.difference import Difference, read_difference, read_pair, write_difference
from lumos_edge.conversion.model import untie
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.loading import of_files
from lumos_edge.turns import Turn, retake, take_turns

RANKS = (8, 32, 64, 128, 256, 576)
MODULE = ("--formulation", "onetime", "--template", "compact", "--tools", "maths")


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("finetuned", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help='JSONL: {"question": ...}')
    parser.add_argument("--n-questions", type=int, default=200)
    parser.add_argument("--ranks", type=int, nargs="*", default=RANKS)
    parser.add_argument("--plot", type=Path, default=Path(__file__).parent / "results" / "diff-nano.svg")
    options = parser.parse_args()
    lines = options.questions.read_text("utf-8").splitlines()[: options.n_questions]
    questions = [json.loads(line)["question"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.finetuned, options.base, questions, options.ranks, Path(folder))
    plot(result, options.plot)
    print(json.dumps(result))


def measure(
    finetuned: Path, base: Path, questions: Sequence[str], ranks: Sequence[int], folder: Path
) -> dict[str, Any]:
    """Unchanged actions, size and energy of each rank, and of ranks that keep the same share of each tensor."""
    convert("hf", finetuned, "-o", folder / "tuned.gguf", *MODULE)
    convert("hf", base, "-o", folder / "base.gguf", "--untie")
    taken = take_turns(of_files(folder / "tuned.gguf"), questions, progress("answering", len(questions)))
    turns = [turn for turn in taken if turn.module == "grounder"]
    pair = read_pair(untie(read_checkpoint(finetuned)), untie(read_checkpoint(base)))
    # Cut once: what a smaller rank keeps is the first of it.
    whole = read_difference(pair, max(ranks), lambda _: None)
    result: dict[str, Any] = {"n_turns": len(turns), "equal_ranks": [], "equal_shares": []}
    for rank in sorted(ranks):
        equal = replace(whole, tensors=tuple(tensor.cut(rank) for tensor in whole.tensors))
        entry = measure_adapter(equal, folder, turns)
        result["equal_ranks"].append({"rank": rank, **entry})
        if rank < max(ranks):
            share = entry["energy_kept"]
            result["equal_shares"].append(measure_adapter(whole.for_energy(share), folder, turns))
        print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def measure_adapter(difference: Difference, folder: Path, turns: Sequence[Turn]) -> dict[str, Any]:
    """Write an adapter, and ground the turns with it."""
    adapter = folder / "adapter.gguf"
    write_difference(difference, adapter, ModuleMetadata(None, "onetime", "compact", ("maths",)))
    size_bytes = adapter.stat().st_size
    texts = _ground(folder / "base.gguf", adapter, turns)
    adapter.unlink()
    return {
        "size_bytes": size_bytes,
        "energy_kept": difference.kept,
        "turns_unchanged": sum(map(str.__eq__, texts, (turn.text for turn in turns))) / len(turns),
        "actions_unchanged": actions_unchanged(texts, [turn.text for turn in turns]),
    }


def actions_unchanged(found: Sequence[str], expected: Sequence[str]) -> float:
    """The share of the expected actions that were written in their place."""
    pairs = [
        (old, new)
        for before, after in zip(expected, found, strict=True)
        for old, new in zip_longest(before.split("; "), after.split("; "))
        if old is not None
    ]
    return sum(old == new for old, new in pairs) / len(pairs)


def _ground(base: Path, adapter: Path, turns: Sequence[Turn]) -> list[str]:
    choice = of_files(base, planner_adapter=adapter, grounder_adapter=adapter)
    return retake(choice, turns, progress("grounding", len(turns)))


def convert(*arguments: str | Path) -> str:
    """Run `lumos-edge convert`; gives what it prints."""
    command = [sys.executable, "-m", "lumos_edge", "convert", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def progress(name: str, total: int) -> Callable[[int], None]:
    """Says on stderr how many of `total` are done, every tenth of them."""
    n_done = 0

    def advance(n: int) -> None:
        nonlocal n_done
        n_done += n
        if n_done % max(1, total // 10) == 0:
            print(f"{name}: {n_done} of {total}", file=sys.stderr, flush=True)

    return advance


def plot(result: dict[str, Any], path: Path) -> None:
    """Rank against agreement, and size against agreement."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, (by_rank, by_size) = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for kind, label in (("equal_ranks", "equal ranks"), ("equal_shares", "equal shares of each tensor")):
        entries = result[kind]
        unchanged = [100 * entry["actions_unchanged"] for entry in entries]
        sizes = [entry["size_bytes"] / 1e6 for entry in entries]
        if kind == "equal_ranks":
            by_rank.plot([entry["rank"] for entry in entries], unchanged, marker="o")
        by_size.plot(sizes, unchanged, marker="o", label=label)
    for axes, name in ((by_rank, "rank"), (by_size, "adapter, MB")):
        axes.axhline(99, linewidth=0.8, linestyle="--", color="grey")
        axes.set(xlabel=name)
    by_rank.set_ylabel(f"unchanged actions of {result['n_turns']} grounder turns, %")
    by_size.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
