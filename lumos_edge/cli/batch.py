"""`lumos-edge batch`: many questions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, TypeAlias

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
@click.option("--ray", "cluster", metavar="ADDRESS", help="Spread the questions over this Ray cluster.")
@agent_options
def command(
    file: Path,
    options: AgentOptions,
    limit: int | None,
    output: Path | None,
    parallel: int,
    samples: int,
    cluster: str | None,
) -> int:
    """Answer every line of FILE (JSONL: {"question"}).

    The outcomes are printed in the order of the lines, a JSON document each. With --output they go into that file,
    where a run that was interrupted goes on, and a summary is printed.
    """
    questions = read_lines(file, _read_json, '{"question": ...}')[:limit]
    out = sys.stdout
    with ExitStack() as stack:
        if cluster:
            settings, answer = _on_cluster(cluster, options, parallel, samples)
            # Ray writes what it has to say of lost workers to stdout, which is for the outcomes.
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        else:
            settings, answer = _here(options, parallel, samples)
        results = stack.enter_context(Results(output, {**settings, "samples": samples}, Outcome))
        todo = [question for question in questions if question not in results]
        advance = stack.enter_context(progress_bar(len(questions), len(questions) - len(todo)))
        for outcome in answer(todo):
            results.add(outcome)
            if not output:
                _print(asdict(outcome), out)
            advance("answering")
    if output:
        _print(summary([results.of(question) for question in questions]), out)
    return 0


_Answer: TypeAlias = Callable[[Sequence[Question]], Iterator[Outcome]]


def _here(options: AgentOptions, parallel: int, samples: int) -> tuple[dict[str, Any], _Answer]:
    """What decides the answers, and how they are found."""
    choice = options.choice()
    agent = options.agent(choice)
    return options.settings(choice, agent.formulation), lambda todo: answer_all(
        agent, todo, parallel, samples
    )


def _on_cluster(
    address: str, options: AgentOptions, parallel: int, samples: int
) -> tuple[dict[str, Any], _Answer]:
    """The same on other machines: this one needs no weights."""
    from lumos_edge.cli.cluster import answer_on_cluster

    if options.mcp_servers:
        raise click.UsageError("--ray and --mcp exclude each other: an MCP server is on one machine")
    settings = json.loads(json.dumps(asdict(options), default=str))
    return settings, lambda todo: answer_on_cluster(address, options, todo, parallel, samples)


def _read_json(line: int, data: dict[str, Any]) -> Question:
    return Question(line, str(data["question"]))


def _print(document: dict[str, Any], out: TextIO) -> None:
    click.echo(json.dumps(document, ensure_ascii=False), file=out)
