"""A full fine-tune and its base to a GGUF adapter, by truncated singular value decomposition."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from lumos_edge.cli.convert import (
    dry_run_option,
    echo_notes,
    echo_plan,
    module_options,
    only_writer,
    output_option,
    progress,
    run,
    untie_option,
)
from lumos_edge.conversion.checkpoint import read_checkpoint
from lumos_edge.conversion.difference import (
    Difference,
    plan_difference,
    read_difference,
    read_pair,
    working_bytes,
    write_difference,
)
from lumos_edge.conversion.model import untie as untied
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
    help="Share of each tensor's energy that is enough: the smallest ranks up to --rank that keep it are taken.",
)
@click.option(
    "--size-mib",
    type=click.FloatRange(0, min_open=True),
    help="The largest file, in MiB: the largest rank up to --rank that fits it is taken.",
)
@untie_option
@module_options
@dry_run_option
def command(
    finetuned: Path,
    base: Path,
    output: Path,
    rank: int,
    energy: float | None,
    size_mib: float | None,
    untie: bool,
    module: str | None,
    formulation: str | None,
    template: str | None,
    tools: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Write how the checkpoint FINETUNED differs from its base as a GGUF adapter.

    Prints one JSON document, and on stderr the energy (squared norm of the difference) that is kept in each layer.
    What that does to the module's outputs is measured by `convert verify BASE.gguf --MODULE-adapter OUTPUT
    --reference FINETUNED.gguf --actions QUESTIONS`.
    """
    if energy is not None and size_mib is not None:
        raise click.UsageError("give --energy or --size-mib, not both")
    checkpoints = read_checkpoint(finetuned), read_checkpoint(base)
    pair = read_pair(*(map(untied, checkpoints) if untie else checkpoints))
    if dry_run:
        echo_plan(plan_difference(pair, rank), working_bytes(pair, rank))
        return
    with only_writer(output):
        with progress(f"comparing with {base.name}", pair.size_bytes) as advance:
            whole = read_difference(pair, rank, advance)
        difference = _chosen(whole, energy, size_mib)
        echo_notes(_notes(difference, energy, rank))
        write_difference(difference, output, ModuleMetadata(module, formulation, template, tools))
    _show_layers(difference)
    click.echo(json.dumps(_summary(difference, output)))


def _chosen(difference: Difference, energy: float | None, size_mib: float | None) -> Difference:
    if energy is not None:
        return difference.for_energy(energy)
    return difference if size_mib is None else difference.for_size(int(size_mib * (1 << 20)))


def _notes(difference: Difference, energy: float | None, rank: int) -> list[str]:
    lost = difference.unreachable
    notes = []
    if lost:
        names = ", ".join(sorted(lost, key=lambda name: -lost[name])[:3])
        share = sum(lost.values()) / difference.energy
        notes.append(
            f"{share:.2%} of the energy lies in {len(lost)} tensors that an adapter cannot change, such as {names}"
        )
    if energy is not None and difference.kept < energy:
        notes.append(
            f"{difference.kept:.2%} of the energy kept, not {energy:.2%}: a larger --rank than {rank} may do"
        )
    return notes


def _show_layers(difference: Difference) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "share of the energy", "kept", "ranks", box=None)
    for name, layer in difference.layers().items():
        ranks = f"{min(layer.ranks)} to {max(layer.ranks)}" if layer.ranks else "none"
        table.add_row(name, f"{layer.share:.2%}", f"{layer.kept:.2%}", ranks)
    table.add_row("all", "100%", f"{difference.kept:.2%}", "")
    Console(stderr=True).print(table)


def _summary(difference: Difference, output: Path) -> dict[str, object]:
    return {
        "energy_kept": difference.kept,
        "size_bytes": output.stat().st_size,
        "layers": {name: asdict(layer) for name, layer in difference.layers().items()},
        "tensors": {t.name: {"rank": t.rank, "energy_kept": t.kept} for t in difference.tensors},
    }


if __name__ == "__main__":
    run("diff")
