"""An agent as an MCP server, asked by the official SDK's client."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client
from mcp.types import CallToolResult

from lumos_edge.agent import Budget
from lumos_edge.serving.mcp import mcp_server
from tests.serving.conftest import Looping, agent_on


def text(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


def ask(engine: Looping, question: str, budget: Budget | None = None) -> tuple[CallToolResult, list[Any]]:
    """The result of one call, and the progress that was reported."""
    said: list[Any] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async def main() -> CallToolResult:
        async with Client(mcp_server(agent_on(engine, budget), "nano")) as client:
            return await client.call_tool("ask", {"question": question}, progress_callback=report)

    return asyncio.run(main()), said


def test_the_answer_is_text_and_the_steps_are_progress(engine: Looping) -> None:
    result, progress = ask(engine, "How many rows?")
    assert (result.is_error, text(result)) == (False, "120")
    assert progress == ["Subgoal 1: Count the rows.", "R1 = Calculator(3 * 40) -> 120"]


def test_the_tool_says_what_it_is(engine: Looping) -> None:
    async def main() -> Any:
        async with Client(mcp_server(agent_on(engine), "nano")) as client:
            return (await client.list_tools()).tools

    (tool,) = asyncio.run(main())
    assert tool.name == "ask"
    assert "Calculator" in tool.description
    assert tool.input_schema["required"] == ["question"]


def test_what_has_no_answer_is_an_error_that_says_why(engine: Looping) -> None:
    engine.texts["grounder"] = "R1 = Calculator(1 / 0)"
    result, _ = ask(engine, "How many rows?")
    assert (result.is_error, "division by zero" in text(result)) == (True, True)
    result, _ = ask(engine, " ")
    assert (result.is_error, "the question is empty" in text(result)) == (True, True)
    result, _ = ask(engine, "How many rows?", Budget(max_tokens=5))
    assert (result.is_error, "the limit is 5" in text(result)) == (True, True)


def test_a_call_that_the_host_cancels_is_cancelled(engine: Looping) -> None:
    engine.go_on.clear()

    async def main() -> None:
        async with Client(mcp_server(agent_on(engine), "nano")) as client:
            call = asyncio.create_task(client.call_tool("ask", {"question": "How many rows?"}))
            await asyncio.to_thread(engine.started.wait, 10)
            call.cancel()
            assert await asyncio.to_thread(engine.cancelled.wait, 10)
            engine.go_on.set()
            result = await client.call_tool("ask", {"question": "How many rows?"})
            assert text(result) == "120"

    asyncio.run(main())
