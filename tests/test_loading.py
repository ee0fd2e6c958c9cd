"""From packs and files to agents."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine.llama import LlamaEngine
from lumos_edge.errors import (
    AdapterMismatch,
    BudgetExceeded,
    Closed,
    EngineError,
    ModelLoadError,
    ModelNotFound,
    ToolPackError,
)
from lumos_edge.knowledge.library import Library
from lumos_edge.loading import choose, describe, load_toolbox, of_files, of_pack, with_tools
from lumos_edge.manifest import find_manifest, read_manifest
from lumos_edge.reader import Reader
from lumos_edge.store import Store
from lumos_edge.templates import CompactTemplate, FewshotTemplate, LumosTemplate
from lumos_edge.toolbox import Toolbox
from lumos_edge.trajectory import Formulation
from tests.cli.conftest import CHAT_TEMPLATE
from tests.engine.tiny import write_adapter, write_bpe_model
from tests.knowledge.packs import ROMANS, build_pack


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bpe_model(tmp_path / "tiny.gguf")


def test_a_file_of_the_users_is_asked_by_examples(tiny: Path) -> None:
    agent = Agent.open(of_files(tiny), n_threads=1)
    assert isinstance(agent.planner_template, FewshotTemplate)
    assert agent.formulation == "onetime"
    assert "Calculator" in agent.toolbox.tools


def test_an_adapter_says_how_it_is_asked(tiny: Path, tmp_path: Path) -> None:
    planner = write_adapter(
        tmp_path / "p.gguf", 1, metadata={"lumos.module": "planner", "lumos.template": "lumos"}
    )
    grounder = write_adapter(tmp_path / "g.gguf", 2, metadata={"lumos.template": "compact"})
    agent = Agent.open(of_files(tiny, planner_adapter=planner, grounder_adapter=grounder), n_threads=1)
    assert isinstance(agent.planner_template, LumosTemplate)
    assert isinstance(agent.grounder_template, CompactTemplate)


@pytest.mark.parametrize(
    ("template", "formulation", "n_caches"),
    [("compact", "onetime", 1), ("compact", "iterative", 2), ("lumos", "onetime", 2)],
)
def test_modules_whose_prompts_go_on_share_a_cache(
    tiny: Path, tmp_path: Path, template: str, formulation: Formulation, n_caches: int
) -> None:
    metadata = {"lumos.template": template, "lumos.formulation": formulation}
    adapter = write_adapter(tmp_path / "a.gguf", 1, metadata=metadata)
    choice = of_files(tiny, planner_adapter=adapter, grounder_adapter=adapter)
    with Agent.open(choice, n_threads=1) as agent:
        engine = agent.engine
        assert isinstance(engine, LlamaEngine)
        contexts = {id(engine._conversation(module).context) for module in ("planner", "grounder")}
        assert len(contexts) == n_caches


def test_an_adapter_says_what_formulation_it_was_trained_for(tiny: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", 1, metadata={"lumos.formulation": "iterative"})
    choice = of_files(tiny, planner_adapter=adapter, grounder_adapter=adapter)
    assert Agent.open(choice, n_threads=1).formulation == "iterative"
    with pytest.warns(
        UserWarning, match=r"the onetime formulation \(planner for iterative, grounder for iter"
    ):
        assert Agent.open(choice, formulation="onetime", n_threads=1).formulation == "onetime"


def test_a_base_that_was_trained_itself_says_how_it_is_asked(tmp_path: Path) -> None:
    trained = {"lumos.template": "compact", "lumos.formulation": "iterative"}
    base = write_bpe_model(tmp_path / "both.gguf", metadata=trained)
    agent = Agent.open(of_files(base), n_threads=1)
    assert isinstance(agent.planner_template, CompactTemplate)
    assert isinstance(agent.grounder_template, CompactTemplate)
    assert agent.formulation == "iterative"
    adapter = write_adapter(tmp_path / "g.gguf", 2, metadata={"lumos.template": "lumos"})
    adapted = Agent.open(of_files(base, grounder_adapter=adapter), n_threads=1)
    assert isinstance(adapted.planner_template, CompactTemplate)
    assert isinstance(adapted.grounder_template, LumosTemplate)


def test_a_template_that_nobody_knows_is_an_error(tiny: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", 1, metadata={"lumos.template": "compcat"})
    with pytest.raises(ModelLoadError, match="template 'compcat', expected one of fewshot, lumos,"):
        Agent.open(of_files(tiny, grounder_adapter=adapter), n_threads=1)


def test_a_module_of_its_own_is_no_base(tmp_path: Path) -> None:
    planner = write_bpe_model(tmp_path / "planner.gguf", metadata={"lumos.module": "planner"})
    with pytest.raises(ModelLoadError, match="holds the planner alone"):
        Agent.open(of_files(planner), n_threads=1)


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


def test_a_pack_may_have_an_adapter_for_its_reader(tiny: Path, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(tiny.read_bytes()).hexdigest()
    manifest = tmp_path / "mine.toml"
    manifest.write_text(
        'title = "Mine"\ndescription = "x"\nformulation = "onetime"\ntools = ["maths"]\nn_ctx = 512\n'
        'template = "compact"\n[reader]\nadapter = "reader.gguf"\n'
        f'[base]\nfile = "tiny.gguf"\nfile_type = "F32"\nsize_bytes = {tiny.stat().st_size}\n'
        f'sha256 = "{sha256}"\nlicence = "MIT"\nurl = "http://127.0.0.1/"\n'
    )
    write_adapter(tmp_path / "reader.gguf", 1, metadata={"lumos.module": "reader", "lumos.template": "lumos"})
    Store().fetch(read_manifest(manifest).base, local=tiny)
    choice = of_pack(read_manifest(manifest))
    assert choice.templates == {"planner": "compact", "grounder": "compact"}
    library = Library([build_pack(tmp_path / "romans.sqlite", *ROMANS)])
    with Agent.open(with_tools(choice, ("qa",)), resources=[library], n_threads=1) as agent:
        assert isinstance(agent.engine, LlamaEngine)
        assert set(agent.engine.adapters) == {"reader"}
        assert agent.reader
        assert isinstance(agent.reader.template, LumosTemplate)
        assert agent.formulation == "iterative"
    library.close()


def test_the_later_packs_tool_stands_for_one_of_its_name() -> None:
    assert Toolbox.of_packs(["maths", "qa"]).needs(Reader)
    assert not Toolbox.of_packs(["qa", "maths"]).tools["Calculator"].resources


def test_a_function_is_not_called_as_another_tool(tiny: Path) -> None:
    def calculator(number: float) -> float:
        """Something else"""
        return number

    calculator.__name__ = "Calculator"
    with pytest.raises(ToolPackError, match="two tools are called Calculator"):
        Agent.open(of_files(tiny), tools=[calculator], n_threads=1)


def double(number: float) -> float:
    """Twice a number"""
    return 2 * number


def test_functions_packs_and_files_are_tools_beside_the_choices_own(tiny: Path, tmp_path: Path) -> None:
    pack = tmp_path / "units.py"
    pack.write_text(
        "from lumos_edge.toolbox import tool\nfrom lumos_edge.values import Number\n\n\n"
        "@tool\ndef Same(x: Number) -> Number:\n    return x\n"
    )
    toolbox = load_toolbox(of_files(tiny), [double, pack])
    assert {"Calculator", "Same", "double"} <= set(toolbox.tools)
    assert toolbox.sources == ("maths", pack)


def test_a_name_a_manifest_and_a_file_can_be_chosen(tiny: Path, nano_path: Path) -> None:
    assert choose(tiny).base == choose(str(tiny)).base == tiny
    assert choose("nano", n_ctx=512) == replace(choose(find_manifest("nano").source), n_ctx=512)
    assert choose("nano").base == nano_path
    assert choose(choose(tiny)) == choose(tiny)


def test_agents_share_weights_which_the_last_to_close_frees(tmp_path: Path) -> None:
    tiny = write_bpe_model(tmp_path / "tiny.gguf", chat_template=CHAT_TEMPLATE, n_ctx=8192)
    first = Agent.open(tiny, n_threads=1)
    second = Agent.open(tiny, n_threads=1, beside=first, tools=[double])
    assert isinstance(first.engine, LlamaEngine)
    assert isinstance(second.engine, LlamaEngine)
    model = first.engine.model
    assert second.engine.model is model
    first.close()
    first.close()
    assert model.handle
    second.ask("What is 2 + 3?")
    with pytest.raises(Closed):
        first.ask("What is 2 + 3?")
    with pytest.raises(Closed):
        Agent.open(tiny, n_threads=1, beside=first)
    second.close()
    assert not model.handle
    with pytest.raises(EngineError, match="is closed"):
        model.retain()


def test_other_weights_cannot_be_shared(tiny: Path, tmp_path: Path) -> None:
    other = write_bpe_model(tmp_path / "other.gguf")
    with Agent.open(tiny, n_threads=1) as first, pytest.raises(ValueError, match="cannot be shared"):
        Agent.open(other, n_threads=1, beside=first)


def test_what_does_not_fit_leaves_no_weights_loaded(tiny: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", 1, metadata={"lumos.module": "planner"})
    with Agent.open(tiny, n_threads=1) as first:
        assert isinstance(first.engine, LlamaEngine)
        with pytest.raises(AdapterMismatch):
            Agent.open(of_files(tiny, grounder_adapter=adapter), n_threads=1, beside=first)
    assert not first.engine.model.handle


def resident_mb() -> float:
    """Resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="reads the resident memory from /proc")
def test_closing_gives_the_memory_back(nano_path: Path) -> None:
    """Weights of 98 MB and the planner's context."""
    with Agent.open(nano_path, n_threads=1, budget=Budget(max_tokens=8)) as agent:
        with pytest.raises(BudgetExceeded):
            agent.ask("What is 2 + 3?")
        used = resident_mb()
    closed = resident_mb()
    assert used - closed > 150
    Agent.open(nano_path, n_threads=1).close()
    assert resident_mb() - closed < 15
