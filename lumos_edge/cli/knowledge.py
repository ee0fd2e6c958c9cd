"""`lumos-edge knowledge`: build, look at, search and remove knowledge packs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lumos_edge.cli.interrupt import interruptible
from lumos_edge.cli.table import source_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from lumos_edge.knowledge.building import Progress
    from lumos_edge.knowledge.pack import Pack

_SOURCE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("knowledge")
def command() -> None:
    """Knowledge packs: passages on this machine that questions are answered from (`ask --knowledge NAME`)."""


@command.command("build")
@click.argument("source", type=_SOURCE)
@click.option("--name", help="Of the pack; default: the file's name.")
@click.option("--licence", default="", help="Of the texts, as the pack says it.")
def build(source: Path, name: str | None, licence: str) -> None:
    """Build a pack from SOURCE, JSON Lines of {"title", "text"}.

    A build that was interrupted goes on where it stopped; the pack of that name is replaced when the new one is whole.
    """
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.jsonl import JsonLines
    from lumos_edge.knowledge.pack import knowledge_folder

    chosen = name or source.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", chosen):
        raise click.UsageError(f"the name {chosen!r} must be letters, digits, '.', '_' and '-'")
    target = knowledge_folder() / f"{chosen}.sqlite"
    target.parent.mkdir(parents=True, exist_ok=True)
    opened = JsonLines(source)
    with _progress(f"building {chosen}", opened.size_bytes) as progress:
        interruptible(lambda: building.build(opened, target, source.name, licence, progress))
    _say_size(target)


@command.command("add")
@click.argument("pack")
@click.argument("source", type=_SOURCE)
def add(pack: str, source: Path) -> None:
    """Put into PACK what SOURCE has and the pack has not; whoever reads it meanwhile reads the old one."""
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.jsonl import JsonLines
    from lumos_edge.knowledge.pack import find_pack

    target, opened = find_pack(pack), JsonLines(source)
    with _progress(f"adding to {target.stem}", opened.size_bytes) as progress:
        interruptible(lambda: building.add(opened, target, progress))
    _say_size(target)


@command.command("list")
def list_packs() -> None:
    """List the installed packs."""
    from lumos_edge.knowledge.pack import installed_packs

    packs = installed_packs()
    if not packs:
        click.echo("no knowledge pack is installed: `lumos-edge knowledge build FILE` makes one", err=True)
    for path in packs:
        with _open(path) as pack:
            articles, size = int(pack.facts["n_articles"]), path.stat().st_size
            click.echo(
                f"{pack.name}  {articles:,} articles  {pack.n_passages:,} passages  {size / 1e6:.1f} MB"
            )


@command.command("show")
@click.argument("pack")
def show(pack: str) -> None:
    """Print what PACK says of itself: source, licence, counts, how it was built."""
    from lumos_edge.knowledge.pack import find_pack

    with _open(find_pack(pack)) as opened:
        for key in sorted(opened.facts):
            click.echo(f"{key}: {opened.facts[key]}")


@command.command("search")
@click.argument("query")
@click.option("--knowledge", "names", multiple=True, metavar="PACK", help="Default: all installed packs.")
@click.option("-n", "n", type=click.IntRange(1, 100), default=5, show_default=True, help="Passages to print.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def search(query: str, names: tuple[str, ...], n: int, as_json: bool) -> int:
    """Print the passages that fit QUERY best. Exit code 1 when there is none."""
    from dataclasses import asdict

    from lumos_edge.knowledge.library import Library
    from lumos_edge.knowledge.pack import find_pack, installed_packs

    library = Library([find_pack(name) for name in names] or installed_packs())
    try:
        found = library.search(query, n)
    finally:
        library.close()
    for passage in found:
        text = json.dumps(asdict(passage), ensure_ascii=False) if as_json else f"{source_text(passage)}\n"
        click.echo(text)
    return 0 if found else 1


@command.command("verify")
@click.argument("pack")
def verify(pack: str) -> None:
    """Compare PACK with its own counts and checksum; reads all of it. Exit code 3 when it is damaged."""
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.pack import find_pack

    path = find_pack(pack)
    click.echo(f"{path.stem}: {interruptible(lambda: building.verify(path)):,} passages, whole")


@command.command("rm")
@click.argument("pack")
def remove(pack: str) -> None:
    """Remove an installed PACK."""
    from lumos_edge.knowledge.pack import find_pack

    path = find_pack(pack)
    path.unlink()
    click.echo(f"{path.stem} removed", err=True)


@contextmanager
def _open(path: Path) -> Iterator[Pack]:
    from lumos_edge.knowledge.pack import Pack

    pack = Pack(path)
    try:
        yield pack
    finally:
        pack.close()


def _say_size(target: Path) -> None:
    with _open(target) as pack:
        click.echo(
            f"{pack.name}: {pack.n_passages:,} passages, {target.stat().st_size / 1e6:.1f} MB", err=True
        )


@contextmanager
def _progress(title: str, size_bytes: int) -> Iterator[Progress]:
    """Bytes, articles and time left on a terminal, nothing but messages elsewhere."""
    if not sys.stderr.isatty():
        yield _Messages()
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        "{task.description}",
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TextColumn("{task.fields[articles]}"),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bar(bars, title, size_bytes)


class _Messages:
    def at(self, n_bytes: int, n_articles: int) -> None:
        """Nothing: a log wants no bar."""

    def say(self, message: str) -> None:
        click.echo(message, err=True)


class _Bar(_Messages):
    def __init__(self, bars: Bars, title: str, size_bytes: int) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=size_bytes, articles="")

    def at(self, n_bytes: int, n_articles: int) -> None:
        if n_articles % 100 == 0:
            self._bars.update(self._task, completed=n_bytes, articles=f"{n_articles:,} articles")

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False)
