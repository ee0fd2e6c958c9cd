"""Finished GGUF files to a model pack: manifest, model card, adapters; ready for `lumos-edge ask --pack`."""

from __future__ import annotations

from pathlib import Path

import click

from lumos_edge.cli.convert import run
from lumos_edge.conversion.pack import NewPack, describe_base, describe_projector, licence_of, write_pack
from lumos_edge.manifest import Recipe, find_pack
from lumos_edge.resources import config_folder
from lumos_edge.store import Store

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("pack")
@click.argument("name")
@click.option(
    "--base", type=_FILE, required=True, help="The GGUF base model; it is copied to the other weights."
)
@click.option("--planner-adapter", type=_FILE, help="A GGUF adapter, copied beside the manifest.")
@click.option("--grounder-adapter", type=_FILE)
@click.option("--reader-adapter", type=_FILE)
@click.option(
    "--projector", type=_FILE, help="What makes the base see pictures (mmproj GGUF); copied likewise."
)
@click.option("--like", help="The pack or recipe that it runs like; NAME itself when that is a recipe.")
@click.option("--licence", help="The licence of the weights; that of --like when not given.")
@click.option(
    "--source", "sources", multiple=True, help="Where the weights come from, for the card; repeatable."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The folder of the manifest; yours by default."
)
def command(
    name: str,
    base: Path,
    planner_adapter: Path | None,
    grounder_adapter: Path | None,
    reader_adapter: Path | None,
    projector: Path | None,
    like: str | None,
    licence: str | None,
    sources: tuple[str, ...],
    output: Path | None,
) -> None:
    """Make the model pack NAME; prints the path of its manifest."""
    template = find_pack(like or name)
    modules = {"planner": planner_adapter, "grounder": grounder_adapter, "reader": reader_adapter}
    pack = NewPack(
        name=name,
        like=template,
        base=describe_base(base, name, licence or licence_of(template)),
        adapters={module: path for module, path in modules.items() if path is not None},
        projector=describe_projector(projector, name) if projector else None,
        sources=sources or (template.checkpoints if isinstance(template, Recipe) else ()),
    )
    manifest = write_pack(pack, output or config_folder() / "models")
    Store().fetch(pack.base, local=base)
    if pack.projector:
        Store().fetch(pack.projector, local=projector)
    click.echo(manifest)


if __name__ == "__main__":
    run("pack")
