"""`lumos-edge eval`: many questions with known answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.knowledge.library import Library


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

    Numbers are compared as numbers, yes and no as true and false. A line may name its own "knowledge": a pack, or a
    list of packs. With --output a run that was interrupted goes on where it stopped. The last line of stdout is one
    JSON document.
    """
    from lumos_edge.scoring import is_correct

    expected = '{"question": ..., "answer": ...} and at most "knowledge": PACKS'
    examples = read_lines(file, _Example.read_json, expected)[:limit]
    choice = options.choice(_tool_packs(file, examples, options))
    libraries = _libraries(examples, options)
    agent = options.agent(choice, resources=list(libraries.values())[:1] or None)
    of_lines = {str(example.line): list(example.knowledge) for example in examples if example.knowledge}
    settings = {**options.settings(choice, agent.formulation), "samples": samples, "of_lines": of_lines}
    with Results(output, settings, _Scored) as results:
        todo = [example for example in examples if example not in results]
        n_correct = 0
        with progress_bar(len(examples), len(examples) - len(todo)) as advance:
            outcomes = _outcomes(agent, libraries, todo, parallel, samples)
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
    knowledge: tuple[str, ...]

    @classmethod
    def read_json(cls, line: int, data: dict[str, Any]) -> _Example:
        """The final answer alone; GSM8K's own files have it behind the solution and `####`."""
        answer = str(data["answer"]).rpartition("####")[2].strip()
        packs = data.get("knowledge", [])
        names = tuple(packs if isinstance(packs, list) else [packs])
        if not all(isinstance(name, str) for name in names):
            raise TypeError("the name of a pack is a string")
        return cls(line, str(data["question"]), answer, names)


def _tool_packs(file: Path, examples: list[_Example], options: AgentOptions) -> tuple[str, ...]:
    packs = options.tool_packs()
    if not any(example.knowledge for example in examples):
        return packs
    if packs not in ((), ("qa",)):
        raise click.UsageError(f'{file} names "knowledge", which is for --domain qa, not {packs[0]}')
    return ("qa",)


def _libraries(examples: list[_Example], options: AgentOptions) -> dict[tuple[str, ...], Library]:
    """The packs of each line that names some, and of the others, opened before anything is answered."""
    names = {example.knowledge: None for example in examples}
    return {packs: options.library(packs) for packs in names} if any(names) else {}


def _outcomes(
    agent: Agent,
    libraries: dict[tuple[str, ...], Library],
    examples: list[_Example],
    n_parallel: int,
    n_samples: int,
) -> Iterator[Outcome]:
    """What comes of the examples, in their order; those in a row that name the same packs are answered together."""
    for packs, group in groupby(examples, key=lambda example: example.knowledge):
        asked = agent.with_resource(libraries[packs]) if libraries else agent
        yield from answer_all(asked, list(group), n_parallel, n_samples)


@dataclass(frozen=True)
class _Scored(Outcome):
    expected: str
    correct: bool


def _summary(outcomes: list[_Scored]) -> dict[str, Any]:
    costs = summary(outcomes)
    correct = sum(outcome.correct for outcome in outcomes)
    return {"n": costs.pop("n"), "correct": correct, "accuracy": round(correct / len(outcomes), 4), **costs}
