"""`lumos-edge eval`: many questions with known answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click

from lumos_edge.cli.attached import Agents, Attached, AttachedQuestion
from lumos_edge.cli.options import AgentOptions, agent_options
from lumos_edge.cli.questions import (
    Outcome,
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

    Numbers are compared as numbers, yes and no as true and false; with "choices" (as A-OKVQA and ScienceQA have them)
    the choice, which "answer" names by its number from 0 on, its letter or its text. A line may name what it is about:
    "knowledge" (a pack, or a list of packs), "db", "page", "image", or a picture's "caption"; files are looked for
    beside FILE. With --output a run that was interrupted goes on where it stopped. The last line of stdout is one JSON
    document.
    """
    expected = (
        '{"question": ..., "answer": ...} and at most one of "knowledge": PACKS, "db": FILE, "page": URL or FILE, '
        '"image": FILE; with "choices": LIST the answer is one of them'
    )
    examples = read_lines(file, partial(_Example.read_json, file.parent), expected)[:limit]
    agents = Agents(options, examples, file)
    agent, choice = agents.first, agents.choice
    of_lines = {str(e.line): [e.attached.kind, *e.attached.names] for e in examples if e.attached.kind}
    settings = {**options.settings(choice, agent.formulation), "samples": samples, "of_lines": of_lines}
    with Results(output, settings, _Scored) as results:
        todo = [example for example in examples if example not in results]
        n_correct = 0
        with progress_bar(len(examples), len(examples) - len(todo)) as advance:
            groups = agents.groups(todo)
            outcomes = chain.from_iterable(answer_all(of, some, parallel, samples) for of, some in groups)
            for n_done, (example, outcome) in enumerate(zip(todo, outcomes, strict=True), 1):
                correct = outcome.answer is not None and example.is_answered_by(outcome.answer)
                results.add(_Scored(**asdict(outcome), expected=example.answer, correct=correct))
                n_correct += correct
                advance(f"{n_correct}/{n_done} right")
        scores = _summary([results.of(example) for example in examples])
    click.echo(json.dumps({**scores, "formulation": agent.formulation, "pack": choice.name}))
    return 0


@dataclass(frozen=True)
class _Example(AttachedQuestion):
    answer: str
    choices: tuple[str, ...] = ()

    @classmethod
    def read_json(cls, folder: Path, line: int, data: dict[str, Any]) -> _Example:
        """The final answer alone; GSM8K's own files have it behind the solution and `####`, A-OKVQA's by its number."""
        question = str(data["question"])
        choices = tuple(map(str, data.get("choices") or ()))
        attached = Attached.read_json(data, folder)
        answer = data["answer"] if "answer" in data else data["correct_choice_idx"]
        said = _choice(answer, choices) if choices else str(answer).rpartition("####")[2].strip()
        return cls(
            line, attached.question(_asked(question, data.get("caption"), choices)), attached, said, choices
        )

    def is_answered_by(self, answer: str) -> bool:
        """Whether that is the expected answer, or the expected choice."""
        from lumos_edge.scoring import choice_of, is_correct

        if self.choices:
            return choice_of(answer, self.choices) == choice_of(self.answer, self.choices)
        return is_correct(answer, self.answer)


def _asked(question: str, caption: str | None, choices: tuple[str, ...]) -> str:
    """The question with its choices and its caption, in the paper's words. Raises ValueError."""
    from lumos_edge.pictures import captioned, with_choices
    from lumos_edge.trajectory import Task

    asked = with_choices(question, choices) if choices else question
    return captioned(Task(asked), caption).question if caption else asked


def _choice(answer: object, choices: tuple[str, ...]) -> str:
    """The right choice with its letter; raises ValueError."""
    from lumos_edge.scoring import choice_of

    index = answer if isinstance(answer, int) else choice_of(str(answer), choices)
    if index is None or not 0 <= index < len(choices):
        raise ValueError(f"{answer!r} is none of the choices")
    return f"{chr(ord('A') + index)}. {choices[index]}"


@dataclass(frozen=True)
class _Scored(Outcome):
    expected: str
    correct: bool


def _summary(outcomes: list[_Scored]) -> dict[str, Any]:
    costs = summary(outcomes)
    correct = sum(outcome.correct for outcome in outcomes)
    return {"n": costs.pop("n"), "correct": correct, "accuracy": round(correct / len(outcomes), 4), **costs}
