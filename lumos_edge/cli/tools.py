"""`lumos-edge tools`: what the executor can call."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group("tools")
def command() -> None:
    """List and show the tools that actions can call."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_tools(as_json: bool) -> None:
    """Print every tool of every installed pack."""
    from lumos_edge.toolbox import Toolbox, pack_names

    packs = {name: Toolbox.of_packs([path]) for name, path in sorted(pack_names().items())}
    if as_json:
        click.echo(
            json.dumps(
                {name: {t.name: t.interface for t in box.tools.values()} for name, box in packs.items()}
            )
        )
        return
    for name, toolbox in packs.items():
        click.secho(name, bold=True)
        for tool in toolbox.tools.values():
            click.echo(f"  {tool.interface}")


@command.command("show")
@click.argument("pack")
def show(pack: str) -> None:
    """Print a pack's interface text, arguments and examples (a name, or a Python file)."""
    from lumos_edge.templates import interface_text
    from lumos_edge.toolbox import Toolbox

    toolbox = Toolbox.of_packs([Path(pack) if pack.endswith(".py") else pack])
    click.echo(interface_text(toolbox) + "\n")
    for tool in toolbox.tools.values():
        kinds = ", ".join(f"{parameter.name}: {parameter.kind}" for parameter in tool.parameters)
        returns = " or ".join(sorted(kind.__name__ for kind in tool.returns))
        click.echo(f"{tool.name}({kinds}) -> {returns}; at most {tool.timeout_s:g} s")
    for example in toolbox.examples:
        click.echo(f"\nTask: {example.question}")
        for subgoal, actions, result in example.solution:
            click.echo(f"  {subgoal}\n    {actions}  ->  {result}")
