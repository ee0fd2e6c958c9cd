"""How a pull is shown on stderr: a bar on a terminal, one line at the start and one at the end elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lumos_edge.sources import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


@contextmanager
def pull_progress(title: str) -> Iterator[Progress]:
    """The Progress that shows one pull."""
    if not sys.stderr.isatty():
        yield _Lines(title)
        return
    import rich.progress as rich_progress
    from rich.console import Console

    with rich_progress.Progress(
        "{task.description}",
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    ) as bars:
        yield _Bar(bars, title)


class _Bar:
    def __init__(self, bars: Bars, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None)

    def at(self, n_bytes: int, size_bytes: int) -> None:
        self._bars.update(self._task, completed=n_bytes, total=size_bytes)

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._has_begun = False

    def at(self, n_bytes: int, size_bytes: int) -> None:
        if not self._has_begun:
            resumed = f", {n_bytes:,} already there" if n_bytes else ""
            self.say(f"{self._title}: pulling {size_bytes:,} bytes{resumed}")
        self._has_begun = n_bytes < size_bytes
        if n_bytes == size_bytes:
            self.say(f"{self._title}: complete")

    def say(self, message: str) -> None:
        click.echo(message, err=True)
