"""From a model pack, or from GGUF files of the user's own, to an `Agent`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumos_edge.agent import Agent, Budget
from lumos_edge.engine import Sampling
from lumos_edge.errors import ModelLoadError
from lumos_edge.manifest import Manifest, ModelFile
from lumos_edge.manifest import Module as ModulePart
from lumos_edge.templates import ChatTemplate, CompactTemplate, FewshotTemplate, LumosTemplate, PromptTemplate
from lumos_edge.toolbox import Resource, Toolbox
from lumos_edge.trajectory import Formulation, Module

if TYPE_CHECKING:
    from lumos_edge.engine.llama import LlamaEngine


@dataclass(frozen=True)
class ModelChoice:
    """Everything that decides which weights run and how they are asked.

    A module without a template is asked as its adapter's metadata says, or by examples. `n_ctx` 0 takes the engine's
    default.
    """

    name: str
    base: Path
    adapters: Mapping[Module, Path]
    templates: Mapping[Module, str]
    formulation: Formulation
    tools: tuple[str | Path, ...]
    n_ctx: int = 0


def of_pack(manifest: Manifest) -> ModelChoice:
    """The choice that a pulled pack makes; raises ModelNotFound when a file of it is not there."""
    from lumos_edge.store import Store

    store = Store()
    adapters: dict[Module, Path] = {}
    modules: dict[Module, ModulePart] = {"planner": manifest.planner, "grounder": manifest.grounder}
    for module, part in modules.items():
        if part.adapter is not None:
            adapters[module] = (
                store.path(part.adapter) if isinstance(part.adapter, ModelFile) else part.adapter
            )
    return ModelChoice(
        manifest.name,
        store.path(manifest.base),
        adapters,
        {module: part.template for module, part in modules.items()},
        "onetime" if manifest.formulation == "onetime" else "iterative",
        manifest.tools,
        manifest.n_ctx,
    )


def of_files(
    base: Path, *, planner_adapter: Path | None = None, grounder_adapter: Path | None = None
) -> ModelChoice:
    """The choice for GGUF files without a manifest: any chat model, with adapters or without."""
    given: dict[Module, Path | None] = {"planner": planner_adapter, "grounder": grounder_adapter}
    adapters: dict[Module, Path] = {module: path for module, path in given.items() if path}
    return ModelChoice(base.name, base, adapters, {}, "onetime", ("maths",))


def describe(choice: ModelChoice) -> dict[str, Any]:
    """What a trace says of the weights: enough to load the same ones again on this machine."""
    return {
        "name": choice.name,
        "base": str(choice.base),
        "size_bytes": choice.base.stat().st_size,
        "adapters": {module: str(path) for module, path in choice.adapters.items()},
        "n_ctx": choice.n_ctx,
    }


def load_agent(
    choice: ModelChoice,
    *,
    formulation: Formulation | None = None,
    budget: Budget | None = None,
    sampling: Sampling | None = None,
    n_threads: int = 0,
    extra_tools: Sequence[Path] = (),
    resources: Sequence[Resource] = (),
) -> Agent:
    """An agent with its weights loaded. `n_threads` 0 measures what is fastest, once for each model.

    Cost: some 0.5 s for a model of 1 GB; memory is the file's size (mapped) and two KV caches. Raises
    ModelLoadError, AdapterMismatch, ToolPackError.
    """
    from lumos_edge.engine.llama import LlamaEngine

    toolbox = Toolbox.of_packs([*choice.tools, *extra_tools], resources)
    toolbox.check_resources()
    engine = LlamaEngine(choice.base, adapters=choice.adapters, n_ctx=choice.n_ctx, n_threads=n_threads)
    trained = engine.model.metadata("lumos.module")
    if trained:
        raise ModelLoadError(
            f"{choice.base} holds the {trained} alone; an agent needs a base model with an adapter for each module "
            "(`lumos-edge convert diff` makes them of two fine-tuned models)"
        )
    return Agent(
        engine,
        _template(engine, "planner", choice.templates.get("planner")),
        _template(engine, "grounder", choice.templates.get("grounder")),
        toolbox,
        formulation=formulation or choice.formulation,
        budget=budget,
        sampling=sampling,
    )


def _template(engine: LlamaEngine, module: Module, name: str | None) -> PromptTemplate:
    model = engine.model
    if name is None and module in engine.adapters:
        name = engine.adapters[module].metadata("lumos.template")
    if name is None or name == "fewshot":
        source = model.metadata("tokenizer.chat_template")
        return FewshotTemplate(
            ChatTemplate.of_vocabulary(source, bos=model.bos, eos=model.eos, is_control=model.is_control)
        )
    if name == "compact":
        return CompactTemplate(model.eos)
    return LumosTemplate("eval" if name == "lumos-eval" else "train", model.bos, model.eos)
