"""`--server`: the same commands on weights that a server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command, error_line
from tests.engine.servers import ScriptedServer, writes

QUESTION = "What is 2 + 3?"
PLAN = "Subgoal 1: Add the numbers."
ACTION = "R1 = Calculator(2 + 3)"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer("vllm", ("base", "planner", "grounder"))
    scripted.answers = [writes(PLAN), writes(ACTION)]
    yield scripted
    scripted.close()


def test_ask_on_a_server_whose_modules_have_names_of_their_own(
    run: Command, server: ScriptedServer, tmp_path: Path
) -> None:
    trace = tmp_path / "t.jsonl"
    names = (
        "--server-model",
        "base",
        "--server-model",
        "planner=planner",
        "--server-model",
        "grounder=grounder",
    )
    done = run("ask", "--server", server.url, *names, "--formulation", "onetime", "--trace", trace, QUESTION)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")
    assert [request["model"] for request in server.requests] == ["planner", "grounder"]
    replayed = run("trace", "replay", trace)
    assert (replayed.returncode, replayed.stdout) == (0, "same trajectory\n")
    live = run("trace", "replay", "--live", trace)
    assert (live.returncode, "was recorded on the server" in live.stderr) == (3, True)


def test_eval_continues_only_on_the_same_server(run: Command, server: ScriptedServer, tmp_path: Path) -> None:
    questions, output = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    questions.write_text(json.dumps({"question": QUESTION, "answer": "5"}))
    options = ("--formulation", "onetime", "--output", output)
    first = run("eval", questions, "--server", server.url, "--server-model", "base", *options)
    assert json.loads(first.stdout.splitlines()[-1])["correct"] == 1
    again = run("eval", questions, "--server", server.url, "--server-model", "base", *options)
    assert json.loads(again.stdout.splitlines()[-1])["correct"] == 1
    assert len(server.requests) == 2
    other = run("eval", questions, "--server", server.url, "--server-model", "planner", *options)
    assert (other.returncode, "holds the results of another run" in other.stderr) == (2, True)


def test_a_chat_template_of_the_users(run: Command, server: ScriptedServer, tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}TURN {{ m.content }}{% endfor %}TURN")
    options = ("--server-model", "base", "--server-chat-template", template, "--formulation", "onetime")
    assert run("ask", "--server", server.url, *options, QUESTION).stdout == "5\n"
    assert bytes(token for token in server.requests[0]["prompt"] if token < 256).startswith(b"TURN ")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--server-model", "a"), "need --server"),
        (("--server", "http://127.0.0.1:1", "--n-ctx", "512"), "are the server's"),
        (("--server", "http://127.0.0.1:1", "--model", "a.gguf"), "are the server's"),
    ],
)
def test_options_that_mean_nothing_together(run: Command, options: tuple[str, ...], why: str) -> None:
    done = run("ask", *options, QUESTION)
    assert (done.returncode, why in done.stderr) == (2, True)


def test_offline_forbids_a_server(run: Command, server: ScriptedServer) -> None:
    done = run("--offline", "ask", "--server", server.url, QUESTION)
    assert (done.returncode, done.stdout) == (3, "")
    assert "offline" in error_line(done)
    assert not server.paths
