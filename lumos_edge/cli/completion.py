"""`lumos-edge completion`: what a shell sources to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print SHELL's completion script, for example: eval "$(lumos-edge completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, "lumos-edge", "_LUMOS_EDGE_COMPLETE")
    click.echo(script.source())
