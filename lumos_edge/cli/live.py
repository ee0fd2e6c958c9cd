"""A run shown on a terminal as it goes."""

from __future__ import annotations

from typing import Any

import click

from lumos_edge.trajectory import Event, Executed, Finished, Grounded, Planned, TextPiece, Trajectory

_ERASE_LINE = "\r\x1b[K"


class LiveRun:
    """Shows each subgoal, action and result on its own line of stderr: text as it is written, nothing redrawn.

    The one line that is ever erased is the one that says what the user waits for. `color` False means none.
    """

    def __init__(self, *, color: bool | None) -> None:
        self._color = color
        self._module = ""
        self._held = ""  # what the last piece ended with, if a separator may have begun
        self._is_waiting = False

    def wait(self, what: str) -> None:
        """Say what goes on until the next text."""
        self.end_line()
        self._write(f"{what} ...", dim=True)
        self._is_waiting = True

    def show(self, event: Event) -> None:
        """Show an event of the run."""
        if isinstance(event, TextPiece):
            self._show_piece(event)
        elif isinstance(event, Planned):
            self.wait("grounding")
        elif isinstance(event, Grounded):
            self.end_line()
        elif isinstance(event, Executed):
            self._show_result(event)
        elif isinstance(event, Finished):
            self._show_end(event.trajectory)

    def say(self, message: str) -> None:
        """Show a line that the user should read."""
        self.end_line()
        self._write(message, fg="yellow")
        click.echo(err=True)

    def end_line(self) -> None:
        """Leave the cursor at the beginning of an empty line."""
        if self._is_waiting:
            # Not a colour: it is written where colours are not wanted, too.
            click.echo(_ERASE_LINE, nl=False, err=True, color=True)
        if self._module:
            click.echo(err=True)
        self._is_waiting = False
        self._module = self._held = ""

    def _show_piece(self, piece: TextPiece) -> None:
        if piece.module != self._module:
            self.end_line()
            self._module = piece.module
            self._begin_line()
        text = self._held + piece.text.replace("\n", "")
        shown = text.rstrip("; ")
        self._held = text[len(shown) :]
        *whole, last = shown.split("; ")
        for line in whole:
            self._write_text(line)
            click.echo(err=True)
            self._begin_line()
        self._write_text(last)

    def _show_result(self, event: Executed) -> None:
        names = ", ".join(event.action.targets)
        if event.result.error:
            self._write(f"    {names}: {event.result}", fg="red")
        else:
            self._write(f"    {names} = {event.result}", fg="green")
        click.echo(err=True)

    def _show_end(self, trajectory: Trajectory) -> None:
        """Why the run ended, where it has an answer all the same; without one the command itself says so."""
        if trajectory.answer is not None and trajectory.message:
            self.say(trajectory.message)

    def _begin_line(self) -> None:
        click.echo("" if self._module == "planner" else "  ", nl=False, err=True)

    def _write_text(self, text: str) -> None:
        self._write(text, fg="cyan" if self._module == "planner" else None)

    def _write(self, text: str, **style: Any) -> None:
        click.secho(text, err=True, nl=False, color=self._color, **style)
