"""The adapters that packs ship, and the nano pack with its own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from lumos_edge.agent import Agent
from lumos_edge.loading import of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.templates import CompactTemplate
from lumos_edge.trajectory import Task
from lumos_edge.values import Number

ADAPTER_LIMIT_BYTES = 20_000_000


@pytest.mark.parametrize("pack", ["nano", "small"])
def test_the_adapter_is_small_and_has_a_card(pack: str) -> None:
    manifest = find_manifest(pack)
    for adapter in (manifest.planner.adapter, manifest.grounder.adapter):
        assert isinstance(adapter, Path)
        assert adapter.stat().st_size <= ADAPTER_LIMIT_BYTES
        assert "licence" in (adapter.parent / "README.md").read_text("utf-8").lower()


@pytest.mark.model
@pytest.mark.usefixtures("nano_path")
def test_the_pack_answers_problems_of_one_and_two_steps() -> None:
    agent = Agent.open(of_pack(find_manifest("nano")), n_threads=1)
    assert isinstance(agent.planner_template, CompactTemplate)
    questions = {
        "Tom had 12 pears and ate 5 of them. How many pears does he have left?": 7,
        "Each box holds 20 nuts. How many boxes are needed for 780 nuts?": 39,
        "Rosa is 57 years old. Lena is 15 years older. How old will Lena be in 4 years?": 76,
    }
    answers = {question: agent.ask(Task(question)).answer for question in questions}
    assert answers == {question: Number(Fraction(value)) for question, value in questions.items()}
