"""`lumos-edge ask --page`: what can go wrong before a model is asked, and a run on a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Command

PAGE = '<title>Shop</title><a href="b.html">Basket</a><form><input aria-label="Search"><button>Go</button></form>'


@pytest.mark.parametrize(
    ("options", "root", "code", "expected"),
    [
        (("--page", "nowhere.html"), (), 3, "there is no page nowhere.html"),
        (
            ("--page", "http://shop.example/"),
            ("--offline",),
            3,
            "the page http://shop.example/ needs the network",
        ),
        (("--page", "x.html", "--allow-host", "http://a"), (), 2, "expected HOST or HOST:PORT"),
        (("--page", "x.html", "--screenshots", "pictures"), (), 2, "--screenshots needs --browser"),
        (("--page", "y.html", "--browser", "headless"), (), 3, "opens http and https addresses, not y.html"),
    ],
)
def test_mistakes(
    run: Command,
    tiny: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    root: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    """A page of a server is given as a URL, so that the host is checked first."""
    given = ["http://shop.invalid/" if option == "x.html" else option for option in options]
    done = run("ask", *MODEL, tiny, *given, "Buy a lamp.", root=root)
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr


def test_a_run_on_a_page(run: Command, tiny: Path, tmp_path: Path) -> None:
    """The weights write nonsense, but nonsense that parses: each action has a page or a typed error."""
    page = tmp_path / "shop.html"
    page.write_text(PAGE)
    options = ("--max-subgoals", "2", "--json")
    done = run("ask", *MODEL, tiny, "--page", page, *options, "Buy a lamp.")
    document = json.loads(done.stdout)
    attempts = [attempt for step in document["trajectory"]["steps"] for attempt in step["attempts"]]
    actions = [action["tool"] for attempt in attempts for action in attempt["actions"] if action["tool"]]
    assert actions
    assert set(actions) <= {"CLICK", "TYPE", "SELECT"}
    for result in (result for attempt in attempts for result in attempt["results"]):
        kinds = [value["type"] for value in result["values"]]
        assert kinds == ["Page"] or result["error"] not in ("", "ActionError", "UndefinedResult")
