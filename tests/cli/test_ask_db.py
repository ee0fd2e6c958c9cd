"""Databases that are asked, by a file's name or by a URL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Command, error_line
from tests.sql.databases import make

_NOBODY = "postgresql+psycopg://me:secret@127.0.0.1:1/none"


def test_a_missing_database_is_one_line(run: Command, tiny: Path, tmp_path: Path) -> None:
    done = run("ask", *MODEL, tiny, "--db", tmp_path / "no.sqlite", "How many?")
    assert done.returncode == 3
    assert "there is no database file" in error_line(done)


@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_a_file_is_asked_by_its_name_or_its_url(
    run: Command, tiny: Path, tmp_path: Path, prefix: str
) -> None:
    file = make(tmp_path / "library.sqlite")
    trace = tmp_path / "trace.jsonl"
    options = ("--n-ctx", "8192", "--max-subgoals", "1", "--trace", trace)
    done = run("ask", *MODEL, tiny, "--db", f"{prefix}{file}", *options, "How many?")
    assert "SQL(" in done.stderr + trace.read_text()
    assert '"name": "author"' in trace.read_text()


def test_a_server_needs_the_network_and_keeps_its_password(run: Command, tiny: Path) -> None:
    asked = ("ask", *MODEL, tiny, "--db", _NOBODY, "How many?")
    refused, unreachable = run(*asked, root=("--offline",)), run(*asked)
    assert (refused.returncode, unreachable.returncode) == (3, 3)
    assert (
        "offline: the database postgresql+psycopg://me:***@127.0.0.1:1/none needs the network"
        in error_line(refused)
    )
    assert "cannot be read" in error_line(unreachable)
    assert "secret" not in refused.stderr + unreachable.stderr


def test_what_is_kept_of_an_evaluation_has_no_password(run: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(
        json.dumps({"question": "How many?", "answer": 1, "db": _NOBODY})
    )
    done = run("eval", tmp_path / "questions.jsonl", *MODEL, tiny, "--output", tmp_path / "results.jsonl")
    assert (done.returncode, "cannot be read" in error_line(done)) == (3, True)
    assert all(
        "secret" not in text for text in (done.stderr, *(p.read_text() for p in tmp_path.glob("results*")))
    )
