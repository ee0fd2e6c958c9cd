"""`--online` is what opens a socket, and nothing else does: an audit hook of Python sees every attempt."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lumos_edge.knowledge.pack import knowledge_folder
from tests.cli.conftest import MODEL, Command, error_line
from tests.knowledge.packs import ROMANS, build_pack
from tests.knowledge.wiki import Wiki

# Python runs it before anything else. It forbids sockets, and writes down who wanted one.
WATCH = """
import os, sys

def watch(event, arguments):
    if event.startswith("socket."):
        with open(os.environ["SOCKETS"], "a") as file:
            file.write(f"{event}\\n")
        if "MAY_CONNECT" not in os.environ:
            raise PermissionError("no sockets here")

sys.addaudithook(watch)
"""
QUICK = ("--max-subgoals", "1", "--max-actions", "4")

Watched = Callable[..., "tuple[subprocess.CompletedProcess[str], list[str]]"]


@pytest.fixture
def watched(run: Command, tmp_path: Path) -> Watched:
    """The command without sockets, and the events of sockets that it caused."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    events = tmp_path / "events"

    def run_watched(
        *arguments: object, **environment: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        events.write_text("")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        done = run(*arguments, PYTHONPATH=path, SOCKETS=str(events), **environment)
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


def test_with_it_the_wiki_is_asked(watched: Watched) -> None:
    with Wiki().running() as wiki:
        asked = ("knowledge", "search", "--online", "--entity", "Attila", "--json")
        blocked, events = watched(*asked, LUMOS_EDGE_WIKIPEDIA=wiki.address)
        assert "socket.__new__" in events
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
