"""`lumos-edge eval`: scores, results that survive a kill, and one JSON document as the last line."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lumos_edge.knowledge.pack import knowledge_folder
from lumos_edge.resources import config_folder
from tests.cli.conftest import MODEL, Command, Start, error_line
from tests.knowledge.packs import ROMANS, build_pack
from tests.sql.databases import make

EXAMPLES = (
    {"question": "What is 40 + 2?", "answer": "They are 40 + 2.\n#### 42"},
    {"question": "What is 84\u2028/ 2?", "answer": 42.0},
    {"question": "What is 2 + 3?", "answer": "5"},
)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in EXAMPLES]
    file.write_text("".join([lines[0], "\n", *lines[1:]]), "utf-8")
    return file


def _results(file: Path) -> list[dict[str, Any]]:
    """The lines after the settings, each whole."""
    settings, *results = [json.loads(line) for line in file.read_bytes().removesuffix(b"\n").split(b"\n")]
    assert list(settings) == ["settings"]
    return results


@pytest.mark.usefixtures("answers_42")
def test_the_last_line_is_a_document_of_the_scores(run: Command, tiny: Path, questions: Path) -> None:
    done = run("eval", questions, *MODEL, tiny, "--max-subgoals", "1")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    document = json.loads(done.stdout)
    assert document.pop("tokens_per_task") > 10
    assert document.pop("seconds_per_task") > 0
    assert document.pop("actions") >= 3
    assert document == {
        "n": 3,
        "correct": 2,
        "accuracy": 0.6667,
        "no_answer": 0,
        "invalid_actions": 0,
        "formulation": "onetime",
        "pack": "tiny.gguf",
    }


@pytest.mark.usefixtures("answers_42")
def test_limit_takes_the_first_questions(run: Command, tiny: Path, questions: Path) -> None:
    document = json.loads(run("eval", questions, *MODEL, tiny, "--limit", "1").stdout)
    assert (document["n"], document["correct"]) == (1, 1)


def test_a_question_without_answer_does_not_stop_the_others(
    run: Command, tiny: Path, tmp_path: Path, questions: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that('raise ToolError("nobody knows")')
    long = {"question": "word " * 3000, "answer": "1"}
    empty = {"question": " ", "answer": "1"}
    questions.write_text("\n".join(json.dumps(example) for example in (long, empty, EXAMPLES[0])))
    output = tmp_path / "results.jsonl"
    done = run("eval", questions, *MODEL, tiny, "--output", output)
    document = json.loads(done.stdout)
    assert (done.returncode, document["n"], document["no_answer"], document["correct"]) == (0, 3, 3, 0)
    errors = [result["error"] for result in _results(output)]
    assert errors == ["ContextWindowExceeded", "ValueError", "NoAnswer"]


def test_a_killed_run_goes_on_where_it_stopped(
    run: Command,
    start: Start,
    tiny: Path,
    tmp_path: Path,
    questions: Path,
    tool_that: Callable[[str], None],
) -> None:
    output = tmp_path / "results.jsonl"
    arguments = ("eval", questions, *MODEL, tiny, "--max-actions", "1", "--formulation", "iterative")
    tool_that("time.sleep(0.5); return Number(Fraction(42))")
    process = start(*arguments, "--output", output)
    while not (output.exists() and output.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with output.open("ab") as file:
        file.write(b'{"line": 3, "question": "What')
    before = output.read_bytes().splitlines(keepends=True)[1]
    done = run(*arguments, "--output", output)
    assert (done.returncode, json.loads(done.stdout)["n"]) == (0, 3)
    assert output.read_bytes().splitlines(keepends=True)[1] == before
    assert [result["line"] for result in _results(output)] == [1, 3, 4]
    whole = output.read_bytes()
    assert run(*arguments, "--output", output).stdout == done.stdout
    assert output.read_bytes() == whole


@pytest.mark.usefixtures("answers_42")
def test_the_results_of_other_settings_are_not_continued(
    run: Command, tiny: Path, tmp_path: Path, questions: Path
) -> None:
    output = tmp_path / "results.jsonl"
    arguments = ("eval", questions, *MODEL, tiny, "--limit", "1", "--output", output)
    assert run(*arguments).returncode == 0
    done = run(*arguments, "--temperature", "0.5", "--n-ctx", "4096")
    assert (done.returncode, done.stdout) == (2, "")
    assert "another run: n_ctx 0, not 4096, temperature 0.0, not 0.5" in error_line(done)
    assert run(*arguments, "--limit", "2").returncode == 0


_LOOK = """from typing import Literal
from {module} import {resource}
from lumos_edge.toolbox import tool
from lumos_edge.values import Text
@tool
def Look(word: Literal["now"], it: {resource}) -> Text:
    "Look"
    return Text({text})
"""
_LOOKS = {
    "sql": ("lumos_edge.sql.database", "Database", "it.path.name"),
    "web": ("lumos_edge.web.site", "Site", "it.first.title"),
    "vision": ("lumos_edge.pictures", "Picture", "it.caption"),
}


def test_lines_may_be_about_databases_pages_and_pictures(run: Command, tiny: Path, tmp_path: Path) -> None:
    """Instead of the tool packs there are some that answer with the name of what they are given."""
    packs = config_folder() / "tools"
    packs.mkdir(parents=True)
    for pack, (module, resource, text) in _LOOKS.items():
        (packs / f"{pack}.py").write_text(_LOOK.format(module=module, resource=resource, text=text))
    for name in ("a.sqlite", "b.sqlite"):
        make(tmp_path / name)
    for name in ("One", "Two"):
        (tmp_path / f"{name}.html").write_text(f"<title>{name}</title>")
    (tmp_path / "cart.gif").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "cart.txt").write_text("A brown horse.")
    lines: list[dict[str, Any]] = [
        {"question": "Page?", "answer": "One", "page": "One.html"},
        {"question": "A?", "answer": "a.sqlite", "db": "a.sqlite"},
        {"question": "A again?", "answer": "a.sqlite", "db": "a.sqlite"},
        {"question": "B?", "answer": "b.sqlite", "db": "b.sqlite"},
        {"question": "What pulls?", "answer": "A brown horse.", "image": "cart.gif"},
        {"question": "Page?", "answer": "Two", "page": "Two.html"},
    ]
    file, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = ("eval", file, *MODEL, tiny, "--max-subgoals", "1")
    done = run(*asked, "--output", output)
    assert (done.stderr, json.loads(done.stdout)["correct"]) == ("", 6)
    results = _results(output)
    assert [result["answer"] for result in results] == [line["answer"] for line in lines]
    assert results[4]["question"] == "What pulls? The image shows the following contents: A brown horse."


_CHOOSES = """from typing import Literal
from lumos_edge.pictures import Picture, choices_of
from lumos_edge.toolbox import Context, tool
from lumos_edge.values import Text
@tool
def Look(word: Literal["now"], it: Picture, task: Context) -> Text:
    "Look"
    return Text(choices_of(task.question)[len(it.caption) % 2])
"""


def test_lines_with_choices_in_the_forms_of_a_okvqa_and_scienceqa(
    run: Command, tiny: Path, tmp_path: Path
) -> None:
    """A tool chooses by the caption alone: the first of two choices for an even one."""
    (config_folder() / "tools").mkdir(parents=True)
    (config_folder() / "tools" / "vision.py").write_text(_CHOOSES)
    (tmp_path / "cart.gif").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "cart.txt").write_text("even")
    choices = ["a goat", "a horse"]
    lines: list[dict[str, Any]] = [
        {"question": "What pulls?", "choices": choices, "correct_choice_idx": 0, "image": "cart.gif"},
        {"question": "What pulls?", "choices": choices, "answer": 1, "caption": "odd"},
        {"question": "What pulls?", "choices": choices, "answer": "B", "caption": "odd"},
        {"question": "What pulls?", "choices": choices, "answer": "a goat", "caption": "odd"},
        {
            "question": "Which?",
            "choices": ["1.5", "2"],
            "answer": "B. 2",
            "image": "cart.gif",
            "caption": "odd",
        },
    ]
    file, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    done = run("eval", file, *MODEL, tiny, "--max-subgoals", "1", "--output", output)
    assert (done.stderr, json.loads(done.stdout)["correct"]) == ("", 4)
    results = _results(output)
    assert [result["correct"] for result in results] == [True, True, True, False, True]
    assert [result["expected"] for result in results[:2]] == ["A. a goat", "B. a horse"]
    assert results[0]["question"] == (
        "What pulls? There're some choices: A. a goat, B. a horse. The image shows the following contents: even"
    )
    assert results[4]["question"].endswith("contents: odd")


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ({"db": "x.sqlite"}, 3, "there is no database file"),
        ({"image": "x.png"}, 3, "x.png cannot be read"),
        ({"page": "x.html"}, 3, "there is no page"),
        ({"page": ["x.html"]}, 2, "expected {"),
        ({"choices": ["2", "3"]}, 2, "the answer is one of them"),
        ({"choices": ["1"]}, 2, "the answer is one of them"),
        ({"choices": ["1", "2, C. 3"]}, 2, "the answer is one of them"),
        ({"caption": ["x"]}, 2, "expected {"),
        ({"page": "x.html", "db": "x.sqlite"}, 2, "expected {"),
    ],
)
def test_what_a_line_is_about_is_not_there(
    run: Command, tiny: Path, tmp_path: Path, line: dict[str, Any], code: int, expected: str
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": "x", "answer": "1", **line}))
    done = run("eval", file, *MODEL, tiny)
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in error_line(done)


@pytest.mark.usefixtures("answers_its_packs")
def test_a_line_may_name_its_own_knowledge(run: Command, tiny: Path, tmp_path: Path) -> None:
    for name in ("gauls", "romans"):
        build_pack(knowledge_folder() / f"{name}.sqlite", *ROMANS)
    lines: list[dict[str, Any]] = [
        {"question": "One?", "answer": "gauls", "knowledge": "gauls"},
        {"question": "Both?", "answer": "gauls romans", "knowledge": ["romans", "gauls"]},
        {"question": "All?", "answer": "gauls romans"},
    ]
    file, output = tmp_path / "questions.jsonl", tmp_path / "results.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = ("eval", file, *MODEL, tiny, "--max-subgoals", "1")
    done = run(*asked, "--output", output)
    assert [result["answer"] for result in _results(output)] == ["gauls", "gauls romans", "gauls romans"]
    assert json.loads(done.stdout)["correct"] == 3
    lines[0]["knowledge"] = "romans"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert "holds the results of another run: of_lines" in error_line(run(*asked, "--output", output))
    lines[0]["knowledge"] = "vandals"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert "no knowledge pack 'vandals'; installed: gauls, romans" in error_line(run(*asked))
    assert "which is for --domain qa, not maths" in error_line(run(*asked, "--domain", "maths"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"question": "x", "answer": "1", "knowledge": 3}\n', 'and at most one of "knowledge": PACKS'),
        (b"", "has no questions"),
        (b'{"question": "x", "answer": "1"}\nnot json\n', "line 2: expected"),
        (b'{"question": "x"}\n', "line 1: expected"),
        (b'["question"]\n', "line 1: expected"),
        (b'{"question": "\xff", "answer": "1"}\n', "line 1: expected"),
    ],
)
def test_a_broken_file_of_questions_is_exit_code_2(
    run: Command, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(content)
    done = run("eval", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}" in error_line(done)
    assert message in done.stderr


def test_a_file_that_is_not_there_is_exit_code_2(run: Command, tmp_path: Path) -> None:
    done = run("eval", tmp_path / "none.jsonl")
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not exist" in error_line(done)


@pytest.mark.parametrize("content", ["no result\n", "nor this", '{"settings": {}}\n{"line": 1}\n'])
def test_an_output_file_of_something_else_is_left_alone(
    run: Command, tiny: Path, tmp_path: Path, questions: Path, content: str
) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text(content)
    done = run("eval", questions, *MODEL, tiny, "--output", output)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{output}" in error_line(done)
    assert output.read_text() == content


def test_an_output_file_that_cannot_be_written_is_exit_code_3(
    run: Command, tiny: Path, tmp_path: Path, questions: Path
) -> None:
    done = run("eval", questions, *MODEL, tiny, "--output", tmp_path / "no" / "results.jsonl")
    assert (done.returncode, done.stdout) == (3, "")
    assert "results.jsonl: No such file or directory" in error_line(done)


def test_ctrl_c_keeps_the_results_so_far(
    start: Start, tiny: Path, tmp_path: Path, questions: Path, tool_that: Callable[[str], None]
) -> None:
    tool_that("time.sleep(0.5); return Number(Fraction(42))")
    output = tmp_path / "results.jsonl"
    options = ("--max-actions", "1", "--formulation", "iterative")
    process = start("eval", questions, *MODEL, tiny, *options, "--output", output)
    while not (output.exists() and output.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, "", "lumos-edge: interrupted\n")
    assert _results(output)[0]["answer"] is None or _results(output)[0]["answer"] == "42"
