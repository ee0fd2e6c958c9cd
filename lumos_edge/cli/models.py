"""`lumos-edge models`: the model packs and their files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lumos_edge import manifest
from lumos_edge.manifest import Manifest, ModelFile, Module, Recipe
from lumos_edge.store import Store

_HEADINGS = ("name", "size", "file type", "state", "default", "description")


@click.group("models")
def command() -> None:
    """List, pull, verify and remove model packs."""


_pack_argument = click.argument("name", required=False)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_packs(as_json: bool) -> None:
    """What packs there are, and which of them are on this machine."""
    store, default_name = Store(), manifest.default_pack()
    rows = [_row(pack, store, default_name) for pack in manifest.all_packs()]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif sys.stdout.isatty():
        _print_table([_cells(row) for row in rows])
    else:
        _print_columns([_cells(row) for row in rows])


@command.command()
@_pack_argument
@click.option("--manifest", "as_toml", is_flag=True, help="Print the manifest itself.")
def show(name: str | None, as_toml: bool) -> None:
    """What the pack NAME consists of (without NAME: the default pack)."""
    pack = manifest.find_pack(name or manifest.default_pack())
    if as_toml:
        click.echo(pack.source.read_text(encoding="utf-8"), nl=False)
        return
    facts = _recipe_facts(pack) if isinstance(pack, Recipe) else _manifest_facts(pack)
    for label, fact in facts.items():
        click.echo(f"{label:<11}  {fact}")
    if isinstance(pack, Recipe):
        click.echo("\n".join(["", "Build it with", *(f"  {line}" for line in pack.commands)]))


@command.command()
@_pack_argument
@click.option(
    "--from",
    "local",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Copy the base model from this file instead of downloading it.",
)
def pull(name: str | None, local: Path | None) -> None:
    """Download the files of the pack NAME; an interrupted download is resumed."""
    from lumos_edge.cli.progress import bytes_progress

    pack = _find(name)
    with bytes_progress(f"pulling {pack.name}") as progress:
        path = Store().pull(pack, progress, local)
    click.echo(path)


@command.command()
@_pack_argument
def verify(name: str | None) -> None:
    """Compare the sha256 of the pack's files with its manifest."""
    store = Store()
    for file in _find(name).files:
        click.echo(f"{store.verify(file)}: sha256 {file.sha256}, as expected")


@command.command("path")
@_pack_argument
def print_path(name: str | None) -> None:
    """Print the path of the pack's base model."""
    click.echo(Store().path(_find(name).base))


@command.command()
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove the files of the packs NAMES; a file that another pack uses stays until that is named too."""
    from lumos_edge.cli.progress import bytes_progress

    store = Store()
    packs = [manifest.find_manifest(name) for name in names]
    others = [pack for pack in manifest.all_manifests() if pack.name not in {named.name for named in packs}]
    files = {file.sha256: file for pack in packs for file in pack.files}
    kept = {file.sha256: pack.name for pack in others for file in pack.files if file.sha256 in files}
    for sha256, file in files.items():
        if sha256 in kept:
            click.echo(f"{file.file}: kept, {kept[sha256]} uses it too")
            continue
        with bytes_progress(f"removing {file.file}") as progress:
            n_bytes = store.remove(file, progress)
        click.echo(f"{file.file}: {n_bytes:,} bytes freed" if n_bytes else f"{file.file}: was not there")


@command.command("default")
@_pack_argument
def choose_default(name: str | None) -> None:
    """Print the pack that runs when none is named, or make it NAME."""
    if name is not None:
        manifest.choose_default_pack(name)
    click.echo(manifest.default_pack())


def _find(name: str | None) -> Manifest:
    return manifest.find_manifest(name or manifest.default_pack())


def _row(pack: Manifest | Recipe, store: Store, default_name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": pack.name, "size_bytes": None, "file_type": None, "state": "recipe"}
    if isinstance(pack, Manifest):
        row["size_bytes"] = sum(file.size_bytes for file in pack.files)
        row["file_type"] = pack.base.file_type
        row["state"] = "pulled" if all(file in store for file in pack.files) else "not pulled"
    return {**row, "default": pack.name == default_name, "description": pack.description}


def _cells(row: dict[str, Any]) -> list[str]:
    size = _size(row["size_bytes"]) if row["size_bytes"] else "-"
    default_mark = "*" if row["default"] else ""
    return [row["name"], size, row["file_type"] or "-", row["state"], default_mark, row["description"]]


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _print_table(rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_HEADINGS, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _manifest_facts(pack: Manifest) -> dict[str, str]:
    store, base = Store(), pack.base
    return {
        **_pack_facts(pack),
        "why": pack.why or "-",
        "base model": base.file,
        "file type": base.file_type,
        "size": f"{base.size_bytes:,} bytes",
        "sha256": base.sha256,
        "licence": base.licence,
        "publisher": base.url or "-",
        "parts": _parts(base),
        "projector": pack.projector.file if pack.projector else "-",
        "path": str(store.path(base)) if base in store else "not pulled",
    }


def _recipe_facts(pack: Recipe) -> dict[str, str]:
    facts = {**_pack_facts(pack), "checkpoints": ", ".join(pack.checkpoints), "size": pack.size}
    return {**facts, "licence": pack.licence, "notes": pack.notes or "-"}


def _pack_facts(pack: Manifest | Recipe) -> dict[str, str]:
    modules = {"planner": pack.planner, "grounder": pack.grounder, "reader": pack.reader}
    return {
        "name": pack.name,
        "title": pack.title,
        "description": pack.description,
        "formulation": pack.formulation,
        "tools": ", ".join(pack.tools),
        "n_ctx": str(pack.n_ctx),
        **{name: _module(module) for name, module in modules.items()},
    }


def _module(module: Module) -> str:
    adapter = module.adapter.file if isinstance(module.adapter, ModelFile) else module.adapter
    return f"template {module.template}, {f'adapter {adapter}' if adapter else 'no adapter'}"


def _parts(file: ModelFile) -> str:
    if not file.parts:
        return "-"
    return f"{len(file.parts)} from the package index, from {file.parts[0].requirement} on"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
