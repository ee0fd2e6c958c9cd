"""An agent behind OpenAI's HTTP interface: /v1/chat/completions, /v1/models, /healthz.

Statuses: 400 for what is no request, 401 without the token, 403 for another Host (a web page that rebinds its name to
this machine), 404 for an unknown path or model, 405 for the other method, 411 without a length, 413 above 1 MiB, 415
for what is not declared as JSON (a form of any web page could send it), 500 for an error of the engine, 503 when too
many wait.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from lumos_edge.agent import Agent
from lumos_edge.engine import Completion
from lumos_edge.engine.recorded import RecordingEngine
from lumos_edge.errors import (
    AddressError,
    BudgetExceeded,
    Cancelled,
    Closed,
    ContextWindowExceeded,
    LumosError,
)
from lumos_edge.runs import Run
from lumos_edge.serving.chat import ChatRequest, Outcome, Reply, RequestError, step_text
from lumos_edge.serving.disconnects import Disconnects
from lumos_edge.trajectory import Event, Finished

MAX_REQUEST_BYTES = 1 << 20
MAX_WAITING = 64
"""Requests that may wait for their turn; more are refused with 503."""

_MAX_DRAINED_BYTES = 64 << 20

_IDLE_S = 30
"""How long a client may take for the next byte of its request, or to take ours."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AgentServer(ThreadingHTTPServer):
    """Serves one agent; requests are answered one at a time, in the order in which they came.

    `token` has to come with every request but /healthz as `Authorization: Bearer ...`; "" asks for none, which only a
    loopback address may. Raises ValueError (no token for another address) and AddressError (the port is in use).
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, agent: Agent, model: str, host: str = "127.0.0.1", port: int = 0, token: str = ""
    ) -> None:
        if not token and not is_loopback(host):
            raise ValueError(f"{host} can be reached from other machines, which needs a token")
        self.agent = agent
        self.model = model
        self.token = token
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.disconnects = Disconnects()
        self.hosts = {host, "localhost", "127.0.0.1", "::1"}
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise AddressError(f"cannot listen at {host}, port {port}: {error}") from error
        self._waiting = threading.Semaphore(MAX_WAITING)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/v1"

    def server_bind(self) -> None:
        # HTTPServer's own looks the name of the address up, which may ask the network.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, sys.platform != "win32")
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def server_close(self) -> None:
        """Stop listening and watching. The agent is the caller's to close."""
        super().server_close()
        self.disconnects.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; print what else went wrong, as the base class does."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def begin(self) -> Callable[[], None]:
        """Take a place among those that wait; returns what gives it back. Raises RequestError (503)."""
        if not self._waiting.acquire(blocking=False):
            raise RequestError(503, f"{MAX_WAITING} requests wait already", "overloaded")
        return self._waiting.release


class _Handler(BaseHTTPRequestHandler):
    server: AgentServer
    protocol_version = "HTTP/1.1"
    server_version = "lumos-edge"
    sys_version = ""
    timeout = _IDLE_S

    _ROUTES: ClassVar[dict[str, str]] = {
        "/healthz": "GET",
        "/v1/models": "GET",
        "/v1/chat/completions": "POST",
    }

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        length = self.headers.get("Content-Length", "")
        self._n_unread = int(length) if length.isascii() and length.isdigit() else 0
        try:
            path = urlsplit(self.path).path.rstrip("/") or "/"
            self._check(path, method)
            if path == "/v1/chat/completions":
                self._chat()
            elif path == "/healthz":
                self._send(200, {"status": "ok", "model": self.server.model})
            else:
                self._models(path)
        except RequestError as error:
            self._refuse(error)
        except ContextWindowExceeded as error:
            self._refuse(RequestError(400, str(error), "context_length_exceeded"))
        except Closed as error:
            self._refuse(RequestError(503, str(error), "closed"))
        except Cancelled:
            self.close_connection = True  # the client is gone
        except LumosError as error:
            self._refuse(RequestError(500, str(error), type(error).__name__))

    def _check(self, path: str, method: str) -> None:
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if not self.server.token and host not in self.server.hosts:
            raise RequestError(403, f"the Host {host!r} is not this server's")
        allowed = self._ROUTES.get("/v1/models" if path.startswith("/v1/models/") else path)
        if allowed is None:
            raise RequestError(404, f"there is nothing at {path}; there are {', '.join(self._ROUTES)}")
        if method != allowed:
            raise RequestError(405, f"{path} takes {allowed}")
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if (
            path != "/healthz"
            and self.server.token
            and not hmac.compare_digest(given, self.server.token.encode())
        ):
            raise RequestError(401, "the token is missing or wrong", "invalid_api_key")

    def _models(self, path: str) -> None:
        model = {"id": self.server.model, "object": "model", "created": 0, "owned_by": "lumos-edge"}
        if path == "/v1/models":
            self._send(200, {"object": "list", "data": [model]})
        elif path == f"/v1/models/{self.server.model}":
            self._send(200, model)
        else:
            name = path.removeprefix("/v1/models/")
            raise RequestError(
                404, f"there is no model {name!r}; there is {self.server.model}", "model_not_found"
            )

    # -- a chat completion ------------------------------------------------------------------------------------------

    def _chat(self) -> None:
        request = ChatRequest.read_json(self._read_json(), self.server.model)
        made: list[Completion] = []
        engine = RecordingEngine(self.server.agent.engine, lambda recorded: made.append(recorded.completion))
        release = self.server.begin()
        try:
            run = self.server.agent.with_engine(engine).run(request.question)
            with closing(run), self.server.disconnects.calling(run.cancel, self.connection):
                if request.stream:
                    self._stream(run, request, made)
                else:
                    self._send_whole(run, made)
        finally:
            release()

    def _send_whole(self, run: Run[Event], made: list[Completion]) -> None:
        steps: list[str] = []
        outcome = _read(run, lambda event: steps.append(step_text(event)))
        self._send(200, Reply(self.server.model).whole("".join(steps), outcome, made))

    def _stream(self, run: Run[Event], request: ChatRequest, made: list[Completion]) -> None:
        """The reply piece by piece as server-sent events. Before the first one, an error has its status."""
        reply = Reply(self.server.model)
        has_begun = False

        def show(event: Event) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                self._begin_stream()
                self._send_event(reply.chunk({"role": "assistant", "content": ""}))
            if text := step_text(event):
                self._send_event(reply.chunk({"reasoning_content": text}))

        try:
            outcome = _read(run, show)
        except LumosError as error:
            if not has_begun or isinstance(error, Cancelled):
                raise
            self._send_event(_error(RequestError(500, str(error), type(error).__name__)))
            return
        content = {"refusal": outcome.refusal} if outcome.answer is None else {"content": outcome.answer}
        self._send_event(reply.chunk(content))
        self._send_event(reply.chunk({}, outcome.finish_reason))
        if request.include_usage:
            self._send_event(reply.usage_chunk(made))
        self.wfile.write(b"data: [DONE]\n\n")

    # -- HTTP -------------------------------------------------------------------------------------------------------

    def _read_json(self) -> Any:
        """The request's body; raises RequestError, after which what is left of it is not read."""
        if self.headers.get_content_type() != "application/json":
            raise RequestError(
                415, f"the body is {self.headers.get_content_type()}, expected application/json"
            )
        length = self._n_unread
        if not length:
            raise RequestError(411, "Content-Length is missing")
        if length > MAX_REQUEST_BYTES:
            raise RequestError(413, f"the body has {length:,} bytes, at most {MAX_REQUEST_BYTES:,} are taken")
        self._n_unread = 0
        try:
            return json.loads(self.rfile.read(length))
        except (ValueError, RecursionError) as error:
            raise RequestError(400, f"the body is no JSON: {error}") from error

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if status == 503:
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, error: RequestError) -> None:
        # What was not read of the body would be taken for the next request.
        self.close_connection = True
        self._send(error.status, _error(error))
        # A client that is still sending reads no status; closing now would reset its connection.
        left = min(self._n_unread, _MAX_DRAINED_BYTES)
        while left > 0 and (piece := self.rfile.read1(min(left, 1 << 16))):
            left -= len(piece)

    def _begin_stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()

    def _send_event(self, document: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: questions are the user's."""


def _error(error: RequestError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code or None}}


def _read(run: Run[Event], show: Callable[[Event], None]) -> Outcome:
    """Read a run to its end; a limit that ends it is an outcome, other errors are raised."""
    trajectory = None
    is_cut_short = False
    try:
        for event in run:
            show(event)
            if isinstance(event, Finished):
                trajectory = event.trajectory
    except BudgetExceeded:
        is_cut_short = True
    assert trajectory is not None
    return Outcome.of(trajectory, is_cut_short=is_cut_short)
