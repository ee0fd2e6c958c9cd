"""`lumos-edge knowledge`: packs built, searched, verified and removed by the real command."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lumos_edge.knowledge.pack import knowledge_folder
from tests.cli.conftest import Command, error_line

LINES = [
    {"title": "Genghis Khan", "text": "Genghis Khan had sixteen children."},
    {"title": "Julius Caesar", "text": "Julius Caesar had three children."},
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return path


def test_a_pack_from_build_to_rm(run: Command, source: Path, tmp_path: Path) -> None:
    built = run("knowledge", "build", source, "--name", "people", "--licence", "CC0")
    path = knowledge_folder() / "people.sqlite"
    assert built.stdout.startswith(f"{path}: 2 articles, 2 passages, ")
    assert run("knowledge", "list").stdout.split()[:5] == ["people", "2", "articles", "2", "passages"]
    shown = json.loads(run("knowledge", "show", "people", "--json").stdout)
    assert (shown["licence"], shown["source"], shown["n_passages"]) == ("CC0", source.name, 2)
    assert "licence      CC0\n" in run("knowledge", "show", "people").stdout
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "kublai.md").write_text("# Kublai Khan\n\nHe was a *grandson* of Genghis Khan.")
    assert ": 3 articles," in run("knowledge", "add", "people", notes).stdout
    assert str(tmp_path).encode() not in path.read_bytes()
    assert run("knowledge", "verify", "people").stdout == f"{path}: 3 passages, as expected\n"
    assert run("knowledge", "rm", "people").stdout.startswith("people: ")
    assert run("knowledge", "rm", "people").stdout == "people: was not there\n"
    assert run("knowledge", "list", "--json").stdout == "[]\n"


def test_searching(run: Command, source: Path) -> None:
    run("knowledge", "build", source, "--name", "people")
    found = run("knowledge", "search", "How many children did Caesar have?", "-n", "1")
    assert found.stdout == "Julius Caesar  (people)\nJulius Caesar had three children.\n\n"
    asked = run("knowledge", "search", "--entity", "khan, genghis", "--json", "-n", "1", "--pack", "people")
    assert json.loads(asked.stdout) == [{**LINES[0], "pack": "people", "source": ""}]
    nothing = run("knowledge", "search", "zzzz")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (1, "", "")


def test_errors_are_one_line(run: Command, source: Path, tmp_path: Path) -> None:
    unknown = run("knowledge", "show", "nothing")
    assert unknown.returncode == 3
    assert "no knowledge pack 'nothing'; installed: none" in error_line(unknown)
    named = run("knowledge", "build", source, "--name", "../people")
    assert (named.returncode, "is no name" in error_line(named)) == (2, True)
    source.write_text('{"title": "A"}\n')
    broken = run("knowledge", "build", source, "--name", "people")
    assert broken.returncode == 3
    assert "people.jsonl, line 1: " in broken.stderr.splitlines()[-1]
    assert run("knowledge", "list").stdout == ""
    (knowledge_folder() / "bad.sqlite").write_text("no database")
    assert "file is not a database" in run("knowledge", "list").stdout


def test_a_terminal_sees_a_bar_with_articles_and_time(source: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lumos_edge", "knowledge", "build", str(source), "--name", "people"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:
            pass  # how Linux says that the other side is closed
    os.close(ours)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"people .*100% 2 articles, [\d,]+/s", text), text
