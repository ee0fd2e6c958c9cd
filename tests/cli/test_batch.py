"""`lumos-edge batch`: answers in the order of the questions, and files that survive a kill."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MODEL, Command, Start, error_line

QUESTIONS = [f"What is {number}?" for number in range(7)]
SHORT = ("--max-subgoals", "1")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))
    return file


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("answers_42")
@pytest.mark.parametrize("parallel", [1, 3, 8])
def test_the_outcomes_are_lines_in_the_order_of_the_questions(
    run: Command, tiny: Path, questions: Path, parallel: int
) -> None:
    done = run("batch", questions, *MODEL, tiny, *SHORT, "--parallel", parallel)
    assert (done.returncode, done.stderr) == (0, "")
    found = documents(done.stdout)
    assert [(one["line"], one["question"]) for one in found] == list(enumerate(QUESTIONS, 1))
    assert {one["answer"] for one in found} == {"42"}
    assert all(one["n_tokens"] > 5 and one["seconds"] >= 0 and not one["error"] for one in found)


def test_a_question_without_answer_says_why_and_does_not_stop_the_others(
    run: Command, tiny: Path, questions: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that('raise ToolError("nobody knows")')
    questions.write_text("\n".join(json.dumps({"question": q}) for q in ("word " * 3000, " ", QUESTIONS[0])))
    found = documents(run("batch", questions, *MODEL, tiny).stdout)
    assert [one["error"] for one in found] == ["ContextWindowExceeded", "ValueError", "NoAnswer"]
    assert [one["answer"] for one in found] == [None] * 3
    assert "nobody knows" in found[2]["message"]


def test_a_killed_run_goes_on_where_it_stopped(
    run: Command, start: Start, tiny: Path, tmp_path: Path, questions: Path, tool_that: Callable[[str], None]
) -> None:
    output = tmp_path / "results.jsonl"
    arguments = ("batch", questions, *MODEL, tiny, *SHORT, "--output", output, "--parallel", 2)
    tool_that("time.sleep(0.1); return Number(Fraction(42))")
    process = start(*arguments)
    while not (output.exists() and output.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = output.read_bytes().splitlines(keepends=True)[1:3]
    done = run(*arguments)
    (summary,) = documents(done.stdout)
    assert (done.returncode, summary["n"], summary["no_answer"]) == (0, 7, 0)
    assert output.read_bytes().splitlines(keepends=True)[1:3] == kept
    assert [one["line"] for one in documents(output.read_text())[1:]] == list(range(1, 8))


@pytest.mark.usefixtures("answers_42")
def test_the_results_of_eval_are_not_continued(
    run: Command, tiny: Path, tmp_path: Path, questions: Path
) -> None:
    output = tmp_path / "results.jsonl"
    questions.write_text('{"question": "What is 1?", "answer": "1"}\n')
    assert run("eval", questions, *MODEL, tiny, *SHORT, "--output", output).returncode == 0
    done = run("batch", questions, *MODEL, tiny, *SHORT, "--output", output)
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected a result of this command" in error_line(done)


def test_a_line_without_question_is_exit_code_2(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "x"}\n{"answer": "1"}\n')
    done = run("batch", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'line 2: expected {"question": ...}' in error_line(done)


def test_ctrl_c_ends_all_of_them(
    start: Start, tiny: Path, tmp_path: Path, questions: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that("time.sleep(0.2); return Number(Fraction(42))")
    output = tmp_path / "results.jsonl"
    process = start("batch", questions, *MODEL, tiny, *SHORT, "--output", output, "--parallel", 3)
    while not (output.exists() and output.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "lumos-edge: interrupted\n")
    assert documents(output.read_text())[1]["answer"] == "42"
