"""What may be reached, and what not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from lumos_edge.errors import HostNotAllowed, PageNotLoaded
from lumos_edge.web.policy import Policy


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Make every name have these addresses."""
    found: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_the_page_allows_its_own_host_and_port_alone() -> None:
    policy = Policy.of("http://Shop.example:8080/x")
    policy.check_url("http://shop.example:8080/y?z")
    for url in (
        "http://shop.example/",
        "https://shop.example/",
        "http://a.shop.example:8080/",
        "http://other.example/",
    ):
        with pytest.raises(HostNotAllowed):
            policy.check_url(url)


def test_hosts_are_allowed_by_name_with_or_without_a_port() -> None:
    policy = Policy.of("https://a.example/", ["b.example", "c.example:8443", "[::1]:80", "::2"])
    for url in (
        "https://b.example/",
        "http://b.example:99/",
        "https://c.example:8443/",
        "http://[::1]/",
        "http://[::2]:7/",
    ):
        policy.check_url(url)
    with pytest.raises(HostNotAllowed, match=r"port 443 of c\.example .*c\.example:8443"):
        policy.check_url("https://c.example/")


@pytest.mark.parametrize("entry", ["", "http://x", "x/y", "user@x", "x:port", "x:99999", "[::1"])
def test_what_is_no_host_cannot_be_allowed(entry: str) -> None:
    with pytest.raises(ValueError, match="expected HOST or HOST:PORT"):
        Policy.of("", [entry])


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://a.example/",
        "http://",
        "//a.example",
        "http://a.example:x/",
        "",
    ],
)
def test_other_schemes_and_broken_addresses_are_refused(url: str) -> None:
    with pytest.raises(HostNotAllowed):
        Policy.of("http://a.example/").check_url(url)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "224.0.0.1", "255.255.255.255"),
    ],
)
def test_a_public_name_that_is_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve(monkeypatch, "93.184.215.14", address)
    with pytest.raises(HostNotAllowed, match="private address"):
        Policy.of("http://a.example/").addresses("a.example", 80)


def test_public_addresses_and_those_allowed_by_name_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "93.184.215.14")
    assert Policy.of("http://a.example/").addresses("a.example", 80) == ["93.184.215.14"]
    resolve(monkeypatch, "10.0.0.5")
    assert Policy.of("http://a.example/", ["10.0.0.5"]).addresses("a.example", 80) == ["10.0.0.5"]
    resolve(monkeypatch, "127.0.0.1")
    assert Policy.of("http://localhost/").addresses("localhost", 80) == ["127.0.0.1"]


def test_a_name_without_an_address_is_an_error_of_its_own() -> None:
    with pytest.raises(PageNotLoaded, match="has no address"):
        Policy.of("http://nowhere.invalid/").addresses("nowhere.invalid", 80)


def test_files_only_in_the_folder_of_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "link.html").symlink_to("/etc/hostname")
    policy = Policy({}, folder)
    policy.check_url((folder / "a b.html").as_uri())
    outside = [(folder / ".." / "x.html"), folder / "link.html", Path("/etc/hostname")]
    for url in [
        *(f"file://{path}" for path in outside),
        f"{folder.as_uri()}/%2e%2e/x.html",
        "file://server/share/x",
    ]:
        with pytest.raises(HostNotAllowed):
            policy.check_url(url)
    with pytest.raises(HostNotAllowed):
        Policy.of("http://a.example/").check_url((folder / "a.html").as_uri())


def test_a_host_may_have_several_ports() -> None:
    policy = Policy.of("http://shop.example:8000/", ["shop.example:9000", "other.example"])
    policy.check_host("shop.example", 8000)
    policy.check_host("shop.example", 9000)
    with pytest.raises(
        HostNotAllowed, match=r"allowed: shop\.example:8000, shop\.example:9000, other\.example"
    ):
        policy.check_host("shop.example", 9001)
    Policy.of("http://shop.example:8000/", ["shop.example"]).check_host("shop.example", 1)
