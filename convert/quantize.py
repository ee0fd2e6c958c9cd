"""A GGUF model in f32, f16 or bf16 to smaller types (Q4_K_M, Q8_0, ...)."""

from __future__ import annotations

from pathlib import Path

import click

from lumos_edge.cli.convert import dry_run_option, output_option, progress, run
from lumos_edge.conversion.importance import read_importance
from lumos_edge.conversion.quantization import FILE_TYPES, Quantization, measure, quantize


@click.command("quantize")
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
@click.option(
    "--type", "file_type", type=click.Choice(tuple(FILE_TYPES), case_sensitive=False), default="Q4_K_M"
)
@click.option(
    "--imatrix", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="From llama-imatrix."
)
@click.option(
    "--tensor-type",
    "overrides",
    type=(str, str),
    multiple=True,
    metavar="PATTERN TYPE",
    help="Another type for the tensors whose name the pattern matches (attn_v Q6_K); repeatable.",
)
@click.option(
    "--buffer-mib", type=click.IntRange(1), default=256, show_default=True, help="Rows held in memory."
)
@dry_run_option
def command(
    model: Path,
    output: Path,
    file_type: str,
    imatrix: Path | None,
    overrides: tuple[tuple[str, str], ...],
    buffer_mib: int,
    dry_run: bool,
) -> None:
    """Write the GGUF file MODEL in smaller types."""
    importance = None if imatrix is None else read_importance(imatrix)
    quantization = Quantization(file_type, overrides, importance, buffer_mib << 20)
    size = measure(model, quantization)
    if size.n_fallbacks:
        reason = "their rows are no multiple of its block"
        click.echo(f"note: {size.n_fallbacks} tensors get a larger type than {file_type}: {reason}", err=True)
    if dry_run:
        click.echo(f"{size.n_tensors} tensors, about {size.size_bytes:,} bytes of values in {file_type}")
        return
    with progress(f"quantizing to {file_type}", size.n_tensors, unit_bytes=False) as advance:
        quantize(model, output, quantization, advance)


if __name__ == "__main__":
    run("quantize")
