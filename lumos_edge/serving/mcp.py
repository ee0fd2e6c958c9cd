"""An agent as an MCP server (extra `mcp`): the tool `ask`, for hosts such as editors and chat programs."""

from __future__ import annotations

from contextlib import aclosing

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from lumos_edge import __version__
from lumos_edge.agent import Agent
from lumos_edge.asynchronous import run_async
from lumos_edge.errors import BudgetExceeded, LumosError
from lumos_edge.trajectory import Event, Executed, Finished, Planned

_DESCRIPTION = (
    "Answer a question with an agent on this machine, offline: it plans subgoals, grounds them in actions and executes "
    "these exactly. Its tools: {tools}."
)


def mcp_server(agent: Agent, model: str) -> MCPServer:
    """The server; `run()` serves on stdin and stdout. What a host cancels is cancelled; several calls queue."""
    server = MCPServer("lumos-edge", title=f"lumos-edge {model}", version=__version__, log_level="ERROR")

    async def ask(question: str, context: Context) -> str:
        try:
            return await _answer(agent, question, context)
        except (LumosError, ValueError) as error:
            raise ToolError(str(error)) from error

    tools = ", ".join(agent.toolbox.tools)
    server.add_tool(ask, description=_DESCRIPTION.format(tools=tools), structured_output=False)
    return server


async def _answer(agent: Agent, question: str, context: Context) -> str:
    trajectory = None
    n_steps = 0
    try:
        async with aclosing(run_async(agent, question)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    trajectory = event.trajectory
                elif message := _step(event):
                    n_steps += 1
                    await context.report_progress(n_steps, message=message)
    except BudgetExceeded as error:
        raise ToolError(f"no answer: {error}") from error
    assert trajectory is not None
    if trajectory.answer is None:
        raise ToolError(f"no answer: {trajectory.message}")
    return str(trajectory.answer)


def _step(event: Event) -> str:
    """What a host shows of an event while it waits."""
    if isinstance(event, Planned):
        return "; ".join(map(str, event.subgoals))
    if isinstance(event, Executed):
        return f"{event.action} -> {event.result}"
    return ""
