"""`lumos-edge chat`: question after question on one loaded model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.ask import checked_question
from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.live import LiveRun
from lumos_edge.cli.options import AgentOptions, agent_options
from lumos_edge.cli.table import answer_text
from lumos_edge.errors import LumosError

if TYPE_CHECKING:
    from lumos_edge.agent import Agent
    from lumos_edge.loading import ModelChoice

_PROMPT = "> "
_KEPT_QUESTIONS = 1000


@click.command("chat")
@agent_options
def command(options: AgentOptions) -> None:
    """Ask question after question. Each is a task of its own: the agent knows nothing of the ones before.

    Ctrl-C cancels a question, Ctrl-D ends; /help lists what else can be done. Questions are kept in the data
    folder's file chat-history, for the arrow keys.
    """
    with _history(), _Chat(options) as chat:
        if sys.stdin.isatty():
            click.echo(f"{chat.name}; /help, Ctrl-D ends", err=True)
        while (line := _read_line()) is not None:
            chat.take(line.strip())


def _read_line() -> str | None:
    """The next line; None at the end. Ctrl-C drops what is typed."""
    while True:
        try:
            return input(_PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            return None
        except KeyboardInterrupt:
            click.echo(err=True)


@contextmanager
def _history() -> Iterator[None]:
    """Line editing, and the questions of earlier times; nothing of it where Python has no readline, or no terminal."""
    try:
        import readline
    except ModuleNotFoundError:  # Windows, whose console edits lines and keeps them while it is open
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    from lumos_edge.resources import data_folder

    file = data_folder() / "chat-history"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    readline.set_history_length(_KEPT_QUESTIONS)
    readline.read_history_file(file)
    try:
        yield
    finally:
        readline.write_history_file(file)


class _Chat:
    """The agent in use, and the commands that change it."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._choice = options.choice()
        self._agent = options.agent(self._choice)
        self._records: list[dict[str, Any]] = []
        self._commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "/attach": ("FILE.py: add its tools; a folder, a file or a pack: answer from it", self._attach),
            "/domain": ("[TOOLS ...]: show the tool packs, or use these", self._domain),
            "/help": ("", self._help),
            "/pack": ("[NAME]: show the model pack, or load another one", self._pack),
            "/trace": ("FILE: write the last run there; FILE.html: as a page", self._trace),
        }

    @property
    def name(self) -> str:
        """The model pack in use."""
        return self._choice.name

    def __enter__(self) -> _Chat:
        return self

    def __exit__(self, *_error: object) -> None:
        self._agent.close()

    def take(self, line: str) -> None:
        """Do what a line says; what goes wrong is one line, and the next may follow."""
        if not line:
            return
        try:
            if line.startswith("/"):
                name, _, argument = line.partition(" ")
                self._command(name)(argument.strip())
            else:
                self._ask(line)
        except KeyboardInterrupt:
            click.echo("cancelled", err=True)
        except click.ClickException as error:
            click.echo(error.format_message(), err=True)
        except LumosError as error:
            click.echo(f"{error}{f' ({error.hint})' if error.hint else ''}", err=True)
        except OSError as error:
            click.echo(f"{error.filename}: {error.strerror}", err=True)

    def _command(self, name: str) -> Callable[[str], None]:
        if name not in self._commands:
            raise click.UsageError(f"there is no {name}; there are {', '.join(self._commands)}")
        return self._commands[name][1]

    def _ask(self, question: str) -> None:
        from lumos_edge.trajectory import Task

        task = Task(checked_question(question))
        live = LiveRun(color=click.get_current_context().color) if sys.stderr.isatty() else None
        if live:
            live.wait("planning")
        try:
            interruptible(lambda: self._run(task, live), self._agent.cancel)
        finally:
            if live:
                live.end_line()
        self._show_answer()

    def _run(self, task: Any, live: LiveRun | None) -> None:
        from lumos_edge import loading, trace

        self._records = []
        for event in trace.record(self._agent, task, loading.describe(self._choice), self._records.append):
            if live:
                live.show(event)

    def _show_answer(self) -> None:
        from lumos_edge import trace

        trajectory = trace.of_records(self._records).trajectory
        assert trajectory is not None
        if trajectory.answer is None:
            click.echo(f"no answer: {trajectory.message}", err=True)
        else:
            click.secho(answer_text(trajectory.answer), bold=True)

    # -- commands ---------------------------------------------------------------------------------------------------

    def _help(self, _argument: str) -> None:
        for name, (meaning, _) in self._commands.items():
            click.echo(f"{name} {meaning}", err=True)

    def _pack(self, name: str) -> None:
        if name:
            options = replace(
                self._options, pack=name, model=None, planner_adapter=None, grounder_adapter=None
            )
            self._use(options, options.choice())
        click.echo(self.name, err=True)

    def _domain(self, names: str) -> None:
        if names:
            self._use(self._options, self._options.choice(tuple(names.split())))
        click.echo(
            f"{', '.join(map(str, self._choice.tools))}: {', '.join(self._agent.toolbox.tools)}", err=True
        )

    def _attach(self, name: str) -> None:
        if not name:
            raise click.UsageError(
                "/attach takes a Python file, a folder or file to answer from, or a pack's name"
            )
        if not name.endswith(".py"):
            self._attach_knowledge(name)
            return
        options = replace(self._options, tools=(*self._options.tools, Path(name).expanduser()))
        self._use(options, self._choice)
        click.echo(f"tools: {', '.join(self._agent.toolbox.tools)}", err=True)

    def _attach_knowledge(self, name: str) -> None:
        from lumos_edge.loading import with_tools

        if self._options.db:
            raise click.UsageError("the questions are for a database (--db), which excludes knowledge")
        path = Path(name).expanduser()
        pack = str(_built(path)) if path.exists() and path.suffix != ".sqlite" else name
        knowledge = (*self._options.knowledge, pack)
        self._use(replace(self._options, knowledge=knowledge), with_tools(self._choice, ("qa",)))
        click.echo(f"answers come from {', '.join(Path(pack).stem for pack in knowledge)}", err=True)

    def _trace(self, name: str) -> None:
        if not name or not self._records:
            raise click.UsageError("/trace takes a file, and writes the last question's run there")
        file = Path(name).expanduser()
        if file.suffix in (".html", ".htm"):
            from lumos_edge import trace
            from lumos_edge.trace_page import write_page

            file.write_text(write_page(trace.of_records(self._records)), encoding="utf-8")
        else:
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in self._records]
            file.write_text("".join(lines), encoding="utf-8")
        click.echo(f"{file} written", err=True)

    def _use(self, options: AgentOptions, choice: ModelChoice) -> None:
        """Load another agent; the one in use stays when that fails. Weights are shared where they are the same."""
        agent: Agent = options.agent(choice, beside=self._agent if choice.base == self._choice.base else None)
        self._agent.close()
        self._options, self._choice, self._agent = options, choice, agent


def _built(path: Path) -> Path:
    """The knowledge pack of a folder or file."""
    from lumos_edge.cli.progress import bytes_progress
    from lumos_edge.knowledge.opening import build_knowledge

    with bytes_progress(f"reading {path.name}") as progress:
        return build_knowledge(path, progress=progress)
