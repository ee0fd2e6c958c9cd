"""The example of a tool pack of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.executor import Executor
from lumos_edge.grammar import actions_grammar
from lumos_edge.resources import config_folder
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Action, Task
from tests.engine.tiny import write_bpe_model
from tests.scripted import accepts

FILE = Path(__file__).resolve().parents[2] / "examples" / "units.py"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [("5, mile, kilometre", "8.04672"), ("90, minute, hour", "1.5"), ("2 * 6, foot, metre", "3.6576")],
)
def test_it_converts_exactly(arguments: str, answer: str) -> None:
    result = Executor(Toolbox.of_packs([FILE])).execute(Action(("R1",), "Convert", arguments), {}, Task("?"))
    assert str(result) == answer


def test_it_is_in_the_grammar_and_its_failure_is_the_actions() -> None:
    toolbox = Toolbox.of_packs([FILE])
    grammar = actions_grammar(toolbox, {}, formulation="iterative", max_actions=1)
    assert accepts(grammar, "R1 = Convert(5, mile, kilometre)")
    assert not accepts(grammar, "R1 = Convert(5, mile, parsec)")
    result = Executor(toolbox).execute(Action(("R1",), "Convert", "5, mile, hour"), {}, Task("?"))
    assert result.error == "ToolError"
    assert "DimensionalityError" in result.message


def lumos_edge(*arguments: object) -> str:
    command = [sys.executable, "-m", "lumos_edge", *map(str, arguments)]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ,
    ).stdout


def test_its_example_is_right_and_the_file_is_short() -> None:
    (example,) = Toolbox.of_packs([FILE]).examples
    ((_, text, result),) = example.solution
    (action,) = parse_actions(text)
    assert str(Executor(Toolbox.of_packs([FILE])).execute(action, {}, Task("?"))) == result
    assert len([line for line in FILE.read_text().splitlines() if line.strip()]) == 14


def test_it_is_a_pack_like_the_built_in_ones(tmp_path: Path) -> None:
    """Named with --tools it comes beside the pack's tools; in the configuration folder it is a domain."""
    model = write_bpe_model(tmp_path / "tiny.gguf", n_ctx=8192)
    asked = (
        "ask",
        "--model",
        model,
        "--n-threads",
        "1",
        "--max-subgoals",
        "1",
        "--trace",
        tmp_path / "t.jsonl",
    )
    lumos_edge(*asked, "--tools", FILE, "How many kilometres are 26 miles?")
    run, *_ = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert run["tools"] == ["maths", str(FILE)]
    assert "Convert" in run["tool_names"]
    assert "Convert(amount, unit, target): Convert an amount" in lumos_edge("tools", "show", FILE)
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "units.py").write_text(FILE.read_text())
    assert "units\n  Convert(amount, unit, target): Convert an amount" in lumos_edge("tools", "list")
    lumos_edge(*asked, "--domain", "units", "How many kilometres are 26 miles?")
    run, *records = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert (run["tools"], run["tool_names"]) == (["units"], ["Convert"])
    (grounder,) = {item["completion"]["text"][:13] for item in records if item.get("module") == "grounder"}
    assert grounder.startswith("R1 = Convert(")
    prompts = [str(item["prompt"]) for item in records if item.get("module") == "grounder"]
    assert all(
        "Convert(amount, unit, target): Convert an amount of a unit to the target unit" in p for p in prompts
    )
    assert lumos_edge("trace", "replay", tmp_path / "t.jsonl") == "same trajectory\n"
