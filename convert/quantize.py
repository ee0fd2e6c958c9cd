"""A GGUF model in f32, f16 or bf16 to smaller types (Q4_K_M, Q8_0, ...)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from lumos_edge.cli.convert import dry_run_option, echo_peak_memory, only_writer, output_option, progress, run
from lumos_edge.conversion.calibration import calibrate
from lumos_edge.conversion.importance import read_importance
from lumos_edge.conversion.quantization import FILE_TYPES, Quantization, measure, quantize
from lumos_edge.engine.recorded import Recorded
from lumos_edge.errors import ConversionError

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("quantize")
@click.argument("model", type=_FILE)
@output_option
@click.option(
    "--type", "file_type", type=click.Choice(tuple(FILE_TYPES), case_sensitive=False), default="Q4_K_M"
)
@click.option("--imatrix", type=_FILE, help="Importance from llama-imatrix.")
@click.option(
    "--calibrate",
    "texts",
    type=_FILE,
    metavar="TEXTS",
    help="Compute the importance here, from the activations of MODEL in llama.cpp (no torch) on these texts: a trace "
    "of `lumos-edge ask --trace`, which holds the modules' own histories, or one JSON string per line.",
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
    texts: Path | None,
    overrides: tuple[tuple[str, str], ...],
    buffer_mib: int,
    dry_run: bool,
) -> None:
    """Write the GGUF file MODEL in smaller types."""
    if imatrix is not None and texts is not None:
        raise click.UsageError("give --imatrix or --calibrate, not both")
    quantization = Quantization(file_type, overrides, buffer_bytes=buffer_mib << 20)
    if imatrix is not None:
        quantization = _with_imatrix(quantization, imatrix)
    size = measure(model, quantization)
    if size.n_fallbacks:
        reason = "their rows are no multiple of its block"
        click.echo(f"note: {size.n_fallbacks} tensors get a larger type than {file_type}: {reason}", err=True)
    if dry_run:
        click.echo(f"{size.n_tensors} tensors, about {size.size_bytes:,} bytes of values in {file_type}")
        echo_peak_memory(quantization.buffer_bytes)
        return
    with only_writer(output):
        if texts is not None:
            quantization = _calibrated(quantization, model, texts)
        with progress(f"quantizing to {file_type}", size.source_bytes) as advance:
            quantize(model, output, quantization, advance)


# The keys `quantize.imatrix.*` are llama.cpp's own (`tools/quantize/quantize.cpp`).


def _with_imatrix(quantization: Quantization, imatrix: Path) -> Quantization:
    importance = read_importance(imatrix)
    metadata: dict[str, str | int] = {
        "quantize.imatrix.file": imatrix.name,
        "quantize.imatrix.entries_count": len(importance),
    }
    return replace(quantization, importance=importance, metadata=metadata)


def _calibrated(quantization: Quantization, model: Path, path: Path) -> Quantization:
    texts = _read_texts(path)
    with progress(f"calibrating on {path.name}", len(texts), unit_bytes=False) as advance:
        found = calibrate(model, texts, advance)
    metadata: dict[str, str | int] = {
        "quantize.imatrix.dataset": path.name,
        "quantize.imatrix.entries_count": len(found.importance),
        "quantize.imatrix.chunks_count": found.n_chunks,
        "lumos.calibration": f"activations in llama.cpp, {len(texts)} texts, {found.n_tokens} tokens",
    }
    return replace(quantization, importance=found.importance, metadata=metadata)


def _read_texts(path: Path) -> tuple[str, ...]:
    try:
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]
        texts = tuple(text for line in lines if (text := _text(line)))
    except (ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"{path}: expected a trace, or one JSON string per line, found {error!r}"
        ) from error
    if not texts:
        raise ConversionError(f"{path}: expected a trace, or one JSON string per line, found no text")
    return texts


def _text(line: object) -> str:
    """A text, or the history of a module as a trace has it; the other records of a trace hold no text."""
    if isinstance(line, str):
        return line
    if not isinstance(line, dict) or "record" not in line:
        raise TypeError(f"a line with {type(line).__name__}")
    if line["record"] != "completion":
        return ""
    recorded = Recorded.read_json(line)
    prompt = (piece if isinstance(piece, str) else piece.text for piece in recorded.prompt)
    return "".join(prompt) + recorded.completion.text


if __name__ == "__main__":
    run("quantize")
