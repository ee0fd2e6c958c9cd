"""`--domain auto`: the weights choose a pack, and the run is that of the pack."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lumos_edge.resources import config_folder
from tests.cli.conftest import MODEL, Command, error_line
from tests.sql.databases import make

_SAYS = """from typing import Literal
from lumos_edge.toolbox import tool
from lumos_edge.values import Text
{imports}
@tool
def Look(word: Literal["now"]{parameter}) -> Text:
    "Look"
    return Text("{name}")
"""


@pytest.fixture
def packs_that_say_their_names() -> None:
    """In the place of the packs for maths and databases, and one more."""
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    for name in ("maths", "mine"):
        (folder / f"{name}.py").write_text(_SAYS.format(name=name, imports="", parameter=""))
    imports, parameter = "from lumos_edge.sql.database import Database", ", it: Database"
    (folder / "sql.py").write_text(_SAYS.format(name="sql", imports=imports, parameter=parameter))


QUESTIONS = [f"Question {number}, {'x' * number}?" for number in range(12)]


@pytest.mark.usefixtures("packs_that_say_their_names")
def test_every_question_goes_to_a_pack_that_can_work(run: Command, tiny: Path, tmp_path: Path) -> None:
    """Whatever random weights choose, each answer is of a pack that needs nothing, and not always of the same."""
    make(tmp_path / "a.sqlite")
    lines = [{"question": question, "answer": "mine"} for question in QUESTIONS]
    lines.insert(5, {"question": "A?", "answer": "sql", "db": "a.sqlite"})
    file, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = ("eval", file, *MODEL, tiny, "--domain", "auto", "--max-subgoals", "1", "--output", output)
    done = run(*asked)
    assert done.stderr == ""
    settings, *results = map(json.loads, output.read_text().splitlines())
    answers = [result["answer"] for result in results]
    assert settings["settings"]["domain"] == ["auto"]
    assert answers.pop(5) == "sql"
    assert set(answers) == {"maths", "mine"}
    assert run(*asked).stdout == done.stdout
    for question, answer in zip(QUESTIONS[:2], answers, strict=False):
        one = run("ask", *MODEL, tiny, "--domain", "auto", "--max-subgoals", "1", question)
        assert (one.stdout, one.stderr) == (f"{answer}\n", "")


@pytest.mark.usefixtures("packs_that_say_their_names")
def test_what_is_attached_may_be_chosen_and_the_trace_replays(
    run: Command, tiny: Path, tmp_path: Path
) -> None:
    make(tmp_path / "a.sqlite")
    answers = set()
    asked = ("ask", *MODEL, tiny, "--domain", "auto", "--db", tmp_path / "a.sqlite", "--max-subgoals", "1")
    for question in QUESTIONS[:6]:
        done = run(*asked, "--trace", tmp_path / "t.jsonl", question)
        answers.add(done.stdout.strip())
        assert run("trace", "replay", tmp_path / "t.jsonl").stdout == "same trajectory\n"
    assert answers <= {"maths", "mine", "sql"}
    assert len(answers) > 1


def test_where_it_is_not_for(run: Command, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "Who?"}')
    done = run("batch", file, *MODEL, tiny, "--domain", "auto")
    assert done.returncode == 2
    assert "--domain auto is for `ask` and `eval`" in error_line(done)
