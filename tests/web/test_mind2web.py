"""Tasks in Mind2Web's format: pages with candidates, and the score of a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lumos_edge.errors import ElementNotFound, PageError
from lumos_edge.values import PageAction
from lumos_edge.web.mind2web import RecordedStep, RecordedTaskEnvironment, read_tasks, score_step
from lumos_edge.web.site import Site

HTML = """<html backend_node_id="1"><div backend_node_id="2"><label backend_node_id="3">Departure
<input backend_node_id="4" type="text"></label><div backend_node_id="5" role="listbox">Leeds
<span backend_node_id="6">York</span></div><select backend_node_id="7" aria_label="Time">
<option backend_node_id="8">9:00<option backend_node_id="9" option_selected="true">10:00</select>
<button backend_node_id="10">Find trains</button></div></html>"""


def candidate(number: int) -> dict[str, Any]:
    attributes = json.dumps({"backend_node_id": str(number)})
    return {
        "tag": "div",
        "backend_node_id": str(number),
        "attributes": attributes,
        "is_original_target": True,
    }


def action(op: str, value: str, target: int, *others: int) -> dict[str, Any]:
    return {
        "action_uid": "u",
        "cleaned_html": HTML,
        "operation": {"op": op, "original_op": op, "value": value},
        "pos_candidates": [candidate(target)],
        "neg_candidates": [candidate(other) for other in others],
    }


TASK: dict[str, Any] = {
    "annotation_id": "a1",
    "website": "rail",
    "domain": "Travel",
    "confirmed_task": "Find a train from Leeds at 10.",
    "actions": [
        action("TYPE", "Leeds", 4, 6, 7, 10),
        action("CLICK", "", 6, 4, 7, 10),
        action("SELECT", "10:00", 7, 4, 6, 10),
        action("CLICK", "", 10, 4, 6, 7),
    ],
}


def write(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "test_task_0.json"
    path.write_text(json.dumps(data), "utf-8")
    return path


@pytest.fixture
def steps(tmp_path: Path) -> tuple[RecordedStep, ...]:
    (task,) = read_tasks(write(tmp_path, [TASK]))
    assert (task.id, task.website, task.question) == ("a1", "rail", "Find a train from Leeds at 10.")
    return task.steps


def test_the_elements_are_the_candidates_whatever_their_tags(steps: tuple[RecordedStep, ...]) -> None:
    elements = {element.id: element for element in steps[0].document.elements}
    assert set(elements) == {4, 6, 7, 10}
    assert (elements[4].role, elements[4].name) == ("textbox", "Departure")
    assert (elements[6].role, elements[6].name) == ("span", "York")
    assert (elements[7].name, elements[7].options) == ("Time", ("9:00", "10:00"))
    assert elements[7].value == "10:00"


def test_a_task_is_done_page_by_page(tmp_path: Path) -> None:
    (task,) = read_tasks(write(tmp_path, [TASK]))
    site = Site.begin(RecordedTaskEnvironment(task))
    done = [
        site.act("TYPE", "Env", "Type Leeds as the departure", "leeds").done,
        site.act("CLICK", "Env", "Choose York").done,
        site.act("SELECT", "Env", "Choose 10:00", "10:00").done,
        site.act("CLICK", "Env", "Find trains").done,
    ]
    scores = [score_step(step, action) for step, action in zip(task.steps, done, strict=True) if action]
    assert [score.success for score in scores] == [True] * 4
    with pytest.raises(ElementNotFound):
        site.act("TYPE", "Env", "Zzz", "x")


@pytest.mark.parametrize(
    ("index", "done", "expected"),
    [
        (0, PageAction("TYPE", 4, "", "LEEDS"), (True, True, True, 1.0)),
        (0, PageAction("TYPE", 4, "", "Leeds Station"), (True, True, False, 0.8)),
        (0, PageAction("CLICK", 4, "", ""), (True, False, False, 0.0)),
        (0, PageAction("TYPE", 6, "", "Leeds"), (False, True, True, 1.0)),
        (1, PageAction("CLICK", 6, "", ""), (True, True, True, 1.0)),
        (2, PageAction("SELECT", 7, "", "9:00"), (True, True, False, 0.5)),
    ],
)
def test_the_score_of_a_step(
    steps: tuple[RecordedStep, ...], index: int, done: PageAction, expected: tuple[bool, bool, bool, float]
) -> None:
    score = score_step(steps[index], done)
    assert (score.element, score.operation, score.value) == expected[:3]
    assert score.f1 == pytest.approx(expected[3])
    assert score.success is all(expected[:3])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"actions": []}, "expected a list of tasks"),
        ([{"confirmed_task": "x"}], "task 1: KeyError: 'actions'"),
        ([TASK, {**TASK, "actions": [action("HOVER", "", 4)]}], "task 2: ValueError: expected CLICK"),
        ([{**TASK, "actions": [{**TASK["actions"][0], "pos_candidates": [{}]}]}], "backend_node_id"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, data: object, expected: str) -> None:
    with pytest.raises(PageError, match=expected):
        list(read_tasks(write(tmp_path, data)))


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("no")
    with pytest.raises(PageError, match="is no Mind2Web file"):
        list(read_tasks(tmp_path / "x.json"))
