"""Requests to one server of completions.

Nothing but the host that the user named is contacted: no proxy, no redirect.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lumos_edge.errors import Cancelled, ContextWindowExceeded, ServerError
from lumos_edge.sources import require_network

T = TypeVar("T")

KEY_VARIABLE = "LUMOS_EDGE_SERVER_KEY"

_CONNECT_S = 10.0
_RETRY_AFTER_S = (0.5, 2.0)
_MAX_BYTES = 16 << 20  # of a document, or of one line of a stream
_MAX_MESSAGE = 300  # characters of what a server says of an error
_BUSY = (429, 502, 503, 504)


class _TransientError(ServerError):
    """What may be gone the next time."""


class HttpClient:
    """One request at a time; `cancel` ends the one in progress from any thread.

    A server that sends nothing for `stall_s` seconds is given up. Raises OfflineError when the network is switched
    off, and ServerError for an address that is none.
    """

    def __init__(self, url: str, stall_s: float) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname, parts.port
        except ValueError as error:
            raise ServerError(f"{url!r} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not self._host or parts.username or parts.query:
            raise ServerError(f"{url!r} is no address of a server, expected http://HOST:PORT")
        require_network(f"the server at {url}")
        self.url = url
        self._is_secure = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._stall_s = stall_s
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Forget an earlier `cancel`."""
        self._cancelled.clear()

    def cancel(self) -> None:
        """Close the connection in progress; its request raises `Cancelled`."""
        self._cancelled.set()
        with self._lock, suppress(OSError):  # the server may have closed it already
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)

    def get(self, path: str) -> Any:
        """A JSON document. Raises ServerError, Cancelled."""
        return next(self._tried(lambda: self._document("GET", path, None)))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON document that answers one. Raises ServerError, ContextWindowExceeded, Cancelled."""
        return next(self._tried(lambda: self._document("POST", path, body)))

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Any]:
        """The JSON documents of an event stream that answers one; asked again only where none has come.

        Raises ServerError, ContextWindowExceeded, Cancelled.
        """
        return self._tried(lambda: self._events(path, body))

    def _tried(self, once: Callable[[], Iterator[T]]) -> Iterator[T]:
        for delay_s in (*_RETRY_AFTER_S, None):
            has_begun = False
            try:
                for item in once():
                    has_begun = True
                    yield item
                return
            except _TransientError:
                if has_begun or delay_s is None:
                    raise
            if self._cancelled.wait(delay_s):
                raise Cancelled("cancelled")

    def _document(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[Any]:
        with self._response(method, path, body) as response:
            content = response.read(_MAX_BYTES)
            if self._cancelled.is_set():
                raise Cancelled("cancelled")
            yield self._parsed(content)

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[Any]:
        with self._response("POST", path, body) as response:
            last_s = time.monotonic()
            while line := response.readline(_MAX_BYTES):
                kind, _, data = line.strip().partition(b":")
                if kind in (b"data", b"error"):
                    if data.strip() == b"[DONE]":
                        return
                    event = self._parsed(data)
                    if kind == b"error" or "error" in event:
                        raise ServerError(f"{self.url}: {_message(event)}")
                    last_s = time.monotonic()
                    yield event
                elif time.monotonic() - last_s > self._stall_s:  # comments keep a connection open, no more
                    raise TimeoutError("timed out")
            raise http.client.IncompleteRead(b"")

    def _parsed(self, content: bytes) -> dict[str, Any]:
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise ServerError(f"{self.url}: expected a JSON object, found {_one_line(content)!r}")
        return data

    @contextmanager
    def _response(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        connection = kind(self._host or "", self._port, timeout=_CONNECT_S)
        try:
            self._connect(connection)
            headers = {"Content-Type": "application/json", "Connection": "close"}
            if key := os.environ.get(KEY_VARIABLE):
                headers["Authorization"] = f"Bearer {key}"
            connection.request(method, self._prefix + path, json.dumps(body) if body else None, headers)
            with closing(connection.getresponse()) as response:
                if response.status != 200:
                    raise self._refusal(method, path, response)
                yield response
        except (OSError, http.client.HTTPException) as error:
            if self._cancelled.is_set():
                raise Cancelled("cancelled") from error
            raise self._lost(error) from error
        finally:
            with self._lock:
                self._socket = None
            connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except TimeoutError as error:
            raise _TransientError(f"{self.url} cannot be reached within {_CONNECT_S:g} s") from error
        connection.sock.settimeout(self._stall_s)
        with self._lock:
            # Kept apart: the connection forgets it when the server is going to close it.
            self._socket = connection.sock
        if self._cancelled.is_set():
            raise Cancelled("cancelled")

    def _lost(self, error: Exception) -> ServerError:
        if isinstance(error, TimeoutError):
            return ServerError(f"{self.url} did not answer within {self._stall_s:g} s")
        if isinstance(error, http.client.IncompleteRead):
            return _TransientError(f"{self.url} broke off before the end; its log says why")
        return _TransientError(
            f"{self.url} cannot be reached: {_one_line(str(error)) or type(error).__name__}"
        )

    def _refusal(self, method: str, path: str, response: http.client.HTTPResponse) -> Exception:
        content = response.read(1 << 16)
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            data = None
        said = _message(data) if isinstance(data, dict) else _one_line(content)
        window = re.search(r"maximum context length is (\d+) tokens.*?requested (\d+) tokens", said)
        if window:
            return ContextWindowExceeded(int(window[2]), int(window[1]))
        window = re.search(r"\((\d+) tokens\) exceeds the available context size \((\d+) tokens\)", said)
        if window:
            return ContextWindowExceeded(int(window[1]), int(window[2]))
        key = f" (a key goes into {KEY_VARIABLE})" if response.status in (401, 403) else ""
        kind = _TransientError if response.status in _BUSY else ServerError
        return kind(f"{self.url} answered {method} {path} with {response.status}{key}: {said}")


def _message(data: dict[str, Any]) -> str:
    """What a server says of an error: llama.cpp, vLLM and FastAPI each put it elsewhere."""
    found: Any = data.get("error", data.get("detail", data))
    if isinstance(found, dict):
        found = found.get("message", found)
    return _one_line(found if isinstance(found, str) else json.dumps(found))


def _one_line(text: str | bytes) -> str:
    """Without what a terminal would obey."""
    if isinstance(text, bytes):
        text = text[: 4 * _MAX_MESSAGE].decode("utf-8", "replace")
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}..."
