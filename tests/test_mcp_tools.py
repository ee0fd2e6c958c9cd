"""Tools of a real MCP server, made with the official SDK, in actions."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumos_edge.actions import parse_actions
from lumos_edge.errors import McpError
from lumos_edge.executor import Executor
from lumos_edge.grammar import actions_grammar
from lumos_edge.mcp_tools import McpServer, tool_of
from lumos_edge.toolbox import ChoiceArgument, NumberArgument, TextArgument, Toolbox
from lumos_edge.trajectory import Result, Task
from lumos_edge.values import Boolean, Number, Text, Value
from tests.scripted import accepts, random_text

EXAMPLE = Path(__file__).with_name("mcp_example.py")


@pytest.fixture(scope="module")
def server() -> Iterator[McpServer]:
    with McpServer(sys.executable, [str(EXAMPLE)]) as started:
        yield started


def run(server: McpServer, action: str, **limits: float) -> Result:
    toolbox = Toolbox([replace(tool, **limits) for tool in server.tools])  # type: ignore[arg-type]
    return Executor(toolbox).execute(parse_actions(action)[0], {}, Task("?"))


def test_the_servers_tools_have_our_argument_kinds(server: McpServer) -> None:
    tools = {tool.name: tool for tool in server.tools}
    assert set(tools) == {"convert_distance", "repeat_word", "count", "is_even", "fail", "sleep"}
    distance = tools["convert_distance"]
    assert [parameter.kind for parameter in distance.parameters] == [
        NumberArgument(),
        ChoiceArgument(("km", "miles")),
        ChoiceArgument(("true", "false")),
    ]
    assert distance.interface == (
        "convert_distance(amount, unit, exact): Convert a distance to metres. More than one line"
    )
    assert [parameter.kind for parameter in tools["repeat_word"].parameters] == [
        TextArgument(),
        NumberArgument(),
    ]
    assert tools["count"].parameters == ()


def test_what_no_action_can_express_is_refused_with_the_reason(server: McpServer) -> None:
    assert server.refused == {
        "total": "total: the schema of 'prices' is of 'array', expected string, number, integer, boolean",
        "pick": "pick: 'flavour' is one of ['sweet, sour', 'salt'], "
        "expected up to 500 words without brackets, commas and semicolons",
    }


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("R1 = convert_distance(amount: 3/2, unit: km, exact: true)", Number(Fraction(1500))),
        ("R1 = convert_distance(amount: 0.1, unit: miles, exact: true)", Number(Fraction("160.9344"))),
        ("R1 = repeat_word(word: ho, ho, times: 2)", Text("ho, ho ho, ho")),
        ("R1 = count()", Number(Fraction(7))),
        ("R1 = is_even(4)", Boolean(True)),
    ],
)
def test_calls_give_typed_values(server: McpServer, action: str, value: Value) -> None:
    result = run(server, action)
    assert (result.error, result.values) == ("", (value,)), result.message
    assert accepts(actions_grammar(Toolbox(server.tools), {}, formulation="iterative", max_actions=2), action)


def test_errors_of_the_server_are_errors_of_the_tool(server: McpServer) -> None:
    failed = run(server, "R1 = fail(bread)")
    assert (failed.error, "no bread here" in failed.message) == ("ToolError", True)
    assert "times must be a whole number" in run(server, "R1 = repeat_word(word: x, times: 1/2)").message


def test_a_call_that_takes_too_long_is_given_up_and_the_server_goes_on(server: McpServer) -> None:
    started = time.monotonic()
    assert run(server, "R1 = sleep(20)", timeout_s=0.2).error == "ToolTimeout"
    assert time.monotonic() - started < 5
    assert run(server, "R1 = is_even(3)").values == (Boolean(False),)


def test_every_text_of_the_grammar_parses(server: McpServer) -> None:
    toolbox = Toolbox(server.tools)
    for seed in range(60):
        grammar = actions_grammar(toolbox, {}, formulation="iterative", max_actions=2)
        types: dict[str, Any] = {}
        for action in parse_actions(random_text(grammar, Random(seed)).rstrip()):
            toolbox.check(action, types)
            types |= dict.fromkeys(action.targets, toolbox.result_types(action, types))


def test_what_is_no_server_is_a_typed_error() -> None:
    with pytest.raises(McpError, match="nowhere does not start as an MCP server: FileNotFoundError"):
        McpServer("nowhere")
    with pytest.raises(McpError, match="does not start as an MCP server"):
        McpServer(sys.executable, ["-c", "print('no JSON')"])


def n_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_after_close_nothing_is_left_and_calls_fail() -> None:
    n_threads, n_files = threading.active_count(), n_open_files()
    server = McpServer(sys.executable, [str(EXAMPLE)])
    server.close()
    server.close()
    assert run(server, "R1 = count()").message == "the MCP server is closed"
    assert threading.active_count() == n_threads
    assert n_open_files() == n_files


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, "is of 'nothing'"),
        ({"type": "object"}, "is of 'object'"),
        ({"type": ["string", "number"]}, "is of "),
        ({"$ref": "#/$defs/Place"}, "is of '$ref'"),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, "is of 'anyOf'"),
        ({"enum": [1, 2]}, "is one of [1, 2]"),
        ({"enum": ["a;b"]}, "is one of ['a;b']"),
        ({"enum": []}, "is one of []"),
        ({"enum": "abc"}, "is one of 'abc'"),
        ({"enum": ["a\x1b[31m"]}, "is one of "),
        ({"enum": [f"word {i}" for i in range(501)]}, "up to 500 words"),
        (True, "is True, expected an object"),
        ({"anyOf": [True, {"type": "string"}]}, "is of 'anyOf'"),
    ],
)
def test_schemas_that_are_not_covered(schema: Any, reason: str) -> None:
    whole = {"required": ["place"], "properties": {"place": schema}}
    with pytest.raises(McpError) as caught:
        tool_of("go", "Go there", whole, lambda _arguments: Text(""))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        ({"required": "place", "properties": {}}, "no JSON schema"),
        ({"required": [1], "properties": {}}, "no JSON schema"),
        ({"required": ["place"], "properties": ["place"]}, "no JSON schema"),
        ({"required": [f"p{i}" for i in range(17)]}, "requires 17 parameters, at most 16"),
        (
            {"required": ["a b", "a(b"], "properties": {key: {"type": "string"} for key in ["a b", "a(b"]}},
            "'a_b'",
        ),
        ({"required": ["x" * 65], "properties": {"x" * 65: {"type": "string"}}}, "names of 1 to 64 letters"),
        ({"required": [""], "properties": {"": {"type": "string"}}}, "names of 1 to 64 letters"),
    ],
)
def test_parameters_that_are_not_covered(whole: dict[str, Any], reason: str) -> None:
    with pytest.raises(McpError) as caught:
        tool_of("go", "Go there", whole, lambda _arguments: Text(""))
    assert reason in str(caught.value)


def _nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["type", "enum", "const", "anyOf", "properties", "required", "place"])
    return st.lists(children, max_size=3) | st.dictionaries(keys, children, max_size=3)


# What a foreign server may call its tools, parameters and words: what means something in an action, and anything else.
SIGNS = st.text(st.sampled_from("ab1()[],;:= .\n\"'/\\|-R_é\x00\u202e"), max_size=12) | st.text(max_size=8)
KIND = st.sampled_from([{"type": kind} for kind in ("string", "number", "integer", "boolean")])
SCHEMAS = KIND | st.builds(lambda words: {"enum": words}, st.lists(SIGNS, max_size=4))


@settings(max_examples=150, deadline=None)
@given(SIGNS, SIGNS, st.dictionaries(SIGNS, SCHEMAS, max_size=4), st.integers(0, 2**32))
def test_whatever_a_server_calls_things_actions_parse_and_say_what_was_meant(
    name: str, description: str, properties: dict[str, dict[str, Any]], seed: int
) -> None:
    called: list[dict[str, Any]] = []

    def call(arguments: dict[str, Any]) -> Text:
        called.append(arguments)
        return Text("done")

    schema = {"required": list(properties), "properties": properties}
    try:
        tool = tool_of(name, description, schema, call)
    except McpError:
        return
    assert tool.interface.isprintable()
    toolbox = Toolbox([tool])
    grammar = actions_grammar(toolbox, {}, formulation="iterative", max_actions=2)
    text = random_text(grammar, Random(seed)).rstrip("\n")
    actions = parse_actions(text)
    assert "; ".join(map(str, actions)) == text
    types: dict[str, Any] = {}
    for action in actions:
        toolbox.check(action, types)
        types |= dict.fromkeys(action.targets, toolbox.result_types(action, types))
    result = Executor(toolbox).execute(actions[0], {}, Task("?"))
    if called:  # else a formula has no value, or its value is no whole number
        assert list(called[0]) == list(properties)
    else:
        assert result.error
    for key, argument in called[0].items() if called else ():
        assert argument in properties[key].get("enum", [argument])


@given(st.recursive(st.none() | st.booleans() | st.integers() | SIGNS, _nested, max_leaves=12))
def test_what_is_no_schema_is_a_typed_error(found: Any) -> None:
    whole = {"required": ["place"], "properties": {"place": found}}
    for schema in (whole, {"required": found}, {"required": ["a"], "properties": found}):
        with suppress(McpError):
            tool_of("go", "Go there", schema, lambda _arguments: Text(""))
