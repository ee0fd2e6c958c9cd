"""`lumos-edge trace`: look at recorded runs and run them again."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.errors import DeadlineExceeded, TraceError

if TYPE_CHECKING:
    from lumos_edge.engine.llama import LlamaEngine
    from lumos_edge.toolbox import Tool
    from lumos_edge.trace import Trace
    from lumos_edge.trajectory import Trajectory

_TRACE_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("trace")
def command() -> None:
    """Show and replay recorded runs (`ask --trace FILE`)."""


@command.command("show")
@click.argument("file", type=_TRACE_FILE)
@click.option("--prompts", is_flag=True, help="Show what each module was asked, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the trajectory as JSON.")
def show(file: Path, prompts: bool, as_json: bool) -> None:
    """Print the steps of a run, and what each completion cost."""
    from lumos_edge import trace, trajectory

    recorded = trace.read(file)
    if as_json:
        steps = recorded.trajectory and trajectory.write_json(recorded.trajectory)
        click.echo(json.dumps(steps, ensure_ascii=False, indent=2))
        return
    click.echo(f"question: {recorded.task.question}")
    click.echo(f"model: {_model(recorded)['name']}, {recorded.run.get('formulation')}\n")
    _show_completions(recorded, prompts)
    if recorded.trajectory is None:
        click.echo("the run was interrupted here")
    else:
        _show_trajectory(recorded.trajectory)
    if recorded.vote:
        _show_vote(recorded.vote)


def _show_vote(vote: dict[str, Any]) -> None:
    click.echo()
    for number, (answer, n_votes) in enumerate(zip(vote["answers"], vote["votes"], strict=False)):
        shown = "this one" if number == vote["winner"] else ""
        click.echo(
            f"sample {number + 1}: {answer or 'no answer'} ({n_votes} of {len(vote['votes'])}) {shown}".rstrip()
        )


def _model(recorded: Trace) -> dict[str, Any]:
    """What the run record says of the weights; raises TraceError."""
    model = recorded.run.get("model")
    is_remote = isinstance(model, dict) and "server" in model
    expected = ("name", "server") if is_remote else ("name", "base", "adapters", "n_ctx")
    if not (isinstance(model, dict) and all(name in model for name in expected)):
        raise TraceError(f"the run record says of its model {model!r}, expected {', '.join(expected)}")
    return model


def _show_completions(recorded: Trace, prompts: bool) -> None:
    for item in recorded.completions:
        made = item.completion
        if prompts:
            text = "".join(piece if isinstance(piece, str) else piece.text for piece in item.prompt)
            click.secho(text, dim=True)
        click.secho(f"{item.module}: {made.text}", fg="cyan")
        click.echo(
            f"  prompt {made.n_prompt} ({made.n_reused} reused), {made.n_completion} tokens "
            f"({made.n_forced} forced, {made.n_masked} masked); prefill {made.prefill_s:.2f} s, "
            f"decode {made.decode_s:.2f} s, constraint {1000 * made.constraint_s:.1f} ms"
        )


def _show_trajectory(finished: Trajectory) -> None:
    for step in finished.steps:
        click.echo("\n" + "; ".join(map(str, step.subgoals)))
        for attempt in step.attempts:
            for action, result in zip(attempt.actions, attempt.results, strict=False):
                click.echo(f"  {action}  ->  {result}")
            if attempt.error:
                click.echo(f"  not grounded: {attempt.error}")
    if finished.answer is None:
        click.echo(f"\nno answer: {finished.message}")
        return
    if finished.message:
        click.echo(f"\n{finished.message}")
    click.echo(f"\nanswer: {finished.answer}")


@command.command("html")
@click.argument("file", type=_TRACE_FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page here instead of to stdout.",
)
def html(file: Path, output: Path | None) -> None:
    """Print a run as one HTML page that needs nothing else: steps, time line, tokens, prompts and completions."""
    from lumos_edge import trace
    from lumos_edge.trace_page import write_page

    page = write_page(trace.read(file))
    if output is None:
        click.echo(page, nl=False)
    else:
        output.write_text(page, encoding="utf-8")


@command.command("replay")
@click.argument("file", type=_TRACE_FILE)
@click.option(
    "--live", is_flag=True, help="Decode again on the recorded model and show the first difference."
)
@click.option(
    "--tools",
    "files",
    type=_TRACE_FILE,
    multiple=True,
    help="A Python file with tools of the run that is not at its place any more (repeatable).",
)
@click.option(
    "--mcp",
    "servers",
    multiple=True,
    metavar="COMMAND",
    help="Start the MCP server whose tools the run had (repeatable).",
)
def replay(file: Path, live: bool, files: tuple[Path, ...], servers: tuple[str, ...]) -> int:
    """Run a recorded task again: with the recorded completions (no model is needed), or with --live.

    Functions, MCP tools and tools on a resource are not called again: their results are the recorded ones. Of a task
    that was sampled several times it runs every sample. Exit code 0 when the trajectory is the recorded one, 1 when it
    is not.
    """
    from lumos_edge import trace

    recorded = trace.read(file)
    if recorded.trajectory is None:
        raise click.UsageError(
            f"{file}: the recorded run was interrupted, there is no trajectory to compare with"
        )
    samples = recorded.samples or (recorded,)
    if any(sample.trajectory and sample.trajectory.error == DeadlineExceeded.__name__ for sample in samples):
        raise click.UsageError(
            f"{file}: its time limit ended the recorded run, no replay ends at that moment"
        )
    placed, tools = _with_tools(samples, files, servers)
    if live:
        same = _replay_live(placed, tools)
    else:
        same = all(trace.replay(sample, tools) == sample.trajectory for sample in placed)
    click.echo("same trajectory" if same else "another trajectory")
    return 0 if same else 1


def _with_tools(
    samples: Sequence[Trace], files: tuple[Path, ...], servers: tuple[str, ...]
) -> tuple[list[Trace], list[Tool]]:
    """The traces with these files in the place of their packs of the same name, and the tools of the others."""
    from lumos_edge.cli.options import start_mcp_server
    from lumos_edge.toolbox import Toolbox

    places = {file.name: str(file) for file in files}
    packs = [places.pop(Path(pack).name, pack) for pack in samples[0].run["tools"]]
    own = list(Toolbox.of_packs(places.values()).tools.values()) if places else []
    of_servers = [tool for command in servers for tool in start_mcp_server(command, _say).tools]
    return [replace(sample, run={**sample.run, "tools": packs}) for sample in samples], [*own, *of_servers]


def _say(message: str) -> None:
    click.echo(f"lumos-edge: {message}", err=True)


def _replay_live(samples: Sequence[Trace], tools: Sequence[Tool]) -> bool:
    from lumos_edge import trace

    engine = interruptible(lambda: _recorded_engine(samples[0]))
    same = True
    for sample in samples:
        replay = functools.partial(trace.replay_live, sample, engine, tools)
        trajectory, difference = interruptible(replay, engine.cancel)
        if difference:
            click.echo(f"completion {difference.index + 1}, {difference.module}:")
            click.echo(f"  recorded: {difference.recorded}\n  live:     {difference.live}")
        same &= trajectory == sample.trajectory
    engine.close()
    return same


def _recorded_engine(recorded: Trace) -> LlamaEngine:
    from lumos_edge.engine.llama import LlamaEngine

    model = _model(recorded)
    if "server" in model:  # a file says so, and only the user says which hosts are contacted
        raise TraceError(
            f"the run was recorded on the server {model['name']}; --live runs weights on this machine"
        )
    adapters = {module: Path(path) for module, path in model["adapters"].items()}
    projector = Path(model["projector"]) if "projector" in model else None
    return LlamaEngine(Path(model["base"]), adapters=adapters, projector=projector, n_ctx=model["n_ctx"])
