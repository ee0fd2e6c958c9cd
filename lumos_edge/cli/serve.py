"""`lumos-edge serve`: an agent for other programs."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING

import click

from lumos_edge.cli.options import AgentOptions, agent_options

if TYPE_CHECKING:
    from lumos_edge.agent import Agent


@click.command("serve")
@agent_options
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8737, show_default=True, help="0: a free one.")
@click.option(
    "--token",
    envvar="LUMOS_EDGE_TOKEN",
    default="",
    help="What requests have to bring as their API key; needed where other machines can reach the address.",
)
@click.option("--stdio", is_flag=True, help="JSON-RPC 2.0 on stdin and stdout, a line each, instead of HTTP.")
def command(options: AgentOptions, host: str, port: int, token: str, stdio: bool) -> None:
    """Answer other programs until Ctrl-C: OpenAI's HTTP interface, or JSON-RPC.

    HTTP is /v1/chat/completions (streaming, with the steps as reasoning_content), /v1/models and /healthz.
    Requests are answered one at a time, in their order; a client that goes away cancels its own.
    """
    from lumos_edge.serving.http import is_loopback

    if not (stdio or token or is_loopback(host)):
        raise click.UsageError(
            f"{host} can be reached from other machines: give a --token (or LUMOS_EDGE_TOKEN)"
        )
    choice = options.choice()
    replies = _own_stdout() if stdio else None
    with options.agent(choice) as agent:
        if replies:
            _serve_stdio(agent, choice.name, replies)
        else:
            _serve_http(agent, choice.name, host, port, token)


def _own_stdout() -> IO[bytes]:
    """The stream of the replies; what a tool prints goes to stderr from now on."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def _serve_stdio(agent: Agent, model: str, replies: IO[bytes]) -> None:
    from lumos_edge.serving.rpc import RpcServer

    with replies:
        RpcServer(agent, model, sys.stdin.buffer, replies).serve()


def _serve_http(agent: Agent, model: str, host: str, port: int, token: str) -> None:
    from lumos_edge.serving.http import AgentServer

    with AgentServer(agent, model, host, port, token) as server:
        click.echo(f"{model} at {server.url}", err=True)
        server.serve_forever()
