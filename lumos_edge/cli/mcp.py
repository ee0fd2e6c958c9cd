"""`lumos-edge mcp`: an agent for MCP hosts."""

from __future__ import annotations

import click

from lumos_edge.cli.options import AgentOptions, agent_options
from lumos_edge.errors import McpError


@click.command("mcp")
@agent_options
def command(options: AgentOptions) -> None:
    """Offer the tool `ask` to an MCP host (an editor, a chat program) on stdin and stdout.

    Needs the extra: pip install 'lumos-edge[mcp]'. The host starts it as `lumos-edge mcp`, with any option of `ask`.
    """
    try:
        from lumos_edge.serving.mcp import mcp_server
    except ModuleNotFoundError as error:
        raise McpError("`mcp` needs the extra: pip install 'lumos-edge[mcp]'") from error
    choice = options.choice()
    with options.agent(choice) as agent:
        mcp_server(agent, choice.name).run()
