"""An MCP server of the official SDK, as tests start it: `python tests/mcp_example.py`."""

from __future__ import annotations

import time
from typing import Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("example", log_level="ERROR")


@server.tool()
def convert_distance(amount: float, unit: Literal["km", "miles"], exact: bool, digits: int = 2) -> float:
    """Convert a distance to metres.

    More than one line.
    """
    metres = amount * (1000 if unit == "km" else 1609.344)
    return metres if exact else round(metres, digits)


@server.tool(name="repeat-word")
def repeat_word(word: str, times: int | None) -> str:
    """Repeat a word"""
    return " ".join([word] * (times or 1))


@server.tool()
def count() -> str:
    """How many there are, as text"""
    return "7"


@server.tool()
def is_even(number: int) -> bool:
    """Whether a number is even"""
    return number % 2 == 0


@server.tool()
def fail(word: str) -> str:
    """Always fails"""
    raise ToolError(f"no {word} here")


@server.tool()
def sleep(seconds: float) -> str:
    """Sleep"""
    time.sleep(seconds)
    return "done"


@server.tool()
def total(prices: list[float]) -> float:
    """A sum, which needs a list"""
    return sum(prices)


@server.tool()
def pick(flavour: Literal["sweet, sour", "salt"]) -> str:
    """Words that no action can hold"""
    return flavour


if __name__ == "__main__":
    server.run()
