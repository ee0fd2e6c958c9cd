"""`--online` is what opens a socket, and nothing else does: an audit hook of Python sees every attempt."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from mcp import Client, StdioServerParameters

from lumos_edge.knowledge.pack import knowledge_folder
from tests.cli.conftest import MODEL, Command, Start, error_line
from tests.knowledge.packs import ROMANS, build_pack
from tests.knowledge.wiki import Wiki

# Python runs it before anything else. It forbids sockets, and writes down who wanted one. A pair of Unix sockets, by
# which asyncio wakes itself, leads nowhere.
WATCH = """
import os, sys

UNIX = 1
LISTENING = "socket.__new__", "socket.bind"

def watch(event, arguments):
    if event.startswith("socket.") and not (event == "socket.__new__" and arguments[1] == UNIX):
        with open(os.environ["SOCKETS"], "a") as file:
            file.write(f"{event} {arguments[1:]}\\n")
        if "MAY_CONNECT" not in os.environ and not ("MAY_LISTEN" in os.environ and event in LISTENING):
            raise PermissionError("no sockets here")

sys.addaudithook(watch)
"""
QUICK = ("--max-subgoals", "1", "--max-actions", "4")

Watched = Callable[..., "tuple[subprocess.CompletedProcess[str], list[str]]"]


@pytest.fixture
def watching(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment of a process without sockets, and where it writes the events of sockets that it causes."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    events = tmp_path / "events"
    events.write_text("")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "SOCKETS": str(events)}, events


@pytest.fixture
def watched(run: Command, watching: tuple[dict[str, str], Path]) -> Watched:
    """The command without sockets, and the events of sockets that it caused."""
    environment, events = watching

    def run_watched(
        *arguments: object, input: str | None = None, **further: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        events.write_text("")
        done = run(*arguments, input=input, **environment, **further)
        return done, events.read_text().splitlines()

    return run_watched


def test_without_it_nothing_opens_a_socket(watched: Watched, tiny: Path, tmp_path: Path) -> None:
    source = tmp_path / "romans.jsonl"
    source.write_text('{"title": "Julius Caesar", "text": "He had three children."}\n')
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "Was Caesar a father?", "answer": "yes"}\n')
    commands: list[tuple[object, ...]] = [
        ("knowledge", "build", source, "--name", "romans"),
        ("knowledge", "add", "romans", source),
        ("knowledge", "list"),
        ("knowledge", "show", "romans"),
        ("knowledge", "search", "Caesar"),
        ("knowledge", "verify", "romans"),
        (
            "ask",
            *MODEL,
            tiny,
            *QUICK,
            "--domain",
            "qa",
            "--own-words",
            "--from-memory",
            "Was Caesar a father?",
        ),
        ("ask", *MODEL, tiny, *QUICK, "What is 2 + 3?"),
        ("eval", questions, *MODEL, tiny, *QUICK, "--domain", "qa"),
        ("knowledge", "rm", "romans"),
    ]
    for command in commands:
        done, events = watched(*command)
        assert events == [], command
        assert done.returncode in (0, 1, 4), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("answers_42")
def test_chat_opens_none(watched: Watched, tiny: Path) -> None:
    done, events = watched("chat", *MODEL, tiny, input="What is 2 + 3?\n")
    assert (done.stdout, events) == ("42\n", [])


@pytest.mark.usefixtures("answers_42")
def test_the_interface_on_two_streams_opens_none(watching: tuple[dict[str, str], Path], tiny: Path) -> None:
    environment, events = watching
    command = [sys.executable, "-m", "lumos_edge", "serve", "--stdio", *MODEL, str(tiny)]
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ask", "params": {"question": "What is 2 + 3?"}}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(asked)}\n")
        process.stdin.flush()
        reply = next(message for message in map(json.loads, process.stdout) if "id" in message)
        process.communicate(timeout=60)
    assert (reply["result"]["answer"], events.read_text()) == ("42", "")


@pytest.mark.usefixtures("answers_42")
def test_mcp_opens_none(watching: tuple[dict[str, str], Path], tiny: Path) -> None:
    environment, events = watching
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "lumos_edge", "mcp", *MODEL, str(tiny)],
        env={**os.environ, **environment},
    )

    async def main() -> Any:
        async with Client(parameters) as client:
            return await client.call_tool("ask", {"question": "What is 2 + 3?"})

    (said,) = asyncio.run(main()).content
    assert (said.text, events.read_text()) == ("42", "")


@pytest.mark.usefixtures("answers_42")
def test_serve_opens_the_one_that_it_listens_at(
    start: Start, watching: tuple[dict[str, str], Path], tiny: Path
) -> None:
    environment, events = watching
    process = start("serve", *MODEL, tiny, "--port", "0", **environment, MAY_LISTEN="1")
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    asked = {"model": "tiny.gguf", "messages": [{"role": "user", "content": "What is 2 + 3?"}]}
    reply = requests.post(f"{url}/chat/completions", json=asked, timeout=60).json()
    assert reply["choices"][0]["message"]["content"] == "42"
    listening, bound, *accepted = events.read_text().splitlines()
    assert listening.startswith("socket.__new__ ")
    assert bound == "socket.bind (('127.0.0.1', 0),)"
    assert {event.split()[0] for event in accepted} == {"socket.__new__"}
    assert len(accepted) == 1


def test_with_it_the_wiki_is_asked(watched: Watched) -> None:
    with Wiki().running() as wiki:
        asked = ("knowledge", "search", "--online", "--entity", "Attila", "--json")
        blocked, events = watched(*asked, LUMOS_EDGE_WIKIPEDIA=wiki.address)
        assert events[0].startswith("socket.")
        assert wiki.asked == []
        assert blocked.returncode == 1
        assert "no sockets here" in blocked.stderr
        allowed, _ = watched(*asked, LUMOS_EDGE_WIKIPEDIA=wiki.address, MAY_CONNECT="1")
    (passage,) = json.loads(allowed.stdout)
    assert passage == {
        "title": "Attila",
        "text": "Attila, ruler of the Huns, came after Caesar.",
        "pack": "127.0.0.1",
        "source": f"{wiki.address}/wiki/Attila",
    }


@pytest.mark.usefixtures("answers_its_packs")
def test_a_question_finds_packs_and_the_wiki(run: Command, tiny: Path) -> None:
    build_pack(knowledge_folder() / "romans.sqlite", *ROMANS)
    with Wiki().running() as wiki:
        done = run("ask", *MODEL, tiny, *QUICK, "--online", "Who?", LUMOS_EDGE_WIKIPEDIA=wiki.address)
    assert done.stdout == "127.0.0.1 romans\n"


def test_mistakes(run: Command, tiny: Path) -> None:
    asked = ("ask", *MODEL, tiny, "--online")
    assert "offline: --online needs the network" in error_line(run(*asked, "Who?", root=("--offline",)))
    wrong = run(*asked, "Who?", LUMOS_EDGE_WIKIPEDIA="wikipedia")
    assert (wrong.returncode, "LUMOS_EDGE_WIKIPEDIA: 'wikipedia' is no address" in error_line(wrong)) == (
        2,
        True,
    )
    both = run(*asked, "--db", "x.sqlite", "Who?")
    assert (both.returncode, "--db and --online exclude each other" in both.stderr) == (2, True)
