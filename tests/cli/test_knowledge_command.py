"""`lumos-edge knowledge`: a pack from file to removal, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def rivers(tmp_path: Path) -> Path:
    file = tmp_path / "rivers.jsonl"
    lines = [
        {"title": "Nile", "text": "The Nile flows through Egypt into the Mediterranean Sea."},
        {"title": "Danube", "text": "The Danube flows through Vienna into the Black Sea."},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_pack_from_file_to_removal(run: Command, rivers: Path, tmp_path: Path) -> None:
    built = run("knowledge", "build", rivers, "--licence", "CC0")
    assert (built.returncode, built.stdout) == (0, ""), built.stderr
    assert "rivers: 2 passages" in built.stderr
    assert "rivers  2 articles  2 passages" in run("knowledge", "list").stdout
    assert "licence: CC0" in run("knowledge", "show", "rivers").stdout
    found = run("knowledge", "search", "Vienna", "-n", "1", "--json")
    assert json.loads(found.stdout)["title"] == "Danube"
    more = tmp_path / "more.jsonl"
    more.write_text('{"title": "Rhine", "text": "The Rhine flows into the North Sea."}\n')
    assert run("knowledge", "add", "rivers", more).returncode == 0
    assert "rivers: 3 passages, whole" in run("knowledge", "verify", "rivers").stdout
    assert run("knowledge", "rm", "rivers").returncode == 0
    assert run("knowledge", "search", "Vienna").returncode == 1


def test_search_syntax_in_a_query_is_text(run: Command, rivers: Path) -> None:
    assert run("knowledge", "build", rivers).returncode == 0
    found = run("knowledge", "search", '"Vienna* NEAR(-title:', "-n", "1")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("Danube (rivers):")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("show", "nothing"), 3, "no knowledge pack 'nothing'; installed: none"),
        (("build", "nowhere.jsonl"), 2, "nowhere.jsonl"),
    ],
)
def test_mistakes(run: Command, arguments: tuple[str, ...], code: int, expected: str) -> None:
    done = run("knowledge", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr


def test_a_line_that_is_no_article_is_named_and_leaves_no_pack(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"title": "Nile", "text": "A river."}\n{"title": 3}\n')
    done = run("knowledge", "build", file)
    assert done.returncode == 3
    assert "line 2" in done.stderr
    assert "installed" in run("knowledge", "list").stderr


def test_a_name_that_leaves_the_folder_is_refused(run: Command, rivers: Path) -> None:
    done = run("knowledge", "build", rivers, "--name", "../rivers")
    assert done.returncode == 2
    assert "'../rivers'" in done.stderr
