"""Real requests to a real server that misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lumos_edge.errors import HostNotAllowed, PageError, PageNotLoaded, PageTooLarge, ToolTimeout
from lumos_edge.web.opening import open_site
from lumos_edge.web.policy import Policy
from lumos_edge.web.transport import HttpTransport, Request, decode
from tests.web.shop import Shop


def get(url: str, *allowed: str, timeout_s: float = 30.0) -> str:
    return HttpTransport(Policy.of(url, allowed), timeout_s).send(Request(url)).html


def test_redirects_are_followed_and_a_post_becomes_a_get(shop: Shop) -> None:
    transport = HttpTransport(Policy.of(shop.url))
    response = transport.send(Request(f"{shop.url}basket", "POST", (("id", "1"),)))
    assert "Basket: 30 euros" in response.html
    assert shop.requests == ["POST /basket", "GET /basket"]


@pytest.mark.parametrize(
    "target", ["http://other.example/", "file:///etc/passwd", "http://127.0.0.1:1/", "//[::1]/"]
)
def test_a_redirect_is_checked_like_a_link(shop: Shop, target: str) -> None:
    url = shop.add("/moved", "", 302, Location=target)
    with pytest.raises(HostNotAllowed):
        get(url)
    assert shop.requests == ["GET /moved"]


def test_redirects_without_end(shop: Shop) -> None:
    url = shop.add("/round", "", 302, Location="/round")
    with pytest.raises(PageNotLoaded, match="more than 10 redirects"):
        get(url)


def test_a_name_that_becomes_private_is_refused_at_the_connection(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS may answer anything, and something else the next time: what is connected to is what was checked."""
    found: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", shop.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(HostNotAllowed, match=r"shop\.example is the private address 127\.0\.0\.1"):
        get(f"http://shop.example:{shop.port}/")
    assert shop.requests == []
    assert "Welcome" in get(f"http://shop.example:{shop.port}/", "127.0.0.1")


def test_the_environment_names_no_proxy(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert "Welcome" in get(shop.url)


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_page_without_end_is_cut_off(shop: Shop, is_declared: bool) -> None:
    url = shop.add("/long", b"x" * 6_000_000)
    with pytest.raises(PageTooLarge, match="more than 5,000,000 bytes"):
        get(url)


def test_what_is_no_html(shop: Shop) -> None:
    with pytest.raises(PageNotLoaded, match="application/pdf; expected a page of HTML"):
        get(shop.add("/x.pdf", "%PDF", Content_Type="application/pdf"))


def test_an_error_page_is_a_page(shop: Shop) -> None:
    assert "Not found" in get(f"{shop.url}nowhere")


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that treats every connection so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://localhost:{server.getsockname()[1]}/"
        thread.join(5)


def _drip(connection: socket.socket) -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    for byte in start + b"x" * 1000:
        try:
            connection.send(bytes([byte]))
        except OSError:
            return
        time.sleep(0.02)


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_is_hung_up_on(part: str) -> None:
    with serving(_drip) as url:
        started = time.monotonic()
        with pytest.raises(ToolTimeout, match="longer than"):
            get(url, timeout_s=0.4 if part == "headers" else 1.5)
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"]
)
def test_a_broken_answer(answer: bytes) -> None:
    with serving(lambda connection: connection.sendall(answer)) as url, pytest.raises(PageNotLoaded):
        get(url)


def test_a_server_without_tls_is_not_asked_in_plain(shop: Shop) -> None:
    with pytest.raises(PageNotLoaded, match="SSL"):
        get(f"https://localhost:{shop.port}/")
    assert shop.requests == []


def test_a_server_that_is_not_there_is_a_page_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PageError, match="cannot be reached"):
        open_site(f"http://localhost:{port}/")


@pytest.mark.parametrize(
    ("content", "charset", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode("latin-1"), "latin-1", "é"),
        (b'<meta charset="iso-8859-1">\xe9', None, '<meta charset="iso-8859-1">é'),
        (b"\xff", "no-such-charset", "\ufffd"),
        (b"\xff", None, "\ufffd"),
    ],
)
def test_charsets(content: bytes, charset: str | None, text: str) -> None:
    assert decode(content, charset) == text
