"""`lumos-edge chat`, with its input from a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lumos_edge.knowledge.pack import knowledge_folder
from lumos_edge.resources import config_folder, data_folder
from tests.cli.conftest import MODEL, TOOLS, Command
from tests.knowledge.packs import ROMANS, build_pack

QUESTION = "What is 2 + 3?"


@pytest.mark.usefixtures("answers_42")
def test_every_line_of_a_pipe_is_a_question(run: Command, tiny: Path) -> None:
    done = run("chat", *MODEL, tiny, input=f"{QUESTION}\n\n{QUESTION}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n42\n", "")
    assert not (data_folder() / "chat-history").exists()


def test_an_attached_folder_is_answered_from(run: Command, tiny: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "boiler.md").write_text("The boiler was serviced in May 2024.")
    trace = tmp_path / "run.jsonl"
    lines = [
        f"/attach {notes}",
        f"/attach {notes / 'boiler.md'}",
        "When was the boiler serviced?",
        f"/trace {trace}",
    ]
    done = run("chat", *MODEL, tiny, "--max-tokens", "200", input="\n".join(lines))
    said = done.stderr.splitlines()
    assert re.fullmatch(r"reading notes: 36 bytes", said[0])
    assert any(re.fullmatch(r"answers come from notes-\w{8}", line) for line in said), said
    assert any(re.fullmatch(r"answers come from notes-\w{8}, boiler-\w{8}", line) for line in said), said
    written = json.loads(trace.read_text().splitlines()[0])
    assert (written["tools"], written["formulation"]) == (["qa"], "iterative")
    assert written["question"] == "When was the boiler serviced?"


def test_what_goes_wrong_is_one_line_and_the_next_question_follows(
    run: Command, tiny: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that('raise ToolError("nobody knows")')
    lines = [
        QUESTION,
        "/sing",
        "/pack nope",
        "/attach",
        "/attach nothing",
        "/attach nowhere.py",
        "/trace",
        "a\x7fb",
        QUESTION,
    ]
    done = run("chat", *MODEL, tiny, input="\n".join(lines))
    assert (done.returncode, done.stdout) == (0, "")
    said = done.stderr.splitlines()
    expected = [
        "no answer: R1 = Act",
        "there is no /sing; there are /attach, /domain",
        "no model pack 'nope'",
        "/attach takes a Python file, a folder or file",
        "no knowledge pack 'nothing'; installed: none",
        "there is no file nowhere.py",
        # A question was asked, so only the file is missing.
        "/trace takes a file",
        "the question holds the control character",
        "no answer: R1 = Act",
    ]
    assert len(said) == len(expected), said
    for line, beginning in zip(said, expected, strict=True):
        assert line.startswith(beginning)


@pytest.mark.usefixtures("answers_42")
def test_commands_change_what_is_asked(run: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(TOOLS.replace("Act", "More") + "    return Number(Fraction(1))\n")
    (config_folder() / "tools" / "seven.py").write_text(
        TOOLS.replace("Act", "Seven") + "    return Number(Fraction(7))\n"
    )
    run_file, page = tmp_path / "run.jsonl", tmp_path / "run.html"
    lines = ["/domain", f"/attach {tmp_path / 'more.py'}", "/domain seven", "/pack", "/help"]
    lines += [QUESTION, f"/trace {run_file}", f"/trace {page}"]
    done = run("chat", *MODEL, tiny, input="\n".join(lines))
    said = done.stderr.splitlines()
    assert (said[0], said[1], said[2]) == ("maths: Act", "tools: Act, More", "seven: Seven, More")
    assert said[3] == "tiny.gguf"
    assert [line.split()[0] for line in said[4:9]] == ["/attach", "/domain", "/help", "/pack", "/trace"]
    assert said[9:] == [f"{run_file} written", f"{page} written"]
    assert done.stdout.strip() in ("7", "1")
    assert "question: What is 2 + 3?" in run("trace", "show", run_file).stdout
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("answers_its_packs")
def test_chat_turns_to_knowledge_and_back(run: Command, tiny: Path, tool_that: Callable[[str], None]) -> None:
    tool_that("return Number(Fraction(42))")
    lines = ["/domain qa", QUESTION, "/domain maths", QUESTION]
    none = run("chat", *MODEL, tiny, "--max-subgoals", "1", input="\n".join(lines))
    assert (none.stdout, none.stderr.count("no knowledge pack is installed")) == ("42\n42\n", 1)
    build_pack(knowledge_folder() / "romans.sqlite", *ROMANS)
    done = run("chat", *MODEL, tiny, "--max-subgoals", "1", input="\n".join(lines))
    assert done.stdout == "romans\n42\n"


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: object) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "lumos_edge", *map(str, arguments)]
        # A session of its own, so that Ctrl-C reaches it as from a real terminal.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),  # type: ignore[call-overload]
            env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
        )
        os.close(theirs)
        self.shown = ""

    def send(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Read until the pattern is shown, after what was waited for before."""
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, self.shown
            self.shown += os.read(self._ours, 4096).decode()
        self.shown = self.shown[found.end() :]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as stack:

        def start(*arguments: object) -> Terminal:
            made = Terminal(*arguments)
            stack.callback(made.close)
            return made

        yield start


def test_ctrl_c_cancels_the_question_and_not_the_program(
    terminal: Callable[..., Terminal], tiny: Path, tool_that: Callable[[str], None], tmp_path: Path
) -> None:
    """The tool works for ever the first time, in Python code, and answers the second time."""
    marker = tmp_path / "once"
    tool_that(
        f"""
    from pathlib import Path
    if not Path({str(marker)!r}).exists():
        Path({str(marker)!r}).touch()
        while True:
            time.sleep(0.01)
    return Number(Fraction(42))"""
    )
    chat = terminal("chat", *MODEL, tiny)
    chat.wait_for(r"tiny\.gguf; /help, Ctrl-D ends")
    chat.wait_for("> ")
    chat.send("half a quest\x03")
    chat.wait_for("> ")
    chat.send(f"{QUESTION}\n")
    chat.wait_for(r"R1 = Act\(now\)")
    while not marker.exists():
        time.sleep(0.01)
    chat.send("\x03")
    chat.wait_for("cancelled")
    chat.wait_for("> ")
    chat.send(f"{QUESTION}\n")
    chat.wait_for(r"\n42\r\n")
    chat.wait_for("> ")
    chat.send("\x04")
    assert chat.process.wait(30) == 0
    history = (data_folder() / "chat-history").read_text().splitlines()
    assert [line for line in history if line == QUESTION]
    assert (data_folder() / "chat-history").stat().st_mode & 0o077 == 0
