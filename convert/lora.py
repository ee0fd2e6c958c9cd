"""A PEFT LoRA adapter to a GGUF adapter for a GGUF base model."""

from __future__ import annotations

from pathlib import Path

import click

from lumos_edge.cli.convert import (
    dry_run_option,
    echo_plan,
    module_options,
    only_writer,
    output_option,
    progress,
    run,
)
from lumos_edge.conversion.base_model import read_base_model
from lumos_edge.conversion.checkpoint import read_adapter
from lumos_edge.conversion.encoding import DIRECT_TYPES
from lumos_edge.conversion.gguf_file import total_bytes
from lumos_edge.conversion.lora import plan_adapter, write_adapter
from lumos_edge.conversion.module_metadata import ModuleMetadata


@click.command("lora")
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option(
    "--base", type=click.Path(path_type=Path), required=True, help="The GGUF model it was trained on."
)
@output_option
@click.option("--type", "type_name", type=click.Choice(tuple(DIRECT_TYPES)), default="f16", show_default=True)
@module_options
@dry_run_option
def command(
    adapter: Path,
    base: Path,
    output: Path,
    type_name: str,
    module: str | None,
    formulation: str | None,
    template: str | None,
    tools: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Write the PEFT adapter in the folder ADAPTER as a GGUF adapter."""
    plan = plan_adapter(read_adapter(adapter), read_base_model(base), type_name)
    if dry_run:
        echo_plan(plan.tensors)
        return
    metadata = ModuleMetadata(module, formulation, template, tools)
    with only_writer(output), progress(f"writing {output.name}", total_bytes(plan.tensors)) as advance:
        write_adapter(plan, output, metadata, advance)


if __name__ == "__main__":
    run("lora")
