"""`lumos-edge tools`: what actions can call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lumos_edge.resources import config_folder
from tests.cli.conftest import TOOLS, Command, error_line

BODY = "    return Number(Fraction(1))\n"


def test_list_prints_every_tool_with_its_interface(run: Command) -> None:
    done = run("tools", "list")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in lines if not line.startswith(" ")] == [
        "maths",
        "qa",
        "shop",
        "sql",
        "vision",
        "web",
    ]
    assert lines[1] == "  Calculator(formula): Calculate the input formula"
    names = {line.split("(")[0].strip() for line in lines[1 : lines.index("qa")]}
    assert names == {
        "Calculator",
        "SetEquation",
        "SolveEquation",
        "SolveInequality",
        "Count",
        "Code",
        "Define",
    }


def test_list_as_json_is_one_document_with_the_users_packs(run: Command) -> None:
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(TOOLS + BODY)
    packs = json.loads(run("tools", "list", "--json").stdout)
    assert packs["mine"] == {"Act": "Act(word): Act"}
    assert packs["maths"]["Calculator"] == "Calculator(formula): Calculate the input formula"


def test_show_prints_arguments_results_and_examples(run: Command) -> None:
    done = run("tools", "show", "maths")
    assert (done.returncode, done.stderr) == (0, "")
    assert "-> Boolean or Equation or Expression or Number; at most 1.5 s" in done.stdout
    assert "R1 = Calculator(36 / 3)  ->  12" in done.stdout


def test_show_takes_a_file(run: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(TOOLS + BODY)
    done = run("tools", "show", tmp_path / "own.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "; at most 60 s" in done.stdout


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        ("nope", "there is no tool pack 'nope'; there are maths"),
        ("/no/such.py", "there is no file /no/such.py"),
    ],
)
def test_a_pack_that_is_not_there_is_exit_code_3(run: Command, pack: str, message: str) -> None:
    done = run("tools", "show", pack)
    assert (done.returncode, done.stdout) == (3, "")
    assert message in error_line(done)


def test_a_broken_pack_of_the_user_is_named(run: Command) -> None:
    folder = config_folder() / "tools"
    folder.mkdir(parents=True)
    (folder / "broken.py").write_text("raise RuntimeError('first line\\nsecond line')")
    done = run("tools", "list")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{folder / 'broken.py'} cannot be loaded: RuntimeError" in error_line(done)
