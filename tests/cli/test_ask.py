"""`lumos-edge ask`: the answer alone on stdout, the documented exit codes, and nothing half-written."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lumos_edge.resources import config_folder, content_folder
from tests.cli.conftest import MODEL, Command, Start, error_line
from tests.engine.tiny import write_adapter

QUESTION = "What is 2 + 3?"


@pytest.mark.usefixtures("answers_42")
def test_the_answer_alone_is_on_stdout(run: Command, tiny: Path) -> None:
    done = run("ask", *MODEL, tiny, QUESTION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.usefixtures("answers_42")
def test_a_dash_reads_the_question_from_stdin(run: Command, tiny: Path, tmp_path: Path) -> None:
    text = "What is\n2 +\u00a03,\U0001f468\u200d\U0001f469 \u2028 per person?\r\n"
    done = run("ask", *MODEL, tiny, "--trace", tmp_path / "t.jsonl", "-", input=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    shown = run("trace", "show", "--json", tmp_path / "t.jsonl")
    assert json.loads(shown.stdout)["question"].split() == text.split()


@pytest.mark.usefixtures("answers_42")
@pytest.mark.parametrize(("formulation", "n_completions"), [("onetime", 2), ("iterative", 3)])
def test_json_is_one_document(run: Command, tiny: Path, formulation: str, n_completions: int) -> None:
    """Two completions in the onetime formulation, two for each subgoal in the iterative one."""
    options = ("--formulation", formulation, "--max-subgoals", "2", "--json")
    done = run("ask", *MODEL, tiny, *options, QUESTION)
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (document["answer"], document["pack"]) == ("42", "tiny.gguf")
    assert document["trajectory"]["question"] == QUESTION
    assert document["trajectory"]["formulation"] == formulation
    assert len(document["completions"]) in range(n_completions, 5)
    assert {"module", "text", "n_prompt", "n_reused", "decode_s"} <= document["completions"][0].keys()
    assert len(document["trajectory"]["steps"]) <= 2


def test_no_answer_is_exit_code_1_and_still_a_document(
    run: Command, tiny: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that('raise ToolError("nobody knows")')
    done = run("ask", *MODEL, tiny, "--json", QUESTION)
    assert done.returncode == 1
    assert json.loads(done.stdout)["answer"] is None
    assert "no answer: R1 = Act(now) failed: nobody knows" in error_line(done)


@pytest.mark.usefixtures("answers_42")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--max-tokens", "5"), "the limit is 5 (raise --max-tokens)"),
        (("--timeout", "0.001"), "the limit is 0.001 s (raise --timeout)"),
        (("--timeout", "1e300", "--max-tokens", "5"), "the limit is 5 (raise --max-tokens)"),
        (("--max-actions", "1", "--formulation", "iterative"), "1 actions were executed"),
    ],
)
def test_a_budget_is_exit_code_4(run: Command, tiny: Path, option: tuple[str, ...], message: str) -> None:
    done = run("ask", *MODEL, tiny, *option, "--json", QUESTION)
    assert (done.returncode, json.loads(done.stdout)["answer"]) == (4, None)
    assert message in error_line(done)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "the question is empty"),
        (" \n\t", "the question is empty"),
        ("x" * 100_000, "the question has 100,000 characters, at most 20,000 are taken"),
        ("2 \x1b[31m+ 3", r"the question holds the control character '\x1b'"),
        ("a\x7fb", r"the question holds the control character '\x7f'"),
        (os.fsdecode(b"2 \xff 3"), r"the question holds the control character '\udcff'"),
    ],
)
def test_what_is_no_question_is_exit_code_2(run: Command, question: str, message: str) -> None:
    done = run("ask", question)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in error_line(done)
    assert not config_folder().parent.exists()


def test_a_nul_or_other_bytes_on_stdin_are_exit_code_2(run: Command) -> None:
    assert r"control character '\x00'" in error_line(run("ask", "-", input="2\x00 + 3"))
    command = [sys.executable, "-m", "lumos_edge", "ask", "-"]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, input=b"\xff\xfe", capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"lumos-edge: the question on stdin is no utf-8 text")
    assert done.stderr.count(b"\n") == 1


def test_a_question_beyond_the_context_window_is_refused_with_both_numbers(run: Command, tiny: Path) -> None:
    done = run("ask", *MODEL, tiny, "--n-ctx", 4096, "word " * 3000)
    assert (done.returncode, done.stdout) == (3, "")
    assert re.search(r"1\d,\d{3}|1\d{4} tokens are needed, the context window holds 4096", error_line(done))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pack", "nano", "--model", "x.gguf"), "--pack and --model exclude each other"),
        (("--planner-adapter", "a.gguf"), "an adapter needs --model"),
        (("--max-subgoals", "0"), "0 is not in the range"),
        (("--formulation", "twice"), "'twice' is not one of 'iterative', 'onetime'"),
        (("--no-such-option",), "No such option"),
        (("--timeout", "nan"), "'nan' is no finite number"),
        (("--temperature", "inf"), "inf is not in the range"),
        (("--top-p", "nan"), "'nan' is no finite number"),
        (("--n-threads", "100000"), "100000 is not in the range 1<=x<=512"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Command, arguments: tuple[str, ...], message: str) -> None:
    done = run("ask", QUESTION, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in error_line(done)
    assert "`lumos-edge ask --help`" in done.stderr or "adapter" in done.stderr or "exclude" in done.stderr


def test_weights_that_do_not_load_are_exit_code_3(run: Command, tiny: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(tiny.read_bytes()[: tiny.stat().st_size // 2])
    text = tmp_path / "text.gguf"
    text.write_text("no weights")
    empty = tmp_path / "empty.gguf"
    empty.touch()
    for path, message in (
        (tmp_path / "missing.gguf", "cannot be read: No such file or directory"),
        (truncated, "cannot be loaded: "),
        (text, "begins with b'no w', b'GGUF' was expected"),
        (empty, "begins with b'', b'GGUF' was expected"),
    ):
        done = run("ask", *MODEL, path, QUESTION)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{path} " in error_line(done)
        assert message in done.stderr


def test_a_context_window_that_the_model_lacks_is_exit_code_3(run: Command, tiny: Path) -> None:
    done = run("ask", *MODEL, tiny, "--n-ctx", "1000000000", QUESTION)
    assert (done.returncode, done.stdout) == (3, "")
    assert "1,000,000,000 tokens is more than the 8,192 that tiny.gguf was trained with" in error_line(done)


def test_an_adapter_of_another_model_is_exit_code_3(run: Command, tiny: Path, tmp_path: Path) -> None:
    for path in (
        write_adapter(tmp_path / "qwen.gguf", 1, architecture="qwen2"),
        write_adapter(tmp_path / "wide.gguf", 1, n_embd=96),
    ):
        done = run("ask", *MODEL, tiny, "--grounder-adapter", path, QUESTION)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{path} does not fit tiny.gguf" in error_line(done)


@pytest.mark.usefixtures("answers_42")
def test_an_adapter_of_the_other_formulation_is_a_warning(run: Command, tiny: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "onetime.gguf", 1, metadata={"lumos.formulation": "onetime"})
    weights = (*MODEL, tiny, "--grounder-adapter", adapter, "--max-subgoals", 1)
    done = run("ask", *weights, "--quiet", "--formulation", "iterative", QUESTION)
    assert (done.returncode, done.stdout) == (0, "42\n")
    assert "not trained for the iterative formulation (grounder for onetime)" in error_line(done)
    assert run("ask", *weights, QUESTION).stderr == ""
    shown = _on_terminal("ask", *weights, "--formulation", "iterative", QUESTION)[2]
    assert _screen(shown)[0].startswith("the adapters were not trained for the iterative formulation")


def test_a_manifest_with_an_unknown_key_is_exit_code_3(run: Command, tmp_path: Path) -> None:
    pack = tmp_path / "own.toml"
    pack.write_text(f'colour = "red"\n{(content_folder("models") / "nano.toml").read_text()}')
    done = run("ask", "--pack", pack, QUESTION)
    assert (done.returncode, done.stdout) == (3, "")
    assert "unknown key 'colour'" in error_line(done)


@pytest.mark.parametrize(
    ("source", "message"),
    [("def f(:", "SyntaxError"), ("import no_such_package", "no_such_package"), ("x = 1", "defines no tool")],
)
def test_a_tool_file_that_does_not_load_is_exit_code_3(
    run: Command, tiny: Path, tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "own.py").write_text(source)
    done = run("ask", *MODEL, tiny, "--tools", tmp_path / "own.py", QUESTION)
    assert (done.returncode, done.stdout) == (3, "")
    assert message in error_line(done)


def test_offline_and_not_pulled_is_exit_code_3(run: Command) -> None:
    done = run("ask", "--pack", "nano", QUESTION, root=("--offline",))
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs the network" in done.stderr


@pytest.mark.usefixtures("answers_42")
def test_an_unwritable_cache_costs_no_answer(run: Command, tiny: Path) -> None:
    (config_folder().parent / "cache").write_text("a file where a folder should be")
    done = run("ask", *MODEL, tiny, QUESTION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


@pytest.mark.usefixtures("answers_42")
def test_a_trace_file_that_cannot_be_written_is_exit_code_3(run: Command, tiny: Path, tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no" / "t.jsonl", "No such file or directory"),
        (Path("/dev/full"), "No space left on device"),
    ):
        done = run("ask", *MODEL, tiny, "--trace", path, QUESTION)
        assert (done.returncode, done.stdout) == (3, "")
        assert error_line(done) == f"lumos-edge: {path}: {reason}\n"


def test_a_run_that_never_began_leaves_an_earlier_trace_alone(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("the last one")
    assert run("ask", "--model", tmp_path / "missing.gguf", "--trace", file, QUESTION).returncode == 3
    assert file.read_text() == "the last one"


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C has to end the process, with one line, long before it would end by itself."""
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "lumos-edge: interrupted\n")


def _wait_for_lines(file: Path, n_lines: int, process: subprocess.Popen[str]) -> None:
    while not (file.exists() and file.read_bytes().count(b"\n") == n_lines):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize("n_lines", [1, 2], ids=["planner", "grounder"])
@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_ctrl_c_during_prefill_and_decode(
    start: Start, run: Command, tiny: Path, tmp_path: Path, n_lines: int, delay_s: float
) -> None:
    """The second line of a trace is the planner's completion: before it the planner works, then the grounder."""
    file = tmp_path / "t.jsonl"
    options = ("--temperature", "10", "--seed", "3", "--n-ctx", "8192", "--formulation", "onetime")
    process = start("ask", *MODEL, tiny, *options, "--trace", file, "rows of beans and corn " * 150)
    _wait_for_lines(file, n_lines, process)
    time.sleep(delay_s)
    _interrupt(process)
    shown = run("trace", "show", file)
    assert (shown.returncode, shown.stdout.splitlines()[-1]) == (0, "the run was interrupted here")
    # A `.state` in the cache is whole: it is what prompts begin with, kept for the next process.
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert [path.name for path in left if path.parent.name != "prefixes" or path.suffix != ".state"] == []


def test_ctrl_c_during_a_tool(
    start: Start, tiny: Path, tmp_path: Path, tool_that: Callable[[str], None]
) -> None:
    file = tmp_path / "t.jsonl"
    tool_that("time.sleep(50)")
    process = start("ask", *MODEL, tiny, "--trace", file, QUESTION)
    _wait_for_lines(file, 3, process)
    time.sleep(0.1)
    _interrupt(process)
    assert [json.loads(line)["record"] for line in file.read_text().splitlines()] == [
        "run",
        "completion",
        "completion",
    ]


def _on_terminal(*arguments: object, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and what a terminal on stderr shows."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lumos_edge", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", **environment}
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 1000)
            except OSError:  # Linux says so when the other side is closed
                break
            shown += piece
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, out, shown.decode()


def _screen(shown: str) -> list[str]:
    """The lines that stay, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r\n", "\n")
    return [line.rpartition("\r\x1b[K")[2] for line in plain.removesuffix("\n").split("\n")]


@pytest.mark.usefixtures("answers_42")
def test_a_terminal_shows_subgoals_actions_and_results(tiny: Path) -> None:
    code, out, shown = _on_terminal("ask", *MODEL, tiny, "--max-subgoals", "1", QUESTION)
    assert (code, out) == (0, "42\n")
    assert "\x1b[36mSubgoal 1" in shown.replace("\x1b[0m\x1b[36m", "")
    assert [
        what for what in ("loading tiny.gguf ...", "planning ...", "grounding ...") if what not in shown
    ] == []
    lines = _screen(shown)
    assert lines[0].startswith("Subgoal 1: ")
    assert lines[1] == "  R1 = Act(now)"
    assert "    R1 = 42" in lines
    assert not any("..." in line.removeprefix(lines[0]) for line in lines)


@pytest.mark.usefixtures("answers_42")
def test_no_color_means_none_and_quiet_means_nothing(tiny: Path) -> None:
    shown = _on_terminal("ask", *MODEL, tiny, QUESTION, NO_COLOR="1")[2]
    assert "    R1 = 42\r\n" in shown
    assert re.findall(r"\x1b\[[0-9;]*m", shown) == []
    assert _on_terminal("ask", *MODEL, tiny, "--quiet", QUESTION) == (0, "42\n", "")


def test_a_failed_action_is_shown(tiny: Path, tool_that: Callable[[str], None]) -> None:
    tool_that('raise ToolError("nobody knows")')
    code, out, shown = _on_terminal("ask", *MODEL, tiny, QUESTION)
    assert (code, out) == (1, "")
    assert "    R1: ToolError: nobody knows" in _screen(shown)
    assert _screen(shown)[-1].startswith("lumos-edge: no answer: ")


@pytest.mark.model
def test_a_real_model_answers(run: Command, nano_path: Path) -> None:
    question = "A box has 3 rows of 4 apples. How many apples are in it?"
    done = run(
        "ask", "--model", nano_path, "--max-subgoals", "1", "--formulation", "iterative", "--json", question
    )
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"-?[\d./]+", document["answer"])
    planner, grounder = document["completions"]
    assert planner["text"].startswith("Subgoal 1: ")
    assert grounder["text"].startswith("R1 = ")
