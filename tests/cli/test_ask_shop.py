"""`lumos-edge ask --shop`: what is no catalogue, and a run in the shop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODEL, Command

CATALOGUE = Path(__file__).parents[1] / "shop" / "catalogue.json"


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--shop", "nowhere.json"), 3, "nowhere.json is no catalogue"),
        (("--shop", "x.json", "--page", "y.html"), 2, "--page and --shop exclude each other"),
    ],
)
def test_mistakes(run: Command, tiny: Path, options: tuple[str, ...], code: int, expected: str) -> None:
    done = run("ask", *MODEL, tiny, *options, "Buy a lamp.")
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") <= 4


def test_a_run_in_a_shop(run: Command, tiny: Path) -> None:
    """The weights write nonsense, but nonsense that parses: each action has a value or a typed error."""
    done = run("ask", *MODEL, tiny, "--shop", CATALOGUE, "--max-subgoals", "2", "--json", "Buy a lamp.")
    document = json.loads(done.stdout)
    assert document["trajectory"]["formulation"] == "iterative"
    attempts = [attempt for step in document["trajectory"]["steps"] for attempt in step["attempts"]]
    actions = [action["tool"] for attempt in attempts for action in attempt["actions"] if action["tool"]]
    assert actions
    assert set(actions) <= {"Search", "FeatureRetrieve", "Pick", "Click"}
    for result in (result for attempt in attempts for result in attempt["results"]):
        assert result["values"] or result["error"] not in ("", "ActionError", "UndefinedResult")
