"""The only way out of a browser: a proxy on this machine that connects within a policy.

A browser follows redirects, loads what pages are made of and opens sockets by itself; all of it comes by here, where
every host, port and address is checked as the connection is made. TLS goes through unread.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit, urlunsplit

from lumos_edge.errors import HostNotAllowed, PageNotLoaded, ToolError
from lumos_edge.web.policy import Policy, host_and_port
from lumos_edge.web.transport import connect

_MAX_HEAD = 1 << 16
_IDLE_S = 60.0
MAX_BYTES = 10_000_000
"""Of one answer; the rest of a longer one does not come. Twice of what is read of a page."""

_MAX_TUNNEL_BYTES = 20 * MAX_BYTES
"""Of all answers through one TLS connection, which cannot be told apart."""


class Gate:
    """A running proxy. `refused` says why for each host and port that could not be connected to; `cut_off` are the
    addresses whose answers were too long.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.refused: dict[tuple[str, int], ToolError] = {}
        self.cut_off: set[str] = set()
        handler = type("Handler", (_Handler,), {"gate": self})
        self._server = ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()

    def connect(self, host: str, port: int) -> socket.socket:
        """A checked connection; a failure is kept and raised: HostNotAllowed, PageNotLoaded."""
        self.refused.pop((host, port), None)
        try:
            return connect(self.policy, host, port)
        except (HostNotAllowed, PageNotLoaded) as error:
            self.refused[host, port] = error
            raise


class _Handler(StreamRequestHandler):
    gate: Gate
    timeout = _IDLE_S
    rbufsize = 0  # what follows the head belongs to the other side

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the browser or the server left
            self._answer(self._read_head())

    def _read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # Byte by byte, as `rbufsize` has it: heads are short, and nothing behind them is taken.
            byte = self.rfile.read(1)
            if not byte or len(head) > _MAX_HEAD:
                raise ValueError("a request without an end")
            head += byte
        return head

    def _answer(self, head: bytes) -> None:
        first, _, rest = head.partition(b"\r\n")
        method, target, version = first.decode("latin-1").split(" ")
        is_tunnel = method == "CONNECT"
        try:
            host, port = host_and_port(f"https://{target}" if is_tunnel else target)
            self.gate.cut_off.discard(target)
            server = self.gate.connect(host, port)
        except (HostNotAllowed, PageNotLoaded):
            # 204: the browser stays on the page where it is. A tunnel that is refused has no such answer.
            status = b"403 Forbidden" if is_tunnel else b"204 No Content"
            self.wfile.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n")
            return
        with server:
            if is_tunnel:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(_own_head(method, target, version, rest))
            limit = _MAX_TUNNEL_BYTES if is_tunnel else MAX_BYTES
            if not _relay(self.connection, server, limit):
                self.gate.cut_off.add(target)


def _own_head(method: str, target: str, version: str, rest: bytes) -> bytes:
    """The head as its server expects it: a path, and one request for each connection."""
    path = urlunsplit(("", "", *urlsplit(target)[2:])) or "/"
    kept = [line for line in rest.split(b"\r\n") if not line.lower().startswith((b"proxy-", b"connection:"))]
    return f"{method} {path} {version}\r\nConnection: close\r\n".encode("latin-1") + b"\r\n".join(kept)


def _relay(browser: socket.socket, server: socket.socket, max_bytes: int) -> bool:
    """Hand on what each says to the other, until one ends; False if the server says too much."""
    with selectors.DefaultSelector() as selector:
        selector.register(browser, selectors.EVENT_READ, server)
        selector.register(server, selectors.EVENT_READ, browser)
        while max_bytes > 0 and (ready := selector.select(_IDLE_S)):
            for key, _ in ready:
                source = key.fileobj
                assert isinstance(source, socket.socket)
                content = source.recv(1 << 16)
                if not content:
                    return True
                key.data.sendall(content)
                max_bytes -= len(content) if source is server else 0
    return max_bytes > 0
