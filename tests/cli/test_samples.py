"""`--samples`: several plans, a vote, and traces of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Command, error_line

SHORT = ("--max-subgoals", "1")


@pytest.mark.usefixtures("answers_42")
def test_the_answer_alone_is_on_stdout(run: Command, tiny: Path) -> None:
    done = run("ask", "What is 1?", *MODEL, tiny, *SHORT, "--samples", 3)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


def test_json_has_all_samples_and_the_votes(
    run: Command, tiny: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that('if word: raise ToolError("nobody knows")')
    done = run("ask", "What is 1?", *MODEL, tiny, *SHORT, "--samples", 3, "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["answer"] is None
    assert document["vote"] == {"winner": 0, "answers": [None] * 3, "votes": [0, 0, 0]}
    assert [sample["error"] for sample in document["samples"]] == ["NoAnswer"] * 3
    assert document["trajectory"] == document["samples"][0]
    assert error_line(done).startswith("lumos-edge: no answer: ")


@pytest.mark.usefixtures("answers_42")
def test_the_trace_has_all_samples_and_is_replayed(run: Command, tiny: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    question = ("ask", "What is 1?", *MODEL, tiny, "--temperature", 1, "--trace", trace)
    assert run(*question, *SHORT, "--samples", 4).returncode == 0
    kinds = [json.loads(line)["record"] for line in trace.read_text().splitlines()]
    assert kinds == ["run", "completion", "completion", "trajectory"] * 4 + ["vote"]
    seeds = [json.loads(line)["sampling"]["seed"] for line in trace.read_text().splitlines()[:-1:4]]
    assert seeds == [0, 1, 2, 3]
    shown = run("trace", "show", trace)
    assert shown.stdout.endswith(
        "answer: 42\n\nsample 1: 42 (4 of 4) this one\n"
        + "".join(f"sample {number}: 42 (4 of 4)\n" for number in (2, 3, 4))
    )
    assert run("trace", "replay", trace).stdout == "same trajectory\n"
    assert run("trace", "html", trace).stdout.startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("answers_42")
def test_a_changed_sample_is_another_trajectory(run: Command, tiny: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    assert run("ask", "What is 1?", *MODEL, tiny, *SHORT, "--samples", 2, "--trace", trace).returncode == 0
    lines = trace.read_text().splitlines(keepends=True)
    (last,) = [number for number, line in enumerate(lines) if '"trajectory"' in line[:30]][1:]
    lines[last] = lines[last].replace("42", "43")
    trace.write_text("".join(lines))
    done = run("trace", "replay", trace)
    assert (done.returncode, done.stdout) == (1, "another trajectory\n")
    trace.write_text("".join(lines[:-1]))
    assert "interrupted" in error_line(run("trace", "replay", trace))
    assert "the run was interrupted here" in run("trace", "show", trace).stdout
    trace.write_text("".join([*lines[:-1], '{"record": "vote", "winner": 7, "answers": [], "votes": []}\n']))
    assert "is not of a run" in error_line(run("trace", "replay", trace))


@pytest.mark.usefixtures("answers_42")
@pytest.mark.parametrize("command", ["batch", "eval"])
def test_files_of_questions_are_voted_on(run: Command, tiny: Path, tmp_path: Path, command: str) -> None:
    questions, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    questions.write_text("".join(f'{{"question": "What is {n}?", "answer": "42"}}\n' for n in range(3)))
    arguments = (command, questions, *MODEL, tiny, *SHORT, "--output", output, "--parallel", 4)
    done = run(*arguments, "--samples", 3)
    assert (done.returncode, done.stderr) == (0, "")
    settings, *outcomes = [json.loads(line) for line in output.read_text().splitlines()]
    assert settings["settings"]["samples"] == 3
    assert [(one["line"], one["answer"], one["n_votes"]) for one in outcomes] == [
        (n, "42", 3) for n in (1, 2, 3)
    ]
    other = run(*arguments)
    assert "samples 3, not 1" in error_line(other)


@pytest.mark.parametrize("command", ["ask", "eval"])
def test_pages_are_not_sampled(run: Command, tiny: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "shop.html").write_text('<title>Shop</title><a href="b.html">Basket</a>')
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Open the basket.", "answer": "1", "page": "shop.html"}\n')
    asked = ("ask", "Open it.", "--page", tmp_path / "shop.html") if command == "ask" else ("eval", questions)
    done = run(*asked, *MODEL, tiny, "--samples", 2)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--samples is not for pages and shops" in error_line(done)
