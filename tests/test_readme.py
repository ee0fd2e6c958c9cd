"""What the README shows works as written."""

from __future__ import annotations

import re
from pathlib import Path

from lumos_edge.actions import parse_actions
from lumos_edge.executor import Executor
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Task

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_it_is_one_screen_of_proof() -> None:
    assert len(README.splitlines()) <= 150
    assert len(re.findall(r"^```sh$", README, re.MULTILINE)) == 2


def test_the_tool_of_your_own_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n# units\.py\n(.*?)```", README, re.DOTALL)
    assert code is not None
    pack = tmp_path / "units.py"
    pack.write_text(code[1])
    toolbox = Toolbox.of_packs(["maths", pack])
    assert (
        toolbox.tools["FahrenheitOf"].interface
        == "FahrenheitOf(celsius): Convert degrees Celsius to Fahrenheit"
    )
    result = Executor(toolbox).execute(parse_actions("R1 = FahrenheitOf(100)")[0], {}, Task("?"))
    assert str(result) == "212"


def test_the_names_it_imports_exist() -> None:
    for module, names in re.findall(r"^from (lumos_edge\S*) import (.+)$", README, re.MULTILINE):
        imported = __import__(module, fromlist=names.split(", "))
        assert all(hasattr(imported, name) for name in names.split(", "))
