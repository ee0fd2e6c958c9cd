"""The public API: sorted, documented, typed, loaded when it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lumos_edge
from lumos_edge.trajectory import Event


def test_all_is_sorted_and_complete() -> None:
    assert lumos_edge.__all__ == sorted(lumos_edge._HOME)
    assert set(lumos_edge.__all__) <= set(dir(lumos_edge))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(inspect.getfile(lumos_edge)).read_text("utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {
        alias.name: str(node.module).removeprefix("lumos_edge.") for node in imports for alias in node.names
    }
    assert seen == lumos_edge._HOME


@pytest.mark.parametrize("name", lumos_edge.__all__)
def test_every_name_is_documented_where_it_is_defined(name: str) -> None:
    member = getattr(lumos_edge, name)
    if inspect.isclass(member) or inspect.isfunction(member):
        assert member.__module__ == f"lumos_edge.{lumos_edge._HOME[name]}"
        assert inspect.getdoc(member)
    else:
        assert name in ("Event", "Value")  # unions


def test_the_events_are_public() -> None:
    assert {kind.__name__ for kind in Event.__args__} <= set(lumos_edge.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lumos_edge' has no attribute 'Agents'"):
        _ = lumos_edge.Agents


def test_naming_the_agent_loads_neither_numpy_nor_the_binding() -> None:
    program = "import sys; from lumos_edge import Agent, Budget, tool, run_async; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"llama_cpp", "numpy", "llguidance", "sympy", "requests"} & set(done.stdout.split())
