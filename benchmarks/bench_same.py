"""Whether what only saves time changes what is written: drafts, kept caches, prefix states, one cache for both modules.

    python benchmarks/bench_same.py questions.jsonl --pack nano --limit 500 --n-threads 1

Every question is answered greedily by each side in turn, and compared with what the first side wrote:

    plain       no drafts, and every prompt is evaluated anew
    drafts      the same with drafts
    kept        no drafts, but the KV caches keep what they have, and prefix states are read
    apart       everything, but a KV cache for each module
    all         as `lumos-edge ask` does it

`--by-examples` leaves the pack's adapters out, so that there are prefix states. The last line of stdout is one JSON
document: for each side, questions with another text, another plan and another answer than the first side's, and for
one question the prompt tokens that were evaluated and the seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, Grammar, Prompt, Sampling
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import BudgetExceeded
from lumos_edge.loading import choose
from lumos_edge.trajectory import Module

SIDES = ("plain", "drafts", "kept", "apart", "all")


@dataclass
class _Side:
    """An `Engine` that hands everything to the agent's own, with or without what saves time."""

    engine: LlamaEngine
    name: str
    texts: list[str] = field(default_factory=list)
    n_evaluated: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.engine._has_drafts = self.name not in ("plain", "kept")
        if self.name not in ("kept", "all"):
            self.engine._continued.clear()
        if not self.keeps:
            self.engine._prefixes.clear()

    @property
    def keeps(self) -> bool:
        return self.name not in ("plain", "drafts")

    def complete(
        self, module: Module, prompt: Prompt, grammar: Grammar, *, max_tokens: int, sampling: Sampling
    ) -> Generator[str, None, Completion]:
        """See `Engine.complete`."""
        started = time.perf_counter()
        for context in () if self.keeps else self.engine._contexts:
            context.keep(0, 0)
        made = yield from self.engine.complete(
            module, prompt, grammar, max_tokens=max_tokens, sampling=sampling
        )
        self.texts.append(made.text)
        self.n_evaluated += made.n_prefilled
        self.seconds += time.perf_counter() - started
        return made

    def cancel(self) -> None:
        """See `Engine.cancel`."""
        self.engine.cancel()


def main() -> None:
    """Ask all sides every question, and count what differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--by-examples", action="store_true")
    parser.add_argument("--sides", nargs="+", choices=SIDES[1:], default=list(SIDES[1:]))
    options = parser.parse_args()
    choice = choose(options.pack)
    if options.by_examples:
        choice = replace(choice, adapters={}, templates={})
    agents, sides = {}, {}
    for name in ("plain", *options.sides):
        agents[name] = Agent.open(choice, n_threads=options.n_threads)
        engine = agents[name].engine
        assert isinstance(engine, LlamaEngine)
        sides[name] = _Side(engine, name)
    found: dict[str, Any] = {name: {"texts": 0, "plans": 0, "answers": 0} for name in options.sides}
    n_questions = 0
    with options.questions.open(encoding="utf-8") as file:
        for line in islice(file, options.limit):
            question = json.loads(line)["question"]
            wrote = {
                name: _ask(agents[name].with_engine(side), side, question) for name, side in sides.items()
            }
            n_questions += 1
            for name, counts in found.items():
                for what in counts:
                    counts[what] += wrote[name][what] != wrote["plain"][what]
            if n_questions % 25 == 0:
                print(n_questions, found, flush=True)
    settings = {name: value for name, value in vars(options).items() if name not in ("questions", "sides")}
    costs = {
        name: {
            "evaluated": round(s.n_evaluated / n_questions, 1),
            "seconds": round(s.seconds / n_questions, 3),
        }
        for name, s in sides.items()
    }
    print(json.dumps({"benchmark": "same", **settings, "n": n_questions, "differ": found, "costs": costs}))


def _ask(agent: Agent, side: _Side, question: str) -> dict[str, Any]:
    """All that was written, the first text alone, and the answer."""
    side.texts = []
    try:
        answer = str(agent.ask(question).answer)
    except BudgetExceeded as error:
        answer = type(error).__name__
    return {"texts": side.texts, "plans": side.texts[:1], "answers": answer}


if __name__ == "__main__":
    main()
