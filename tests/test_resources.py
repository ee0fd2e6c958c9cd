"""Content lies beside the package in a checkout and inside it elsewhere; the home moves everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumos_edge import resources

ROOT = Path(__file__).resolve().parent.parent


def test_a_checkouts_content_lies_beside_the_package() -> None:
    assert resources.content_folder("models") == ROOT / "models"
    assert ROOT / "models" / "nano.toml" in list(resources.content_files("models", ".toml"))


def test_a_foreign_folder_beside_an_installed_package_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "lumos_edge"
    (installed / "tools").mkdir(parents=True)
    (installed.parent / "tools").mkdir()
    (installed.parent / "tools" / "foreign.py").touch()
    (installed / "tools" / "maths.py").touch()
    monkeypatch.setattr(resources, "_PACKAGE", installed)
    assert resources.content_folder("tools") == installed / "tools"
    assert [path.name for path in resources.content_files("tools", ".py")] == ["maths.py"]


def test_the_users_files_come_last_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    mine = resources.config_folder() / "models"
    mine.mkdir(parents=True)
    for name in ("aaa.toml", "_draft.toml", ".hidden.toml", "notes.md"):
        (mine / name).touch()
    found = list(resources.content_files("models", ".toml"))
    assert found[-1] == mine / "aaa.toml"
    assert [path.parent for path in found].count(mine) == 1


def test_the_home_moves_every_folder_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMOS_EDGE_HOME", str(tmp_path))
    folders = (resources.config_folder(), resources.data_folder(), resources.cache_folder())
    assert folders == (tmp_path / "config", tmp_path / "data", tmp_path / "cache")


def test_without_a_home_the_platforms_folders_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUMOS_EDGE_HOME")
    folders = {resources.config_folder(), resources.data_folder(), resources.cache_folder()}
    assert len(folders) >= 2  # macOS keeps settings and data together
    assert all("lumos-edge" in path.parts for path in folders)
