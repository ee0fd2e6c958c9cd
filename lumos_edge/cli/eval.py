"""`lumos-edge eval`: many questions with known answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from lumos_edge.cli.options import AgentOptions, agent_options
from lumos_edge.cli.questions import (
    Outcome,
    Question,
    Results,
    answer_all,
    file_options,
    progress_bar,
    read_lines,
    summary,
)


@click.command("eval")
@file_options
@agent_options
def command(
    file: Path,
    options: AgentOptions,
    limit: int | None,
    output: Path | None,
    parallel: int,
    samples: int,
) -> int:
    """Answer every line of FILE (JSONL: {"question", "answer"}) and score the answers.

    Numbers are compared as numbers. With --output a run that was interrupted goes on where it stopped. The last
    line of stdout is one JSON document.
    """
    from lumos_edge.scoring import is_correct

    expected = '{"question": ..., "answer": ...}'
    examples = read_lines(file, _Example.read_json, expected)[:limit]
    choice = options.choice()
    agent = options.agent(choice)
    settings = {**options.settings(choice, agent.formulation), "samples": samples}
    with Results(output, settings, _Scored) as results:
        todo = [example for example in examples if example not in results]
        n_correct = 0
        with progress_bar(len(examples), len(examples) - len(todo)) as advance:
            outcomes = answer_all(agent, todo, parallel, samples)
            for n_done, (example, outcome) in enumerate(zip(todo, outcomes, strict=True), 1):
                correct = outcome.answer is not None and is_correct(outcome.answer, example.answer)
                results.add(_Scored(**asdict(outcome), expected=example.answer, correct=correct))
                n_correct += correct
                advance(f"{n_correct}/{n_done} right")
        scores = _summary([results.of(example) for example in examples])
    click.echo(json.dumps({**scores, "formulation": agent.formulation, "pack": choice.name}))
    return 0


@dataclass(frozen=True)
class _Example(Question):
    answer: str

    @classmethod
    def read_json(cls, line: int, data: dict[str, Any]) -> _Example:
        """The final answer alone; GSM8K's own files have it behind the solution and `####`."""
        return cls(line, str(data["question"]), str(data["answer"]).rpartition("####")[2].strip())


@dataclass(frozen=True)
class _Scored(Outcome):
    expected: str
    correct: bool


def _summary(outcomes: list[_Scored]) -> dict[str, Any]:
    costs = summary(outcomes)
    correct = sum(outcome.correct for outcome in outcomes)
    return {"n": costs.pop("n"), "correct": correct, "accuracy": round(correct / len(outcomes), 4), **costs}
