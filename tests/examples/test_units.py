"""The example of a tool pack of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumos_edge.executor import Executor
from lumos_edge.grammar import actions_grammar
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Action, Task
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
