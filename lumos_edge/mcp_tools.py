"""Tools of an MCP server as tools of actions (extra `mcp`).

Covered are tools whose required parameters are, in JSON schema:

    string                          free text of one line
    string with enum or const       one of these words
    number, integer                 a formula whose value is a number
    boolean                         true or false
    anyOf one of these and null     the same

Optional parameters keep the server's defaults. Not covered: arrays, objects, references and other unions as required
parameters, words that no action can hold, and more than 16 required parameters or 500 words; such a tool is refused
with the reason, and the others work. A name is written with `_` for what no action can hold.

A result is the value of a structured `{"result": ...}`, else the texts that the server sends: a number where they are
one. What a server says of its tools is text in a prompt, cut to one line. Source: modelcontextprotocol.io, 2025-11-25.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AsyncExitStack
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lumos_edge.errors import McpError, ToolError
from lumos_edge.toolbox import (
    ArgumentKind,
    ChoiceArgument,
    NumberArgument,
    Parameter,
    TextArgument,
    Tool,
)
from lumos_edge.values import Boolean, Number, Text, Value

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

TIMEOUT_S = 30.0
"""How long a server may take to start, and for one call."""

_MAX_DESCRIPTION = 160
_MAX_NAME = 64
_MAX_PARAMETERS = 16
_MAX_WORDS = 500
_WORD = re.compile(r"[^\s,;()\[\]](?:[^,;()\[\]]*[^\s,;()\[\]])?")
_UNWRITABLE = re.compile(r"[^\w./-]")
_POLL_S = 0.05


class McpServer:
    """A running MCP server, as its `tools`; `refused` has the reason for each tool that no action can express.

    It is a process that `command` starts, with its standard streams; a program that is not the user's own. Close it,
    or use it in a `with` block. Raises McpError when it does not start, or when the extra is not installed.
    """

    def __init__(self, command: str, arguments: Sequence[str] = ()) -> None:
        self.tools: tuple[Tool, ...] = ()
        self.refused: dict[str, str] = {}
        self._client: Client
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ready: Future[list[Any]] = Future()
        self._thread = threading.Thread(target=self._serve, args=(command, arguments), daemon=True)
        self._thread.start()
        try:
            listed = self._ready.result(TIMEOUT_S)
        except FutureTimeoutError:
            self.close()
            raise McpError(f"{command} did not answer within {TIMEOUT_S:g} s") from None
        except BaseException:
            self._thread.join()
            raise
        for description in listed:
            self._add(description)

    def _add(self, description: Any) -> None:
        try:
            made = tool_of(
                description.name,
                description.description or "",
                description.input_schema,
                lambda arguments: self.call(description.name, arguments),
            )
        except McpError as error:
            self.refused[description.name] = str(error)
        else:
            if made.name in [tool.name for tool in self.tools]:
                self.refused[description.name] = f"another tool of the server is written {made.name}, too"
            else:
                self.tools += (made,)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Value:
        """Call a tool of the server; raises ToolError with what it says, or when the server is gone."""
        if self._loop.is_closed():
            raise ToolError("the MCP server is closed")
        future = asyncio.run_coroutine_threadsafe(self._client.call_tool(name, dict(arguments)), self._loop)
        try:
            while True:
                try:
                    return _value(future.result(_POLL_S))
                except FutureTimeoutError:
                    # In short waits, so that the interrupt of a time limit reaches this thread.
                    if not self._thread.is_alive():
                        raise ToolError("the MCP server has ended") from None
        finally:
            future.cancel()

    def close(self) -> None:
        """End the server. Does nothing the second time."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def __enter__(self) -> McpServer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _serve(self, command: str, arguments: Sequence[str]) -> None:
        try:
            self._loop.run_until_complete(self._talk(command, arguments))
        except Exception as error:  # of a foreign program and of the SDK: raised in the thread that waits
            if not self._ready.done():
                self._ready.set_exception(_start_error(command, error))
        finally:
            self._loop.close()

    async def _talk(self, command: str, arguments: Sequence[str]) -> None:
        from mcp import Client, StdioServerParameters

        async with AsyncExitStack() as stack:
            parameters = StdioServerParameters(command=command, args=list(arguments))
            self._client = await stack.enter_async_context(Client(parameters))
            listed: list[Any] = []
            cursor = None
            while True:
                page = await self._client.list_tools(cursor=cursor)
                listed += page.tools
                cursor = page.next_cursor
                if not cursor:
                    break
            self._ready.set_result(listed)
            await self._closing.wait()


def _start_error(command: str, error: BaseException) -> McpError:
    group: Sequence[BaseException]
    while len(group := getattr(error, "exceptions", ())) == 1:  # the SDK's task groups wrap what went wrong
        error = group[0]
    if isinstance(error, ModuleNotFoundError) and error.name == "mcp":
        return McpError("MCP servers need the extra: pip install 'lumos-edge[mcp]'")
    return McpError(f"{command} does not start as an MCP server: {type(error).__name__}: {error}")


def tool_of(
    name: str, description: str, schema: Mapping[str, Any], call: Callable[[dict[str, Any]], Value]
) -> Tool:
    """The tool that calls an MCP tool with that input schema; raises McpError for one that no action can express."""
    properties = _properties(name, schema)
    kinds = {key: _kind(name, key, found) for key, found in properties.items()}
    labels = _labels(name, kinds)

    def function(**arguments: Any) -> Value:
        return call({key: _json(key, found, arguments[key]) for key, found in properties.items()})

    word = re.sub(r"\W", "_", name)[:_MAX_NAME]
    word = word if word[:1].isalpha() else f"t_{word}"
    words = _one_line(description)[:_MAX_DESCRIPTION].rstrip(".")
    return Tool(
        name=word,
        interface=f"{word}({', '.join(labels)}): {words}",
        function=function,
        parameters=tuple(
            Parameter(key, label if len(kinds) > 1 else "", kind)
            for label, (key, kind) in zip(labels, kinds.items(), strict=True)
        ),
        context_name="",
        resources={},
        returns=frozenset({Number, Boolean, Text}),
        many_results=False,
        timeout_s=TIMEOUT_S,
    )


def _properties(tool: str, schema: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The schema of each required parameter; what is no JSON schema is an McpError, too."""
    required, properties = schema.get("required") or [], schema.get("properties") or {}
    is_list = isinstance(required, list) and all(isinstance(key, str) for key in required)
    if not (is_list and isinstance(properties, dict)):
        raise McpError(f"{tool}: its parameters are no JSON schema, found {_short(schema)}")
    if len(required) > _MAX_PARAMETERS:
        raise McpError(f"{tool} requires {len(required)} parameters, at most {_MAX_PARAMETERS} are taken")
    found = {key: properties.get(key) or {} for key in required}
    for key, one in found.items():
        if not isinstance(one, dict):
            raise McpError(f"{tool}: the schema of {_short(key)} is {_short(one)}, expected an object")
    return found


def _labels(tool: str, keys: Iterable[str]) -> list[str]:
    """The parameters' names as an action writes them."""
    labels = [_UNWRITABLE.sub("_", key) for key in keys]
    for label in labels:
        if not 0 < len(label) <= _MAX_NAME or labels.count(label) > 1:
            raise McpError(
                f"{tool}: a parameter is called {_short(label)}, expected names of 1 to {_MAX_NAME} letters, "
                "each another one"
            )
    return labels


def _one_line(text: str) -> str:
    """The text in one line, without what a terminal might obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kind(tool: str, key: str, schema: Mapping[str, Any]) -> ArgumentKind:
    schema = _without_null(schema)
    words = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if words is not None:
        return _choice(tool, key, words)
    kinds: dict[Any, ArgumentKind] = {
        "string": TextArgument(),
        "number": NumberArgument(),
        "integer": NumberArgument(),
        "boolean": ChoiceArgument(("true", "false")),
    }
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        found = _short(kind or "/".join(schema) or "nothing")
        raise McpError(f"{tool}: the schema of {_short(key)} is of {found}, expected {', '.join(kinds)}")
    return kinds[kind]


def _choice(tool: str, key: str, words: Any) -> ChoiceArgument:
    if not isinstance(words, list) or not 0 < len(words) <= _MAX_WORDS or not all(map(_is_writable, words)):
        raise McpError(
            f"{tool}: {_short(key)} is one of {_short(words)}, "
            f"expected up to {_MAX_WORDS} words without brackets, commas and semicolons"
        )
    return ChoiceArgument(tuple(dict.fromkeys(words)))


def _is_writable(word: Any) -> bool:
    return isinstance(word, str) and _WORD.fullmatch(word) is not None and word.isprintable()


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands beside null in a union of two."""
    union = schema.get("anyOf")
    if not isinstance(union, list) or not all(isinstance(member, dict) for member in union):
        return schema
    others: list[Mapping[str, Any]] = [member for member in union if member.get("type") != "null"]
    return others[0] if len(others) == 1 else schema


def _json(key: str, schema: Mapping[str, Any], argument: Any) -> Any:
    """The argument as the schema wants it."""
    kind = _without_null(schema).get("type")
    if kind == "boolean":
        return argument == "true"
    if not isinstance(argument, Number):
        return argument
    if argument.value.denominator == 1:
        return int(argument.value)
    if kind == "integer":
        raise ToolError(f"{key} must be a whole number, it is {argument}")
    return float(argument.value)


def _value(result: CallToolResult) -> Value:
    text = "\n".join(block.text for block in result.content if block.type == "text")
    if result.is_error:
        raise ToolError(text or "the MCP server says only that it failed")
    structured = result.structured_content
    found = structured["result"] if isinstance(structured, dict) and set(structured) == {"result"} else text
    if isinstance(found, bool):
        return Boolean(found)
    if isinstance(found, float):
        found = f"{found:.15g}"  # its certain digits: 0.1 + 0.2 is 0.3
    try:
        return Number(Fraction(str(found).strip()))
    except (ValueError, ZeroDivisionError):
        return Text(found if isinstance(found, str) else text)
