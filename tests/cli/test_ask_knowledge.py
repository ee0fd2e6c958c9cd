"""`lumos-edge ask --knowledge`: mistakes, a run on a pack, and the passages that an answer rests on."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from lumos_edge.actions import parse_actions
from lumos_edge.cli.table import source_text
from lumos_edge.knowledge.pack import knowledge_folder
from lumos_edge.knowledge.passage import Passage
from lumos_edge.loading import ModelChoice, of_files, with_tools
from lumos_edge.resources import config_folder
from lumos_edge.trajectory import Attempt, Result, Step, Subgoal, Task, Trajectory
from lumos_edge.values import Answer, Number
from tests.cli.conftest import MODEL, Command
from tests.knowledge.packs import ROMANS, build_pack


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--knowledge", "romans"), 3, "no knowledge pack 'romans'; installed: none"),
        (("--knowledge", "x", "--db", "x.sqlite"), 2, "--db and --knowledge exclude each other"),
        (("--knowledge", "x", "--page", "x.html"), 2, "--page and --knowledge exclude each other"),
        (("--knowledge", "x", "--domain", "maths"), 2, "--knowledge is for --domain qa, not maths"),
        (("--page", "x.html", "--domain", "qa"), 2, "--page is for --domain web, not qa"),
        (("--domain", "qa"), 3, "no knowledge pack is installed: `lumos-edge knowledge build"),
        (("--own-words",), 3, "no knowledge pack is installed"),
        (("--domain", "cooking"), 3, "cooking"),
        (("--domain", "sql"), 3, "--db"),
    ],
)
def test_mistakes(run: Command, tiny: Path, options: tuple[str, ...], code: int, expected: str) -> None:
    done = run("ask", *MODEL, tiny, *options, "Who?")
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr


def test_a_run_on_a_pack(run: Command, tiny: Path, tmp_path: Path) -> None:
    """The weights write nonsense, but nonsense of this tool pack's actions, in the iterative formulation."""
    pack = build_pack(tmp_path / "romans.sqlite", *ROMANS)
    done = run(
        "ask", *MODEL, tiny, "--knowledge", pack, "--max-subgoals", "1", "--json", "Was Caesar a father?"
    )
    document = json.loads(done.stdout)
    assert document["trajectory"]["formulation"] == "iterative"
    actions = [a for step in document["trajectory"]["steps"] for t in step["attempts"] for a in t["actions"]]
    assert actions
    assert {a["tool"] for a in actions} <= {
        "",
        "KnowledgeQuery",
        "ParagraphRetrieve",
        "QA",
        "Calculator",
        "Code",
    }


@pytest.mark.usefixtures("answers_its_packs")
def test_questions_over_knowledge_search_all_installed_packs(run: Command, tiny: Path) -> None:
    for name in ("gauls", "romans"):
        build_pack(knowledge_folder() / f"{name}.sqlite", *ROMANS)
    asked = ("ask", *MODEL, tiny, "--max-subgoals", "1", "Who?")
    assert run(*asked, "--domain", "qa").stdout == "gauls romans\n"
    assert run(*asked, "--domain", "qa", "--knowledge", "gauls").stdout == "gauls\n"
    assert run(*asked, "--own-words").stdout == "gauls romans\n"


def test_how_the_reader_may_answer(run: Command, tiny: Path) -> None:
    """A tool shows what its reader was told; without packs memory is all that there is."""
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "qa.py").write_text(
        "from typing import Literal\n"
        "from lumos_edge.reader import Reader\n"
        "from lumos_edge.toolbox import tool\n"
        "from lumos_edge.values import Text\n"
        "@tool\n"
        'def Look(word: Literal["now"], reader: Reader) -> Text:\n'
        '    "Look"\n'
        '    return Text(f"extractive {reader.is_extractive}, recalls {reader.may_recall}")\n'
    )
    build_pack(knowledge_folder() / "romans.sqlite", *ROMANS)
    asked = ("ask", *MODEL, tiny, "--domain", "qa", "--max-subgoals", "1", "Who?")
    assert run(*asked).stdout == "extractive True, recalls False\n"
    assert run(*asked, "--own-words").stdout == "extractive False, recalls False\n"
    (knowledge_folder() / "romans.sqlite").unlink()
    assert run(*asked, "--from-memory").stdout == "extractive True, recalls True\n"


CAESAR = Passage("Caesar", "Caesar had three \x1b[31mchildren.", "romans")
KHAN = Passage("Genghis Khan", "He had sixteen children.", "mongols")


def _trajectory(answer: Answer | Number) -> Trajectory:
    """Two questions were answered from passages; the first answer's passage stands under both."""
    (action,) = parse_actions("R1 = QA([R1], Question: How many?)")
    results = tuple(Result((Answer("3", "How many?", passages),)) for passages in ((CAESAR,), (KHAN, CAESAR)))
    step = Step((Subgoal(1, "Find out."),), (Attempt((action, action), results),))
    return Trajectory(Task("More?"), "iterative", (step,), answer)


def test_an_answer_rests_on_its_own_passages() -> None:
    assert _trajectory(Answer("16", "How many?", (KHAN,))).sources == (KHAN,)


def test_a_computed_answer_rests_on_those_of_the_answers_before_it() -> None:
    assert _trajectory(Number(Fraction(1))).sources == (CAESAR, KHAN)


def test_a_passage_controls_no_terminal() -> None:
    assert source_text(CAESAR) == "Caesar (romans):\nCaesar had three \ufffd[31mchildren."


def test_adapters_of_another_family_stay_away() -> None:
    own = Path("own.gguf")
    adapted = ModelChoice(
        "p", Path("b.gguf"), {"planner": own}, {"planner": "compact"}, "onetime", ("maths",)
    )
    assert with_tools(adapted, ("maths",)) == adapted
    other = with_tools(adapted, ("qa",))
    assert (other.tools, other.adapters, other.templates) == (("qa",), {}, {})


def test_adapters_of_the_users_own_stay() -> None:
    own = of_files(Path("b.gguf"), planner_adapter=Path("own.gguf"))
    assert with_tools(own, ("qa",)).adapters == own.adapters


def test_the_lines_of_a_passage_stay_lines() -> None:
    assert source_text(Passage("Nile", "A river.\nIn Egypt.", "p")) == "Nile (p):\nA river.\nIn Egypt."
