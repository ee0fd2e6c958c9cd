"""A recorded run as a page: everything is there, nothing is loaded, nothing of the trace becomes HTML."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lumos_edge import trace
from lumos_edge.errors import TraceError
from lumos_edge.trace import Trace
from lumos_edge.trace_page import write_page

QUESTION = 'How many <rows> are "beans"? </title><script>alert(1)</script>'


def completion(module: str, text: str, **costs: Any) -> dict[str, Any]:
    made = {
        "text": text,
        "n_prompt": 100,
        "n_reused": 75,
        "n_completion": 20,
        "n_forced": 15,
        "prefill_s": 0.3,
    }
    prompt = [{"control": "<|im_start|>"}, f"{module} & <b>prompt</b>", {"control": "<|im_end|>"}]
    return {
        "record": "completion",
        "module": module,
        "prompt": prompt,
        "completion": made | {"decode_s": 0.1} | costs,
    }


def result(text: str, error: str = "") -> dict[str, Any]:
    values = [] if error else [{"type": "Text", "text": text}]
    return {"values": values, "error": error, "message": text if error else "", "elapsed_s": 0.1}


def recorded(answer: str | None = "60 <i>rows</i>", **costs: Any) -> Trace:
    """A run with a retry, whose texts try to be HTML."""
    action = {"targets": ["R1"], "tool": "Count", "arguments": "<img src=x onerror=alert(2)>"}
    attempts = [
        {"actions": [action], "results": [result("no <rows>", "ToolError")], "error": ""},
        {"actions": [action, action], "results": [result("60")], "error": "cut & off"},
    ]
    trajectory = {
        "record": "trajectory",
        "question": QUESTION,
        "formulation": "onetime",
        "steps": [{"subgoals": [{"number": 1, "text": "Count <all>."}], "attempts": attempts}],
        "answer": None if answer is None else {"type": "Text", "text": answer},
        "error": "" if answer else "NoAnswer",
        "message": "" if answer else "nobody <knows>",
    }
    return trace.of_records(
        [
            {"record": "run", "question": QUESTION, "model": {"name": "nano"}, "formulation": "onetime"},
            completion("planner", "Subgoal 1: Count <all>.", **costs),
            completion("grounder", "R1 = Count(<img src=x onerror=alert(2)>)"),
            completion("grounder", "R1 = Count(...)", n_prompt=0, n_completion=0),
            trajectory,
        ]
    )


class Page(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_of_the_run_is_on_the_page() -> None:
    page = Page(write_page(recorded()))
    for expected in (
        QUESTION,
        "60 <i>rows</i>",
        "Subgoal 1: Count <all>.",
        "R1 = Count(<img src=x onerror=alert(2)>)  →  ToolError: no <rows>",
        "attempt 2",
        "not grounded: cut & off",
        "not executed",
        "planner & <b>prompt</b>",
        "prompts: 200 tokens, 225 reused",
        "75 reused,",
        "15 forced,",
        "1.40 s",
    ):
        assert expected in page.text, expected
    assert page.tags.count("details") == 3
    assert page.tags.count("section") == 1


def test_nothing_of_the_trace_becomes_html_and_nothing_is_loaded() -> None:
    page = Page(write_page(recorded()))
    assert not {"script", "img", "link", "iframe", "object", "a", "svg"} & set(page.tags)
    assert not {"src", "href", "onerror", "onclick"} & set(page.attributes)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page.attributes["content"]
    assert "url(" not in write_page(recorded())


def test_bars_stand_one_after_another_and_fill_the_time() -> None:
    bars = re.findall(r'class="(\w+)" style="left:([\d.]+)%;width:([\d.]+)%"', write_page(recorded()))
    assert [kind for kind, _, _ in bars] == [*["prefill", "decode"] * 2, "tool", "prefill", "decode", "tool"]
    end = 0.0
    for _, left, width in bars:
        assert float(left) == pytest.approx(end, abs=0.01)
        end = float(left) + float(width)
    assert end == pytest.approx(100, abs=0.01)


def test_a_run_without_an_answer_and_one_that_was_interrupted() -> None:
    assert "NoAnswer: nobody <knows>" in Page(write_page(recorded(None))).text
    interrupted = Trace(recorded().run, recorded().completions, None)
    assert "the run was interrupted" in Page(write_page(interrupted)).text
    empty = Page(write_page(Trace({"question": "?"}, (), None)))
    assert "0.00 s" in empty.text


def test_half_a_surrogate_pair_is_written_as_its_code() -> None:
    run = json.loads('{"question": "a\\ud800b"}')
    assert "a\\ud800b" in Page(write_page(Trace(run, (), None))).text


def test_costs_that_are_no_numbers_are_a_trace_error() -> None:
    with pytest.raises(TraceError, match="costs that are no numbers"):
        write_page(recorded(prefill_s="long"))


def test_the_template_lies_beside_its_module() -> None:
    assert Path(trace.__file__).with_name("trace_page.html").is_file()
