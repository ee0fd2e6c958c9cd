"""`lumos-edge mcp`, and `--mcp`: our process as the server of an MCP host, and as the host of an MCP server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from tests.cli.conftest import MODEL, Command, error_line

EXAMPLE = f"{sys.executable} {Path(__file__).parents[1] / 'mcp_example.py'}"


@pytest.mark.usefixtures("answers_42")
def test_the_official_client_asks_an_agent_that_has_tools_of_another_server(tiny: Path) -> None:
    arguments = ["-m", "lumos_edge", "mcp", *MODEL, str(tiny), "--mcp", EXAMPLE]
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))

    async def main() -> tuple[str, Any]:
        async with Client(parameters) as client:
            (ask,) = (await client.list_tools()).tools
            return ask.description or "", await client.call_tool("ask", {"question": "What is 2 + 3?"})

    description, result = asyncio.run(main())
    assert "Its tools: Act, convert_distance, repeat_word, count, is_even, fail, sleep." in description
    # Whatever tool the tiny model chose, the answer or the reason why there is none is text.
    assert result.content[0].text


@pytest.mark.usefixtures("answers_42")
def test_tools_that_no_action_can_express_are_said(run: Command, tiny: Path) -> None:
    done = run("ask", *MODEL, tiny, "--mcp", EXAMPLE, "What is 2 + 3?")
    said = [line for line in done.stderr.splitlines() if "is not used" in line]
    assert [line.split(": ")[2] for line in said] == ["total", "pick"]


def test_a_command_that_is_no_server_is_one_line(run: Command, tiny: Path) -> None:
    done = run("ask", *MODEL, tiny, "--mcp", "nowhere at all", "What is 2 + 3?")
    assert done.returncode == 3
    assert "nowhere does not start as an MCP server: FileNotFoundError" in error_line(done)


def test_without_the_extra_the_command_says_how_to_install_it(run: Command, tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError('no mcp', name='mcp')")
    done = run("mcp", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    assert "needs the extra: pip install 'lumos-edge[mcp]'" in error_line(done)
