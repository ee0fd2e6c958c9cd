"""The options that choose an agent, shared by the commands that run one."""

from __future__ import annotations

import functools
import math
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.trajectory import FORMULATIONS

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.loading import ModelChoice
    from lumos_edge.mcp_tools import McpServer
    from lumos_edge.toolbox import Resource, Tool

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)


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


_MAX_THREADS = 512  # GGML_MAX_N_THREADS (ggml.h); beyond it ggml aborts

_OPTIONS = (
    click.option("--pack", help="Model pack: a name, or a TOML file.", envvar="LUMOS_EDGE_PACK"),
    click.option("--model", type=_FILE, help="A GGUF file of your own instead of a pack."),
    click.option("--planner-adapter", type=_FILE, help="LoRA adapter of the planner, with --model."),
    click.option("--grounder-adapter", type=_FILE, help="LoRA adapter of the grounder, with --model."),
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
    click.option("--db", type=_FILE, help="Ask this SQLite file; it is opened read-only."),
    click.option(
        "--knowledge",
        multiple=True,
        metavar="PACK",
        help="Answer from this knowledge pack: a name or a .sqlite file (repeatable).",
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
    tools: tuple[Path, ...]
    mcp_servers: tuple[str, ...]
    db: Path | None
    knowledge: tuple[str, ...]
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

    def choice(self) -> ModelChoice:
        """The weights to run, pulled first where they are missing. Raises what pulling raises."""
        from lumos_edge import loading

        if self.model:
            if self.pack:
                raise click.UsageError("--pack and --model exclude each other")
            choice = loading.of_files(
                self.model, planner_adapter=self.planner_adapter, grounder_adapter=self.grounder_adapter
            )
        elif self.planner_adapter or self.grounder_adapter:
            raise click.UsageError("an adapter needs --model, the base model that it was trained on")
        else:
            choice = loading.of_pack(_pulled(self.pack))
        # What is attached decides what the task is about.
        if self.db and self.knowledge:
            raise click.UsageError("--db and --knowledge exclude each other")
        if self.db:
            choice = loading.with_tools(choice, ("sql",))
        if self.knowledge:
            choice = loading.with_knowledge(choice)
        return replace(choice, n_ctx=self.n_ctx) if self.n_ctx else choice

    def settings(self, choice: ModelChoice, formulation: str) -> dict[str, Any]:
        """What decides the answers, as JSON data: everything but the number of threads."""
        from lumos_edge.loading import describe

        own = asdict(self)
        for name in ("pack", "model", "planner_adapter", "grounder_adapter", "n_ctx", "n_threads"):
            del own[name]
        tools = [str(path) for path in self.tools]
        own["mcp_servers"] = list(self.mcp_servers)
        own["db"] = str(self.db) if self.db else None
        own["knowledge"] = list(self.knowledge)
        return {**describe(choice), **own, "formulation": formulation, "tools": tools}

    def agent(
        self,
        choice: ModelChoice,
        say: Callable[[str], None] | None = None,
        beside: Agent | None = None,
        resources: Sequence[Resource] = (),
    ) -> Agent:
        """The agent on those weights, which it shares with `beside`, and on these resources. `say` is told, in one
        line, what the user should know of them.

        Raises what loading raises, and KeyboardInterrupt.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            servers = [_start_mcp_server(command, say or _say) for command in self.mcp_servers]
            tools = [tool for server in servers for tool in server.tools]
            agent = interruptible(functools.partial(self._agent, choice, tools, beside, resources))
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
            resources=[*self._resources(), *resources],
            beside=beside,
        )

    def _resources(self) -> list[Resource]:
        from lumos_edge import loading
        from lumos_edge.sql.database import Database

        if self.knowledge:
            return [loading.open_knowledge(self.knowledge)]
        return [Database.open(self.db)] if self.db else []


def _start_mcp_server(command: str, say: Callable[[str], None]) -> McpServer:
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


def _pulled(name: str | None) -> Any:
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
