"""JSON-RPC on two streams: requests in order, events between, errors with their documented codes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lumos_edge.serving.rpc import RpcServer
from tests.serving.conftest import Looping, agent_on


class Peer:
    """The program at the other end of two real pipes."""

    def __init__(self, engine: Looping) -> None:
        theirs, ours = os.pipe()
        back, reply = os.pipe()
        self.requests = os.fdopen(ours, "wb", buffering=0)
        self._replies = os.fdopen(back, "rb")
        self._streams = os.fdopen(theirs, "rb"), os.fdopen(reply, "wb")
        server = RpcServer(agent_on(engine), "nano", *self._streams)
        self._thread = threading.Thread(target=server.serve)
        self._thread.start()

    def send(self, message: Any) -> None:
        line = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.requests.write(line + b"\n")

    def ask(self, request_id: Any, question: str = "How many rows?") -> None:
        self.send({"id": request_id, "method": "ask", "params": {"question": question}})

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._replies.readline())
        assert message.pop("jsonrpc") == "2.0"
        return message

    def reply(self) -> dict[str, Any]:
        """The next message that is no event."""
        while "method" in (message := self.receive()):
            assert message["method"] == "event"
        return message

    def close(self) -> None:
        self.requests.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        for stream in (self._replies, *self._streams):
            stream.close()


@pytest.fixture
def peer(engine: Looping) -> Iterator[Peer]:
    made = Peer(engine)
    yield made
    made.close()


def test_a_question_is_answered_after_its_events(peer: Peer) -> None:
    peer.ask("a")
    events = []
    while "method" in (message := peer.receive()):
        assert message["params"].pop("id") == "a"
        events.append(message["params"])
    assert [event["type"] for event in events] == ["text", "planned", "text", "grounded", "executed"]
    assert events[1] == {"type": "planned", "subgoals": ["Count the rows."]}
    assert events[4] == {
        "type": "executed",
        "action": "R1 = Calculator(3 * 40)",
        "result": "120",
        "error": "",
    }
    assert message["id"] == "a"
    assert message["result"]["answer"] == "120"
    assert message["result"]["trajectory"]["steps"][0]["subgoals"][0]["text"] == "Count the rows."


def test_requests_are_answered_in_order(peer: Peer) -> None:
    for number in range(8):
        peer.ask(number)
    assert [peer.reply()["id"] for _ in range(8)] == list(range(8))


def test_what_runs_and_what_waits_can_be_cancelled(peer: Peer, engine: Looping) -> None:
    engine.go_on.clear()
    for number in (1, 2, 3):
        peer.ask(number)
    assert engine.started.wait(10)
    for wanted in (2, 2, 1):
        peer.send({"id": f"c{wanted}", "method": "cancel", "params": {"id": wanted}})
    replies = [peer.reply() for _ in range(3)]
    assert {reply["id"]: reply["result"] for reply in replies if "result" in reply} == {
        "c2": True,
        "c1": True,
    }
    replies += [peer.reply() for _ in range(2)]
    assert [reply["error"]["data"]["error"] for reply in replies if "error" in reply] == ["Cancelled"] * 2
    engine.go_on.set()
    assert peer.reply()["result"]["answer"] == "120"
    peer.send({"id": 9, "method": "cancel", "params": {"id": 1}})
    assert peer.reply() == {"id": 9, "result": False}


def test_no_answer_is_a_result_that_says_why(peer: Peer, engine: Looping) -> None:
    engine.texts["grounder"] = "R1 = Calculator(1 / 0)"
    peer.ask(1)
    result = peer.reply()["result"]
    assert (result["answer"], result["error"]) == (None, "NoAnswer")
    assert "division by zero" in result["message"]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"{", -32700, "no JSON"),
        (b"\xff", -32700, "no JSON"),
        (b"[" * 50_000, -32700, "no JSON"),
        (b"x" * 10_000_000, -32700, "more than 1,048,576 bytes"),
        (b"[]", -32600, "expected"),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ask"}', -32600, "expected"),
        (b'{"jsonrpc": "2.0", "id": [], "method": "ask"}', -32600, "an id is"),
        ({"id": 1, "method": "sing"}, -32601, "no method 'sing'; there are ask, cancel, model"),
        ({"id": 1, "method": "ask", "params": []}, -32602, "ask takes"),
        ({"method": "ask", "params": {"question": "?"}}, -32602, "and an id"),
        ({"id": 1, "method": "ask", "params": {"question": " "}}, -32602, "the question is empty"),
        ({"id": 1, "method": "cancel", "params": {}}, -32602, "cancel takes"),
    ],
)
def test_what_is_no_request_has_its_code_and_the_server_goes_on(
    peer: Peer, line: Any, code: int, message: str
) -> None:
    peer.send(line)
    error = peer.receive()["error"]
    assert error["code"] == code
    assert message in error["message"]
    peer.send({"id": 2, "method": "model"})
    assert peer.receive() == {"id": 2, "result": {"name": "nano"}}


def test_an_id_in_use_is_refused(peer: Peer, engine: Looping) -> None:
    engine.go_on.clear()
    peer.ask(1)
    peer.ask(1)
    assert "not answered yet" in peer.reply()["error"]["message"]
    engine.go_on.set()
    assert peer.reply()["result"]["answer"] == "120"


def test_the_end_of_the_input_ends_what_runs(engine: Looping) -> None:
    engine.go_on.clear()
    peer = Peer(engine)
    peer.ask(1)
    peer.ask(2)
    assert engine.started.wait(10)
    peer.close()
