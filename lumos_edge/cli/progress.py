"""How a pull and a build are shown on stderr: a bar on a terminal, a line at the start and one at the end elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lumos_edge.sources import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from lumos_edge.knowledge.building import Progress as BuildProgress

_SHOWN_EVERY_S = 0.1


@contextmanager
def bytes_progress(title: str) -> Iterator[Progress]:
    """The Progress of what `title` says is done with bytes whose number is known: "pulling nano"."""
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


@contextmanager
def build_progress(title: str, size_bytes: int) -> Iterator[BuildProgress]:
    """The Progress that shows the building of a knowledge pack from so many bytes."""
    if not sys.stderr.isatty():
        click.echo(f"{title}: reading {size_bytes:,} bytes", err=True)
        yield _BuildLines()
        return
    import rich.progress as rich_progress
    from rich.console import Console

    with rich_progress.Progress(
        "{task.description}",
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        "{task.fields[articles]}",
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
    ) as bars:
        yield _BuildBar(bars, title, size_bytes)


class _Bar:
    def __init__(self, bars: Bars, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=None)

    def at(self, n_bytes: int, size_bytes: int) -> None:
        self._bars.update(self._task, completed=n_bytes, total=size_bytes)

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)


class _BuildBar:
    def __init__(self, bars: Bars, title: str, size_bytes: int) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=size_bytes, articles="")
        self._started_s = self._shown_s = time.monotonic()
        self._n_before: int | None = None  # what an interrupted build left

    def at(self, n_bytes: int, n_articles: int) -> None:
        now_s = time.monotonic()
        if self._n_before is None:
            self._n_before, self._started_s = n_articles, now_s
        # Articles come by the thousand in a second, and a bar is not read that often.
        if now_s - self._shown_s < _SHOWN_EVERY_S and n_bytes < (self._bars.tasks[self._task].total or 0):
            return
        self._shown_s = now_s
        rate = (n_articles - self._n_before) / max(now_s - self._started_s, 1e-3)
        articles = f"{n_articles:,} articles, {rate:,.0f}/s"
        self._bars.update(self._task, completed=n_bytes, articles=articles)

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)


class _BuildLines:
    def at(self, n_bytes: int, n_articles: int) -> None:
        pass

    def say(self, message: str) -> None:
        click.echo(message, err=True)


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._has_begun = False

    def at(self, n_bytes: int, size_bytes: int) -> None:
        if not self._has_begun:
            resumed = f", {n_bytes:,} already there" if n_bytes else ""
            self.say(f"{self._title}: {size_bytes:,} bytes{resumed}")
        self._has_begun = n_bytes < size_bytes
        if n_bytes == size_bytes:
            self.say(f"{self._title}: complete")

    def say(self, message: str) -> None:
        click.echo(message, err=True)
