"""A full fine-tune and its base to a GGUF adapter, by truncated singular value decomposition."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lumos_edge.cli.convert import module_options, only_writer, output_option, progress, run
from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.difference import Difference, read_difference, write_difference
from lumos_edge.conversion.module_metadata import ModuleMetadata


@click.command("diff")
@click.argument("finetuned", type=click.Path(path_type=Path))
@click.option(
    "--base", type=click.Path(path_type=Path), required=True, help="The checkpoint it was tuned from."
)
@output_option
@click.option(
    "--rank", type=click.IntRange(1), default=64, show_default=True, help="The largest rank of a tensor."
)
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of a tensor's difference that is enough: less than 1 gives smaller ranks.",
)
@module_options
def command(
    finetuned: Path,
    base: Path,
    output: Path,
    rank: int,
    energy: float,
    module: str | None,
    formulation: str | None,
    template: str | None,
    tools: tuple[str, ...],
) -> None:
    """Write how the checkpoint FINETUNED differs from its base as a GGUF adapter; prints one JSON document."""
    tuned, original = read_checkpoint(finetuned), read_checkpoint(base)
    with progress(f"comparing with {base.name}", len(original.tensors), unit_bytes=False) as advance:
        difference = read_difference(tuned, original, rank, energy, advance)
    metadata = ModuleMetadata(module, formulation, template, tools)
    with only_writer(output):
        write_difference(difference, output, finetuned.name, base.name, metadata)
    click.echo(json.dumps(_summary(difference, output)))


def _summary(difference: Difference, output: Path) -> dict[str, object]:
    return {
        "energy_kept": difference.kept,
        "size_bytes": output.stat().st_size,
        "tensors": {t.name: {"rank": t.a.shape[0], "energy_kept": t.kept} for t in difference.tensors},
    }


if __name__ == "__main__":
    run("diff")
