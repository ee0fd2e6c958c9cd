"""From a model pack, or from GGUF files of the user's own, to what an `Agent` is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lumos_edge.engine import Sampling
from lumos_edge.errors import ModelLoadError
from lumos_edge.functions import tool_of
from lumos_edge.manifest import TEMPLATES, Manifest, ModelFile, all_manifests, default_pack, find_manifest
from lumos_edge.manifest import Module as ModulePart
from lumos_edge.reader import Reader
from lumos_edge.templates import (
    ChatTemplate,
    CompactTemplate,
    FewshotTemplate,
    LumosTemplate,
    PromptTemplate,
    ReaderTemplate,
)
from lumos_edge.toolbox import Resource, Tool, Toolbox
from lumos_edge.trajectory import FORMULATIONS, MODULES, Formulation, Module, Step, Subgoal, Task

if TYPE_CHECKING:
    from lumos_edge.engine.binding import Adapter, Model
    from lumos_edge.engine.llama import LlamaEngine
    from lumos_edge.engine.remote import RemoteEngine, RemoteVocabulary
    from lumos_edge.knowledge.library import Library
    from lumos_edge.knowledge.online import OnlineWiki
    from lumos_edge.sources import Progress


_READER_TOKENS = 80  # the last 48 of them close what is open: some 32 are an answer's


@dataclass(frozen=True)
class Server:
    """Weights that another machine, or another program on this one, runs: see `engine.remote.RemoteEngine`."""

    url: str
    model: str = ""
    models: Mapping[Module, str] = field(default_factory=dict)
    chat_template: str = ""


@dataclass(frozen=True)
class ModelChoice:
    """Everything that decides which weights run and how they are asked.

    With a `server` there are no files: `base` is its address and means nothing else. A module without a template is
    asked as its adapter's metadata says, or by examples; without a formulation the adapters' decides, or onetime.
    `n_ctx` 0 takes the engine's default.
    """

    name: str
    base: Path
    adapters: Mapping[Module, Path]
    templates: Mapping[Module, str]
    formulation: Formulation | None
    tools: tuple[str | Path, ...]
    n_ctx: int = 0
    server: Server | None = None
    projector: Path | None = None
    """What makes the weights see pictures, where a tool wants them to."""


def of_pack(manifest: Manifest) -> ModelChoice:
    """The choice that a pulled pack makes; raises ModelNotFound when a file of it is not there."""
    from lumos_edge.store import Store

    store = Store()
    adapters: dict[Module, Path] = {}
    modules: dict[Module, ModulePart] = {
        "planner": manifest.planner,
        "grounder": manifest.grounder,
        "reader": manifest.reader,
    }
    # The template of a pack is of its planner and grounder; the compact one has no words for a reader.
    templates = {module: part.template for module, part in modules.items()}
    if templates["reader"] == "compact":
        del templates["reader"]
    for module, part in modules.items():
        if part.adapter is not None:
            adapters[module] = (
                store.path(part.adapter) if isinstance(part.adapter, ModelFile) else part.adapter
            )
    return ModelChoice(
        manifest.name,
        store.path(manifest.base),
        adapters,
        templates,
        "onetime" if manifest.formulation == "onetime" else "iterative",
        manifest.tools,
        manifest.n_ctx,
        projector=store.path(manifest.projector) if manifest.projector else None,
    )


def of_files(
    base: Path,
    *,
    planner_adapter: Path | None = None,
    grounder_adapter: Path | None = None,
    projector: Path | None = None,
) -> ModelChoice:
    """The choice for GGUF files without a manifest: any chat model, with adapters and projector or without."""
    given: dict[Module, Path | None] = {"planner": planner_adapter, "grounder": grounder_adapter}
    adapters: dict[Module, Path] = {module: path for module, path in given.items() if path}
    return ModelChoice(base.name, base, adapters, {}, None, ("maths",), projector=projector)


def of_server(server: Server, asked_as: Manifest | None = None) -> ModelChoice:
    """The choice for weights on a server; a pack's manifest says how they are asked, without one it is by examples."""
    choice = ModelChoice(server.url, Path(server.url), {}, {}, None, ("maths",), server=server)
    if asked_as is None:
        return choice
    templates: dict[Module, str] = {
        "planner": asked_as.planner.template,
        "grounder": asked_as.grounder.template,
    }
    formulation: Formulation = "onetime" if asked_as.formulation == "onetime" else "iterative"
    return replace(choice, templates=templates, formulation=formulation, tools=asked_as.tools)


# Where a subgoal depends on what the one before it came to, which the onetime formulation does not know.
_STEP_BY_STEP = frozenset({"qa", "shop", "vision", "web"})


def with_tools(choice: ModelChoice, tools: tuple[str | Path, ...]) -> ModelChoice:
    """The same weights for tasks of another family. Adapters of the pack's own family stay away from it: the modules
    are asked by examples, or in the paper's words where the pack says so. Adapters of the user's own files stay.
    """
    if set(tools) <= set(choice.tools):
        return replace(choice, tools=tools)
    other = {module for module, name in choice.templates.items() if name == "compact"}
    templates = {module: name for module, name in choice.templates.items() if module not in other}
    adapters = {module: path for module, path in choice.adapters.items() if module not in other}
    step_by_step = not adapters.keys() - {"reader"} and not _STEP_BY_STEP.isdisjoint(tools)
    formulation = "iterative" if step_by_step else choice.formulation
    return replace(choice, tools=tools, templates=templates, adapters=adapters, formulation=formulation)


def open_knowledge(packs: Sequence[str | Path], online: OnlineWiki | None = None) -> Library:
    """These packs, by name or path, as one library, with that wiki. Raises KnowledgeNotFound, DamagedKnowledge."""
    from lumos_edge.knowledge.library import Library
    from lumos_edge.knowledge.pack import find_pack

    return Library([find_pack(str(pack)) for pack in packs], online)


def describe(choice: ModelChoice) -> dict[str, Any]:
    """What a trace says of the weights: enough to load the same ones again on this machine."""
    if choice.server:
        return {"name": choice.name, "server": asdict(choice.server)}
    return {
        "name": choice.name,
        "base": str(choice.base),
        "size_bytes": choice.base.stat().st_size,
        "adapters": {module: str(path) for module, path in choice.adapters.items()},
        "n_ctx": choice.n_ctx,
        **({"projector": str(choice.projector)} if choice.projector else {}),
    }


def choose(model: str | Path | ModelChoice, n_ctx: int = 0) -> ModelChoice:
    """The choice that a pack's name, a manifest's path, a GGUF file's path or a server's address means; "" is the
    default pack.

    `n_ctx` 0 leaves the context window as it is. Raises ModelNotFound and ManifestError.
    """
    if isinstance(model, ModelChoice):
        choice = model
    elif str(model).startswith(("http://", "https://")):
        choice = of_server(Server(str(model)))
    elif Path(model).suffix.lower() == ".gguf":
        choice = of_files(Path(model))
    else:
        choice = of_pack(find_manifest(model or default_pack()))
    return replace(choice, n_ctx=n_ctx) if n_ctx else choice


@dataclass(frozen=True)
class ModelPack:
    """A model pack that `pull` fetches. `is_pulled`: all its files are on this machine."""

    name: str
    description: str
    size_bytes: int
    is_pulled: bool


def model_packs() -> list[ModelPack]:
    """The built-in model packs and the user's own. Raises ManifestError."""
    from lumos_edge.store import Store

    store = Store()
    return [
        ModelPack(
            manifest.name,
            manifest.description,
            sum(file.size_bytes for file in manifest.files),
            all(file in store for file in manifest.files),
        )
        for manifest in all_manifests()
    ]


def pull(pack: str | Path = "", progress: Progress | None = None) -> Path:
    """Fetch the files of a model pack that are missing; returns the path of its base model.

    This call alone opens sockets. `progress.at(n_bytes, size_bytes)` is called as they come. An interrupted pull goes
    on where it stopped. Raises ModelNotFound, OfflineError, DownloadError, ChecksumMismatch.
    """
    from lumos_edge.store import Store

    return Store().pull(find_manifest(pack or default_pack()), progress)


def load_toolbox(
    choice: ModelChoice,
    tools: Sequence[Callable[..., Any] | Tool | str | Path] = (),
    resources: Sequence[Resource] = (),
) -> Toolbox:
    """The tools of the choice's packs and these (packs by name or path, and functions), on these resources.

    Raises ToolPackError, also for a resource that a tool lacks (the agent itself adds its reader), and TypeError for a
    function that cannot be a tool.
    """
    packs = [pack for pack in tools if isinstance(pack, (str, Path))]
    own = [tool_of(function) for function in tools if not isinstance(function, (str, Path))]
    of_packs = Toolbox.of_packs([*choice.tools, *packs])
    toolbox = Toolbox([*of_packs.tools.values(), *own], of_packs.sources, of_packs.examples, resources)
    toolbox.check_resources(later=[Reader])
    return toolbox


@dataclass(frozen=True)
class Modules:
    """What an agent needs of its weights; `trained_for` is the formulation that each module's adapter names."""

    engine: LlamaEngine | RemoteEngine
    planner_template: PromptTemplate
    grounder_template: PromptTemplate
    reader_asked_as: str | None
    trained_for: Mapping[Module, str]
    model: Model | None
    """The weights that agents on this machine can share; a server's are none."""

    def reader(self, sampling: Sampling, is_extractive: bool, may_recall: bool) -> Reader:
        """The reader on this engine; raises ModelLoadError."""
        template = _reader_template(self.engine, self.reader_asked_as)
        sees = self.engine.vision is not None
        return Reader(self.engine, template, sampling, _READER_TOKENS, is_extractive, may_recall, sees)

    @property
    def formulation(self) -> Formulation:
        """The first formulation that an adapter names; onetime when none does."""
        return next(
            (known for name in self.trained_for.values() for known in FORMULATIONS if known == name),
            "onetime",
        )

    def check_formulation(self, chosen: Formulation) -> None:
        """Warn of adapters that were trained for another one: they follow the grammar, and answer by chance."""
        others = [f"{module} for {name}" for module, name in self.trained_for.items() if name != chosen]
        if others:
            warnings.warn(
                f"the adapters were not trained for the {chosen} formulation ({', '.join(others)}): "
                "expect poor answers",
                stacklevel=3,
            )

    def keep_prefixes(self, toolbox: Toolbox, formulation: Formulation) -> None:
        """Tell the engine what every conversation begins with, by the prompts of two tasks as unlike as can be; and
        whether the grounder's continues the planner's.
        """
        tasks = Task("1"), Task("Ann")
        steps = [Step((Subgoal(1, task.question),), ()) for task in tasks]
        planner = [self.planner_template.planner(task, toolbox, (), formulation) for task in tasks]
        grounder = [
            self.grounder_template.grounder(task, toolbox, (), step, formulation)
            for task, step in zip(tasks, steps, strict=True)
        ]
        # Planned and grounded step by step, they part ways after the first.
        is_one = formulation == "onetime" and all(
            longer[: len(shorter)] == shorter for shorter, longer in zip(planner, grounder, strict=True)
        )
        self.engine.set_prefix("planner", planner)
        self.engine.set_prefix("grounder", grounder, continues="planner" if is_one else None)


def load_modules(choice: ModelChoice, n_threads: int = 0, model: Model | None = None) -> Modules:
    """The engine on the choice's weights, and how each module is asked; `model` is its base when it is loaded already.

    Raises ModelLoadError, AdapterMismatch, and for a server ServerError and OfflineError.
    """
    engine = remote_engine(choice.server) if choice.server else _llama_engine(choice, n_threads, model)
    trained = engine.model.metadata("lumos.module")
    if trained:
        engine.close()
        raise ModelLoadError(
            f"{choice.base} holds the {trained} alone; an agent needs a base model with an adapter for each module "
            "(`lumos-edge convert diff` makes them of two fine-tuned models)"
        )
    planner = _template(engine, "planner", choice.templates.get("planner"))
    grounder = _template(engine, "grounder", choice.templates.get("grounder"))
    named = {module: _trained(engine, module).metadata("lumos.formulation") for module in MODULES}
    return Modules(
        engine,
        planner,
        grounder,
        choice.templates.get("reader"),
        {module: name for module, name in named.items() if name},
        None if choice.server else cast("Model", engine.model),
    )


def remote_engine(server: Server) -> RemoteEngine:
    """The engine on a server; raises ServerError, OfflineError."""
    from lumos_edge.engine.remote import RemoteEngine

    return RemoteEngine(
        server.url, models=server.models, model=server.model, chat_template=server.chat_template
    )


def _llama_engine(choice: ModelChoice, n_threads: int, model: Model | None) -> LlamaEngine:
    from lumos_edge.engine.llama import LlamaEngine

    return LlamaEngine(
        model or choice.base,
        adapters=choice.adapters,
        projector=choice.projector,
        n_ctx=choice.n_ctx,
        n_threads=n_threads,
    )


def _trained(engine: LlamaEngine | RemoteEngine, module: Module) -> Adapter | Model | RemoteVocabulary:
    """The weights that say what the module was trained for: its adapter's, or those of a base that needs none."""
    return engine.adapters.get(module, engine.model)


def _reader_template(engine: LlamaEngine | RemoteEngine, name: str | None) -> ReaderTemplate:
    if name is None and "reader" not in engine.adapters:
        name = "fewshot"  # what a base says of itself is of the planner and the grounder
    template = _template(engine, "reader", name)
    if isinstance(template, CompactTemplate):
        raise ModelLoadError("the reader has no compact template; expected fewshot, lumos or lumos-eval")
    return template


def _template(
    engine: LlamaEngine | RemoteEngine, module: Module, name: str | None
) -> LumosTemplate | CompactTemplate | FewshotTemplate:
    model = engine.model
    if name is None:
        name = _trained(engine, module).metadata("lumos.template")
    if name is None or name == "fewshot":
        source = model.metadata("tokenizer.chat_template")
        return FewshotTemplate(
            ChatTemplate.of_vocabulary(source, bos=model.bos, eos=model.eos, is_control=model.is_control)
        )
    if name not in TEMPLATES:
        raise ModelLoadError(
            f"the {module}'s adapter names the prompt template {name!r}, expected one of {', '.join(TEMPLATES)}"
        )
    if name == "compact":
        return CompactTemplate(model.eos)
    return LumosTemplate("eval" if name == "lumos-eval" else "train", model.bos, model.eos)
