"""`lumos-edge trace`: what was recorded, and the same run again with a model and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, TOOLS, Command, error_line
from tests.cli.test_mcp_command import EXAMPLE

QUESTION = "What is 2 + 3?"


@pytest.fixture
def recorded(run: Command, tiny: Path, tmp_path: Path, answers_42: None) -> Path:
    file = tmp_path / "t.jsonl"
    options = ("--formulation", "iterative", "--max-subgoals", "2")
    assert run("ask", *MODEL, tiny, *options, "--trace", file, QUESTION).stdout == "42\n"
    return file


def _change(file: Path, index: int, old: str, new: str) -> None:
    lines = file.read_text().splitlines(keepends=True)
    assert old in lines[index]
    lines[index] = lines[index].replace(old, new)
    file.write_text("".join(lines))


def test_a_trace_is_a_run_its_completions_and_its_trajectory(recorded: Path) -> None:
    records = [json.loads(line) for line in recorded.read_text().splitlines()]
    kinds = [record["record"] for record in records]
    assert kinds[0] == "run"
    assert set(kinds[1:-1]) == {"completion"}
    assert kinds[-1] == "trajectory"
    assert records[0]["question"] == QUESTION


def test_show_prints_the_steps_and_their_cost(run: Command, recorded: Path) -> None:
    done = run("trace", "show", recorded)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[:2] == [f"question: {QUESTION}", "model: tiny.gguf, iterative"]
    assert any(line.startswith("planner: Subgoal 1: ") for line in lines)
    assert any(line.startswith("  prompt ") and "reused" in line for line in lines)
    assert "  R1 = Act(now)  ->  42" in lines
    assert lines[-1] == "answer: 42"
    assert "\x1b" not in done.stdout
    assert "<|im_start|>" in run("trace", "show", "--prompts", recorded).stdout


def test_html_is_a_page_on_stdout_or_in_a_file(run: Command, recorded: Path, tmp_path: Path) -> None:
    done = run("trace", "html", recorded)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert "R1 = Act(now)" in done.stdout
    page = tmp_path / "run.html"
    assert run("trace", "html", recorded, "-o", page).stdout == ""
    assert page.read_text("utf-8") == done.stdout
    recorded.write_text("{}\n")
    assert "is not of a run" in error_line(run("trace", "html", recorded, "-o", tmp_path / "none.html"))
    assert not (tmp_path / "none.html").exists()


def test_replay_gives_the_same_trajectory_without_a_model(
    run: Command, recorded: Path, tiny: Path, tmp_path: Path
) -> None:
    """Neither the binding nor the weights are touched: one cannot be imported, the other are not there."""
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('not in this test')")
    _change(recorded, 0, str(tiny), str(tmp_path / "nowhere.gguf"))
    done = run("trace", "replay", recorded, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "same trajectory\n", "")


def test_replay_says_when_the_tools_answer_otherwise(
    run: Command, recorded: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that("return Number(Fraction(43))")
    done = run("trace", "replay", recorded)
    assert done.returncode in (1, 3)  # 3 where the planner was told of the result
    assert "same trajectory" not in done.stdout


def test_live_replay_decodes_the_same_texts(run: Command, recorded: Path) -> None:
    done = run("trace", "replay", "--live", recorded)
    assert (done.returncode, done.stdout, done.stderr) == (0, "same trajectory\n", "")


def test_live_replay_shows_the_first_difference(run: Command, recorded: Path) -> None:
    text = json.loads(recorded.read_text().splitlines()[1])["completion"]["text"]
    _change(recorded, 1, json.dumps(text, ensure_ascii=False), '"Subgoal 1: Add."')
    _change(recorded, -1, json.dumps(text.removeprefix("Subgoal 1: "), ensure_ascii=False), '"Add."')
    done = run("trace", "replay", "--live", recorded)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0], lines[-1]) == (1, "completion 1, planner:", "another trajectory")
    assert lines[1:3] == ["  recorded: Subgoal 1: Add.", f"  live:     {text}"]


def test_live_replay_needs_the_recorded_weights(run: Command, recorded: Path, tiny: Path) -> None:
    _change(recorded, 0, str(tiny), "/nowhere.gguf")
    done = run("trace", "replay", "--live", recorded)
    assert (done.returncode, done.stdout) == (3, "")
    assert "/nowhere.gguf cannot be read" in error_line(done)


def test_a_run_that_was_cut_off_can_be_shown_but_not_replayed(run: Command, recorded: Path) -> None:
    lines = recorded.read_text().splitlines(keepends=True)
    recorded.write_text("".join(lines[:2]))
    assert run("trace", "show", recorded).stdout.splitlines()[-1] == "the run was interrupted here"
    assert json.loads(run("trace", "show", "--json", recorded).stdout) is None
    done = run("trace", "replay", recorded)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the recorded run was interrupted" in error_line(done)


@pytest.mark.usefixtures("answers_42")
@pytest.mark.parametrize("option", [("--max-tokens", "5"), ("--max-actions", "1")])
def test_a_run_that_a_budget_ended_replays_to_the_same_end(
    run: Command, tiny: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    file = tmp_path / "t.jsonl"
    options = ("--formulation", "iterative", "--trace", file)
    assert run("ask", *MODEL, tiny, *option, *options, QUESTION).returncode == 4
    done = run("trace", "replay", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "same trajectory\n", "")


@pytest.mark.usefixtures("answers_42")
def test_a_run_that_the_clock_ended_cannot_be_replayed(run: Command, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    assert run("ask", *MODEL, tiny, "--timeout", "0.001", "--trace", file, QUESTION).returncode == 4
    done = run("trace", "replay", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "its time limit ended the recorded run" in error_line(done)


@pytest.mark.parametrize("command", [("show",), ("replay",), ("replay", "--live")])
@pytest.mark.parametrize(
    "content", [None, "", "no json", "[]", '{"record": "run", "question": "x"}', "\x00", "\xff"]
)
def test_what_is_no_trace_is_one_line(
    run: Command, tmp_path: Path, command: tuple[str, ...], content: str | None
) -> None:
    file = tmp_path / "t.jsonl"
    if content is not None:
        file.write_text(content, "latin-1")
    done = run("trace", *command, file)
    assert (done.returncode, done.stdout.count("answer")) in ((2, 0), (3, 0))
    error_line(done)


def test_tools_that_are_not_there_are_named_and_can_be_given(
    run: Command, tiny: Path, tmp_path: Path, answers_42: None
) -> None:
    tools, trace = tmp_path / "more.py", tmp_path / "t.jsonl"
    tools.write_text(TOOLS.replace("def Act", "def More") + "    return Number(Fraction(1))\n")
    done = run("ask", *MODEL, tiny, "--tools", tools, "--trace", trace, QUESTION)
    assert done.returncode in (0, 1), done.stderr
    assert run("trace", "replay", trace).stdout == "same trajectory\n"
    given = tmp_path / "kept" / "more.py"
    given.parent.mkdir()
    tools.rename(given)
    missing = run("trace", "replay", trace)
    assert missing.returncode == 3
    assert f"the run's tools in {tools} are not there: give them with --tools FILE" in error_line(missing)
    assert run("trace", "replay", trace, "--tools", given).stdout == "same trajectory\n"


def test_tools_of_an_mcp_server_are_named_and_can_be_given(
    run: Command, tiny: Path, tmp_path: Path, answers_42: None
) -> None:
    trace = tmp_path / "t.jsonl"
    run("ask", *MODEL, tiny, "--mcp", EXAMPLE, "--trace", trace, QUESTION)
    missing = run("trace", "replay", trace)
    assert missing.returncode == 3
    assert "the run's tools convert_distance, " in error_line(missing)
    assert "are in none of its packs: give them with --tools FILE or --mcp COMMAND" in error_line(missing)
    assert run("trace", "replay", trace, "--mcp", EXAMPLE).stdout == "same trajectory\n"
