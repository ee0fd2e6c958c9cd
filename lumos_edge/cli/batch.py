"""`lumos-edge batch`: many questions."""

from __future__ import annotations

import json
from dataclasses import asdict
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


@click.command("batch")
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
    """Answer every line of FILE (JSONL: {"question"}).

    The outcomes are printed in the order of the lines, a JSON document each. With --output they go into that file,
    where a run that was interrupted goes on, and a summary is printed.
    """
    questions = read_lines(file, _read_json, '{"question": ...}')[:limit]
    choice = options.choice()
    agent = options.agent(choice)
    settings = {**options.settings(choice, agent.formulation), "samples": samples}
    with Results(output, settings, Outcome) as results:
        todo = [question for question in questions if question not in results]
        with progress_bar(len(questions), len(questions) - len(todo)) as advance:
            for outcome in answer_all(agent, todo, parallel, samples):
                results.add(outcome)
                if not output:
                    _print(asdict(outcome))
                advance("answering")
        if output:
            _print(summary([results.of(question) for question in questions]))
    return 0


def _read_json(line: int, data: dict[str, Any]) -> Question:
    return Question(line, str(data["question"]))


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False))
