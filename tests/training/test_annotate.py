"""The command that makes the annotations."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from training.annotate import main

GSM8K: list[dict[str, object]] = [
    {"question": "Ann has 8 nuts, eats 3.", "answer": "She has 8-3 = <<8-3=5>>5 nuts left.\n#### 5"},
    {"question": "And 9?", "answer": "<<9-3=6>>6\n#### 7"},
]
OWN: list[dict[str, object]] = [
    {"question": "Twice 4?", "answer": 8, "steps": [["Double it.", "R1 = Calculator(2*4)"]]},
    {"question": "Twice 4?", "answer": 9, "steps": [["Double it.", "R1 = Calculator(2*4)"]]},
    {"question": "Twice 4?", "steps": []},
    {"question": "Twice 4?"},
]


def _write(file: Path, entries: list[dict[str, object]], *more: str) -> Path:
    file.write_text("\n".join([*map(json.dumps, entries), *more]) + "\n", encoding="utf-8")
    return file


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["annotate", *arguments])
    main()


def test_bad_lines_are_counted_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gsm8k = _write(tmp_path / "gsm8k.jsonl", GSM8K, "{broken")
    own = _write(tmp_path / "own.jsonl", OWN)
    _run(
        monkeypatch,
        "--gsm8k",
        str(gsm8k),
        "--data",
        str(own),
        "--n-synthetic",
        "4",
        "-o",
        str(tmp_path / "out"),
    )
    for name in ("planner_onetime", "planner_iterative", "grounder_onetime", "grounder_iterative"):
        lines = (tmp_path / "out" / f"{name}.jsonl").read_text("utf-8").splitlines()
        assert sorted(json.loads(line)["dataset"] for line in lines) == ["data", "gsm8k", *["synthetic"] * 4]
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| gsm8k | 1 | 1 | 1 | 1 another answer, 1 broken line | MIT" in card
    assert "| data | 1 | 1 | 1 | 1 another answer, 2 broken line |" in card
    named = capsys.readouterr().err
    assert "gsm8k line 2: another answer" in named
    assert "gsm8k line 3: broken line" in named
    assert "data line 4: broken line" in named


def test_synthetic_problems_have_sensible_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(monkeypatch, "--n-synthetic", "60", "--seed", "5", "-o", str(tmp_path))
    for line in (tmp_path / "planner_iterative.jsonl").read_text("utf-8").splitlines():
        turns = json.loads(line)["messages"]
        results = [turn["content"] for turn in turns if turn["content"].startswith("The executed result")]
        assert results
        assert not any(" is -" in result for result in results), turns
