"""From packs and files to agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumos_edge.errors import ModelLoadError, ModelNotFound
from lumos_edge.loading import describe, load_agent, of_files, of_pack
from lumos_edge.manifest import find_manifest
from lumos_edge.templates import CompactTemplate, FewshotTemplate, LumosTemplate
from tests.engine.tiny import write_adapter, write_bpe_model


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "tiny.gguf")


def test_a_file_of_the_users_is_asked_by_examples(tiny: Path) -> None:
    agent = load_agent(of_files(tiny), n_threads=1)
    assert isinstance(agent.planner_template, FewshotTemplate)
    assert agent.formulation == "onetime"
    assert "Calculator" in agent.toolbox.tools


def test_an_adapter_says_how_it_is_asked(tiny: Path, tmp_path: Path) -> None:
    planner = write_adapter(
        tmp_path / "p.gguf", 1, metadata={"lumos.module": "planner", "lumos.template": "lumos"}
    )
    grounder = write_adapter(tmp_path / "g.gguf", 2, metadata={"lumos.template": "compact"})
    agent = load_agent(of_files(tiny, planner_adapter=planner, grounder_adapter=grounder), n_threads=1)
    assert isinstance(agent.planner_template, LumosTemplate)
    assert isinstance(agent.grounder_template, CompactTemplate)


def test_a_module_of_its_own_is_no_base(tmp_path: Path) -> None:
    planner = write_bpe_model(tmp_path / "planner.gguf", metadata={"lumos.module": "planner"})
    with pytest.raises(ModelLoadError, match="holds the planner alone"):
        load_agent(of_files(planner), n_threads=1)


def test_what_a_trace_says_is_enough_to_find_the_weights(tiny: Path) -> None:
    assert describe(of_files(tiny)) == {
        "name": "tiny.gguf",
        "base": str(tiny),
        "size_bytes": tiny.stat().st_size,
        "adapters": {},
        "n_ctx": 0,
    }


def test_a_pack_that_is_not_pulled_names_the_command() -> None:
    with pytest.raises(ModelNotFound, match="lumos-edge models pull nano"):
        of_pack(find_manifest("nano"))
