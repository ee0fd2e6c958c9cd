"""How a page without a browser gets others: a request, and the response to it.

`HttpTransport` asks servers, within a policy; `saved.SavedPages` finds them in a folder.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin

from lumos_edge.errors import PageNotLoaded, PageTooLarge, ToolTimeout
from lumos_edge.web.policy import Policy
from lumos_edge.web.reading import MAX_HTML_BYTES

TIMEOUT_S = 30.0
"""Seconds that one page may take, its redirects together."""

_CONNECT_TIMEOUT_S = 10.0
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Request:
    """A page that is asked for: GET, or POST with fields."""

    url: str
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Response:
    """A page that came, and the URL that it came from."""

    url: str
    html: str


class Transport(Protocol):
    """Answers requests."""

    def send(self, request: Request) -> Response:
        """The response. Raises HostNotAllowed, PageNotLoaded, PageTooLarge, ToolTimeout."""
        ...


@dataclass
class HttpTransport:
    """Asks servers over HTTP, with cookies and redirects; every address is checked as it is connected to.

    Proxies and passwords of the environment are not used: a proxy would look names up itself.
    """

    policy: Policy
    timeout_s: float = TIMEOUT_S
    _session: Any = field(default=None, repr=False)
    _sockets: list[socket.socket] = field(default_factory=list, repr=False)

    def send(self, request: Request) -> Response:
        """See `Transport.send`."""
        self._sockets[:] = [known for known in self._sockets if known.fileno() >= 0]
        is_late = threading.Event()
        timer = threading.Timer(self.timeout_s, self._hang_up, [is_late])
        timer.daemon = True
        timer.start()
        late = ToolTimeout(f"{request.url} took longer than {self.timeout_s:g} s")
        try:
            response = self._follow(request)
        except PageNotLoaded as error:
            if is_late.is_set():
                raise late from error
            raise
        finally:
            timer.cancel()
        if is_late.is_set():  # it looks whole, and was cut off
            raise late
        return response

    def _hang_up(self, is_late: threading.Event) -> None:
        """End what is being read: a server that sends a byte every second would never end it."""
        is_late.set()
        for known in self._sockets:
            with contextlib.suppress(OSError):  # closed meanwhile
                known.shutdown(socket.SHUT_RDWR)

    def _follow(self, request: Request) -> Response:
        import requests

        method, fields, url = request.method, request.fields, request.url
        for _ in range(_MAX_REDIRECTS + 1):
            self.policy.check_url(url)
            try:
                with self._request(method, url, fields) as response:
                    location = response.headers.get("Location", "")
                    if response.status_code not in _REDIRECTS or not location:
                        return Response(url, _html(response))
                    if response.status_code in (301, 302, 303):  # as browsers do, whatever the standard says
                        method, fields = "GET", ()
                    url = urljoin(url, location)
            except requests.RequestException as error:
                raise PageNotLoaded(f"{url} did not answer: {error}") from error
        raise PageNotLoaded(f"{request.url} leads to more than {_MAX_REDIRECTS} redirects")

    def _request(self, method: str, url: str, fields: tuple[tuple[str, str], ...]) -> Any:
        if self._session is None:
            self._session = _session(self.policy, self._sockets)
        return self._session.request(
            method,
            url,
            data=list(fields) if method == "POST" else None,
            timeout=_CONNECT_TIMEOUT_S,
            stream=True,
            allow_redirects=False,
        )


def _html(response: Any) -> str:
    kind = response.headers.get("Content-Type", "text/html").partition(";")[0].strip().lower()
    if not (kind.startswith("text/") or kind == "application/xhtml+xml"):
        raise PageNotLoaded(f"{response.url} is {kind}; expected a page of HTML")
    content = bytearray()
    for chunk in response.iter_content(1 << 16):
        content += chunk
        if len(content) > MAX_HTML_BYTES:
            raise PageTooLarge(f"{response.url} has more than {MAX_HTML_BYTES:,} bytes")
    return decode(bytes(content), _charset(response.headers))


def _charset(headers: Mapping[str, str]) -> str | None:
    _, _, charset = headers.get("Content-Type", "").lower().partition("charset=")
    return charset.strip("\"' ") or None


def decode(content: bytes, charset: str | None = None) -> str:
    """The text of a page: by its server's charset, its own `<meta charset>`, or UTF-8 with what does not fit marked."""
    from bs4.dammit import EncodingDetector

    declared = charset or EncodingDetector.find_declared_encoding(content[:4096], is_html=True) or "utf-8"
    try:
        return content.decode(declared, "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def _session(policy: Policy, sockets: list[socket.socket]) -> Any:
    """A session of `requests` that connects only to addresses that the policy has checked, with the sockets listed."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class CheckedConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sockets.append(connect(policy, self.host, self.port or 80))
            return sockets[-1]

    class CheckedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(policy, self.host, self.port or 443)

        def connect(self) -> None:
            super().connect()
            if self.sock is not None:  # another socket than the one below TLS
                sockets.append(self.sock)

    class CheckedPool(HTTPConnectionPool):
        ConnectionCls = CheckedConnection

    class CheckedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = CheckedHTTPSConnection

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": CheckedPool, "https": CheckedHTTPSPool}
    session = requests.Session()
    session.trust_env = False
    session.headers["User-Agent"] = "lumos-edge"
    session.headers["Accept"] = "text/html, application/xhtml+xml"
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def connect(policy: Policy, host: str, port: int) -> socket.socket:
    """A connection to the first address that answers. Raises HostNotAllowed, PageNotLoaded."""
    failure: OSError | None = None
    for address in policy.addresses(host.strip("[]").lower().rstrip("."), port):
        try:
            return socket.create_connection((address, port), _CONNECT_TIMEOUT_S)
        except OSError as error:
            failure = error
    raise PageNotLoaded(f"{host}:{port} cannot be reached: {failure}") from failure
