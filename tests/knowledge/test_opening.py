"""Knowledge from Python: a folder becomes a pack once, and an agent answers from it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lumos_edge import Agent, LumosError, build_knowledge, model_packs
from lumos_edge.errors import KnowledgeNotFound, SourceError
from lumos_edge.resources import cache_folder
from tests.engine.tiny import write_bpe_model

NOTE = "# Boiler\n\nThe boiler was serviced in May 2024 by Ms. Weber. It is a Vaillant of 2011.\n"


class Watched:
    """A Progress that remembers, and can end the build."""

    def __init__(self, stop: bool = False) -> None:
        self.shown: list[tuple[int, int]] = []
        self.stop = stop

    def at(self, n_bytes: int, size_bytes: int) -> None:
        self.shown.append((n_bytes, size_bytes))
        if self.stop:
            raise InterruptedError("enough")

    def say(self, message: str) -> None:
        assert message


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "my notes"
    folder.mkdir()
    (folder / "boiler.md").write_text(NOTE)
    (folder / "garden.md").write_text("# Garden\n\nThe apple tree was planted in 1999.\n")
    return folder


def test_a_folder_is_built_once_and_again_when_it_changes(notes: Path) -> None:
    first, second, third = Watched(), Watched(), Watched()
    pack = build_knowledge(notes, progress=first)
    assert pack.parent == cache_folder() / "knowledge"
    assert pack.stem.startswith("my notes-")
    assert first.shown[-1][0] == first.shown[-1][1] == sum(f.stat().st_size for f in notes.iterdir())
    assert build_knowledge(str(notes), progress=second) == pack
    assert second.shown == []
    (notes / "boiler.md").write_text(NOTE + "\nIt leaks.\n")
    assert build_knowledge(notes, progress=third) == pack
    assert third.shown


def test_folders_of_one_name_have_packs_of_their_own(notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / notes.name
    other.mkdir(parents=True)
    (other / "x.txt").write_text("Something else.")
    assert build_knowledge(other) != build_knowledge(notes)


def test_what_progress_raises_ends_the_build_and_the_next_one_succeeds(notes: Path, tmp_path: Path) -> None:
    target = tmp_path / "notes.sqlite"
    with pytest.raises(InterruptedError):
        build_knowledge(notes, target, Watched(stop=True))
    assert not target.exists()
    assert build_knowledge(notes, target) == target
    assert target.is_file()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        build_knowledge(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no document"):
        build_knowledge(tmp_path / "empty")


def _n_open(file: Path) -> int:
    found = 0
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the handle of this listing itself
            found += handle.readlink() == file
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files as Linux shows them")
def test_an_agent_opens_its_knowledge_and_closes_it(notes: Path, tmp_path: Path) -> None:
    weights = write_bpe_model(tmp_path / "tiny.gguf", n_ctx=8192)
    pack = build_knowledge(notes)
    with Agent.open(weights, knowledge=[pack], n_threads=1) as agent:
        assert agent.formulation == "iterative"
        assert "KnowledgeQuery" in agent.toolbox.tools
        assert _n_open(pack) == 1
    assert _n_open(pack) == 0
    with pytest.raises(KnowledgeNotFound, match="no knowledge pack 'nothing'; installed: none"):
        Agent.open(weights, knowledge=[pack, "nothing"], n_threads=1)
    with pytest.raises(LumosError, match="cannot be read"):
        Agent.open(tmp_path / "none.gguf", knowledge=[pack], n_threads=1)
    assert _n_open(pack) == 0


def test_model_packs_say_what_is_there() -> None:
    packs = {pack.name: pack for pack in model_packs()}
    assert {"base", "nano", "small"} <= set(packs)
    assert packs["nano"].size_bytes == 98_362_432
    assert not any(pack.is_pulled for pack in packs.values())
    with pytest.raises(LumosError, match="lumos-edge models pull nano"):
        Agent.open("nano")


@pytest.mark.model
def test_a_pulled_pack_is_pulled(nano_path: Path) -> None:
    assert {pack.name: pack.is_pulled for pack in model_packs()}["nano"]
