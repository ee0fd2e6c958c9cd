"""How many actions of a small model are invalid: none may be.

Grounder turns over questions of a JSONL file: each sentence of a question is a subgoal, and the results of the turns
before it are live. Every action is parsed, type-checked against them and counted; its execution may fail.

    python benchmarks/bench_actions.py train.jsonl --pack nano --n-turns 1000 --temperature 1.5 --by-examples

The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion, Sampling
from lumos_edge.errors import StepError
from lumos_edge.grounder import Grounding
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.toolbox import ValueTypes
from lumos_edge.trajectory import Attempt, Step, Subgoal, Task
from lumos_edge.values import Value


def main() -> None:
    """Run the turns and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("--pack", default="nano")
    parser.add_argument("--n-turns", type=int, default=1000)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--n-threads", type=int, default=0)
    parser.add_argument("--by-examples", action="store_true", help="leave the pack's adapters out")
    options = parser.parse_args()
    choice = of_pack(find_manifest(options.pack))
    agent = Agent.open(
        replace(choice, adapters={}, templates={}) if options.by_examples else choice,
        formulation="iterative",
        sampling=Sampling(temperature=options.temperature),
        n_threads=options.n_threads,
    )
    questions = [json.loads(line)["question"] for line in options.questions.read_text("utf-8").splitlines()]
    counts: Counter[str] = Counter()
    completions: list[Completion] = []
    started = time.perf_counter()
    for question in questions:
        if counts["turns"] < options.n_turns:
            ground_sentences(agent, question, options.n_turns, counts, completions)
    print(json.dumps(summary(options, counts, completions, time.perf_counter() - started)))


def ground_sentences(
    agent: Agent, question: str, n_turns: int, counts: Counter[str], completions: list[Completion]
) -> None:
    """One turn for each sentence, with the results of those before it."""
    bindings: dict[str, Value] = {}
    steps: list[Step] = []
    for number, sentence in enumerate(re.split(r"(?<=[.?!])\s+", question.strip()), 1):
        if counts["turns"] == n_turns or number > agent.budget.max_subgoals:
            return
        step = Step((Subgoal(number, sentence.replace(";", ",")),), ())
        types: dict[str, ValueTypes] = {name: frozenset({type(value)}) for name, value in bindings.items()}
        grounding = drain(agent, Task(question), steps, step, types)
        counts["turns"] += 1
        completions.append(grounding.completion)
        counts["unparsed turns"] += bool(grounding.error)
        attempt = execute(agent, question, grounding, bindings, counts)
        steps.append(Step(step.subgoals, (attempt,)))


def drain(agent: Agent, task: Task, steps: list[Step], step: Step, types: dict[str, ValueTypes]) -> Grounding:
    """The grounding of one turn."""
    text = agent.grounder.ground(task, steps, step, types, formulation="iterative", max_actions=6)
    while True:
        try:
            next(text)
        except StopIteration as end:
            grounding: Grounding = end.value
            return grounding


def execute(
    agent: Agent, question: str, grounding: Grounding, bindings: dict[str, Value], counts: Counter[str]
) -> Attempt:
    """Check and execute the actions; what fails is counted, its results are not bound."""
    results = []
    types: dict[str, ValueTypes] = {name: frozenset({type(value)}) for name, value in bindings.items()}
    for action in grounding.actions:
        counts["actions"] += 1
        counts[f"action {action.tool}"] += 1
        try:
            agent.toolbox.check(action, types)
            types |= dict.fromkeys(action.targets, agent.toolbox.result_types(action, types))
        except StepError:
            counts["invalid actions"] += 1
        result = agent.executor.execute(action, bindings, Task(question))
        results.append(result)
        counts["failed executions"] += bool(result.error)
        bindings |= dict(zip(action.targets, result.values, strict=False))
    return Attempt(grounding.actions, tuple(results), grounding.error)


def summary(
    options: argparse.Namespace, counts: Counter[str], completions: list[Completion], seconds: float
) -> dict[str, object]:
    """The counts and what the turns cost."""
    n_tokens = sum(made.n_completion for made in completions)
    return {
        "benchmark": "actions",
        "pack": options.pack,
        "by_examples": options.by_examples,
        "temperature": options.temperature,
        "turns": counts["turns"],
        "actions": counts["actions"],
        "invalid_actions": counts["invalid actions"],
        "unparsed_turns": counts["unparsed turns"],
        "cut_off_turns": sum(made.finish_reason == "length" for made in completions),
        "failed_executions": counts["failed executions"],
        "tools": {name.split()[1]: n for name, n in sorted(counts.items()) if name.startswith("action ")},
        "tokens": n_tokens,
        "forced_share": round(sum(made.n_forced for made in completions) / n_tokens, 3),
        "masked_share": round(sum(made.n_masked for made in completions) / n_tokens, 3),
        "constraint_us_per_token": round(1e6 * sum(made.constraint_s for made in completions) / n_tokens, 1),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
