"""OpenAI's HTTP interface, asked by OpenAI's own client, and by clients that do not behave."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from lumos_edge.agent import Agent, Budget
from lumos_edge.errors import AddressError
from lumos_edge.serving.http import MAX_WAITING, AgentServer, is_loopback
from tests.serving.conftest import Looping, Serve, agent_on

QUESTION = "How many rows are there?"


@pytest.fixture
def server(serve: Serve, engine: Looping) -> AgentServer:
    return serve(agent_on(engine))


@pytest.fixture
def client(server: AgentServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, question: str = QUESTION, **options: Any) -> Any:
    messages: list[Any] = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="nano", messages=messages, **options)


def request(
    server: AgentServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Status and document of one request, sent without a library's help."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def post(server: AgentServer, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(
        server, "POST", "/v1/chat/completions", data, **{"Content_Type": "application/json"} | headers
    )


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "nano", "messages": [{"role": "user", "content": QUESTION}]} | fields


# -- what clients expect --


def test_an_answer_with_its_steps_and_costs(client: openai.OpenAI, engine: Looping) -> None:
    reply = ask(client)
    choice = reply.choices[0]
    assert (choice.message.content, choice.message.role, choice.finish_reason) == ("120", "assistant", "stop")
    assert choice.message.reasoning_content == (
        "Subgoal 1: Count the rows.\nR1 = Calculator(3 * 40)\n  R1 = 120\n"
    )
    usage = reply.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (200, 14, 214)
    assert usage.prompt_tokens_details.cached_tokens == 160
    assert QUESTION in engine.questions[0]


def test_a_stream_gives_the_steps_as_they_come_and_then_the_answer(client: openai.OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    steps = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert steps.splitlines()[-1] == "  R1 = 120"
    assert "".join(delta.content or "" for delta in deltas) == "120"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 214
    assert len({chunk.id for chunk in chunks}) == 1


def test_content_in_parts_and_the_last_message_of_the_users(client: openai.OpenAI, engine: Looping) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "An earlier question?"},
        {"role": "assistant", "content": "7"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "How many"}, {"type": "text", "text": "beans?"}],
        },
    ]
    client.chat.completions.create(model="nano", messages=messages)
    assert "How many\nbeans?" in engine.questions[0]
    assert "earlier" not in engine.questions[0]


def test_the_model_is_listed(client: openai.OpenAI, server: AgentServer) -> None:
    assert [model.id for model in client.models.list()] == ["nano"]
    assert client.models.retrieve("nano").owned_by == "lumos-edge"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'; there is nano"):
        client.models.retrieve("gpt")
    assert request(server, "GET", "/healthz") == (200, {"status": "ok", "model": "nano"})


def test_no_answer_is_a_refusal_that_says_why(client: openai.OpenAI, engine: Looping) -> None:
    engine.texts["grounder"] = "R1 = Calculator(1 / 0)"
    message = ask(client).choices[0].message
    assert (message.content, message.refusal) == (
        None,
        "no answer: R1 = Calculator(1 / 0) failed: division by zero in 1/0",
    )
    deltas = [chunk.choices[0].delta for chunk in ask(client, stream=True)]
    assert "division by zero" in "".join(delta.refusal or "" for delta in deltas)


def test_a_limit_ends_as_length(serve: Serve, engine: Looping) -> None:
    server = serve(agent_on(engine, Budget(max_tokens=5)))
    with openai.OpenAI(base_url=server.url, api_key="none") as client:
        choice = ask(client).choices[0]
    assert choice.finish_reason == "length"
    assert "7 tokens were written, the limit is 5" in choice.message.refusal


# -- order, cancelling, limits --


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def n_waiting(server: AgentServer) -> int:
    queue = server.agent._queue
    return len(queue._waiting) + (queue._running is not None)


def test_sixteen_clients_are_answered_in_the_order_in_which_they_came(
    server: AgentServer, client: openai.OpenAI, engine: Looping
) -> None:
    engine.go_on.clear()
    answers: list[str] = []
    threads = []
    for number in range(16):
        thread = threading.Thread(
            target=lambda number=number: answers.append(
                ask(client, f"How many are {number}?").choices[0].message.content
            )
        )
        thread.start()
        threads.append(thread)
        wait_for(lambda number=number: n_waiting(server) == number + 1)
    engine.go_on.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["120"] * 16
    found = [re.search(r"How many are (\d+)\?", question) for question in engine.questions]
    assert [int(match[1]) for match in found if match] == list(range(16))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_its_own_run(
    server: AgentServer, client: openai.OpenAI, engine: Looping, stream: bool
) -> None:
    engine.go_on.clear()
    gone, waiting = (socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2))
    data = json.dumps(body(stream=stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
    for number, connection in enumerate((gone, waiting), 1):
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
        wait_for(lambda number=number: n_waiting(server) == number)
    waiting.close()  # the one that waits first: its run never begins
    wait_for(lambda: n_waiting(server) == 1)
    gone.close()
    wait_for(lambda: n_waiting(server) == 0)
    engine.go_on.set()
    assert ask(client).choices[0].message.content == "120"
    assert len(engine.questions) == 2


def test_a_stream_that_is_not_read_to_its_end_is_cancelled(
    server: AgentServer, client: openai.OpenAI, engine: Looping
) -> None:
    stream = ask(client, stream=True)
    next(iter(stream))
    engine.go_on.clear()
    stream.close()
    wait_for(lambda: n_waiting(server) == 0)
    engine.go_on.set()
    assert ask(client).choices[0].message.content == "120"


def test_too_many_that_wait_are_refused(server: AgentServer) -> None:
    places = [server.begin() for _ in range(MAX_WAITING)]
    status, document = post(server, body())
    assert (status, document["error"]["code"]) == (503, "overloaded")
    for give_back in places:
        give_back()
    assert post(server, body())[0] == 200


def test_after_close_there_is_a_status(server: AgentServer) -> None:
    server.agent.close()
    assert post(server, body())[0] == 503


# -- bad input --


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b"[]", 400, "the body is a list, expected an object"),
        (body(model="gpt-4"), 404, "there is no model 'gpt-4'; there is nano"),
        (body(messages="hello"), 400, "messages is text, expected a list"),
        (body(messages=[]), 400, "no message of the role user"),
        (body(messages=[{"role": "user", "content": " "}]), 400, "is empty"),
        (body(messages=[{"role": "user", "content": 7}]), 400, "content is a number"),
        (body(messages=[{"role": "user", "content": "x" * 20_001}]), 400, "20,001 characters"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "of type 'image_url'"),
        (body(n=2), 400, "n is 2, expected 1"),
        (body(stream="yes"), 400, "stream is 'yes'"),
        (body(stream=True, stream_options=1), 400, "stream_options is a number"),
    ],
)
def test_what_is_no_request_is_a_status_and_the_server_goes_on(
    server: AgentServer, data: Any, status: int, message: str
) -> None:
    found, document = post(server, data)
    assert (found, document["error"]["type"]) == (status, "invalid_request_error")
    assert message in document["error"]["message"]
    assert post(server, body())[0] == 200


def test_a_request_of_10_mb_is_refused_before_it_is_read(server: AgentServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 10000000\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as reply:
            answer = reply.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    assert post(server, b" " * 10_000_000)[0] == 413


def test_headers_are_checked(server: AgentServer) -> None:
    assert post(server, body(), Content_Type="text/plain")[0] == 415
    assert post(server, body(), Transfer_Encoding="chunked")[0] in (400, 411)
    assert post(server, body(), Host="evil.example:8737")[0] == 403
    assert post(server, body(), Host="localhost:8737")[0] == 200
    assert request(server, "GET", "/v1/nothing")[0] == 404
    assert request(server, "GET", "/v1/chat/completions")[0] == 405
    assert request(server, "POST", "/healthz", b"")[0] == 405


def test_a_context_window_that_is_too_small_is_the_clients_error(serve: Serve, tmp_path: Path) -> None:
    from tests.cli.conftest import CHAT_TEMPLATE
    from tests.engine.tiny import write_bpe_model

    tiny = write_bpe_model(tmp_path / "tiny.gguf", chat_template=CHAT_TEMPLATE, n_ctx=8192)
    server = serve(Agent.open(tiny, n_ctx=512, n_threads=1))
    for stream in (False, True):
        status, document = post(server, body(stream=stream))
        assert (status, document["error"]["code"]) == (400, "context_length_exceeded")


# -- who may ask --


def test_a_token_is_asked_for(serve: Serve, engine: Looping) -> None:
    server = serve(agent_on(engine), host="0.0.0.0", token="s3cret")
    assert post(server, body())[0] == 401
    assert post(server, body(), Authorization="Bearer wrong")[0] == 401
    assert post(server, body(), Authorization="Bearer s\u00e9cret")[0] == 401
    assert request(server, "GET", "/v1/models")[0] == 401
    assert request(server, "GET", "/healthz")[0] == 200
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    with openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0) as client:
        assert ask(client).choices[0].message.content == "120"
    with (
        openai.OpenAI(base_url=url, api_key="other", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="missing or wrong"),
    ):
        ask(client)


def test_another_address_needs_a_token(engine: Looping) -> None:
    with pytest.raises(ValueError, match=r"0\.0\.0\.0 can be reached from other machines"):
        AgentServer(agent_on(engine), "nano", "0.0.0.0")
    assert [host for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost") if not is_loopback(host)] == []
    assert [host for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "") if is_loopback(host)] == []


def test_a_port_in_use_is_a_typed_error(server: AgentServer, engine: Looping) -> None:
    with pytest.raises(AddressError, match=f"cannot listen at 127.0.0.1, port {server.server_port}: "):
        AgentServer(agent_on(engine), "nano", port=server.server_port)


# -- the real model --


@pytest.mark.model
def test_the_real_model_answers_four_clients_at_once(serve: Serve, nano_path: Path) -> None:
    server = serve(Agent.open("nano", n_threads=1, budget=Budget(max_tokens=160)))
    questions = [f"A box has {rows} rows of 4 apples. How many apples are in it?" for rows in (2, 3, 4, 5)]
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        texts: dict[str, str] = {}

        def read(question: str) -> None:
            chunks = [chunk.choices[0].delta for chunk in ask(client, question, stream=True)]
            texts[question] = "".join(getattr(delta, "reasoning_content", None) or "" for delta in chunks)

        threads = [threading.Thread(target=read, args=(question,)) for question in questions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert sorted(texts) == sorted(questions)
    assert all(text.startswith("Subgoal 1: ") for text in texts.values())
