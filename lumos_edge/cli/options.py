"""The options that choose an agent, shared by the commands that run one."""

from __future__ import annotations

import functools
import math
import os
import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.trajectory import FORMULATIONS, MODULES

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.knowledge.library import Library
    from lumos_edge.knowledge.online import OnlineWiki
    from lumos_edge.loading import ModelChoice
    from lumos_edge.mcp_tools import McpServer
    from lumos_edge.sql.database import Database
    from lumos_edge.toolbox import Resource, Tool

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)

AUTO = "auto"
"""The --domain that the planner chooses."""


def agent_options(function: F) -> F:
    """Add the options to a command; it gets them as one `AgentOptions` called `options`."""

    @functools.wraps(function)
    def with_options(**values: Any) -> Any:
        own = {name: values.pop(name) for name in AgentOptions.__dataclass_fields__}
        return function(options=AgentOptions(**own), **values)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options  # type: ignore[return-value]


samples_option = click.option(
    "--samples",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Plan so many times at random (temperature 0.7 if none is given), and take the answer most have.",
)


class _FiniteRange(click.FloatRange):
    """Without inf, and without nan, which is in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


online_option = click.option(
    "--online",
    is_flag=True,
    help="Look things up in Wikipedia, too, over the network; LUMOS_EDGE_WIKIPEDIA is the address of another wiki.",
)

_MAX_THREADS = 512  # GGML_MAX_N_THREADS (ggml.h); beyond it ggml aborts

_OPTIONS = (
    click.option("--pack", help="Model pack: a name, or a TOML file.", envvar="LUMOS_EDGE_PACK"),
    click.option("--model", type=_FILE, help="A GGUF file of your own instead of a pack."),
    click.option("--planner-adapter", type=_FILE, help="LoRA adapter of the planner, with --model."),
    click.option("--grounder-adapter", type=_FILE, help="LoRA adapter of the grounder, with --model."),
    click.option(
        "--projector",
        type=_FILE,
        help="What makes --model see pictures: an mmproj GGUF file of its family (LLaVA, SmolVLM).",
    ),
    click.option(
        "--server",
        metavar="URL",
        help="Weights on this server (llama-server, vLLM, llama_cpp.server); --pack says how they are asked.",
    ),
    click.option(
        "--server-model",
        "server_models",
        multiple=True,
        metavar="[MODULE=]NAME",
        help="The name that the server serves the weights by; planner=NAME and grounder=NAME where they differ.",
    ),
    click.option(
        "--server-chat-template",
        type=_FILE,
        help="A Jinja file, where the server does not say how its model is asked. Default: ChatML.",
    ),
    click.option(
        "--tools", type=_FILE, multiple=True, help="A Python file with tools of your own (repeatable)."
    ),
    click.option(
        "--mcp",
        "mcp_servers",
        multiple=True,
        metavar="COMMAND",
        help="Use the tools of the MCP server that this command starts (repeatable).",
    ),
    click.option(
        "--domain",
        metavar="TOOLS",
        help="The tool pack of the questions: maths, qa, sql, web, shop, vision or your own; auto: the model "
        "chooses one that can work on what is attached. Default: what is attached says, else the model pack.",
    ),
    click.option(
        "--db",
        metavar="FILE|URL",
        help="Ask this database, read-only: a SQLite file, or a URL such as postgresql+psycopg://user@host/name "
        "(extra sql, and the driver).",
    ),
    click.option(
        "--knowledge",
        multiple=True,
        metavar="PACK",
        help="Answer from this knowledge pack: a name or a .sqlite file (repeatable). Default with --domain qa: all "
        "installed ones.",
    ),
    online_option,
    click.option(
        "--own-words",
        is_flag=True,
        help="Answers from knowledge in the model's own words, on one line, instead of quotations.",
    ),
    click.option(
        "--from-memory",
        is_flag=True,
        help="Where no passage has the answer, take what the model remembers. It may be wrong.",
    ),
    click.option("--formulation", type=click.Choice(FORMULATIONS), help="Default: the pack's."),
    click.option("--max-subgoals", type=click.IntRange(1, 32), default=8, show_default=True),
    click.option("--max-actions", type=click.IntRange(1), default=64, show_default=True),
    click.option(
        "--max-tokens", type=click.IntRange(1), default=4096, show_default=True, help="Of all completions."
    ),
    click.option("--timeout", "timeout_s", type=_FiniteRange(0), default=0.0, help="Seconds; 0 means none."),
    click.option("--temperature", type=_FiniteRange(0, 10), default=0.0, show_default=True),
    click.option("--top-p", type=_FiniteRange(0, 1, min_open=True), default=1.0, show_default=True),
    click.option("--min-p", type=_FiniteRange(0, 1), default=0.0, show_default=True),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--n-ctx", type=click.IntRange(256), help="Tokens of a module's context window."),
    click.option(
        "--n-threads",
        type=click.IntRange(1, _MAX_THREADS),
        help="Default: measured once, kept for each model.",
    ),
)


@dataclass(frozen=True)
class AgentOptions:
    """The values of the options."""

    pack: str | None
    model: Path | None
    planner_adapter: Path | None
    grounder_adapter: Path | None
    projector: Path | None
    server: str | None
    server_models: tuple[str, ...]
    server_chat_template: Path | None
    tools: tuple[Path, ...]
    mcp_servers: tuple[str, ...]
    domain: str | None
    db: str | None
    knowledge: tuple[str, ...]
    online: bool
    own_words: bool
    from_memory: bool
    formulation: Any
    max_subgoals: int
    max_actions: int
    max_tokens: int
    timeout_s: float
    temperature: float
    top_p: float
    min_p: float
    seed: int
    n_ctx: int | None
    n_threads: int | None

    def choice(self, tools: tuple[str, ...] = ()) -> ModelChoice:
        """The weights to run, pulled first where they are missing, and `tools`, or the tool packs that the options say.

        Raises what pulling raises, and click.UsageError.
        """
        from lumos_edge import loading

        tools = tools or self.tool_packs()
        choice = self._weights()
        if tools:
            choice = loading.with_tools(choice, tools)
        return replace(choice, n_ctx=self.n_ctx) if self.n_ctx else choice

    def tool_packs(
        self, page: str | None = None, shop: Path | None = None, image: Path | None = None
    ) -> tuple[str, ...]:
        """What --domain names, or what is attached implies; none for the model pack's own. Raises click.UsageError."""
        if self.domain == AUTO:
            raise click.UsageError("--domain auto is for `ask` and `eval`")
        attached = [
            ("--page", "web", page),
            ("--shop", "shop", shop),
            ("--image", "vision", image),
            ("--db", "sql", self.db),
            ("--knowledge", "qa", self.knowledge),
            ("--online", "qa", self.online),
        ]
        given = {pack: option for option, pack, value in reversed(attached) if value}
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(reversed(given.values()))} exclude each other")
        for pack, option in given.items():
            if self.domain not in (None, pack):
                raise click.UsageError(f"{option} is for --domain {pack}, not {self.domain}")
            return (pack,)
        if self.domain:
            return (self.domain,)
        return ("qa",) if self.own_words or self.from_memory else ()

    def narrowed(self, domain: str) -> AgentOptions:
        """The same for that domain, without what is attached to another one."""
        is_sql, is_qa = domain == "sql", domain == "qa"
        return replace(
            self,
            domain=domain,
            db=self.db if is_sql else None,
            knowledge=self.knowledge if is_qa else (),
            online=self.online and is_qa,
        )

    def _weights(self) -> ModelChoice:
        from lumos_edge import loading

        if self.server or self.server_models or self.server_chat_template:
            return self._served()
        if self.model:
            if self.pack:
                raise click.UsageError("--pack and --model exclude each other")
            return loading.of_files(
                self.model,
                planner_adapter=self.planner_adapter,
                grounder_adapter=self.grounder_adapter,
                projector=self.projector,
            )
        if self.projector:
            raise click.UsageError("--projector needs --model, the base model that it belongs to")
        if self.planner_adapter or self.grounder_adapter:
            raise click.UsageError("an adapter needs --model, the base model that it was trained on")
        return loading.of_pack(pulled(self.pack))

    def _served(self) -> ModelChoice:
        """The weights on a server, asked as a pack says."""
        from lumos_edge import loading
        from lumos_edge.manifest import find_manifest

        if not self.server:
            raise click.UsageError("--server-model and --server-chat-template need --server")
        own = (self.model, self.planner_adapter, self.grounder_adapter, self.projector)
        if any(own) or self.n_ctx or self.n_threads:
            raise click.UsageError("with --server the weights, --n-ctx and --n-threads are the server's")
        named = [text.partition("=") for text in self.server_models]
        models = {module: name for module in MODULES for key, _, name in named if key == module and name}
        default = next((key + sign + name for key, sign, name in named if not (key in MODULES and name)), "")
        template = self.server_chat_template.read_text("utf-8") if self.server_chat_template else ""
        server = loading.Server(self.server, default, models, template)
        return loading.of_server(server, find_manifest(self.pack) if self.pack else None)

    def settings(self, choice: ModelChoice, formulation: str) -> dict[str, Any]:
        """What decides the answers, as JSON data: everything but the number of threads."""
        from lumos_edge.loading import describe

        own = asdict(self)
        for name in (
            "pack",
            "model",
            "planner_adapter",
            "grounder_adapter",
            "projector",
            "n_ctx",
            "n_threads",
        ):
            del own[name]
        for name in ("server", "server_models", "server_chat_template"):
            del own[name]
        tools = [str(path) for path in self.tools]
        own["mcp_servers"] = list(self.mcp_servers)
        own["db"] = _without_password(self.db) if self.db else None
        is_open = self.domain == AUTO
        own["domain"] = [AUTO] if is_open else [str(pack) for pack in choice.tools]
        has_knowledge = is_open or "qa" in choice.tools
        own["knowledge"] = [str(pack) for pack in _knowledge_packs(self.knowledge)] if has_knowledge else []
        return {**describe(choice), **own, "formulation": formulation, "tools": tools}

    def agent(
        self,
        choice: ModelChoice,
        say: Callable[[str], None] | None = None,
        beside: Agent | None = None,
        resources: Sequence[Resource] | None = None,
    ) -> Agent:
        """The agent on those weights, which it shares with `beside`, and on these resources, or those that the options
        name. `say` is told, in one line, what the user should know of them.

        Raises what loading raises, and KeyboardInterrupt.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            servers = [start_mcp_server(command, say or _say) for command in self.mcp_servers]
            tools = [tool for server in servers for tool in server.tools]
            opened = self._resources(choice) if resources is None else resources
            agent = interruptible(functools.partial(self._agent, choice, tools, beside, opened))
        for warning in caught:
            (say or _say)(str(warning.message))
        return agent

    def _agent(
        self, choice: ModelChoice, tools: list[Tool], beside: Agent | None, resources: Sequence[Resource]
    ) -> Agent:
        from lumos_edge.agent import Agent, Budget
        from lumos_edge.engine import Sampling

        return Agent.open(
            choice,
            formulation=self.formulation,
            budget=Budget(self.max_subgoals, self.max_actions, self.max_tokens, self.timeout_s),
            sampling=Sampling(self.temperature, self.top_p, self.min_p, self.seed),
            n_threads=self.n_threads or 0,
            tools=[*self.tools, *tools],
            resources=resources,
            is_extractive=not self.own_words,
            may_recall=self.from_memory,
            beside=beside,
        )

    def _resources(self, choice: ModelChoice) -> list[Resource]:
        resources: list[Resource] = [open_database(self.db)] if self.db else []
        if self.knowledge or self.online or "qa" in choice.tools:
            resources.append(self.library())
        return resources

    def library(self, names: tuple[str, ...] = ()) -> Library:
        """The knowledge packs of these names; without any, those of --knowledge, or all installed ones.

        Raises what `open_library` raises.
        """
        return open_library(names or self.knowledge, online=self.online, may_be_empty=self.from_memory)


def open_library(names: Sequence[str], *, online: bool, may_be_empty: bool = False) -> Library:
    """Knowledge packs of these names, or all installed ones, and Wikipedia; closed when the command ends.

    Raises KnowledgeNotFound, also where there is nothing to search, OfflineError, and what opening raises.
    """
    from lumos_edge.errors import KnowledgeNotFound
    from lumos_edge.loading import open_knowledge

    packs = _knowledge_packs(names)
    if not (packs or online or may_be_empty):
        raise KnowledgeNotFound(
            "no knowledge pack is installed: `lumos-edge knowledge build FILE_OR_DIR --name NAME` makes one"
        )
    library = open_knowledge(packs, _online_wiki() if online else None)
    click.get_current_context().call_on_close(library.close)
    return library


def open_database(name: str) -> Database:
    """The database of a SQLite file, or of a URL as SQLAlchemy has them (`postgresql+psycopg://user@host/name`).

    Raises DatabaseError, and OfflineError for a URL with a host.
    """
    from lumos_edge.errors import DatabaseError
    from lumos_edge.sources import require_network
    from lumos_edge.sql.database import Database

    if "://" not in name or name.startswith("sqlite:///"):
        return Database.open(Path(name.removeprefix("sqlite:///")))
    if ":///" not in name:
        require_network(f"the database {_without_password(name)}")
    try:
        from lumos_edge.sql.server import ServerDatabase
    except ImportError as error:
        raise DatabaseError(f"a database by its URL needs the extra sql: {error}") from error
    return ServerDatabase.connect(name)


def _without_password(name: str) -> str:
    return re.sub(r"(://[^:/@]*):[^/]*@", r"\1:***@", name)


def _knowledge_packs(names: Sequence[str]) -> list[Path]:
    from lumos_edge.knowledge.pack import find_pack, installed_packs

    return [find_pack(name) for name in names] or list(installed_packs())


def installed_knowledge() -> bool:
    """Whether there is a knowledge pack."""
    from lumos_edge.knowledge.pack import installed_packs

    return bool(installed_packs())


def _online_wiki() -> OnlineWiki:
    from lumos_edge.knowledge.online import WIKIPEDIA, OnlineWiki
    from lumos_edge.sources import require_network

    require_network("--online")
    try:
        return OnlineWiki(os.environ.get("LUMOS_EDGE_WIKIPEDIA") or WIKIPEDIA)
    except ValueError as error:
        raise click.UsageError(f"LUMOS_EDGE_WIKIPEDIA: {error}") from error


def start_mcp_server(command: str, say: Callable[[str], None]) -> McpServer:
    """The running server, which ends with the command line's command."""
    from lumos_edge.mcp_tools import McpServer

    program, *arguments = shlex.split(command) or [""]
    server = interruptible(lambda: McpServer(program, arguments))
    click.get_current_context().call_on_close(server.close)
    for reason in server.refused.values():
        say(f"a tool of {program} is not used: {reason}")
    return server


def _say(message: str) -> None:
    click.echo(f"lumos-edge: {message}", err=True)


def pulled(name: str | None) -> Any:
    """The manifest of the pack, its files there."""
    from lumos_edge.cli.progress import bytes_progress
    from lumos_edge.manifest import default_pack, find_manifest
    from lumos_edge.store import Store

    manifest = find_manifest(name or default_pack())
    store = Store()
    if not all(file in store for file in manifest.files):
        with bytes_progress(f"pulling {manifest.name}") as progress:
            store.pull(manifest, progress)
    return manifest
