"""`lumos-edge ask`: one question, one answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.options import AgentOptions, agent_options

if TYPE_CHECKING:
    from lumos_edge.trajectory import Event, Trajectory


@click.command("ask")
@click.argument("question")
@agent_options
@click.option(
    "--trace", "trace_file", type=click.Path(dir_okay=False, path_type=Path), help="Record the run here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with the whole trajectory.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
def command(question: str, options: AgentOptions, trace_file: Path | None, as_json: bool, quiet: bool) -> int:
    """Answer QUESTION ("-" reads it from stdin).

    The answer goes to stdout, all else to stderr. Exit codes: 0 answered, 1 not answered, 2 usage, 3 model, file or
    engine, 4 budget, 130 interrupted.
    """
    from lumos_edge.trajectory import Finished, Task

    task = Task(_checked(sys.stdin.read() if question == "-" else question))
    show = _Progress() if sys.stderr.isatty() and not quiet else None
    with ExitStack() as stack:
        keep = _Records(stack, trace_file)
        choice = options.choice()
        agent = options.agent(choice)
        from lumos_edge import loading, trace

        trajectory = None
        try:
            for event in trace.record(agent, task, loading.describe(choice), keep):
                if show:
                    show(event)
                if isinstance(event, Finished):
                    trajectory = event.trajectory
        finally:
            if trajectory and as_json:
                click.echo(
                    json.dumps(_document(trajectory, choice.name, keep.completions), ensure_ascii=False)
                )
    assert trajectory is not None
    return _end(trajectory, as_json)


def _checked(question: str) -> str:
    from lumos_edge.agent import MAX_QUESTION

    # A NUL or an escape sequence in a question is a mistake of the caller's, and would reach terminals and traces.
    control = next((c for c in question if not c.isprintable() and c not in "\n\t\r"), None)
    if control is not None:
        raise click.UsageError(f"the question holds the control character {control!r}")
    if not question.strip():
        raise click.UsageError("the question is empty")
    if len(question) > MAX_QUESTION:
        raise click.UsageError(
            f"the question has {len(question):,} characters, at most {MAX_QUESTION:,} are taken"
        )
    return question.strip()


class _Records:
    """Keeps the completions of a run, and writes the trace file if there is one."""

    def __init__(self, stack: ExitStack, path: Path | None) -> None:
        self.completions: list[dict[str, Any]] = []
        self._file = None
        if path:
            try:
                self._file = stack.enter_context(path.open("w", encoding="utf-8"))
            except OSError as error:
                raise click.UsageError(f"{path} cannot be written: {error.strerror}") from error

    def __call__(self, record: dict[str, Any]) -> None:
        if record["record"] == "completion":
            self.completions.append({"module": record["module"], **record["completion"]})
        if self._file:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._file.flush()  # what is written so far must survive whatever ends the run


def _document(trajectory: Trajectory, pack: str, completions: list[dict[str, Any]]) -> dict[str, Any]:
    from lumos_edge import trajectory as records

    answer = trajectory.answer
    return {
        "answer": None if answer is None else str(answer),
        "pack": pack,
        "trajectory": records.write_json(trajectory),
        "completions": completions,
    }


def _end(trajectory: Trajectory, as_json: bool) -> int:
    if trajectory.answer is None:
        click.echo(f"lumos-edge: no answer: {trajectory.message}", err=True)
        return 1
    if not as_json:
        click.echo(str(trajectory.answer))
    return 0


class _Progress:
    """Shows a run on stderr as it goes: the text as it is written, and each result behind its action."""

    def __init__(self) -> None:
        self._module = ""

    def __call__(self, event: Event) -> None:
        from lumos_edge import trajectory

        shown: dict[type[Any], Callable[[Any], None]] = {
            trajectory.TextPiece: self._piece,
            trajectory.Planned: lambda _: self._end_line(),
            trajectory.Grounded: lambda _: self._end_line(),
            trajectory.Executed: self._executed,
        }
        if type(event) in shown:
            shown[type(event)](event)

    def _piece(self, event: Any) -> None:
        is_planner = event.module == "planner"
        self._module = event.module
        click.secho(
            event.text.rstrip("\n"), err=True, nl=False, fg="cyan" if is_planner else None, dim=not is_planner
        )

    def _end_line(self) -> None:
        if self._module:
            click.echo(err=True)
        self._module = ""

    def _executed(self, event: Any) -> None:
        names = ", ".join(event.action.targets)
        color = "red" if event.result.error else "green"
        click.secho(f"  {names} = {event.result}", err=True, fg=color)
