"""`lumos-edge knowledge`: packs of passages, built from files and searched."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lumos_edge.cli.options import online_option, open_library
from lumos_edge.cli.progress import build_progress
from lumos_edge.cli.table import plain_lines

if TYPE_CHECKING:
    from lumos_edge.knowledge.pack import Pack

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN = ("source", "licence", "built", "parameters", "n_articles", "n_names", "n_passages", "n_words")


@click.group("knowledge")
def command() -> None:
    """Build, search and remove knowledge packs: passages that answers are found in."""


def _name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if _NAME.fullmatch(value):
        return value
    raise click.BadParameter(f"{value!r} is no name: letters, digits, dots, hyphens and underscores")


def _names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_name(context, parameter, value) for value in values)


_path_argument = click.argument("path", metavar="FILE_OR_DIR", type=click.Path(exists=True, path_type=Path))


@command.command()
@_path_argument
@click.option("--name", required=True, callback=_name, help="The name of the pack; an older one is replaced.")
@click.option("--licence", default="", help="The licence of the texts, for `show`.")
def build(path: Path, name: str, licence: str) -> None:
    """Make a pack of a folder (text, Markdown, HTML, PDF), a JSON Lines file of {"title", "text"}, a MediaWiki export
    (.xml, .xml.bz2), a Kiwix file (.zim) or a dictionary of dictd (.index).

    A build that was interrupted goes on where it was.
    """
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.opening import open_source
    from lumos_edge.knowledge.pack import knowledge_folder

    source, target = open_source(path), knowledge_folder() / f"{name}.sqlite"
    with build_progress(name, source.size_bytes) as progress:
        building.build(source, target, path.resolve().name, licence, progress)
    _echo_size(target)


@command.command()
@click.argument("name")
@_path_argument
def add(name: str, path: Path) -> None:
    """Put what the pack NAME does not have yet into it; a page or file that changed is replaced."""
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.opening import open_source
    from lumos_edge.knowledge.pack import find_pack

    target, source = find_pack(name), open_source(path)
    with build_progress(name, source.size_bytes) as progress:
        building.add(source, target, path.resolve().name, progress)
    _echo_size(target)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_packs(as_json: bool) -> None:
    """What packs are installed."""
    from lumos_edge.knowledge.pack import installed_packs

    rows = [_row(path) for path in installed_packs()]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for row in rows:
        error = row.get("error")
        counts = (
            error
            or f"{row['n_articles']:>10,} articles  {row['n_passages']:>10,} passages  {row['size_bytes']:>14,} bytes"
        )
        click.echo(f"{row['name']:<20}  {counts}")


def _row(path: Path) -> dict[str, Any]:
    from lumos_edge.errors import KnowledgeError
    from lumos_edge.knowledge.pack import Pack

    row = {"name": path.stem, "size_bytes": path.stat().st_size}
    try:
        pack = Pack(path)
    except KnowledgeError as error:
        # The others have to be listed all the same.
        return {**row, "error": str(error)}
    pack.close()
    return {**row, "n_articles": int(pack.facts["n_articles"]), "n_passages": pack.n_passages}


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(name: str, as_json: bool) -> None:
    """What the pack NAME says of itself."""
    with closing(_open(name)) as pack:
        facts = _facts(pack)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    for key, value in facts.items():
        click.echo(f"{key:<11}  {value if value != '' else '-'}")


def _facts(pack: Pack) -> dict[str, Any]:
    facts = {key: pack.facts[key] for key in _SHOWN}
    numbers = {key: int(value) for key, value in facts.items() if key.startswith("n_")}
    size = {"size_bytes": pack.path.stat().st_size, "path": str(pack.path)}
    return {"name": pack.name, **facts, **numbers, "parameters": json.loads(facts["parameters"]), **size}


@command.command()
@click.argument("query")
@click.option(
    "--pack", "packs", multiple=True, help="A pack to search (repeatable); default: all installed ones."
)
@click.option("-n", "n", type=click.IntRange(1, 1000), default=5, show_default=True, help="Passages.")
@click.option("--entity", is_flag=True, help="QUERY is the name of a person, place or thing.")
@online_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def search(query: str, packs: tuple[str, ...], n: int, entity: bool, online: bool, as_json: bool) -> None:
    """The passages for QUERY, the best first; exit code 1 when there is none."""
    from dataclasses import asdict

    library = open_library(packs, online=online)
    found = library.entity(query, n) if entity else library.search(query, n)
    if as_json:
        click.echo(json.dumps([asdict(passage) for passage in found], ensure_ascii=False, indent=2))
    for passage in () if as_json else found:
        title = click.style(plain_lines(passage.title), bold=True)
        click.echo(f"{title}  ({passage.pack})\n{plain_lines(passage.text)}\n")
    if not found:
        click.get_current_context().exit(1)


@command.command()
@click.argument("names", nargs=-1, required=True, callback=_names)
def rm(names: tuple[str, ...]) -> None:
    """Remove the packs NAMES, and what interrupted builds of them left."""
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.pack import knowledge_folder

    for name in names:
        target = knowledge_folder() / f"{name}.sqlite"
        n_bytes = building.remove(target)
        click.echo(f"{name}: {n_bytes:,} bytes freed" if n_bytes else f"{name}: was not there")


@command.command()
@click.argument("name")
def verify(name: str) -> None:
    """Read all of the pack NAME and compare it with what it says of itself."""
    from lumos_edge.knowledge import building
    from lumos_edge.knowledge.pack import find_pack

    path = find_pack(name)
    click.echo(f"{path}: {building.verify(path):,} passages, as expected")


def _open(name: str) -> Pack:
    from lumos_edge.knowledge.pack import Pack, find_pack

    return Pack(find_pack(name))


def _echo_size(target: Path) -> None:
    from lumos_edge.knowledge.pack import Pack

    pack = Pack(target)
    pack.close()
    articles = int(pack.facts["n_articles"])
    click.echo(
        f"{target}: {articles:,} articles, {pack.n_passages:,} passages, {target.stat().st_size:,} bytes"
    )
