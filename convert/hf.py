"""A Hugging Face checkpoint (LLaMA, Mistral, SmolLM2, Qwen2, Qwen3, Gemma 3) to a GGUF model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from lumos_edge.conversion.checkpoint import Checkpoint, read_checkpoint
from lumos_edge.conversion.encoding import DIRECT_TYPES
from lumos_edge.conversion.gguf_file import total_bytes
from lumos_edge.conversion.model import ModelPlan, plan_model, write_model
from lumos_edge.conversion.model import untie as untied
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.quantization import FILE_TYPES, Quantization, quantize

_TYPES = (*DIRECT_TYPES, *(name for name in FILE_TYPES if name.lower() not in DIRECT_TYPES))


@click.command("hf")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--type",
    "type_name",
    type=click.Choice(_TYPES, case_sensitive=False),
    default="f16",
    metavar="TYPE",
    show_default=True,
    help="f32, f16, bf16, q8_0, or a quantized file type such as Q4_K_M.",
)
@untie_option
@module_options
@dry_run_option
def command(
    checkpoint: Path,
    output: Path,
    type_name: str,
    untie: bool,
    module: str | None,
    formulation: str | None,
    template: str | None,
    tools: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Write the checkpoint in the folder CHECKPOINT as a GGUF model."""
    source = untied(read_checkpoint(checkpoint)) if untie else read_checkpoint(checkpoint)
    plan = plan_model(source, type_name if type_name in DIRECT_TYPES else _intermediate_type(source))
    echo_notes(plan.notes)
    if dry_run:
        echo_plan(plan.tensors, 0 if type_name in DIRECT_TYPES else Quantization(type_name).buffer_bytes)
        return
    with only_writer(output):
        _convert(plan, output, type_name, ModuleMetadata(module, formulation, template, tools))


def _convert(plan: ModelPlan, output: Path, type_name: str, metadata: ModuleMetadata) -> None:
    if type_name in DIRECT_TYPES:
        _write(plan, output, metadata)
        return
    with _intermediate(output) as dense:
        _write(plan, dense, metadata)
        quantization = Quantization(type_name)
        with progress(f"quantizing to {type_name}", total_bytes(plan.tensors)) as advance:
            quantize(dense, output, quantization, advance)


def _write(plan: ModelPlan, output: Path, metadata: ModuleMetadata) -> None:
    with progress(f"writing {output.name}", total_bytes(plan.tensors)) as advance:
        write_model(plan, output, metadata, advance)


def _intermediate_type(checkpoint: Checkpoint) -> str:
    """The type from which to quantize: bfloat16 stays exact, float32 loses least in float16."""
    return "bf16" if any(tensor.dtype == "BF16" for tensor in checkpoint.tensors.values()) else "f16"


@contextmanager
def _intermediate(output: Path) -> Iterator[Path]:
    dense = output.with_name(f".{output.name}.dense")
    dense.unlink(missing_ok=True)  # what a killed run left
    try:
        yield dense
    finally:
        dense.unlink(missing_ok=True)


if __name__ == "__main__":
    run("hf")
